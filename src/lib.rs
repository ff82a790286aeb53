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

mod ctl;
mod filter;
mod hash;
pub mod iface;
pub mod kpi;
pub mod log;
pub mod mem;
#[cfg(target_os = "none")]
mod module;
pub mod nat;
pub mod norm;
pub mod osfp;
pub mod packet;
mod purge;
pub mod rule;
pub mod source;
pub mod state;
pub mod stats;
pub mod table;
pub mod wire;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use pf_abi::IfName;

pub use ctl::{Access, Level, ioctls};

use ctl::Control;
use ctl::hold::Hold;
use filter::proxy::Handshakes;
use iface::{InterfaceAddress, Interfaces};
use kpi::{Caller, Direction, Errno, Kernel, Mbuf, Mutex, NoMemory, Passive, ReadSection, SoftNet, SpinLock};
use mem::{KArc, KBox, Snapshot};
use norm::Norm;
use osfp::Fingerprints;
use purge::Sweep;
use rule::Config;
use source::Sources;
use state::timeout::Timeouts;
use state::{Identities, Isns, StateTable};
use stats::Stats;
use table::Overloads;

/// The packet filter: all that it knows hangs off this one object.
///
/// # Locking
/// In this order: `control` (sleeps; ioctls and interface events), then the purge's own mutex, then spin locks as
/// [`state`] says. The purge thread only tries to take `control`. Packets take neither mutex: they read `config`, `interfaces` and
/// `fingerprints` in a passive section.
pub struct Pf {
    kernel: Kernel,
    passive: Passive,
    /// Rules, as packets see them.
    config: Snapshot<KArc<Config>>,
    /// Interfaces, as packets see them.
    interfaces: Snapshot<Interfaces>,
    /// Fingerprints of operating systems, as packets see them.
    fingerprints: Snapshot<Fingerprints>,
    states: KBox<StateTable>,
    /// Where `modulate state` and `synproxy state` have their numbers from.
    isns: Isns,
    handshakes: KBox<Handshakes>,
    sources: KBox<Sources>,
    timeouts: Timeouts,
    norm: KBox<Norm>,
    stats: Stats,
    /// Hosts that packets put into tables, and that are not in them yet.
    overloads: Overloads,
    /// Between DIOCSTART and DIOCSTOP.
    running: AtomicBool,
    /// The state table is locked: DIOCSETLCK.
    locked: AtomicBool,
    /// Who has locked it, if not for good: under this lock `locked` changes.
    hold: SpinLock<Option<Hold>>,
    /// There are scrub rules.
    scrubs: AtomicBool,
    /// DIOCSETDEBUG.
    debug: AtomicU32,
    /// When the log was last told of a packet that does not fit its state, in seconds of uptime.
    explained: AtomicU32,
    /// DIOCSETHOSTID: who makes states here, in network order.
    host_id: AtomicU32,
    control: KBox<Mutex<Control>>,
    sweep: Mutex<Sweep>,
    /// Who is loading lists of rules, or tables: so that others can end without the control mutex.
    loader: AtomicU64,
    /// Identities of states, while some are restored.
    identities: Mutex<Identities>,
}

/// What becomes of a packet.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on, rewritten or as it was.
    Pass(Mbuf),
    /// It is freed; a counter says why.
    Drop,
    /// It is freed without having been refused: a fragment that waits for others, or what has been cut into fragments that go on by
    /// themselves.
    Kept,
    /// It has gone another way: `route-to` and its like.
    Routed,
}

