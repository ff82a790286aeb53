//! Fingerprints of operating systems: which one sent a SYN, as pf.os(5) tells them apart.
//!
//! # Overview
//! pfctl(8) hands over what it knows, one fingerprint after the other; each says how the first packet of a connection looks, and
//! whose it is. A SYN belongs to the first fingerprint that fits, and to every system that has this very one.
//!
//! # Life cycle
//! The ioctls gather in a list of their own; it becomes what packets see when rules are committed, and when pf is enabled:
//! not with each that is added, as pfctl(8) adds hundreds. What packets see is replaced whole.
//!
//! # Locking
//! None: immutable, and read in a passive section.

use pf_abi::{
    OsfpEntry, OsfpIoctl, PF_OSFP_ANY, PF_OSFP_DF, PF_OSFP_MSS_DC, PF_OSFP_MSS_MOD, PF_OSFP_PSIZE_DC,
    PF_OSFP_PSIZE_MOD, PF_OSFP_TCPOPT_BITS, PF_OSFP_TCPOPT_MSS, PF_OSFP_TCPOPT_NOP, PF_OSFP_TCPOPT_SACK,
    PF_OSFP_TCPOPT_TS, PF_OSFP_TCPOPT_WSCALE, PF_OSFP_TS0, PF_OSFP_UNKNOWN, PF_OSFP_WSCALE_DC, PF_OSFP_WSCALE_MOD,
    PF_OSFP_WSIZE_DC, PF_OSFP_WSIZE_MOD, PF_OSFP_WSIZE_MSS, PF_OSFP_WSIZE_MTU, osfp_parts,
};

use crate::kpi::{Errno, NoMemory};
use crate::mem::{KArc, KVec};

/// Fingerprints that there may be; NetBSD's pf.os has some 700.
const MOST: usize = 1 << 14;
/// How many hops a packet may have come: by so much its TTL may be below that of the fingerprint.
const MOST_HOPS: u8 = 40;
/// The maximum segment size that devices on the way like to write into other people's packets.
const USUAL_MSS: u16 = 1460;
/// Bytes of an IPv4 and a TCP header.
const HEADERS: u16 = 40;

/// What a SYN shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Print {
    /// The window.
    pub window: u16,
    /// Bytes of the packet.
    pub size: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// `PF_OSFP_DF`, `PF_OSFP_TS0`, `PF_OSFP_INET6`
    pub flags: u16,
    /// The TCP options, `PF_OSFP_TCPOPT_*`, the last in the lowest bits.
    pub options: u64,
    /// How many.
    pub count: u8,
    /// The maximum segment size.
    pub mss: u16,
    /// The window's scale.
    pub wscale: u8,
}

impl Print {
    /// Reads the options of a SYN. False where there is one that no fingerprint has, or that makes no sense.
    pub fn read_options(&mut self, mut bytes: &[u8]) -> bool {
        while let [kind, rest @ ..] = bytes {
            let (option, len) = match (*kind, rest) {
                // The end of the options: the rest is padding.
                (0, _) => break,
                (1, _) => (PF_OSFP_TCPOPT_NOP, 1),
                (kind, [len, ..]) if *len >= 2 && usize::from(*len) <= bytes.len() => {
                    let body = bytes.get(2..usize::from(*len)).unwrap_or_default();
                    let option = match (kind, body) {
                        (2, body) => {
                            if let [high, low, ..] = body {
                                self.mss = u16::from_be_bytes([*high, *low]);
                            }
                            PF_OSFP_TCPOPT_MSS
                        }
                        (3, body) => {
                            self.wscale = body.first().copied().unwrap_or(0);
                            PF_OSFP_TCPOPT_WSCALE
                        }
                        (4, _) => PF_OSFP_TCPOPT_SACK,
                        (8, body) => {
                            if let [0, 0, 0, 0, ..] = body {
                                self.flags |= PF_OSFP_TS0;
                            }
                            PF_OSFP_TCPOPT_TS
                        }
                        _ => return false,
                    };
                    (option, usize::from(*len))
                }
                _ => return false,
            };
            self.options = self.options << PF_OSFP_TCPOPT_BITS | option;
            self.count = self.count.saturating_add(1);
            bytes = bytes.get(len..).unwrap_or_default();
        }
        true
    }
}

/// A fingerprint, and whose it is.
#[derive(Debug, Clone)]
struct Fingerprint {
    print: Print,
    system: OsfpEntry,
}

