//! Whole conversations, segment by segment, past the tracking.

mod model;

use pf_abi::{TCPS_CLOSING, TCPS_TIME_WAIT};

use super::super::Course;
use super::*;

/// Where the client's and the server's numbers begin.
const CLIENT: u32 = 1_500_000_000;
const SERVER: u32 = 2_600_000_000;

/// A segment of `len` bytes.
fn segment(flags: TcpFlags, seq: u32, len: u32) -> Segment {
    let controls = flags.intersection(TcpFlags::SYN | TcpFlags::FIN).iter().count() as u32;
    Segment {
        seq: Seq(seq),
        end: Seq(seq) + (len + controls),
        ack: Seq(0),
        flags,
        window: 65_535,
        wscale: None,
        mss: 0,
    }
}

fn syn(seq: u32) -> Segment {
    segment(TcpFlags::SYN, seq, 0)
}

fn data(seq: u32, len: u32, ack: u32) -> Segment {
    segment(TcpFlags::PUSH, seq, len).ack(ack)
}

fn pure(seq: u32, ack: u32) -> Segment {
    data(seq, 0, ack)
}

fn fin(seq: u32, ack: u32) -> Segment {
    segment(TcpFlags::FIN, seq, 0).ack(ack)
}

fn reset(seq: u32) -> Segment {
    segment(TcpFlags::RST, seq, 0)
}

impl Segment {
    fn ack(self, ack: u32) -> Self {
        let flags = self.flags | TcpFlags::ACK;
        Segment {
            ack: Seq(ack),
            flags,
            ..self
        }
    }

    fn window(self, window: u16) -> Self {
        Segment { window, ..self }
    }

    fn scale(self, shift: u8) -> Self {
        let wscale = Some(shift);
        Segment { wscale, ..self }
    }
}

/// [`track`], and that [`proceed`] comes to the same or leaves it alone.
fn track_both(body: &mut Body, segment: &Segment, forward: bool) -> Fit {
    let seen = |body: &Body| (body.src, body.dst, body.timeout);
    let mut other = Body {
        unlinked: body.unlinked,
        timeout: body.timeout,
        course: body.course,
        expire: body.expire,
        packets: body.packets,
        bytes: body.bytes,
        src: body.src,
        dst: body.dst,
    };
    let before = seen(body);
    let fit = track(body, segment, forward);
    if proceed(&mut other, segment, forward) {
        assert_eq!((fit, seen(body)), (Fit::Good, seen(&other)), "{segment:?}");
    } else {
        assert_eq!(seen(&other), before, "{segment:?}");
    }
    fit
}

/// A connection that the client opens.
struct Conversation(Body);

impl Conversation {
    fn begin(first: Segment) -> Self {
        let (src, dst) = open(&first);
        Conversation::of(src, dst)
    }

    fn of(src: Peer, dst: Peer) -> Self {
        Conversation(Body {
            unlinked: false,
            timeout: Timeout::TcpFirst,
            course: Course::Direct,
            expire: 0,
            src,
            dst,
            packets: [0; 2],
            bytes: [0; 2],
        })
    }

    /// Open, with both windows at `window` and scaled by `scale`.
    fn established(window: u16, scale: Option<u8>) -> Self {
        let offer = |segment: Segment| {
            Segment {
                wscale: scale,
                ..segment
            }
            .window(window)
        };
        let mut conversation = Conversation::begin(offer(syn(CLIENT)));
        conversation.server(offer(syn(SERVER).ack(CLIENT + 1)));
        conversation.client(pure(CLIENT + 1, SERVER + 1).window(window));
        conversation.server(pure(SERVER + 1, CLIENT + 1).window(window));
        assert_eq!(conversation.0.timeout, Timeout::TcpEstablished);
        conversation
    }

    /// The same after a dump and a restore.
    fn restored(window: u16, scale: Option<u8>) -> Self {
        let Body { mut src, mut dst, .. } = Conversation::established(window, scale).0;
        (src.stale, dst.stale) = (true, true);
        Conversation::of(src, dst)
    }

    fn try_client(&mut self, segment: Segment) -> Fit {
        track_both(&mut self.0, &segment, true)
    }

    fn try_server(&mut self, segment: Segment) -> Fit {
        track_both(&mut self.0, &segment, false)
    }

    #[track_caller]
    fn client(&mut self, segment: Segment) {
        assert_eq!(self.try_client(segment), Fit::Good, "{segment:?} in {:?}", self.0);
    }

    #[track_caller]
    fn server(&mut self, segment: Segment) {
        assert_eq!(self.try_server(segment), Fit::Good, "{segment:?} in {:?}", self.0);
    }

