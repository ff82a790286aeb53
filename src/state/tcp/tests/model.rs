//! Two honest ends, a network that loses, delays, repeats and reorders what they say, and the filter in its middle.
//!
//! The law: a segment that its receiver has a use for is never refused, wherever on the way others got lost; and what could not
//! come from these ends is.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Ticks of silence after which an end repeats itself: more than the longest way there and back.
const PATIENCE: u32 = 20;
/// The longest that a hop takes, in ticks.
const MAX_DELAY: u32 = 3;
/// Ticks after which the ends ought to be done.
const ETERNITY: u32 = 100_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(bound)) as u32
    }

    fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance
    }
}

/// A segment on its way. Numbers count from the sender's SYN, which is at 0.
#[derive(Debug, Clone, Copy)]
struct Message {
    from: usize,
    start: u64,
    len: u64,
    syn: bool,
    fin: bool,
    ack: Option<u64>,
    window: u16,
    wscale: Option<u8>,
}

/// One end.
#[derive(Debug, Clone)]
struct End {
    iss: u32,
    mss: u64,
    /// It opens the connection.
    is_active: bool,
    /// The scale that it would use, and the one that it uses, for its own windows and for the other's.
    offer: Option<u8>,
    scales: Option<(u8, u8)>,
    /// Bytes that it has to say. Its FIN is at `total + 1`.
    total: u64,
    una: u64,
    nxt: u64,
    sent: u64,
    /// Up to where the other end takes data.
    edge: u64,
    silence: u32,
    /// The next number that it expects, and what came after it.
    rcv: u64,
    later: Vec<(u64, u64)>,
    peer_fin: Option<u64>,
    /// Bytes that it can keep, and up to where its program has read.
    capacity: u64,
    read: u64,
    /// Up to where it has said that it takes data.
    promised: u64,
    owes_ack: bool,
}

impl End {
    fn is_done(&self) -> bool {
        self.una == self.total + 2
    }

    fn message(&mut self, from: usize, start: u64, len: u64, syn: bool, fin: bool) -> Message {
        let bytes = self
            .promised
            .max(self.read + self.capacity)
            .saturating_sub(self.rcv.max(1));
        let shift = if syn {
            0
        } else {
            self.scales.map_or(0, |scales| scales.0)
        };
        // Rounded up: a window that has been offered does not shrink.
        let window = bytes.div_ceil(1 << shift).min(0xffff) as u16;
        self.promised = self.promised.max(self.rcv.max(1) + (u64::from(window) << shift));
        self.sent = self.sent.max(start + len + u64::from(syn) + u64::from(fin));
        self.owes_ack = false;
        let answers = !self.is_active && self.scales.is_none();
        Message {
            from,
            start,
            len,
            syn,
            fin,
            ack: (self.rcv > 0).then_some(self.rcv),
            window,
            wscale: self.offer.filter(|_| syn && !answers),
        }
    }

    /// What it says in this tick.
    fn speak(&mut self, me: usize, dice: &mut Dice, to: &mut Vec<Message>) {
        if self.rcv == 0 && !self.is_active {
            return;
        }
        self.silence += 1;
        let is_impatient = self.silence > PATIENCE;
        if self.una == 0 {
            if self.nxt == 0 || is_impatient || self.owes_ack {
                self.nxt = 1;
                self.silence = 0;
                to.push(self.message(me, 0, 0, true, false));
            }
            return;
        }
        self.read += u64::from(dice.below(self.capacity.min(1 << 20) as u32 + 1)).min(self.rcv.max(1) - self.read);
        if self.rcv > 0 && self.promised == self.rcv && self.read + self.capacity > self.rcv {
            // The window opens.
            self.owes_ack = true;
        }
        if is_impatient {
            self.silence = 0;
            if self.una < self.nxt && dice.percent(50) {
                self.nxt = self.una;
            } else if self.una < self.sent && self.una <= self.total {
                let len = self
                    .mss
                    .min(self.total + 1 - self.una)
                    .min(self.edge.saturating_sub(self.una));
                if len > 0 {
                    to.push(self.message(me, self.una, len, false, false));
                } else {
                    self.nxt = self.una;
                }
            } else if self.una < self.sent {
                self.nxt = self.una;
            }
            if self.nxt == self.una && self.edge <= self.nxt {
                // A probe of the closed window: a byte that does not fit, or one that is known.
                let has_data = self.nxt <= self.total;
                let (start, len) = if has_data && dice.percent(50) {
                    (self.nxt, 1)
                } else {
                    (self.una - 1, 0)
                };
                to.push(self.message(me, start, len, false, false));
            }
        }
        for _ in 0..dice.below(12) {
            let len = self
                .mss
                .min((self.total + 1).saturating_sub(self.nxt))
                .min(self.edge.saturating_sub(self.nxt));
            let next = self.nxt + len;
            let fin = next == self.total + 1 && next < self.edge && dice.percent(70);
            if len == 0 && !fin {
                break;
            }
            to.push(self.message(me, self.nxt, len, false, fin));
            self.nxt = next + u64::from(fin);
        }
        if dice.percent(1) && self.sent > 1 {
            // A keep-alive.
            let known = 1..=self.total;
            let len = u64::from(known.contains(&(self.sent - 1)) && dice.percent(50));
            to.push(self.message(me, self.sent - 1, len, false, false));
        }
        if self.owes_ack {
            to.push(self.message(me, self.sent, 0, false, false));
        }
    }

