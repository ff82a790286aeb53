//! Following a TCP connection: which segments belong to it, and how far it has come.
//!
//! # Overview
//! After Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001). The filter stands between the ends, so
//! it may see what one of them never gets, and must not be stricter than either. For a segment of `src` with data from
//! `seq` to `end`, an acknowledgment `ack` and a window, four bounds hold:
//!
//! * data: `end` is not above what `dst` has said that it takes (`src.seqhi`), and `seq` not more than a window of `dst`
//!   below what `src` has sent (`src.seqlo`);
//! * acknowledgment: `ack` is not far above what `dst` has sent (`dst.seqlo`), and not far below it.
//!
//! A reset has to hit exactly, since a forged one costs the most. While a connection is picked up in the middle, or ends, and
//! one side's numbers are not known, a wider band around what is known does.
//!
//! A restored state knows the windows of when it was dumped. An end that is [`stale`](Peer::stale) may have gone on
//! meanwhile, by anything up to half of the sequence space, and is believed when it says so, but never when it resets or
//! begins anew. Once it has been seen, and the other end too, the bounds are the ones above again.
//!
//! # Locking
//! The caller holds the state's lock.

use pf_abi::{
    PF_WSCALE_FLAG, PF_WSCALE_MASK, TCPS_CLOSED, TCPS_CLOSING, TCPS_ESTABLISHED, TCPS_FIN_WAIT_2, TCPS_SYN_SENT,
    TCPS_TIME_WAIT, Timeout,
};

use super::{Body, Peer};
use crate::wire::tcp::{Seq, TcpFlags};

/// How far an acknowledgment may be off what was seen sent: a window of the largest size without scaling, and a segment.
const MAX_ACK_SKEW: i32 = 0xffff + 1500;

/// What counts of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The sequence number.
    pub seq: Seq,
    /// The sequence number after its data, SYN and FIN.
    pub end: Seq,
    /// The acknowledgment number; it counts where the ACK flag is set.
    pub ack: Seq,
    /// The flags.
    pub flags: TcpFlags,
    /// The window as it stands in the header.
    pub window: u16,
    /// The window scale that it offers, if it is a SYN that does.
    pub wscale: Option<u8>,
    /// The maximum segment size that it states, 0 if it states none.
    pub mss: u16,
}

/// What a segment is to its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It belongs to the connection, which has moved on.
    Good,
    /// It does not belong to it. Nothing has changed.
    Mismatch,
    /// It opens a new connection between the same ports, and the old one is over: the state is in the way.
    Reused,
}

impl Segment {
    fn has(&self, flags: TcpFlags) -> bool {
        self.flags.intersects(flags)
    }

    /// The scale that this end offers with its SYN, as a state keeps it.
    fn offered_scale(&self) -> u8 {
        self.wscale.map_or(0, |shift| PF_WSCALE_FLAG | (shift & PF_WSCALE_MASK))
    }

    /// A SYN's window is never scaled; later ones are, by `shift`: what a scaled field would say.
    fn unscaled_window(&self, shift: u8) -> u16 {
        let window = u32::from(self.window);
        ((window + (1 << shift) - 1) >> shift) as u16
    }
}

impl Peer {
    fn shift(&self) -> u8 {
        self.wscale & PF_WSCALE_MASK
    }

    fn scales(&self) -> bool {
        self.wscale & PF_WSCALE_FLAG != 0
    }

    /// The largest window this end ever offered, in bytes.
    fn window(&self, shift: u8) -> u32 {
        u32::from(self.max_win) << shift
    }
}

/// The two ends of a new connection, of which `segment` is the first that was seen.
pub fn open(segment: &Segment) -> (Peer, Peer) {
    let is_syn = segment.has(TcpFlags::SYN);
    let wscale = if is_syn { segment.offered_scale() } else { 0 };
    let src = Peer {
        seqlo: segment.seq,
        seqhi: segment.end + 1,
        max_win: segment.unscaled_window(wscale & PF_WSCALE_MASK).max(1),
        mss: segment.mss,
        state: TCPS_SYN_SENT,
        wscale,
        ..Peer::default()
    };
    let dst = Peer {
        seqhi: Seq(1),
        max_win: 1,
        state: TCPS_CLOSED,
        ..Peer::default()
    };
    (src, dst)
}

/// Judges a segment, and moves the state on if it is good. `forward`: it goes the way of the first one.
pub fn track(body: &mut Body, segment: &Segment, forward: bool) -> Fit {
    if segment.has(TcpFlags::SYN)
        && !segment.has(TcpFlags::ACK)
        && body.src.state >= TCPS_FIN_WAIT_2
        && body.dst.state >= TCPS_FIN_WAIT_2
    {
        return Fit::Reused;
    }
    let (mut src, mut dst) = if forward {
        (body.src, body.dst)
    } else {
        (body.dst, body.src)
    };
    let fit = advance(&mut src, &mut dst, segment);
    if fit == Fit::Good {
        body.timeout = phase(&src, &dst);
        (body.src, body.dst) = if forward { (src, dst) } else { (dst, src) };
    }
    fit
}

