//! Rules: what pfctl(8) loads, checked and put into a form that packets can be compared with.
//!
//! # Life cycle
//! A rule is made from the ABI's struct by [`Rule::new`], which refuses what makes no sense and what this pf does not do: a
//! rule that is loaded means what it says. It is immutable from then on, but for its counters and its pool; its ruleset and its states
//! hold it by reference, so it lives until the last of them goes.
//!
//! # Locking
//! None. What is counted is atomic; the pool is read in a passive section.

mod anchor;
mod binat;
mod endpoint;
mod index;
mod load;
mod matching;
mod owner;
mod ruleset;
mod scrub;
mod tag;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pf_abi as abi;
use zerocopy::IntoBytes;

pub use anchor::{Anchors, Call, MAIN, RulesetName};
pub use endpoint::{Endpoint, Net, PortMatch};
pub use matching::{Decision, Subject, Surroundings};
pub use owner::OwnerMatch;
pub use ruleset::{Asks, Config, ListChange, RuleList, RulePlace, Ruleset};
pub use scrub::{FragmentPolicy, Scrub};
pub use tag::{Tag, Tags};

use crate::kpi::{Direction, Errno, Kernel, NoMemory, Passive, ReadSection, Stripe};
use crate::mem::{KArc, KBox, KVec, Snapshot, Tally};
use crate::nat::Pool;
use crate::source::Limits;
use crate::table::TableRef;
use crate::wire::tcp::TcpFlags;
use crate::wire::{Addr, Af, Proto};

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `pass`
    Pass,
    /// `block`, and what the sender hears of it.
    Block(Answer),
    /// `nat`, `rdr`, `binat`: translate, and with `pass`, do not evaluate the filter rules.
    Translate,
    /// `no nat`, `no rdr`, `no binat`: leave the packet as it is.
    NoTranslation,
    /// `scrub`: normalise it.
    Scrub,
    /// `no scrub`: do not.
    NoScrub,
}

/// What a blocked packet's sender hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// A reset, where the packet is TCP, with this TTL (0 for the default).
    pub reset: Option<u8>,
    /// An ICMP error of this type and code, where the packet is IPv4 and was not reset.
    pub icmp: Option<(u8, u8)>,
    /// The same for IPv6.
    pub icmp6: Option<(u8, u8)>,
}

/// The queues that a rule's packets go into, by the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// `queue`
    pub normal: u32,
    /// The second one, for acknowledgements without data and low-delay packets; the first again if there is none.
    pub urgent: u32,
}

/// Packets and bytes, by direction: in, out.
#[derive(Debug)]
pub struct Counters {
    tally: Tally<4>,
    /// The rule's tables count as well. It is here because whoever counts has this in hand.
    with_tables: bool,
}

impl Counters {
    fn new(with_tables: bool) -> Result<Self, NoMemory> {
        let tally = Tally::new()?;
        Ok(Counters { tally, with_tables })
    }

    /// Counts one packet, in the stripe of the CPU that this runs on.
    #[inline]
    pub fn count(&self, stripe: Stripe, direction: Direction, bytes: u32) {
        let at = usize::from(direction == Direction::Out);
        self.tally.add_in(stripe, [(at, 1), (2 + at, bytes.into())]);
    }

    /// Packets in and out.
    pub fn packets(&self) -> [u64; 2] {
        [0, 1].map(|at| self.tally.get(at))
    }

    /// Bytes in and out.
    pub fn bytes(&self) -> [u64; 2] {
        [2, 3].map(|at| self.tally.get(at))
    }

    /// Packets, then bytes, in and out, which begin anew: what is counted meanwhile is in one reading or in the next.
    pub fn take(&self) -> [[u64; 2]; 2] {
        [[0, 1], [2, 3]].map(|pair| pair.map(|at| self.tally.take(at)))
    }

    /// Sets all to zero.
    pub fn clear(&self) {
        self.tally.clear();
    }
}

