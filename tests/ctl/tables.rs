//! Tables and their addresses: each ioctl, what it answers and what it refuses; and tables in transactions.

use Feedback::{Added, Changed, Cleared, Conflict, Deleted, Duplicate, Match, NotMatch};
use RulesetKind::{Filter, Table as Tables};
use pf::kpi::Errno;
use pf_abi::*;
use zerocopy::IntoBytes;

use crate::common::rules::Words;
use crate::common::tables::*;
use crate::common::*;

const PERSIST: u32 = PFR_TFLAG_PERSIST;
const ACTIVE: u32 = PFR_TFLAG_ACTIVE;
const REFERENCED: u32 = PFR_TFLAG_REFERENCED;

fn all_addresses(machine: &Machine, name: &str) -> Vec<String> {
    machine.table_addresses(name).unwrap()
}

// Addresses.

#[test]
fn addresses_are_added_and_told_about() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.0/8"]);
    let mut given = addrs(&[
        "10.0.0.0/8",
        "! 10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.0.0/16",
        "::1",
        "! 0.0.0.0/0",
    ]);
    let arg = machine
        .addresses_call(DIOCRADDADDRS, "bad", PFR_FLAG_FEEDBACK | PFR_FLAG_ATOMIC, &mut given)
        .unwrap();
    assert_eq!(arg.nadd, 3);
    let expected = [Feedback::None, Conflict, Added, Duplicate, Added, Added];
    assert_eq!(feedback(&given), expected);
    assert_eq!(
        all_addresses(&machine, "bad"),
        ["! 0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::1"]
    );
}

#[test]
fn addresses_are_deleted_and_told_about() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.0/8", "! 10.1.0.0/16", "10.2.0.0/16"]);
    let mut given = addrs(&["10.0.0.0/8", "10.1.0.0/16", "10.3.0.0/16", "10.0.0.0/8"]);
    let arg = machine
        .addresses_call(DIOCRDELADDRS, "bad", PFR_FLAG_FEEDBACK, &mut given)
        .unwrap();
    assert_eq!(arg.ndel, 1);
    assert_eq!(feedback(&given), [Deleted, Conflict, Feedback::None, Duplicate]);
    assert_eq!(all_addresses(&machine, "bad"), ["! 10.1.0.0/16", "10.2.0.0/16"]);
}

#[test]
fn addresses_are_replaced_and_told_about() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    let given = addrs(&["10.0.0.1", "! 10.0.0.2", "10.0.0.9", "10.0.0.9"]);
    // Two are deleted; without room for them nothing happens but that the room is told.
    let arg = |size2| IocTable {
        table: table("bad"),
        flags: PFR_FLAG_FEEDBACK,
        size: 4,
        size2,
        ..IocTable::default()
    };
    let mut room = [given.clone(), vec![TableAddr::default(); 2]].concat();
    let told = machine.table_call(true, DIOCRSETADDRS, arg(5), &mut room).unwrap();
    assert_eq!((told.size2, told.nadd), (6, 0));
    assert_eq!(all_addresses(&machine, "bad").len(), 4);
    let mut room = [given, vec![TableAddr::default(); 2]].concat();
    let done = machine.table_call(true, DIOCRSETADDRS, arg(6), &mut room).unwrap();
    assert_eq!((done.size2, done.nadd, done.nchange, done.ndel), (6, 1, 1, 2));
    assert_eq!(
        feedback(&room),
        [Feedback::None, Changed, Added, Duplicate, Deleted, Deleted]
    );
    assert_eq!([text(&room[4]), text(&room[5])], ["10.0.0.3", "10.0.0.4"]);
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1", "! 10.0.0.2", "10.0.0.9"]);
}

#[test]
fn an_address_that_is_replaced_by_itself_keeps_its_counters() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "10.0.0.2"]);
    machine.advance(100);
    let before = machine.address_stats("bad");
    let mut given = addrs(&["10.0.0.1", "! 10.0.0.2"]);
    machine.addresses_call(DIOCRSETADDRS, "bad", 0, &mut given).unwrap();
    let after = machine.address_stats("bad");
    assert_eq!(after[0].tzero, before[0].tzero);
    assert_eq!(after[1].tzero, before[1].tzero + 100, "another address");
}

