//! Following a TCP connection: which segments belong to it, and how far it has come.
//!
//! # Overview
//! After Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001). The filter stands between the ends, so
//! it may see what one of them never gets, and must not be stricter than either. For a segment of `src` with data up to `end`,
//! an acknowledgment `ack` and a window, four bounds hold:
//!
//! * data: `end` is not above what `dst` has said that it takes (`src.seqhi`), and not more than a window of `dst` below what
//!   `src` has sent (`src.seqlo`);
//! * acknowledgment: `ack` is not far above what `dst` has sent (`dst.seqlo`), and not far below it. It may be further above,
//!   within what `src` has offered to take, where the segment itself is within the window even without data.
//!
//! A reset has to hit exactly, since a forged one costs the most: at the next number of its sender, or at the one that the other end
//! has acknowledged, which is all that an end knows that has forgotten the connection, and resets what it hears of it. And a SYN of an end that was seen can only be a repetition
//! (RFC 5961). While one side's numbers are not known, or a connection ends, a wider band around what is known does. Where a
//! connection is picked up in the middle, the scale of windows is not known, and taken to be the largest.
//!
//! A restored state knows the windows of when it was dumped. Both ends may have gone on meanwhile, by anything up to half of
//! the sequence space. As long as one of them has not been seen since ([`stale`](Peer::stale)), what they say is believed, but
//! never a reset or a SYN. After that the bounds are the ones above again. A connection that is picked up in the middle is
//! stale until its other end has been seen.
//!
//! # Locking
//! The caller holds the state's lock.

use pf_abi::{
    PF_WSCALE_FLAG, PF_WSCALE_MASK, TCPS_CLOSED, TCPS_CLOSING, TCPS_ESTABLISHED, TCPS_FIN_WAIT_2, TCPS_SYN_SENT,
    TCPS_TIME_WAIT, Timeout,
};

use super::{Body, Peer};
use crate::wire::tcp::{self, MAX_WINDOW_SCALE, Seq, TcpFlags};

/// How far an acknowledgment may be off what was seen sent: a window of the largest size without scaling, and a segment.
const MAX_ACK_SKEW: u32 = 0xffff + 1500;
/// The scale of an end whose SYN was not seen.
const UNKNOWN_SCALE: u8 = PF_WSCALE_FLAG | MAX_WINDOW_SCALE;

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
    /// It answers the first SYN of a new connection as part of an older one, which its sender takes to be alive (RFC 9293,
    /// 3.5.1). A reset makes an end of that one. Nothing has changed.
    HalfOpen,
}

impl Segment {
    /// What counts of a segment whose options do not matter: of any but a SYN.
    #[inline(always)]
    pub fn plain(header: &tcp::Header, data_len: u16) -> Self {
        Segment {
            seq: header.seq(),
            end: header.end(data_len),
            ack: header.ack(),
            flags: header.flags(),
            window: header.window.get(),
            wscale: None,
            mss: 0,
        }
    }

    fn has(&self, flags: TcpFlags) -> bool {
        self.flags.intersects(flags)
    }

    /// The scale that this end offers with its SYN, as a state keeps it.
    fn offered_scale(&self) -> u8 {
        self.wscale.map_or(0, |shift| PF_WSCALE_FLAG | (shift & PF_WSCALE_MASK))
    }

    /// The window as the state keeps it, where its sender scales by `shift`. A SYN's is never scaled: what a scaled field would
    /// say.
    fn scaled_window(&self, shift: u8) -> u16 {
        if self.has(TcpFlags::SYN) {
            u32::from(self.window).div_ceil(1 << shift) as u16
        } else {
            self.window
        }
    }
}

impl Peer {
    fn shift(&self) -> u8 {
        (self.wscale & PF_WSCALE_MASK).min(MAX_WINDOW_SCALE)
    }

    fn scales(&self) -> bool {
        self.wscale & PF_WSCALE_FLAG != 0
    }

    /// Whether a segment of this end has been seen.
    fn is_known(&self) -> bool {
        self.state >= TCPS_SYN_SENT
    }

    /// The largest window this end ever offered, in bytes.
    fn window(&self, shift: u8) -> u32 {
        u32::from(self.max_win) << shift
    }

    /// What is left of a window of which the other end does not scale, so that it does not either.
    fn forget_scale(&mut self) {
        self.max_win = self.window(self.shift()).min(u32::from(u16::MAX)) as u16;
        self.wscale = 0;
    }

