//! Anchors: rulesets by path, and the numbers by which rules and packets know them.
//!
//! # Overview
//! A path (`spam`, `authpf/alice`) is a tree of names. Each ruleset of it has a number, so that evaluation compares no strings; 0 is
//! the main ruleset. [`Anchors`] gives the numbers out and knows who is whose child; the rules themselves are in
//! [`Config`](super::Config), by number.
//!
//! # Life cycle
//! A ruleset has its number from the first transaction, rule or table that names it, until nothing does: no rules, no children, no
//! rule that calls it, no transaction. Then [`Anchors::sweep`] takes the number back. A [`RulesetName`] outlives that where a
//! state's rule still has it.
//!
//! # Locking
//! The control mutex; packets see none of this but the names, which are immutable.

use pf_abi::{MAXPATHLEN, PF_ANCHOR_NAME_SIZE, PF_RESERVED_ANCHOR};

use crate::kpi::{Errno, NoMemory};
use crate::mem::{KArc, KVec};

/// The main ruleset's number.
pub const MAIN: u16 = 0;
/// Rulesets that there may be.
const MOST: usize = 1 << 15;
/// Rulesets within each other: as deep as evaluation goes.
pub(super) const MAX_DEPTH: usize = 32;

/// A ruleset's number and path.
#[derive(Debug)]
pub struct RulesetName {
    number: u16,
    path: KVec<u8>,
}

impl RulesetName {
    /// The number, by which the ruleset stands in the configuration.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The path, without a `/` at its beginning; empty for the main ruleset.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last part of the path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// A rule's call of an anchor.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called, or whose children are.
    pub anchor: KArc<RulesetName>,
    /// `anchor "spam/*"`: every child, in the order of their names.
    pub wildcard: bool,
    /// How the call was written: 0 for a path from the main ruleset (`/spam`), 1 for one from the rule's own ruleset, and one more
    /// for each `../`.
    pub relative: u8,
}

impl Call {
    /// Writes the call as `home`'s rule has it into `to`, as NetBSD's pf tells it.
    pub fn write(&self, home: &RulesetName, to: &mut [u8]) {
        let mut out = Writer { to, at: 0 };
        let mut path = self.anchor.path();
        if self.relative == 0 {
            out.put(b"/");
        } else {
            let mut from = home.path();
            for _ in 1..self.relative {
                from = from
                    .get(..from.iter().rposition(|byte| *byte == b'/').unwrap_or(0))
                    .unwrap_or_default();
                out.put(b"../");
            }
            path = path.strip_prefix(from).unwrap_or(path);
            path = path.strip_prefix(b"/").unwrap_or(path);
        }
        out.put(path);
        if self.wildcard {
            out.put(if path.is_empty() { b"*" } else { b"/*" });
        }
    }
}

/// Bytes put one behind the other, as far as there is room before a last NUL.
struct Writer<'a> {
    to: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let last = self.to.len().saturating_sub(1);
        for byte in bytes {
            if let Some(slot) = self.to.get_mut(..last).and_then(|to| to.get_mut(self.at)) {
                *slot = *byte;
                self.at += 1;
            }
        }
    }
}

#[derive(Debug)]
struct Anchor {
    name: KArc<RulesetName>,
    parent: u16,
    /// In the order of their names.
    children: KVec<u16>,
}

/// All rulesets by path.
#[derive(Debug)]
pub struct Anchors {
    /// By number.
    known: KVec<Option<Anchor>>,
    /// No number below this one is free.
    lowest: usize,
}

/// The parts of a path.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

impl Anchors {
    /// The main ruleset alone.
    pub fn new() -> Result<Self, NoMemory> {
        let mut known = KVec::new();
        let name = RulesetName {
            number: MAIN,
            path: KVec::new(),
        };
        known.push(Some(Anchor {
            name: KArc::new(name)?,
            parent: MAIN,
            children: KVec::new(),
        }))?;
        Ok(Anchors { known, lowest: 1 })
    }

    fn get(&self, number: u16) -> Option<&Anchor> {
        self.known.get(usize::from(number))?.as_ref()
    }

