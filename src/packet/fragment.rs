//! Fragments: what one says of itself, a packet put together from its parts, and cut again.
//!
//! IPv4's header and IPv6's headers up to the fragment header are the same in all fragments of a packet but for what is about
//! the fragment itself; those of the first one (offset 0) become those of the whole.

use zerocopy::{FromBytes, IntoBytes};

use super::{Packet, reason, scrub};
use crate::kpi::{Mbuf, NoMemory};
use crate::wire::{Af, Bytes, Fragment, Proto, icmp, ipv4, ipv6, tcp, udp};
use pf_abi::Reason;

/// What is in front of a fragment's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    af: Af,
    /// Bytes of the headers in front of the data, without IPv6's fragment header.
    len: u16,
    /// Where the byte is that names IPv6's fragment header.
    named_at: u16,
    /// What the data begins with, in IPv6.
    next_header: Proto,
}

/// A part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where its data begins, in the data of the whole.
    pub start: u16,
    /// Where its data ends. More than `start`.
    pub end: u16,
    /// Whether this is not the last part.
    pub more: bool,
    /// What the parts have in common.
    pub id: u32,
    /// Its headers.
    pub front: Front,
}

/// How an IPv6 packet is cut again that was put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    front: Front,
    id: u32,
    /// Bytes of data in a fragment: a multiple of eight, not 0.
    size: u16,
}

impl Front {
    /// Where the data begins in the first fragment, once it has no fragment header.
    pub fn header_len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it is short enough to be put in front of other fragments.
    pub fn is_repeatable(&self) -> bool {
        self.header_len() + ipv6::FRAGMENT_HEADER_LEN <= Mbuf::MOST_PREPENDED
    }

    /// Takes away what is in front of a fragment's data.
    pub fn strip(&self, mbuf: &mut Mbuf) {
        let fragment_header = match self.af {
            Af::Inet => 0,
            Af::Inet6 => ipv6::FRAGMENT_HEADER_LEN,
        };
        mbuf.trim_front(self.header_len() + fragment_header);
    }

    /// Takes the fragment header out of the first fragment, so that its data follows its headers.
    pub fn strip_fragment_header(&self, mbuf: &mut Mbuf) -> Result<(), NoMemory> {
        if self.af == Af::Inet6 {
            let len = self.header_len();
            let bytes = mbuf.head_mut(len + ipv6::FRAGMENT_HEADER_LEN)?;
            bytes.copy_within(..len, ipv6::FRAGMENT_HEADER_LEN);
            mbuf.trim_front(ipv6::FRAGMENT_HEADER_LEN);
        }
        Ok(())
    }

    /// Makes a packet of the headers and `total` bytes of data.
    ///
    /// # Errors
    /// PFRES_FRAG where it would be longer than a packet can be, PFRES_MEMORY.
    pub fn complete(&self, mbuf: &mut Mbuf, total: u16) -> Result<(), Reason> {
        match self.af {
            Af::Inet => {
                let len = self.len.checked_add(total).ok_or(Reason::Fragment)?;
                scrub::change_v4(mbuf, |header| {
                    header.total_len = len.into();
                    header.frag = 0.into();
                })
                .map_err(|_| Reason::Memory)
            }
            Af::Inet6 => {
                let extensions = self.header_len().saturating_sub(ipv6::HEADER_LEN);
                let payload_len = u16::try_from(extensions + usize::from(total)).map_err(|_| Reason::Fragment)?;
                let bytes = mbuf.head_mut(self.header_len()).map_err(|_| Reason::Memory)?;
                self.name(bytes, payload_len, self.next_header).ok_or(Reason::Memory)
            }
        }
    }

    /// Writes what the IPv6 headers have to say in which all fragments differ from the whole.
    fn name(&self, bytes: &mut [u8], payload_len: u16, next_header: Proto) -> Option<()> {
        *bytes.get_mut(usize::from(self.named_at))? = next_header.0;
        let (header, _) = ipv6::Header::mut_from_prefix(bytes).ok()?;
        header.payload_len = payload_len.into();
        Some(())
    }
}

impl Cut {
    /// How a packet is cut again of which a part was `part`, and the longest had `size` bytes of data. Nothing for IPv4, of which any
    /// router cuts what is too long.
    pub fn new(front: Front, id: u32, size: u16) -> Option<Self> {
        let size = (size & !7).max(8);
        (front.af == Af::Inet6).then_some(Cut { front, id, size })
    }

    /// Bytes of the longest fragment of a packet of `len` bytes.
    pub fn longest(&self, len: usize) -> usize {
        let front = self.front.header_len();
        front + ipv6::FRAGMENT_HEADER_LEN + len.saturating_sub(front).min(self.size.into())
    }