impl Pf {
    /// A packet filter with the default rule, disabled.
    #[inline(never)]
    pub fn new(kernel: Kernel) -> Result<KBox<Self>, NoMemory> {
        let host_id = kernel.random_u32();
        let states = Self::new_states(&kernel)?;
        let config = Self::new_config()?;
        KBox::new(Pf {
            identities: Mutex::new(Identities::new(&kernel, &states))?,
            passive: Passive::new()?,
            config: Snapshot::new(KBox::new(config.clone())?),
            interfaces: Self::new_interfaces()?,
            fingerprints: Snapshot::new(KBox::new(Fingerprints::new())?),
            states,
            isns: Isns::new(&kernel),
            handshakes: KBox::new(Handshakes::new())?,
            sources: Self::new_sources(&kernel)?,
            timeouts: Timeouts::default(),
            norm: Self::new_norm(&kernel)?,
            stats: Stats::new()?,
            overloads: Overloads::new()?,
            running: AtomicBool::new(false),
            locked: AtomicBool::new(false),
            hold: SpinLock::new(None),
            scrubs: AtomicBool::new(false),
            debug: AtomicU32::new(pf_abi::PF_DEBUG_URGENT),
            explained: AtomicU32::new(0),
            host_id: AtomicU32::new(host_id),
            control: Self::new_control(config)?,
            sweep: Mutex::new(Sweep::default())?,
            loader: AtomicU64::new(ctl::rules::NOBODY),
            kernel,
        })
    }

    /// A function of its own, so that this does not lie on a kernel's stack beside all the rest.
    #[inline(never)]
    fn new_control(config: KArc<Config>) -> Result<KBox<Mutex<Control>>, NoMemory> {
        KBox::new(Mutex::new(Control::new(config)?)?)
    }

    /// Likewise.
    #[inline(never)]
    fn new_config() -> Result<KArc<Config>, NoMemory> {
        KArc::new(Config::new()?)
    }

    /// Likewise.
    #[inline(never)]
    fn new_interfaces() -> Result<Snapshot<Interfaces>, NoMemory> {
        Ok(Snapshot::new(KBox::new(Interfaces::new()?)?))
    }

    /// Likewise.
    #[inline(never)]
    fn new_states(kernel: &Kernel) -> Result<KBox<StateTable>, NoMemory> {
        KBox::new(StateTable::new(kernel, pf_abi::Limit::States.default_value() as usize)?)
    }

    /// Likewise.
    #[inline(never)]
    fn new_norm(kernel: &Kernel) -> Result<KBox<Norm>, NoMemory> {
        KBox::new(Norm::new(kernel)?)
    }

    /// Likewise.
    #[inline(never)]
    fn new_sources(kernel: &Kernel) -> Result<KBox<Sources>, NoMemory> {
        KBox::new(Sources::new(kernel, pf_abi::Limit::SrcNodes.default_value() as usize)?)
    }

    /// The system around it.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The state table.
    pub fn states(&self) -> &StateTable {
        &self.states
    }

    /// What is known of packets that are not whole yet.
    pub fn norm(&self) -> &Norm {
        &self.norm
    }

    /// The source nodes.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether packets are filtered: between DIOCSTART and DIOCSTOP.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether the state table is locked.
    #[inline]
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    /// Opens a passive read section.
    #[inline]
    pub fn read<'a>(&'a self, level: &'a SoftNet) -> ReadSection<'a> {
        self.passive.read(level)
    }

    /// Judges one packet that crosses the interface `ifindex`. The packet begins with its IP header.
    pub fn hook(&self, level: &SoftNet, direction: Direction, ifindex: u16, packet: Mbuf) -> Verdict {
        filter::judge(self, level, direction, ifindex, packet)
    }

    /// Judges packets that crossed the interface together, in their order, as [`hook`](Self::hook) does with each. Those that are
    /// dropped leave nothing behind. In a large table this is much faster, as the packets wait for memory together.
    pub fn hook_burst(&self, level: &SoftNet, direction: Direction, ifindex: u16, packets: &mut [Option<Mbuf>]) {
        filter::burst::judge(self, level, direction, ifindex, packets);
    }