    /// Takes in what the other end's first acknowledgment says of this one, which was never seen: it has another way, or the
    /// connection is older than the state.
    fn presume(&mut self, peer: &Peer, segment: &Segment) {
        self.max_win = u16::MAX;
        self.wscale = if peer.scales() { UNKNOWN_SCALE } else { 0 };
        (self.seqlo, self.acked) = (segment.ack, segment.ack);
        self.seqhi = segment.ack + peer.window(peer.shift());
    }

    /// Takes in what the first segment of this end says, of which `peer` is the other one.
    fn meet(&mut self, peer: &mut Peer, segment: &Segment) {
        if segment.has(TcpFlags::SYN) {
            self.mss = segment.mss;
            self.wscale = segment.offered_scale();
            self.max_win = 0;
        } else if peer.scales() {
            // It has answered the SYN before, and nobody here knows how.
            self.wscale = UNKNOWN_SCALE;
        }
        // Both scale, or neither does.
        if !(self.scales() && peer.scales()) {
            self.wscale = 0;
            peer.forget_scale();
        }
        self.state = TCPS_SYN_SENT;
        let room = segment.end + peer.window(peer.shift()).max(1);
        // Where it is picked up in the middle, more may have been granted than its first segment takes.
        if segment.has(TcpFlags::SYN) || self.seqhi == Seq(1) || room.geq(self.seqhi) {
            self.seqhi = room;
        }
    }
}

/// The two ends of a new connection, of which `segment` is the first that was seen.
pub fn open(segment: &Segment) -> (Peer, Peer) {
    let mut src = Peer {
        seqlo: segment.end,
        seqhi: segment.end + 1,
        acked: segment.seq,
        mss: segment.mss,
        state: TCPS_SYN_SENT,
        wscale: UNKNOWN_SCALE,
        ..Peer::default()
    };
    let mut dst = Peer {
        seqhi: Seq(1),
        max_win: 1,
        state: TCPS_CLOSED,
        ..Peer::default()
    };
    if segment.has(TcpFlags::SYN) {
        src.wscale = segment.offered_scale();
    }
    src.max_win = segment.scaled_window(src.shift()).max(1);
    if segment.has(TcpFlags::ACK) {
        dst.presume(&src, segment);
        dst.stale = true;
    }
    (src, dst)
}

/// Whether nothing is known of an end, not even by what the other one has acknowledged: its SYN begins its numbers.
pub fn is_unheard(peer: &Peer) -> bool {
    !peer.is_known() && peer.seqhi == Seq(1) && !peer.stale
}

/// Moves the state on by what most segments are: data or an acknowledgment in the middle of an established connection, with nothing odd
/// about it. It comes to what [`track`] comes to; where that would have to look closer, this is false, and nothing has changed.
#[inline(always)]
pub fn proceed(body: &mut Body, segment: &Segment, forward: bool) -> bool {
    const CONTROLS: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);
    let (src, dst) = if forward {
        (&mut body.src, &mut body.dst)
    } else {
        (&mut body.dst, &mut body.src)
    };
    if segment.flags & (CONTROLS | TcpFlags::ACK) != TcpFlags::ACK
        || src.state != TCPS_ESTABLISHED
        || dst.state != TCPS_ESTABLISHED
        || src.stale
        || dst.stale
    {
        return false;
    }
    let (src_shift, dst_shift) = if src.scales() && dst.scales() {
        (src.shift(), dst.shift())
    } else {
        (0, 0)
    };
    // Without data, where it stands matters little.
    let end = if segment.seq == segment.end {
        src.seqlo
    } else if src.seqhi.geq(segment.end) && segment.end.geq(src.seqlo - dst.window(dst_shift)) {
        segment.end
    } else {
        return false;
    };
    let ahead = segment.ack.distance(dst.seqlo);
    if ahead > MAX_ACK_SKEW as i32 || ahead < -((MAX_ACK_SKEW << src_shift) as i32) {
        return false;
    }
    src.max_win = src.max_win.max(segment.window);
    src.seqlo = src.seqlo.latest(end);
    dst.acked = dst.acked.latest(segment.ack);
    let room = segment.ack + (u32::from(segment.window) << src_shift).max(1);
    dst.seqhi = room.latest(dst.seqhi);
    body.timeout = Timeout::TcpEstablished;
    true
}

