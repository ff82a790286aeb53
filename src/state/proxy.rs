//! The SYN proxy: pf completes the handshake with the client, then with the server, and only then lets them talk to each other.
//!
//! # Overview
//! While it does, the state's course is [`Proxied`](Course::Proxied), and `src` is in one of two states that no end of a TCP
//! connection has:
//!
//! * `PF_TCPS_PROXY_SRC`: the client has been answered, and nothing is known of whether it exists. `src.seqlo` is its initial
//!   sequence number, `src.seqhi` the one that pf has answered with.
//! * `PF_TCPS_PROXY_DST`: the client has acknowledged that, and the server is being asked. `dst.seqhi` is the number that pf has
//!   begun with there.
//!
//! These are the fields that NetBSD's own pf uses. When the server has answered, both ends know numbers of each other that pf has made
//! up, and go on like those of `modulate state`. What the client may send it learns then: until then its window is closed.
//! There is no window scaling, and no other option but the maximum segment size, as pf cannot know what the server offers when it
//! answers the client.
//!
//! # Locking
//! The caller holds the state's lock.

use pf_abi::{PF_TCPS_PROXY_DST, PF_TCPS_PROXY_SRC, TCPS_CLOSED, TCPS_ESTABLISHED, Timeout};

use super::tcp::Segment;
use super::{Body, Course, Peer};
use crate::wire::Af;
use crate::wire::tcp::{MIN_MSS, Repr, Seq, TcpFlags};

/// What is to be done about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It belongs to nothing that is under way.
    Stray,
    /// It is pf's own, on its way to a server that is reached through the hooks again.
    Own,
    /// Nothing: what it says is known.
    Wait,
    /// Answer the client's SYN: [`greeting`].
    Greet,
    /// Ask the server: [`call`]. And tell the client that its window is still closed ([`hold`]), if it seems to wonder.
    Call {
        /// It has sent more than an acknowledgment.
        hold: bool,
    },
    /// The server has answered, and the connection is established: acknowledge ([`confirm`]), and open the client's window
    /// ([`release`]).
    Join,
    /// The server has refused: tell the client so ([`refusal`]), and forget the connection.
    Refuse,
    /// The client has gone: take the question back where the server was asked ([`retreat`]), and forget the connection.
    Leave {
        /// The server was asked.
        asked: bool,
    },
    /// The server takes the question for a part of an older connection: reset that one.
    Reset,
}

/// The largest segment that is believed to pass where nobody says otherwise: what Ethernet takes.
fn most(af: Af) -> u16 {
    match af {
        Af::Inet => 1460,
        Af::Inet6 => 1440,
    }
}

/// The size of segments where a SYN does not say: RFC 9293, 3.7.1.
fn least(af: Af) -> u16 {
    match af {
        Af::Inet => 536,
        Af::Inet6 => 1220,
    }
}