/// What the names stand for that a rule speaks of.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Of its interface, or the group; 0 for any.
    pub interface: u16,
    /// Of the interface whose addresses are its source, if they are.
    pub src: u16,
    /// The same of its destination.
    pub dst: u16,
    /// The tag that it gives.
    pub tag: Option<KArc<Tag>>,
    /// The tag that it asks for.
    pub match_tag: Option<KArc<Tag>>,
    /// The ruleset that it stands in; nothing for one that stands alone.
    pub home: Option<KArc<RulesetName>>,
    /// The anchor that it calls.
    pub call: Option<Call>,
    /// Its tables.
    pub tables: RuleTables,
}

/// The tables that a rule speaks of.
#[derive(Debug, Default)]
pub struct RuleTables {
    /// As its source.
    pub src: Option<TableRef>,
    /// As its destination.
    pub dst: Option<TableRef>,
    /// Into which sources come that connect too often.
    pub overload: Option<TableRef>,
    /// For each address of its pool: the table that it stands for, if it does.
    pub pool: KVec<Option<TableRef>>,
}

/// A packet that a rule is about, as its tables count it.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// The family.
    pub af: Af,
    /// The source, as the rule saw it.
    pub src: Addr,
    /// The destination, as the rule saw it.
    pub dst: Addr,
    /// Which way the packet goes; that of an answer is not the one that the rule saw.
    pub direction: Direction,
    /// Whether it passes.
    pub passed: bool,
    /// Its length.
    pub bytes: u32,
}

/// A rule of any list.
#[derive(Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Packets of one direction only.
    pub direction: Option<Direction>,
    /// The first match decides.
    pub quick: bool,
    /// `PF_LOG*`.
    pub log: u8,
    /// The interface, by its number in the interface table; 0 for any.
    pub interface: u16,
    /// Every interface but that one.
    pub interface_negated: bool,
    /// One family only.
    pub af: Option<Af>,
    /// One protocol only.
    pub proto: Option<Proto>,
    /// Where packets come from.
    pub src: Endpoint,
    /// Where they go.
    pub dst: Endpoint,
    /// Of these TCP flags...
    pub flagset: TcpFlags,
    /// ...these are set.
    pub flags: TcpFlags,
    /// The ICMP type.
    pub icmp_type: Option<u8>,
    /// The ICMP code.
    pub icmp_code: Option<u8>,
    /// Fragments only.
    pub fragments_only: bool,
    /// One of the next asks something.
    is_particular: bool,
    /// The type of service; 0 for any.
    pub tos: u8,
    /// The number of the tag that the packet must have; 0 for any.
    pub match_tag: u16,
    /// Every tag but that one, and none.
    pub match_tag_negated: bool,
    /// `user`
    pub user: OwnerMatch,
    /// `group`
    pub group: OwnerMatch,
    /// `PF_OSFP_*`, or the number of a system.
    pub os: u32,
    /// Of 2^32 packets, how many match; 0 for all.
    pub probability: u32,
    /// The number of the tag that packets get which match; 0 for none.
    pub tag: u16,
    /// The anchor that is evaluated where the rule matches.
    pub call: Option<Call>,
    /// What keeps the numbers of its tags.
    _tags: [Option<KArc<Tag>>; 2],
    /// The ruleset that it stands in.
    home: Option<KArc<RulesetName>>,
    /// Make a state.
    pub keep_state: bool,
    /// `modulate state`: the numbers of TCP connections are shifted.
    pub modulate: bool,
    /// `synproxy state`: pf completes the handshake of TCP connections itself, with either end.
    pub synproxy: bool,
    /// Packets with IP options may pass.
    pub allow_opts: bool,
    /// The filter rules are not evaluated for what this rule translates.
    pub translate_pass: bool,
    /// States hold for packets on the interface of their first packet alone.
    pub if_bound: bool,
    /// States that the rule may have; 0 for no limit.
    pub max_states: u32,
    /// Timeouts of its own, by PFTM_*; 0 where the global one applies.
    pub timeouts: KBox<[u32; abi::Timeout::COUNT]>,
    /// How packets are normalised.
    pub scrub: Scrub,
    /// The table into which sources come that connect too often.
    pub overload: Option<TableRef>,
    /// Where a translation takes addresses and ports from, and where a route leads. Whether there is one stays; what is in it may be
    /// changed under packets.
    pool: Option<Snapshot<Pool>>,
    /// Where its packets queue, in a kernel with queues.
    pub queues: Option<Queues>,
    /// Where packets that it passes go; the pool says where to, if that is not where the routing table says.
    pub route: abi::Route,
    /// What it allows each source.
    limits: Limits,
    /// Source nodes that it has.
    pub src_nodes: AtomicU32,
    /// How often it was compared with a packet.
    pub evaluations: AtomicU64,
    /// What it matched.
    pub counters: Counters,
    /// States that it has.
    pub states: AtomicU32,
    /// Its number in its list, which changes where others are put before it.
    nr: AtomicU32,
    /// The rule as it was loaded, without counters and kernel pointers: what DIOCGETRULE hands out.
    source: KBox<abi::Rule>,
}

