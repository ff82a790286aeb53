//! Rules through transactions.

use pf::kpi::host::fail_allocations;
use pf::kpi::{Direction, Errno};
use pf_abi::*;
use zerocopy::IntoBytes;

use crate::common::*;

use RulesetKind::{Altq, Binat, Filter, Nat, Rdr, Scrub, Table};

#[test]
fn what_was_loaded_is_what_is_told() {
    let machine = Machine::new();
    let mut rule = pass("first");
    rule.ifname = IfName::new("em1").unwrap();
    rule.direction = PF_OUT;
    rule.quick = 1;
    (rule.af, rule.proto) = (AF_INET, 6);
    rule.dst.port_op = PF_OP_EQ;
    rule.dst.port[0] = Be16::new(443);
    rule.timeout[0] = 30;
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    machine
        .load(Filter, &[(rule.clone(), vec![]), (pass("second"), vec![])])
        .unwrap();
    machine.load(Nat, &[(nat.clone(), pool.clone())]).unwrap();
    let told = machine.rules(Action::Pass);
    let of_kernel = |rule: &Rule, nr| Rule {
        nr,
        cuid: 42,
        cpid: 4711,
        skip: [NO_RULE.into(); PF_SKIP_COUNT],
        ..rule.clone()
    };
    assert_eq!(told, [of_kernel(&rule, 0), of_kernel(&pass("second"), 1)]);
    assert_eq!(
        machine.rules(Action::NoNat),
        [of_kernel(&nat, 0)],
        "a list by any of its actions"
    );
    assert_eq!(machine.rules(Action::Rdr), vec![]);
    assert_eq!(machine.addresses(Action::Nat, 0), pool);
    assert_eq!(machine.addresses(Action::Pass, 1), vec![]);
}

#[test]
fn pointers_and_counters_of_the_caller_go_nowhere() {
    let machine = Machine::new();
    let (mut rule, mut pool) = translate(Action::Rdr, "rdr", [10, 0, 0, 1]);
    let wild = UserPtr(0xffff_ffff_8123_4567);
    rule.skip = [wild.0; PF_SKIP_COUNT];
    rule.entries = [wild; 2];
    rule.rpool.list = [wild; 2];
    (rule.rpool.cur, rule.kif, rule.anchor, rule.overload_tbl) = (wild, wild, wild, wild);
    (rule.src.addr.p, rule.dst.addr.p) = (wild.0, wild.0);
    (rule.evaluations, rule.packets, rule.bytes) = (7, [7; 2], [7; 2]);
    (rule.states, rule.src_nodes, rule.nr, rule.cuid, rule.cpid) = (7, 7, 7, 7, 7);
    (pool[0].entries, pool[0].kif, pool[0].addr.p) = ([wild; 2], wild, wild.0);
    machine.load(Rdr, &[(rule, pool)]).unwrap();
    let told = machine.rules(Action::Rdr).remove(0);
    let wild = wild.0.to_ne_bytes();
    assert!(!told.as_bytes().windows(8).any(|bytes| bytes == wild));
    assert!(!told.as_bytes().contains(&7));
    let pool = machine.addresses(Action::Rdr, 0).remove(0);
    assert_eq!(pool, translate(Action::Rdr, "rdr", [10, 0, 0, 1]).1[0]);
}

#[test]
fn nothing_is_loaded_before_the_commit() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let mut transaction = machine.begin(&[Filter, Nat]);
    machine.add_rule(transaction.ticket(Filter), &pass("new"), &[]).unwrap();
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    machine.add_rule(transaction.ticket(Nat), &nat, &pool).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["old"]);
    assert_eq!(machine.labels(Action::Nat), Vec::<String>::new());
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["new"]);
    assert_eq!(machine.labels(Action::Nat), ["nat"]);
    // It is over: neither more rules, nor another commit.
    assert_eq!(
        machine.add_rule(transaction.ticket(Filter), &pass("late"), &[]),
        Err(Errno::Ebusy)
    );
    assert_eq!(transaction.call(&machine, DIOCXCOMMIT), Err(Errno::Ebusy));
    assert_eq!(machine.labels(Action::Pass), ["new"]);
}