/// The two ends of a connection whose client has sent a SYN, which pf answers with the number `isn`.
pub fn open(segment: &Segment, af: Af, isn: Seq) -> (Peer, Peer) {
    let mss = match segment.mss {
        0 => least(af),
        mss => mss.min(most(af)),
    };
    let src = Peer {
        seqlo: segment.seq,
        seqhi: isn,
        mss,
        state: PF_TCPS_PROXY_SRC,
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

/// Whether a peer's state is one of the proxy's.
pub fn is_proxied(state: u8) -> bool {
    matches!(state, PF_TCPS_PROXY_SRC | PF_TCPS_PROXY_DST)
}

/// Whether the server is being asked.
pub fn is_calling(body: &Body) -> bool {
    body.course == Course::Proxied && body.src.state == PF_TCPS_PROXY_DST
}

/// Judges a segment and moves the state on. `forward`: it comes from the client. `isn` gives the number to begin with at the server.
pub fn take(body: &mut Body, segment: &Segment, forward: bool, isn: impl FnOnce() -> Seq) -> Step {
    match (is_calling(body), forward) {
        (false, true) => hear_client(body, segment, isn),
        (true, true) => hear_again(body, segment),
        (true, false) => hear_server(body, segment),
        // Nobody has asked it anything.
        (false, false) => Step::Stray,
    }
}

/// Whether a segment of the client's says that it has received the greeting. While its window is closed it may send what is just
/// outside, to learn of its opening.
fn acknowledges(body: &Body, segment: &Segment) -> bool {
    segment.flags & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::ACK
        && segment.ack == body.src.seqhi + 1
        && segment.seq.since(body.src.seqlo) <= 1
}

/// Whether a reset of the client's hits.
fn gives_up(body: &Body, segment: &Segment) -> bool {
    segment.flags.contains(TcpFlags::RST) && segment.seq.since(body.src.seqlo) <= 1
}

fn hear_client(body: &mut Body, segment: &Segment, isn: impl FnOnce() -> Seq) -> Step {
    if gives_up(body, segment) {
        return Step::Leave { asked: false };
    }
    if segment.flags & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN {
        // Whoever has begun anew hears of the old beginning, and resets it (RFC 9293, 3.5.1).
        return Step::Greet;
    }
    if !acknowledges(body, segment) {
        return Step::Stray;
    }
    body.src.state = PF_TCPS_PROXY_DST;
    body.src.max_win = segment.window.max(1);
    body.dst.seqhi = isn();
    Step::Call { hold: false }
}

/// A client that waits for the server.
fn hear_again(body: &mut Body, segment: &Segment) -> Step {
    if gives_up(body, segment) {
        return Step::Leave { asked: true };
    }
    if segment.flags.contains(TcpFlags::SYN) {
        let is_own = !segment.flags.contains(TcpFlags::ACK) && segment.seq == body.dst.seqhi;
        let is_first = segment.seq == body.src.seqlo;
        return match (is_own, is_first) {
            (true, _) => Step::Own,
            (_, true) => Step::Wait,
            _ => Step::Stray,
        };
    }
    if !acknowledges(body, segment) {
        return Step::Stray;
    }
    body.src.max_win = body.src.max_win.max(segment.window);
    Step::Call { hold: true }
}

fn hear_server(body: &mut Body, segment: &Segment) -> Step {
    let answers = segment.flags.contains(TcpFlags::ACK) && segment.ack == body.dst.seqhi + 1;
    if segment.flags.contains(TcpFlags::RST) {
        return if answers { Step::Refuse } else { Step::Stray };
    }
    if !answers {
        return match segment.flags.contains(TcpFlags::ACK) {
            true => Step::Reset,
            false => Step::Stray,
        };
    }
    if !segment.flags.contains(TcpFlags::SYN) {
        return Step::Stray;
    }
    join(&mut *body, segment);
    Step::Join
}

/// The numbers of either end as they are from now on, each in the end's own terms.
fn join(body: &mut Body, answer: &Segment) {
    let (client, to_client) = (body.src.seqlo, body.src.seqhi);
    let (server, to_server) = (answer.seq, body.dst.seqhi);
    let (client_window, server_window) = (body.src.max_win, answer.window.max(1));
    let end = |isn: Seq, seqdiff: u32, own: u16, other: u16, mss: u16| Peer {
        seqlo: isn + 1,
        seqhi: isn + 1 + u32::from(other),
        acked: isn + 1,
        seqdiff,
        max_win: own,
        mss,
        state: TCPS_ESTABLISHED,
        wscale: 0,
        stale: false,
    };
    body.src = end(
        client,
        to_server.since(client),
        client_window,
        server_window,
        body.src.mss,
    );
    body.dst = end(
        server,
        to_client.since(server),
        server_window,
        client_window,
        answer.mss,
    );
    body.course = Course::Shifted;
    body.timeout = Timeout::TcpEstablished;
}

/// A segment, but for its ports.
fn say(flags: TcpFlags, seq: Seq, ack: Seq, window: u16) -> Repr {
    Repr {
        src_port: 0,
        dst_port: 0,
        seq,
        ack,
        flags,
        window,
        mss: None,
    }
}

/// To the client: the answer to its SYN, with a closed window.
pub fn greeting(body: &Body) -> Repr {
    let flags = TcpFlags::SYN | TcpFlags::ACK;
    Repr {
        mss: Some(body.src.mss.max(MIN_MSS)),
        ..say(flags, body.src.seqhi, body.src.seqlo + 1, 0)
    }
}

/// To the server: a SYN, with the client's window and segment size.
pub fn call(body: &Body) -> Repr {
    Repr {
        mss: Some(body.src.mss.max(MIN_MSS)),
        ..say(TcpFlags::SYN, body.dst.seqhi, Seq(0), body.src.max_win)
    }
}

/// To the client: its window is still closed.
pub fn hold(body: &Body) -> Repr {
    say(TcpFlags::ACK, body.src.seqhi + 1, body.src.seqlo + 1, 0)
}

/// To the server of a connection that is [joined](Step::Join): the last part of the handshake.
pub fn confirm(body: &Body) -> Repr {
    let seq = body.src.seqlo + body.src.seqdiff;
    say(TcpFlags::ACK, seq, body.dst.seqlo, body.src.max_win)
}

/// To the client of a connection that is [joined](Step::Join): what the server takes.
pub fn release(body: &Body) -> Repr {
    let seq = body.dst.seqlo + body.dst.seqdiff;
    say(TcpFlags::ACK, seq, body.src.seqlo, body.dst.max_win)
}

/// To the client: the server does not want it, or does not answer.
pub fn refusal(body: &Body) -> Repr {
    let flags = TcpFlags::RST | TcpFlags::ACK;
    say(flags, body.src.seqhi + 1, body.src.seqlo + 1, 0)
}

/// To the server: the client has gone.
pub fn retreat(body: &Body) -> Repr {
    say(TcpFlags::RST, body.dst.seqhi + 1, Seq(0), 0)
}

/// Whether a segment of a joined connection, with its numbers as they came, is the one that pf has [confirmed](confirm) it with: on
/// its way to a server that is reached through the hooks again, its numbers are the server's already.
pub fn is_confirmation(body: &Body, segment: &Segment) -> bool {
    segment.flags == TcpFlags::ACK
        && segment.seq == segment.end
        && segment.seq == body.src.seqlo + body.src.seqdiff
        && segment.ack == body.dst.seqlo
}