    /// Refused, and nothing has changed.
    #[track_caller]
    fn refuses_client(&mut self, segment: Segment) {
        let before = (self.0.src, self.0.dst, self.0.timeout);
        assert_eq!(self.try_client(segment), Fit::Mismatch, "{segment:?} in {:?}", self.0);
        assert_eq!(before, (self.0.src, self.0.dst, self.0.timeout));
    }

    #[track_caller]
    fn refuses_server(&mut self, segment: Segment) {
        let before = (self.0.src, self.0.dst, self.0.timeout);
        assert_eq!(self.try_server(segment), Fit::Mismatch, "{segment:?} in {:?}", self.0);
        assert_eq!(before, (self.0.src, self.0.dst, self.0.timeout));
    }
}

#[test]
fn a_connection_from_its_first_segment_to_its_last() {
    let mut it = Conversation::begin(syn(CLIENT));
    assert_eq!((it.0.src.state, it.0.dst.state), (TCPS_SYN_SENT, TCPS_CLOSED));
    it.server(syn(SERVER).ack(CLIENT + 1));
    assert_eq!(it.0.timeout, Timeout::TcpOpening);
    it.client(pure(CLIENT + 1, SERVER + 1));
    assert_eq!(it.0.timeout, Timeout::TcpEstablished);
    it.client(data(CLIENT + 1, 500, SERVER + 1));
    it.server(data(SERVER + 1, 1460, CLIENT + 501));
    it.server(data(SERVER + 1461, 1460, CLIENT + 501));
    it.client(pure(CLIENT + 501, SERVER + 2921));
    assert_eq!(it.0.src.seqlo, Seq(CLIENT + 501));
    assert_eq!(it.0.dst.seqlo, Seq(SERVER + 2921));
    assert_eq!(it.0.dst.seqhi, Seq(SERVER + 2921 + 65_535));

    it.client(fin(CLIENT + 501, SERVER + 2921));
    assert_eq!(it.0.timeout, Timeout::TcpClosing);
    it.server(pure(SERVER + 2921, CLIENT + 502));
    assert_eq!((it.0.src.state, it.0.timeout), (TCPS_FIN_WAIT_2, Timeout::TcpClosing));
    // Half closed: data goes on the other way.
    it.server(data(SERVER + 2921, 1000, CLIENT + 502));
    it.client(pure(CLIENT + 502, SERVER + 3921));
    it.server(fin(SERVER + 3921, CLIENT + 502));
    assert_eq!(it.0.timeout, Timeout::TcpFinWait);
    it.client(pure(CLIENT + 502, SERVER + 3922));
    assert_eq!(it.0.timeout, Timeout::TcpClosed);
}

#[test]
fn both_ends_close_at_once() {
    let mut it = Conversation::established(65_535, None);
    it.client(fin(CLIENT + 1, SERVER + 1));
    it.server(fin(SERVER + 1, CLIENT + 1));
    assert_eq!(it.0.timeout, Timeout::TcpFinWait);
    it.client(pure(CLIENT + 2, SERVER + 2));
    assert_eq!(it.0.timeout, Timeout::TcpFinWait);
    it.server(pure(SERVER + 2, CLIENT + 2));
    assert_eq!(it.0.timeout, Timeout::TcpClosed);
}

#[test]
fn a_fin_is_acknowledged_when_all_before_it_is() {
    let mut it = Conversation::established(65_535, None);
    it.server(data(SERVER + 1, 1000, CLIENT + 1));
    it.server(data(SERVER + 1001, 1000, CLIENT + 1));
    it.server(fin(SERVER + 2001, CLIENT + 1));
    it.client(pure(CLIENT + 1, SERVER + 1001));
    assert_eq!(it.0.dst.state, TCPS_CLOSING);
    it.client(pure(CLIENT + 1, SERVER + 2002));
    assert_eq!(it.0.dst.state, TCPS_FIN_WAIT_2);
}

#[test]
fn both_ends_open_at_once() {
    for scales in [(None, None), (Some(3), Some(7)), (Some(3), None), (None, Some(7))] {
        let mut it = Conversation::begin(Segment {
            wscale: scales.0,
            ..syn(CLIENT)
        });
        it.server(Segment {
            wscale: scales.1,
            ..syn(SERVER)
        });
        it.client(Segment {
            wscale: scales.0,
            ..syn(CLIENT).ack(SERVER + 1)
        });
        it.server(Segment {
            wscale: scales.1,
            ..syn(SERVER).ack(CLIENT + 1)
        });
        assert_eq!(it.0.timeout, Timeout::TcpEstablished);
        it.client(data(CLIENT + 1, 60_000, SERVER + 1));
        it.server(data(SERVER + 1, 60_000, CLIENT + 60_001));
    }
}

