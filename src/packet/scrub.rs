//! What normalisation changes in a packet that is whole: TTL, identification, Don't Fragment, and the header of TCP.
//!
//! Checksums are updated by what changes (RFC 1624), so a packet that came in damaged goes out damaged. Bytes are made writable only
//! where something changes.

use pf_abi::Reason;
use zerocopy::{FromBytes, IntoBytes};

use super::{Packet, Transport};
use crate::kpi::{Mbuf, NoMemory};
use crate::wire::checksum::Delta;
use crate::wire::tcp::{TcpFlags, TcpOption};
use crate::wire::{Af, Bytes, ipv4, ipv6, tcp};

/// The timestamps of a TCP segment (RFC 7323, 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamps {
    /// Where they are, in bytes from the start of the TCP header.
    at: usize,
    /// The sender's clock.
    pub val: u32,
    /// The echo of the other's.
    pub ecr: u32,
}

/// Changes the fixed part of the IPv4 header that a packet begins with, and its checksum.
pub(super) fn change_v4(mbuf: &mut Mbuf, change: impl FnOnce(&mut ipv4::Header)) -> Result<(), NoMemory> {
    let bytes = mbuf.head_mut(ipv4::HEADER_LEN)?;
    let (header, _) = ipv4::Header::mut_from_prefix(bytes).map_err(|_| NoMemory)?;
    let old = *header;
    change(header);
    let mut delta = Delta::new();
    let (before, _) = old.as_bytes().as_chunks::<2>();
    let (after, _) = header.as_bytes().as_chunks::<2>();
    for (old, new) in before.iter().zip(after).filter(|(old, new)| old != new) {
        delta.replace_u16(u16::from_be_bytes(*old), u16::from_be_bytes(*new));
    }
    header.checksum = delta.apply(header.checksum.get()).into();
    Ok(())
}

impl Packet {
    /// The TTL or hop limit.
    pub fn ttl(&self) -> u8 {
        match self.af {
            Af::Inet => self.mbuf.take(0).map_or(0, |header: ipv4::Header| header.ttl),
            Af::Inet6 => self.mbuf.take(0).map_or(0, |header: ipv6::Header| header.hop_limit),
        }
    }

    /// Raises the TTL or hop limit to `least`, if it is less.
    pub fn raise_ttl(&mut self, least: u8) -> Result<(), NoMemory> {
        if self.ttl() >= least {
            return Ok(());
        }
        match self.af {
            Af::Inet => change_v4(&mut self.mbuf, |header| header.ttl = least),
            Af::Inet6 => {
                let bytes = self.mbuf.head_mut(ipv6::HEADER_LEN)?;
                let (header, _) = ipv6::Header::mut_from_prefix(bytes).map_err(|_| NoMemory)?;
                header.hop_limit = least;
                Ok(())
            }
        }
    }

    /// Lets routers fragment an IPv4 packet that they must not. One without an identification gets `id`: somebody may need it now.
    pub fn permit_fragments(&mut self, id: impl FnOnce() -> u16) -> Result<(), NoMemory> {
        if !self.must_not_fragment() {
            return Ok(());
        }
        change_v4(&mut self.mbuf, |header| {
            header.frag = (header.frag.get() & !ipv4::Header::DONT_FRAGMENT).into();
            if header.id.get() == 0 {
                header.id = id().into();
            }
        })
    }

    /// Gives an IPv4 packet another identification.
    pub fn set_id(&mut self, id: u16) -> Result<(), NoMemory> {
        match self.af {
            Af::Inet => change_v4(&mut self.mbuf, |header| header.id = id.into()),
            Af::Inet6 => Ok(()),
        }
    }

