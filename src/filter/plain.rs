//! What most packets are: a TCP segment in the middle of a connection that has a state, over IPv4 and without IP options.
//!
//! # Overview
//! Of such a packet nothing has to be kept while it is judged: it is read where it lies, and goes by its state in one go. That comes to
//! what a packet's whole way comes to, at half its cost. Where a packet or its state asks for anything else, nothing has changed and
//! nothing is counted, and it goes the whole way.
//!
//! # Locking
//! As for a packet's whole way: a passive section, and in it the state's lock.

use core::sync::atomic::Ordering;

use pf_abi::Reason;
use zerocopy::FromBytes;

use super::translation;
use crate::kpi::{Direction, Mbuf, SoftNet, stripe};
use crate::packet::rewrite_tcp_v4;
use crate::state::tcp::{self, Segment};
use crate::state::{Course, Host, Place, Tree, TreeKey};
use crate::wire::tcp::TcpFlags;
use crate::wire::{Af, Proto, ipv4, tcp as wire};
use crate::{Pf, iface};

/// A segment as it was read.
pub(super) struct Plain {
    segment: Segment,
    key: TreeKey,
    /// Bytes of the packet.
    len: u16,
}

/// What has become of it.
pub(super) enum Fate {
    /// It goes on.
    Passed,
    /// It is to be dropped, and that has been counted.
    Refused,
    /// It goes the whole way. Where its state stands, if that is known by now.
    Open(Option<Place>),
}

impl Plain {
    /// Reads a packet, if its headers are those of such a segment and lie in one piece.
    #[inline(always)]
    pub(super) fn read(mbuf: &Mbuf, direction: Direction) -> Option<Self> {
        const LOOKED_AT: TcpFlags = TcpFlags::SYN
            .union(TcpFlags::FIN)
            .union(TcpFlags::RST)
            .union(TcpFlags::ACK);
        let (ip, rest) = ipv4::Header::ref_from_prefix(mbuf.head()).ok()?;
        let (tcp, _) = wire::Header::ref_from_prefix(rest).ok()?;
        if ip.proto != Proto::TCP || !ip.is_plain() || tcp.flags() & LOOKED_AT != TcpFlags::ACK {
            return None;
        }
        let len = ip.total_len.get();
        let available = usize::from(len).checked_sub(ipv4::HEADER_LEN)?;
        let header_len = tcp.header_len(available).ok()?;
        if usize::from(len) > mbuf.len() {
            return None;
        }
        let src = Host {
            addr: ip.src(),
            port: tcp.src_port.get(),
        };
        let dst = Host {
            addr: ip.dst(),
            port: tcp.dst_port.get(),
        };
        let (near, far) = match direction {
            Direction::Out => (src, dst),
            Direction::In => (dst, src),
        };
        Some(Plain {
            segment: Segment::plain(tcp, (available - header_len) as u16),
            key: TreeKey {
                near,
                far,
                af: Af::Inet,
                proto: Proto::TCP,
            },
            len,
        })
    }

    /// Where its state stands, if it has one.
    #[inline(always)]
    pub(super) fn place(&self, pf: &Pf, direction: Direction) -> Place {
        pf.states.place(Tree::of(direction), &self.key)
    }

    /// Has it go by its state. `place`: where that stands, if it is known already.
    #[inline(always)]
    pub(super) fn judge(
        &self,
        pf: &Pf,
        level: &SoftNet,
        direction: Direction,
        ifindex: u16,
        mbuf: &mut Mbuf,
        place: Option<Place>,
    ) -> Fate {
        if pf.scrubs.load(Ordering::Relaxed) || pf.is_locked() {
            return Fate::Open(place);
        }
        let section = pf.read(level);
        let interfaces = pf.interfaces.read(&section);
        let number = interfaces.number(ifindex);
        let interface = interfaces.get(number);
        let Some(interface) = interface.filter(|interface| number != iface::ALL && !interface.skips()) else {
            return Fate::Open(place);
        };
        let at = match place {
            Some(place) => place,
            None => self.place(pf, direction),
        };
        let Some(state) = pf.states.find_at(at, &self.key, level, &section) else {
            return Fate::Open(Some(at));
        };
        let is_elsewhere = state.interface() != iface::ALL && state.interface() != number;
        let (rule, nat_rule) = (state.rule(), state.nat_rule());
        let have_tables = rule.is_some_and(|rule| rule.has_tables()) || nat_rule.is_some_and(|rule| rule.has_tables());
        if is_elsewhere || have_tables || state.extra().is_some() {
            return Fate::Open(Some(at));
        }
        let bytes = self.len.into();
        {
            let mut body = state.lock(level);
            let forward = direction == state.direction();
            if body.unlinked || body.course != Course::Direct || !tcp::proceed(&mut body, &self.segment, forward) {
                return Fate::Open(Some(at));
            }
            body.expire = pf.kernel.uptime();
            let at = usize::from(!forward);
            body.packets[at] = body.packets[at].wrapping_add(1);
            body.bytes[at] = body.bytes[at].wrapping_add(u64::from(self.len));
        }
        let stripe = stripe();
        pf.stats.count_search(stripe);
        if state.key().is_translated() {
            let ends = translation(state.key(), direction);
            if rewrite_tcp_v4(mbuf, direction, &ends).is_err() {
                pf.stats.count(Reason::Memory);
                interface.count(stripe, Af::Inet, direction, false, bytes);
                return Fate::Refused;
            }
        }
        if let Some(rule) = rule {
            rule.counters.count(stripe, direction, bytes);
        }
        if let Some(rule) = nat_rule {
            rule.counters.count(stripe, direction, bytes);
        }
        interface.count(stripe, Af::Inet, direction, true, bytes);
        Fate::Passed
    }
}