    fn hear(&mut self, message: &Message) {
        if message.syn && self.rcv == 0 {
            self.rcv = 1;
            self.scales = self.offer.zip(message.wscale);
        }
        if self.rcv == 0 {
            return;
        }
        let next = message.start + message.len + u64::from(message.fin) + u64::from(message.syn);
        self.owes_ack |= message.start < next || message.start < self.rcv;
        // RFC 9293, 3.10.7.4: what is outside of the window gets an acknowledgment, and its own does not count.
        let is_acceptable = if message.start == next {
            (self.rcv..=self.promised.max(self.rcv)).contains(&next)
        } else {
            message.start < self.promised.max(self.rcv + 1) && next > self.rcv
        };
        let is_handshake = message.syn && self.una == 0;
        if !is_acceptable && !is_handshake {
            return;
        }
        if let Some(ack) = message.ack {
            let shift = if message.syn {
                0
            } else {
                self.scales.map_or(0, |scales| scales.1)
            };
            self.edge = self.edge.max(ack + (u64::from(message.window) << shift));
            assert!(ack <= self.sent, "nobody acknowledges what was not sent");
            if ack > self.una {
                self.una = ack;
                self.nxt = self.nxt.max(ack);
                self.silence = 0;
            }
        }
        let begin = message.start + u64::from(message.syn);
        let (from, to) = (begin.max(self.rcv), (begin + message.len).min(self.promised));
        if from < to {
            self.later.push((from, to));
        }
        if message.fin {
            self.peer_fin = Some(begin + message.len);
        }
        self.later.sort_unstable();
        let mut kept: Vec<(u64, u64)> = Vec::new();
        for &(from, to) in &self.later {
            match kept.last_mut() {
                _ if from <= self.rcv => self.rcv = self.rcv.max(to),
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => kept.push((from, to)),
            }
        }
        self.later = kept;
        if self.peer_fin == Some(self.rcv) {
            self.rcv += 1;
        }
    }

    /// Whether it learns anything from a message.
    fn has_use_for(&self, message: &Message) -> bool {
        let mut after = self.clone();
        after.hear(message);
        let knows = |end: &End| (end.una, end.edge, end.rcv, end.later.clone(), end.peer_fin);
        knows(self) != knows(&after)
    }
}

/// When the filter begins to look.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// With the first SYN.
    First,
    /// With the first segment after a number of ticks.
    Later(u32),
    /// It is dumped after a number of ticks, and what was dumped is restored another number of ticks later; for the last of
    /// them nothing passes, so that what was under way has arrived.
    Restored(u32, u32),
}

/// What happens.
#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    begin: Begin,
    iss: [u32; 2],
    offers: [Option<u8>; 2],
    mss: [u64; 2],
    capacity: [u64; 2],
    segments: [u64; 2],
    both_open: bool,
    /// The chance of each hop to lose a segment: to the filter and on from there, for either end.
    loss: [[u32; 2]; 2],
    repetition: u32,
}

