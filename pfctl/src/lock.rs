//! The lock of the state table, held for a while and given back.
//!
//! While the table is locked no state is looked up and none expires, so that what is read is of one moment. Every
//! connection stalls meanwhile, so the lock must never stay: [`Held`] gives it back when it goes out of scope, after
//! an error too, and signals that would end the process are only noted while it is held.
//!
//! Somebody may have locked the table before (`pfs -l`): then it stays locked.

use crate::device::{IoctlError, Pf};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Why something under the lock ended early.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock itself, or an ioctl under it.
    #[error(transparent)]
    Ioctl(#[from] IoctlError),
    /// A signal came.
    #[error("interrupted by a signal; nothing is left locked")]
    Interrupted,
    /// Signals could not be held off.
    #[error("cannot hold off signals: {0}")]
    Signals(io::Error),
    /// The lock went before it was given back: its time was over, or somebody has unlocked the table.
    #[error("the state table was unlocked in the middle, and what was read is not of one moment")]
    Lost,
    /// The table ought to be locked, and is not.
    #[error("the state table is not locked: lock it with `pfs -l`, or use -W and -R, which lock it themselves")]
    NotLocked,
}

/// How long a lock lasts of whose owner nothing is heard, in seconds; one that is gone altogether loses it at once.
const DEADLINE: u32 = 60;
/// When it is time to say something.
const RENEWAL: Duration = Duration::from_secs(10);

/// How a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It was somebody else's.
    Not,
    /// For good.
    ForGood,
    /// With an owner and a deadline; when that was last moved.
    Held(Instant),
}

/// The lock of the state table, taken.
pub struct Held<'a> {
    pf: Pf<'a>,
    /// How this took it, and so must give it back.
    taken: Taken,
    signals: Signals,
}

impl<'a> Held<'a> {
    /// Locks the table, unless it is locked: then it stays so in the end.
    pub fn take(mut pf: Pf<'a>) -> Result<Self, LockError> {
        let signals = Signals::hold_off().map_err(LockError::Signals)?;
        let was_locked = pf.is_locked()?.unwrap_or(false);
        let mut held = Self {
            pf,
            taken: Taken::Not,
            signals,
        };
        if was_locked {
            return Ok(held);
        }
        match held.pf.hold_lock(DEADLINE)? {
            Some(true) => held.taken = Taken::Held(Instant::now()),
            Some(false) => (),
            None => {
                // From here on an error drops `held`, which unlocks: the ioctl may have failed after it locked.
                held.taken = Taken::ForGood;
                held.pf.set_lock(true)?;
            }
        }
        Ok(held)
    }

    /// Relies on a lock that somebody else holds. Where pf cannot say whether it is held, that is believed.
    pub fn expect(mut pf: Pf<'a>) -> Result<Self, LockError> {
        if pf.is_locked()? == Some(false) {
            return Err(LockError::NotLocked);
        }
        Ok(Self {
            pf,
            taken: Taken::Not,
            signals: Signals::hold_off().map_err(LockError::Signals)?,
        })
    }

    /// The device, to be used under the lock; an error after a signal.
    pub fn pf(&mut self) -> Result<Pf<'_>, LockError> {
        if self.signals.came() {
            return Err(LockError::Interrupted);
        }
        if let Taken::Held(since) = self.taken
            && since.elapsed() > RENEWAL
        {
            self.pf.hold_lock(DEADLINE)?;
            self.taken = Taken::Held(Instant::now());
        }
        Ok(self.pf.reborrow())
    }

    /// Gives the lock back: the error that dropping would swallow.
    pub fn release(mut self) -> Result<(), LockError> {
        let kept = self.unlock()?;
        // Where that has failed, a second try follows when this is dropped.
        self.taken = Taken::Not;
        if !kept {
            return Err(LockError::Lost);
        }
        if self.signals.came() {
            return Err(LockError::Interrupted);
        }
        Ok(())
    }

    /// Whether the lock was there until now.
    fn unlock(&mut self) -> Result<bool, IoctlError> {
        match self.taken {
            Taken::Not => Ok(true),
            Taken::ForGood => self.pf.set_lock(false).map(|()| true),
            Taken::Held(_) => self.pf.release_lock(),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.unlock() {
            eprintln!("pfctl: {error}: THE STATE TABLE MAY STILL BE LOCKED; unlock it with `pfs -u`");
        }
    }
}

/// The signals that are held off.
const HELD_OFF: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether these signals end the process, as they do by default. What is registered for a signal stays for good, so there is
/// one flag for the whole process, as there is one action of a signal.
static DEFAULT_ACTION: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Signals that would end the process, noted instead until this is dropped; then they end it again.
#[derive(Debug)]
struct Signals {
    came: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Signals {
    fn hold_off() -> io::Result<Self> {
        if DEFAULT_ACTION.get().is_none() {
            let flag = Arc::new(AtomicBool::new(true));
            for signal in HELD_OFF {
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
            }
            let _ = DEFAULT_ACTION.set(flag);
        }
        let mut signals = Self {
            came: Arc::new(AtomicBool::new(false)),
            registered: Vec::new(),
        };
        for signal in HELD_OFF {
            let id = signal_hook::flag::register(signal, Arc::clone(&signals.came))?;
            signals.registered.push(id);
        }
        set_default_action(false);
        Ok(signals)
    }

    fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        set_default_action(true);
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

fn set_default_action(on: bool) {
    if let Some(flag) = DEFAULT_ACTION.get() {
        flag.store(on, Ordering::SeqCst);
    }
}