#[test]
fn the_window_of_a_syn_is_not_scaled() {
    let mut it = Conversation::begin(syn(CLIENT).window(64_240).scale(7));
    it.server(syn(SERVER).ack(CLIENT + 1).window(65_160).scale(9));
    // The first flight may fill what the SYNs offered, to the last byte.
    assert_eq!(it.0.src.seqhi, Seq(CLIENT + 1 + 65_160));
    it.client(pure(CLIENT + 1, SERVER + 1).window(502));
    it.client(data(CLIENT + 1, 14_600, SERVER + 1).window(502));
    it.client(data(CLIENT + 14_601, 65_160 - 14_600, SERVER + 1).window(502));
    it.refuses_client(data(CLIENT + 65_161, 1, SERVER + 1).window(502));
    it.server(data(SERVER + 1, 64_240, CLIENT + 65_161).window(127));
    // From here on 127 means 65,024.
    it.client(data(CLIENT + 65_161, 65_024, SERVER + 64_241).window(502));
    it.refuses_client(data(CLIENT + 130_185, 1, SERVER + 64_241).window(502));
}

#[test]
fn a_repeated_syn_does_not_widen_the_window() {
    let mut it = Conversation::begin(syn(CLIENT).window(64_240).scale(7));
    it.client(syn(CLIENT).window(64_240).scale(7));
    it.server(syn(SERVER).ack(CLIENT + 1).window(65_160).scale(7));
    it.server(syn(SERVER).ack(CLIENT + 1).window(65_160).scale(7));
    assert_eq!((it.0.src.max_win, it.0.dst.max_win), (502, 510));
}

#[test]
fn a_scale_counts_only_where_both_ends_have_one() {
    let mut it = Conversation::begin(syn(CLIENT).window(64_000).scale(7));
    it.server(syn(SERVER).ack(CLIENT + 1).window(8192));
    assert_eq!((it.0.src.wscale, it.0.dst.wscale), (0, 0));
    assert_eq!(it.0.src.max_win, 64_000);
    it.client(pure(CLIENT + 1, SERVER + 1).window(64_000));
    it.server(data(SERVER + 1, 64_000, CLIENT + 1).window(8192));
    it.refuses_server(data(SERVER + 64_001, 1, CLIENT + 1).window(8192));

    let mut it = Conversation::begin(syn(CLIENT).window(64_000));
    it.server(syn(SERVER).ack(CLIENT + 1).window(8192).scale(7));
    assert_eq!((it.0.src.wscale, it.0.dst.wscale), (0, 0));
    it.client(data(CLIENT + 1, 8192, SERVER + 1));
    it.refuses_client(data(CLIENT + 8193, 1, SERVER + 1));
}

#[test]
fn a_closed_window_takes_probes() {
    let mut it = Conversation::established(1000, None);
    it.client(data(CLIENT + 1, 1000, SERVER + 1).window(1000));
    it.server(pure(SERVER + 1, CLIENT + 1001).window(0));
    it.refuses_client(data(CLIENT + 1001, 2, SERVER + 1).window(1000));
    for _ in 0..3 {
        // One byte of data, or a byte that is known already, or none.
        it.client(data(CLIENT + 1001, 1, SERVER + 1).window(1000));
        it.client(data(CLIENT + 1000, 1, SERVER + 1).window(1000));
        it.client(pure(CLIENT + 1000, SERVER + 1).window(1000));
        it.server(pure(SERVER + 1, CLIENT + 1001).window(0));
    }
    it.server(pure(SERVER + 1, CLIENT + 1001).window(1000));
    it.client(data(CLIENT + 1001, 1000, SERVER + 1).window(1000));
}

#[test]
fn keep_alives_pass() {
    for len in [0, 1] {
        let mut it = Conversation::established(65_535, Some(7));
        it.client(data(CLIENT, len, SERVER + 1));
        it.server(pure(SERVER + 1, CLIENT + 1));
        it.server(data(SERVER, len, CLIENT + 1));
        it.client(pure(CLIENT + 1, SERVER + 1));
        assert_eq!(it.0.src.seqlo, Seq(CLIENT + 1));
    }
}

