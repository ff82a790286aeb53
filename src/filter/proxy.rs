//! `synproxy state`: pf speaks to either end of a connection until both have shown that they exist.
//!
//! # Overview
//! [`state::proxy`](crate::state::proxy) says what is to be done about a segment, and with which numbers; here are the addresses, and
//! what is sent. Each end sees the addresses of the other that translation gives it.
//!
//! It goes where `route-to` and `reply-to` send the connection's packets. What pf sends to the end outside, or in answer to what comes
//! in, leaves without being judged. To a server inside it goes like a
//! packet that is forwarded: other interfaces' rules judge it and keep their own states. (One of the firewall's own addresses is
//! reached over a loopback interface, where it meets the state again, which knows it.)
//!
//! States whose client has not been heard of again are [`greeted`](Handshakes::greeted), the oldest first. There are at most
//! [`MOST_GREETED`]; before another comes, the oldest goes, also where the table is full. So a flood of SYNs takes
//! bounded memory, and a client is served if it answers before so many others have knocked. A server that
//! does not answer is asked again some times, [`called`](Handshakes::called) in turn; the client hears if it never does.
//!
//! # Locking
//! Takes a state's lock or a queue's, one at a time. What is sent goes out without either, and outside the read section.

use pf_abi::{PF_TCPS_PROXY_SRC, Reason};

use super::route::{self, Hop, Nowhere, Way};
use super::{Filter, RESET, Refusal};
use crate::Pf;
use crate::iface::Interfaces;
use crate::kpi::{Direction, Kernel, Mbuf, NoMemory, SoftNet, SpinGuard};
use crate::packet::{self, Packet, answer, compose_segment};
use crate::rule::Rule;
use crate::state::proxy::{self, Step};
use crate::state::{Body, Course, Entry, Host, Queue, State, StateKey};
use crate::wire::tcp;

/// Clients that have been answered and not been heard of since.
const MOST_GREETED: usize = 4096;
/// Servers that are asked again when they do not answer; others have to be asked again by their client.
const MOST_CALLED: usize = 1024;
/// How often a server is asked. The pauses double, from a second on: half a minute in all.
const TRIES: u8 = 5;

/// Handshakes that the proxy has in hand.
pub(crate) struct Handshakes {
    /// With clients.
    greeted: Queue,
    /// With servers.
    called: Queue,
}

impl Handshakes {
    /// None, and no memory for any.
    pub(crate) const fn new() -> Self {
        Handshakes {
            greeted: Queue::new(),
            called: Queue::new(),
        }
    }

    /// Makes room for them, when a rule asks for the proxy.
    pub(crate) fn prepare(&self) -> Result<(), NoMemory> {
        self.greeted.prepare(MOST_GREETED)?;
        self.called.prepare(MOST_CALLED)
    }
}

/// Whom pf speaks to.
#[derive(Clone, Copy)]
enum End {
    Client,
    Server,
}

/// A segment of pf's own, and its way, if that is not the routing table's.
type Composed = (Mbuf, Option<Hop>);

/// A segment of pf's own to one of the ends, from the other one as that end knows it.
fn compose(kernel: &Kernel, interfaces: &Interfaces, state: &State, to: End, segment: tcp::Repr) -> Option<Composed> {
    let (key, direction) = (state.key(), state.direction());
    let (src, dst): (Host, Host) = match (to, direction) {
        (End::Client, Direction::Out) => (key.ext, key.lan),
        (End::Client, Direction::In) => (key.gwy, key.ext),
        (End::Server, Direction::Out) => (key.gwy, key.ext),
        (End::Server, Direction::In) => (key.ext, key.lan),
    };
    let segment = tcp::Repr {
        src_port: src.port,
        dst_port: dst.port,
        ..segment
    };
    let mut mbuf = compose_segment(kernel, key.af, (src.addr, dst.addr), &segment)?;
    let is_forwarded = matches!((to, direction), (End::Server, Direction::In));
    if !is_forwarded {
        mbuf.mark_from_pf().ok()?;
    }
    let forward = matches!(to, End::Server);
    match Way::of_own(state, forward, dst.addr, interfaces) {
        None => Some((mbuf, None)),
        Some(Ok(hop)) => Some((mbuf, Some(hop))),
        Some(Err(Nowhere)) => None,
    }
}

