//! What happens while an ioctl is at its caller's memory.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pf::kpi::host::AddressSpace;
use pf::kpi::{Caller, Direction, Errno, UserMemory};
use pf_abi::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::common::tables::table;
use crate::common::*;

/// Memory that is like any other, but for what happens each time that it is touched.
struct Meanwhile<F> {
    memory: Memory,
    act: F,
}

impl<F: Fn() + Send + Sync> AddressSpace for Meanwhile<F> {
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        (self.act)();
        self.memory.copyin(from, to)
    }

    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        (self.act)();
        self.memory.copyout(from, to)
    }
}

/// Makes an ioctl, with the device open for writing, of a caller in whose memory `act` happens.
fn ioctl<T: FromBytes + IntoBytes + Immutable>(
    machine: &Machine,
    cmd: u64,
    arg: &mut T,
    act: impl Fn() + Send + Sync + 'static,
) -> Result<(), Errno> {
    let memory = UserMemory::new(Meanwhile {
        memory: machine.memory.clone(),
        act,
    });
    let caller = Caller {
        writable: true,
        allowed: true,
        uid: 42,
        pid: 4711,
        owner: 2,
        memory: &memory,
    };
    machine.pf.ioctl(&caller, cmd, arg.as_mut_bytes())
}

/// `pass from <name> no state`
fn pass_from(name: &str) -> Rule {
    let mut rule = pass("from");
    rule.keep_state = 0;
    rule.src.addr.kind = PF_ADDR_TABLE;
    rule.src.addr.set_tblname(TableName::new(name).unwrap());
    rule
}

fn send(machine: &Machine) {
    machine.send(1, Direction::In, &udp_packet()).unwrap();
}

/// A machine that has counted one packet, from a host of the table `t`.
fn counting() -> Arc<Machine> {
    let machine = Machine::new();
    machine.make_table("t", &["10.0.0.1"]);
    machine.load(RulesetKind::Filter, &[(pass_from("t"), vec![])]).unwrap();
    machine.command(DIOCSTART).unwrap();
    send(&machine);
    Arc::new(machine)
}

/// Reads a record of the table `t` and has it begin anew, with a packet meanwhile.
fn take<T: FromBytes + IntoBytes + Immutable + Default>(machine: &Arc<Machine>, cmd: u64) -> T {
    let mut arg = IocTable {
        table: table("t"),
        flags: PFR_FLAG_CLSTATS,
        buffer: machine.memory.put(T::default().as_bytes()),
        esize: size_of::<T>() as i32,
        size: 1,
        ..IocTable::default()
    };
    let meanwhile = machine.clone();
    ioctl(machine, cmd, &mut arg, move || send(&meanwhile)).unwrap();
    assert_eq!(arg.size, 1);
    T::read_from_bytes(&machine.memory.take(arg.buffer)).unwrap()
}

#[test]
fn what_an_address_counts_while_it_is_told_is_in_the_next_reading() {
    let machine = counting();
    let told: TableAddrStats = take(&machine, DIOCRGETASTATS);
    let rest = &machine.address_stats("t")[0];
    let packets = |stats: &TableAddrStats| stats.packets.as_flattened().iter().sum::<u64>();
    let bytes = |stats: &TableAddrStats| stats.bytes.as_flattened().iter().sum::<u64>();
    assert_eq!((packets(&told), packets(rest)), (1, 1));
    assert_eq!((bytes(&told), bytes(rest)), (32, 32));
}

#[test]
fn what_a_table_counts_while_it_is_told_is_in_the_next_reading() {
    let machine = counting();
    let told: TableStats = take(&machine, DIOCRGETTSTATS);
    let rest = machine.table_stats("t");
    let packets = |stats: &TableStats| stats.packets.as_flattened().iter().sum::<u64>();
    assert_eq!((packets(&told), packets(&rest)), (1, 1));
    assert_eq!((told.matched, rest.matched), (1, 1));
}

#[test]
fn what_does_not_reach_the_caller_is_not_cleared() {
    let machine = counting();
    let before = (machine.address_stats("t"), machine.table_stats("t"));
    machine.advance(10);
    for (cmd, esize) in [
        (DIOCRGETASTATS, size_of::<TableAddrStats>()),
        (DIOCRGETTSTATS, size_of::<TableStats>()),
    ] {
        let mut arg = IocTable {
            table: table("t"),
            flags: PFR_FLAG_CLSTATS,
            buffer: UserPtr(1),
            esize: esize as i32,
            size: 1,
            ..IocTable::default()
        };
        assert_eq!(machine.ioctl(cmd, &mut arg), Err(Errno::Efault));
    }
    let after = (machine.address_stats("t"), machine.table_stats("t"));
    assert_eq!(after.0.as_bytes(), before.0.as_bytes());
    assert_eq!(after.1.as_bytes(), before.1.as_bytes());
}

#[test]
fn the_purge_waits_for_no_callers_memory() {
    let machine = Arc::new(Machine::new());
    machine.make_table("t", &["10.0.0.1"]);
    let mut lock = BulkLock {
        head: BulkHead::of::<BulkLock>(),
        action: BULK_LOCK_TAKE,
        seconds: 10,
        ..BulkLock::default()
    };
    machine.ioctl(DIOCBLOCK, &mut lock).unwrap();
    // Somebody who changes a table is stuck in the middle of it.
    let (say_stuck, stuck) = channel();
    let (let_go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let writer = machine.clone();
    let writer = thread::spawn(move || {
        let mut arg = IocTable {
            table: table("t"),
            buffer: writer
                .memory
                .put(crate::common::tables::table_addr("10.0.0.2").as_bytes()),
            esize: size_of::<TableAddr>() as i32,
            size: 1,
            ..IocTable::default()
        };
        ioctl(&writer, DIOCRADDADDRS, &mut arg, move || {
            say_stuck.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        })
        .map(|()| arg.nadd)
    });
    stuck.recv().unwrap();
    machine.advance(11);
    let (say_done, done) = channel();
    let purge = machine.clone();
    let purge = thread::spawn(move || {
        purge.pf.purge();
        let known = purge.pf.attach_interface(1, b"em0");
        let new = purge.pf.attach_interface(9, b"em9");
        say_done.send((purge.pf.is_locked(), known, new)).unwrap();
    });
    // Where it waits, it waits for good.
    let seen = done.recv_timeout(Duration::from_secs(60));
    let_go.send(()).unwrap();
    purge.join().unwrap();
    assert_eq!(writer.join().unwrap(), Ok(1));
    assert_ne!(seen, Err(RecvTimeoutError::Timeout), "the purge waits");
    assert_eq!(seen, Ok((false, Ok(()), Err(Errno::Ebusy))), "the lock's time is over");
    machine.pf.attach_interface(9, b"em9").unwrap();
}
