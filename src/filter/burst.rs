//! Packets that come together: judged one after the other, fetched from memory at once.
//!
//! # Overview
//! In a large table a packet waits for memory twice, for its partition's cache line and then for its state; all else is quick. One
//! packet has nothing to do meanwhile, but several can wait together. So first the headers of all packets of a burst are read and
//! their partitions fetched, then their states, and only then they are judged. What is fetched is a guess, and a packet is
//! judged as if it had come alone.
//!
//! # Locking
//! As for one packet: in a passive section while memory is read, with no lock taken.

use super::plain::Plain;
use crate::kpi::{Direction, Mbuf, SoftNet};
use crate::packet::Packet;
use crate::state::{Place, Tree};
use crate::{Pf, Verdict};

/// States of a table that a processor's caches hold anyway: a megabyte.
const CACHED: usize = 4096;
/// Packets that are fetched for at once: more than a processor has lines on their way, so that the first have come when the
/// last are asked for.
const BURST: usize = 32;

/// What is known of a packet before it is judged.
type Seen = (Option<Plain>, Option<Place>);

/// Judges packets in their order, each in its place; where one is dropped, none is left.
pub(crate) fn judge(pf: &Pf, level: &SoftNet, direction: Direction, ifindex: u16, packets: &mut [Option<Mbuf>]) {
    if packets.len() < 2 || pf.states.len() <= CACHED || !pf.is_running() || pf.is_locked() {
        for slot in packets {
            let Some(packet) = slot.take() else { continue };
            if let Verdict::Pass(packet) = super::judge(pf, level, direction, ifindex, packet) {
                *slot = Some(packet);
            }
        }
        return;
    }
    for packets in packets.chunks_mut(BURST) {
        let mut seen = [const { (None, None) }; BURST];
        foresee(pf, level, direction, packets, &mut seen);
        for (slot, seen) in packets.iter_mut().zip(seen) {
            let Some(packet) = slot.take() else { continue };
            if let Verdict::Pass(packet) = super::judge_read(pf, level, direction, ifindex, packet, seen) {
                *slot = Some(packet);
            }
        }
    }
}

/// Fetches what the lookups of these packets will read, and says where they will look.
fn foresee(pf: &Pf, level: &SoftNet, direction: Direction, packets: &mut [Option<Mbuf>], seen: &mut [Seen; BURST]) {
    let _section = pf.read(level);
    for (slot, (plain, place)) in packets.iter_mut().zip(seen.iter_mut()) {
        let Some(mbuf) = slot else { continue };
        *plain = Plain::read(mbuf, direction);
        *place = match plain {
            Some(plain) => Some(plain.place(pf, direction)),
            None => slot.take().and_then(|mbuf| foresee_any(pf, direction, mbuf, slot)),
        };
        if let Some(at) = *place {
            pf.states.fetch_partition(at);
        }
    }
    for at in seen.iter().filter_map(|(_, place)| *place) {
        pf.states.fetch_state(at);
    }
}

/// Where the state of any packet stands, if it can have one. The packet goes back to where it was.
#[inline(never)]
fn foresee_any(pf: &Pf, direction: Direction, mbuf: Mbuf, back: &mut Option<Mbuf>) -> Option<Place> {
    let mut packet = Packet::new(mbuf, direction);
    let is_tracked = packet.parse().is_ok() && super::is_trackable(&packet);
    let place = is_tracked.then(|| pf.states.place(Tree::of(direction), &packet.key()));
    *back = Some(packet.into_mbuf());
    place
}