#[test]
fn packets_are_judged_by_what_is_loaded() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let packet = udp_packet();
    assert_eq!(machine.send(1, Direction::In, &packet), Some(packet.clone()));
    let block = Rule {
        action: Action::Drop.into(),
        ifname: IfName::new("em1").unwrap(),
        keep_state: 0,
        ..pass("block")
    };
    machine.load(Filter, &[(block, vec![])]).unwrap();
    assert_eq!(machine.send(2, Direction::In, &packet), None);
    assert_eq!(machine.send(1, Direction::In, &packet), Some(packet.clone()));
    machine.load(Filter, &[]).unwrap();
    assert_eq!(machine.send(2, Direction::In, &packet), Some(packet));
}

#[test]
fn a_rollback_forgets() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let mut transaction = machine.begin(&[Filter]);
    machine.add_rule(transaction.ticket(Filter), &pass("new"), &[]).unwrap();
    transaction.call(&machine, DIOCXROLLBACK).unwrap();
    transaction.call(&machine, DIOCXROLLBACK).unwrap();
    assert_eq!(transaction.call(&machine, DIOCXCOMMIT), Err(Errno::Ebusy));
    assert_eq!(machine.labels(Action::Pass), ["old"]);
    let mut transaction = machine.begin(&[Filter]);
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(
        machine.labels(Action::Pass),
        Vec::<String>::new(),
        "what was rolled back is gone"
    );
}

#[test]
fn who_begins_last_goes_on() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let mut one = machine.begin(&[Filter, Nat]);
    machine.add_rule(one.ticket(Filter), &pass("one"), &[]).unwrap();
    let mut two = machine.begin(&[Filter]);
    assert_ne!(one.ticket(Filter), two.ticket(Filter));
    assert_eq!(
        machine.add_rule(one.ticket(Filter), &pass("one"), &[]),
        Err(Errno::Ebusy)
    );
    machine.add_rule(two.ticket(Filter), &pass("two"), &[]).unwrap();
    // One of its lists is gone, so it commits none.
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    machine.add_rule(one.ticket(Nat), &nat, &pool).unwrap();
    assert_eq!(one.call(&machine, DIOCXCOMMIT), Err(Errno::Ebusy));
    assert_eq!(
        (machine.labels(Action::Pass), machine.labels(Action::Nat)),
        (vec!["old".into()], vec![])
    );
    // Its rollback does not touch what is another's by now.
    one.call(&machine, DIOCXROLLBACK).unwrap();
    two.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["two"]);
}

#[test]
fn a_list_named_twice_is_committed_once() {
    let machine = Machine::new();
    // Each has a ticket of its own, and the first is stale by then.
    let mut twice = machine.begin(&[Filter, Filter]);
    assert_eq!(twice.call(&machine, DIOCXCOMMIT), Err(Errno::Ebusy));
    let mut once = machine.begin(&[Filter]);
    machine.add_rule(once.ticket(Filter), &pass("rule"), &[]).unwrap();
    let again = once.elements()[0].clone();
    once.elements().push(again);
    once.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["rule"]);
}

#[test]
fn tickets_of_the_pool_go_stale_as_well() {
    let machine = Machine::new();
    let transaction = machine.begin(&[Nat]);
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    let stale = machine.pool(&pool).unwrap();
    let fresh = machine.pool(&pool).unwrap();
    let add = |pool_ticket| {
        let mut arg = IocRule {
            ticket: transaction.ticket(Nat),
            pool_ticket,
            rule: nat.clone(),
            ..IocRule::default()
        };
        machine.ioctl(DIOCADDRULE, &mut arg)
    };
    assert_eq!(add(stale), Err(Errno::Ebusy));
    assert_eq!(add(fresh), Ok(()));
    assert_eq!(add(fresh), Err(Errno::Einval), "the addresses are the first rule's");
    let mut address = IocPoolAddr {
        ticket: stale,
        af: AF_INET,
        addr: pool[0],
        ..IocPoolAddr::default()
    };
    assert_eq!(machine.ioctl(DIOCADDADDR, &mut address), Err(Errno::Ebusy));
}