/// Whether a number is as a fingerprint says: itself, a multiple, or whatever it be.
fn fits(flags: u16, multiple: u16, any: u16, wanted: u16, value: u16) -> bool {
    if flags & any != 0 {
        true
    } else if flags & multiple != 0 {
        value.checked_rem(wanted) == Some(0)
    } else {
        value == wanted
    }
}

/// Whether a window is `times` a segment.
fn is_times(window: u16, times: u16, segment: u16) -> bool {
    window.checked_rem(segment) == Some(0) && window.checked_div(segment) == Some(times)
}

impl Fingerprint {
    fn fits(&self, print: &Print) -> bool {
        let (is, flags) = (&self.print, self.print.flags);
        let exact = PF_OSFP_DF | PF_OSFP_TS0;
        is.options == print.options
            && is.count == print.count
            && is.ttl.checked_sub(print.ttl).is_some_and(|hops| hops <= MOST_HOPS)
            && flags & exact == print.flags & exact
            && fits(flags, PF_OSFP_PSIZE_MOD, PF_OSFP_PSIZE_DC, is.size, print.size)
            && fits(flags, PF_OSFP_MSS_MOD, PF_OSFP_MSS_DC, is.mss, print.mss)
            && fits(
                flags,
                PF_OSFP_WSCALE_MOD,
                PF_OSFP_WSCALE_DC,
                is.wscale.into(),
                print.wscale.into(),
            )
            && self.fits_window(print)
    }

    fn fits_window(&self, print: &Print) -> bool {
        let (times, flags) = (self.print.window, self.print.flags);
        let is_times = |segment| is_times(print.window, times, segment);
        if flags & PF_OSFP_WSIZE_DC != 0 {
            true
        } else if flags & PF_OSFP_WSIZE_MSS != 0 {
            print.mss != 0 && (is_times(print.mss) || is_times(USUAL_MSS))
        } else if flags & PF_OSFP_WSIZE_MTU != 0 {
            print.mss != 0 && (is_times(print.mss.saturating_add(HEADERS)) || is_times(USUAL_MSS + HEADERS))
        } else {
            fits(flags, PF_OSFP_WSIZE_MOD, PF_OSFP_WSIZE_DC, times, print.window)
        }
    }
}

/// Fingerprints, those of one look together, in the order in which the first of each look was added.
#[derive(Debug, Default)]
pub struct Fingerprints(KVec<KArc<Fingerprint>>);

impl Fingerprints {
    /// None.
    pub const fn new() -> Self {
        Fingerprints(KVec::new())
    }

    /// The same again.
    pub fn copy(&self) -> Result<Self, NoMemory> {
        let mut copy = KVec::with_capacity(self.0.len())?;
        for fingerprint in self.0.iter() {
            copy.push(fingerprint.clone())?;
        }
        Ok(Fingerprints(copy))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = KVec::new();
    }

    /// Adds one: in front of others of the same look, as NetBSD's pf has them.
    ///
    /// # Errors
    /// EEXIST for one that is there, ENOSPC for too many, EINVAL for a name without an end, ENOMEM.
    pub fn add(&mut self, from: &OsfpIoctl) -> Result<(), Errno> {
        let names = [&from.os.class_nm, &from.os.version_nm, &from.os.subtype_nm];
        if names.iter().any(|name| name.to_bytes().is_none()) {
            return Err(Errno::Einval);
        }
        let print = Print {
            window: from.wsize,
            size: from.psize,
            ttl: from.ttl,
            flags: from.flags,
            options: from.tcpopts,
            count: from.optcnt,
            mss: from.mss,
            wscale: from.wscale,
        };
        let mut system = from.os.clone();
        system.entry = Default::default();
        let same = |it: &&KArc<Fingerprint>| it.print == print;
        let is_there = |it: &KArc<Fingerprint>| {
            it.system.os == system.os
                && it.system.class_nm == system.class_nm
                && it.system.version_nm == system.version_nm
                && it.system.subtype_nm == system.subtype_nm
        };
        if self.0.iter().filter(same).any(is_there) {
            return Err(Errno::Eexist);
        }
        if self.0.len() >= MOST {
            return Err(Errno::Enospc);
        }
        let place = self.0.iter().position(|it| it.print == print).unwrap_or(self.0.len());
        self.0.push(KArc::new(Fingerprint { print, system })?)?;
        if let Some(behind) = self.0.get_mut(place..) {
            behind.rotate_right(1);
        }
        Ok(())
    }