#[test]
fn all_addresses_are_removed() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "::1"]);
    let mut arg = IocTable {
        table: table("bad"),
        ..IocTable::default()
    };
    machine.ioctl(DIOCRCLRADDRS, &mut arg).unwrap();
    assert_eq!(arg.ndel, 2);
    assert_eq!(all_addresses(&machine, "bad"), [""; 0]);
    assert_eq!(machine.tables(), [("bad".to_owned(), PERSIST | ACTIVE)]);
}

#[test]
fn hosts_are_tested() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.0/8", "! 10.1.0.0/16"]);
    let given = addrs(&["10.2.3.4", "10.1.2.3", "192.0.2.1", "::1"]);
    let mut asked = given.clone();
    let arg = machine.addresses_call(DIOCRTSTADDRS, "bad", 0, &mut asked).unwrap();
    assert_eq!(arg.nadd, 1);
    assert_eq!(feedback(&asked), [Match, NotMatch, Feedback::None, Feedback::None]);
    assert_eq!(text(&asked[0]), "10.2.3.4");
    let mut asked = given;
    machine
        .addresses_call(DIOCRTSTADDRS, "bad", PFR_FLAG_REPLACE, &mut asked)
        .unwrap();
    assert_eq!([text(&asked[0]), text(&asked[1])], ["10.0.0.0/8", "! 10.1.0.0/16"]);
    assert_eq!(feedback(&asked), [Match, NotMatch, Feedback::None, Feedback::None]);
    let network = machine.addresses_call(DIOCRTSTADDRS, "bad", 0, &mut addrs(&["10.0.0.0/8"]));
    assert_eq!(network.unwrap_err(), Errno::Einval);
}

#[test]
fn counters_of_addresses_begin_anew() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "10.0.0.2"]);
    machine.advance(50);
    let before = machine.address_stats("bad")[0].tzero;
    let mut given = addrs(&["10.0.0.2", "10.0.0.9"]);
    let dummy = PFR_FLAG_FEEDBACK | PFR_FLAG_DUMMY;
    for (flags, later) in [(dummy, 0), (PFR_FLAG_FEEDBACK, 50)] {
        given.iter_mut().for_each(|it| it.fback = 0);
        let arg = machine
            .addresses_call(DIOCRCLRASTATS, "bad", flags, &mut given)
            .unwrap();
        assert_eq!(arg.nadd, 1);
        assert_eq!(feedback(&given), [Cleared, Feedback::None]);
        let since: Vec<_> = machine
            .address_stats("bad")
            .iter()
            .map(|it| it.tzero - before)
            .collect();
        assert_eq!(since, [0, later]);
    }
}

#[test]
fn an_address_that_makes_no_sense_is_refused_and_nothing_is_changed() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    let good = table_addr("192.0.2.0/24");
    let v6 = table_addr("2001:db8:1::/48");
    let odd = [
        TableAddr { af: 0, ..good },
        TableAddr { af: 77, ..good },
        TableAddr { net: 33, ..good },
        TableAddr { net: 255, ..good },
        TableAddr {
            net: 22,
            ..table_addr("192.0.2.1")
        },
        TableAddr { net: 129, ..v6 },
        TableAddr { net: 31, ..v6 },
        TableAddr { not: 2, ..good },
        TableAddr { fback: 1, ..good },
        TableAddr {
            af: AF_INET,
            net: 32,
            ..v6
        },
    ];
    for cmd in [
        DIOCRADDADDRS,
        DIOCRDELADDRS,
        DIOCRSETADDRS,
        DIOCRCLRASTATS,
        DIOCRTSTADDRS,
    ] {
        for odd in odd {
            // Behind good ones, and behind more than are fetched at once.
            let mut given = vec![table_addr("192.0.2.7"); 70];
            given.push(odd);
            let answer = machine.addresses_call(cmd, "bad", 0, &mut given);
            assert_eq!(answer.unwrap_err(), Errno::Einval, "{:?} {odd:?}", ioctl::name(cmd));
        }
    }
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
}