#[test]
fn what_is_lost_comes_again_and_what_is_late_comes_late() {
    let mut it = Conversation::established(10_000, None);
    let part = |n: u32| data(SERVER + 1 + n * 1000, 1000, CLIENT + 1).window(10_000);
    // The second part gets lost in front of the filter, and the sixth passes the fifth.
    for n in [0, 2, 3, 5, 4] {
        it.server(part(n));
    }
    // Selective acknowledgments tell of what came behind the hole; the number stands.
    for _ in 0..4 {
        it.client(pure(CLIENT + 1, SERVER + 1001).window(9000));
    }
    it.server(part(1));
    it.client(pure(CLIENT + 1, SERVER + 6001).window(10_000));
    // All of a window, and the first part of it again.
    for n in (6..16).chain([6]) {
        it.server(part(n));
    }
    it.refuses_server(part(16));
    it.refuses_server(part(4));
}

#[test]
fn data_beyond_the_window_is_refused() {
    for (window, scale) in [(8192, None), (512, Some(4)), (1, Some(14))] {
        let shift = scale.unwrap_or(0);
        let mut it = Conversation::established(window, scale);
        let bytes = u32::from(window) << shift;
        it.refuses_client(data(CLIENT + 1, bytes + 1, SERVER + 1));
        it.refuses_client(data(CLIENT + 1 + bytes, 1, SERVER + 1));
        it.refuses_client(data(CLIENT + 1 + (1 << 30), 1, SERVER + 1));
        // As far behind as a window is a repetition, a byte further is not.
        it.client(data(CLIENT + 1, bytes, SERVER + 1));
        it.client(data(CLIENT + 1, bytes, SERVER + 1));
        it.client(data(CLIENT, 1, SERVER + 1));
        it.refuses_client(data(CLIENT - 1, 1, SERVER + 1));
        it.refuses_client(data(CLIENT + 1 - (1 << 30), 1, SERVER + 1));
    }
}

#[test]
fn an_acknowledgment_of_what_was_never_sent_is_refused() {
    let mut it = Conversation::established(65_535, None);
    it.refuses_client(pure(CLIENT + 1, SERVER + 1 + MAX_ACK_SKEW + 1));
    it.refuses_client(pure(CLIENT + 1, SERVER + 1 + (1 << 30)));
    it.refuses_client(pure(CLIENT + 1, SERVER - (1 << 30)));
    it.client(pure(CLIENT + 1, SERVER + 1));
    // Within a window that was offered it may be of data that went another way; not where the number is a guess.
    let mut it = Conversation::established(65_535, Some(7));
    it.client(pure(CLIENT + 1, SERVER + 1));
    it.refuses_client(pure(CLIENT + 1 + (1 << 30), SERVER + 1 + 1_000_000));
    it.refuses_client(pure(CLIENT + 1, SERVER + 2 + (65_535 << 7)));
    it.client(pure(CLIENT + 1, SERVER + 1 + 1_000_000));
    it.server(data(SERVER + 1 + 1_000_000, 1000, CLIENT + 1));
}

#[test]
fn numbers_go_round() {
    let start = u32::MAX - 700;
    let mut it = Conversation::begin(syn(start).window(4000));
    it.server(syn(start).ack(start + 1).window(4000));
    it.client(pure(start + 1, start + 1).window(4000));
    for n in 0..8 {
        let at = (start + 1).wrapping_add(n * 500);
        let next = at.wrapping_add(500);
        it.client(data(at, 500, at).window(4000));
        it.server(data(at, 500, next).window(4000));
        it.refuses_client(data(next.wrapping_add(4000), 500, next));
    }
    it.client(pure((start + 1).wrapping_add(4000), (start + 1).wrapping_add(4000)));
    assert_eq!(it.0.dst.seqlo, Seq(start) + 4001);
}

#[test]
fn a_number_of_one_is_as_good_as_any() {
    // The client's window ends where the mark for "unknown" is.
    let mut it = Conversation::begin(syn(0u32.wrapping_sub(1001)).window(1000));
    it.server(syn(SERVER).ack(0u32.wrapping_sub(1000)).window(1001));
    assert_eq!(it.0.src.seqhi, Seq(1));
    it.client(pure(0u32.wrapping_sub(1000), SERVER + 1).window(1000));
    it.server(pure(SERVER + 1, 0u32.wrapping_sub(1000)).window(500));
    it.client(data(0u32.wrapping_sub(1000), 1000, SERVER + 1).window(1000));
}

#[test]
fn a_repeated_syn_waits_for_its_answer() {
    let mut it = Conversation::begin(syn(CLIENT));
    for _ in 0..3 {
        it.client(syn(CLIENT));
    }
    // Nothing is said of the server before it speaks.
    assert_eq!(it.0.dst.seqhi, Seq(1));
    it.server(syn(SERVER).ack(CLIENT + 1));
    assert_eq!(it.0.dst.seqhi, Seq(SERVER + 1 + 65_535));
    it.server(syn(SERVER).ack(CLIENT + 1));
    it.client(pure(CLIENT + 1, SERVER + 1));
    it.server(syn(SERVER).ack(CLIENT + 1));
    it.client(pure(CLIENT + 1, SERVER + 1));
    assert_eq!(it.0.timeout, Timeout::TcpEstablished);
}