impl Rule {
    /// Takes a rule as the ABI has it, and the addresses of its pool. `numbers` are those of the names in it, `nr` its number in
    /// its list.
    ///
    /// # Errors
    /// EINVAL for what makes no sense, EOPNOTSUPP for what makes sense and is not done here.
    pub fn new(
        mut source: KBox<abi::Rule>,
        addresses: KVec<abi::PoolAddr>,
        numbers: &Numbers,
        nr: u32,
    ) -> Result<Self, Errno> {
        let number = |tag: &Option<KArc<Tag>>| tag.as_ref().map_or(0, |tag| tag.number());
        load::refuse_unsupported(&source)?;
        let action = match &numbers.call {
            // Whatever it says: what happens is up to the rules in the anchor.
            Some(_) => Action::Pass,
            None => load::action(&source)?,
        };
        let direction = match abi::Direction::try_from(source.direction).map_err(|_| Errno::Einval)? {
            abi::Direction::InOut => None,
            abi::Direction::In => Some(Direction::In),
            abi::Direction::Out => Some(Direction::Out),
        };
        let af = match source.af {
            abi::AF_UNSPEC => None,
            af => Some(Af::try_from(af).map_err(|_| Errno::Einval)?),
        };
        let proto = (source.proto != 0).then_some(Proto(source.proto));
        let tables = &numbers.tables;
        let src = Endpoint::new(&source.src, numbers.src, tables.src.clone(), af)?;
        let dst = Endpoint::new(&source.dst, numbers.dst, tables.dst.clone(), af)?;
        let with_tables = src.table().is_some() || dst.table().is_some();
        let may_ask_ports =
            matches!(proto, Some(Proto::TCP | Proto::UDP)) || matches!(source.action, abi::PF_NAT | abi::PF_NONAT);
        if (src.has_port() || dst.has_port()) && !may_ask_ports {
            return Err(Errno::Einval);
        }
        if source.keep_state > abi::PF_STATE_SYNPROXY {
            return Err(Errno::Einval);
        }
        if source.log == 0 {
            source.logif = 0;
        }
        if source.logif >= abi::PFLOGIFS_MAX {
            return Err(Errno::Einval);
        }
        let pool = match &numbers.call {
            None => load::pool(&source, addresses, &tables.pool, af, &src)?,
            Some(_) if addresses.is_empty() && source.rt == abi::PF_NOPFROUTE => None,
            Some(_) => return Err(Errno::Einval),
        };
        let scrub = Scrub::new(&source)?;
        load::strip(&mut source);
        let (user, group) = (OwnerMatch::new(&source.uid)?, OwnerMatch::new(&source.gid)?);
        Ok(Rule {
            is_particular: source.tos != 0
                || numbers.match_tag.is_some()
                || !user.is_any()
                || !group.is_any()
                || source.os_fingerprint != abi::PF_OSFP_ANY
                || source.prob != 0,
            tos: source.tos,
            match_tag: number(&numbers.match_tag),
            match_tag_negated: source.match_tag_not != 0,
            user,
            group,
            os: source.os_fingerprint,
            probability: source.prob,
            tag: number(&numbers.tag),
            _tags: [numbers.tag.clone(), numbers.match_tag.clone()],
            call: numbers.call.clone(),
            home: numbers.home.clone(),
            if_bound: source.rule_flag & abi::PFRULE_IFBOUND != 0,
            action,
            direction,
            quick: source.quick != 0,
            log: source.log,
            interface: numbers.interface,
            interface_negated: source.ifnot != 0,
            af,
            proto,
            src,
            dst,
            flagset: TcpFlags::from_bits_retain(source.flagset),
            flags: TcpFlags::from_bits_retain(source.flags),
            icmp_type: source.kind.checked_sub(1),
            icmp_code: source.code.checked_sub(1),
            fragments_only: source.rule_flag & abi::PFRULE_FRAGMENT != 0,
            keep_state: source.keep_state != 0,
            modulate: source.keep_state == abi::PF_STATE_MODULATE,
            synproxy: source.keep_state == abi::PF_STATE_SYNPROXY,
            allow_opts: source.allow_opts != 0,
            translate_pass: source.natpass != 0,
            max_states: source.max_states,
            timeouts: KBox::new(source.timeout)?,
            scrub,
            pool: pool.map(Snapshot::new),
            queues: None,
            route: abi::Route::try_from(source.rt).map_err(|_| Errno::Einval)?,
            limits: load::limits(&source)?,
            src_nodes: AtomicU32::new(0),
            evaluations: AtomicU64::new(0),
            overload: tables.overload.clone(),
            counters: Counters::new(with_tables)?,
            states: AtomicU32::new(0),
            nr: AtomicU32::new(nr),
            source,
        })
    }

