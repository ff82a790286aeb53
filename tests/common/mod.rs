//! A packet filter on the host back end, and callers of its ioctls, whose memory is made up and whose pointers may lie.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod packets;
pub(crate) mod rules;
pub(crate) mod tables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pf::iface::InterfaceAddress;
use pf::kpi::host::AddressSpace;
use pf::kpi::{Caller, Direction, Errno, Kernel, Mbuf, SoftNet, UserMemory};
use pf::mem::KBox;
use pf::wire::Af;
use pf::{Pf, Verdict};
use pf_abi::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a caller has in memory: pieces at made-up addresses, with nothing between them.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl Memory {
    fn pieces(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.0.lock().unwrap()
    }

    /// Puts bytes somewhere, and says where. The next piece is far enough away that running over the end of one is seen.
    pub(crate) fn put(&self, bytes: &[u8]) -> UserPtr {
        let mut pieces = self.pieces();
        let next = pieces
            .last_key_value()
            .map_or(0x1000, |(at, piece)| at + piece.len() as u64);
        let at = (next + 0x1_0000) & !0xfff;
        pieces.insert(at, bytes.to_vec());
        UserPtr(at)
    }

    /// The bytes that were put there.
    pub(crate) fn get(&self, at: UserPtr) -> Vec<u8> {
        self.pieces()[&at.0].clone()
    }

    /// Puts other bytes of the same number there.
    pub(crate) fn set(&self, at: UserPtr, bytes: Vec<u8>) {
        let mut pieces = self.pieces();
        let piece = pieces.get_mut(&at.0).unwrap();
        assert_eq!(piece.len(), bytes.len());
        *piece = bytes;
    }

    /// Takes a piece away.
    pub(crate) fn take(&self, at: UserPtr) -> Vec<u8> {
        self.pieces().remove(&at.0).unwrap()
    }

    fn with<R>(&self, at: u64, len: usize, act: impl FnOnce(&mut [u8]) -> R) -> Result<R, Errno> {
        let mut pieces = self.pieces();
        let (start, piece) = pieces.range_mut(..=at).next_back().ok_or(Errno::Efault)?;
        let start = usize::try_from(at - start).map_err(|_| Errno::Efault)?;
        let end = start.checked_add(len).ok_or(Errno::Efault)?;
        Ok(act(piece.get_mut(start..end).ok_or(Errno::Efault)?))
    }
}

impl AddressSpace for Memory {
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.with(from, to.len(), |bytes| to.copy_from_slice(bytes))
    }

    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        self.with(to, from.len(), |bytes| bytes.copy_from_slice(from))
    }
}

/// A packet filter and somebody to talk to it.
pub(crate) struct Machine {
    pub(crate) pf: KBox<Pf>,
    pub(crate) memory: Memory,
    user: UserMemory,
}

impl Machine {
    /// One with the interfaces em0 (index 1), em1 (2) and lo0 (3), and room for a million states.
    pub(crate) fn new() -> Self {
        let machine = Self::of(Kernel::seeded(1));
        machine.set_limit(Limit::States, 1_000_000);
        machine
    }

    pub(crate) fn of(kernel: Kernel) -> Self {
        let pf = Pf::new(kernel).unwrap();
        for (index, name) in [(1, "em0"), (2, "em1"), (3, "lo0")] {
            pf.attach_interface(index, name.as_bytes()).unwrap();
        }
        let memory = Memory::default();
        let user = UserMemory::new(memory.clone());
        Machine { pf, memory, user }
    }

    /// Makes an ioctl with the device open for writing.
    pub(crate) fn ioctl<T: FromBytes + IntoBytes + Immutable>(&self, cmd: u64, arg: &mut T) -> Result<(), Errno> {
        self.call(true, cmd, arg)
    }

    /// Makes an ioctl with the device open for reading.
    pub(crate) fn read_ioctl<T: FromBytes + IntoBytes + Immutable>(&self, cmd: u64, arg: &mut T) -> Result<(), Errno> {
        self.call(false, cmd, arg)
    }

    /// Makes an ioctl without an argument.
    pub(crate) fn command(&self, cmd: u64) -> Result<(), Errno> {
        self.call_bytes(true, cmd, &mut [])
    }

