//! The ioctls with their types.

use super::{Buffer, Device, Errno, Failure, IoctlError};
use pf_abi::{
    AnchorPath, BULK_LOCK_RELEASE, BULK_LOCK_TAKE, BULK_MOST, BulkHead, BulkLock, BulkStates, DIOCADDADDR, DIOCADDRULE,
    DIOCADDSTATES, DIOCBADDSTATES, DIOCBEGINADDRS, DIOCBGETSTATES, DIOCBLOCK, DIOCCLRIFFLAG, DIOCCLRRULECTRS,
    DIOCCLRSRCNODES, DIOCCLRSTATES, DIOCCLRSTATUS, DIOCGETADDR, DIOCGETADDRS, DIOCGETALTQS, DIOCGETLCK, DIOCGETLIMIT,
    DIOCGETRULE, DIOCGETRULES, DIOCGETRULESET, DIOCGETRULESETS, DIOCGETSRCNODES, DIOCGETSTATES, DIOCGETSTATUS,
    DIOCGETTIMEOUT, DIOCIGETIFACES, DIOCKILLSRCNODES, DIOCKILLSTATES, DIOCOSFPADD, DIOCOSFPFLUSH, DIOCOSFPGET,
    DIOCSETDEBUG, DIOCSETHOSTID, DIOCSETIFFLAG, DIOCSETLCK, DIOCSETLIMIT, DIOCSETSTATUSIF, DIOCSETTIMEOUT, DIOCSTART,
    DIOCSTOP, DIOCXBEGIN, DIOCXCOMMIT, DIOCXROLLBACK, IfName, IocAltq, IocIf, IocIface, IocLimit, IocPoolAddr, IocRule,
    IocRuleset, IocSrcNodeKill, IocSrcNodes, IocStateKill, IocStates, IocTm, IocTrans, IocTransE, Kif, Limit,
    OsfpIoctl, PF_GET_CLR_CNTR, PF_GET_NONE, PFI_IFLAG_SKIP, PoolAddr, Rule, RulesetKind, SrcNode, Status, SyncState,
    Timeout,
};
use std::io;
use std::mem::offset_of;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

/// The bytes of some structs.
pub fn as_bytes_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable>(list: &mut [T]) -> &mut [u8] {
    list.as_mut_bytes()
}

/// A device with pf's ioctls as functions. Each says in its error what it was meant to do.
pub struct Pf<'a> {
    device: &'a mut dyn Device,
    /// The ruleset that calls about rules are about.
    pub(super) anchor: AnchorPath,
}

/// A list of a ruleset.
pub type ListName = (RulesetKind, AnchorPath);

type Outcome<T> = Result<T, IoctlError>;

/// The error of an answer that cannot be.
pub(super) fn nonsense(cmd: u64, doing: &str, what: &str) -> IoctlError {
    IoctlError {
        cmd,
        failure: Failure::Io(io::Error::new(io::ErrorKind::InvalidData, what.to_owned())),
        doing: doing.to_owned(),
    }
}

impl<'a> Pf<'a> {
    /// Uses a device.
    pub fn new(device: &'a mut dyn Device) -> Self {
        Self {
            device,
            anchor: AnchorPath::EMPTY,
        }
    }

    /// From now on, calls about rules and tables are about this ruleset.
    pub fn set_anchor(&mut self, anchor: AnchorPath) {
        self.anchor = anchor;
    }