#[test]
fn all_kinds_of_lists_have_tickets_but_queues() {
    let machine = Machine::new();
    // What pfctl(8) begins when it loads a ruleset without queues.
    let mut transaction = machine.begin(&[Scrub, Filter, Nat, Binat, Rdr, Table]);
    machine
        .add_rule(transaction.ticket(Filter), &pass("rule"), &[])
        .unwrap();
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["rule"]);
    assert_eq!(machine.labels(Action::Scrub), Vec::<String>::new());
    assert_eq!(Transaction::new(&[Altq]).call(&machine, DIOCXBEGIN), Err(Errno::Einval));
    for rs_num in [-1, 7, i32::MIN, i32::MAX] {
        let mut odd = Transaction::new(&[Filter, Filter]);
        odd.elements()[1].rs_num = rs_num;
        for cmd in [DIOCXBEGIN, DIOCXCOMMIT, DIOCXROLLBACK] {
            assert_eq!(odd.call(&machine, cmd), Err(Errno::Einval), "{rs_num}");
        }
    }
}

#[test]
fn a_begin_that_fails_begins_nothing() {
    let machine = Machine::new();
    let mut open = machine.begin(&[Filter]);
    machine.add_rule(open.ticket(Filter), &pass("rule"), &[]).unwrap();
    // One of its lists cannot be, so none is begun, and whoever is at another goes on.
    let mut odd = Transaction::new(&[Filter, Altq]);
    assert_eq!(odd.call(&machine, DIOCXBEGIN), Err(Errno::Einval));
    open.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.labels(Action::Pass), ["rule"]);
}

#[test]
fn transactions_that_lie_about_their_elements() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let elements: Vec<_> = (0..70)
        .map(|_| IocTransE {
            rs_num: Filter as i32,
            ..IocTransE::default()
        })
        .collect();
    let array = machine.memory.put(elements[..1].as_bytes());
    let many = machine.memory.put(elements.as_bytes());
    let esize = size_of::<IocTransE>() as i32;
    for cmd in [DIOCXBEGIN, DIOCXCOMMIT, DIOCXROLLBACK] {
        let call = |size, esize, array| machine.ioctl(cmd, &mut IocTrans { size, esize, array });
        let name = ioctl::name(cmd);
        assert_eq!(call(1, esize - 4, array), Err(Errno::Enodev), "{name:?}");
        assert_eq!(call(1, -1, array), Err(Errno::Enodev), "{name:?}");
        assert_eq!(call(-1, esize, array), Err(Errno::Einval), "{name:?}");
        assert_eq!(call((1 << 14) + 1, esize, many), Err(Errno::Einval), "{name:?}");
        assert_eq!(call(i32::MAX, esize, many), Err(Errno::Einval), "{name:?}");
        assert_eq!(call(2, esize, array), Err(Errno::Efault), "{name:?}");
        assert_eq!(call(1, esize, UserPtr(0)), Err(Errno::Efault), "{name:?}");
        assert_eq!(call(1, esize, UserPtr(u64::MAX - 8)), Err(Errno::Efault), "{name:?}");
        assert_eq!(
            call(64, esize, UserPtr(u64::MAX - 10_000)),
            Err(Errno::Efault),
            "{name:?}"
        );
        assert_eq!(call(0, esize, UserPtr(0)), Ok(()), "{name:?}");
    }
    assert_eq!(machine.labels(Action::Pass), ["old"]);
}