    fn get_mut(&mut self, number: u16) -> Option<&mut Anchor> {
        self.known.get_mut(usize::from(number))?.as_mut()
    }

    /// One more than the highest number that there has been.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is nothing: never, as the main ruleset is always there.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The name of the ruleset with this number.
    pub fn name(&self, number: u16) -> Option<&KArc<RulesetName>> {
        self.get(number).map(|anchor| &anchor.name)
    }

    /// The rulesets right within another, in the order of their names.
    pub fn children(&self, number: u16) -> &[u16] {
        self.get(number).map_or(&[], |anchor| &anchor.children)
    }

    /// The numbers of all rulesets, each before those within it, and those in the order of their names: an order that does not
    /// depend on what was loaded first.
    pub fn in_order(&self) -> Result<KVec<u16>, NoMemory> {
        let mut order = KVec::with_capacity(self.known.len())?;
        let mut waiting = KVec::with_capacity(self.known.len())?;
        waiting.push(MAIN)?;
        while let Some(number) = waiting.pop() {
            order.push(number)?;
            for child in self.children(number).iter().rev() {
                waiting.push(*child)?;
            }
        }
        Ok(order)
    }

    /// The child of this name, or where it would stand.
    fn child(&self, parent: u16, name: &[u8]) -> Result<u16, usize> {
        let children = self.children(parent);
        children
            .binary_search_by(|child| self.get(*child).map_or(&[][..], |anchor| anchor.name.name()).cmp(name))
            .map(|at| children.get(at).copied().unwrap_or(MAIN))
    }

    /// The number of the ruleset with this path, if it is there. A `/` in front makes no difference.
    pub fn find(&self, path: &[u8]) -> Option<u16> {
        parts(path).try_fold(MAIN, |parent, name| self.child(parent, name).ok())
    }

    /// The same, and where it is not there, it is from now on, with all that it stands in.
    ///
    /// # Errors
    /// EINVAL for a path that is too deep or has too long a name, or `_pf`, which nobody may use; ENOSPC for too many rulesets;
    /// ENOMEM. What was made on the way goes with the next [`sweep`](Self::sweep).
    pub fn find_or_make(&mut self, path: &[u8]) -> Result<u16, Errno> {
        if parts(path).count() > MAX_DEPTH || parts(path).next() == Some(PF_RESERVED_ANCHOR.as_bytes()) {
            return Err(Errno::Einval);
        }
        let mut at = MAIN;
        for name in parts(path) {
            at = match self.child(at, name) {
                Ok(child) => child,
                Err(place) => self.make(at, name, place)?,
            };
        }
        Ok(at)
    }

    fn make(&mut self, parent: u16, name: &[u8], place: usize) -> Result<u16, Errno> {
        let above = self.get(parent).ok_or(Errno::Einval)?.name.path();
        if name.len() >= PF_ANCHOR_NAME_SIZE || above.len() + 1 + name.len() >= MAXPATHLEN {
            return Err(Errno::Einval);
        }
        let mut path = KVec::with_capacity(above.len() + 1 + name.len())?;
        for byte in above.iter().chain((!above.is_empty()).then_some(&b'/')).chain(name) {
            path.push(*byte)?;
        }
        let mut numbers = self.known.iter().enumerate().skip(self.lowest);
        let free = numbers.find(|(_, anchor)| anchor.is_none());
        let free = free.map_or(self.known.len(), |(free, _)| free);
        let number = u16::try_from(free).ok().filter(|_| free < MOST).ok_or(Errno::Enospc)?;
        let anchor = Anchor {
            name: KArc::new(RulesetName { number, path })?,
            parent,
            children: KVec::new(),
        };
        // First what can fail.
        if free == self.known.len() {
            self.known.push(None)?;
        }
        let siblings = &mut self.get_mut(parent).ok_or(Errno::Einval)?.children;
        siblings.push(number)?;
        if let Some(behind) = siblings.get_mut(place..) {
            behind.rotate_right(1);
        }
        if let Some(slot) = self.known.get_mut(free) {
            *slot = Some(anchor);
        }
        self.lowest = free + 1;
        Ok(number)
    }

