//! One state outside the kernel: `struct pfsync_state`, as DIOCGETSTATES hands it out and DIOCADDSTATES takes it back.
//!
//! What is in a record and what is not: all that identifies the connection and all that its tracking needs. A rule is told by its
//! number in what is loaded (see [`reference`]); a state whose rule is not loaded has none. Of `route-to` there is the address; the
//! rest is found again by [`recall`](super::recall). What `scrub reassemble tcp` knows is there but for the clocks of both ends,
//! which the first segments show anew. Whether packets of the state are logged, and may have IP options, is up to its rule.
//!
//! Times are relative, so that they mean the same on another clock: the age, and the seconds until the state expires if nothing
//! comes, without the adaptive timeouts, which depend on how full a table is.
//!
//! # Locking
//! Exporting takes the state's lock. Importing takes none before the table's own.

use pf_abi::{
    CName, PF_WSCALE_FLAG, PF_WSCALE_MASK, PFOTHERS_NSTATES, PFSYNC_FLAG_NATSRCNODE, PFSYNC_FLAG_SRCNODE,
    PFSYNC_SCRUB_FLAG_VALID, PFUDPS_NSTATES, SyncHost, SyncPeer, SyncScrub, SyncState, TCP_NSTATES, TCPS_CLOSED,
    TCPS_SYN_SENT, TCPS_TIME_WAIT, Timeout, join_counter, split_counter,
};
use zerocopy::transmute;

use super::{name, reference};
use crate::iface::Interfaces;
use crate::kpi::{Direction, Errno, SoftNet};
use crate::rule::{Action, Config};
use crate::source::Tie;
use crate::state::proxy;
use crate::state::timeout::Timeouts;
use crate::state::{Body, Course, Extra, Host, Origin, Peer, ScrubPeer, State, StateKey};
use crate::wire::tcp::Seq;
use crate::wire::{Addr, Af, Proto};

/// The largest shift of a window (RFC 7323, 2.3).
const MAX_WSCALE: u8 = 14;
/// Numbers of states begin with the seconds since 1970 in their upper half; there are to be some left.
const MAX_ID: u64 = u64::MAX - u32::MAX as u64;
/// The largest window there can be.
const MAX_WINDOW: u32 = (u16::MAX as u32) << MAX_WSCALE;

/// What records are read against.
pub(super) struct Scene<'a> {
    pub config: &'a Config,
    pub interfaces: &'a Interfaces,
    pub timeouts: &'a Timeouts,
    /// Seconds of uptime.
    pub now: u32,
}

impl Scene<'_> {
    /// Fills in the record of a state. False, and the record as it was, for one that is being removed.
    pub(super) fn export(&self, state: &State, level: &SoftNet, to: &mut SyncState) -> bool {
        let rule = state.rule().map(|rule| &**rule);
        let interface = self
            .interfaces
            .get(state.interface())
            .map_or(CName::EMPTY, |it| it.name);
        let key = state.key();
        let (id, creator) = state.id();
        let extra = state.extra();
        let scrub = extra.and_then(|extra| extra.scrub.as_ref());
        let [src_scrub, dst_scrub] = match scrub {
            Some(ends) => ends.lock(level).map(|end| end.export()),
            None => [SyncScrub::default(); 2],
        };
        let body = state.lock(level);
        if body.unlinked {
            return false;
        }
        let lifetime = self.timeouts.unscaled(body.timeout, rule);
        let anchor = extra.and_then(|extra| extra.anchor.as_ref());
        let (rule_nr, anchor_nr) = reference::of_filter(self.config, state.rule(), anchor);
        *to = SyncState {
            id: transmute!(id.to_be()),
            ifname: interface,
            lan: export_host(&key.lan),
            gwy: export_host(&key.gwy),
            ext: export_host(&key.ext),
            src: export_peer(&body.src, &src_scrub),
            dst: export_peer(&body.dst, &dst_scrub),
            rule: rule_nr,
            anchor: anchor_nr,
            nat_rule: reference::of_translation(self.config, state.direction(), state.nat_rule()),
            creation: self.now.wrapping_sub(state.creation()),
            expire: lifetime.saturating_sub(body.idle(self.now)),
            packets: body.packets.map(split_counter),
            bytes: body.bytes.map(split_counter),
            creatorid: creator,
            af: key.af.into(),
            proto: key.proto.0,
            direction: state.direction() as u8,
            log: rule.map_or(0, |rule| rule.log),
            allow_opts: rule.is_some_and(|rule| rule.allow_opts).into(),
            timeout: body.timeout.into(),
            rt_addr: extra
                .and_then(|extra| extra.route)
                .map(|route| route.choice.addr.into())
                .unwrap_or_default(),
            sync_flags: extra.map_or(0, sync_flags),
            ..SyncState::default()
        };
        true
    }
}

/// At which source nodes a state counts.
fn sync_flags(extra: &Extra) -> u8 {
    let flag = |tie: &Option<Tie>, flag| if tie.is_some() { flag } else { 0 };
    flag(&extra.source, PFSYNC_FLAG_SRCNODE) | flag(&extra.nat_source, PFSYNC_FLAG_NATSRCNODE)
}

