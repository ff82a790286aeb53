//! Any sequence of ioctls with any arguments, pointers and lengths, by those who may write and those who may not.

use std::collections::BTreeMap;
use std::time::Duration;

use pf::kpi::{Direction, Kernel, Mbuf, SoftNet};
use pf_abi::*;
use zerocopy::IntoBytes;

use crate::common::{self, Machine, connection};
use crate::input::Input;
use crate::invariants;

/// Bytes of the piece of memory that pointers lead to.
const PIECE: usize = 0x4000;

/// Where the pointers of arguments stand.
const POINTERS: &[usize] = &[8, 24, 32, 16, 1024, 1040];

/// Caller and kernel, and what the caller remembers.
struct Session {
    machine: Machine,
    piece: UserPtr,
    commands: Vec<u64>,
    /// The last argument of each size, so that tickets find their way.
    arguments: BTreeMap<usize, Vec<u8>>,
}

impl Session {
    fn new() -> Self {
        let machine = Machine::of(Kernel::seeded(1).with_queues(&["std"]));
        let filter: Vec<_> = ["one", "two"].map(|label| (common::pass(label), vec![])).into();
        machine.load(RulesetKind::Filter, &filter).unwrap();
        let nat = [common::translate(Action::Nat, "nat", [192, 0, 2, 1])];
        machine.load(RulesetKind::Nat, &nat).unwrap();
        let states: Vec<_> = (0..8).map(connection).collect();
        machine.add_states(&states).unwrap();
        let piece = machine.memory.put(&[0; PIECE]);
        Session {
            machine,
            piece,
            commands: pf::ioctls().map(|(cmd, ..)| cmd).collect(),
            arguments: BTreeMap::new(),
        }
    }

    /// A word as it stands in hostile arguments.
    fn word(&self, input: &mut Input<'_>) -> u64 {
        match input.u8() % 8 {
            0..=2 => self.piece.0 + u64::from(input.u16()) % (PIECE as u64 + 64),
            3 => self.piece.0,
            4 => input.u8().into(),
            5 => *input.pick(&[u64::MAX, 1 << 63, 0, u32::MAX.into(), i32::MAX as u64, 1 << 31]),
            _ => input.u64(),
        }
    }

    fn call(&mut self, input: &mut Input<'_>) {
        let cmd = *input.pick(&self.commands);
        let flags = input.u8();
        let size = ioctl::size(cmd);
        let mut words = vec![0u64; size.div_ceil(8)];
        let arg = &mut words.as_mut_bytes()[..size];
        if let Some(last) = self.arguments.get(&size).filter(|_| flags & 1 != 0) {
            arg.copy_from_slice(last);
        }
        for _ in 0..flags >> 5 {
            match input.u8() % 3 {
                0 => {
                    let at = *input.pick(POINTERS);
                    let word = self.word(input);
                    if let Some(to) = arg.get_mut(at..at + 8) {
                        to.copy_from_slice(&word.to_ne_bytes());
                    }
                }
                _ => {
                    let at = input.below(size.max(1));
                    let len = usize::from(input.u8() % 32);
                    let bytes = input.bytes(len);
                    let end = (at + bytes.len()).min(size);
                    if at < end {
                        arg[at..end].copy_from_slice(&bytes[..end - at]);
                    }
                }
            }
        }
        // A head that is right more often than chance would have it.
        if flags & 2 != 0
            && let Some(head) = arg.get_mut(..8)
        {
            head.copy_from_slice([BULK_VERSION, size as u32].as_bytes());
        }
        let may_write = flags & 4 == 0;
        let before = (!may_write).then(|| self.machine.dump());
        let _ = self.machine.call_as(u64::from(flags >> 3 & 1), may_write, cmd, arg);
        if let Some(before) = before {
            assert_eq!(self.machine.dump(), before, "a reader has changed something");
        }
        let arg = arg.to_vec();
        self.arguments.insert(size, arg);
    }

    /// Bytes into the piece that pointers lead to.
    fn write(&mut self, input: &mut Input<'_>) {
        let at = input.below(PIECE);
        let len = usize::from(input.u8());
        let mut bytes = self.machine.memory.get(self.piece);
        let new = input.bytes(len);
        let end = (at + new.len()).min(PIECE);
        bytes[at..end].copy_from_slice(&new[..end - at]);
        self.machine.memory.set(self.piece, bytes);
    }