    /// What `call` of a rule in the ruleset `home` means: `spam`, `../spam/*`, `/spam`. The ruleset is made if it is not there.
    ///
    /// # Errors
    /// EINVAL where `../` leads out of all rulesets, and as [`find_or_make`](Self::find_or_make).
    pub fn call(&mut self, home: u16, call: &[u8]) -> Result<Call, Errno> {
        let mut relative = 0;
        let mut base = MAIN;
        let mut rest = call;
        if !call.starts_with(b"/") {
            (relative, base) = (1, home);
            while let Some(further) = rest.strip_prefix(b"../") {
                if base == MAIN {
                    return Err(Errno::Einval);
                }
                base = self.get(base).ok_or(Errno::Einval)?.parent;
                relative += 1;
                rest = further;
            }
        }
        let wildcard = rest == b"*" || rest.ends_with(b"/*");
        let rest = if wildcard {
            rest.get(..rest.len() - 1).unwrap_or_default()
        } else {
            rest
        };
        let mut path = KVec::new();
        let above = self.get(base).ok_or(Errno::Einval)?.name.path();
        for byte in above.iter().chain(b"/").chain(rest) {
            path.push(*byte)?;
        }
        let number = self.find_or_make(&path)?;
        if number == MAIN && !wildcard {
            return Err(Errno::Einval);
        }
        let anchor = self.get(number).ok_or(Errno::Einval)?.name.clone();
        Ok(Call {
            anchor,
            wildcard,
            relative,
        })
    }