    /// Serves one ioctl(2) on /dev/pf. `arg` is the argument as the kernel has copied it in, at an address that is a
    /// multiple of 8, and is copied out again.
    pub fn ioctl(&self, caller: &Caller<'_>, cmd: u64, arg: &mut [u8]) -> Result<(), Errno> {
        ctl::serve(self, caller, cmd, arg)
    }

    /// The file through which ioctls came as `owner` ([`Caller::owner`]) is closed: what it held is released, and what was being
    /// loaded through it is forgotten. The caller may sleep.
    pub fn close(&self, owner: u64) {
        ctl::close(self, owner);
    }

    /// One tick of the purge thread, due once a second. Waits for readers: called with no lock held.
    pub fn purge(&self) {
        purge::tick(self);
    }

    /// Does what packets have asked for and could not wait for, such as hosts to be put into a table. Due soon after the kernel was
    /// asked to wake the purge thread, and done with each tick as well. Called with no lock held.
    pub fn catch_up(&self) {
        table::settle(self);
    }

    /// An interface has come: its index and its name.
    ///
    /// # Errors
    /// EBUSY where an ioctl is at work, which may be waiting for its caller's memory: whoever tells of an interface may have locks that
    /// others need, and tells of it again later. ENOMEM.
    pub fn attach_interface(&self, ifindex: u16, name: &[u8]) -> Result<(), Errno> {
        let Some(name) = core::str::from_utf8(name).ok().and_then(IfName::new) else {
            return Ok(());
        };
        // What is known already, as nearly always, needs nobody's leave.
        if self.has_interface(ifindex, &name) {
            return Ok(());
        }
        let _control = self.control.try_lock().ok_or(Errno::Ebusy)?;
        Ok(self.change_interfaces(|interfaces| interfaces.with_attached(ifindex, name))?)
    }

    /// Whether the table of interfaces has this one already: the system may tell of it more than once.
    fn has_interface(&self, ifindex: u16, name: &IfName) -> bool {
        let level = SoftNet::raise();
        let section = self.passive.read(&level);
        let interfaces = self.interfaces.read(&section);
        let number = interfaces.number(ifindex);
        number != iface::ALL && interfaces.find(name) == Some(number)
    }

    /// How many names of interfaces there may be, those that exist counted, when a rule or a state brings up another: 4096 if nobody says
    /// otherwise. Beyond that, the names are given back that nobody uses any more.
    pub fn limit_names(&self, most: usize) {
        self.control.lock().most_names = most;
    }

    /// The addresses that an interface has now, all of them, in the order in which the system has them. Called whenever one
    /// comes or goes, after [`attach_interface`](Self::attach_interface).
    ///
    /// # Errors
    /// As [`attach_interface`](Self::attach_interface).
    pub fn set_interface_addresses(&self, ifindex: u16, addresses: &[InterfaceAddress]) -> Result<(), Errno> {
        let is_known = {
            let level = SoftNet::raise();
            let section = self.passive.read(&level);
            self.interfaces.read(&section).has_addresses(ifindex, addresses)
        };
        if is_known {
            return Ok(());
        }
        let _control = self.control.try_lock().ok_or(Errno::Ebusy)?;
        Ok(self.change_interfaces(|interfaces| interfaces.with_addresses(ifindex, addresses))?)
    }

    /// An interface has gone. Waits for an ioctl that is at work: the system does not tell of it again.
    pub fn detach_interface(&self, ifindex: u16) -> Result<(), NoMemory> {
        let _control = self.control.lock();
        self.change_interfaces(|interfaces| interfaces.without_attached(ifindex))
    }

    /// Replaces the table of interfaces. The caller holds `control`.
    fn change_interfaces(
        &self,
        change: impl FnOnce(&Interfaces) -> Result<Interfaces, NoMemory>,
    ) -> Result<(), NoMemory> {
        let new = {
            let level = SoftNet::raise();
            let section = self.passive.read(&level);
            KBox::new(change(self.interfaces.read(&section))?)?
        };
        drop(self.interfaces.replace(new, &self.passive));
        Ok(())
    }
}