fn export_host(host: &Host) -> SyncHost {
    SyncHost::new(host.addr.into(), host.port)
}

fn export_peer(peer: &Peer, scrub: &SyncScrub) -> SyncPeer {
    SyncPeer {
        scrub: *scrub,
        seqlo: peer.seqlo.0,
        seqhi: peer.seqhi.0,
        seqdiff: peer.seqdiff,
        max_win: peer.max_win,
        mss: peer.mss,
        state: peer.state,
        wscale: peer.wscale,
        ..SyncPeer::default()
    }
}

/// A record that makes sense.
pub(super) struct Candidate<'a> {
    record: &'a SyncState,
    /// The interface that it names.
    pub interface: pf_abi::IfName,
    key: StateKey,
    direction: Direction,
    timeout: Timeout,
    src: Peer,
    dst: Peer,
}

impl<'a> Candidate<'a> {
    /// Judges a record on its own.
    ///
    /// # Errors
    /// EINVAL for what makes no sense: an identity that no host gives before the year 2106, a family, a direction, a protocol, an
    /// address or a port that cannot be, an interface's name without an end, a timeout or a peer's state that is not of the
    /// protocol, sequence numbers further apart than any window.
    pub(super) fn new(record: &'a SyncState) -> Result<Self, Errno> {
        let af = Af::try_from(record.af).map_err(|_| Errno::Einval)?;
        let proto = Proto(record.proto);
        let direction = match pf_abi::Direction::try_from(record.direction) {
            Ok(pf_abi::Direction::In) => Direction::In,
            Ok(pf_abi::Direction::Out) => Direction::Out,
            Ok(pf_abi::Direction::InOut) | Err(_) => return Err(Errno::Einval),
        };
        let interface = name(&record.ifname)?;
        let timeout = Timeout::try_from(record.timeout).map_err(|_| Errno::Einval)?;
        let id: u64 = transmute!(record.id);
        if u64::from_be(id) > MAX_ID {
            return Err(Errno::Einval);
        }
        let key = StateKey {
            ext: host(&record.ext, af)?,
            lan: host(&record.lan, af)?,
            gwy: host(&record.gwy, af)?,
            af,
            proto,
        };
        if interface.is_empty() || !is_sound(&key) || !is_of(timeout, proto) {
            return Err(Errno::Einval);
        }
        let (mut src, mut dst) = (peer(&record.src, proto, true)?, peer(&record.dst, proto, false)?);
        // Both ends may have moved on since the record was made, even where it knows of a SYN alone.
        let mut stale = proto == Proto::TCP;
        if stale && proxy::is_proxied(src.state) {
            // What pf has said itself is known for sure.
            stale = false;
            if dst.state != TCPS_CLOSED || src.seqdiff != 0 || dst.seqdiff != 0 {
                return Err(Errno::Einval);
            }
        }
        (src.stale, dst.stale) = (stale, stale);
        Ok(Candidate {
            record,
            interface,
            key,
            direction,
            timeout,
            src,
            dst,
        })
    }

    /// The identity that it brings along, if it does.
    pub(super) fn id(&self) -> Option<(u64, u32)> {
        let id: u64 = transmute!(self.record.id);
        (id != 0).then(|| (u64::from_be(id), self.record.creatorid))
    }

    /// How its segments go through: shifted, where there is a difference of numbers.
    fn course(&self) -> Course {
        if proxy::is_proxied(self.src.state) {
            Course::Proxied
        } else if self.src.seqdiff != 0 || self.dst.seqdiff != 0 {
            Course::Shifted
        } else {
            Course::Direct
        }
    }

    /// The state, as the scene has it. `host_id` makes it if nobody did.
    ///
    /// A rule's number that no rule has now, or one that lets nothing pass or translates nothing, stands for none: what was loaded
    /// when the record was made is not loaded now. (A tool may restore states before it loads rules, as pfs(8) does.)
    ///
    /// What the rule knows of the log the state knows again. ENOMEM where there is no room for it.
    pub(super) fn state(&self, scene: &Scene<'_>, interface: u16, host_id: u32) -> Result<(Origin, Body), Errno> {
        let record = self.record;
        let (rule, anchor) = reference::find_filter(scene.config, record.rule, record.anchor);
        let rule = rule.filter(|rule| rule.action == Action::Pass && rule.call.is_none());
        let anchor = anchor.filter(|_| rule.is_some());
        let nat_rule = reference::find_translation(scene.config, self.direction, record.nat_rule)
            .filter(|rule| rule.action == Action::Translate);
        let tag = rule.as_ref().map_or(0, |rule| rule.tag);
        let extra = Extra::of(rule.as_deref(), nat_rule.as_deref(), anchor.as_ref(), tag)?;
        // Silence beyond the half of the clock's circle would look like a time to come.
        let lifetime = scene.timeouts.unscaled(self.timeout, rule.as_deref());
        let idle = lifetime.min(i32::MAX as u32).saturating_sub(record.expire);
        let id: u64 = transmute!(record.id);
        let body = Body {
            unlinked: false,
            timeout: self.timeout,
            course: self.course(),
            expire: scene.now.wrapping_sub(idle),
            packets: record.packets.map(join_counter),
            bytes: record.bytes.map(join_counter),
            src: self.src,
            dst: self.dst,
        };
        let origin = Origin {
            key: self.key,
            direction: self.direction,
            interface,
            rule,
            nat_rule,
            extra,
            id: u64::from_be(id),
            creator: if id == 0 { host_id } else { record.creatorid },
            creation: scene.now.wrapping_sub(record.creation),
        };
        Ok((origin, body))
    }
}