#[test]
fn paths_without_an_end_are_refused() {
    let machine = Machine::new();
    let mut endless = AnchorPath::EMPTY;
    endless.as_mut_bytes().fill(b'a');
    {
        let (anchor, errno) = (endless, Errno::Einval);
        let mut transaction = Transaction::new(&[Filter]);
        transaction.elements()[0].anchor = anchor;
        assert_eq!(transaction.call(&machine, DIOCXBEGIN), Err(errno));
        let ticket = machine.begin(&[Filter]).ticket(Filter);
        let pool_ticket = machine.pool(&[]).unwrap();
        let rule = IocRule {
            ticket,
            pool_ticket,
            rule: pass("rule"),
            ..IocRule::default()
        };
        let mut inside = IocRule { anchor, ..rule.clone() };
        assert_eq!(machine.ioctl(DIOCADDRULE, &mut inside), Err(errno));
        let mut calling = IocRule {
            anchor_call: anchor,
            ..rule
        };
        assert_eq!(machine.ioctl(DIOCADDRULE, &mut calling), Err(errno));
        // There is none to ask about.
        for cmd in [DIOCGETRULES, DIOCGETRULE] {
            let mut arg = IocRule {
                anchor,
                ..IocRule::default()
            };
            assert_eq!(machine.read_ioctl(cmd, &mut arg), Err(Errno::Einval));
        }
        for cmd in [DIOCGETRULESETS, DIOCGETRULESET] {
            let mut arg = IocRuleset {
                path: anchor,
                ..IocRuleset::default()
            };
            assert_eq!(machine.read_ioctl(cmd, &mut arg), Err(Errno::Einval));
        }
    }
    let mut main = IocRuleset {
        nr: 7,
        ..IocRuleset::default()
    };
    machine.read_ioctl(DIOCGETRULESETS, &mut main).unwrap();
    assert_eq!(main.nr, 0);
    assert_eq!(machine.read_ioctl(DIOCGETRULESET, &mut main), Err(Errno::Ebusy));
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let machine = Machine::new();
    let transaction = machine.begin(&[Filter, Nat]);
    let add = |rule: Rule, pool: &[PoolAddr]| {
        let kind = Action::try_from(rule.action).ok().and_then(Action::ruleset);
        let ticket = transaction.ticket(kind.filter(|kind| *kind == Nat).unwrap_or(Filter));
        machine.add_rule(ticket, &rule, pool)
    };
    type Change = fn(&mut Rule);
    let cases: &[(&str, Errno, Change)] = &[
        ("an action that there is not", Errno::Einval, |rule| rule.action = 77),
        ("an action that is no rule's", Errno::Einval, |rule| {
            rule.action = PF_SYNPROXY_DROP
        }),
        ("a list that was not begun", Errno::Ebusy, |rule| rule.action = PF_RDR),
        ("a direction", Errno::Einval, |rule| rule.direction = 3),
        ("a family", Errno::Einval, |rule| rule.af = 77),
        ("an operator", Errno::Einval, |rule| {
            (rule.proto, rule.dst.port_op) = (6, 99)
        }),
        ("an interface", Errno::Einval, |rule| {
            rule.ifname.as_mut_bytes().fill(b'a')
        }),
        ("a label", Errno::Einval, |rule| rule.label.as_mut_bytes().fill(b'a')),
        ("a queue", Errno::Einval, |rule| rule.qname.as_mut_bytes().fill(b'a')),
        ("another queue", Errno::Einval, |rule| {
            rule.pqname.as_mut_bytes().fill(b'a')
        }),
        ("a tag", Errno::Einval, |rule| rule.tagname.as_mut_bytes().fill(b'a')),
        ("a tag to match", Errno::Einval, |rule| {
            rule.match_tagname.as_mut_bytes().fill(b'a')
        }),
        ("a table", Errno::Einval, |rule| {
            rule.overload_tblname.as_mut_bytes().fill(b'a')
        }),
        ("a label that is no text", Errno::Einval, |rule| {
            rule.label.as_mut_bytes()[0] = 0xff
        }),
        ("scrub", Errno::Ebusy, |rule| rule.action = PF_SCRUB),
        ("more than any state", Errno::Einval, |rule| rule.keep_state = 9),
        ("a seventeenth pflog", Errno::Einval, |rule| {
            (rule.log, rule.logif) = (PF_LOG, PFLOGIFS_MAX)
        }),
        ("route-to nowhere", Errno::Einval, |rule| {
            (rule.rt, rule.direction) = (PF_ROUTETO, PF_IN)
        }),
        ("a message that ICMP does not have", Errno::Einval, |rule| {
            (rule.action, rule.rule_flag, rule.return_icmp) = (PF_DROP, PFRULE_RETURNICMP, 41 << 8)
        }),
        ("an answer that is no error of ICMPv6", Errno::Einval, |rule| {
            (rule.action, rule.rule_flag, rule.return_icmp6) = (PF_DROP, PFRULE_RETURNICMP, 128 << 8)
        }),
        ("a route that there is not", Errno::Einval, |rule| rule.rt = 9),
    ];
    for (what, errno, change) in cases {
        let mut rule = pass("rule");
        change(&mut rule);
        assert_eq!(add(rule, &[]), Err(*errno), "{what}");
    }
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    assert_eq!(add(nat.clone(), &[]), Err(Errno::Einval), "nowhere to translate to");
    let mut masked = nat.clone();
    masked.rpool.opts = PF_POOL_BITMASK;
    assert_eq!(
        add(masked, &[pool[0]; 2]),
        Err(Errno::Einval),
        "more than one network under a bitmask"
    );
    assert_eq!(
        add(pass("rule"), &pool),
        Err(Errno::Einval),
        "a pool that is for nothing"
    );
    let mut transaction = transaction;
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(machine.rules(Action::Pass), vec![]);
    assert_eq!(machine.rules(Action::Nat), vec![]);
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    let machine = Machine::new();
    let ticket = machine.pool(&[]).unwrap();
    let address = translate(Action::Nat, "nat", [192, 0, 2, 1]).1[0];
    let good = IocPoolAddr {
        ticket,
        af: AF_INET,
        addr: address,
        ..IocPoolAddr::default()
    };
    let of_kind = |kind| {
        let mut of_kind = address;
        of_kind.addr.kind = kind;
        of_kind
    };
    let mut endless = address;
    endless.ifname.as_mut_bytes().fill(b'a');
    for (what, addr, af) in [
        ("an unknown kind", of_kind(77), AF_INET),
        ("no route", of_kind(PF_ADDR_NOROUTE), AF_INET),
        ("a route's label", of_kind(PF_ADDR_RTLABEL), AF_INET),
        ("an interface without an end", endless, AF_INET),
        ("a family that there is not", address, 77),
    ] {
        let mut arg = IocPoolAddr {
            addr,
            af,
            ..good.clone()
        };
        assert_eq!(machine.ioctl(DIOCADDADDR, &mut arg), Err(Errno::Einval), "{what}");
    }
    let failing = fail_allocations(0);
    assert_eq!(machine.ioctl(DIOCADDADDR, &mut good.clone()), Err(Errno::Enomem));
    drop(failing);
    machine.ioctl(DIOCADDADDR, &mut good.clone()).unwrap();
    // There is an end to a pool.
    let mut last = Ok(());
    for _ in 0..1 << 16 {
        last = machine.ioctl(DIOCADDADDR, &mut good.clone());
    }
    assert_eq!(last, Err(Errno::Enospc));
}