    /// A transaction that is right, around a rule that may be anything.
    fn load(&mut self, input: &mut Input<'_>) {
        let kinds = [
            RulesetKind::Filter,
            RulesetKind::Nat,
            RulesetKind::Rdr,
            RulesetKind::Scrub,
        ];
        let kind = *input.pick(&kinds);
        let action = *input.pick(&[
            Action::Pass,
            Action::Drop,
            Action::Nat,
            Action::Rdr,
            Action::NoNat,
            Action::Scrub,
        ]);
        let mut rule = Rule {
            action: action.into(),
            keep_state: input.u8() & 1,
            ..Rule::default()
        };
        patch(rule.as_mut_bytes(), input);
        let mut pool = vec![];
        for _ in 0..input.u8() % 3 {
            let [a, b, c, d] = [0; 4].map(|_| input.u8());
            let mut address = common::translate(Action::Nat, "", [a, b, c, d]).1[0];
            patch(address.as_mut_bytes(), input);
            pool.push(address);
        }
        let _ = self.machine.load(kind, &[(rule, pool)]);
    }

    /// A rule in an anchor, which may call another and speak of a table, right but for a few bytes.
    fn load_anchor(&mut self, input: &mut Input<'_>) {
        let path = *input.pick(&["", "a", "a/b", "a/c", "d"]);
        let call = *input.pick(&["", "", "a", "/a/b", "b", "../d", "*", "a/*"]);
        let mut rule = common::pass("anchored");
        if input.u8() & 1 != 0 {
            rule.src.addr.kind = PF_ADDR_TABLE;
            let name = *input.pick(&["one", "two"]);
            rule.src.addr.set_tblname(TableName::new(name).unwrap());
        }
        patch(rule.as_mut_bytes(), input);
        let count = usize::from(input.u8() % 3);
        let rules = vec![(rule, call); count];
        let _ = self.machine.load_into(path, RulesetKind::Filter, &rules);
    }

    /// Filter rules that track sources, and a pool that gives a source the same address each time.
    fn load_tracking(&mut self, input: &mut Input<'_>) {
        let mut rule = common::pass("tracked");
        rule.rule_flag = PFRULE_SRCTRACK | (u32::from(input.u8() & 1) * PFRULE_RULESRCTRACK);
        rule.max_src_nodes = input.u8().into();
        rule.max_src_states = input.u8().into();
        patch(rule.as_mut_bytes(), input);
        let _ = self.machine.load(RulesetKind::Filter, &[(rule, vec![])]);
        let (mut rule, pool) = common::translate(Action::Nat, "sticky", [192, 0, 2, 1]);
        rule.rpool.opts = u8::from(PoolKind::RoundRobin) | PF_POOL_STICKYADDR;
        patch(rule.as_mut_bytes(), input);
        let _ = self.machine.load(RulesetKind::Nat, &[(rule, pool)]);
    }

    /// Addresses into a table, out of it, or in the place of its own.
    fn fill_table(&mut self, input: &mut Input<'_>) {
        let name = *input.pick(&["one", "two", "a:one", "d:two"]);
        if input.u8() & 1 != 0 {
            let flags = *input.pick(&[0, PFR_TFLAG_PERSIST, PFR_TFLAG_CONST]);
            let _ = self.machine.add_tables(&[name], flags);
        }
        let mut addresses: Vec<TableAddr> = (0..input.u8() % 8)
            .map(|_| {
                let [c, d, len] = [0; 3].map(|_| input.u8());
                let mut address = common::tables::table_addr(&format!("10.0.{}.{}", c % 2, d % 4));
                if len & 1 != 0 {
                    (address.net, address.addr) = (24, common::tables::table_addr(&format!("10.0.{}.0", c % 2)).addr);
                }
                address.not = len >> 1 & 1;
                patch(address.as_mut_bytes(), input);
                address
            })
            .collect();
        let cmd = *input.pick(&[DIOCRADDADDRS, DIOCRDELADDRS, DIOCRSETADDRS, DIOCRCLRASTATS]);
        let _ = self.machine.addresses_call(cmd, name, 0, &mut addresses);
    }