    fn call<T: FromBytes + IntoBytes + Immutable>(&self, may_write: bool, cmd: u64, arg: &mut T) -> Result<(), Errno> {
        assert_eq!(ioctl::size(cmd), size_of::<T>());
        // As ioctl(2) does: the argument is copied in, and out again only where the call succeeded.
        let mut words = vec![0u64; size_of::<T>().div_ceil(8)];
        let bytes = &mut words.as_mut_bytes()[..size_of::<T>()];
        bytes.copy_from_slice(arg.as_bytes());
        self.call_bytes(may_write, cmd, bytes)?;
        *arg = T::read_from_bytes(bytes).unwrap();
        Ok(())
    }

    pub(crate) fn call_bytes(&self, may_write: bool, cmd: u64, arg: &mut [u8]) -> Result<(), Errno> {
        self.call_as(1, may_write, cmd, arg)
    }

    /// The same by one of several openers of the device.
    pub(crate) fn call_as(&self, owner: u64, may_write: bool, cmd: u64, arg: &mut [u8]) -> Result<(), Errno> {
        self.call_with(owner, [may_write, true], cmd, arg)
    }

    /// The same where kauth(9) may say no: whether the device is open for writing, and what kauth(9) says.
    pub(crate) fn call_with(
        &self,
        owner: u64,
        [writable, allowed]: [bool; 2],
        cmd: u64,
        arg: &mut [u8],
    ) -> Result<(), Errno> {
        let caller = Caller {
            owner,
            writable,
            allowed,
            uid: 42,
            pid: 4711,
            memory: &self.user,
        };
        self.pf.ioctl(&caller, cmd, arg)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.pf.kernel().advance(Duration::from_secs(seconds));
    }

    pub(crate) fn set_limit(&self, limit: Limit, value: u32) {
        let mut arg = IocLimit {
            index: limit as i32,
            limit: value,
        };
        self.ioctl(DIOCSETLIMIT, &mut arg).unwrap();
    }

    pub(crate) fn set_timeout(&self, timeout: Timeout, seconds: i32) {
        let mut arg = IocTm {
            timeout: timeout as i32,
            seconds,
        };
        self.ioctl(DIOCSETTIMEOUT, &mut arg).unwrap();
    }

    pub(crate) fn set_lock(&self, lock: bool) {
        self.ioctl(DIOCSETLCK, &mut u32::from(lock)).unwrap();
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = Status::default();
        self.read_ioctl(DIOCGETSTATUS, &mut status).unwrap();
        status
    }

    /// Gives an interface, by its index, these addresses: `192.0.2.1/24`, and nothing else about them.
    pub(crate) fn set_addresses(&self, ifindex: u16, addresses: &[&str]) {
        let address = |text: &&str| {
            let (ip, prefix) = text.split_once('/').unwrap();
            let ip: IpAddr = ip.parse().unwrap();
            let af = if ip.is_ipv4() { Af::Inet } else { Af::Inet6 };
            InterfaceAddress::new(af, ip.into(), prefix.parse().unwrap())
        };
        let addresses: Vec<_> = addresses.iter().map(address).collect();
        self.pf.set_interface_addresses(ifindex, &addresses).unwrap();
    }

    /// Runs the purge over the whole table.
    pub(crate) fn purge(&self) {
        self.set_timeout(Timeout::Interval, 1);
        for _ in 0..3 {
            self.pf.purge();
        }
    }
}

// Transactions.

/// A transaction: its lists and their tickets.
pub(crate) struct Transaction(Vec<IocTransE>);

impl Transaction {
    /// Over some lists of the main ruleset.
    pub(crate) fn new(kinds: &[RulesetKind]) -> Self {
        let element = |kind: &RulesetKind| IocTransE {
            rs_num: *kind as i32,
            ..IocTransE::default()
        };
        Transaction(kinds.iter().map(element).collect())
    }

    pub(crate) fn ticket(&self, kind: RulesetKind) -> u32 {
        self.0.iter().find(|it| it.rs_num == kind as i32).unwrap().ticket
    }