    /// Cuts a packet into fragments, none longer than the longest was, and with the identification that they had.
    pub fn apply(&self, packet: Mbuf, mut each: impl FnMut(Mbuf)) -> Result<(), NoMemory> {
        let mut headers = [0; Mbuf::MOST_PREPENDED];
        let len = self.front.header_len();
        let headers = headers.get_mut(..len).ok_or(NoMemory)?;
        if !Mbuf::copy(&packet, 0, headers) {
            return Err(NoMemory);
        }
        let next_header = *headers.get(usize::from(self.front.named_at)).ok_or(NoMemory)?;
        let mut rest = packet;
        rest.trim_front(len);
        let mut offset = 0u16;
        loop {
            let more = rest.len() > self.size.into();
            let next = if more {
                Some(rest.split_off(self.size.into())?)
            } else {
                None
            };
            let data = rest.len();
            let front_len = len + ipv6::FRAGMENT_HEADER_LEN;
            let mut fragment = rest.prepend(front_len).ok_or(NoMemory)?;
            let bytes = fragment.head_mut(front_len)?;
            let (front, fragment_header) = bytes.split_at_mut_checked(len).ok_or(NoMemory)?;
            front.copy_from_slice(headers);
            let payload_len = u16::try_from(front_len - ipv6::HEADER_LEN + data).map_err(|_| NoMemory)?;
            self.front.name(front, payload_len, Proto::FRAGMENT).ok_or(NoMemory)?;
            let id = self.id;
            let header = ipv6::FragmentHeader::new(Proto(next_header), Fragment { offset, more, id });
            fragment_header.copy_from_slice(header.as_bytes());
            each(fragment);
            let Some(next) = next else { return Ok(()) };
            rest = next;
            offset = offset.checked_add(self.size).ok_or(NoMemory)?;
        }
    }
}

impl Packet {
    /// Whether a fragment can be judged by its addresses and its protocol: one that could overwrite the first bytes of a
    /// transport header that another fragment shows (RFC 1858, RFC 3128) cannot. What is no fragment can.
    pub fn check_fragment(&self) -> Result<(), Reason> {
        let Some(fragment) = self.fragment else {
            return Ok(());
        };
        let least = match self.proto {
            Proto::TCP => tcp::HEADER_LEN,
            Proto::UDP => udp::HEADER_LEN,
            Proto::ICMP | Proto::ICMPV6 => icmp::HEADER_LEN,
            _ => 0,
        };
        let shows = if fragment.is_first() {
            (self.len as usize).saturating_sub(self.offset.into())
        } else {
            usize::from(fragment.offset)
        };
        if shows < least {
            return Err(Reason::Fragment);
        }
        Ok(())
    }

    /// Whether routers must not fragment it: an IPv4 packet with that bit.
    pub fn must_not_fragment(&self) -> bool {
        self.af == Af::Inet
            && self
                .mbuf
                .take(0)
                .is_ok_and(|header: ipv4::Header| header.dont_fragment())
    }

    /// Whether pf has cut it itself from what it had put together on the way in.
    pub fn is_refragmented(&self) -> bool {
        self.mbuf.is_refragmented()
    }

    /// What a fragment says of itself. Nothing where it is none.
    ///
    /// # Errors
    /// PFRES_FRAG for one that cannot be.
    pub fn part(&self) -> Result<Option<Part>, Reason> {
        let Some(fragment) = self.fragment else {
            return Ok(None);
        };
        let (front, data_at) = match self.af {
            Af::Inet => {
                let front = Front {
                    af: Af::Inet,
                    len: self.offset,
                    named_at: 0,
                    next_header: self.proto,
                };
                (front, self.offset.into())
            }
            Af::Inet6 => {
                let header: ipv6::Header = self.mbuf.take(0).map_err(reason)?;
                let place = ipv6::find_fragment_header(&self.mbuf, header.next_header).ok_or(Reason::Fragment)?;
                let header: ipv6::FragmentHeader = self.mbuf.take(place.offset).map_err(reason)?;
                let data_at = place.offset + ipv6::FRAGMENT_HEADER_LEN;
                let front = Front {
                    af: Af::Inet6,
                    len: place.offset as u16,
                    named_at: place.named_at as u16,
                    next_header: header.next_header,
                };
                (front, data_at)
            }
        };
        let len = (self.len as usize).saturating_sub(data_at);
        Ok(Some(Part {
            start: fragment.offset,
            end: fragment.end(len).map_err(reason)?,
            more: fragment.more,
            id: fragment.id,
            front,
        }))
    }

    /// Leaves of an IPv4 fragment, which has more, what lies from `start` to `end` in the whole packet.
    pub fn crop(&mut self, part: &Part, start: u16, end: u16) -> Result<(), NoMemory> {
        let (front, back) = (start.saturating_sub(part.start), part.end.saturating_sub(end));
        if front == 0 && back == 0 {
            return Ok(());
        }
        let header_len = part.front.header_len();
        let mut header = [0; ipv4::MAX_HEADER_LEN];
        let header = header.get_mut(..header_len).ok_or(NoMemory)?;
        if !Mbuf::copy(&self.mbuf, 0, header) {
            return Err(NoMemory);
        }
        self.mbuf.truncate(self.len.saturating_sub(back.into()) as usize);
        self.mbuf.trim_front(front.into());
        self.mbuf.head_mut(header_len)?.copy_from_slice(header);
        self.len = self.len.saturating_sub(front.into()).saturating_sub(back.into());
        let (len, more) = (self.len as u16, part.more || back != 0);
        scrub::change_v4(&mut self.mbuf, |header| {
            let flags = header.frag.get() & ipv4::Header::DONT_FRAGMENT;
            let more = if more { ipv4::Header::MORE_FRAGMENTS } else { 0 };
            header.frag = (flags | more | (start >> 3)).into();
            header.total_len = len.into();
        })?;
        self.fragment = Some(Fragment {
            offset: start,
            more,
            id: part.id,
        });
        Ok(())
    }

    /// Gives the packet up, without what lies behind it on the link.
    pub fn into_trimmed(self) -> Mbuf {
        let mut mbuf = self.mbuf;
        mbuf.truncate(self.len as usize);
        mbuf
    }
}