struct Model {
    plan: Plan,
    dice: Dice,
    ends: [End; 2],
    /// Who sent what the state began with.
    opener: usize,
    state: Option<Conversation>,
    dumped: Option<(Peer, Peer)>,
    tick: u32,
    /// What is under way: when it arrives, the hop that it is on, and what it is.
    wire: Vec<(u32, usize, Message)>,
    /// The state began without the one SYN or the other, so that its windows are presumed to be the largest.
    presumed: bool,
}

impl Model {
    fn new(plan: Plan) -> Self {
        // What is less than a unit, or no multiple of it, could not be told.
        let capacity = |me: usize| {
            let scale = plan.offers[me].unwrap_or(0);
            plan.capacity[me].clamp(1 << scale, 0xffff << scale) >> scale << scale
        };
        let end = |me: usize| End {
            iss: plan.iss[me],
            mss: plan.mss[me],
            is_active: me == 0 || plan.both_open,
            offer: plan.offers[me],
            scales: None,
            total: (plan.mss[me] * plan.segments[me]).min(capacity(1 - me) * 50),
            una: 0,
            nxt: 0,
            sent: 0,
            edge: 0,
            silence: 0,
            rcv: 0,
            later: Vec::new(),
            peer_fin: None,
            capacity: capacity(me),
            read: 1,
            promised: 0,
            owes_ack: false,
        };
        Model {
            dice: Dice(plan.seed),
            ends: [end(0), end(1)],
            opener: 0,
            state: None,
            dumped: None,
            tick: 0,
            wire: Vec::new(),
            presumed: false,
            plan,
        }
    }

    fn send(&mut self, hop: usize, message: Message) {
        if self.dice.percent(self.plan.loss[message.from][hop]) {
            return;
        }
        loop {
            let arrival = self.tick + 1 + self.dice.below(MAX_DELAY);
            self.wire.push((arrival, hop, message));
            if !self.dice.percent(self.plan.repetition) {
                return;
            }
        }
    }

    fn segment(&self, message: &Message) -> Segment {
        let mut flags = TcpFlags::empty();
        flags.set(TcpFlags::SYN, message.syn);
        flags.set(TcpFlags::FIN, message.fin);
        flags.set(TcpFlags::ACK, message.ack.is_some());
        let seq = self.ends[message.from].iss.wrapping_add(message.start as u32);
        Segment {
            ack: Seq(message
                .ack
                .map_or(0, |ack| self.ends[1 - message.from].iss.wrapping_add(ack as u32))),
            window: message.window,
            wscale: message.wscale,
            ..segment(flags, seq, message.len as u32)
        }
    }

    /// Whether a segment passes the filter.
    fn judge(&mut self, message: &Message) -> bool {
        let segment = self.segment(message);
        if let (Some((src, dst)), Begin::Restored(at, gap)) = (self.dumped, self.plan.begin) {
            let stale = |peer| Peer { stale: true, ..peer };
            if self.tick >= at + gap {
                self.state = Some(Conversation::of(stale(src), stale(dst)));
                self.dumped = None;
                self.plan.begin = Begin::First;
            } else if self.tick + 2 * MAX_DELAY + 1 >= at + gap {
                return false;
            }
        }
        let Some(state) = &mut self.state else {
            if matches!(self.plan.begin, Begin::Later(at) if self.tick < at) {
                return true;
            }
            self.opener = message.from;
            self.state = Some(Conversation::begin(segment));
            return true;
        };
        let forward = message.from == self.opener;
        let before = (state.0.src, state.0.dst);
        let fit = track_both(&mut state.0, &segment, forward);
        if fit == Fit::Good {
            self.forge(message, segment);
            return true;
        }
        let receiver = &self.ends[1 - message.from];
        assert!(
            !receiver.has_use_for(message),
            "{fit:?} at {}: {segment:?}\n{message:?}\nof {before:?}, opened by {}\nfor {receiver:?}",
            self.tick,
            self.opener
        );
        false
    }