#[test]
fn a_syn_within_the_window_is_no_repetition() {
    let mut it = Conversation::established(65_535, Some(7));
    it.refuses_client(syn(CLIENT + 1));
    it.refuses_client(syn(CLIENT + 5000));
    it.refuses_server(syn(SERVER + 5000).ack(CLIENT + 1));
    it.client(syn(CLIENT));
    it.server(syn(SERVER).ack(CLIENT + 1));
}

#[test]
fn data_in_a_syn_may_have_to_come_again() {
    let mut it = Conversation::begin(segment(TcpFlags::SYN, CLIENT, 1000));
    it.client(syn(CLIENT));
    it.server(syn(SERVER).ack(CLIENT + 1));
    it.client(data(CLIENT + 1, 1000, SERVER + 1));
    it.server(pure(SERVER + 1, CLIENT + 1001));
    assert_eq!(it.0.timeout, Timeout::TcpEstablished);
}

#[test]
fn a_reset_has_to_hit() {
    for scale in [None, Some(7)] {
        let mut it = Conversation::established(65_535, scale);
        it.server(data(SERVER + 1, 1000, CLIENT + 1));
        for off in [-1_000_000i32, -999, -2, 2, 500, 1000, 65_535, 1_000_000] {
            it.refuses_server(reset(SERVER.wrapping_add_signed(1001 + off)));
            it.refuses_server(reset(SERVER.wrapping_add_signed(1001 + off)).ack(CLIENT + 1));
            it.refuses_client(reset(CLIENT.wrapping_add_signed(1 + off)));
        }
        for off in [-1, 0, 1] {
            let mut it = Conversation::established(65_535, scale);
            it.server(reset(SERVER.wrapping_add_signed(1 + off)));
            assert_eq!((it.0.src.state, it.0.dst.state), (TCPS_TIME_WAIT, TCPS_TIME_WAIT));
            assert_eq!(it.0.timeout, Timeout::TcpClosed);
        }
        // In answer to data, where the port has closed.
        it.server(reset(SERVER + 1001).ack(CLIENT + 1));
        assert_eq!(it.0.timeout, Timeout::TcpClosed);
    }
}

#[test]
fn a_syn_is_refused_by_a_reset_that_acknowledges_it() {
    let mut it = Conversation::begin(syn(CLIENT));
    // Blind ones.
    it.refuses_server(reset(0));
    it.refuses_server(reset(0).ack(0));
    it.refuses_server(reset(0).ack(CLIENT));
    it.refuses_server(reset(77).ack(CLIENT + 5000));
    it.refuses_client(reset(CLIENT + 5000));
    it.server(reset(0).ack(CLIENT + 1));
    assert_eq!(it.0.timeout, Timeout::TcpClosed);
    assert_eq!(it.try_client(syn(CLIENT + 99)), Fit::Reused);

    // With data in the SYN, all of it.
    let mut it = Conversation::begin(segment(TcpFlags::SYN, CLIENT, 10));
    it.server(reset(0).ack(CLIENT + 11));
}

#[test]
fn a_reset_ends_a_handshake() {
    // The client does not know what the SYN|ACK answers; or the server gives up.
    for from_client in [true, false] {
        let mut it = Conversation::begin(syn(CLIENT));
        it.server(syn(SERVER).ack(CLIENT + 1));
        it.refuses_client(reset(CLIENT + 1000));
        it.refuses_server(reset(SERVER + 1000));
        if from_client {
            it.client(reset(CLIENT + 1));
        } else {
            it.server(reset(SERVER + 1));
        }
        assert_eq!(it.0.timeout, Timeout::TcpClosed);
    }
}

#[test]
fn ports_are_used_again() {
    let mut it = Conversation::established(65_535, None);
    it.refuses_client(syn(CLIENT + 500_000));
    it.client(fin(CLIENT + 1, SERVER + 1));
    it.server(fin(SERVER + 1, CLIENT + 2));
    it.refuses_client(syn(CLIENT + 500_000));
    it.client(pure(CLIENT + 2, SERVER + 2));
    assert_eq!(it.try_server(syn(SERVER + 9).ack(CLIENT + 2)), Fit::Mismatch);
    assert_eq!(it.try_client(syn(CLIENT + 500_000)), Fit::Reused);
    assert_eq!(it.try_server(syn(SERVER + 500_000)), Fit::Reused);
    assert_eq!(it.0.timeout, Timeout::TcpClosed);
}