    /// Fills in the fingerprint with a number; false where there is none.
    pub fn export(&self, number: usize, to: &mut OsfpIoctl) -> bool {
        let Some(fingerprint) = self.0.get(number) else {
            return false;
        };
        let print = &fingerprint.print;
        *to = OsfpIoctl {
            os: fingerprint.system.clone(),
            tcpopts: print.options,
            wsize: print.window,
            psize: print.size,
            mss: print.mss,
            flags: print.flags,
            optcnt: print.count,
            wscale: print.wscale,
            ttl: print.ttl,
            getnum: i32::try_from(number).unwrap_or(i32::MAX),
            ..OsfpIoctl::default()
        };
        true
    }

    /// The systems that send such a SYN.
    pub fn find(&self, print: &Print) -> Systems<'_> {
        let found = self.0.iter().position(|it| it.fits(print));
        let rest = found.and_then(|at| self.0.get(at..)).unwrap_or_default();
        let len = rest
            .first()
            .map_or(0, |first| rest.partition_point(|it| it.print == first.print));
        Systems(rest.get(..len).unwrap_or_default())
    }
}

/// The systems that a packet looks like; none for one without a fingerprint.
#[derive(Debug, Clone, Copy)]
pub struct Systems<'a>(&'a [KArc<Fingerprint>]);