#[test]
fn no_such_table() {
    let machine = Machine::new();
    machine.make_table("bad", &[]);
    for name in ["worse", "anchor:bad"] {
        for cmd in [
            DIOCRADDADDRS,
            DIOCRDELADDRS,
            DIOCRSETADDRS,
            DIOCRCLRASTATS,
            DIOCRTSTADDRS,
            DIOCRGETADDRS,
        ] {
            let answer = machine.addresses_call(cmd, name, 0, &mut []);
            assert_eq!(answer.unwrap_err(), Errno::Esrch, "{:?}", ioctl::name(cmd));
        }
        let arg = IocTable {
            table: table(name),
            ..IocTable::default()
        };
        let stats = machine.table_call::<TableAddrStats>(true, DIOCRGETASTATS, arg.clone(), &mut []);
        assert_eq!(stats.unwrap_err(), Errno::Esrch);
        assert_eq!(machine.ioctl(DIOCRCLRADDRS, &mut arg.clone()), Err(Errno::Esrch));
    }
}

#[test]
fn a_constant_table_does_not_change() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    set_flags(&machine, "bad", PFR_TFLAG_CONST, 0).unwrap();
    for cmd in [DIOCRADDADDRS, DIOCRDELADDRS, DIOCRSETADDRS] {
        let answer = machine.addresses_call(cmd, "bad", 0, &mut addrs(&["10.0.0.1"]));
        assert_eq!(answer.unwrap_err(), Errno::Eperm);
    }
    let mut arg = IocTable {
        table: table("bad"),
        ..IocTable::default()
    };
    assert_eq!(machine.ioctl(DIOCRCLRADDRS, &mut arg), Err(Errno::Eperm));
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
    machine
        .addresses_call(DIOCRCLRASTATS, "bad", 0, &mut addrs(&["10.0.0.1"]))
        .unwrap();
}

#[test]
fn sizes_and_pointers_are_judged() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    let arg = IocTable {
        table: table("bad"),
        esize: size_of::<TableAddr>() as i32,
        size: 1,
        ..IocTable::default()
    };
    for cmd in [
        DIOCRADDADDRS,
        DIOCRDELADDRS,
        DIOCRSETADDRS,
        DIOCRGETADDRS,
        DIOCRTSTADDRS,
        DIOCRCLRASTATS,
    ] {
        let name = ioctl::name(cmd).unwrap();
        let answer = |change: &dyn Fn(&mut IocTable)| {
            let mut arg = arg.clone();
            change(&mut arg);
            machine.ioctl(cmd, &mut arg).unwrap_err()
        };
        assert_eq!(answer(&|arg| arg.esize = 24), Errno::Enodev, "{name}");
        assert_eq!(answer(&|arg| arg.esize = -1), Errno::Enodev, "{name}");
        assert_eq!(answer(&|arg| arg.size = -1), Errno::Einval, "{name}");
        assert_eq!(answer(&|_| ()), Errno::Efault, "{name}");
        assert_eq!(answer(&|arg| arg.buffer = UserPtr(u64::MAX)), Errno::Efault, "{name}");
        assert_eq!(answer(&|arg| arg.flags = PFR_FLAG_ALLRSETS), Errno::Einval, "{name}");
        assert_eq!(answer(&|arg| arg.table.flags = PERSIST), Errno::Einval, "{name}");
        assert_eq!(answer(&|arg| arg.table.name = CName::EMPTY), Errno::Einval, "{name}");
        assert_eq!(
            answer(&|arg| arg.table.name.as_mut_bytes().fill(b'a')),
            Errno::Einval,
            "{name}"
        );
        assert_eq!(
            answer(&|arg| arg.table.anchor.as_mut_bytes().fill(b'a')),
            Errno::Einval,
            "{name}"
        );
        assert_eq!(
            answer(&|arg| arg.table.anchor = CName::new("_pf").unwrap()),
            Errno::Einval,
            "{name}"
        );
        if cmd != DIOCRGETADDRS {
            assert_eq!(answer(&|arg| arg.size = i32::MAX), Errno::Einval, "{name}");
        }
    }
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
}

