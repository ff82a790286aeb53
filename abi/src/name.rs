//! Names, pointers and numbers as they lie in C structs, none to be trusted before a check.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An integer that is none of the values of its C enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownValue;

impl fmt::Display for UnknownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("value out of range")
    }
}

impl core::error::Error for UnknownValue {}

/// An address in the caller's memory (or, in what the kernel hands out, a kernel pointer, which is always 0 here).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct UserPtr(pub u64);

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// Takes a number in host byte order.
    pub const fn new(value: u16) -> Self {
        Self(value.to_be())
    }

    /// The number in host byte order.
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// `char[N]`: a string that ought to end in a NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct CName<const N: usize>([u8; N]);

impl<const N: usize> CName<N> {
    /// The empty string.
    pub const EMPTY: Self = Self([0; N]);

    /// Takes a string of fewer than `N` bytes without a NUL; the rest of the array is zero.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; N];
        let (text, rest) = bytes.split_at_mut_checked(name.len())?;
        if rest.is_empty() || name.as_bytes().contains(&0) {
            return None;
        }
        text.copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// As much of a text as there is room for, up to its first NUL.
    pub fn cut(text: &[u8]) -> Self {
        let mut bytes = [0; N];
        let text = text.iter().take_while(|byte| **byte != 0);
        for (to, from) in bytes.iter_mut().take(N.saturating_sub(1)).zip(text) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The bytes before the NUL, or `None` where there is no NUL.
    pub fn to_bytes(&self) -> Option<&[u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        self.0.get(..end)
    }

    /// The string, or `None` where it does not end in a NUL or is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.to_bytes()?).ok()
    }

    /// Whether the string is empty, that is, begins with its NUL.
    pub fn is_empty(&self) -> bool {
        self.0.first() == Some(&0)
    }

    /// The whole array, with whatever stands behind the NUL.
    pub const fn as_array(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Default for CName<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for CName<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(name) => fmt::Debug::fmt(name, f),
            None => fmt::Debug::fmt(&self.0, f),
        }
    }
}

/// `IFNAMSIZ`: bytes in an interface's name, the NUL included.
pub const IFNAMSIZ: usize = 16;
/// `MAXPATHLEN`: bytes in an anchor's path, the NUL included.
pub const MAXPATHLEN: usize = 1024;

/// The name of an interface or of an interface group.
pub type IfName = CName<IFNAMSIZ>;
/// The path of an anchor; empty for the main ruleset.
pub type AnchorPath = CName<MAXPATHLEN>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_leave_room_for_its_nul() {
        assert_eq!(CName::<4>::new("em0").unwrap().as_str(), Some("em0"));
        assert_eq!(CName::<4>::new("em10"), None);
        assert_eq!(CName::<4>::new("a\0b"), None);
        assert!(CName::<4>::new("").unwrap().is_empty());
        assert_eq!(CName::<0>::new(""), None);
    }

    #[test]
    fn a_text_is_cut_to_leave_room_for_the_nul() {
        assert_eq!(CName::<4>::cut(b"em10").as_str(), Some("em1"));
        assert_eq!(CName::<4>::cut(b"a\0b").as_array(), b"a\0\0\0");
        assert_eq!(CName::<0>::cut(b"a").as_array(), b"");
    }

    #[test]
    fn a_name_counts_only_after_a_check() {
        let name = |bytes: [u8; 4]| CName::<4>::read_from_bytes(&bytes).unwrap();
        assert_eq!(name(*b"em0\0").as_str(), Some("em0"));
        assert_eq!(name(*b"a\0zz").as_str(), Some("a"));
        assert_eq!(name(*b"em10").as_str(), None);
        assert_eq!(name([0xff, 0, 0, 0]).as_str(), None);
        assert_eq!(name([0xff, 0, 0, 0]).to_bytes(), Some(&[0xff][..]));
    }

    #[test]
    fn a_port_is_in_network_order() {
        assert_eq!(Be16::new(0x1234).as_bytes(), [0x12, 0x34]);
        assert_eq!(Be16::new(80).get(), 80);
    }
}
