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

use crate::kpi::{Direction, Mbuf, SoftNet};
use crate::packet::Packet;
use crate::state::{Place, Tree};
use crate::{Pf, Verdict};

/// States of a table that a processor's caches hold anyway: a megabyte.
const CACHED: usize = 4096;
/// Packets that are fetched for at once: more than a processor has lines on their way, so that the first have come when the
/// last are asked for.
const BURST: usize = 32;

/// Judges packets in their order, each in its place; where one is dropped, none is left.
pub(crate) fn judge(pf: &Pf, level: &SoftNet, direction: Direction, ifindex: u16, packets: &mut [Option<Mbuf>]) {
    for packets in packets.chunks_mut(BURST) {
        let mut places = [None; BURST];
        if packets.len() > 1 && pf.states.len() > CACHED && pf.is_running() && !pf.is_locked() {
            foresee(pf, level, direction, packets, &mut places);
        }
        for (slot, place) in packets.iter_mut().zip(places) {
            let Some(packet) = slot.take() else { continue };
            if let Verdict::Pass(packet) = super::judge(pf, level, direction, ifindex, packet, place) {
                *slot = Some(packet);
            }
        }
    }
}

/// Fetches what the lookups of these packets will read, and says where they will look.
fn foresee(
    pf: &Pf,
    level: &SoftNet,
    direction: Direction,
    packets: &mut [Option<Mbuf>],
    places: &mut [Option<Place>; BURST],
) {
    let _section = pf.read(level);
    let tree = Tree::of(direction);
    for (slot, place) in packets.iter_mut().zip(places.iter_mut()) {
        let Some(mbuf) = slot.take() else { continue };
        let mut packet = Packet::new(mbuf, direction);
        if packet.parse().is_ok() && super::is_trackable(&packet) {
            let at = pf.states.place(tree, &packet.key());
            pf.states.fetch_partition(at);
            *place = Some(at);
        }
        *slot = Some(packet.into_mbuf());
    }
    for at in places.iter().flatten() {
        pf.states.fetch_state(*at);
    }
}