    /// What only a forger could send is refused, if the state has come to know both ends.
    fn forge(&mut self, message: &Message, segment: Segment) {
        let state = self.state.as_ref().unwrap();
        let (src, dst) = (state.0.src, state.0.dst);
        let is_settled = |peer: &Peer| (TCPS_ESTABLISHED..TCPS_FIN_WAIT_2).contains(&peer.state) && !peer.stale;
        let window = self.ends.iter().map(|end| end.capacity).max().unwrap() as u32;
        self.presumed |= src.wscale == UNKNOWN_SCALE || dst.wscale == UNKNOWN_SCALE;
        if !is_settled(&src) || !is_settled(&dst) || window > 1 << 27 || self.presumed {
            return;
        }
        let forward = message.from == self.opener;
        let off = 3 * window + MAX_ACK_SKEW + 1500 + self.dice.below(1 << 28);
        let at = if forward { src.seqlo } else { dst.seqlo };
        let length = segment.end.since(segment.seq);
        let moved = |seq: Seq| Segment {
            seq,
            end: seq + length,
            ..segment
        };
        let mut forged = std::vec![
            Segment {
                ack: segment.ack + off,
                ..segment
            },
            Segment {
                flags: TcpFlags::RST,
                end: at + off,
                seq: at + off,
                ..segment
            },
            Segment {
                flags: TcpFlags::RST,
                end: at + 2,
                seq: at + 2,
                ..segment
            },
            Segment {
                flags: TcpFlags::SYN,
                end: at + 1,
                seq: at,
                ..segment
            },
        ];
        if length > 0 {
            forged.extend([moved(segment.seq + off), moved(segment.seq - off)]);
        }
        for forged in forged {
            let mut copy = Conversation::of(src, dst);
            assert_eq!(
                track_both(&mut copy.0, &forged, forward),
                Fit::Mismatch,
                "{forged:?} for {src:?} {dst:?}"
            );
        }
    }

    fn run(mut self) -> Self {
        while !self.ends.iter().all(End::is_done) {
            self.tick += 1;
            assert!(self.tick < ETERNITY, "stuck: {:?}", self.ends);
            if let (Begin::Restored(at, _), Some(state), None) = (self.plan.begin, &self.state, self.dumped)
                && self.tick >= at
            {
                self.dumped = Some((state.0.src, state.0.dst));
            }
            let mut said = Vec::new();
            for me in 0..2 {
                self.ends[me].speak(me, &mut self.dice, &mut said);
            }
            for message in said {
                self.send(0, message);
            }
            let tick = self.tick;
            let arrived: Vec<_> = self.wire.extract_if(.., |(at, ..)| *at <= tick).collect();
            for (_, hop, message) in arrived {
                if hop == 1 {
                    self.ends[1 - message.from].hear(&message);
                } else if self.judge(&message) {
                    self.send(1, message);
                }
            }
        }
        self
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let begin = prop_oneof![
        2 => Just(Begin::First),
        1 => (0u32..300).prop_map(Begin::Later),
        2 => (0u32..300, 0u32..300).prop_map(|(at, gap)| Begin::Restored(at, gap)),
    ];
    let iss = prop_oneof![any::<u32>(), (0u32..100_000).prop_map(|below| 0u32.wrapping_sub(below))];
    let offer = prop_oneof![Just(None), (0u8..=14).prop_map(Some)];
    let mss = prop_oneof![Just(536u64), Just(1460), Just(8960)];
    let capacity = prop_oneof![1u64..3000, 3000u64..65_536, 65_536u64..4_000_000];
    let loss = prop_oneof![3 => Just(0u32), 2 => 1u32..5, 1 => 5u32..25];
    (
        (any::<u64>(), begin, any::<bool>(), 0u32..4),
        [iss.clone(), iss],
        [offer.clone(), offer],
        [mss.clone(), mss],
        [capacity.clone(), capacity],
        [0u64..300, 0u64..300],
        [[loss.clone(), loss.clone()], [loss.clone(), loss]],
    )
        .prop_map(
            |((seed, begin, both_open, repetition), iss, offers, mss, capacity, segments, loss)| Plan {
                seed,
                begin,
                iss,
                offers,
                mss,
                capacity,
                segments,
                both_open,
                loss,
                repetition,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_refused_who_is_needed(plan in plans()) {
        let begin = plan.begin;
        let model = Model::new(plan).run();
        if let (Begin::First, Some(state)) = (begin, model.state) {
            assert_eq!(state.0.timeout, Timeout::TcpClosed, "{:?} {:?}", state.0, model.ends);
        }
    }
}