impl Systems<'_> {
    /// None is known.
    pub const UNKNOWN: Systems<'static> = Systems(&[]);

    /// Whether the system with this number, or one of those that it stands for (any version, any subtype), is among them.
    pub fn include(&self, os: u32) -> bool {
        if self.0.is_empty() {
            return os == PF_OSFP_UNKNOWN;
        }
        let wanted = osfp_parts(os);
        self.0.iter().any(|it| {
            let parts = osfp_parts(it.system.os).into_iter().zip(wanted);
            parts
                .into_iter()
                .all(|(part, wanted)| wanted == PF_OSFP_ANY || part == wanted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::{CName, osfp_number};
    use std::borrow::ToOwned as _;

    fn fingerprint(class: &str, os: u32, change: impl FnOnce(&mut OsfpIoctl)) -> OsfpIoctl {
        let mut it = OsfpIoctl {
            wsize: 16_384,
            psize: 64,
            ttl: 64,
            mss: 1460,
            flags: PF_OSFP_DF,
            ..OsfpIoctl::default()
        };
        it.os.os = os;
        it.os.class_nm = CName::new(class).unwrap();
        change(&mut it);
        it
    }

    fn print() -> Print {
        Print {
            window: 16_384,
            size: 64,
            ttl: 60,
            flags: PF_OSFP_DF,
            mss: 1460,
            ..Print::default()
        }
    }

    #[track_caller]
    fn fits(change: impl FnOnce(&mut OsfpIoctl), see: impl FnOnce(&mut Print)) -> bool {
        let mut all = Fingerprints::new();
        all.add(&fingerprint("BSD", osfp_number(1, 0, 0), change)).unwrap();
        let mut print = print();
        see(&mut print);
        all.find(&print).include(osfp_number(1, 0, 0))
    }

    #[test]
    fn every_part_must_fit() {
        assert!(fits(|_| (), |_| ()));
        assert!(!fits(|_| (), |it| it.window += 1));
        assert!(!fits(|_| (), |it| it.size += 1));
        assert!(!fits(|_| (), |it| it.mss += 1));
        assert!(!fits(|_| (), |it| it.wscale += 1));
        assert!(!fits(|_| (), |it| it.flags = 0));
        assert!(!fits(|_| (), |it| it.flags |= PF_OSFP_TS0));
        assert!(!fits(|_| (), |it| it.options = 1));
        assert!(!fits(|_| (), |it| it.count = 1));
    }

    #[test]
    fn a_packet_may_have_come_some_hops() {
        assert!(fits(|_| (), |it| it.ttl = 64) && fits(|_| (), |it| it.ttl = 24));
        assert!(!fits(|_| (), |it| it.ttl = 23) && !fits(|_| (), |it| it.ttl = 65));
    }

    #[test]
    fn wildcards_multiples_and_segments() {
        assert!(fits(|it| it.flags |= PF_OSFP_WSIZE_DC, |it| it.window = 1));
        assert!(fits(|it| it.flags |= PF_OSFP_PSIZE_DC, |it| it.size = 1));
        assert!(fits(|it| it.flags |= PF_OSFP_MSS_DC, |it| it.mss = 1));
        assert!(fits(|it| it.flags |= PF_OSFP_WSCALE_DC, |it| it.wscale = 9));
        let multiple = |it: &mut OsfpIoctl| (it.flags, it.wsize) = (it.flags | PF_OSFP_WSIZE_MOD, 1024);
        assert!(fits(multiple, |it| it.window = 5120) && !fits(multiple, |it| it.window = 5121));
        let none = |it: &mut OsfpIoctl| (it.flags, it.wsize) = (it.flags | PF_OSFP_WSIZE_MOD, 0);
        assert!(!fits(none, |it| it.window = 5120), "a multiple of nothing is none");
        let segments = |it: &mut OsfpIoctl| {
            (it.flags, it.wsize) = (it.flags | PF_OSFP_WSIZE_MSS | PF_OSFP_MSS_DC, 4);
        };
        assert!(fits(segments, |it| (it.mss, it.window) = (1000, 4000)));
        assert!(
            fits(segments, |it| (it.mss, it.window) = (1000, 5840)),
            "as if it were 1460"
        );
        assert!(!fits(segments, |it| (it.mss, it.window) = (1000, 4001)));
        assert!(!fits(segments, |it| (it.mss, it.window) = (0, 4000)));
        let mtus = |it: &mut OsfpIoctl| {
            (it.flags, it.wsize) = (it.flags | PF_OSFP_WSIZE_MTU | PF_OSFP_MSS_DC, 4);
        };
        assert!(fits(mtus, |it| (it.mss, it.window) = (1000, 4160)));
        assert!(fits(mtus, |it| (it.mss, it.window) = (1000, 6000)));
    }

    #[test]
    fn a_number_stands_for_its_versions() {
        let mut all = Fingerprints::new();
        for (class, os) in [("Linux", osfp_number(2, 3, 4)), ("Windows", osfp_number(5, 6, 0))] {
            all.add(&fingerprint(class, os, |_| ())).unwrap();
        }
        let found = all.find(&print());
        for (os, is) in [
            (osfp_number(2, 0, 0), true),
            (osfp_number(2, 3, 0), true),
            (osfp_number(2, 3, 4), true),
            (osfp_number(2, 3, 5), false),
            (osfp_number(2, 4, 0), false),
            (osfp_number(5, 0, 0), true),
            (osfp_number(7, 0, 0), false),
            (PF_OSFP_UNKNOWN, false),
        ] {
            assert_eq!(found.include(os), is, "{os:#x}");
        }
        let other = Print::default();
        assert!(all.find(&other).include(PF_OSFP_UNKNOWN) && !all.find(&other).include(osfp_number(2, 0, 0)));
    }

    #[test]
    fn one_look_may_have_several_systems() {
        let mut all = Fingerprints::new();
        let add = |all: &mut Fingerprints, class, os, window| {
            all.add(&fingerprint(class, osfp_number(os, 0, 0), |it| it.wsize = window))
        };
        add(&mut all, "a", 1, 16_384).unwrap();
        add(&mut all, "b", 2, 100).unwrap();
        add(&mut all, "c", 3, 16_384).unwrap();
        assert_eq!(add(&mut all, "c", 3, 16_384), Err(Errno::Eexist));
        let found = all.find(&print());
        assert!(found.include(osfp_number(1, 0, 0)) && found.include(osfp_number(3, 0, 0)));
        assert!(!found.include(osfp_number(2, 0, 0)));
        let mut told = OsfpIoctl::default();
        let names = (0..3).map(|number| {
            assert!(all.export(number, &mut told));
            told.os.class_nm.as_str().unwrap().to_owned()
        });
        assert_eq!(names.collect::<std::vec::Vec<_>>(), ["c", "a", "b"]);
        assert!(!all.export(3, &mut told));
    }

    #[test]
    fn options_are_read_in_their_order() {
        let mut print = Print::default();
        // What Linux sends: MSS 1460, SACK, a timestamp, NOP, scale 7.
        let bytes = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert!(print.read_options(&bytes));
        let [m, s, t, n, w] = [
            PF_OSFP_TCPOPT_MSS,
            PF_OSFP_TCPOPT_SACK,
            PF_OSFP_TCPOPT_TS,
            PF_OSFP_TCPOPT_NOP,
            PF_OSFP_TCPOPT_WSCALE,
        ];
        assert_eq!(
            print.options,
            [m, s, t, n, w].into_iter().fold(0, |all, it| all << 3 | it)
        );
        assert_eq!((print.count, print.mss, print.wscale, print.flags), (5, 1460, 7, 0));
        for bad in [&[2][..], &[2, 0], &[2, 1], &[2, 5, 0, 0], &[9, 2], &[8, 10, 0]] {
            assert!(!Print::default().read_options(bad), "{bad:?}");
        }
        let mut padded = Print::default();
        assert!(padded.read_options(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99]));
        assert_eq!((padded.count, padded.flags), (1, PF_OSFP_TS0));
    }
}
