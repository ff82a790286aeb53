//! Which bytes of a packet have passed, where its fragments pass at once: `fragment crop` and `fragment drop-ovl`.
//!
//! # Locking
//! Under the lock of [`Fragments`](super::fragments::Fragments).

use crate::mem::KVec;
use crate::packet::Part;

use super::datagram::Refused;

/// The most ranges that are kept of a packet: as many gaps as fragments that overtake each other make.
const MOST_RANGES: usize = 64;

/// Bytes that have passed.
#[derive(Default)]
pub(super) struct Ranges {
    /// Start and end, in order, with gaps between them.
    passed: KVec<(u16, u16)>,
    /// Where the packet ends, once its last fragment has passed.
    total: Option<u16>,
    highest: u16,
}

impl Ranges {
    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.passed.len()
    }

    /// Lets of a part pass what has not passed yet, up to the first byte that has: start and end of it. With `strict`, a part of
    /// which a byte has passed makes the packet void.
    pub(super) fn add(&mut self, part: &Part, strict: bool) -> Result<(u16, u16), Refused> {
        let contradicts = match self.total {
            Some(total) if part.more => part.end >= total,
            Some(total) => part.end != total,
            None => !part.more && part.end < self.highest,
        };
        if contradicts {
            return Err(Refused::Void);
        }
        let (mut start, mut end) = (part.start, part.end);
        let mut at = self.passed.partition_point(|(_, end)| *end < start);
        if let Some((from, to)) = self.passed.get(at)
            && *from <= start
        {
            // It begins where these have passed, or right behind them.
            start = start.max(*to);
            at += 1;
        }
        if start >= end {
            return Err(if strict { Refused::Void } else { Refused::Repeated });
        }
        if let Some((from, _)) = self.passed.get(at) {
            end = end.min(*from);
        }
        if strict && (start, end) != (part.start, part.end) {
            return Err(Refused::Void);
        }
        self.insert(at, start, end)?;
        if !part.more {
            self.total = Some(part.end);
        }
        self.highest = self.highest.max(part.end);
        Ok((start, end))
    }

    /// Adds a range that lies before the one at `at`, and overlaps none.
    fn insert(&mut self, at: usize, start: u16, end: u16) -> Result<(), Refused> {
        let joins_next = self.passed.get(at).is_some_and(|(from, _)| *from == end);
        let joins_last = at > 0 && self.passed.get(at - 1).is_some_and(|(_, to)| *to == start);
        match (joins_last, joins_next) {
            (true, true) => {
                let to = self.passed.get(at).map_or(end, |(_, to)| *to);
                if let Some(last) = self.passed.get_mut(at - 1) {
                    last.1 = to;
                }
                if let Some(tail) = self.passed.get_mut(at..) {
                    tail.rotate_left(1);
                }
                self.passed.pop();
            }
            (true, false) => {
                if let Some(last) = self.passed.get_mut(at - 1) {
                    last.1 = end;
                }
            }
            (false, true) => {
                if let Some(next) = self.passed.get_mut(at) {
                    next.0 = start;
                }
            }
            (false, false) => {
                if self.passed.len() >= MOST_RANGES {
                    return Err(Refused::Void);
                }
                self.passed.push((start, end))?;
                if let Some(tail) = self.passed.get_mut(at..) {
                    tail.rotate_right(1);
                }
            }
        }
        Ok(())
    }
}
