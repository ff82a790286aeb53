//! How long packets wait while all states are dumped, in chunks and at once, and how long the dump takes.
//!
//! # Overview
//! One thread judges packets of established connections and takes the time of each; another dumps the table meanwhile, again and again, as
//! pfctl(8) would. What a packet takes longer than without a dump it has waited: for a partition or a state whose record is made, for memory
//! that the dump has pushed out of the cache, or for the CPU, where the system took it away. The last has nothing to do with the engine, so
//! batches in which the packets' thread lost its CPU do not count. That the other one loses it while it holds a lock, which no kernel
//! allows, cannot be seen from here: the longest time says something only on a machine that has nothing else to do.
//!
//! # Life cycle, locking
//! Two threads; the engine ends with the measurement.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{anyhow, ensure};
use pf_abi::{BULK_MOST, BulkHead, BulkStates, DIOCBGETSTATES, DIOCGETSTATES, IocStates, SyncState, UserPtr};

use crate::packet::{BASE, Machine, Ring, connected};
use crate::report::{Record, tenths};
use crate::states::median;

/// Packets that are judged, in all passes, where nothing is dumped.
const PACKETS: usize = 1 << 21;

/// Dumps the table in chunks: how many states came.
fn in_chunks(machine: &Machine) -> anyhow::Result<usize> {
    let mut arg = BulkStates::default();
    let mut states = 0;
    loop {
        arg = BulkStates {
            head: BulkHead::of::<BulkStates>(),
            count: BULK_MOST,
            buf: UserPtr(BASE),
            ..arg
        };
        machine.ioctl(DIOCBGETSTATES, &mut arg)?;
        states += arg.count as usize;
        if arg.more == 0 {
            return Ok(states);
        }
    }
}

/// The same in one call.
fn at_once(machine: &Machine, room: usize) -> anyhow::Result<usize> {
    let mut arg = IocStates {
        len: i32::try_from(room)?,
        buf: UserPtr(BASE),
        ..IocStates::default()
    };
    machine.ioctl(DIOCGETSTATES, &mut arg)?;
    Ok(arg.len as usize / size_of::<SyncState>())
}

/// How often this thread has lost its CPU; always 0 where the system does not say.
fn preemptions() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}

/// The nanoseconds that packets take while something is done, `least` of them at least; and what comes of it.
fn while_done<R>(
    machine: &Machine,
    ring: &mut Ring<'_>,
    least: usize,
    act: impl FnOnce() -> anyhow::Result<R>,
) -> anyhow::Result<(Vec<u32>, R)> {
    let over = AtomicBool::new(false);
    let begun = Barrier::new(2);
    thread::scope(|scope| {
        let (pf, over, begun) = (&*machine.pf, &over, &begun);
        let packets = scope.spawn(move || {
            let mut times = vec![];
            // The first ones find nothing in the caches.
            let ready = ring.judge(pf, &mut times);
            times.clear();
            begun.wait();
            ready?;
            let mut lost = preemptions();
            while !over.load(Ordering::Acquire) || times.len() < least {
                let before = times.len();
                ring.judge(pf, &mut times)?;
                let now = preemptions();
                if now != lost {
                    times.truncate(before);
                    lost = now;
                }
            }
            anyhow::Ok(times)
        });
        begun.wait();
        let done = act();
        over.store(true, Ordering::Release);
        let times = packets
            .join()
            .map_err(|_| anyhow!("the packets' thread has panicked"))??;
        Ok((times, done?))
    })
}

/// The middle one, that of 99.99 %, and the longest.
fn latency(name: &'static str, states: usize, addresses: usize, mut times: Vec<u32>) -> Record {
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().map(f64::from);
    Record {
        name,
        states,
        addresses,
        ns: at(0.5),
        ns_9999: at(0.9999),
        ns_max: times.last().copied().map(f64::from),
        ..Record::default()
    }
}

/// Measures packets of `states` connections without a dump and with either way of dumping, and both ways.
pub(crate) fn measure(states: usize, passes: usize) -> anyhow::Result<Vec<Record>> {
    let (machine, connections, addresses) = connected(states)?;
    let mut ring = Ring::new(&connections);
    let room = states * size_of::<SyncState>();
    machine.make_room(room.max(BULK_MOST as usize * size_of::<SyncState>()));
    let (mut alone, mut chunks, mut whole) = (vec![], vec![], vec![]);
    let mut elapsed = [vec![], vec![]];
    for _ in 0..passes {
        let (times, ()) = while_done(&machine, &mut ring, PACKETS / passes, || Ok(()))?;
        alone.extend(times);
        for (way, elapsed) in elapsed.iter_mut().enumerate() {
            let (times, took) = while_done(&machine, &mut ring, 0, || {
                let start = Instant::now();
                let dumped = match way {
                    0 => in_chunks(&machine)?,
                    _ => at_once(&machine, room)?,
                };
                let took = start.elapsed().as_nanos() as f64;
                ensure!(dumped == states, "{dumped} states were dumped");
                Ok(took)
            })?;
            elapsed.push(took / states as f64);
            match way {
                0 => chunks.extend(times),
                _ => whole.extend(times),
            }
        }
    }
    let [in_chunks, at_once] = elapsed.map(median);
    Ok(vec![
        latency("packet-wait", states, addresses, alone),
        latency("packet-wait-while-dumped-in-chunks", states, addresses, chunks),
        latency("packet-wait-while-dumped-at-once", states, addresses, whole),
        Record {
            name: "dump-in-chunks",
            states,
            addresses,
            ns: Some(tenths(in_chunks)),
            baseline: Some("at-once"),
            baseline_ns: Some(tenths(at_once)),
            ratio: Some(tenths(at_once / in_chunks)),
            ..Record::default()
        },
    ])
}
