//! Ioctls over pf as a whole, and over interfaces.

use pf::kpi::{Direction, Errno, Kernel};
use pf_abi::*;
use zerocopy::IntoBytes;

use crate::common::rules::{Words, nat, routed};
use crate::common::*;

#[test]
fn pf_is_enabled_and_disabled() {
    let machine = Machine::new();
    assert_eq!((machine.status().running, machine.status().since), (0, 0));
    assert_eq!(machine.command(DIOCSTOP), Err(Errno::Enoent));
    machine.command(DIOCSTART).unwrap();
    let started = machine.pf.kernel().wall_clock();
    assert!(machine.pf.is_running());
    machine.advance(60);
    assert_eq!(machine.command(DIOCSTART), Err(Errno::Eexist));
    assert_eq!((machine.status().running, machine.status().since), (1, started));
    machine.command(DIOCSTOP).unwrap();
    assert!(!machine.pf.is_running());
    assert_eq!((machine.status().running, machine.status().since), (0, started + 60));
}

#[test]
fn timeouts_are_set_and_told() {
    let machine = Machine::new();
    let call = |cmd, timeout, seconds| {
        let mut arg = IocTm { timeout, seconds };
        machine.ioctl(cmd, &mut arg).map(|()| arg.seconds)
    };
    for timeout in Timeout::ALL {
        let (index, default) = (*timeout as i32, timeout.default_value() as i32);
        assert_eq!(call(DIOCGETTIMEOUT, index, 7), Ok(default));
        assert_eq!(call(DIOCSETTIMEOUT, index, 1234), Ok(default));
        assert_eq!(call(DIOCSETTIMEOUT, index, i32::MAX), Ok(1234));
        assert_eq!(call(DIOCGETTIMEOUT, index, 7), Ok(i32::MAX));
        assert_eq!(call(DIOCSETTIMEOUT, index, -1), Err(Errno::Einval));
        assert_eq!(call(DIOCGETTIMEOUT, index, 7), Ok(i32::MAX));
        assert_eq!(call(DIOCSETTIMEOUT, index, 0), Ok(i32::MAX));
    }
    assert_eq!(
        call(DIOCGETTIMEOUT, Timeout::Interval as i32, 0),
        Ok(1),
        "never no interval at all"
    );
    assert_eq!(call(DIOCGETTIMEOUT, Timeout::TcpFirst as i32, 1), Ok(0));
    for index in [-1, PFTM_MAX.into(), 256, i32::MIN, i32::MAX] {
        assert_eq!(call(DIOCGETTIMEOUT, index, 0), Err(Errno::Einval), "{index}");
        assert_eq!(call(DIOCSETTIMEOUT, index, 0), Err(Errno::Einval), "{index}");
    }
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let machine = Machine::new();
    machine.set_timeout(Timeout::Interval, i32::MAX);
    let states: Vec<_> = (0..1000).map(connection).collect();
    machine.add_states(&states).unwrap();
    machine.advance(1_000_000);
    machine.pf.purge();
    assert_ne!(machine.dump().len(), 0, "the interval has hardly begun");
    machine.set_timeout(Timeout::Interval, 1);
    machine.pf.purge();
    machine.pf.purge();
    assert_eq!(machine.dump().len(), 0);
}

#[test]
fn limits_are_set_and_told() {
    // Not the harness's machine, which has set one already.
    let machine = Machine::of(Kernel::seeded(1));
    let call = |cmd, index, limit| {
        let mut arg = IocLimit { index, limit };
        machine.ioctl(cmd, &mut arg).map(|()| arg.limit)
    };
    for limit in Limit::ALL {
        let index = *limit as i32;
        assert_eq!(call(DIOCGETLIMIT, index, 7), Ok(limit.default_value()));
        assert_eq!(call(DIOCSETLIMIT, index, u32::MAX), Ok(limit.default_value()));
        assert_eq!(call(DIOCSETLIMIT, index, 5), Ok(u32::MAX));
        assert_eq!(call(DIOCGETLIMIT, index, 7), Ok(5));
    }
    for index in [-1, PF_LIMIT_MAX, i32::MIN, i32::MAX] {
        assert_eq!(call(DIOCGETLIMIT, index, 0), Err(Errno::Einval), "{index}");
        assert_eq!(call(DIOCSETLIMIT, index, 0), Err(Errno::Einval), "{index}");
    }
}

#[test]
fn the_level_of_debugging_is_one_that_there_is() {
    let machine = Machine::new();
    assert_eq!(machine.status().debug, PF_DEBUG_URGENT);
    for level in [PF_DEBUG_NOISY, PF_DEBUG_NONE] {
        machine.ioctl(DIOCSETDEBUG, &mut level.clone()).unwrap();
        assert_eq!(machine.status().debug, level);
    }
    assert_eq!(machine.ioctl(DIOCSETDEBUG, &mut 4), Err(Errno::Einval));
    assert_eq!(machine.status().debug, PF_DEBUG_NONE);
}

