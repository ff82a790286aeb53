//! UDP (RFC 768): the header.
//!
//! # Overview
//!
//! [`Header::check_len`] compares the length with what is there. A checksum of zero is none; over IPv6 every packet must have one
//! (RFC 8200, 8.1), but for tunnels (RFC 6935). [`super::checksum`] keeps a checksum from becoming zero.
//!
//! # Life cycle, locking
//!
//! Plain values.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Error;

/// Bytes of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The source port.
    pub src_port: U16,
    /// The destination port.
    pub dst_port: U16,
    /// Bytes of header and data together. To be used through [`Header::check_len`].
    pub len: U16,
    /// The checksum of pseudo-header, header and data; zero if there is none.
    pub checksum: U16,
}

impl Header {
    /// Where `checksum` is in the header, in bytes.
    pub const CHECKSUM_OFFSET: usize = core::mem::offset_of!(Self, checksum);

    /// Bytes of header and data together: 8 or more, and not more than `available`, which is what the IP payload has from this
    /// header on. For a whole packet: of a fragment, or of one quoted in an ICMP error, not all is there.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the stated length is below 8, [`Error::Short`] if it is more than `available`.
    #[inline]
    pub fn check_len(&self, available: usize) -> Result<usize, Error> {
        let len = usize::from(self.len.get());
        if len < HEADER_LEN {
            Err(Error::Length)
        } else if len > available {
            Err(Error::Short)
        } else {
            Ok(len)
        }
    }

    /// Whether the sender has computed a checksum.
    #[inline]
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.checksum != U16::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::{Delta, Sum};
    use super::super::{Addr, Bytes, Proto, ipv4};
    use super::*;

    /// A DNS query over IPv4.
    const DNS: [u8; 56] = [
        0x45, 0x00, 0x00, 0x38, 0x1c, 0x46, 0x00, 0x00, 0x40, 0x11, 0x4a, 0x39, 0x0a, 0x00, 0x00, 0x02, 0x0a, 0x00,
        0x00, 0x35, 0x9c, 0x40, 0x00, 0x35, 0x00, 0x24, 0x2b, 0x00, 0x1a, 0x2b, 0x01, 0x00, 0x00, 0x01, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x06, 0x6e, 0x65, 0x74, 0x62, 0x73, 0x64, 0x03, 0x6f, 0x72, 0x67, 0x00, 0x00, 0x01,
        0x00, 0x01,
    ];

    #[test]
    fn fields_of_a_dns_query() {
        let ip: ipv4::Header = DNS.take(0).unwrap();
        let extent = ip.extent(DNS.len()).unwrap();
        let header: Header = DNS.take(extent.header).unwrap();
        assert_eq!((header.src_port.get(), header.dst_port.get()), (40000, 53));
        assert_eq!(header.check_len(extent.payload()), Ok(36));
        assert!(header.has_checksum());
        assert_eq!(DNS[20 + Header::CHECKSUM_OFFSET..][..2], [0x2b, 0x00]);
        let sum = Sum::pseudo(&ip.src(), &ip.dst(), Proto::UDP, 36).with(&DNS[20..]);
        assert!(sum.is_valid());
    }

    #[test]
    fn impossible_lengths_are_told() {
        let with = |len: u16| Header {
            len: len.into(),
            ..DNS.take(20).unwrap()
        };
        assert_eq!(with(36).check_len(35), Err(Error::Short));
        assert_eq!(with(36).check_len(40), Ok(36));
        assert_eq!(with(8).check_len(8), Ok(8));
        assert_eq!(with(7).check_len(36), Err(Error::Length));
        assert_eq!(with(0).check_len(36), Err(Error::Length));
    }

    /// Source translation of the query, to each port in turn: the checksum passes zero on the way.
    #[test]
    fn a_translation_updates_both_checksums() {
        let ip: ipv4::Header = DNS.take(0).unwrap();
        let header: Header = DNS.take(20).unwrap();
        let outside = Addr::from_v4([203, 0, 113, 9]);
        let mut addrs = Delta::new();
        addrs.replace_addr(&ip.src(), &outside);

        let mut translated = ip;
        translated.src = outside.octets_v4();
        translated.checksum = addrs.apply(ip.checksum.get()).into();
        assert!(translated.checksum_is_valid(&[]));

        let mut zeros = 0;
        for port in 0..=0xffff {
            let mut ports = Delta::new();
            ports.replace_u16(header.src_port.get(), port);
            let delta = addrs + ports;
            let fresh = Sum::pseudo(&outside, &ip.dst(), Proto::UDP, 36)
                .with(&port.to_be_bytes())
                .with(&DNS[22..26])
                .with(&[0, 0])
                .with(&DNS[28..]);
            let checksum = delta.apply_udp(header.checksum.get());
            assert_eq!(checksum, fresh.udp_checksum());
            zeros += u32::from(fresh.checksum() == 0);
            assert_eq!(delta.apply_udp(0), 0);
        }
        assert_ne!(zeros, 0);
    }
}