    pub(crate) fn elements(&mut self) -> &mut Vec<IocTransE> {
        &mut self.0
    }

    /// DIOCXBEGIN, DIOCXCOMMIT or DIOCXROLLBACK.
    pub(crate) fn call(&mut self, machine: &Machine, cmd: u64) -> Result<(), Errno> {
        let array = machine.memory.put(self.0.as_bytes());
        let mut arg = IocTrans {
            size: self.0.len() as i32,
            esize: size_of::<IocTransE>() as i32,
            array,
        };
        let result = machine.ioctl(cmd, &mut arg);
        let bytes = machine.memory.take(array);
        for (element, bytes) in self.0.iter_mut().zip(bytes.chunks(size_of::<IocTransE>())) {
            *element = IocTransE::read_from_bytes(bytes).unwrap();
        }
        result
    }
}

impl Machine {
    pub(crate) fn begin(&self, kinds: &[RulesetKind]) -> Transaction {
        let mut transaction = Transaction::new(kinds);
        transaction.call(self, DIOCXBEGIN).unwrap();
        transaction
    }

    /// Fills the pool's buffer; the answer is its ticket.
    pub(crate) fn pool(&self, addresses: &[PoolAddr]) -> Result<u32, Errno> {
        let mut arg = IocPoolAddr::default();
        self.ioctl(DIOCBEGINADDRS, &mut arg)?;
        for address in addresses {
            arg.addr = *address;
            arg.af = AF_INET;
            self.ioctl(DIOCADDADDR, &mut arg)?;
        }
        Ok(arg.ticket)
    }

    pub(crate) fn add_rule(&self, ticket: u32, rule: &Rule, pool: &[PoolAddr]) -> Result<(), Errno> {
        let pool_ticket = self.pool(pool)?;
        let mut arg = IocRule {
            ticket,
            pool_ticket,
            rule: rule.clone(),
            ..IocRule::default()
        };
        self.ioctl(DIOCADDRULE, &mut arg)
    }

    /// Loads rules of one kind, as one transaction.
    pub(crate) fn load(&self, kind: RulesetKind, rules: &[(Rule, Vec<PoolAddr>)]) -> Result<(), Errno> {
        let mut transaction = Transaction::new(&[kind]);
        transaction.call(self, DIOCXBEGIN)?;
        for (rule, pool) in rules {
            self.add_rule(transaction.ticket(kind), rule, pool)?;
        }
        transaction.call(self, DIOCXCOMMIT)
    }

    /// Loads rules of one kind into an anchor, as one transaction. A rule may call an anchor: its pool is that call then.
    pub(crate) fn load_into(&self, path: &str, kind: RulesetKind, rules: &[(Rule, &str)]) -> Result<(), Errno> {
        let mut transaction = Transaction::new(&[kind]);
        transaction.elements()[0].anchor = AnchorPath::new(path).unwrap();
        transaction.call(self, DIOCXBEGIN)?;
        for (rule, call) in rules {
            self.add_rule_to(path, transaction.ticket(kind), rule, call)?;
        }
        transaction.call(self, DIOCXCOMMIT)
    }

    /// Loads translation rules with their pools into an anchor, as one transaction.
    pub(crate) fn translate_in(&self, path: &str, kind: RulesetKind, rules: &[(Rule, Vec<PoolAddr>)]) {
        let mut transaction = Transaction::new(&[kind]);
        transaction.elements()[0].anchor = AnchorPath::new(path).unwrap();
        transaction.call(self, DIOCXBEGIN).unwrap();
        for (rule, pool) in rules {
            let mut arg = IocRule {
                ticket: transaction.ticket(kind),
                pool_ticket: self.pool(pool).unwrap(),
                rule: rule.clone(),
                anchor: AnchorPath::new(path).unwrap(),
                ..IocRule::default()
            };
            self.ioctl(DIOCADDRULE, &mut arg).unwrap();
        }
        transaction.call(self, DIOCXCOMMIT).unwrap();
    }

