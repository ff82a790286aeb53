//! A pf in memory: enough of it to load rules, hold states and be locked. It can fail at any ioctl.

use super::tables::Tables;
use pf_abi::*;
use pfctl::device::{Buffer, Device, Errno, Failure};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// A rule with the addresses of its pool.
pub(crate) type PooledRule = (Rule, Vec<PoolAddr>);

/// A pf in memory.
#[derive(Default)]
pub(crate) struct FakePf {
    pub(crate) running: bool,
    pub(crate) locked: bool,
    pub(crate) states: Vec<SyncState>,
    /// The most states that it takes; 0 for no limit.
    pub(crate) limit: usize,
    pub(crate) active: BTreeMap<i32, Vec<PooledRule>>,
    pub(crate) inactive: BTreeMap<i32, Vec<PooledRule>>,
    /// Rules in anchors, by path and list, each with what it calls.
    pub(crate) anchors: BTreeMap<(String, i32), Vec<(Rule, String)>>,
    pub(crate) staged_anchors: BTreeMap<(String, i32), Vec<(Rule, String)>>,
    /// What rules of the main ruleset call, by list and number.
    pub(crate) calls_of: BTreeMap<(i32, usize), String>,
    pub(crate) fingerprints: Vec<OsfpIoctl>,
    pub(crate) pool: Vec<PoolAddr>,
    pub(crate) tickets: BTreeMap<i32, u32>,
    pub(crate) timeouts: BTreeMap<i32, i32>,
    pub(crate) limits: BTreeMap<i32, u32>,
    pub(crate) debug: u32,
    pub(crate) log_interface: IfName,
    pub(crate) skipped: Vec<IfName>,
    /// The lock has an owner: whoever asks.
    pub(crate) held: bool,
    /// Tables: these are the engine's own.
    pub(crate) tables: Tables,
    /// Every ioctl so far.
    pub(crate) calls: Vec<u64>,
    /// The ioctl, counted from 0, that fails, and how.
    pub(crate) fail_at: Option<(usize, i32)>,
    /// An ioctl that it does not know.
    pub(crate) unknown: Vec<u64>,
    /// What happens at every ioctl, before it.
    pub(crate) before_call: Option<fn(&FakePf)>,
    /// States that come to be at every DIOCGETSTATES.
    pub(crate) growing: usize,
}

type Answer = Result<(), i32>;

fn with<T: FromBytes + IntoBytes + KnownLayout>(argument: &mut [u8], act: impl FnOnce(&mut T) -> Answer) -> Answer {
    act(T::mut_from_bytes(argument).expect("the size of the argument"))
}

impl FakePf {
    pub(crate) fn kind_of(action: u8) -> i32 {
        Action::try_from(action).unwrap().ruleset().unwrap().into()
    }

    /// Why a state would be refused.
    fn refusal(&self, state: &SyncState) -> Option<i32> {
        if state.af != AF_INET && state.af != AF_INET6 {
            return Some(errno::EINVAL);
        }
        let same = |other: &SyncState| other.lan == state.lan && other.ext == state.ext && other.proto == state.proto;
        if self.states.iter().any(same) {
            return Some(errno::EEXIST);
        }
        if self.limit != 0 && self.states.len() >= self.limit {
            return Some(errno::ENOSPC);
        }
        None
    }

    fn add(&mut self, state: &SyncState) -> Answer {
        match self.refusal(state) {
            Some(number) => Err(number),
            None => {
                self.states.push(*state);
                Ok(())
            }
        }
    }