#[test]
fn feedback_that_cannot_be_written_leaves_the_table() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    for cmd in [DIOCRADDADDRS, DIOCRSETADDRS] {
        // The last of the addresses is not there.
        let array = machine.memory.put(addrs(&["10.0.0.2"; 100]).as_bytes());
        let mut arg = IocTable {
            table: table("bad"),
            buffer: array,
            esize: size_of::<TableAddr>() as i32,
            size: 101,
            flags: PFR_FLAG_FEEDBACK,
            ..IocTable::default()
        };
        assert_eq!(machine.ioctl(cmd, &mut arg), Err(Errno::Efault));
    }
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
}

#[test]
fn too_little_room_is_told_and_not_filled() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let arg = IocTable {
        table: table("bad"),
        ..IocTable::default()
    };
    let mut room = vec![TableAddr::default(); 2];
    let told = machine
        .table_call(false, DIOCRGETADDRS, arg.clone(), &mut room)
        .unwrap();
    assert_eq!((told.size, room), (3, vec![TableAddr::default(); 2]));
    let mut room = vec![TableAddr::default(); 5];
    let told = machine.table_call(false, DIOCRGETADDRS, arg, &mut room).unwrap();
    assert_eq!((told.size, text(&room[2]).as_str()), (3, "10.0.0.3"));
    assert_eq!(room[3], TableAddr::default());
}

#[test]
fn no_more_addresses_than_the_limit() {
    let machine = Machine::new();
    machine.make_table("one", &["10.0.0.1"]);
    machine.make_table("two", &["10.0.0.1", "10.0.0.2"]);
    machine.set_limit(Limit::TableEntries, 5);
    let many = ["10.0.0.3", "10.0.0.4", "10.0.0.5"];
    assert_eq!(machine.add_addresses("two", &many), Err(Errno::Enomem));
    assert_eq!(all_addresses(&machine, "two").len(), 2);
    assert_eq!(machine.add_addresses("two", &many[..2]), Ok(2));
    // A lower limit leaves what is there, and lets it become less.
    machine.set_limit(Limit::TableEntries, 1);
    assert_eq!(machine.add_addresses("two", &["10.0.0.9"]), Err(Errno::Enomem));
    let mut given = addrs(&["10.0.0.8", "10.0.0.9"]);
    machine.addresses_call(DIOCRSETADDRS, "two", 0, &mut given).unwrap();
    assert_eq!(all_addresses(&machine, "two"), ["10.0.0.8", "10.0.0.9"]);
}

#[test]
fn out_of_memory_leaves_the_table() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1", "192.0.2.0/24"]);
    let before = all_addresses(&machine, "bad");
    let mut done = false;
    for after in 0.. {
        let mut given = addrs(&["10.0.0.2", "10.0.0.3", "::1"]);
        let arg = IocTable {
            table: table("bad"),
            ..IocTable::default()
        };
        let failing = pf::kpi::host::fail_allocations(after);
        let answer = machine.table_call(true, DIOCRADDADDRS, arg, &mut given);
        drop(failing);
        match answer {
            Ok(_) => {
                done = true;
                break;
            }
            Err(errno) => assert_eq!(errno, Errno::Enomem),
        }
        assert_eq!(all_addresses(&machine, "bad"), before);
    }
    assert!(done);
    assert_eq!(all_addresses(&machine, "bad").len(), 5);
}

// Tables.

fn set_flags(machine: &Machine, name: &str, set: u32, clear: u32) -> Result<(i32, i32), Errno> {
    let arg = IocTable {
        size2: set as i32,
        nadd: clear as i32,
        ..IocTable::default()
    };
    let told = machine.table_call(true, DIOCRSETTFLAGS, arg, &mut [table(name)])?;
    Ok((told.nchange, told.ndel))
}