    /// DIOCADDRULE of a rule in an anchor, which may call one.
    pub(crate) fn add_rule_to(&self, path: &str, ticket: u32, rule: &Rule, call: &str) -> Result<(), Errno> {
        let mut arg = IocRule {
            ticket,
            pool_ticket: self.pool(&[])?,
            rule: rule.clone(),
            anchor: AnchorPath::new(path).unwrap(),
            anchor_call: AnchorPath::new(call).unwrap(),
            ..IocRule::default()
        };
        self.ioctl(DIOCADDRULE, &mut arg)
    }

    /// The names of the anchors right within one.
    pub(crate) fn anchors(&self, path: &str) -> Result<Vec<String>, Errno> {
        let path = AnchorPath::new(path).unwrap();
        let mut arg = IocRuleset {
            path,
            ..IocRuleset::default()
        };
        self.read_ioctl(DIOCGETRULESETS, &mut arg)?;
        let name = |nr| {
            let mut arg = IocRuleset {
                nr,
                path,
                ..IocRuleset::default()
            };
            self.read_ioctl(DIOCGETRULESET, &mut arg).unwrap();
            arg.name.as_str().unwrap().to_owned()
        };
        Ok((0..arg.nr).map(name).collect())
    }

    /// The rules of a ruleset and what they call, as a reader sees them.
    pub(crate) fn rules_of(&self, path: &str, action: Action) -> Result<Vec<(Rule, String)>, Errno> {
        let anchor = AnchorPath::new(path).unwrap();
        let mut arg = IocRule {
            anchor,
            ..IocRule::default()
        };
        arg.rule.action = action.into();
        self.read_ioctl(DIOCGETRULES, &mut arg)?;
        let ticket = arg.ticket;
        let rule = |nr| {
            let mut arg = IocRule {
                nr,
                ticket,
                anchor,
                ..IocRule::default()
            };
            arg.rule.action = action.into();
            self.read_ioctl(DIOCGETRULE, &mut arg)?;
            Ok((arg.rule, arg.anchor_call.as_str().unwrap().to_owned()))
        };
        (0..arg.nr).map(rule).collect()
    }

    /// The rules that are loaded, as a reader sees them.
    pub(crate) fn rules(&self, action: Action) -> Vec<Rule> {
        let mut arg = IocRule::default();
        arg.rule.action = action.into();
        self.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
        let ticket = arg.ticket;
        (0..arg.nr)
            .map(|nr| {
                let mut arg = IocRule {
                    nr,
                    ticket,
                    ..IocRule::default()
                };
                arg.rule.action = action.into();
                self.read_ioctl(DIOCGETRULE, &mut arg).unwrap();
                arg.rule
            })
            .collect()
    }

    /// The addresses of a loaded rule's pool.
    pub(crate) fn addresses(&self, action: Action, r_num: u32) -> Vec<PoolAddr> {
        let mut rules = IocRule::default();
        rules.rule.action = action.into();
        self.read_ioctl(DIOCGETRULES, &mut rules).unwrap();
        let mut arg = IocPoolAddr {
            r_action: action.into(),
            r_num,
            ticket: rules.ticket,
            ..IocPoolAddr::default()
        };
        self.read_ioctl(DIOCGETADDRS, &mut arg).unwrap();
        let address = |nr| {
            let mut arg = IocPoolAddr { nr, ..arg.clone() };
            self.read_ioctl(DIOCGETADDR, &mut arg).unwrap();
            arg.addr
        };
        (0..arg.nr).map(address).collect()
    }

    /// Their labels, which is how tests tell them apart.
    pub(crate) fn labels(&self, action: Action) -> Vec<String> {
        let label = |rule: Rule| rule.label.as_str().unwrap().to_owned();
        self.rules(action).into_iter().map(label).collect()
    }
}

/// `pass ... keep state label LABEL`
pub(crate) fn pass(label: &str) -> Rule {
    Rule {
        action: Action::Pass.into(),
        keep_state: PF_STATE_NORMAL,
        label: CName::new(label).unwrap(),
        ..Rule::default()
    }
}

/// `nat ... inet -> ADDR label LABEL` or `rdr`, and its pool.
pub(crate) fn translate(action: Action, label: &str, to: [u8; 4]) -> (Rule, Vec<PoolAddr>) {
    let rule = Rule {
        action: action.into(),
        af: AF_INET,
        keep_state: 0,
        ..pass(label)
    };
    let address = PoolAddr {
        addr: AddrWrap::masked(addr(IpAddr::from(to)), addr(IpAddr::from([255; 4]))),
        ..PoolAddr::default()
    };
    (rule, vec![address])
}