#[test]
fn an_older_connection_answers_a_syn() {
    // The server still has a connection between these ports, and answers the SYN with where that one stands.
    let mut it = Conversation::begin(syn(CLIENT));
    assert_eq!(it.try_server(pure(SERVER, 0x4000_0000)), Fit::HalfOpen);
    assert_eq!(it.try_server(syn(SERVER).ack(0x4000_0000)), Fit::HalfOpen);
    assert_eq!((it.0.dst, it.0.timeout), (open(&syn(CLIENT)).1, Timeout::TcpFirst));
    // Its reset makes way.
    it.client(syn(CLIENT));
    it.server(syn(SERVER).ack(CLIENT + 1));
    it.client(pure(CLIENT + 1, SERVER + 1));
    it.refuses_server(pure(SERVER + 1, 0x4000_0000));

    // Where the connection was there before the state, nobody is to be reset.
    let mut it = Conversation::begin(data(CLIENT, 100, SERVER));
    it.refuses_server(data(SERVER, 100, CLIENT.wrapping_sub(3 << 29)));
}

#[test]
fn a_connection_is_picked_up_in_the_middle() {
    // A window field of 500 may stand for anything up to 8 MB.
    for from_server in [10_000, 4_000_000] {
        let mut it = Conversation::begin(data(CLIENT, 1460, SERVER).window(500));
        it.client(data(CLIENT + 1460, 1460, SERVER).window(500));
        it.server(data(SERVER, from_server, CLIENT).window(500));
        it.server(data(SERVER + from_server, 1460, CLIENT + 2920).window(500));
        it.client(data(CLIENT + 2920, 1460, SERVER + from_server).window(500));
        assert_eq!(it.0.timeout, Timeout::TcpEstablished);
        it.refuses_server(reset(SERVER));
        it.server(reset(SERVER + from_server + 1460));
    }
    // By an acknowledgment alone, and the other end has gone: it resets where it was said to be.
    let mut it = Conversation::begin(pure(CLIENT, SERVER).window(500));
    it.refuses_server(reset(SERVER + 5));
    it.server(reset(SERVER));
    assert_eq!(it.0.timeout, Timeout::TcpClosed);
    // By a SYN|ACK: the SYN had another way.
    for scale in [None, Some(7)] {
        let mut it = Conversation::begin(Segment {
            wscale: scale,
            ..syn(SERVER).ack(CLIENT + 1)
        });
        it.server(pure(CLIENT + 1, SERVER + 1));
        it.server(data(CLIENT + 1, 60_000, SERVER + 1));
        it.client(pure(SERVER + 1, CLIENT + 60_001));
        assert_eq!(it.0.timeout, Timeout::TcpEstablished);
    }
    // By a SYN, whose answer had another way.
    for scale in [None, Some(7)] {
        let mut it = Conversation::begin(Segment {
            wscale: scale,
            ..syn(CLIENT)
        });
        it.client(pure(CLIENT + 1, SERVER + 1));
        it.client(data(CLIENT + 1, 10_000, SERVER + 1));
        it.server(data(SERVER + 1, 60_000, CLIENT + 10_001));
        it.client(pure(CLIENT + 10_001, SERVER + 60_001));
        assert_eq!(it.0.timeout, Timeout::TcpEstablished);
    }
}

#[test]
fn a_restored_connection_that_stood_still_goes_on() {
    let mut it = Conversation::restored(65_535, Some(7));
    it.client(data(CLIENT + 1, 1000, SERVER + 1));
    it.server(pure(SERVER + 1, CLIENT + 1001));
    assert!(!it.0.src.stale && !it.0.dst.stale);
    assert_eq!(it.0.src.seqlo, Seq(CLIENT + 1001));
}

/// How far a connection got while nobody looked: a byte, a window, many windows.
const MOVES: [u32; 6] = [1, 65_535, 70_000, 10_000_000, 1 << 29, 1 << 30];