#[test]
fn rules_are_asked_for_by_the_ticket_of_what_is_loaded() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["a", "b"])).unwrap();
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    machine.load(Nat, &[(nat, pool)]).unwrap();
    let mut arg = IocRule::default();
    machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
    assert_eq!(arg.nr, 2);
    let get = |ticket, nr, action| {
        let mut arg = IocRule {
            ticket,
            nr,
            action,
            ..IocRule::default()
        };
        machine.read_ioctl(DIOCGETRULE, &mut arg)
    };
    assert_eq!(get(arg.ticket, 1, PF_GET_NONE), Ok(()));
    for nr in [2, i32::MAX as u32, u32::MAX] {
        assert_eq!(get(arg.ticket, nr, PF_GET_NONE), Err(Errno::Ebusy), "{nr}");
    }
    assert_eq!(get(arg.ticket + 1, 0, PF_GET_NONE), Err(Errno::Ebusy));
    assert_eq!(get(arg.ticket, 0, 77), Ok(()), "an action that is not set");
    // What somebody has begun is not what is loaded; what he has committed is.
    let mut transaction = machine.begin(&[Filter]);
    machine.add_rule(transaction.ticket(Filter), &pass("c"), &[]).unwrap();
    assert_eq!(get(arg.ticket, 0, PF_GET_NONE), Ok(()));
    assert_eq!(get(transaction.ticket(Filter), 0, PF_GET_NONE), Err(Errno::Ebusy));
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(get(arg.ticket, 0, PF_GET_NONE), Err(Errno::Ebusy));
    assert_eq!(get(transaction.ticket(Filter), 0, PF_GET_NONE), Ok(()));
    let mut odd = IocRule::default();
    for action in [PF_SYNPROXY_DROP, 77] {
        odd.rule.action = action;
        assert_eq!(machine.read_ioctl(DIOCGETRULES, &mut odd), Err(Errno::Einval));
        assert_eq!(machine.read_ioctl(DIOCGETRULE, &mut odd), Err(Errno::Einval));
    }
    // The same with addresses.
    machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
    arg.rule.action = PF_NAT;
    machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
    let get = |ticket, r_num, nr, r_last| {
        let mut asked = IocPoolAddr {
            r_action: PF_NAT,
            ticket,
            r_num,
            nr,
            r_last,
            ..IocPoolAddr::default()
        };
        machine.read_ioctl(DIOCGETADDR, &mut asked)
    };
    assert_eq!(get(arg.ticket, 0, 0, 0), Ok(()));
    assert_eq!(
        get(arg.ticket, 99, 0, 1),
        Err(Errno::Ebusy),
        "what asks by number does not mean the last"
    );
    assert_eq!(get(arg.ticket, 0, 1, 0), Err(Errno::Ebusy));
    assert_eq!(get(arg.ticket, 1, 0, 0), Err(Errno::Ebusy));
    assert_eq!(get(arg.ticket + 1, 0, 0, 0), Err(Errno::Ebusy));
    let mut nowhere = IocPoolAddr {
        r_action: PF_NAT,
        r_num: 1,
        ..IocPoolAddr::default()
    };
    assert_eq!(machine.read_ioctl(DIOCGETADDRS, &mut nowhere), Err(Errno::Ebusy));
}