#[test]
fn tables_are_added_once() {
    let machine = Machine::new();
    assert_eq!(machine.add_tables(&["b", "a", "b", "foo:c"], PERSIST), Ok(3));
    assert_eq!(machine.add_tables(&["a", "d"], PERSIST), Ok(1));
    let names: Vec<_> = machine.tables().into_iter().collect();
    assert_eq!(
        names,
        [
            ("a".to_owned(), PERSIST | ACTIVE),
            ("b".to_owned(), PERSIST | ACTIVE),
            // Of the same name as the one in the anchor, which stands before it.
            ("c".to_owned(), PFR_TFLAG_REFDANCHOR),
            ("d".to_owned(), PERSIST | ACTIVE),
            ("foo:c".to_owned(), PERSIST | ACTIVE),
        ]
    );
    // One that is not persistent stays until something lets go of it.
    assert_eq!(machine.add_tables(&["e"], 0), Ok(1));
    machine.pf.purge();
    assert_eq!(machine.add_addresses("e", &["10.0.0.1"]), Ok(1));
}

#[test]
fn tables_that_are_only_tried_are_not_there() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    let dummy = |cmd, name: &str| {
        let arg = IocTable {
            flags: PFR_FLAG_DUMMY,
            ..IocTable::default()
        };
        // Whoever may only read may try.
        machine.table_call(false, cmd, arg, &mut [table(name)]).unwrap()
    };
    assert_eq!(dummy(DIOCRADDTABLES, "new").nadd, 1);
    assert_eq!(dummy(DIOCRADDTABLES, "bad").nadd, 0);
    assert_eq!(dummy(DIOCRDELTABLES, "bad").ndel, 1);
    assert_eq!(dummy(DIOCRCLRTSTATS, "bad").nadd, 1);
    let arg = |cmd| {
        let arg = IocTable {
            table: table("bad"),
            flags: PFR_FLAG_DUMMY | PFR_FLAG_FEEDBACK,
            ..IocTable::default()
        };
        let mut given = addrs(&["10.0.0.1", "10.0.0.2"]);
        machine.table_call(false, cmd, arg, &mut given).unwrap()
    };
    assert_eq!(arg(DIOCRADDADDRS).nadd, 1);
    assert_eq!(arg(DIOCRDELADDRS).ndel, 1);
    assert_eq!(arg(DIOCRSETADDRS).nadd, 1);
    assert_eq!(machine.tables(), [("bad".to_owned(), PERSIST | ACTIVE)]);
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
}

#[test]
fn tables_are_deleted() {
    let machine = Machine::new();
    machine.add_tables(&["a", "b", "foo:a", "c"], PERSIST).unwrap();
    let mut names = [table("a"), table("nobody"), table("a"), table("foo:a")];
    let told = machine
        .table_call(true, DIOCRDELTABLES, IocTable::default(), &mut names)
        .unwrap();
    assert_eq!(told.ndel, 2);
    assert_eq!(machine.tables().len(), 2);
    machine.add_tables(&["foo:x"], PERSIST).unwrap();
    let mut arg = IocTable::default();
    machine.ioctl(DIOCRCLRTABLES, &mut arg).unwrap();
    assert_eq!(arg.ndel, 2, "of the main ruleset");
    arg.flags = PFR_FLAG_ALLRSETS;
    machine.ioctl(DIOCRCLRTABLES, &mut arg).unwrap();
    assert_eq!((arg.ndel, machine.tables().len()), (1, 0));
}