#[test]
fn a_host_without_an_identity_draws_one() {
    let machine = Machine::new();
    let drawn = machine.status().hostid;
    assert_ne!(drawn, 0);
    machine.ioctl(DIOCSETHOSTID, &mut 77).unwrap();
    assert_eq!(machine.status().hostid, 77);
    machine.ioctl(DIOCSETHOSTID, &mut 0).unwrap();
    let again = machine.status().hostid;
    assert!(again != 0 && again != 77 && again != drawn);
    machine.ioctl(DIOCSETHOSTID, &mut 0).unwrap();
    assert_ne!(machine.status().hostid, again);
}

#[test]
fn the_status_tells_of_its_interface() {
    let machine = Machine::new();
    let set = |name: &str| {
        let mut arg = IocIf {
            ifname: IfName::new(name).unwrap(),
        };
        machine.ioctl(DIOCSETSTATUSIF, &mut arg)
    };
    assert_eq!(set("wm0"), Err(Errno::Einval));
    assert_eq!(set("all"), Err(Errno::Einval));
    let mut endless = IocIf::default();
    endless.ifname.as_mut_bytes().fill(b'e');
    assert_eq!(machine.ioctl(DIOCSETSTATUSIF, &mut endless), Err(Errno::Einval));
    assert!(machine.status().ifname.is_empty());
    set("em1").unwrap();
    assert_eq!(machine.status().ifname.as_str(), Some("em1"));
    // A packet counts where it crossed.
    machine.command(DIOCSTART).unwrap();
    machine.send(2, Direction::In, &udp_packet());
    machine.send(2, Direction::In, &udp_packet());
    machine.send(1, Direction::In, &udp_packet());
    let len = udp_packet().len() as u64;
    let status = machine.status();
    assert_eq!(status.pcounters[0], [[2, 0, 0], [0, 0, 0]]);
    assert_eq!(status.bcounters[0], [2 * len, 0]);
    assert_eq!((status.pcounters[1], status.bcounters[1]), ([[0; 3]; 2], [0; 2]));
    machine.advance(5);
    machine.command(DIOCCLRSTATUS).unwrap();
    let status = machine.status();
    assert_eq!((status.pcounters, status.bcounters), ([[[0; 3]; 2]; 2], [[0; 2]; 2]));
    assert_eq!((status.counters, status.fcounters), ([0; 16], [0; 3]));
    assert_eq!(status.since, machine.pf.kernel().wall_clock());
    assert_eq!(
        machine.interfaces("em0")[0].packets[0][0],
        [1, 0],
        "another's counters stay"
    );
    set("").unwrap();
    assert!(machine.status().ifname.is_empty());
    assert_eq!(machine.status().pcounters, [[[0; 3]; 2]; 2]);
}

#[test]
fn the_next_state_gets_the_identity_that_the_status_tells() {
    let machine = Machine::new();
    let next = machine.status().stateid;
    machine.add_state(&connection(1)).unwrap();
    let id: u64 = zerocopy::transmute!(machine.dump()[0].id);
    assert_eq!(u64::from_be(id), next);
    assert_eq!(machine.status().stateid, next + 1);
}

#[test]
fn interfaces_are_told_by_name_or_driver() {
    let machine = Machine::new();
    machine.pf.attach_interface(9, b"em10").unwrap();
    machine.pf.detach_interface(3).unwrap();
    let names = |filter: &str| -> Vec<String> {
        let name = |kif: &Kif| kif.name.as_str().unwrap().to_owned();
        machine.interfaces(filter).iter().map(name).collect()
    };
    assert_eq!(names(""), ["all", "em0", "em1", "lo0", "em10"]);
    assert_eq!(names("em"), ["em0", "em1", "em10"]);
    assert_eq!(names("em1"), ["em1"], "a name that ends in a number is one interface's");
    assert_eq!(names("e"), Vec::<String>::new());
    assert_eq!(names("em7"), Vec::<String>::new());
    let boot = machine.pf.kernel().wall_clock() - machine.pf.kernel().uptime();
    for kif in machine.interfaces("") {
        let exists = matches!(kif.name.as_str(), Some("em0" | "em1" | "em10"));
        assert_eq!(kif.ifp, UserPtr(exists.into()), "{:?}", kif.name);
        assert_eq!(kif.tzero, boot);
        let no_pointer = [kif.tree.as_slice(), &[kif.ah_cookie], &kif.dynaddrs].concat();
        assert!(no_pointer.iter().all(|pointer| *pointer == UserPtr(0)));
        assert_eq!(kif.group, UserPtr((kif.name.as_str() == Some("all")).into()));
    }
}