#[test]
fn a_restored_connection_may_have_moved_on() {
    for (window, scale) in [(65_535, None), (65_535, Some(7))] {
        for by in MOVES {
            let (client, server) = (CLIENT + 1 + by, SERVER + 1 + by);
            let firsts: [fn(&mut Conversation, u32, u32); 6] = [
                // A pure acknowledgment first, of the one or the other.
                |it, client, server| it.client(pure(client, server)),
                |it, client, server| it.server(pure(server, client)),
                // Data first.
                |it, client, server| it.client(data(client, 1000, server)),
                |it, client, server| it.server(data(server, 1000, client)),
                // A keep-alive first, with a byte and without.
                |it, client, server| it.client(pure(client - 1, server)),
                |it, client, server| it.server(data(server - 1, 1, client)),
            ];
            for first in firsts {
                let mut it = Conversation::restored(window, scale);
                first(&mut it, client, server);
                it.client(data(client, 1000, server));
                it.server(data(server, 1000, client + 1000));
                it.client(data(client + 1000, 1000, server + 1000));
                it.server(pure(server + 1000, client + 2000));
                assert!(!it.0.src.stale && !it.0.dst.stale);
                // Strict again.
                let bytes = u32::from(window) << scale.unwrap_or(0);
                it.refuses_client(data(client + 2001, bytes, server + 1000));
                it.refuses_server(data(server + 1001, bytes, client + 2000));
                it.refuses_client(data(client + 2000 - bytes - 2, 1, server + 1000));
                it.refuses_client(pure(client + 2000, server + 1001 + bytes.max(MAX_ACK_SKEW)));
                it.refuses_client(reset(client + 1500));
                it.server(reset(server + 1000));
            }
        }
    }
}

#[test]
fn a_restored_connection_may_have_come_to_its_end() {
    for by in MOVES {
        let mut it = Conversation::restored(65_535, Some(7));
        it.client(fin(CLIENT + 1 + by, SERVER + 1 + by));
        it.server(fin(SERVER + 1 + by, CLIENT + 2 + by));
        it.client(pure(CLIENT + 2 + by, SERVER + 2 + by));
        assert_eq!(it.0.timeout, Timeout::TcpClosed);
    }
}

#[test]
fn a_restored_connection_had_a_hole_in_what_it_sent() {
    // The server sent four megabytes of which the first segment got lost behind the filter, while nobody looked.
    let mut it = Conversation::restored(65_535, Some(7));
    it.client(pure(CLIENT + 1, SERVER + 1));
    it.server(data(SERVER + 1, 1460, CLIENT + 1));
    it.client(pure(CLIENT + 1, SERVER + 1 + 4_000_000));
    it.server(data(SERVER + 1 + 4_000_000, 1460, CLIENT + 1));
}

#[test]
fn while_it_is_stale_nobody_is_reset() {
    let mut it = Conversation::restored(65_535, Some(7));
    for by in [-10_000, 10_000, 1 << 30] {
        it.refuses_server(reset(SERVER.wrapping_add_signed(by)));
        it.refuses_server(reset(SERVER.wrapping_add_signed(by)).ack(CLIENT + 1));
        it.refuses_client(reset(CLIENT.wrapping_add_signed(by)));
    }
    for seq in [CLIENT + 10_000, CLIENT + (1 << 30), CLIENT - (1 << 30)] {
        it.refuses_client(syn(seq));
        it.refuses_client(syn(seq).ack(SERVER + 1));
    }
    it.refuses_client(Segment {
        flags: TcpFlags::PUSH,
        ..data(CLIENT + (1 << 30), 5, 0)
    });
    // Back in time is no way to move.
    it.refuses_client(data(CLIENT - (1 << 30), 5, SERVER + 1));
    it.refuses_server(data(SERVER + 1, 5, CLIENT - (1 << 30)));
    assert!(it.0.src.stale && it.0.dst.stale);
    // It is reset from where it stands.
    it.server(reset(SERVER + 1));
    assert_eq!(it.0.timeout, Timeout::TcpClosed);
}

#[test]
fn a_handshake_that_was_dumped_may_be_over() {
    let Body { mut src, mut dst, .. } = Conversation::begin(syn(CLIENT).scale(7)).0;
    (src.stale, dst.stale) = (true, true);
    let mut it = Conversation::of(src, dst);
    it.server(data(SERVER + 5_000_000, 1460, CLIENT + 3_000_000).window(500));
    it.client(data(CLIENT + 3_000_000, 1460, SERVER + 5_001_460).window(500));
    it.server(pure(SERVER + 5_001_460, CLIENT + 3_001_460).window(500));
    assert_eq!(it.0.timeout, Timeout::TcpEstablished);
}

#[test]
fn errors_are_about_what_was_sent() {
    let mut it = Conversation::established(8192, None);
    it.client(data(CLIENT + 1, 4000, SERVER + 1));
    let was_sent = |it: &Conversation, seq: u32| was_sent(&it.0.src, &it.0.dst, Seq(seq));
    assert!(was_sent(&it, CLIENT + 1) && was_sent(&it, CLIENT + 4001));
    assert!(was_sent(&it, CLIENT + 1 + 8192));
    assert!(!was_sent(&it, CLIENT + 2 + 8192));
    assert!(was_sent(&it, CLIENT + 4001 - 8192));
    assert!(!was_sent(&it, CLIENT + 4000 - 8192));
    // Of a SYN, or of a segment in the middle, before anybody has answered.
    assert!(was_sent(&Conversation::begin(syn(CLIENT)), CLIENT));
    assert!(was_sent(&Conversation::begin(data(CLIENT, 1460, SERVER)), CLIENT));
    assert!(!was_sent(&Conversation::begin(syn(CLIENT)), CLIENT + (1 << 30)));
    assert!(was_sent(&Conversation::restored(8192, None), CLIENT + (1 << 30)));
}

