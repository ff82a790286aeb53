//! pf, the packet filter: the engine.
//!
//! The same code is a kernel module on NetBSD and a library everywhere else; what it takes from the system is in
//! [`kpi`]. A packet's way: pfil(9) or pf-router → [`Pf::hook`] → the filter → normalisation → state → (no state) rules →
//! translation → a new state → one rewrite at the end → a verdict. An ioctl's way: [`Pf::ioctl`] → control → the part
//! that it changes.
#![no_std]
#![warn(missing_docs)]

#[cfg(not(target_os = "none"))]
extern crate std;

pub mod kpi;
pub mod mem;

use kpi::{Caller, Direction, Errno, Kernel, Mbuf, NoMemory, SoftNet};
use mem::KBox;

/// The packet filter: all that it knows hangs off this one object.
pub struct Pf {
    kernel: Kernel,
}

/// What becomes of a packet.
pub enum Verdict {
    /// It goes on, rewritten or as it was.
    Pass(Mbuf),
    /// It is freed; a counter says why.
    Drop,
}

impl Pf {
    /// A packet filter with the default rule, disabled.
    pub fn new(kernel: Kernel) -> Result<KBox<Self>, NoMemory> {
        KBox::new(Pf { kernel })
    }

    /// The system around it.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Whether packets are filtered: between DIOCSTART and DIOCSTOP.
    pub fn is_running(&self) -> bool {
        false
    }

    /// Judges one packet that crosses the interface `ifindex`.
    pub fn hook(&self, _level: &SoftNet, _direction: Direction, _ifindex: u16, packet: Mbuf) -> Verdict {
        Verdict::Pass(packet)
    }

    /// Serves one ioctl(2) on /dev/pf. `arg` is the argument as the kernel has copied it in, and is copied out again.
    pub fn ioctl(&self, _caller: &Caller<'_>, _cmd: u64, _arg: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::Enodev)
    }

    /// One tick of the purge thread, due once a second.
    pub fn purge(&self) {}

    /// An interface has come: its index and its name.
    pub fn attach_interface(&self, _ifindex: u16, _name: &[u8]) -> Result<(), NoMemory> {
        Ok(())
    }

    /// An interface has gone.
    pub fn detach_interface(&self, _ifindex: u16) {}
}