#[test]
fn counters_are_cleared_by_who_may() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    machine.load(Filter, &passes(&["a", "b"])).unwrap();
    let count = || machine.send(1, Direction::In, &udp_packet()).unwrap();
    let evaluations = || -> Vec<u64> {
        machine
            .rules(Action::Pass)
            .iter()
            .map(|rule| rule.evaluations)
            .collect()
    };
    count();
    assert_eq!(evaluations(), [1, 1]);
    assert_eq!(machine.rules(Action::Pass)[1].packets, [1, 0]);
    assert_eq!(machine.rules(Action::Pass)[1].bytes, [32, 0]);
    let mut arg = IocRule::default();
    machine.read_ioctl(DIOCGETRULES, &mut arg).unwrap();
    arg.action = PF_GET_CLR_CNTR;
    arg.nr = 1;
    assert_eq!(machine.read_ioctl(DIOCGETRULE, &mut arg), Err(Errno::Eacces));
    assert_eq!(evaluations(), [1, 1]);
    machine.ioctl(DIOCGETRULE, &mut arg).unwrap();
    assert_eq!(arg.rule.packets, [1, 0], "as they were");
    assert_eq!(evaluations(), [1, 0]);
    assert_eq!(
        machine.rules(Action::Pass)[1].states,
        1,
        "the number of states is no counter"
    );
    machine.command(DIOCCLRRULECTRS).unwrap();
    assert_eq!(evaluations(), [0, 0]);
}

#[test]
fn what_a_rule_counts_while_it_is_told_is_in_the_next_reading() {
    const PACKETS: u64 = 5_000;
    let machine = Machine::new();
    let mut rule = pass("all");
    rule.keep_state = 0;
    machine.load(Filter, &[(rule, vec![])]).unwrap();
    machine.command(DIOCSTART).unwrap();
    let mut asked = IocRule::default();
    machine.read_ioctl(DIOCGETRULES, &mut asked).unwrap();
    asked.action = PF_GET_CLR_CNTR;
    asked.nr = 0;
    let mut sum = [0; 3];
    let mut read = || {
        let mut arg = asked.clone();
        machine.ioctl(DIOCGETRULE, &mut arg).unwrap();
        let told = [arg.rule.evaluations, arg.rule.packets[0], arg.rule.bytes[0]];
        sum.iter_mut().zip(told).for_each(|(sum, told)| *sum += told);
    };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for _ in 0..PACKETS {
                machine.send(1, Direction::In, &udp_packet()).unwrap();
            }
        });
        while !sender.is_finished() {
            read();
        }
    });
    read();
    assert_eq!(sum, [PACKETS, PACKETS, 32 * PACKETS]);
}

#[test]
fn the_counters_of_many_rules_are_cleared() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let labels: Vec<_> = (0..600).map(|n| format!("rule {n}")).collect();
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    machine.load(Filter, &passes(&labels)).unwrap();
    machine.send(1, Direction::In, &udp_packet()).unwrap();
    assert!(machine.rules(Action::Pass).iter().all(|rule| rule.evaluations == 1));
    machine.command(DIOCCLRRULECTRS).unwrap();
    assert!(machine.rules(Action::Pass).iter().all(|rule| rule.evaluations == 0));
}