/// Judges a segment, and moves the state on if it is good. `forward`: it goes the way of the first one.
#[inline(never)]
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
    if advance(&mut src, &mut dst, segment) {
        body.timeout = phase(&src, &dst);
        (body.src, body.dst) = if forward { (src, dst) } else { (dst, src) };
        return Fit::Good;
    }
    // All that is known is a SYN, which nobody has answered.
    let is_opening = body.src.state == TCPS_SYN_SENT && !body.dst.is_known() && body.dst.seqhi == Seq(1);
    let is_stale = body.src.stale || body.dst.stale;
    if is_opening && !is_stale && !forward && segment.has(TcpFlags::ACK) && !segment.has(TcpFlags::RST) {
        return Fit::HalfOpen;
    }
    Fit::Mismatch
}

/// Moves both ends on by a segment of `src`, or says that it is not one of theirs.
fn advance(src: &mut Peer, dst: &mut Peer, segment: &Segment) -> bool {
    let (is_syn, is_reset) = (segment.has(TcpFlags::SYN), segment.has(TcpFlags::RST));
    let was_known = src.is_known();
    if is_reset && !hits(segment, src, dst) {
        return false;
    }
    if is_syn && was_known && dst.is_known() && segment.end.gt(src.seqlo) {
        return false;
    }
    let was_stale = src.stale || dst.stale;
    if !was_known {
        src.meet(dst, segment);
        (src.seqlo, src.acked) = (segment.seq, segment.seq);
    }
    if !dst.is_known() && dst.seqhi == Seq(1) && segment.has(TcpFlags::ACK) && !is_reset {
        dst.presume(src, segment);
    }

    let scaling = src.scales() && dst.scales();
    let src_shift = if scaling && !is_syn { src.shift() } else { 0 };
    let dst_shift = if scaling { dst.shift() } else { 0 };
    let offered = Window {
        field: segment.scaled_window(src.shift()),
        bytes: u32::from(segment.window) << src_shift,
    };
    // Without an acknowledgment, and for one of something that was never seen, there is nothing to compare.
    let ack = if !segment.has(TcpFlags::ACK) || (is_reset && segment.ack == Seq(0)) || !dst.is_known() {
        dst.seqlo
    } else {
        segment.ack
    };
    // A window that is not known may be any.
    let window = |peer: &Peer, shift| {
        if was_stale {
            u32::from(u16::MAX) << shift
        } else {
            peer.window(shift)
        }
    };
    let retransmission = window(dst, dst_shift);
    let is_recent = segment.end.geq(src.seqlo - retransmission);
    let is_within = is_recent && src.seqhi.geq(segment.end);
    // Without data, where it stands matters little, so that keep-alives and window probes pass.
    let is_eased = segment.seq == segment.end && !src.stale;
    let (seq, end) = if is_eased {
        (src.seqlo, src.seqlo)
    } else {
        (segment.seq, segment.end)
    };

    // It lags behind by as much as is under way, and is ahead of what was seen only if that has gone another way.
    let acknowledged = dst.seqlo.geq(ack) && ack.geq(dst.seqlo - (MAX_ACK_SKEW << src_shift))
        || ack.gt(dst.seqlo) && (dst.seqlo + MAX_ACK_SKEW).geq(ack);
    if (is_eased || is_within) && acknowledged {
        settle(src, dst, segment, end, offered);
        return true;
    }

    if segment.has(TcpFlags::ACK) && !is_reset && !is_syn {
        let fits = if was_stale {
            is_recent && ack.geq(dst.seqlo - window(src, src_shift))
        } else {
            is_within && ack.gt(dst.seqlo) && dst.seqhi.geq(ack)
        };
        if fits {
            // What an end acknowledges has been sent, and what it sends has been asked for.
            dst.seqlo = dst.seqlo.latest(ack);
            if was_stale {
                src.seqhi = src.seqhi.latest(segment.end + dst.window(dst_shift).max(1));
            }
            settle(src, dst, segment, segment.end, offered);
            return true;
        }
    }

    let unsettled = !dst.is_known() || dst.state >= TCPS_FIN_WAIT_2 || src.state >= TCPS_FIN_WAIT_2;
    let band = (src.seqhi + MAX_ACK_SKEW).geq(end) && seq.geq(src.seqlo - MAX_ACK_SKEW);
    if unsettled && band {
        settle(src, dst, segment, end, offered);
        return true;
    }
    false
}

