//! Shifting the numbers of a TCP segment: its sequence number, and what it acknowledges, selectively too.
//!
//! Checksums are updated by what changes, as with translated addresses.

use zerocopy::FromBytes;

use super::rewrite::update;
use super::{Packet, Transport};
use crate::kpi::NoMemory;
use crate::state::Peer;
use crate::wire::checksum::Delta;
use crate::wire::tcp::{self, Options, Seq, TcpFlags, TcpOption};

/// By how much the numbers of a segment are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renumber {
    /// Added to its sequence number.
    pub seq: u32,
    /// Taken from what it acknowledges.
    pub ack: u32,
}

impl Renumber {
    /// What becomes of a segment of `src` on its way to `dst`.
    #[inline]
    pub fn forth(src: &Peer, dst: &Peer) -> Self {
        Renumber {
            seq: src.seqdiff,
            ack: dst.seqdiff,
        }
    }

    /// The other way round.
    pub fn back(self) -> Self {
        Renumber {
            seq: self.seq.wrapping_neg(),
            ack: self.ack.wrapping_neg(),
        }
    }

    /// An acknowledgment number as the end knows it whose data it is about. What does not count stays: without the flag, and the
    /// zero that some put into a reset.
    pub fn acked(self, flags: TcpFlags, ack: Seq) -> Seq {
        if !flags.contains(TcpFlags::ACK) || (flags.contains(TcpFlags::RST) && ack == Seq(0)) {
            ack
        } else {
            ack - self.ack
        }
    }

    /// Shifts the numbers in a header, or in as much of it as an ICMP error quotes.
    pub(super) fn apply(self, transport: &mut [u8]) -> Option<()> {
        let mut delta = Delta::new();
        if let Ok((header, options)) = tcp::Header::mut_from_prefix(transport) {
            let old = [header.seq(), header.ack()];
            let new = [old[0] + self.seq, self.acked(header.flags(), old[1])];
            delta.replace_u32(old[0].0, new[0].0);
            delta.replace_u32(old[1].0, new[1].0);
            (header.seq, header.ack) = (new[0].0.into(), new[1].0.into());
            if header.flags().contains(TcpFlags::ACK) && self.ack != 0 {
                self.apply_sack(options, &mut delta);
            }
        } else {
            let (header, _) = tcp::Quoted::mut_from_prefix(transport).ok()?;
            let old = header.seq.get();
            let new = old.wrapping_add(self.seq);
            delta.replace_u32(old, new);
            header.seq = new.into();
        }
        update(transport, tcp::Header::CHECKSUM_OFFSET, |sum| delta.apply(sum));
        Some(())
    }

    /// Shifts the edges of selective acknowledgments (RFC 2018, and the duplicates of RFC 2883). What follows a malformed option
    /// is left as it is; its receiver does not read it either.
    fn apply_sack(self, options: &mut [u8], delta: &mut Delta) {
        let mut copy = [0; tcp::MAX_HEADER_LEN - tcp::HEADER_LEN];
        let Some(copy) = copy.get_mut(..options.len()) else {
            return;
        };
        copy.copy_from_slice(options);
        for located in Options::new(copy).map_while(Result::ok) {
            let TcpOption::Sack(blocks) = located.option else {
                continue;
            };
            let edges = blocks.iter().flat_map(|block| [block.left, block.right]);
            for (at, old) in (located.offset + 2..).step_by(4).zip(edges) {
                let new = old.get().wrapping_sub(self.ack).to_be_bytes();
                delta.replace_at(at, old.get().to_be_bytes(), new);
                if let Some(to) = options.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                    *to = new;
                }
            }
        }
    }
}

impl Packet {
    /// Shifts the numbers of a TCP segment; of what is none, nothing.
    pub fn renumber(&mut self, by: Renumber) -> Result<(), NoMemory> {
        let Transport::Tcp { header_len, .. } = &self.transport else {
            return Ok(());
        };
        let offset = usize::from(self.offset);
        let end = offset + usize::from(*header_len);
        self.mbuf.settle_checksums(self.direction)?;
        let bytes = self.mbuf.head_mut(end)?;
        let transport = bytes.get_mut(offset..).ok_or(NoMemory)?;
        by.apply(transport).ok_or(NoMemory)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;
    use crate::wire::checksum::Sum;

    /// A header with options of any bytes, or with selective acknowledgments behind some padding, under a right checksum.
    fn headers() -> impl Strategy<Value = Vec<u8>> {
        let noise = proptest::collection::vec(any::<u8>(), 0..=10).prop_map(|words| words.repeat(4));
        let sack = (0usize..4, proptest::collection::vec(any::<u32>(), 2..=8)).prop_map(|(padding, mut edges)| {
            edges.truncate(edges.len() & !1);
            let mut options = std::vec![1; padding];
            options.extend([5, 2 + 4 * edges.len() as u8]);
            options.extend(edges.iter().flat_map(|edge| edge.to_be_bytes()));
            options.resize(options.len().next_multiple_of(4), 0);
            options
        });
        let fixed = proptest::collection::vec(any::<u8>(), tcp::HEADER_LEN);
        (fixed, prop_oneof![noise, sack]).prop_map(|(mut bytes, options)| {
            bytes.extend(options);
            bytes[12] = (bytes.len() as u8) << 2;
            bytes[16..18].fill(0);
            let sum = Sum::new().with(&bytes).checksum();
            bytes[16..18].copy_from_slice(&sum.to_be_bytes());
            bytes
        })
    }

    proptest! {
        #[test]
        fn there_and_back_changes_nothing(before in headers(), seq: u32, ack: u32, len in 8usize..=60) {
            let mut bytes = before.clone();
            let len = len.min(bytes.len());
            let there = Renumber { seq, ack };
            there.apply(&mut bytes[..len]).unwrap();
            if len == bytes.len() {
                prop_assert!(Sum::new().with(&bytes).is_valid());
            }
            // What is a zero for some may come out as a number that the shift makes a zero, and stays one.
            let flags = TcpFlags::from_bits_retain(bytes[13]);
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes[8..12].try_into().unwrap());
            prop_assume!(!flags.contains(TcpFlags::RST) || number(&before) != 0 && number(&bytes) != 0);
            there.back().apply(&mut bytes[..len]).unwrap();
            prop_assert_eq!(bytes, before);
        }
    }

    #[test]
    fn what_is_too_short_for_its_numbers_is_left() {
        let mut bytes = [7; 7];
        assert_eq!(Renumber { seq: 1, ack: 1 }.apply(&mut bytes), None);
        assert_eq!(bytes, [7; 7]);
    }
}