    /// Takes out of a TCP header what makes no sense, or refuses it where nobody can know what is meant: a SYN is no FIN, and an
    /// urgent pointer without URG points nowhere; a SYN with RST, a segment with none of SYN, ACK and RST, and one with FIN, PSH or
    /// URG and without ACK are of no connection.
    ///
    /// # Errors
    /// PFRES_NORM, PFRES_MEMORY.
    pub fn repair_tcp(&mut self) -> Result<(), Reason> {
        const FLAGS_AT: usize = core::mem::offset_of!(tcp::Header, flag_bits);
        const URGENT_AT: usize = core::mem::offset_of!(tcp::Header, urgent);

        let Transport::Tcp { header, .. } = &self.transport else {
            return Ok(());
        };
        let mut flags = header.flags();
        if flags.contains(TcpFlags::SYN) {
            if flags.contains(TcpFlags::RST) {
                return Err(Reason::Normalize);
            }
            flags.remove(TcpFlags::FIN);
        } else if !flags.intersects(TcpFlags::ACK | TcpFlags::RST) {
            return Err(Reason::Normalize);
        }
        if !flags.contains(TcpFlags::ACK) && flags.intersects(TcpFlags::FIN | TcpFlags::PUSH | TcpFlags::URG) {
            return Err(Reason::Normalize);
        }
        let is_urgent = flags.contains(TcpFlags::URG);
        let (changed, urgent) = (flags != header.flags(), header.urgent.get());
        if changed {
            self.patch_tcp(FLAGS_AT, [flags.bits()]).map_err(|_| Reason::Memory)?;
        }
        if !is_urgent && urgent != 0 {
            self.patch_tcp(URGENT_AT, [0; 2]).map_err(|_| Reason::Memory)?;
        }
        Ok(())
    }

    /// The options of a TCP header, in `room`. Nothing where it is no TCP, or there are none.
    fn tcp_options<'a>(&self, room: &'a mut [u8; tcp::MAX_HEADER_LEN - tcp::HEADER_LEN]) -> Option<&'a [u8]> {
        let Transport::Tcp { header_len, .. } = &self.transport else {
            return None;
        };
        let options = room.get_mut(..usize::from(*header_len).checked_sub(tcp::HEADER_LEN)?)?;
        let offset = usize::from(self.offset) + tcp::HEADER_LEN;
        (!options.is_empty() && Mbuf::copy(&self.mbuf, offset, options)).then_some(options)
    }

    /// Lowers the maximum segment size in the options of a SYN to `most`, wherever it stands there.
    pub fn limit_mss(&mut self, most: u16) -> Result<(), NoMemory> {
        let is_syn = matches!(&self.transport, Transport::Tcp { header, .. } if header.flags().contains(TcpFlags::SYN));
        let mut room = [0; tcp::MAX_HEADER_LEN - tcp::HEADER_LEN];
        let Some(options) = self.tcp_options(&mut room).filter(|_| is_syn) else {
            return Ok(());
        };
        for located in tcp::Options::new(options).map_while(Result::ok) {
            if let TcpOption::Mss(mss) = located.option
                && mss > most
            {
                self.patch_tcp(tcp::HEADER_LEN + located.offset + 2, most.to_be_bytes())?;
            }
        }
        Ok(())
    }

    /// The timestamps of a TCP segment. The first option counts; what follows a malformed one is not looked at.
    pub fn timestamps(&self) -> Option<Timestamps> {
        let mut room = [0; tcp::MAX_HEADER_LEN - tcp::HEADER_LEN];
        let options = self.tcp_options(&mut room)?;
        tcp::Options::new(options)
            .map_while(Result::ok)
            .find_map(|located| match located.option {
                TcpOption::Timestamps { val, ecr } => Some(Timestamps {
                    at: tcp::HEADER_LEN + located.offset + 2,
                    val,
                    ecr,
                }),
                _ => None,
            })
    }

    /// Writes other timestamps in the place of those that [`timestamps`](Self::timestamps) has found.
    pub fn set_timestamps(&mut self, found: &Timestamps, val: u32, ecr: u32) -> Result<(), NoMemory> {
        if (val, ecr) == (found.val, found.ecr) {
            return Ok(());
        }
        let [a, b, c, d] = val.to_be_bytes();
        let [e, f, g, h] = ecr.to_be_bytes();
        self.patch_tcp(found.at, [a, b, c, d, e, f, g, h])
    }

    /// Writes bytes into the TCP header, `at` from its start, and updates its checksum.
    fn patch_tcp<const N: usize>(&mut self, at: usize, new: [u8; N]) -> Result<(), NoMemory> {
        let Transport::Tcp { header, .. } = &mut self.transport else {
            return Ok(());
        };
        let offset = usize::from(self.offset);
        self.mbuf.settle_checksums(self.direction)?;
        let bytes = self.mbuf.head_mut(offset + (at + N).max(tcp::HEADER_LEN))?;
        let segment = bytes.get_mut(offset..).ok_or(NoMemory)?;
        let field = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>());
        let field = field.ok_or(NoMemory)?;
        let mut delta = Delta::new();
        delta.replace_at(at, *field, new);
        *field = new;
        let (written, _) = tcp::Header::mut_from_prefix(segment).map_err(|_| NoMemory)?;
        written.checksum = delta.apply(written.checksum.get()).into();
        *header = *written;
        Ok(())
    }
}