    /// The rule as the ABI has it, with its counters as they are now.
    pub fn export(&self, to: &mut abi::Rule) {
        // Byte by byte: a clone would pass over the stack.
        to.as_mut_bytes().copy_from_slice(self.source.as_bytes());
        to.nr = self.nr();
        to.tag = self.tag;
        to.match_tag = self.match_tag;
        to.evaluations = self.evaluations.load(Ordering::Relaxed);
        to.packets = self.counters.packets();
        to.bytes = self.counters.bytes();
        to.states = self.states.load(Ordering::Relaxed);
        to.src_nodes = self.src_nodes.load(Ordering::Relaxed);
    }

    /// What it allows each source.
    #[inline]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it has a pool.
    pub fn has_pool(&self) -> bool {
        self.pool.is_some()
    }

    /// Its pool as it is now.
    #[inline]
    pub fn pool<'a>(&'a self, section: &'a ReadSection<'_>) -> Option<&'a Pool> {
        self.pool.as_ref().map(|pool| pool.read(section))
    }

    /// Puts a pool of other addresses in the place of its own: packets see it as it was or as it is. `tables` has for each the table
    /// that it stands for, if it does. Called with no spin lock held, in no read section, by one at a time.
    ///
    /// # Errors
    /// EINVAL for a rule without a pool; else as [`Pool::new`].
    pub fn change_pool(
        &self,
        addresses: KVec<abi::PoolAddr>,
        tables: &[Option<TableRef>],
        passive: &Passive,
    ) -> Result<(), Errno> {
        let pool = self.pool.as_ref().ok_or(Errno::Einval)?;
        let new = load::pool(&self.source, addresses, tables, self.af, &self.src)?;
        drop(pool.replace(new.ok_or(Errno::Einval)?, passive));
        Ok(())
    }

    /// Whether its pool is `sticky-address`.
    pub fn is_sticky(&self) -> bool {
        self.has_pool() && self.source.rpool.opts & abi::PF_POOL_STICKYADDR != 0
    }

    /// What it has counted.
    pub fn export_counters(&self, to: &mut abi::RuleCounters) {
        *to = abi::RuleCounters {
            evaluations: self.evaluations.load(Ordering::Relaxed),
            packets: self.counters.packets(),
            bytes: self.counters.bytes(),
            nr: self.nr(),
            states: self.states.load(Ordering::Relaxed),
            src_nodes: self.src_nodes.load(Ordering::Relaxed),
            ..abi::RuleCounters::default()
        };
    }

    /// Finds the queues that it names. In a kernel without queues it has none.
    ///
    /// # Errors
    /// EBUSY for a queue that the kernel does not have.
    pub fn find_queues(&mut self, kernel: &Kernel) -> Result<(), Errno> {
        if !kernel.has_queues() || self.source.qname.is_empty() {
            return Ok(());
        }
        let find = |name: &abi::CName<{ abi::PF_QNAME_SIZE }>| kernel.queue(name).ok_or(Errno::Ebusy);
        let normal = find(&self.source.qname)?;
        let urgent = match self.source.pqname.is_empty() {
            true => normal,
            false => find(&self.source.pqname)?,
        };
        self.queues = Some(Queues { normal, urgent });
        Ok(())
    }

    /// The pflog interface that `log` is for, by its number.
    pub fn log_interface(&self) -> u8 {
        self.source.logif
    }

    /// Its action by its number in the ABI.
    pub fn action_number(&self) -> u8 {
        self.source.action
    }

    /// The user and the process that loaded it.
    pub fn loaded_by(&self) -> (u32, i32) {
        (self.source.cuid, self.source.cpid)
    }

    /// Its number in its list.
    pub fn nr(&self) -> u32 {
        self.nr.load(Ordering::Relaxed)
    }

    /// Gives it another number in its list.
    pub fn set_nr(&self, nr: u32) {
        self.nr.store(nr, Ordering::Relaxed);
    }

    /// The ruleset that it stands in; nothing for one that stands alone.
    pub fn home(&self) -> Option<&KArc<RulesetName>> {
        self.home.as_ref()
    }

    /// Counts a packet at its tables, if it has any.
    #[inline]
    pub fn count_tables(&self, packet: impl FnOnce() -> Counted, section: &ReadSection<'_>) {
        if self.has_tables() {
            self.count_at_tables(&packet(), section);
        }
    }

    /// Whether it has tables at which packets are counted.
    #[inline]
    pub fn has_tables(&self) -> bool {
        self.counters.with_tables
    }

    #[cold]
    fn count_at_tables(&self, packet: &Counted, section: &ReadSection<'_>) {
        for (end, addr) in [(&self.src, &packet.src), (&self.dst, &packet.dst)] {
            if let Some(table) = end.table() {
                let addr = (packet.af, addr);
                table.count(
                    addr,
                    end.is_negated(),
                    packet.direction,
                    packet.passed,
                    packet.bytes,
                    section,
                );
            }
        }
    }

    /// What it asks about that is found out only where a rule does.
    pub fn asks(&self) -> Asks {
        Asks {
            owner: !self.user.is_any() || !self.group.is_any(),
            os: self.os != abi::PF_OSFP_ANY,
        }
    }

    /// The addresses of its pool, as they were loaded.
    pub fn addresses<'a>(&'a self, section: &'a ReadSection<'_>) -> &'a [abi::PoolAddr] {
        self.pool(section).map_or(&[], |pool| pool.addresses())
    }

    /// Whether it has as many states as it may have: `max`.
    pub fn has_all_states(&self) -> bool {
        self.max_states != 0 && self.states.load(Ordering::Relaxed) >= self.max_states
    }

    /// Tells what it has counted, which begins anew: what is counted meanwhile is in one reading or in the next. The number of states
    /// is no counter.
    pub fn take_counters(&self, to: &mut abi::Rule) {
        to.evaluations = self.evaluations.swap(0, Ordering::Relaxed);
        [to.packets, to.bytes] = self.counters.take();
    }

    /// Sets its counters to zero; not the number of states, which is no counter.
    pub fn clear_counters(&self) {
        self.evaluations.store(0, Ordering::Relaxed);
        self.counters.clear();
    }
}

/// Makes room for a rule of zeros.
pub fn blank() -> Result<KBox<abi::Rule>, NoMemory> {
    KBox::zeroed()
}