#[test]
fn flags_are_set_and_cleared() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    assert_eq!(set_flags(&machine, "bad", PFR_TFLAG_CONST, 0), Ok((1, 0)));
    assert_eq!(set_flags(&machine, "bad", PFR_TFLAG_CONST, 0), Ok((0, 0)));
    assert_eq!(machine.tables()[0].1, PERSIST | ACTIVE | PFR_TFLAG_CONST);
    assert_eq!(set_flags(&machine, "nobody", PFR_TFLAG_CONST, 0), Ok((0, 0)));
    for (set, clear) in [(ACTIVE, 0), (0, REFERENCED), (PERSIST, PERSIST), (1 << 31, 0)] {
        assert_eq!(set_flags(&machine, "bad", set, clear), Err(Errno::Einval));
    }
    assert_eq!(set_flags(&machine, "bad", 0, PERSIST), Ok((0, 1)));
    assert_eq!(machine.tables(), []);
}

#[test]
fn a_table_that_makes_no_sense_is_refused_with_all_others() {
    let machine = Machine::new();
    let odd = [
        table(""),
        table("_pf:a"),
        Table {
            flags: ACTIVE,
            ..table("a")
        },
        Table {
            flags: 1 << 20,
            ..table("a")
        },
    ];
    for odd in odd {
        let mut names = [table("good"), odd];
        let answer = machine.table_call(true, DIOCRADDTABLES, IocTable::default(), &mut names);
        assert_eq!(answer.unwrap_err(), Errno::Einval);
    }
    machine.set_limit(Limit::Tables, 2);
    assert_eq!(machine.add_tables(&["a", "b", "c"], PERSIST), Err(Errno::Enomem));
    assert_eq!(machine.add_tables(&["a", "foo:b"], PERSIST), Err(Errno::Enomem));
    assert_eq!(machine.tables(), []);
    assert_eq!(machine.add_tables(&["a", "b", "a"], PERSIST), Ok(2));
    let mut arg = IocTable {
        size: 1,
        ..IocTable::default()
    };
    assert_eq!(machine.ioctl(DIOCRADDTABLES, &mut arg), Err(Errno::Enodev));
    arg.esize = size_of::<Table>() as i32;
    assert_eq!(machine.ioctl(DIOCRADDTABLES, &mut arg), Err(Errno::Efault));
    arg.size = i32::MAX;
    assert_eq!(machine.ioctl(DIOCRADDTABLES, &mut arg), Err(Errno::Einval));
}

#[test]
fn readers_clear_no_counters() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    let arg = IocTable {
        table: table("bad"),
        flags: PFR_FLAG_CLSTATS,
        ..IocTable::default()
    };
    let stats = |may_write| {
        let mut room = vec![TableAddrStats::default(); 1];
        machine.table_call(may_write, DIOCRGETASTATS, arg.clone(), &mut room)
    };
    assert_eq!(stats(false).unwrap_err(), Errno::Eacces);
    let before = machine.address_stats("bad")[0].tzero;
    machine.advance(10);
    stats(true).unwrap();
    assert_eq!(machine.address_stats("bad")[0].tzero, before + 10);
}

// Transactions.

/// DIOCRINADEFINE; without addresses the table keeps those that it has.
fn define(
    machine: &Machine,
    transaction: &Transaction,
    name: &str,
    flags: u32,
    addresses: Option<&[&str]>,
) -> Result<IocTable, Errno> {
    let arg = IocTable {
        table: Table { flags, ..table(name) },
        ticket: transaction.ticket(Tables),
        flags: if addresses.is_some() { PFR_FLAG_ADDRSTOO } else { 0 },
        ..IocTable::default()
    };
    machine.table_call(true, DIOCRINADEFINE, arg, &mut addrs(addresses.unwrap_or_default()))
}

/// `pass from <name>`
fn from_table(name: &str) -> Rule {
    let mut rule = pass(name);
    rule.src.addr.kind = PF_ADDR_TABLE;
    rule.src.addr.set_tblname(TableName::new(name).unwrap());
    rule
}