    /// Another pool for a rule that is loaded.
    fn change_address(&mut self, input: &mut Input<'_>) {
        let action = *input.pick(&[Action::Nat, Action::Rdr, Action::Pass]);
        let mut rules = IocRule::default();
        rules.rule.action = action.into();
        self.machine.read_ioctl(DIOCGETRULES, &mut rules).unwrap();
        let mut arg = IocPoolAddr {
            action: u32::from(input.u8() % 8),
            ticket: rules.ticket,
            nr: u32::from(input.u8() % 4),
            r_action: action.into(),
            r_last: input.u8() & 1,
            addr: common::translate(Action::Nat, "", [192, 0, 2, input.u8()]).1[0],
            ..IocPoolAddr::default()
        };
        patch(arg.addr.as_mut_bytes(), input);
        let _ = self.machine.ioctl(DIOCCHANGEADDR, &mut arg);
    }

    /// States that were dumped, changed and restored.
    fn restore(&mut self, input: &mut Input<'_>) {
        let mut states = self.machine.dump();
        states.truncate(input.below(4) + 1);
        states.push(connection(u32::from(input.u8())));
        for state in &mut states {
            patch(state.as_mut_bytes(), input);
        }
        let _ = self.machine.add_states(&states);
    }

    fn packet(&mut self, input: &mut Input<'_>) {
        let direction = if input.u8() & 1 == 0 {
            Direction::In
        } else {
            Direction::Out
        };
        let index = input.u16() % 4;
        let packet = match input.u8() % 4 {
            0 => {
                let len = usize::from(input.u8());
                input.bytes(len).to_vec()
            }
            1 => common::udp_packet(),
            _ => {
                let of = connection(u32::from(input.u8() % 16));
                common::tcp_packet(&of.lan, &of.ext, of.src.seqlo, of.dst.seqlo)
            }
        };
        let _ = self
            .machine
            .pf
            .hook(&SoftNet::raise(), direction, index, Mbuf::from_bytes(packet));
    }
}

/// Changes a few bytes.
fn patch(bytes: &mut [u8], input: &mut Input<'_>) {
    for _ in 0..input.u8() % 4 {
        let at = input.below(bytes.len());
        bytes[at] = input.u8();
    }
}

fn check(machine: &Machine) {
    invariants::check(machine);
    invariants::check_identities(machine);
    invariants::check_sources(machine);
    invariants::check_tables(machine);
    invariants::check_anchors(machine);
    invariants::check_lock(machine);
}

/// Does what the bytes say, and checks after every so many steps that all is in order: it costs more than the step.
pub(crate) fn run(bytes: &[u8], every: usize) {
    let mut input = Input::new(bytes);
    let mut session = Session::new();
    for step in 1..=128 {
        if input.is_empty() {
            break;
        }
        match input.u8() {
            0..=127 => session.call(&mut input),
            128..=159 => session.write(&mut input),
            160..=183 => session.load(&mut input),
            184..=207 => session.restore(&mut input),
            208..=231 => session.packet(&mut input),
            232..=239 => session.machine.pf.close(u64::from(input.u8() & 1)),
            240..=247 => {
                session
                    .machine
                    .pf
                    .kernel()
                    .advance(Duration::from_secs(input.u16().into()));
                session.machine.pf.purge();
            }
            248 => session.load_anchor(&mut input),
            249 => session.load_tracking(&mut input),
            250 => session.fill_table(&mut input),
            251 => session.change_address(&mut input),
            _ => session.machine.pf.purge(),
        }
        if step % every == 0 {
            check(&session.machine);
        }
    }
    check(&session.machine);
    session.machine.pf.purge();
    invariants::check_tables_are_needed(&session.machine);
    // Whatever was done, the packet filter works on.
    let machine = &session.machine;
    machine.set_lock(false);
    machine.set_limit(Limit::States, 1000);
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    machine.load(RulesetKind::Filter, &common::passes(&["last"])).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["last"]);
    machine.add_state(&connection(5_000)).unwrap();
    assert_eq!(machine.dump().len(), 1);
    // What was there is given back: nobody but the state that is left holds a rule.
    assert_eq!(machine.rules(Action::Pass)[0].states, 0);
}