/// Filter rules with these labels.
pub(crate) fn passes(labels: &[&str]) -> Vec<(Rule, Vec<PoolAddr>)> {
    labels.iter().map(|label| (pass(label), vec![])).collect()
}

pub(crate) fn addr(ip: IpAddr) -> Addr {
    ip.into()
}

// States.

/// An established TCP connection through NAT, number `n` of many. Nobody made it: the table gives it its identity.
pub(crate) fn connection(n: u32) -> SyncState {
    let [_, a, b, c] = n.to_be_bytes();
    let peer = |seq: u32| SyncPeer {
        seqlo: seq,
        seqhi: seq.wrapping_add(65_535 << 7),
        max_win: 65_535,
        mss: 1460,
        state: TCPS_ESTABLISHED,
        wscale: PF_WSCALE_FLAG | 7,
        ..SyncPeer::default()
    };
    SyncState {
        ifname: IfName::new("em0").unwrap(),
        lan: SyncHost::new(addr(IpAddr::from([10, a, b, c])), 1024 + (n % 60_000) as u16),
        gwy: SyncHost::new(addr(IpAddr::from([192, a, b, c])), 50_000),
        ext: SyncHost::new(addr(IpAddr::from([198, 51, 100, 7])), 443),
        src: peer(n.wrapping_mul(0x9e37_79b9)),
        dst: peer(!n),
        rule: NO_RULE,
        anchor: NO_RULE,
        nat_rule: NO_RULE,
        creation: 100,
        expire: 3600,
        packets: [split_counter(10), split_counter(1 << 33)],
        bytes: [split_counter(1000), split_counter(1 << 40)],
        af: AF_INET,
        proto: 6,
        direction: PF_OUT,
        timeout: PFTM_TCP_ESTABLISHED,
        ..SyncState::default()
    }
}

impl Machine {
    /// DIOCADDSTATE
    pub(crate) fn add_state(&self, state: &SyncState) -> Result<(), Errno> {
        let at = self.memory.put(state.as_bytes());
        let mut arg = IocState {
            state: at,
            ..IocState::default()
        };
        let result = self.ioctl(DIOCADDSTATE, &mut arg);
        self.memory.take(at);
        result
    }

    /// DIOCADDSTATES: how many, if all were added.
    pub(crate) fn add_states(&self, states: &[SyncState]) -> Result<usize, Errno> {
        let at = self.memory.put(states.as_bytes());
        let mut arg = IocStates {
            len: size_of_val(states) as i32,
            buf: at,
            ..IocStates::default()
        };
        let result = self.ioctl(DIOCADDSTATES, &mut arg);
        self.memory.take(at);
        assert_eq!(arg.len as usize % size_of::<SyncState>(), 0);
        result.map(|()| arg.len as usize / size_of::<SyncState>())
    }

    /// DIOCGETSTATES into room for `room` bytes: the records, and `len` as it came back.
    pub(crate) fn dump_into(&self, room: usize) -> Result<(Vec<SyncState>, i32), Errno> {
        let at = self.memory.put(&vec![0xa5; room]);
        let mut arg = IocStates {
            len: room as i32,
            buf: at,
            ..IocStates::default()
        };
        let result = self.read_ioctl(DIOCGETSTATES, &mut arg);
        let bytes = self.memory.take(at);
        result?;
        let (filled, rest) = bytes.split_at(arg.len as usize);
        assert!(rest.iter().all(|byte| *byte == 0xa5), "nothing behind the last record");
        let records = filled.chunks(size_of::<SyncState>());
        Ok((
            records.map(|it| SyncState::read_from_bytes(it).unwrap()).collect(),
            arg.len,
        ))
    }

    /// All states, as pfctl(8) gets them: asks how much room they need first.
    pub(crate) fn dump(&self) -> Vec<SyncState> {
        let mut arg = IocStates::default();
        self.read_ioctl(DIOCGETSTATES, &mut arg).unwrap();
        match arg.len {
            0 => vec![],
            len => self.dump_into(len as usize).unwrap().0,
        }
    }
}