    /// The same device for a shorter while.
    pub fn reborrow(&mut self) -> Pf<'_> {
        Pf {
            device: &mut *self.device,
            anchor: self.anchor,
        }
    }

    pub(super) fn raw(
        &mut self,
        cmd: u64,
        argument: &mut [u8],
        buffer: Option<Buffer<'_>>,
        doing: &str,
    ) -> Outcome<()> {
        self.device.ioctl(cmd, argument, buffer).map_err(|failure| IoctlError {
            cmd,
            failure,
            doing: doing.to_owned(),
        })
    }

    fn call<T>(&mut self, cmd: u64, argument: &mut T, doing: &str) -> Outcome<()>
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable,
    {
        self.raw(cmd, argument.as_mut_bytes(), None, doing)
    }

    /// Enables pf.
    pub fn start(&mut self) -> Outcome<()> {
        self.raw(DIOCSTART, &mut [], None, "enabling pf")
    }

    /// Disables pf.
    pub fn stop(&mut self) -> Outcome<()> {
        self.raw(DIOCSTOP, &mut [], None, "disabling pf")
    }

    /// The status.
    pub fn status(&mut self) -> Outcome<Status> {
        let mut status = Status::default();
        self.call(DIOCGETSTATUS, &mut status, "reading the status")?;
        Ok(status)
    }

    /// Whether the kernel has ALTQ.
    pub fn has_altq(&mut self) -> Outcome<bool> {
        match self.call(DIOCGETALTQS, &mut IocAltq::default(), "asking for queues") {
            Ok(()) => Ok(true),
            Err(error) if error.is_unknown() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Clears the counters of the status.
    pub fn clear_status(&mut self) -> Outcome<()> {
        self.raw(DIOCCLRSTATUS, &mut [], None, "clearing the statistics")
    }

    /// A timeout.
    pub fn timeout(&mut self, timeout: Timeout) -> Outcome<i32> {
        let mut argument = IocTm {
            timeout: timeout as i32,
            seconds: 0,
        };
        let doing = format!("reading timeout {}", timeout.name());
        self.call(DIOCGETTIMEOUT, &mut argument, &doing)?;
        Ok(argument.seconds)
    }

    /// Sets a timeout: its value until now.
    pub fn set_timeout(&mut self, timeout: Timeout, seconds: i32) -> Outcome<i32> {
        let mut argument = IocTm {
            timeout: timeout as i32,
            seconds,
        };
        let doing = format!("setting timeout {} to {seconds}", timeout.name());
        self.call(DIOCSETTIMEOUT, &mut argument, &doing)?;
        Ok(argument.seconds)
    }

    /// A limit.
    pub fn limit(&mut self, limit: Limit) -> Outcome<u32> {
        let mut argument = IocLimit {
            index: limit.into(),
            limit: 0,
        };
        let doing = format!("reading limit {}", limit.name());
        self.call(DIOCGETLIMIT, &mut argument, &doing)?;
        Ok(argument.limit)
    }

    /// Sets a limit: its value until now.
    pub fn set_limit(&mut self, limit: Limit, value: u32) -> Outcome<u32> {
        let mut argument = IocLimit {
            index: limit.into(),
            limit: value,
        };
        let doing = format!("setting limit {} to {value}", limit.name());
        self.call(DIOCSETLIMIT, &mut argument, &doing).map_err(|error| {
            if error.errno() == Some(pf_abi::errno::EBUSY) {
                error.doing(format!("{doing}, below the number that there are now"))
            } else {
                error
            }
        })?;
        Ok(argument.limit)
    }

    /// Sets the debug level.
    pub fn set_debug(&mut self, mut level: u32) -> Outcome<()> {
        self.call(DIOCSETDEBUG, &mut level, "setting the debug level")
    }

    /// Sets the host's identity, in network byte order; 0 for a random one.
    pub fn set_host_id(&mut self, mut id: u32) -> Outcome<()> {
        self.call(DIOCSETHOSTID, &mut id, "setting the identity of the host")
    }

    /// Sets the log interface; empty for none.
    pub fn set_log_interface(&mut self, ifname: IfName) -> Outcome<()> {
        let doing = format!("setting loginterface {}", ifname.as_str().unwrap_or("?"));
        self.call(DIOCSETSTATUSIF, &mut IocIf { ifname }, &doing)
    }

    /// Makes pf leave an interface alone.
    pub fn skip(&mut self, name: IfName) -> Outcome<()> {
        let doing = format!("setting skip on {}", name.as_str().unwrap_or("?"));
        let mut argument = IocIface {
            name,
            flags: PFI_IFLAG_SKIP,
            ..IocIface::default()
        };
        self.call(DIOCSETIFFLAG, &mut argument, &doing)
    }

    /// Makes pf look at all interfaces.
    pub fn skip_none(&mut self) -> Outcome<()> {
        let mut argument = IocIface {
            flags: PFI_IFLAG_SKIP,
            ..IocIface::default()
        };
        self.call(DIOCCLRIFFLAG, &mut argument, "setting skip on none")
    }

    /// The interfaces that pf leaves alone.
    pub fn skipped(&mut self) -> Outcome<Vec<IfName>> {
        let all = self.interfaces(IfName::EMPTY)?.into_iter();
        let skipped = all.filter(|kif| kif.flags & PFI_IFLAG_SKIP != 0);
        Ok(skipped.map(|kif| kif.name).collect())
    }

    /// The interfaces and groups that a name stands for; empty for all.
    pub fn interfaces(&mut self, name: IfName) -> Outcome<Vec<Kif>> {
        let doing = "reading the interfaces";
        let esize = size_of::<Kif>() as i32;
        let mut count = 64;
        loop {
            let mut kifs = vec![Kif::default(); count];
            let mut argument = IocIface {
                name,
                esize,
                size: count as i32,
                ..IocIface::default()
            };
            let buffer = Buffer {
                pointer_at: offset_of!(IocIface, buffer),
                bytes: as_bytes_mut(&mut kifs),
            };
            self.raw(DIOCIGETIFACES, argument.as_mut_bytes(), Some(buffer), doing)?;
            let found = usize::try_from(argument.size)
                .map_err(|_| nonsense(DIOCIGETIFACES, doing, "a negative number of interfaces"))?;
            if found > count && found <= 1 << 16 {
                count = found;
                continue;
            }
            kifs.truncate(found);
            return Ok(kifs);
        }
    }

    /// Begins a transaction over some lists: their tickets.
    pub fn begin(&mut self, lists: &[ListName]) -> Outcome<Vec<u32>> {
        let mut elements = elements(lists, &[]);
        self.transaction(DIOCXBEGIN, &mut elements, "beginning a transaction")?;
        Ok(elements.iter().map(|element| element.ticket).collect())
    }

    /// Makes what was loaded since [`Self::begin`] the active rules.
    pub fn commit(&mut self, lists: &[ListName], tickets: &[u32]) -> Outcome<()> {
        let mut elements = elements(lists, tickets);
        self.transaction(DIOCXCOMMIT, &mut elements, "making the new rules the active ones")
    }

    /// Forgets what was loaded since [`Self::begin`].
    pub fn roll_back(&mut self, lists: &[ListName], tickets: &[u32]) -> Outcome<()> {
        let mut elements = elements(lists, tickets);
        self.transaction(DIOCXROLLBACK, &mut elements, "forgetting the new rules")
    }

    fn transaction(&mut self, cmd: u64, list: &mut [IocTransE], doing: &str) -> Outcome<()> {
        let mut argument = IocTrans {
            size: list.len() as i32,
            esize: size_of::<IocTransE>() as i32,
            ..IocTrans::default()
        };
        let buffer = Buffer {
            pointer_at: offset_of!(IocTrans, array),
            bytes: as_bytes_mut(list),
        };
        self.raw(cmd, argument.as_mut_bytes(), Some(buffer), doing)
    }

    /// Empties the buffer of pool addresses: its ticket.
    pub fn begin_addresses(&mut self) -> Outcome<u32> {
        let mut argument = IocPoolAddr::new_zeroed();
        self.call(DIOCBEGINADDRS, &mut argument, "beginning a pool of addresses")?;
        Ok(argument.ticket)
    }

    /// Adds an address to the buffer.
    pub fn add_address(&mut self, ticket: u32, af: u8, addr: &PoolAddr) -> Outcome<()> {
        let mut argument = IocPoolAddr {
            ticket,
            af,
            addr: *addr,
            ..IocPoolAddr::default()
        };
        self.call(DIOCADDADDR, &mut argument, "adding an address to a pool")
    }

    /// Adds a rule to a list of a transaction. `call` is the anchor that it calls, or empty.
    pub fn add_rule(&mut self, ticket: u32, pool_ticket: u32, rule: &Rule, call: &AnchorPath) -> Outcome<()> {
        let mut argument = IocRule {
            ticket,
            pool_ticket,
            rule: rule.clone(),
            anchor: self.anchor,
            anchor_call: *call,
            ..IocRule::default()
        };
        self.call(DIOCADDRULE, &mut argument, "adding a rule")
    }

    /// How many active rules a list has, and their ticket. `action` is that of any rule of the list.
    pub fn rule_count(&mut self, action: u8) -> Outcome<(u32, u32)> {
        let mut argument = IocRule {
            anchor: self.anchor,
            ..IocRule::default()
        };
        argument.rule.action = action;
        self.call(DIOCGETRULES, &mut argument, "reading how many rules there are")?;
        Ok((argument.nr, argument.ticket))
    }

    /// An active rule, and the anchor that it calls. With `clear`, its counters begin anew.
    pub fn rule(&mut self, action: u8, ticket: u32, nr: u32, clear: bool) -> Outcome<(Rule, AnchorPath)> {
        let mut argument = IocRule {
            action: if clear { PF_GET_CLR_CNTR } else { PF_GET_NONE },
            ticket,
            nr,
            anchor: self.anchor,
            ..IocRule::default()
        };
        argument.rule.action = action;
        self.call(DIOCGETRULE, &mut argument, &format!("reading rule {nr}"))?;
        Ok((argument.rule, argument.anchor_call))
    }

    /// The addresses of an active rule's pool.
    pub fn pool(&mut self, action: u8, ticket: u32, nr: u32) -> Outcome<Vec<PoolAddr>> {
        let doing = format!("reading the addresses of rule {nr}");
        let mut argument = IocPoolAddr {
            r_action: action,
            r_num: nr,
            ticket,
            anchor: self.anchor,
            ..IocPoolAddr::default()
        };
        self.call(DIOCGETADDRS, &mut argument, &doing)?;
        let mut pool = Vec::new();
        for index in 0..argument.nr {
            argument.nr = index;
            self.call(DIOCGETADDR, &mut argument, &doing)?;
            pool.push(argument.addr);
        }
        Ok(pool)
    }

    /// The names of the rulesets right within this one.
    pub fn anchors(&mut self) -> Outcome<Vec<String>> {
        let doing = "reading the anchors";
        let mut argument = IocRuleset {
            path: self.anchor,
            ..IocRuleset::default()
        };
        self.call(DIOCGETRULESETS, &mut argument, doing)?;
        let mut names = Vec::new();
        for nr in 0..argument.nr {
            argument.nr = nr;
            self.call(DIOCGETRULESET, &mut argument, doing)?;
            names.push(argument.name.as_str().unwrap_or("?").to_owned());
        }
        Ok(names)
    }

    /// Clears the counters of all filter rules.
    pub fn clear_rule_counters(&mut self) -> Outcome<()> {
        self.raw(DIOCCLRRULECTRS, &mut [], None, "clearing the counters of rules")
    }

    /// Forgets all fingerprints.
    pub fn flush_fingerprints(&mut self) -> Outcome<()> {
        self.raw(DIOCOSFPFLUSH, &mut [], None, "forgetting the fingerprints")
    }

    /// Adds a fingerprint. One that is there is there.
    pub fn add_fingerprint(&mut self, fingerprint: &OsfpIoctl) -> Outcome<()> {
        match self.call(DIOCOSFPADD, &mut fingerprint.clone(), "adding a fingerprint") {
            Err(error) if error.errno() == Some(pf_abi::errno::EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    /// All fingerprints.
    pub fn fingerprints(&mut self) -> Outcome<Vec<OsfpIoctl>> {
        let mut all = Vec::new();
        for getnum in 0..1 << 16 {
            let mut argument = OsfpIoctl {
                getnum,
                ..OsfpIoctl::default()
            };
            match self.call(DIOCOSFPGET, &mut argument, "reading the fingerprints") {
                Err(error) if error.errno() == Some(pf_abi::errno::EBUSY) => break,
                outcome => outcome?,
            }
            all.push(argument);
        }
        Ok(all)
    }

    /// All states: in chunks, where pf knows how, so that it takes no huge buffer and holds up nothing.
    pub fn states(&mut self) -> Outcome<Vec<SyncState>> {
        match self.states_in_chunks() {
            Err(error) if error.is_unknown() => self.states_at_once(),
            done => done,
        }
    }

    fn states_in_chunks(&mut self) -> Outcome<Vec<SyncState>> {
        let doing = "reading the states";
        let mut argument = BulkStates {
            head: BulkHead::of::<BulkStates>(),
            ..BulkStates::default()
        };
        let mut chunk = vec![SyncState::default(); BULK_MOST as usize];
        let mut states = Vec::new();
        loop {
            argument.count = BULK_MOST;
            let buffer = Buffer {
                pointer_at: offset_of!(BulkStates, buf),
                bytes: as_bytes_mut(&mut chunk),
            };
            let before = argument.cursor;
            self.raw(DIOCBGETSTATES, argument.as_mut_bytes(), Some(buffer), doing)?;
            let filled = chunk
                .get(..argument.count as usize)
                .ok_or_else(|| nonsense(DIOCBGETSTATES, doing, "more states than there was room for"))?;
            states.extend_from_slice(filled);
            if argument.more == 0 {
                return Ok(states);
            }
            if argument.cursor <= before {
                return Err(nonsense(DIOCBGETSTATES, doing, "a cursor that does not move"));
            }
        }
    }

    fn states_at_once(&mut self) -> Outcome<Vec<SyncState>> {
        let pointer_at = offset_of!(IocStates, buf);
        self.all_at_once(
            DIOCGETSTATES,
            pointer_at,
            |arg: &mut IocStates| &mut arg.len,
            "reading the states",
        )
    }

    /// All records of an ioctl that says how many bytes there are where it gets no room. `len` is the argument's length in bytes.
    fn all_at_once<A, T>(
        &mut self,
        cmd: u64,
        pointer_at: usize,
        len: impl Fn(&mut A) -> &mut i32,
        doing: &str,
    ) -> Outcome<Vec<T>>
    where
        A: Default + FromBytes + IntoBytes + KnownLayout + Immutable,
        T: Default + Clone + FromBytes + IntoBytes + KnownLayout + Immutable,
    {
        let size = size_of::<T>();
        let mut argument = A::default();
        self.call(cmd, &mut argument, doing)?;
        loop {
            let asked = usize::try_from(*len(&mut argument)).map_err(|_| nonsense(cmd, doing, "a negative length"))?;
            if asked == 0 {
                return Ok(Vec::new());
            }
            // Room for some more, that may come to be in between; where there is none left over, it may be too little.
            let count = (asked / size + asked / size / 8 + 16).min(i32::MAX as usize / size);
            let mut records = vec![T::default(); count];
            *len(&mut argument) = (count * size) as i32;
            let buffer = Buffer {
                pointer_at,
                bytes: as_bytes_mut(&mut records),
            };
            self.raw(cmd, argument.as_mut_bytes(), Some(buffer), doing)?;
            let filled = usize::try_from(*len(&mut argument)).unwrap_or(usize::MAX) / size;
            if filled > count {
                return Err(nonsense(cmd, doing, "more than there was room for"));
            }
            if filled < count || count == i32::MAX as usize / size {
                records.truncate(filled);
                return Ok(records);
            }
            *len(&mut argument) = len(&mut argument).saturating_mul(2);
        }
    }

    /// Adds all states, in their order. After an error those before the one that was refused are there.
    pub fn add_states(&mut self, states: &mut [SyncState]) -> Outcome<()> {
        let doing = "adding states";
        let len = i32::try_from(size_of_val(states))
            .map_err(|_| nonsense(DIOCADDSTATES, doing, "too many states at once"))?;
        let mut argument = IocStates {
            len,
            ..IocStates::default()
        };
        let buffer = Buffer {
            pointer_at: offset_of!(IocStates, buf),
            bytes: as_bytes_mut(states),
        };
        self.raw(DIOCADDSTATES, argument.as_mut_bytes(), Some(buffer), doing)?;
        match argument.len == len {
            true => Ok(()),
            false => Err(nonsense(DIOCADDSTATES, doing, "a length that cannot be")),
        }
    }

    /// Adds states in their order up to the first that is refused: how many were added, and why not the next. `None` where pf cannot
    /// say why.
    pub fn add_states_or_tell(&mut self, states: &mut [SyncState]) -> Outcome<Option<(usize, Option<Errno>)>> {
        let doing = "adding states";
        let given = states.len();
        let mut argument = BulkStates {
            head: BulkHead::of::<BulkStates>(),
            count: u32::try_from(given).unwrap_or(u32::MAX),
            ..BulkStates::default()
        };
        let buffer = Buffer {
            pointer_at: offset_of!(BulkStates, buf),
            bytes: as_bytes_mut(states),
        };
        match self.raw(DIOCBADDSTATES, argument.as_mut_bytes(), Some(buffer), doing) {
            Err(error) if error.is_unknown() => return Ok(None),
            outcome => outcome?,
        }
        let refused = (argument.error != 0).then_some(Errno(argument.error));
        match argument.count as usize {
            added if added < given && refused.is_some() || added == given && refused.is_none() => {
                Ok(Some((added, refused)))
            }
            _ => Err(nonsense(DIOCBADDSTATES, doing, "a count that cannot be")),
        }
    }

    /// Locks the state table for so many seconds, or moves the end of a lock of our own. False where somebody else has locked it,
    /// `None` where pf has no such lock.
    pub fn hold_lock(&mut self, seconds: u32) -> Outcome<Option<bool>> {
        match self.bulk_lock(BULK_LOCK_TAKE, seconds, "locking the state table") {
            Ok(()) => Ok(Some(true)),
            Err(error) if error.is_unknown() => Ok(None),
            Err(error) if error.errno() == Some(pf_abi::errno::EBUSY) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// Releases a lock that [`Self::hold_lock`] took. False where it was gone already.
    pub fn release_lock(&mut self) -> Outcome<bool> {
        match self.bulk_lock(BULK_LOCK_RELEASE, 0, "unlocking the state table") {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(pf_abi::errno::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn bulk_lock(&mut self, action: u32, seconds: u32, doing: &str) -> Outcome<()> {
        let mut argument = BulkLock {
            head: BulkHead::of::<BulkLock>(),
            action,
            seconds,
            ..BulkLock::default()
        };
        self.call(DIOCBLOCK, &mut argument, doing)
    }

    /// Removes all states, or those of an interface: how many, as far as a byte can say.
    pub fn clear_states(&mut self, ifname: IfName) -> Outcome<u8> {
        let mut argument = IocStateKill {
            ifname,
            ..IocStateKill::default()
        };
        self.call(DIOCCLRSTATES, &mut argument, "removing the states")?;
        Ok(argument.af)
    }

    /// Removes the states that match: how many, as far as a byte can say.
    pub fn kill_states(&mut self, argument: &mut IocStateKill) -> Outcome<u8> {
        self.call(DIOCKILLSTATES, argument, "removing states")?;
        Ok(argument.af)
    }

    /// All source nodes.
    pub fn sources(&mut self) -> Outcome<Vec<SrcNode>> {
        let pointer_at = offset_of!(IocSrcNodes, buf);
        self.all_at_once(
            DIOCGETSRCNODES,
            pointer_at,
            |arg: &mut IocSrcNodes| &mut arg.len,
            "reading the source nodes",
        )
    }

    /// Removes all source nodes.
    pub fn clear_sources(&mut self) -> Outcome<()> {
        self.raw(DIOCCLRSRCNODES, &mut [], None, "removing the source nodes")
    }

    /// Removes the source nodes that match: how many, as far as a byte can say.
    pub fn kill_sources(&mut self, argument: &mut IocSrcNodeKill) -> Outcome<u8> {
        self.call(DIOCKILLSRCNODES, argument, "removing source nodes")?;
        Ok(argument.af)
    }

    /// Whether the state table is locked; `None` where pf cannot say, as NetBSD's own.
    pub fn is_locked(&mut self) -> Outcome<Option<bool>> {
        let mut locked = 0u32;
        match self.call(DIOCGETLCK, &mut locked, "asking for the lock of the state table") {
            Ok(()) => Ok(Some(locked != 0)),
            Err(error) if error.is_unknown() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks or unlocks the state table.
    pub fn set_lock(&mut self, locked: bool) -> Outcome<()> {
        let doing = if locked {
            "locking the state table"
        } else {
            "unlocking the state table"
        };
        self.call(DIOCSETLCK, &mut u32::from(locked), doing)
    }
}

fn elements(lists: &[ListName], tickets: &[u32]) -> Vec<IocTransE> {
    lists
        .iter()
        .enumerate()
        .map(|(index, (kind, anchor))| IocTransE {
            rs_num: (*kind).into(),
            anchor: *anchor,
            ticket: tickets.get(index).copied().unwrap_or(0),
        })
        .collect()
}