impl Filter<'_> {
    /// The end of a packet, in the place of which these are sent. Of one rule at most one end has a way of its own.
    fn refused(&self, reason: Reason, segments: [Option<Composed>; 2]) -> Refusal {
        let mut hop = None;
        let mut answers = segments.map(|segment| {
            let (mbuf, way) = segment?;
            hop = hop.or(way);
            Some((mbuf, way.is_some()))
        });
        if answers[0].as_ref().is_some_and(|(_, diverts)| *diverts) {
            answers.swap(0, 1);
        }
        if let Some(hop) = hop {
            self.way.set(Some(Ok(Way { copy: false, hop })));
        }
        Refusal {
            reason: Some(reason),
            answers: answers.map(|answer| answer.map(|(mbuf, _)| mbuf)),
            diverts: hop.is_some(),
        }
    }

    fn held(&self, segments: [Option<Composed>; 2]) -> Refusal {
        self.refused(Reason::Synproxy, segments)
    }
}

/// What a new client wants room in.
enum Room<'a> {
    /// The states of a rule, which has as many as it may have.
    Of(&'a Rule),
    OfTable,
    /// The queue of those that were greeted.
    OfQueue,
}

impl Filter<'_> {
    /// Whether the SYN of a new connection is the proxy's to answer.
    pub(super) fn is_to_be_proxied(&self, packet: &Packet, rule: Option<&Rule>) -> bool {
        rule.is_some_and(|rule| rule.synproxy) && packet.is_first_syn()
    }

    /// Takes the client's SYN in the place of the server. `body` becomes that of the state to be made.
    pub(super) fn begin_proxy(
        &self,
        packet: &Packet,
        key: &StateKey,
        rule: Option<&Rule>,
        body: &mut Body,
    ) -> Result<(), Refusal> {
        self.check_sender(packet)?;
        let Some(segment) = packet.segment() else {
            return Ok(());
        };
        let isn = self.pf.isns.of_dst(&self.pf.kernel, key, packet.direction);
        (body.src, body.dst) = proxy::open(&segment, key.af, isn);
        body.course = Course::Proxied;
        match rule.filter(|rule| rule.has_all_states()) {
            Some(rule) => self.forget_greeted(&Room::Of(rule)),
            None if self.pf.states.len() >= self.pf.states.limit() => self.forget_greeted(&Room::OfTable),
            None if self.pf.handshakes.greeted.is_full(self.level) => self.forget_greeted(&Room::OfQueue),
            None => (),
        }
        Ok(())
    }

    /// Answers the client's SYN, for which there is a state now.
    pub(super) fn greet(&self, state: &State) -> Refusal {
        let entry = Entry::new(state, 0);
        self.pf.handshakes.greeted.push(entry, self.level);
        let segment = proxy::greeting(&state.lock(self.level));
        self.held([self.compose(state, End::Client, segment), None])
    }

    /// Forgets the client that was greeted first, if it has not been heard of since, so that another one can be. For room among states
    /// one has to be found that has not; some are looked at.
    fn forget_greeted(&self, room: &Room<'_>) {
        const MOST_PASSED: usize = 64;
        for _ in 0..MOST_PASSED {
            let Some(entry) = self.pf.handshakes.greeted.pop(self.level) else {
                return;
            };
            let Some(state) = self.pf.states.find(Entry::TREE, &entry.key, self.level, self.section) else {
                if matches!(room, Room::OfQueue) {
                    return;
                }
                continue;
            };
            if let Room::Of(rule) = room
                && !state.rule().is_some_and(|of| core::ptr::eq(&**of, *rule))
            {
                // One rule's limit is nothing to the clients of another.
                self.pf.handshakes.greeted.push(entry, self.level);
                continue;
            }
            let is_waiting = {
                let mut body = state.lock(self.level);
                let is_waiting = !body.unlinked && body.src.state == PF_TCPS_PROXY_SRC && state.id() == entry.id;
                body.unlinked |= is_waiting;
                is_waiting
            };
            if is_waiting {
                self.pf.states.remove(state, self.level);
                self.pf.stats.count_removals(1);
            }
            if is_waiting || matches!(room, Room::OfQueue) {
                return;
            }
        }
    }

    /// Whether a segment is one that its receiver would answer, in whose place pf is.
    fn check_sender(&self, packet: &Packet) -> Result<(), Refusal> {
        if packet.direction == Direction::In && !packet.checksum_is_valid() {
            return Err(Reason::ProtoCksum.into());
        }
        if !packet::is_host(packet.src, packet.af) || !packet::is_host(packet.dst, packet.af) {
            return Err(Reason::Synproxy.into());
        }
        Ok(())
    }

    fn compose(&self, state: &State, to: End, segment: tcp::Repr) -> Option<Composed> {
        compose(&self.pf.kernel, self.interfaces, state, to, segment)
    }

    /// Deals with a segment of a connection that pf has in hand. True: it passes as it is.
    #[inline(never)]
    pub(super) fn judge_proxied(
        &self,
        mut body: SpinGuard<'_, Body>,
        state: &State,
        packet: &Packet,
    ) -> Result<bool, Refusal> {
        let Some(segment) = packet.segment() else {
            return Err(Reason::StateMismatch.into());
        };
        let forward = packet.direction == state.direction();
        let (kernel, now) = (&self.pf.kernel, self.pf.kernel.uptime());
        self.check_sender(packet)?;
        let isn = || self.pf.isns.of_src(kernel, state.key(), state.direction());
        let was_calling = proxy::is_calling(&body);
        let step = proxy::take(&mut body, &segment, forward, isn);
        if step == Step::Stray {
            return Err(Reason::StateMismatch.into());
        }
        let at = usize::from(!forward);
        body.packets[at] = body.packets[at].wrapping_add(1);
        body.bytes[at] = body.bytes[at].wrapping_add(packet.len.into());
        // Who only repeats himself keeps nothing alive.
        let moves = !matches!(step, Step::Greet | Step::Wait | Step::Own | Step::Call { hold: true });
        if moves {
            body.expire = now;
        }
        body.unlinked = matches!(step, Step::Refuse | Step::Leave { .. });
        let is_first_call = matches!(step, Step::Call { .. }) && !was_calling;
        if is_first_call && self.count_proxied(state, &mut body) {
            let refusal = proxy::refusal(&body);
            drop(body);
            self.end_overload(state);
            return Err(self.refused(Reason::SrcLimit, [self.compose(state, End::Client, refusal), None]));
        }
        let is_over = body.unlinked;
        let to_client = |segment| (End::Client, segment);
        let to_server = |segment| (End::Server, segment);
        let segments = match step {
            Step::Stray | Step::Own | Step::Wait | Step::Reset | Step::Leave { asked: false } => [None, None],
            Step::Greet => [Some(to_client(proxy::greeting(&body))), None],
            Step::Call { hold } => [
                Some(to_server(proxy::call(&body))),
                hold.then(|| to_client(proxy::hold(&body))),
            ],
            Step::Join => [
                Some(to_server(proxy::confirm(&body))),
                Some(to_client(proxy::release(&body))),
            ],
            Step::Refuse => [Some(to_client(proxy::refusal(&body))), None],
            Step::Leave { asked: true } => [Some(to_server(proxy::retreat(&body))), None],
        };
        drop(body);
        self.count(state, packet);
        if is_over {
            self.pf.states.remove(state, self.level);
            self.pf.stats.count_removals(1);
        }
        if step == Step::Own {
            return Ok(true);
        }
        if is_first_call {
            let entry = Entry::new(state, now.wrapping_add(1));
            self.pf.handshakes.called.push(entry, self.level);
        }
        let answers = match step {
            Step::Reset => [answer(kernel, packet, &RESET).map(|mbuf| (mbuf, None)), None],
            _ => segments.map(|it| it.and_then(|(to, segment)| self.compose(state, to, segment))),
        };
        Err(self.held(answers))
    }
}

