//! pserialize(9) on a host: readers count themselves in and out, and a writer waits for those that were there.
//!
//! # Synchronisation
//! A thread counts in one of a few stripes, so that readers on different CPUs write different cache lines. Each stripe
//! has two counters, and a writer flips which one newcomers take: the other can only fall. A reader may have read which
//! counter to take just before a flip and count itself just after, so the writer flips twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::thread_local;

use super::SoftNet;

const STRIPES: usize = 16;

#[repr(align(128))]
struct Stripe([AtomicUsize; 2]);

/// What readers and writers of passively protected data meet at.
pub struct Passive {
    stripes: [Stripe; STRIPES],
    current: AtomicUsize,
    writer: Mutex<()>,
}

thread_local! {
    static STRIPE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
    };
}

impl Passive {
    /// pserialize_create(9).
    pub fn new() -> Result<Self, super::NoMemory> {
        Ok(Passive {
            stripes: [const { Stripe([const { AtomicUsize::new(0) }; 2]) }; STRIPES],
            current: AtomicUsize::new(0),
            writer: Mutex::new(()),
        })
    }

    /// pserialize_read_enter(9), until the section is dropped.
    #[inline]
    pub fn read<'a>(&'a self, _level: &'a SoftNet) -> ReadSection<'a> {
        let stripe = &self.stripes[STRIPE.with(|stripe| *stripe)];
        let counter = &stripe.0[self.current.load(Ordering::Relaxed) & 1];
        counter.fetch_add(1, Ordering::AcqRel);
        ReadSection(counter)
    }

    /// pserialize_perform(9): returns when every read section that was open at the call has ended.
    pub fn wait(&self) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            let old = self.current.fetch_add(1, Ordering::AcqRel) & 1;
            for stripe in &self.stripes {
                // A read that writes: a reader that counts itself after it sees all that we did before.
                while stripe.0[old].fetch_add(0, Ordering::AcqRel) != 0 {
                    thread::yield_now();
                }
            }
        }
    }
}

/// An open read section.
pub struct ReadSection<'a>(&'a AtomicUsize);

impl Drop for ReadSection<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_writer_waits_for_the_reader_that_was_there() {
        let passive = Passive::new().unwrap();
        thread::scope(|scope| {
            let level = SoftNet::raise();
            let section = passive.read(&level);
            let (done, waited) = mpsc::channel();
            let passive = &passive;
            scope.spawn(move || {
                passive.wait();
                done.send(()).unwrap();
            });
            while passive.current.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(waited.try_recv().is_err());
            drop(section);
            waited.recv().unwrap();
        });
    }
}