#[test]
fn tables_are_committed_with_the_rules() {
    let machine = Machine::new();
    machine.make_table("old", &["10.0.0.1", "10.0.0.2"]);
    machine.make_table("kept", &["10.0.0.5"]);
    machine.advance(10);
    let mut transaction = machine.begin(&[Filter, Tables]);
    let told = define(&machine, &transaction, "old", PERSIST, Some(&["10.0.0.2", "10.0.0.3"])).unwrap();
    assert_eq!((told.nadd, told.size2), (1, 2));
    let told = define(&machine, &transaction, "new", 0, Some(&["10.0.0.9", "10.0.0.9"])).unwrap();
    assert_eq!((told.nadd, told.size2), (1, 1), "the second one is the same");
    define(&machine, &transaction, "kept", PERSIST | PFR_TFLAG_CONST, None).unwrap();
    define(&machine, &transaction, "fleeting", 0, Some(&["10.0.0.7"])).unwrap();
    machine
        .add_rule(transaction.ticket(Filter), &from_table("new"), &[])
        .unwrap();
    assert_eq!(all_addresses(&machine, "old"), ["10.0.0.1", "10.0.0.2"], "not yet");
    assert_eq!(machine.table_addresses("new"), Err(Errno::Esrch));
    let inactive: Vec<_> = machine
        .tables()
        .into_iter()
        .map(|(_, flags)| flags & PFR_TFLAG_INACTIVE)
        .collect();
    assert_eq!(inactive, [PFR_TFLAG_INACTIVE; 4]);
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(all_addresses(&machine, "old"), ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(all_addresses(&machine, "new"), ["10.0.0.9"]);
    assert_eq!(all_addresses(&machine, "kept"), ["10.0.0.5"]);
    let stats = machine.address_stats("old");
    assert_eq!(stats[1].tzero, stats[0].tzero + 10, "what stays counts on");
    assert_eq!(
        machine.tables(),
        [
            ("kept".to_owned(), PERSIST | PFR_TFLAG_CONST | ACTIVE),
            ("new".to_owned(), ACTIVE | REFERENCED),
            ("old".to_owned(), PERSIST | ACTIVE),
        ],
        "what no rule speaks of and is not persistent is gone"
    );
    assert_eq!(machine.rules(Action::Pass)[0].src.addr.p, 1, "as many addresses");
}

#[test]
fn tables_that_are_not_committed_come_to_nothing() {
    let machine = Machine::new();
    machine.make_table("old", &["10.0.0.1"]);
    for ending in [DIOCXROLLBACK, DIOCXBEGIN] {
        let mut transaction = machine.begin(&[Filter, Tables]);
        define(&machine, &transaction, "old", 0, Some(&["10.0.0.2"])).unwrap();
        define(&machine, &transaction, "new", PERSIST, Some(&["10.0.0.2"])).unwrap();
        transaction.call(&machine, ending).unwrap();
        assert_eq!(machine.tables(), [("old".to_owned(), PERSIST | ACTIVE)]);
        assert_eq!(all_addresses(&machine, "old"), ["10.0.0.1"]);
    }
}

#[test]
fn definitions_are_judged() {
    let machine = Machine::new();
    let mut transaction = machine.begin(&[Tables]);
    define(&machine, &transaction, "bad", PERSIST, Some(&["10.0.0.1"])).unwrap();
    assert_eq!(
        define(&machine, &transaction, "bad", ACTIVE, None).unwrap_err(),
        Errno::Einval
    );
    assert_eq!(define(&machine, &transaction, "", 0, None).unwrap_err(), Errno::Einval);
    assert_eq!(
        define(&machine, &transaction, "foo:bad", 0, None).unwrap_err(),
        Errno::Ebusy,
        "the anchor is not of the transaction"
    );
    let mut odd = [table_addr("10.0.0.1"), TableAddr::default()];
    let arg = IocTable {
        table: table("bad"),
        ticket: transaction.ticket(Tables),
        flags: PFR_FLAG_ADDRSTOO,
        ..IocTable::default()
    };
    let answer = machine.table_call(true, DIOCRINADEFINE, arg.clone(), &mut odd);
    assert_eq!(answer.unwrap_err(), Errno::Einval);
    let stale = IocTable {
        ticket: arg.ticket + 1,
        ..arg.clone()
    };
    let answer = machine.table_call::<TableAddr>(true, DIOCRINADEFINE, stale, &mut []);
    assert_eq!(answer.unwrap_err(), Errno::Ebusy);
    machine.set_limit(Limit::TableEntries, 2);
    let three: &[&str] = &["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    assert_eq!(
        define(&machine, &transaction, "bad", 0, Some(three)).unwrap_err(),
        Errno::Enomem
    );
    assert_eq!(
        define(&machine, &transaction, "other", 0, Some(&three[..2])).unwrap_err(),
        Errno::Enomem,
        "together they are too many"
    );
    // What was defined before counts.
    transaction.call(&machine, DIOCXCOMMIT).unwrap();
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
}

#[test]
fn a_commit_that_runs_out_of_memory_leaves_rules_and_tables() {
    let machine = Machine::new();
    machine.make_table("bad", &["10.0.0.1"]);
    machine.load(Filter, &passes(&["old"])).unwrap();
    let before = machine.tables();
    for after in 0.. {
        let mut transaction = machine.begin(&[Filter, Tables]);
        define(&machine, &transaction, "bad", PERSIST, Some(&["10.0.0.2", "10.0.0.3"])).unwrap();
        machine
            .add_rule(transaction.ticket(Filter), &from_table("new"), &[])
            .unwrap();
        let failing = pf::kpi::host::fail_allocations(after);
        let answer = transaction.call(&machine, DIOCXCOMMIT);
        drop(failing);
        if answer.is_ok() {
            break;
        }
        transaction.call(&machine, DIOCXROLLBACK).unwrap();
        assert_eq!(answer, Err(Errno::Enomem));
        assert_eq!(machine.labels(Action::Pass), ["old"]);
        assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.1"]);
        assert_eq!(machine.tables(), before);
    }
    assert_eq!(machine.labels(Action::Pass), ["new"]);
    assert_eq!(all_addresses(&machine, "bad"), ["10.0.0.2", "10.0.0.3"]);
}

#[test]
fn a_rule_may_come_before_its_table() {
    let machine = Machine::new();
    machine.load(Filter, &[(from_table("bad"), vec![])]).unwrap();
    assert_eq!(machine.tables(), [("bad".to_owned(), REFERENCED)]);
    assert_eq!(
        machine.rules(Action::Pass)[0].src.addr.p as i32,
        -1,
        "it is not defined"
    );
    assert_eq!(machine.add_addresses("bad", &["10.0.0.1"]), Err(Errno::Esrch));
    machine.make_table("bad", &["10.0.0.1"]);
    assert_eq!(machine.tables(), [("bad".to_owned(), PERSIST | ACTIVE | REFERENCED)]);
    assert_eq!(machine.table_stats("bad").refcnt, [1, 0]);
    // Deleted, it stays for the rule, and is empty.
    machine
        .table_call(true, DIOCRDELTABLES, IocTable::default(), &mut [table("bad")])
        .unwrap();
    assert_eq!(machine.tables(), [("bad".to_owned(), REFERENCED)]);
    machine.load(Filter, &[]).unwrap();
    assert_eq!(machine.tables(), []);
}

#[test]
fn a_rule_that_is_refused_leaves_no_table() {
    let machine = Machine::new();
    let transaction = machine.begin(&[Filter]);
    let rule = from_table("bad").port(80);
    assert_eq!(
        machine.add_rule(transaction.ticket(Filter), &rule, &[]),
        Err(Errno::Einval)
    );
    assert_eq!(machine.tables(), []);
    let mut nameless = from_table("bad");
    nameless.src.addr.set_tblname(TableName::EMPTY);
    assert_eq!(
        machine.add_rule(transaction.ticket(Filter), &nameless, &[]),
        Err(Errno::Einval)
    );
    machine.set_limit(Limit::Tables, 0);
    assert_eq!(
        machine.add_rule(transaction.ticket(Filter), &from_table("bad"), &[]),
        Err(Errno::Enomem)
    );
}
