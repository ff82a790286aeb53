//! Tags: the names that rules give packets and ask for, as numbers.
//!
//! # Life cycle
//! A tag has its number as long as a rule has it, loaded or not yet, or a state's rule does. The number is what a packet carries from
//! one interface to the next.
//!
//! # Locking
//! The table of names is under the control mutex. A tag is immutable.

use pf_abi::{CName, PF_TAG_NAME_SIZE};

use crate::kpi::Errno;
use crate::mem::{KArc, KVec};

/// Tags that there may be.
const MOST: usize = 50_000;

/// The name of a tag.
type TagName = CName<PF_TAG_NAME_SIZE>;

/// A tag and its number.
#[derive(Debug)]
pub struct Tag {
    number: u16,
    name: TagName,
}

impl Tag {
    /// The number: never 0.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// All tags that there are.
#[derive(Debug, Default)]
pub struct Tags(KVec<KArc<Tag>>);

impl Tags {
    /// The tag with this name, which gets a number if it has none.
    ///
    /// # Errors
    /// EBUSY for too many, as NetBSD's pf answers; ENOMEM.
    pub fn get(&mut self, name: &TagName) -> Result<KArc<Tag>, Errno> {
        if let Some(tag) = self.0.iter().find(|tag| tag.name == *name) {
            return Ok(tag.clone());
        }
        // The first that nobody has any more, or a new one: numbers are places, from 1 on.
        let place = self.0.iter().position(|tag| !tag.is_shared()).unwrap_or(self.0.len());
        if place >= MOST {
            return Err(Errno::Ebusy);
        }
        let number = u16::try_from(place + 1).map_err(|_| Errno::Ebusy)?;
        let tag = KArc::new(Tag { number, name: *name })?;
        match self.0.get_mut(place) {
            Some(slot) => *slot = tag.clone(),
            None => self.0.push(tag.clone())?,
        }
        Ok(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TagName {
        CName::new(text).unwrap()
    }

    #[test]
    fn a_tag_has_its_number_as_long_as_somebody_has_it() {
        let mut tags = Tags::default();
        let a = tags.get(&name("a")).unwrap();
        let b = tags.get(&name("b")).unwrap();
        assert_eq!([a.number(), b.number()], [1, 2]);
        assert_eq!(tags.get(&name("a")).unwrap().number(), 1);
        drop(a);
        assert_eq!(tags.get(&name("a")).unwrap().number(), 1, "nobody has taken it");
        assert_eq!(tags.get(&name("c")).unwrap().number(), 1, "now somebody does");
        assert_eq!(tags.get(&name("a")).unwrap().number(), 1, "nobody had c");
        assert_eq!(b.number(), 2);
    }
}
