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