#[test]
fn what_was_presumed_gives_way_to_what_is_seen() {
    // An acknowledgment of what nobody has said yet, forged or not, and then the answer to the SYN.
    let mut it = Conversation::begin(syn(CLIENT).window(8000).scale(2));
    it.client(pure(CLIENT + 1, SERVER + (1 << 30)).window(2000));
    it.server(syn(SERVER).ack(CLIENT + 1).window(4000).scale(2));
    assert_eq!(it.0.dst.max_win, 1000);
    assert_eq!(it.0.dst.seqlo, Seq(SERVER + 1));
    assert_eq!(it.0.dst.seqhi, Seq(SERVER + 1 + 8000));
}

#[test]
fn what_is_acknowledged_was_sent() {
    // The client is seen first, and says how far the server has come: that is where the server may reset it from.
    let mut it = Conversation::restored(65_535, Some(7));
    it.client(pure(CLIENT + 1_000_000, SERVER + 5_000_000));
    it.refuses_server(reset(SERVER + 1));
    it.server(reset(SERVER + 5_000_000));
    // Errors about what the client has sent since are its own.
    let mut it = Conversation::restored(65_535, Some(7));
    it.client(data(CLIENT + 20_000_000, 1460, SERVER + 1));
    assert!(was_sent(&it.0.src, &it.0.dst, Seq(CLIENT + 20_000_000)));
}

#[test]
fn a_handshake_that_was_dumped_says_little() {
    let dumped = || {
        let Body { mut src, mut dst, .. } = Conversation::begin(syn(CLIENT).scale(2)).0;
        (src.stale, dst.stale) = (true, true);
        Conversation::of(src, dst)
    };
    // The client repeats what is further behind than any window without a scale, before the server has been seen.
    let mut it = dumped();
    it.client(data(CLIENT + 1_000_000, 1460, SERVER + 1).window(500));
    it.client(data(CLIENT + 1_000_000 - 200_000, 1460, SERVER + 1).window(500));
    it.server(pure(SERVER + 1, CLIENT + 1_000_000 - 200_000).window(500));
    // Who does not fit is refused, and not reset: it may not be the older one.
    let mut it = dumped();
    it.refuses_server(data(SERVER, 100, CLIENT.wrapping_sub(3 << 29)));
}

#[test]
fn a_scale_beyond_all_scales_is_the_largest() {
    let mut it = Conversation::established(65_535, Some(14));
    it.0.src.wscale = PF_WSCALE_FLAG | 15;
    it.client(pure(CLIENT + 1, SERVER + 1));
    it.server(data(SERVER + 1, 1460, CLIENT + 1));
}

#[test]
fn an_end_that_has_forgotten_the_connection_resets_it_though_its_data_got_lost() {
    for scale in [None, Some(7)] {
        // 5000 bytes of the server's get lost behind the filter, and the server crashes.
        let mut conversation = Conversation::established(60_000, scale);
        conversation.server(data(SERVER + 1, 1000, CLIENT + 1));
        conversation.client(pure(CLIENT + 1, SERVER + 1001));
        conversation.server(data(SERVER + 1001, 5000, CLIENT + 1));
        // What it hears of the client it resets where that has acknowledged it.
        conversation.client(data(CLIENT + 1, 100, SERVER + 1001));
        for beside in [SERVER + 1, SERVER + 1000, SERVER + 1002, SERVER + 3000] {
            conversation.refuses_server(reset(beside));
        }
        conversation.server(reset(SERVER + 1001));
        assert_eq!(conversation.0.timeout, Timeout::TcpClosed);
    }
}

#[test]
fn an_acknowledgment_that_comes_late_takes_nothing_back() {
    let mut conversation = Conversation::established(60_000, None);
    conversation.server(data(SERVER + 1, 2000, CLIENT + 1));
    conversation.client(pure(CLIENT + 1, SERVER + 1001));
    conversation.client(pure(CLIENT + 1, SERVER + 501));
    conversation.refuses_server(reset(SERVER + 501));
    conversation.server(reset(SERVER + 1001));
}
