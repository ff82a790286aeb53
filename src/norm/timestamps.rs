//! `scrub reassemble tcp`: TTLs that do not sink, timestamps that tell nothing of their host, and none that cannot be.
//!
//! # Overview
//! Each end of a connection whose SYN carries a timestamp gets a random number that is added to all its timestamps, and taken
//! from the other end's echoes of them. What follows is about the timestamps as the ends know them.
//!
//! Of a segment of `src` in an established connection (RFC 7323, 5):
//!
//! * its timestamp is not older than what `dst` has echoed, which `dst` would drop itself;
//! * it is not further ahead of the last one than the fastest clock allowed ticks (one a millisecond) in the time since, and
//!   the timeout `tcp.tsdiff`;
//! * it echoes nothing that `dst` has not sent, nor anything from before its first segment;
//! * it has one at all, if it has data and earlier data had one.
//!
//! Nothing of that holds for a reset. A clock that was not seen for 24 days may have wrapped, and one that was not seen since its
//! state was restored may be anywhere: the first segment sets it.
//!
//! # Locking
//! The caller holds the lock around both ends.

use pf_abi::Reason;

use crate::kpi::{Kernel, NoMemory};
use crate::packet::{Packet, Timestamps, Transport};
use crate::state::{Clock, DataStamps, ScrubPeer};
use crate::wire::tcp::{Seq, TcpFlags};

/// Ticks a second of the fastest clock (RFC 7323, 5.4), and a tenth for those that go fast.
const MOST_TICKS: u64 = 1100;
/// Seconds after which a clock may have wrapped (RFC 7323, 5.5).
const MOST_IDLE: u32 = 24 * 24 * 60 * 60;

/// What counts of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamped {
    flags: TcpFlags,
    has_data: bool,
    found: Option<Timestamps>,
    ttl: u8,
}

impl Stamped {
    /// Reads a packet, if it is TCP.
    pub(crate) fn read(packet: &Packet) -> Option<Self> {
        let Transport::Tcp { header, data_len, .. } = &packet.transport else {
            return None;
        };
        Some(Stamped {
            flags: header.flags(),
            has_data: *data_len != 0,
            found: packet.timestamps(),
            ttl: packet.ttl(),
        })
    }

    /// The other end's timestamp that is echoed, as that end knows it.
    fn echo(&self, dst: &ScrubPeer) -> Option<u32> {
        let found = self.found.filter(|_| self.flags.contains(TcpFlags::ACK))?;
        (found.ecr != 0).then(|| found.ecr.wrapping_sub(dst.modulator.unwrap_or(0)))
    }

    /// Whether the segment can be one of `src`, `tolerance` seconds more or less.
    ///
    /// # Errors
    /// PFRES_TS.
    pub(crate) fn check(&self, src: &ScrubPeer, dst: &ScrubPeer, now: u32, tolerance: u32) -> Result<(), Reason> {
        if self.flags.contains(TcpFlags::RST) {
            return Ok(());
        }
        let Some(found) = self.found else {
            let expected = src.data == DataStamps::With && src.modulator.is_some() && dst.modulator.is_some();
            return if self.has_data && expected {
                Err(Reason::BadTimestamp)
            } else {
                Ok(())
            };
        };
        if let Some(clock) = src.clock.filter(|clock| idle(clock, now) < MOST_IDLE) {
            let is_old = dst.echoed.is_some_and(|echoed| Seq(found.val).lt(Seq(echoed)));
            let ahead = Seq(found.val).distance(Seq(clock.latest));
            // The clock of seconds may be about to tick.
            let seconds = u64::from(idle(&clock, now)) + u64::from(tolerance) + 1;
            let is_ahead = u64::try_from(ahead).is_ok_and(|ahead| ahead > seconds * MOST_TICKS);
            if is_old || is_ahead {
                return Err(Reason::BadTimestamp);
            }
        }
        if let (Some(echo), Some(clock)) = (self.echo(dst), dst.clock) {
            let is_early = clock.first.is_some_and(|first| {
                // What is further back than half of the circle is ahead.
                idle(&clock, now) < MOST_IDLE && Seq(echo).lt(Seq(first)) && Seq(first).leq(Seq(clock.latest))
            });
            if is_early || Seq(echo).gt(Seq(clock.latest)) {
                return Err(Reason::BadTimestamp);
            }
        }
        Ok(())
    }

    /// Takes in what a good segment of `src` says, and gives the packet the TTL and the timestamps that it is to have.
    pub(crate) fn settle(
        &self,
        src: &mut ScrubPeer,
        dst: &ScrubPeer,
        packet: &mut Packet,
        kernel: &Kernel,
        now: u32,
    ) -> Result<(), NoMemory> {
        let is_syn = self.flags.contains(TcpFlags::SYN);
        if !src.is_known && is_syn && self.found.is_some() {
            src.modulator = Some(kernel.random_u32());
        }
        let is_first = !src.is_known;
        src.is_known = true;
        src.ttl = src.ttl.max(self.ttl);
        if self.has_data && src.data == DataStamps::Unknown {
            src.data = match self.found {
                Some(_) => DataStamps::With,
                None => DataStamps::Without,
            };
        }
        packet.raise_ttl(src.ttl)?;
        let Some(found) = self.found else { return Ok(()) };
        let echo = self.echo(dst);
        // A reset shows no clock: it may have been made by somebody between.
        if !self.flags.contains(TcpFlags::RST) {
            src.clock = Some(self.advanced(src, found.val, is_first && is_syn, now));
            if let Some(echo) = echo {
                let is_later = |before| Seq(echo).gt(Seq(before));
                if src.echoed.is_none_or(is_later) {
                    src.echoed = Some(echo);
                }
            }
        }
        let val = found.val.wrapping_add(src.modulator.unwrap_or(0));
        packet.set_timestamps(&found, val, echo.unwrap_or(found.ecr))
    }

    fn advanced(&self, src: &ScrubPeer, val: u32, begins: bool, now: u32) -> Clock {
        match src.clock {
            Some(clock) if idle(&clock, now) < MOST_IDLE => Clock {
                latest: Seq(clock.latest).latest(Seq(val)).0,
                seen: if Seq(val).gt(Seq(clock.latest)) {
                    now
                } else {
                    clock.seen
                },
                ..clock
            },
            _ => Clock {
                latest: val,
                seen: now,
                first: begins.then_some(val),
            },
        }
    }
}

/// Seconds since a clock was seen to tick.
fn idle(clock: &Clock, now: u32) -> u32 {
    now.wrapping_sub(clock.seen)
}