#[test]
fn without_memory_what_was_loaded_stays() {
    let machine = Machine::new();
    machine.load(Filter, &passes(&["old"])).unwrap();
    let (nat, pool) = translate(Action::Nat, "old nat", [192, 0, 2, 1]);
    machine.load(Nat, &[(nat, pool)]).unwrap();
    let (mut failures, mut of_commits) = (0, 0);
    for after in 0.. {
        let mut transaction = Transaction::new(&[Filter, Nat]);
        let mut rule = pass("new");
        rule.ifname = IfName::new(&format!("tun{after}")).unwrap();
        let (nat, pool) = translate(Action::Nat, "new nat", [192, 0, 2, 2]);
        let failing = fail_allocations(after);
        let gathered = transaction
            .call(&machine, DIOCXBEGIN)
            .and_then(|()| machine.add_rule(transaction.ticket(Filter), &rule, &[]))
            .and_then(|()| machine.add_rule(transaction.ticket(Filter), &pass("newer"), &[]))
            .and_then(|()| machine.add_rule(transaction.ticket(Nat), &nat, &pool));
        let committed = gathered.and_then(|()| transaction.call(&machine, DIOCXCOMMIT));
        drop(failing);
        if committed == Ok(()) {
            assert_eq!(machine.labels(Action::Pass), ["new", "newer"]);
            assert_eq!(machine.labels(Action::Nat), ["new nat"]);
            break;
        }
        assert_eq!(committed, Err(Errno::Enomem));
        assert_eq!(machine.labels(Action::Pass), ["old"]);
        assert_eq!(machine.labels(Action::Nat), ["old nat"]);
        failures += 1;
        of_commits += usize::from(gathered.is_ok());
    }
    assert!(failures > 15 && of_commits > 2, "{failures} and {of_commits}");
}

#[test]
fn rules_live_as_long_as_their_states() {
    let machine = Machine::new();
    machine.command(DIOCSTART).unwrap();
    let (rdr, pool) = translate(Action::Rdr, "rdr", [10, 9, 9, 9]);
    machine.load(Rdr, &[(rdr, pool)]).unwrap();
    machine.load(Filter, &passes(&["rule"])).unwrap();
    let translated = machine.send(1, Direction::In, &udp_packet()).unwrap();
    assert_eq!(translated[16..20], [10, 9, 9, 9]);
    // Neither rule is loaded any more; the connection goes on as it began.
    machine.load(Rdr, &[]).unwrap();
    machine.load(Filter, &[]).unwrap();
    assert_eq!(machine.send(1, Direction::In, &udp_packet()), Some(translated));
    let state = machine.dump()[0];
    assert_eq!((state.rule, state.nat_rule), (NO_RULE, NO_RULE));
    assert_eq!(join_counter(state.packets[0]), 2);
}

/// The order in which NetBSD's own pfctl(8) goes about `pfctl -f` and `pfctl -s rules`.
#[test]
fn a_session_of_pfctl() {
    let machine = Machine::new();
    assert_eq!(machine.ioctl(DIOCGETALTQS, &mut IocAltq::default()), Err(Errno::Enodev));
    let mut flags = IocIface {
        flags: PFI_IFLAG_SKIP,
        ..IocIface::default()
    };
    machine.ioctl(DIOCCLRIFFLAG, &mut flags).unwrap();
    machine.command(DIOCOSFPFLUSH).unwrap();
    machine.ioctl(DIOCOSFPADD, &mut OsfpIoctl::default()).unwrap();
    let mut transaction = machine.begin(&[Scrub, Filter, Nat, Binat, Rdr, Table]);
    let (nat, pool) = translate(Action::Nat, "nat", [192, 0, 2, 1]);
    machine.add_rule(transaction.ticket(Nat), &nat, &pool).unwrap();
    machine
        .add_rule(transaction.ticket(Filter), &pass("rule"), &[])
        .unwrap();
    for limit in Limit::ALL {
        machine.set_limit(*limit, limit.default_value());
    }
    for timeout in Timeout::ALL {
        machine.set_timeout(*timeout, timeout.default_value() as i32);
    }
    machine.ioctl(DIOCSETDEBUG, &mut PF_DEBUG_URGENT.clone()).unwrap();
    machine.ioctl(DIOCSETSTATUSIF, &mut IocIf::default()).unwrap();
    machine.ioctl(DIOCSETHOSTID, &mut 0).unwrap();
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    machine.command(DIOCSTART).unwrap();
    machine.read_ioctl(DIOCOSFPGET, &mut OsfpIoctl::default()).unwrap();
    for (action, labels) in [
        (Action::Scrub, vec![]),
        (Action::Pass, vec!["rule"]),
        (Action::Nat, vec!["nat"]),
    ] {
        assert_eq!(machine.labels(action), labels);
        for nr in 0..labels.len() as u32 {
            machine.addresses(action, nr);
        }
    }
}
