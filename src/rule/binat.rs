//! Matching a binat rule from the outside: the packet that comes in is one that an inside host's packet would be answered by.

use super::{Rule, Subject, Surroundings};

impl Rule {
    /// What the rule is to look at where a packet comes in to one of its outside addresses: the packet as it would go the other way
    /// before its translation, but for its own direction. Nothing for any other packet.
    pub fn from_outside(&self, subject: &Subject, around: &Surroundings<'_>) -> Option<Subject> {
        let (pool, interfaces) = (self.pool(around.section)?, around.interfaces);
        // A rule of one family: its addresses would be compared bit by bit with another's.
        if self.af.is_some_and(|af| af != subject.af) {
            return None;
        }
        let inside = pool.inside(interfaces, &subject.dst, &self.src.network(interfaces, subject.af)?)?;
        Some(Subject {
            src: inside,
            dst: subject.src,
            ports: subject.ports.map(|(src, dst)| (dst, src)),
            ..*subject
        })
    }

    /// Whether the rule is about a packet that comes in to one of its outside addresses; of a fragment, whether it may be. A rule with
    /// `no` has no outside address, and is about packets of its own words. One that calls an anchor says nothing of outside addresses:
    /// whom it is for is up to the rules within, but for the other end's address.
    #[inline(never)]
    pub(super) fn matches_from_outside(&self, subject: &Subject, around: &Surroundings<'_>) -> bool {
        if self.call.is_some() {
            return self.may_call_from_outside(subject, around);
        }
        if !self.has_pool() {
            return self.matches(subject, around);
        }
        self.from_outside(subject, around)
            .is_some_and(|swapped| match subject.fragment {
                true => self.may_match(&swapped, around),
                false => self.matches(&swapped, around),
            })
    }
}