/// Asks servers again that have not answered, once a second. Called with no spin lock held.
pub(crate) fn tick(pf: &Pf) {
    let waiting = {
        let level = SoftNet::raise();
        pf.handshakes.called.len(&level)
    };
    for _ in 0..waiting {
        let level = SoftNet::raise();
        let Some(entry) = pf.handshakes.called.pop(&level) else {
            return;
        };
        match ask_again(pf, &level, entry) {
            Some((packet, Some(hop))) => route::send_answer(pf, &level, packet, hop),
            Some((packet, None)) => {
                drop(level);
                pf.kernel.output(packet);
            }
            None => (),
        }
    }
}

/// Asks one server again, if it is time to, or gives up. What is to be sent is the answer.
fn ask_again(pf: &Pf, level: &SoftNet, entry: Entry) -> Option<Composed> {
    let now = pf.kernel.uptime();
    let section = pf.read(level);
    // Whoever locks waits for this section.
    if pf.is_locked() {
        pf.handshakes.called.push(entry, level);
        return None;
    }
    let state = pf.states.find(Entry::TREE, &entry.key, level, &section)?;
    let gives_up = entry.tries + 1 >= TRIES;
    let segment = {
        let mut body = state.lock(level);
        if body.unlinked || state.id() != entry.id || !proxy::is_calling(&body) {
            return None;
        }
        if (now.wrapping_sub(entry.due) as i32) < 0 {
            drop(body);
            pf.handshakes.called.push(entry, level);
            return None;
        }
        body.unlinked = gives_up;
        if gives_up {
            (End::Client, proxy::refusal(&body))
        } else {
            (End::Server, proxy::call(&body))
        }
    };
    if gives_up {
        pf.states.remove(state, level);
        pf.stats.count_removals(1);
    } else {
        let tries = entry.tries + 1;
        let due = now.wrapping_add(1 << tries);
        pf.handshakes.called.push(Entry { due, tries, ..entry }, level);
    }
    compose(&pf.kernel, pf.interfaces.read(&section), state, segment.0, segment.1)
}
