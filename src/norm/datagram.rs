//! A packet of which not all parts are there: what is there, in order, without overlaps.
//!
//! Of two fragments that both have a byte, the older one's counts in IPv4, so that nobody can change what has been seen. In IPv6
//! they make the whole packet void (RFC 5722), but for a repetition of the very same part.
//!
//! # Locking
//! Under the lock of [`Fragments`](super::fragments::Fragments) while it waits; then it belongs to who completes it.

use pf_abi::Reason;

use crate::kpi::{Direction, Mbuf, NoMemory};
use crate::mem::KVec;
use crate::packet::{Cut, Front, Packet, Part};

/// The most parts that a packet may have: of 64 KiB over the least MTU that hosts have in practice (576) there are 119. Each costs a
/// place in a sorted list.
pub(super) const MOST_PARTS: usize = 256;

/// A piece of the data.
struct Piece {
    start: u16,
    end: u16,
    /// The data; of the first piece (`start` 0), behind its headers.
    mbuf: Mbuf,
}

/// What a packet consists of as far as it has come.
pub(super) struct Datagram {
    /// By `start`, without overlaps.
    pieces: KVec<Piece>,
    /// The headers of the first piece, once it is there.
    front: Option<Front>,
    id: u32,
    /// Where the data ends, once the last part is there.
    total: Option<u16>,
    /// Bytes of data that are there.
    have: u16,
    /// The highest end of any part.
    highest: u16,
    /// Bytes of data in the longest part.
    longest: u16,
    /// Overlaps make it void.
    strict: bool,
}

/// Why a part was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// All of it is there already.
    Repeated,
    /// It contradicts what is there, which cannot be believed either.
    Void,
    /// There is no memory for it.
    NoMemory,
}

impl From<NoMemory> for Refused {
    fn from(NoMemory: NoMemory) -> Self {
        Refused::NoMemory
    }
}

impl Datagram {
    /// Without any part. `strict` as in IPv6.
    pub(super) fn new(id: u32, strict: bool) -> Self {
        Datagram {
            pieces: KVec::new(),
            front: None,
            id,
            total: None,
            have: 0,
            highest: 0,
            longest: 0,
            strict,
        }
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// How many bytes of data there are.
    pub(super) fn bytes(&self) -> usize {
        self.have.into()
    }

    /// Whether all of it is there.
    pub(super) fn is_complete(&self) -> bool {
        self.total == Some(self.have)
    }

    /// Takes in a part. `mbuf` begins with the part's headers and ends with its data.
    pub(super) fn add(&mut self, part: &Part, mbuf: Mbuf) -> Result<(), Refused> {
        let contradicts = match self.total {
            Some(total) if part.more => part.end >= total,
            Some(total) => part.end != total,
            None => !part.more && part.end < self.highest,
        };
        if contradicts {
            return Err(Refused::Void);
        }
        if self.strict && self.overlaps(part) {
            let is_same = |piece: &Piece| (piece.start, piece.end) == (part.start, part.end);
            return Err(if self.pieces.iter().any(is_same) {
                Refused::Repeated
            } else {
                Refused::Void
            });
        }
        self.insert(part, mbuf)?;
        if !part.more {
            self.total = Some(part.end);
        }
        self.highest = self.highest.max(part.end);
        self.longest = self.longest.max(part.end - part.start);
        Ok(())
    }

    fn overlaps(&self, part: &Part) -> bool {
        let first = self.pieces.partition_point(|piece| piece.end <= part.start);
        self.pieces.get(first).is_some_and(|piece| piece.start < part.end)
    }

    /// Puts what is new of a part into its places.
    fn insert(&mut self, part: &Part, mut mbuf: Mbuf) -> Result<(), Refused> {
        let Part { mut start, end, .. } = *part;
        // The headers of what begins a packet stay; they count as part of its first piece.
        let mut ahead = 0;
        if start == 0 && self.pieces.first().is_none_or(|piece| piece.start != 0) {
            part.front.strip_fragment_header(&mut mbuf)?;
            ahead = part.front.header_len();
        } else {
            part.front.strip(&mut mbuf);
        }
        let mut at = self.pieces.partition_point(|piece| piece.end <= start);
        let mut is_new = false;
        // Each turn comes past a piece.
        loop {
            let (next, next_end) = match self.pieces.get(at) {
                Some(piece) if piece.start < end => (piece.start, piece.end),
                _ => (end, end),
            };
            if start < next {
                if self.pieces.len() >= MOST_PARTS {
                    return Err(Refused::Void);
                }
                let rest = split_if(&mut mbuf, ahead + usize::from(next - start), next < end)?;
                let piece = Piece { start, end: next, mbuf };
                self.pieces.push(piece)?;
                if let Some(tail) = self.pieces.get_mut(at..) {
                    tail.rotate_right(1);
                }
                if start == 0 {
                    self.front = Some(part.front);
                }
                self.have += next - start;
                (at, ahead, is_new) = (at + 1, 0, true);
                match rest {
                    Some(rest) => (mbuf, start) = (rest, next),
                    None => break,
                }
            }
            if next_end >= end {
                break;
            }
            mbuf.trim_front(usize::from(next_end - start));
            (start, at) = (next_end, at + 1);
        }
        if is_new { Ok(()) } else { Err(Refused::Repeated) }
    }

    /// Puts the packet together, and says how it is cut again.
    pub(super) fn into_packet(self, direction: Direction) -> Result<(Packet, Option<Cut>), Reason> {
        let (Some(front), Some(total)) = (self.front, self.total) else {
            return Err(Reason::Fragment);
        };
        let mut pieces = self.pieces.into_iter();
        let mut whole = pieces.next().ok_or(Reason::Fragment)?.mbuf;
        for piece in pieces {
            whole.append(piece.mbuf);
        }
        front.complete(&mut whole, total)?;
        let mut packet = Packet::new(whole, direction);
        packet.parse()?;
        Ok((packet, Cut::new(front, self.id, self.longest)))
    }
}

/// Takes off what follows the first `at` bytes, if anything does.
fn split_if(mbuf: &mut Mbuf, at: usize, more: bool) -> Result<Option<Mbuf>, NoMemory> {
    if more { mbuf.split_off(at).map(Some) } else { Ok(None) }
}
