//! What a router does to a header: the TTL or hop limit goes down by one; and whether it may cut the packet.

use zerocopy::FromBytes;

use crate::kpi::{Mbuf, NoMemory};
use crate::wire::checksum::Delta;
use crate::wire::{Bytes, ipv4, ipv6};

/// Lowers the TTL of a packet whose IP header has been parsed. False, and it is as it was, where there is none left.
pub(crate) fn lower(packet: &mut Mbuf) -> Result<bool, NoMemory> {
    let version = packet.take::<u8>(0).map_err(|_| NoMemory)? >> 4;
    if version == 4 {
        let (header, _) = ipv4::Header::mut_from_prefix(packet.head_mut(ipv4::HEADER_LEN)?).map_err(|_| NoMemory)?;
        if header.ttl <= 1 {
            return Ok(false);
        }
        let word = |ttl: u8, proto: u8| u16::from_be_bytes([ttl, proto]);
        let mut delta = Delta::new();
        delta.replace_u16(word(header.ttl, header.proto.0), word(header.ttl - 1, header.proto.0));
        header.ttl -= 1;
        header.checksum = delta.apply(header.checksum.get()).into();
    } else {
        let (header, _) = ipv6::Header::mut_from_prefix(packet.head_mut(ipv6::HEADER_LEN)?).map_err(|_| NoMemory)?;
        if header.hop_limit <= 1 {
            return Ok(false);
        }
        header.hop_limit -= 1;
    }
    Ok(true)
}

/// Whether a router may cut the packet into fragments: IPv4 without the don't-fragment bit.
pub(crate) fn may_be_fragmented(packet: &Mbuf) -> bool {
    const DONT_FRAGMENT: u8 = 0x40;

    let is_v4 = packet.take::<u8>(0).is_ok_and(|first| first >> 4 == 4);
    is_v4 && packet.take::<u8>(6).is_ok_and(|flags| flags & DONT_FRAGMENT == 0)
}
