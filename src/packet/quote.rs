//! The packet that an ICMP error is about, as far as the error quotes it.

use super::{Packet, Transport};
use crate::kpi::Direction;
use crate::state::{Host, TreeKey};
use crate::wire::icmp::Class;
use crate::wire::tcp::Seq;
use crate::wire::{Af, Bytes, Error, Proto, icmp, icmp6, ipv4, ipv6, tcp, udp};

/// A quoted packet.
#[derive(Debug, Clone, Copy)]
pub struct Quote {
    af: Af,
    /// Its protocol.
    pub proto: Proto,
    /// Who sent it.
    pub src: Host,
    /// To whom.
    pub dst: Host,
    /// The sequence number, where it is TCP.
    pub seq: Option<Seq>,
    /// Bytes of its IP header, with options or extension headers.
    pub(super) header_len: u16,
    /// Bytes of its transport header that may be rewritten: all that there are of the fixed part.
    pub(super) transport_len: u8,
    /// It is an ICMP query or reply, and its identifier stands for both ports.
    pub(super) has_id: bool,
}

impl Packet {
    /// The packet that this one is an error about.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the quotation; a fragment that does not begin its packet shows no ports, and is
    /// [`Error::Fragment`].
    pub fn quote(&self) -> Result<Quote, Error> {
        let begin = usize::from(self.offset) + icmp::HEADER_LEN;
        let available = (self.len as usize).saturating_sub(begin);
        let mbuf = &self.mbuf;
        let (src, dst, proto, offset) = match self.af {
            Af::Inet => {
                if available < ipv4::HEADER_LEN {
                    return Err(Error::Short);
                }
                let header: ipv4::Header = mbuf.take(begin)?;
                let len = header.header_len(available)?;
                if header.fragment().is_some_and(|fragment| !fragment.is_first()) {
                    return Err(Error::Fragment);
                }
                (header.src(), header.dst(), header.proto, begin + len)
            }
            Af::Inet6 => {
                if available < ipv6::HEADER_LEN {
                    return Err(Error::Short);
                }
                let header: ipv6::Header = mbuf.take(begin)?;
                if header.version() != 6 {
                    return Err(Error::Version);
                }
                let upper = ipv6::walk(mbuf, header.next_header, begin + ipv6::HEADER_LEN, self.len as usize)?;
                if !upper.has_header() {
                    return Err(Error::Fragment);
                }
                (header.src(), header.dst(), upper.proto, upper.offset)
            }
        };
        let quote = Quote {
            af: self.af,
            proto,
            src: Host { addr: src, port: 0 },
            dst: Host { addr: dst, port: 0 },
            seq: None,
            header_len: (offset - begin) as u16,
            transport_len: 0,
            has_id: false,
        };
        quote.with_transport(self, offset)
    }
}

impl Quote {
    /// Reads what is there of the transport header at `offset`. The eight bytes that every error has to quote hold the ports.
    fn with_transport(mut self, error: &Packet, offset: usize) -> Result<Self, Error> {
        let available = (error.len as usize).saturating_sub(offset);
        let fixed = match self.proto {
            Proto::TCP => tcp::HEADER_LEN,
            Proto::UDP => udp::HEADER_LEN,
            Proto::ICMP | Proto::ICMPV6 => icmp::HEADER_LEN,
            _ => return Ok(self),
        };
        if available < size_of::<tcp::Quoted>() {
            return Err(Error::Short);
        }
        self.transport_len = available.min(fixed) as u8;
        match self.proto {
            Proto::TCP | Proto::UDP => {
                let header: tcp::Quoted = error.mbuf.take(offset)?;
                self.src.port = header.src_port.get();
                self.dst.port = header.dst_port.get();
                self.seq = (self.proto == Proto::TCP).then(|| Seq(header.seq.get()));
            }
            _ => {
                let header: icmp::Header = error.mbuf.take(offset)?;
                let class = if self.proto == Proto::ICMP {
                    icmp::class(header.kind)
                } else {
                    icmp6::class(header.kind)
                };
                self.has_id = matches!(class, Class::Query | Class::Reply);
                if self.has_id {
                    self.src.port = header.id.get();
                    self.dst.port = header.id.get();
                }
            }
        }
        Ok(self)
    }

    /// The key of the state that the quoted packet belongs to, in the tree of the error's own direction: an error that comes in is
    /// about a packet that went out, from the near end to the far one, and the other way round.
    pub fn key(&self, error: &Packet) -> TreeKey {
        let (near, mut far) = match error.direction {
            Direction::In => (self.src, self.dst),
            Direction::Out => (self.dst, self.src),
        };
        if self.has_id {
            far.port = 0;
        }
        TreeKey {
            near,
            far,
            af: self.af,
            proto: self.proto,
        }
    }
}

impl Packet {
    /// Whether this is an ICMP error: a message about another packet.
    pub fn is_error(&self) -> bool {
        matches!(
            self.transport,
            Transport::Icmp {
                class: Class::Error,
                ..
            }
        )
    }
}
