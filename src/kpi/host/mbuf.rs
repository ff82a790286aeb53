//! mbuf(9) on a host: a packet in two vectors, so that a test can put the border between them wherever it hurts.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::{NoMemory, memory};
use crate::kpi::Direction;

/// A packet, from its IP header on: a pointer to it, as mbuf(9) has it, that is handed from call to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mbuf(Box<Parts>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parts {
    /// The first segment.
    head: Vec<u8>,
    /// All that does not lie in the first segment.
    rest: Vec<u8>,
    from_pf: bool,
    /// 0 for none.
    queue: u32,
    refragmented: bool,
    tag: u16,
}

impl Mbuf {
    fn of(head: Vec<u8>, rest: Vec<u8>) -> Self {
        let parts = Parts {
            head,
            rest,
            ..Parts::default()
        };
        Mbuf(Box::new(parts))
    }

    /// A packet of these bytes in one segment.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Mbuf::of(bytes.into(), Vec::new())
    }

    /// A packet whose first segment ends after `first` bytes.
    pub fn split(bytes: &[u8], first: usize) -> Self {
        let (head, rest) = bytes.split_at(first.min(bytes.len()));
        Mbuf::of(head.to_vec(), rest.to_vec())
    }

    /// All bytes of the packet.
    pub fn to_bytes(mut self) -> Vec<u8> {
        self.0.head.append(&mut self.0.rest);
        self.0.head
    }

    /// A new packet of `len` zero bytes, in one segment.
    pub fn new(len: usize) -> Option<Self> {
        memory::may_allocate().then(|| Mbuf::from_bytes(vec![0; len]))
    }

    /// Notes that this answers `packet`, and leaves by the interface that the other came in by where the address that it goes to
    /// does not say which one. A host has no such interfaces.
    pub fn answers(&mut self, packet: &Mbuf) {
        let _ = packet;
    }

    /// The whole packet's length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.head.len() + self.0.rest.len()
    }

    /// Whether there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first segment's bytes.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.0.head
    }

    /// m_copydata(9): fills `to` from `offset` on, or says that the packet ends before.
    pub fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        if offset.checked_add(to.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        let mut to = to;
        self.visit(offset, to.len(), |part| {
            let (now, later) = core::mem::take(&mut to).split_at_mut(part.len());
            now.copy_from_slice(part);
            to = later;
        });
        true
    }

    /// Visits `len` bytes from `offset` on, segment by segment, as far as the packet goes.
    pub fn visit(&self, offset: usize, len: usize, mut visit: impl FnMut(&[u8])) {
        let end = offset.saturating_add(len);
        let mut start = 0;
        for segment in [&self.0.head, &self.0.rest] {
            let from = offset.clamp(start, start + segment.len()) - start;
            let to = end.clamp(start, start + segment.len()) - start;
            if from < to {
                visit(&segment[from..to]);
            }
            start += segment.len();
        }
    }

    /// Makes the first `len` bytes contiguous and ours to write (m_pullup, m_makewritable), and gives them. `len` is at
    /// most the packet's length.
    pub fn head_mut(&mut self, len: usize) -> Result<&mut [u8], NoMemory> {
        if self.0.head.len() < len {
            if !memory::may_allocate() {
                return Err(NoMemory);
            }
            let missing = (len - self.0.head.len()).min(self.0.rest.len());
            self.0.head.extend(self.0.rest.drain(..missing));
        }
        self.0.head.get_mut(..len).ok_or(NoMemory)
    }

    /// m_split(9): keeps the first `at` bytes and gives the others, as a packet without marks. `at` is at most the packet's length;
    /// where there is no memory, the packet is as before.
    pub fn split_off(&mut self, at: usize) -> Result<Self, NoMemory> {
        if at > self.len() || !memory::may_allocate() {
            return Err(NoMemory);
        }
        let (head, rest) = match at.checked_sub(self.0.head.len()) {
            Some(at) => (Vec::new(), self.0.rest.split_off(at)),
            None => (self.0.head.split_off(at), std::mem::take(&mut self.0.rest)),
        };
        Ok(Mbuf::of(head, rest))
    }

    /// m_cat(9): puts the bytes of another packet behind those of this one. Its marks are lost, and what a network interface has
    /// verified or is to compute is forgotten.
    pub fn append(&mut self, mut other: Self) {
        self.0.rest.append(&mut other.0.head);
        self.0.rest.append(&mut other.0.rest);
    }

    /// m_adj(9): takes the first `len` bytes away.
    pub fn trim_front(&mut self, len: usize) {
        let from_head = len.min(self.0.head.len());
        self.0.head.drain(..from_head);
        self.0.rest.drain(..(len - from_head).min(self.0.rest.len()));
    }

    /// m_adj(9): takes all but the first `len` bytes away.
    pub fn truncate(&mut self, len: usize) {
        self.0.head.truncate(len);
        self.0.rest.truncate(len - self.0.head.len());
    }

    /// M_PREPEND(9): the packet with `len` bytes of zeros in front, at most 200. Where there is no memory, it is freed.
    pub fn prepend(mut self, len: usize) -> Option<Self> {
        if len > Self::MOST_PREPENDED || !memory::may_allocate() {
            return None;
        }
        self.0.head.splice(..0, std::iter::repeat_n(0, len));
        Some(self)
    }

    /// The most bytes that [`prepend`](Self::prepend) puts in front.
    pub const MOST_PREPENDED: usize = 200;

    /// Computes what the network interface was to compute before the bytes it covers change (M_CSUM), and forgets what
    /// one has verified. No host interface does either.
    pub fn settle_checksums(&mut self, _direction: Direction) -> Result<(), NoMemory> {
        Ok(())
    }

    /// Puts the packet into a queue, by its number.
    pub fn set_queue(&mut self, queue: u32) {
        self.0.queue = queue;
    }

    /// The number of the queue that it was put into; 0 for none.
    pub fn queue(&self) -> u32 {
        self.0.queue
    }

    /// A packet of the same bytes, and nothing else in common.
    pub fn duplicate(&self) -> Option<Self> {
        memory::may_allocate().then(|| self.clone())
    }

    /// Whether a network interface is to cut it into segments that fit (M_CSUM_TSOv4). No host interface does.
    pub fn is_cut_later(&self) -> bool {
        false
    }

    /// Whether pf sent this packet itself: it passes.
    #[inline]
    pub fn is_from_pf(&self) -> bool {
        self.0.from_pf
    }

    /// The number of the tag that a rule gave the packet; 0 for none.
    #[inline]
    pub fn tag(&self) -> u16 {
        self.0.tag
    }

    /// Gives the packet a tag.
    pub fn set_tag(&mut self, tag: u16) -> Result<(), NoMemory> {
        self.0.tag = tag;
        Ok(())
    }

    /// Marks the packet as pf's own.
    pub fn mark_from_pf(&mut self) -> Result<(), NoMemory> {
        self.0.from_pf = true;
        Ok(())
    }

    /// Whether this is a fragment of what pf has put together and judged on the way in, and cut again.
    #[inline]
    pub fn is_refragmented(&self) -> bool {
        self.0.refragmented
    }

    /// Marks the packet as such a fragment.
    pub fn mark_refragmented(&mut self) -> Result<(), NoMemory> {
        self.0.refragmented = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_however_they_are_split() {
        let bytes: Vec<u8> = (0..100).collect();
        for first in [0, 1, 19, 20, 99, 100] {
            let mut packet = Mbuf::split(&bytes, first);
            let mut copy = [0; 30];
            assert!(packet.copy(15, &mut copy));
            assert_eq!(copy, bytes[15..45]);
            assert!(!packet.copy(71, &mut copy));
            let mut seen = Vec::new();
            packet.visit(10, 60, |part| seen.extend_from_slice(part));
            assert_eq!(seen, bytes[10..70]);
            packet.head_mut(40).unwrap()[39] = 0xff;
            assert_eq!(packet.to_bytes()[39..41], [0xff, 40]);
        }
    }

    #[test]
    fn a_packet_is_taken_apart_and_put_together_again() {
        let bytes: Vec<u8> = (0..100).collect();
        for first in [0, 1, 19, 20, 99, 100] {
            for at in [0, 1, 20, 50, 100] {
                let mut packet = Mbuf::split(&bytes, first);
                let mut rest = packet.split_off(at).unwrap();
                assert_eq!((packet.len(), rest.len()), (at, 100 - at));
                assert_eq!(rest.clone().to_bytes(), bytes[at..]);
                rest.truncate(30);
                rest.trim_front(10);
                assert_eq!(
                    rest.clone().to_bytes(),
                    bytes[at..].get(10..30.min(100 - at)).unwrap_or_default()
                );
                packet.append(rest.prepend(3).unwrap());
                let together = packet.to_bytes();
                assert_eq!(together[..at], bytes[..at]);
                assert_eq!(together[at..at + 3], [0; 3]);
            }
            assert_eq!(Mbuf::split(&bytes, first).split_off(101), Err(NoMemory));
        }
    }
}