impl Machine {
    /// All source nodes, as pfctl(8) gets them, in the order of their addresses.
    pub(crate) fn sources(&self) -> Vec<SrcNode> {
        let mut arg = IocSrcNodes::default();
        self.read_ioctl(DIOCGETSRCNODES, &mut arg).unwrap();
        if arg.len == 0 {
            return vec![];
        }
        let mut nodes = self.sources_into(arg.len as usize);
        nodes.sort_by_key(|node| (node.af, node.addr.octets(), node.rule));
        nodes
    }

    /// Source nodes, as many as there is room for.
    pub(crate) fn sources_into(&self, room: usize) -> Vec<SrcNode> {
        let at = self.memory.put(&vec![0xa5; room]);
        let mut arg = IocSrcNodes {
            len: room as i32,
            buf: at,
            ..IocSrcNodes::default()
        };
        self.read_ioctl(DIOCGETSRCNODES, &mut arg).unwrap();
        let bytes = self.memory.take(at);
        let (filled, rest) = bytes.split_at(arg.len as usize);
        assert!(rest.iter().all(|byte| *byte == 0xa5), "nothing behind the last record");
        let records = filled.chunks(size_of::<SrcNode>());
        records.map(|it| SrcNode::read_from_bytes(it).unwrap()).collect()
    }
}

/// The same, in an order of their own.
pub(crate) fn sorted(mut states: Vec<SyncState>) -> Vec<SyncState> {
    states.sort_by_key(|state| (state.lan.addr.octets(), state.lan.port.get(), state.proto, state.id));
    states
}

impl Machine {
    /// DIOCIGETIFACES
    pub(crate) fn interfaces(&self, filter: &str) -> Vec<Kif> {
        let mut arg = IocIface {
            name: IfName::new(filter).unwrap(),
            esize: size_of::<Kif>() as i32,
            ..IocIface::default()
        };
        self.read_ioctl(DIOCIGETIFACES, &mut arg).unwrap();
        let count = arg.size as usize;
        arg.buffer = self.memory.put(&vec![0xa5; count * size_of::<Kif>()]);
        self.read_ioctl(DIOCIGETIFACES, &mut arg).unwrap();
        assert_eq!(arg.size as usize, count);
        let bytes = self.memory.take(arg.buffer);
        let kifs = bytes.chunks(size_of::<Kif>());
        kifs.map(|kif| Kif::read_from_bytes(kif).unwrap()).collect()
    }
}

// Packets.

impl Machine {
    /// Lets a packet cross an interface, by its index: what comes out, if anything does.
    pub(crate) fn send(&self, ifindex: u16, direction: Direction, packet: &[u8]) -> Option<Vec<u8>> {
        let level = SoftNet::raise();
        match self.pf.hook(&level, direction, ifindex, Mbuf::from_bytes(packet)) {
            Verdict::Pass(packet) => Some(packet.to_bytes()),
            Verdict::Drop | Verdict::Kept | Verdict::Routed => None,
        }
    }
}

/// An IPv4 packet.
pub(crate) fn packet(proto: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, proto, 0, 0];
    packet.extend([src, dst].as_flattened());
    let words = packet
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let checksum = !((sum >> 16) + (sum & 0xffff)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// From 10.0.0.1 port 1025 to 198.51.100.7 port 53, without a checksum of UDP's own.
pub(crate) fn udp_packet() -> Vec<u8> {
    packet(
        17,
        [10, 0, 0, 1],
        [198, 51, 100, 7],
        &[4, 1, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4],
    )
}

/// Ten bytes over TCP.
pub(crate) fn tcp_packet(src: &SyncHost, dst: &SyncHost, seq: u32, ack: u32) -> Vec<u8> {
    let mut segment = [src.port.get().to_be_bytes(), dst.port.get().to_be_bytes()].concat();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    // The data offset, ACK and PSH, a window.
    segment.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend([7; 10]);
    packet(6, src.addr.v4().octets(), dst.addr.v4().octets(), &segment)
}