/// Whether a reset is where its receiver would believe it: at the next sequence number (RFC 5961, 3.2), give or take one for a
/// SYN or a FIN that got lost, or at what the receiver has acknowledged, where data was lost behind the filter. One that refuses a SYN has no number of its own, and acknowledges the SYN (RFC 9293, 3.10.7.3).
fn hits(segment: &Segment, src: &Peer, dst: &Peer) -> bool {
    if src.is_known() || src.seqhi != Seq(1) {
        (-1..=1).contains(&segment.seq.distance(src.seqlo)) || segment.seq == src.acked
    } else {
        segment.has(TcpFlags::ACK) && segment.ack == dst.seqlo
    }
}

/// A window that a segment offers: as the state keeps it, and in bytes.
#[derive(Clone, Copy)]
struct Window {
    field: u16,
    bytes: u32,
}

/// Takes over what a good segment says.
fn settle(src: &mut Peer, dst: &mut Peer, segment: &Segment, end: Seq, offered: Window) {
    src.stale = false;
    src.max_win = src.max_win.max(offered.field);
    src.seqlo = src.seqlo.latest(end);
    if segment.has(TcpFlags::ACK) && !segment.has(TcpFlags::RST) {
        dst.acked = dst.acked.latest(segment.ack);
        let room = segment.ack + offered.bytes.max(1);
        if room.geq(dst.seqhi) {
            dst.seqhi = room;
            if !dst.is_known() {
                (dst.seqlo, dst.acked) = (segment.ack, segment.ack);
            }
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
            // The FIN is the last that it sent.
            TCPS_CLOSING if segment.ack.geq(dst.seqlo) => dst.state = TCPS_FIN_WAIT_2,
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

/// Why a segment is none of its connection's: what [`track`] has looked at, for whoever has to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// A reset that is not at the next number, nor at what was acknowledged.
    Reset,
    /// A SYN of an end that was seen.
    Syn,
    /// Data beyond what the receiver takes.
    Beyond,
    /// Data from longer ago than a window.
    Old,
    /// It acknowledges what the other end was not seen to send.
    AckAhead,
    /// What it acknowledges was acknowledged long ago.
    AckBehind,
    /// None of these by itself.
    Other,
}

impl Misfit {
    /// In words, for the log.
    pub fn text(self) -> &'static str {
        match self {
            Misfit::Reset => "reset off its number",
            Misfit::Syn => "SYN inside the connection",
            Misfit::Beyond => "data beyond the window",
            Misfit::Old => "data before the window",
            Misfit::AckAhead => "acknowledges the unsent",
            Misfit::AckBehind => "acknowledges too little",
            Misfit::Other => "mismatch",
        }
    }
}

/// The first thing that is wrong with a segment of `src` that [`track`] has refused.
pub fn explain(src: &Peer, dst: &Peer, segment: &Segment) -> Misfit {
    let scaling = src.scales() && dst.scales();
    let (src_shift, dst_shift) = if scaling { (src.shift(), dst.shift()) } else { (0, 0) };
    let acknowledges = segment.has(TcpFlags::ACK) && dst.is_known();
    if segment.has(TcpFlags::RST) && !hits(segment, src, dst) {
        Misfit::Reset
    } else if segment.has(TcpFlags::SYN) && src.is_known() {
        Misfit::Syn
    } else if !src.seqhi.geq(segment.end) {
        Misfit::Beyond
    } else if !segment.end.geq(src.seqlo - dst.window(dst_shift)) {
        Misfit::Old
    } else if acknowledges && !(dst.seqlo + MAX_ACK_SKEW).geq(segment.ack) {
        Misfit::AckAhead
    } else if acknowledges && !segment.ack.geq(dst.seqlo - (MAX_ACK_SKEW << src_shift)) {
        Misfit::AckBehind
    } else {
        Misfit::Other
    }
}

/// Whether a segment that an ICMP error quotes was sent by `src` of late. `seq` is its sequence number.
pub fn was_sent(src: &Peer, dst: &Peer, seq: Seq) -> bool {
    let shift = if src.scales() && dst.scales() { dst.shift() } else { 0 };
    // What the other end takes is not known before it is.
    let window = if dst.is_known() {
        dst.window(shift)
    } else {
        MAX_ACK_SKEW
    };
    src.stale || (src.seqhi.geq(seq) && seq.geq(src.seqlo - window))
}

#[cfg(test)]
mod tests;
