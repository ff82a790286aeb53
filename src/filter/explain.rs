//! Why a packet does not fit its state: a line of log, where `set debug misc` or `loud` asks for it.
//!
//! The counter says that there are such packets; this says which one it was, what was wrong with it, and what the state knew. One
//! line a second at most with `misc`, so that whoever sends nonsense fills no disk; every one with `loud`.
//!
//! # Locking
//! Takes the state's lock for as long as its ends are copied.

use core::fmt;
use core::sync::atomic::Ordering;

use pf_abi::{PF_DEBUG_MISC, PF_DEBUG_NOISY};

use super::Filter;
use crate::kpi::LogLevel;
use crate::packet::{Packet, Renumber};
use crate::state::tcp::{self, Segment};
use crate::state::{Peer, State};
use crate::wire::tcp::TcpFlags;

impl Filter<'_> {
    /// Tells the log of a segment that does not fit its state.
    #[cold]
    #[inline(never)]
    pub(super) fn explain(&self, state: &State, packet: &Packet) {
        let pf = self.pf;
        let debug = pf.debug.load(Ordering::Relaxed);
        if debug < PF_DEBUG_MISC {
            return;
        }
        let now = pf.kernel.uptime();
        if pf.explained.swap(now, Ordering::Relaxed) == now && debug < PF_DEBUG_NOISY {
            return;
        }
        let Some(mut segment) = packet.segment() else { return };
        let forward = packet.direction == state.direction();
        let (src, dst) = {
            let body = state.lock(self.level);
            if forward {
                (body.src, body.dst)
            } else {
                (body.dst, body.src)
            }
        };
        segment.ack = Renumber::forth(&src, &dst).acked(segment.flags, segment.ack);
        let line = Line {
            packet,
            segment: &segment,
            src: &src,
            dst: &dst,
        };
        pf.kernel.log(LogLevel::Debug, format_args!("{line}"));
    }
}

/// What the log is told: all that counts in one line of 255 bytes, and what is wrong before what may be cut off.
struct Line<'a> {
    packet: &'a Packet,
    segment: &'a Segment,
    src: &'a Peer,
    dst: &'a Peer,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line {
            packet,
            segment,
            src,
            dst,
        } = self;
        let what = tcp::explain(src, dst, segment).text();
        let (near, far) = packet.ends();
        let (from, towards) = if packet.direction == crate::kpi::Direction::Out {
            (near, far)
        } else {
            (far, near)
        };
        let from_addr = from.addr.display(packet.af);
        let to_addr = towards.addr.display(packet.af);
        write!(
            to,
            "BAD state: {what}: {from_addr}:{} > {to_addr}:{} ",
            from.port, towards.port
        )?;
        for (flag, letter) in [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PUSH, "P"),
            (TcpFlags::ACK, "A"),
        ] {
            if segment.flags.contains(flag) {
                to.write_str(letter)?;
            }
        }
        let len = segment.end.since(segment.seq);
        write!(
            to,
            " seq={}+{len} ack={} win={}",
            segment.seq.0, segment.ack.0, segment.window
        )?;
        for (name, peer) in [("src", src), ("dst", dst)] {
            write!(
                to,
                " {name} {}:[{} + {}] win={}<<{}",
                peer.state,
                peer.seqlo.0,
                peer.seqhi.since(peer.seqlo),
                peer.max_win,
                peer.wscale & pf_abi::PF_WSCALE_MASK
            )?;
        }
        Ok(())
    }
}