#[test]
fn interfaces_tell_who_speaks_of_them() {
    let machine = Machine::new();
    let uses = || -> Vec<(String, i32, i32)> {
        let uses = |kif: &Kif| (kif.name.as_str().unwrap().to_owned(), kif.rules, kif.states);
        machine.interfaces("").iter().map(uses).collect()
    };
    let bound = |n| SyncState {
        ifname: IfName::new(if n < 3 { "em0" } else { "all" }).unwrap(),
        ..connection(n)
    };
    // More than are looked at in one go, and in more partitions.
    let states: Vec<_> = (0..5000).map(bound).collect();
    machine.add_states(&states).unwrap();
    let on_em0 = pass("on").on("em0").af(AF_INET).to("(em0)");
    let mut filter: Vec<_> = (0..100).map(|_| (pass("none"), vec![])).collect();
    filter.push((on_em0, vec![]));
    filter.push(routed(pass("to"), Route::To, &["em1 10.0.0.1", "em1 10.0.0.2"]));
    machine.load(RulesetKind::Filter, &filter).unwrap();
    machine.load(RulesetKind::Nat, &[nat("(em1)").af(AF_INET)]).unwrap();
    machine
        .load_into("a/b", RulesetKind::Filter, &[(pass("in").on("em0"), "")])
        .unwrap();
    let expected = [("all", 0, 4997), ("em0", 2, 3), ("em1", 2, 0), ("lo0", 0, 0)];
    assert_eq!(
        uses(),
        expected.map(|(name, rules, states)| (name.to_owned(), rules, states))
    );
    machine.load(RulesetKind::Filter, &[]).unwrap();
    machine.ioctl(DIOCCLRSTATES, &mut IocStateKill::default()).unwrap();
    let expected = [("all", 0, 0), ("em0", 1, 0), ("em1", 1, 0), ("lo0", 0, 0)];
    assert_eq!(
        uses(),
        expected.map(|(name, rules, states)| (name.to_owned(), rules, states))
    );
}

#[test]
fn as_many_interfaces_as_there_is_room_for() {
    let machine = Machine::new();
    let size = size_of::<Kif>();
    let buffer = machine.memory.put(&vec![0xa5; 2 * size]);
    let ask = |esize: usize, size, buffer| {
        let mut arg = IocIface {
            buffer,
            esize: esize as i32,
            size,
            ..IocIface::default()
        };
        machine.read_ioctl(DIOCIGETIFACES, &mut arg).map(|()| arg.size)
    };
    assert_eq!(ask(size, 2, buffer), Ok(4), "how many there are, though two fit");
    assert_eq!(ask(size, 3, buffer), Err(Errno::Efault));
    assert_eq!(ask(size, 1, UserPtr(u64::MAX)), Err(Errno::Efault));
    assert_eq!(ask(size, -1, buffer), Err(Errno::Einval));
    assert_eq!(ask(size - 8, 2, buffer), Err(Errno::Enodev));
    assert_eq!(ask(size, 0, UserPtr(0)), Ok(4));
    let mut endless = IocIface {
        esize: size as i32,
        ..IocIface::default()
    };
    endless.name.as_mut_bytes().fill(b'e');
    assert_eq!(machine.read_ioctl(DIOCIGETIFACES, &mut endless), Err(Errno::Einval));
}

#[test]
fn interfaces_are_skipped() {
    let machine = Machine::new();
    let change = |cmd, name: &str, flags| {
        let mut arg = IocIface {
            name: IfName::new(name).unwrap(),
            flags,
            ..IocIface::default()
        };
        machine.ioctl(cmd, &mut arg)
    };
    let skipped = || -> Vec<String> {
        let kifs = machine.interfaces("").into_iter();
        let skipped = kifs.filter(|kif| kif.flags == PFI_IFLAG_SKIP);
        skipped.map(|kif| kif.name.as_str().unwrap().to_owned()).collect()
    };
    change(DIOCSETIFFLAG, "em", PFI_IFLAG_SKIP).unwrap();
    change(DIOCSETIFFLAG, "lo0", PFI_IFLAG_SKIP).unwrap();
    change(DIOCSETIFFLAG, "wm", PFI_IFLAG_SKIP).unwrap();
    assert_eq!(skipped(), ["em0", "em1", "lo0"]);
    change(DIOCCLRIFFLAG, "em1", PFI_IFLAG_SKIP).unwrap();
    assert_eq!(skipped(), ["em0", "lo0"]);
    // One that has not come yet is skipped when it comes.
    change(DIOCSETIFFLAG, "tun0", PFI_IFLAG_SKIP).unwrap();
    machine.pf.attach_interface(12, b"tun0").unwrap();
    assert_eq!(skipped(), ["em0", "lo0", "tun0"]);
    change(DIOCCLRIFFLAG, "tun0", PFI_IFLAG_SKIP).unwrap();
    change(DIOCCLRIFFLAG, "tun1", PFI_IFLAG_SKIP).unwrap();
    assert_eq!(
        machine.interfaces("").len(),
        5,
        "nothing is remembered of what is not to be skipped"
    );
    for flags in [1, -1, PFI_IFLAG_SKIP | 1] {
        assert_eq!(change(DIOCSETIFFLAG, "em1", flags), Err(Errno::Einval));
        assert_eq!(change(DIOCCLRIFFLAG, "em0", flags), Err(Errno::Einval));
    }
    assert_eq!(skipped(), ["em0", "lo0"]);
    // As pfctl(8) does before it loads a ruleset: of all, with no name.
    change(DIOCCLRIFFLAG, "", PFI_IFLAG_SKIP).unwrap();
    assert_eq!(skipped(), Vec::<String>::new());
}