    /// Takes back the numbers of rulesets that nobody needs: `mark` is called with a function by which it names those that are
    /// needed; whatever they stand in is, too. `gone` hears of the others.
    pub fn sweep(&mut self, mark: impl FnOnce(&mut dyn FnMut(u16)), mut gone: impl FnMut(u16)) -> Result<(), NoMemory> {
        let mut needed = KVec::filled(false, self.known.len())?;
        mark(&mut |number| {
            let mut at = number;
            // Up to the main ruleset, or to what is marked already.
            while at != MAIN
                && let Some(seen) = needed.get_mut(usize::from(at))
                && !core::mem::replace(seen, true)
            {
                at = self.get(at).map_or(MAIN, |anchor| anchor.parent);
            }
        });
        let is_needed = |number: u16| number == MAIN || needed.get(usize::from(number)) == Some(&true);
        for (number, slot) in (MAIN..).zip(self.known.iter_mut()) {
            match slot {
                Some(anchor) if is_needed(number) => anchor.children.retain(|child| is_needed(*child)),
                Some(_) => {
                    *slot = None;
                    gone(number);
                }
                None => (),
            }
        }
        self.lowest = 1;
        while self.known.len() > 1 && matches!(self.known.last(), Some(None)) {
            self.known.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn path(anchors: &Anchors, number: u16) -> String {
        String::from_utf8(anchors.name(number).unwrap().path().to_vec()).unwrap()
    }

    fn children(anchors: &Anchors, number: u16) -> Vec<String> {
        anchors
            .children(number)
            .iter()
            .map(|child| path(anchors, *child))
            .collect()
    }

    #[test]
    fn a_path_has_one_number() {
        let mut anchors = Anchors::new().unwrap();
        let alice = anchors.find_or_make(b"authpf/alice").unwrap();
        assert_eq!(anchors.find_or_make(b"/authpf/alice"), Ok(alice));
        assert_eq!(anchors.find(b"authpf/alice"), Some(alice));
        assert_eq!(path(&anchors, alice), "authpf/alice");
        assert_eq!(anchors.find(b""), Some(MAIN));
        assert_eq!(anchors.find(b"authpf/bob"), None);
        let authpf = anchors.find(b"authpf").unwrap();
        for name in ["zoe", "bob", "al", "bob/x"] {
            anchors.find_or_make(std::format!("authpf/{name}").as_bytes()).unwrap();
        }
        let names = ["authpf/al", "authpf/alice", "authpf/bob", "authpf/zoe"];
        assert_eq!(children(&anchors, authpf), names, "in order");
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        let mut anchors = Anchors::new().unwrap();
        let long = [b'a'; PF_ANCHOR_NAME_SIZE];
        assert_eq!(anchors.find_or_make(&long), Err(Errno::Einval));
        assert!(anchors.find_or_make(&long[1..]).is_ok());
        assert_eq!(anchors.find_or_make(&b"a/".repeat(MAX_DEPTH + 1)), Err(Errno::Einval));
        assert_eq!(anchors.find_or_make(b"_pf"), Err(Errno::Einval));
        assert_eq!(anchors.call(MAIN, b"../a").unwrap_err(), Errno::Einval);
        assert_eq!(anchors.call(MAIN, b"/").unwrap_err(), Errno::Einval);
    }

    #[test]
    fn a_call_is_told_as_it_was_written() {
        let mut anchors = Anchors::new().unwrap();
        let home = anchors.find_or_make(b"a/b").unwrap();
        for (of, call, means) in [
            (MAIN, "spam", "spam"),
            (MAIN, "/spam", "spam"),
            (MAIN, "spam/*", "spam"),
            (MAIN, "*", ""),
            (MAIN, "x/y/z", "x/y/z"),
            (home, "c", "a/b/c"),
            (home, "../c", "a/c"),
            (home, "../../c/*", "c"),
            (home, "/c", "c"),
            (home, "*", "a/b"),
        ] {
            let made = anchors.call(of, call.as_bytes()).unwrap();
            assert_eq!(made.anchor.path(), means.as_bytes(), "{call}");
            assert_eq!(made.wildcard, call.ends_with('*'), "{call}");
            let mut told = [0; 32];
            made.write(anchors.name(of).unwrap(), &mut told);
            assert_eq!(std::str::from_utf8(&told).unwrap().trim_end_matches('\0'), call);
        }
    }

    #[test]
    fn siblings_that_are_needed_stay_in_order() {
        let mut anchors = Anchors::new().unwrap();
        // Numbers in another order than names.
        for name in ["f", "b", "d", "a", "e", "c", "d/z", "d/x", "d/y", "b/x"] {
            anchors.find_or_make(name.as_bytes()).unwrap();
        }
        let needed = ["a", "d/y", "d/x", "e"].map(|path| anchors.find(path.as_bytes()).unwrap());
        let mut gone = std::vec![];
        let mark = |mark: &mut dyn FnMut(u16)| needed.iter().for_each(|number| mark(*number));
        anchors.sweep(mark, |number| gone.push(number)).unwrap();
        assert_eq!(gone.len(), 5, "f, b, c, d/z, b/x");
        assert_eq!(children(&anchors, MAIN), ["a", "d", "e"]);
        let d = anchors.find(b"d").unwrap();
        assert_eq!(children(&anchors, d), ["d/x", "d/y"]);
        for path in ["a", "d/y", "d/x", "e"] {
            let number = anchors.find(path.as_bytes()).unwrap();
            assert!(needed.contains(&number), "{path}");
        }
        // The numbers that came back are given out again, each once.
        let before = anchors.len();
        let mut again: Vec<u16> = ["x", "y", "z"]
            .iter()
            .map(|name| anchors.find_or_make(name.as_bytes()).unwrap())
            .collect();
        assert!(again.iter().all(|number| gone.contains(number)));
        again.dedup();
        assert_eq!((again.len(), anchors.len()), (3, before));
        assert_eq!(children(&anchors, MAIN), ["a", "d", "e", "x", "y", "z"]);
    }

    #[test]
    fn a_number_comes_back_when_nobody_needs_it() {
        let mut anchors = Anchors::new().unwrap();
        let deep = anchors.find_or_make(b"a/b/c").unwrap();
        let other = anchors.find_or_make(b"d/e").unwrap();
        let mut gone = std::vec![];
        anchors.sweep(|mark| mark(deep), |number| gone.push(number)).unwrap();
        assert_eq!(gone.len(), 2);
        assert_eq!(anchors.find(b"a/b/c"), Some(deep));
        assert_eq!(anchors.find(b"d"), None);
        assert_eq!(anchors.name(other).map(|name| name.number()), None);
        assert_eq!(children(&anchors, MAIN), ["a"]);
        anchors.sweep(|_| (), |_| ()).unwrap();
        assert_eq!(anchors.len(), 1);
    }
}