    fn transaction(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Answer {
        let trans = IocTrans::read_from_bytes(argument).unwrap();
        assert_eq!(trans.esize as usize, size_of::<IocTransE>());
        let bytes = buffer.expect("the elements").bytes;
        let elements = <[IocTransE]>::mut_from_bytes(bytes).unwrap();
        assert_eq!(trans.size as usize, elements.len());
        for element in elements {
            let kind = element.rs_num;
            let path = element.anchor.as_str().unwrap().to_owned();
            if !path.is_empty() {
                if kind == PF_RULESET_TABLE {
                    element.ticket = self.tables.transaction(cmd, &path);
                } else if cmd == DIOCXBEGIN {
                    element.ticket = 900;
                    self.staged_anchors.insert((path, kind), Vec::new());
                } else if let Some(rules) = self.staged_anchors.remove(&(path.clone(), kind))
                    && cmd == DIOCXCOMMIT
                {
                    self.anchors.insert((path, kind), rules);
                }
                continue;
            }
            if cmd == DIOCXBEGIN {
                let ticket = self.tickets.entry(kind).or_insert(100);
                *ticket += 1;
                if kind == PF_RULESET_TABLE {
                    *ticket = self.tables.transaction(cmd, &path);
                }
                element.ticket = *ticket;
                self.inactive.insert(kind, Vec::new());
                continue;
            }
            if self.tickets.get(&kind) != Some(&element.ticket) {
                return Err(errno::EBUSY);
            }
            let rules = self.inactive.remove(&kind).ok_or(errno::EBUSY)?;
            if kind == PF_RULESET_TABLE {
                self.tables.transaction(cmd, &path);
            }
            if cmd == DIOCXCOMMIT {
                self.active.insert(kind, rules);
            }
        }
        Ok(())
    }

    fn get_states(&mut self, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Answer {
        for _ in 0..self.growing {
            let number = self.states.len() as u32;
            self.states.push(state(number));
        }
        with(argument, |states: &mut IocStates| {
            const SIZE: usize = size_of::<SyncState>();
            if states.len == 0 {
                states.len = (self.states.len() * SIZE) as i32;
                return Ok(());
            }
            let room = states.len as usize / SIZE;
            let bytes = buffer.expect("room for states").bytes;
            let filled = room.min(self.states.len());
            bytes[..filled * SIZE].copy_from_slice(self.states[..filled].as_bytes());
            states.len = (filled * SIZE) as i32;
            Ok(())
        })
    }

    fn add_states(&mut self, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Answer {
        let bytes = buffer.expect("states").bytes;
        let given = <[SyncState]>::ref_from_bytes(bytes).unwrap();
        with(argument, |states: &mut IocStates| {
            assert_eq!(states.len as usize, size_of_val(given));
            given.iter().try_for_each(|state| self.add(state))
        })
    }

    fn answer(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Answer {
        match cmd {
            DIOCSTART if self.running => Err(errno::EEXIST),
            DIOCSTART => {
                self.running = true;
                Ok(())
            }
            DIOCSTOP if !self.running => Err(errno::ENOENT),
            DIOCSTOP => {
                self.running = false;
                Ok(())
            }
            DIOCGETLCK => with(argument, |locked: &mut u32| {
                *locked = self.locked.into();
                Ok(())
            }),
            DIOCSETLCK => with(argument, |locked: &mut u32| {
                (self.locked, self.held) = (*locked != 0, false);
                Ok(())
            }),
            DIOCBLOCK => with(argument, |lock: &mut BulkLock| {
                assert!(lock.head.is_of::<BulkLock>());
                match lock.action {
                    BULK_LOCK_TAKE if self.locked && !self.held => return Err(errno::EBUSY),
                    BULK_LOCK_TAKE => (self.locked, self.held) = (true, true),
                    BULK_LOCK_RELEASE if !self.held => return Err(errno::ESRCH),
                    BULK_LOCK_RELEASE => (self.locked, self.held) = (false, false),
                    _ => panic!("{lock:?}"),
                }
                Ok(())
            }),
            DIOCBGETSTATES => with(argument, |states: &mut BulkStates| {
                assert!(states.head.is_of::<BulkStates>());
                let bytes = buffer.expect("room for states").bytes;
                // Fewer than there is room for: a caller must go on.
                let from = &self.states[states.cursor as usize..];
                let chunk = &from[..from.len().min(states.count as usize).min(3)];
                bytes[..size_of_val(chunk)].copy_from_slice(chunk.as_bytes());
                states.count = chunk.len() as u32;
                states.cursor += u64::from(states.count);
                states.more = (chunk.len() < from.len()).into();
                Ok(())
            }),
            DIOCBADDSTATES => {
                let given = <[SyncState]>::ref_from_bytes(buffer.expect("states").bytes).unwrap();
                with(argument, |states: &mut BulkStates| {
                    assert_eq!(states.count as usize, given.len());
                    (states.count, states.error) = (0, 0);
                    for state in given {
                        if let Err(number) = self.add(state) {
                            states.error = number;
                            break;
                        }
                        states.count += 1;
                    }
                    Ok(())
                })
            }
            DIOCXBEGIN | DIOCXCOMMIT | DIOCXROLLBACK => self.transaction(cmd, argument, buffer),
            DIOCBEGINADDRS => with(argument, |pool: &mut IocPoolAddr| {
                self.pool.clear();
                pool.ticket = 7;
                Ok(())
            }),
            DIOCADDADDR => with(argument, |pool: &mut IocPoolAddr| {
                assert_eq!(pool.ticket, 7);
                self.pool.push(pool.addr);
                Ok(())
            }),
            DIOCADDRULE if IocRule::read_from_bytes(argument).is_ok_and(|rule| !rule.anchor.is_empty()) => {
                with(argument, |rule: &mut IocRule| {
                    let key = (
                        rule.anchor.as_str().unwrap().to_owned(),
                        Self::kind_of(rule.rule.action),
                    );
                    let list = self.staged_anchors.get_mut(&key).ok_or(errno::EBUSY)?;
                    list.push((rule.rule.clone(), rule.anchor_call.as_str().unwrap().to_owned()));
                    Ok(())
                })
            }
            DIOCGETRULES | DIOCGETRULE
                if IocRule::read_from_bytes(argument).is_ok_and(|rule| !rule.anchor.is_empty()) =>
            {
                with(argument, |rule: &mut IocRule| {
                    let path = rule.anchor.as_str().unwrap().to_owned();
                    if !self.anchors.keys().any(|(of, _)| *of == path) {
                        return Err(errno::EINVAL);
                    }
                    let list = self.anchors.get(&(path, Self::kind_of(rule.rule.action)));
                    if cmd == DIOCGETRULES {
                        (rule.nr, rule.ticket) = (list.map_or(0, Vec::len) as u32, 55);
                        return Ok(());
                    }
                    let (found, call) = list.and_then(|list| list.get(rule.nr as usize)).ok_or(errno::EBUSY)?;
                    rule.rule = found.clone();
                    rule.anchor_call = AnchorPath::new(call).unwrap();
                    Ok(())
                })
            }
            DIOCGETRULESETS | DIOCGETRULESET => with(argument, |ruleset: &mut IocRuleset| {
                let above = ruleset.path.as_str().unwrap();
                let mut names: Vec<String> = Vec::new();
                for (path, _) in self.anchors.keys() {
                    let within = match above {
                        "" => Some(path.as_str()),
                        above => path.strip_prefix(above).and_then(|rest| rest.strip_prefix('/')),
                    };
                    let name = within.map(|within| within.split('/').next().unwrap().to_owned());
                    names.extend(name.filter(|name| !names.contains(name)));
                }
                if cmd == DIOCGETRULESETS {
                    ruleset.nr = names.len() as u32;
                } else {
                    ruleset.name = CName::new(names.get(ruleset.nr as usize).ok_or(errno::EBUSY)?).unwrap();
                }
                Ok(())
            }),
            DIOCOSFPFLUSH => {
                self.fingerprints.clear();
                Ok(())
            }
            DIOCOSFPADD => with(argument, |print: &mut OsfpIoctl| {
                self.fingerprints.push(print.clone());
                Ok(())
            }),
            DIOCOSFPGET => with(argument, |print: &mut OsfpIoctl| {
                let found = self.fingerprints.get(print.getnum as usize).ok_or(errno::EBUSY)?;
                *print = found.clone();
                Ok(())
            }),
            DIOCCLRRULECTRS => {
                let lists = self.active.values_mut().flatten();
                lists.for_each(|(rule, _)| rule.evaluations = 0);
                Ok(())
            }
            DIOCADDRULE => with(argument, |rule: &mut IocRule| {
                let kind = Self::kind_of(rule.rule.action);
                if self.tickets.get(&kind) != Some(&rule.ticket) || rule.pool_ticket != 7 {
                    return Err(errno::EBUSY);
                }
                let list = self.inactive.get_mut(&kind).ok_or(errno::EBUSY)?;
                let mut added = rule.rule.clone();
                added.nr = list.len() as u32;
                // What a kernel knows of a rule, and a configuration does not.
                added.evaluations = 17;
                added.kif = UserPtr(0xdead);
                added.cpid = 4711;
                let call = rule.anchor_call.as_str().unwrap().to_owned();
                self.calls_of.insert((kind, list.len()), call);
                list.push((added, std::mem::take(&mut self.pool)));
                Ok(())
            }),
            DIOCGETRULES => with(argument, |rule: &mut IocRule| {
                let list = self.active.get(&Self::kind_of(rule.rule.action));
                rule.nr = list.map_or(0, Vec::len) as u32;
                rule.ticket = 55;
                Ok(())
            }),
            DIOCGETRULE => with(argument, |rule: &mut IocRule| {
                let list = self.active.get(&Self::kind_of(rule.rule.action));
                let found = list.and_then(|list| list.get(rule.nr as usize));
                let (found, _) = found.filter(|_| rule.ticket == 55).ok_or(errno::EBUSY)?;
                rule.rule = found.clone();
                let call = self.calls_of.get(&(Self::kind_of(found.action), rule.nr as usize));
                rule.anchor_call = AnchorPath::new(call.map_or("", String::as_str)).unwrap();
                Ok(())
            }),
            DIOCGETADDRS | DIOCGETADDR => with(argument, |pool: &mut IocPoolAddr| {
                let list = self.active.get(&Self::kind_of(pool.r_action));
                let found = list.and_then(|list| list.get(pool.r_num as usize));
                let (_, addresses) = found.ok_or(errno::EBUSY)?;
                if cmd == DIOCGETADDRS {
                    pool.nr = addresses.len() as u32;
                } else {
                    pool.addr = *addresses.get(pool.nr as usize).ok_or(errno::EBUSY)?;
                }
                Ok(())
            }),
            DIOCSETTIMEOUT => with(argument, |tm: &mut IocTm| {
                let old = self.timeouts.insert(tm.timeout, tm.seconds);
                tm.seconds = old.unwrap_or(0);
                Ok(())
            }),
            DIOCGETTIMEOUT => with(argument, |tm: &mut IocTm| {
                tm.seconds = self.timeouts.get(&tm.timeout).copied().unwrap_or(0);
                Ok(())
            }),
            DIOCSETLIMIT => with(argument, |limit: &mut IocLimit| {
                let old = self.limits.insert(limit.index, limit.limit);
                limit.limit = old.unwrap_or(0);
                Ok(())
            }),
            DIOCGETLIMIT => with(argument, |limit: &mut IocLimit| {
                limit.limit = self.limits.get(&limit.index).copied().unwrap_or(0);
                Ok(())
            }),
            DIOCGETSTATUS => with(argument, |status: &mut Status| {
                status.running = self.running.into();
                status.debug = self.debug;
                status.ifname = self.log_interface;
                Ok(())
            }),
            DIOCSETDEBUG => with(argument, |level: &mut u32| {
                self.debug = *level;
                Ok(())
            }),
            DIOCSETSTATUSIF => with(argument, |interface: &mut IocIf| {
                self.log_interface = interface.ifname;
                Ok(())
            }),
            DIOCSETIFFLAG => with(argument, |interface: &mut IocIface| {
                self.skipped.push(interface.name);
                Ok(())
            }),
            DIOCCLRIFFLAG => {
                self.skipped.clear();
                Ok(())
            }
            DIOCIGETIFACES => {
                let kifs = <[Kif]>::mut_from_bytes(buffer.expect("room").bytes).unwrap();
                for (kif, name) in kifs.iter_mut().zip(&self.skipped) {
                    kif.name = *name;
                    kif.flags = PFI_IFLAG_SKIP;
                }
                with(argument, |interface: &mut IocIface| {
                    interface.size = self.skipped.len() as i32;
                    Ok(())
                })
            }
            DIOCRCLRTABLES..=DIOCRINADEFINE if ioctl::name(cmd).is_some_and(|name| name.starts_with("DIOCR")) => {
                self.tables.serve(cmd, argument, buffer)
            }
            DIOCGETSTATES => self.get_states(argument, buffer),
            DIOCADDSTATES => self.add_states(argument, buffer),
            DIOCCLRSTATES => with(argument, |kill: &mut IocStateKill| {
                kill.af = self.states.len() as u8;
                self.states.clear();
                Ok(())
            }),
            DIOCKILLSTATES => with(argument, |kill: &mut IocStateKill| {
                let before = self.states.len();
                let (wanted, af) = (kill.src.addr.a.addr, kill.af);
                self.states.retain(|state| state.af != af || state.lan.addr != wanted);
                kill.af = (before - self.states.len()) as u8;
                Ok(())
            }),
            _ => Err(errno::ENODEV),
        }
    }
}

impl Device for FakePf {
    fn ioctl(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Result<(), Failure> {
        assert_eq!(argument.len(), ioctl::size(cmd));
        if let Some(before) = self.before_call {
            before(self);
        }
        let number = self.calls.len();
        self.calls.push(cmd);
        if let Some((at, errno)) = self.fail_at
            && at == number
        {
            return Err(Failure::Refused(Errno(errno)));
        }
        if self.unknown.contains(&cmd) {
            return Err(Failure::Refused(Errno(errno::ENODEV)));
        }
        // Like a kernel, it hands nothing back with an error.
        let mut copy = argument.to_vec();
        match self.answer(cmd, &mut copy, buffer) {
            Ok(()) => {
                argument.copy_from_slice(&copy);
                Ok(())
            }
            Err(number) => Err(Failure::Refused(Errno(number))),
        }
    }
}

/// A TCP connection through NAT, different for each number.
pub(crate) fn state(number: u32) -> SyncState {
    use std::net::Ipv4Addr;

    let host = |address: u32, port| SyncHost::new(Addr::from_v4(Ipv4Addr::from_bits(address)), port);
    let peer = |seqlo| SyncPeer {
        seqlo,
        seqhi: seqlo.wrapping_add(65_535),
        seqdiff: number,
        max_win: 4096,
        mss: 1460,
        state: TCPS_ESTABLISHED,
        wscale: PF_WSCALE_FLAG | 7,
        ..SyncPeer::default()
    };
    SyncState {
        id: SyncState::id_of(0x0123_4567_89ab_0000 + u64::from(number)),
        ifname: IfName::new("em0").unwrap(),
        lan: host(0x0a00_0002 + number, 1024),
        gwy: host(0xc000_0201, 50_001),
        ext: host(0xc633_6407, 443),
        src: peer(0xffff_0000 + number),
        dst: peer(1000),
        rule: NO_RULE,
        anchor: NO_RULE,
        nat_rule: NO_RULE,
        creation: 100 + number,
        expire: 86_000,
        packets: [split_counter(7), split_counter(1 << 40)],
        bytes: [split_counter(700), split_counter(u64::MAX)],
        creatorid: 0x0102_0304,
        af: AF_INET,
        proto: 6,
        direction: PF_OUT,
        timeout: PFTM_TCP_ESTABLISHED,
        ..SyncState::default()
    }
}