fn advance(src: &mut Peer, dst: &mut Peer, segment: &Segment) -> Fit {
    let mut window = u32::from(segment.window);
    let scaling = src.scales() && dst.scales();
    let (mut src_shift, mut dst_shift) = if scaling { (src.shift(), dst.shift()) } else { (0, 0) };
    if segment.has(TcpFlags::SYN) {
        src_shift = 0;
    }

    let (mut seq, mut end) = (segment.seq, segment.end);
    if src.state < TCPS_SYN_SENT {
        // The first segment of this end.
        if segment.has(TcpFlags::SYN) {
            src.mss = segment.mss;
            let offered = segment.offered_scale();
            if dst.scales() && offered & PF_WSCALE_FLAG != 0 {
                src.wscale = offered;
                window = u32::from(segment.unscaled_window(src.shift()));
                dst_shift = dst.shift();
            } else {
                // Both scale, or neither does: what was said of the other's window before was too little.
                dst.max_win = dst.window(dst.shift()).min(u32::from(u16::MAX)) as u16;
                dst.wscale = 0;
            }
        }
        src.seqlo = seq;
        src.state = TCPS_SYN_SENT;
        let room = end + dst.window(dst_shift).max(1);
        if src.seqhi == Seq(1) || room.geq(src.seqhi) {
            src.seqhi = room;
        }
        src.max_win = src.max_win.max(window.min(u32::from(u16::MAX)) as u16);
    }

    // Without an acknowledgment, and for one of something that was never seen, there is nothing to compare.
    let is_reset = segment.has(TcpFlags::RST);
    let ack = if !segment.has(TcpFlags::ACK) || (is_reset && segment.ack == Seq(0)) || dst.state < TCPS_SYN_SENT {
        dst.seqlo
    } else {
        segment.ack
    };
    if seq == end && !src.stale {
        // No data: where it stands matters little, so that keep-alives and window probes pass.
        seq = src.seqlo;
        end = seq;
    }

    let retransmission = dst.window(dst_shift);
    let skew = dst.seqlo.distance(ack);
    let strict_data = src.seqhi.geq(end) && seq.geq(src.seqlo - retransmission);
    let strict_ack = (-MAX_ACK_SKEW..=MAX_ACK_SKEW << src_shift).contains(&skew);
    let exact = !is_reset || hits(segment, src);
    if strict_data && strict_ack && exact {
        settle(src, dst, segment, end, window, src_shift);
        return Fit::Good;
    }

    if (src.stale || dst.stale) && !is_reset && !segment.has(TcpFlags::SYN) && segment.has(TcpFlags::ACK) {
        let data = if src.stale {
            segment.seq.geq(src.seqlo - retransmission)
        } else {
            strict_data
        };
        let acknowledged = if dst.stale {
            ack.geq(dst.seqlo - src.window(src_shift))
        } else {
            strict_ack
        };
        if data && acknowledged {
            // What an end acknowledges has been sent, and what it sends has been asked for.
            dst.seqlo = dst.seqlo.latest(ack);
            src.seqhi = src.seqhi.latest(segment.end + retransmission.max(1));
            settle(src, dst, segment, segment.end, window, src_shift);
            return Fit::Good;
        }
    }

    let unsettled = dst.state < TCPS_SYN_SENT || dst.state >= TCPS_FIN_WAIT_2 || src.state >= TCPS_FIN_WAIT_2;
    let band = MAX_ACK_SKEW as u32;
    if unsettled && (src.seqhi + band).geq(end) && seq.geq(src.seqlo - band) && exact {
        settle(src, dst, segment, end, window, src_shift);
        return Fit::Good;
    }
    Fit::Mismatch
}

/// Whether a reset is where the receiver would believe it (RFC 5961, 3.2): at the next sequence number, give or take
/// one for the SYN. Before anything was seen of its sender, what it acknowledges is all there is.
fn hits(segment: &Segment, src: &Peer) -> bool {
    let off = segment.seq.distance(src.seqlo);
    (-1..=1).contains(&off) || src.state < TCPS_ESTABLISHED
}

/// Takes over what a good segment says.
fn settle(src: &mut Peer, dst: &mut Peer, segment: &Segment, end: Seq, window: u32, shift: u8) {
    src.stale = false;
    src.max_win = src.max_win.max(window.min(u32::from(u16::MAX)) as u16);
    src.seqlo = src.seqlo.latest(end);
    if segment.has(TcpFlags::ACK) && !segment.has(TcpFlags::RST) {
        let room = segment.ack + (window << shift).max(1);
        if room.geq(dst.seqhi) || dst.seqhi == Seq(1) {
            dst.seqhi = room;
        }
    }
    if segment.has(TcpFlags::SYN) {
        src.state = src.state.max(TCPS_SYN_SENT);
    }
    if segment.has(TcpFlags::FIN) {
        src.state = src.state.max(TCPS_CLOSING);
    }
    if segment.has(TcpFlags::ACK) {
        match dst.state {
            TCPS_SYN_SENT => dst.state = TCPS_ESTABLISHED,
            TCPS_CLOSING => dst.state = TCPS_FIN_WAIT_2,
            _ => (),
        }
    }
    if segment.has(TcpFlags::RST) {
        src.state = TCPS_TIME_WAIT;
        dst.state = TCPS_TIME_WAIT;
    }
}

/// Which timeout is due.
fn phase(src: &Peer, dst: &Peer) -> Timeout {
    let (least, most) = (src.state.min(dst.state), src.state.max(dst.state));
    if least >= TCPS_FIN_WAIT_2 {
        Timeout::TcpClosed
    } else if least >= TCPS_CLOSING {
        Timeout::TcpFinWait
    } else if least < TCPS_ESTABLISHED {
        Timeout::TcpOpening
    } else if most >= TCPS_CLOSING {
        Timeout::TcpClosing
    } else {
        Timeout::TcpEstablished
    }
}

/// Whether a segment that an ICMP error quotes was sent by `src` of late. `seq` is its sequence number.
pub fn was_sent(src: &Peer, dst: &Peer, seq: Seq) -> bool {
    let shift = if src.scales() && dst.scales() { dst.shift() } else { 0 };
    src.stale || (src.seqhi.geq(seq) && seq.geq(src.seqlo - dst.window(shift)))
}