impl Candidate<'_> {
    /// What `scrub reassemble tcp` knew of both ends, if anything.
    pub(super) fn scrub(&self) -> Option<[ScrubPeer; 2]> {
        let record = self.record;
        let knows = |peer: &SyncPeer| peer.scrub.scrub_flag & PFSYNC_SCRUB_FLAG_VALID != 0;
        if self.key.proto != Proto::TCP || !(knows(&record.src) || knows(&record.dst)) {
            return None;
        }
        let end = |from: &SyncPeer, peer: &Peer| ScrubPeer::import(&from.scrub, peer.state >= TCPS_SYN_SENT);
        Some([end(&record.src, &self.src), end(&record.dst, &self.dst)])
    }
}

/// An address and a port. EINVAL where an IPv4 address has more than four bytes.
fn host(from: &SyncHost, af: Af) -> Result<Host, Errno> {
    let addr = Addr::from(from.addr);
    if addr != addr.of_family(af) {
        return Err(Errno::Einval);
    }
    Ok(Host {
        addr,
        port: from.port.get(),
    })
}

/// Whether a connection can have this key.
fn is_sound(key: &StateKey) -> bool {
    let hosts = [key.lan, key.gwy, key.ext];
    match (key.proto, key.af) {
        (Proto(0), _) | (Proto::ICMP, Af::Inet6) | (Proto::ICMPV6, Af::Inet) => false,
        (Proto::TCP, _) => hosts.iter().all(|host| host.port != 0 && !host.addr.is_zero()),
        // Who asks for an address may have none yet. A port of 0 is legal with UDP.
        (Proto::UDP, _) => !(key.lan.addr.is_zero() && key.ext.addr.is_zero()),
        (Proto::ICMP | Proto::ICMPV6, _) => key.ext.port == 0 && !(key.lan.addr.is_zero() && key.ext.addr.is_zero()),
        _ => hosts.iter().all(|host| host.port == 0) && !(key.lan.addr.is_zero() && key.ext.addr.is_zero()),
    }
}

/// Whether states of this protocol have this timeout.
fn is_of(timeout: Timeout, proto: Proto) -> bool {
    use Timeout::*;
    let range = match proto {
        Proto::TCP => TcpFirst..=TcpClosed,
        Proto::UDP => UdpFirst..=UdpMultiple,
        Proto::ICMP | Proto::ICMPV6 => IcmpFirst..=IcmpError,
        _ => OtherFirst..=OtherMultiple,
    };
    range.contains(&timeout)
}

/// One end. Only of the one that began may the state be one of the SYN proxy's.
fn peer(from: &SyncPeer, proto: Proto, began: bool) -> Result<Peer, Errno> {
    let states = match proto {
        Proto::TCP => TCP_NSTATES,
        Proto::UDP => PFUDPS_NSTATES,
        _ => PFOTHERS_NSTATES,
    };
    let is_proxied = began && proto == Proto::TCP && proxy::is_proxied(from.state);
    if from.state >= states && !is_proxied {
        return Err(Errno::Einval);
    }
    if proto != Proto::TCP {
        return Ok(Peer {
            state: from.state,
            ..Peer::default()
        });
    }
    let peer = Peer {
        seqlo: Seq(from.seqlo),
        seqhi: Seq(from.seqhi),
        // The record does not say, and a reset is not believed before there has been an acknowledgment.
        acked: Seq(from.seqlo),
        seqdiff: from.seqdiff,
        max_win: from.max_win,
        mss: from.mss,
        state: from.state,
        wscale: from.wscale,
        stale: false,
    };
    let shift = peer.wscale & PF_WSCALE_MASK;
    let scales = peer.wscale & PF_WSCALE_FLAG != 0;
    if peer.wscale & !(PF_WSCALE_FLAG | PF_WSCALE_MASK) != 0 || shift > MAX_WSCALE || (shift != 0 && !scales) {
        return Err(Errno::Einval);
    }
    // Of an end that has not sent anything, only what the other end told is known.
    let has_sent = (TCPS_SYN_SENT..TCPS_TIME_WAIT).contains(&peer.state);
    if has_sent && peer.seqhi.distance(peer.seqlo).unsigned_abs() > MAX_WINDOW {
        return Err(Errno::Einval);
    }
    Ok(peer)
}
