//! pf.os(5): fingerprints of operating systems, and the numbers by which rules speak of them.
//!
//! A file is read into fingerprints for the kernel; classes, versions and subtypes are numbered in the order in which they come up,
//! and so are the names in rules: a rule and the fingerprints that it means are always of one file.

use pf_abi::{
    CName, OsfpIoctl, PF_OSFP_DF, PF_OSFP_EXPANDED, PF_OSFP_GENERIC, PF_OSFP_MSS, PF_OSFP_MSS_DC, PF_OSFP_MSS_MOD,
    PF_OSFP_NODETAIL, PF_OSFP_PSIZE_DC, PF_OSFP_PSIZE_MOD, PF_OSFP_TCPOPT_BITS, PF_OSFP_TCPOPT_MSS, PF_OSFP_TCPOPT_NOP,
    PF_OSFP_TCPOPT_SACK, PF_OSFP_TCPOPT_TS, PF_OSFP_TCPOPT_WSCALE, PF_OSFP_TS0, PF_OSFP_UNKNOWN, PF_OSFP_WSCALE,
    PF_OSFP_WSCALE_DC, PF_OSFP_WSCALE_MOD, PF_OSFP_WSIZE_DC, PF_OSFP_WSIZE_MOD, PF_OSFP_WSIZE_MSS, PF_OSFP_WSIZE_MTU,
    osfp_number, osfp_parts,
};

/// Where pf.os is unless told.
pub const FILE: &str = "/etc/pf.os";

/// The most options whose places fit into a fingerprint.
const MOST_OPTIONS: usize = (u64::BITS / PF_OSFP_TCPOPT_BITS) as usize;

/// A name, and those within it.
#[derive(Clone, Debug, Default)]
struct Name {
    text: String,
    number: u32,
    within: Vec<Name>,
}

/// All fingerprints of a file.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints {
    classes: Vec<Name>,
    list: Vec<OsfpIoctl>,
}

/// The number of a name in its list, which gets one if it has none; 0 for none.
fn number_of<'a>(names: &'a mut Vec<Name>, text: &str) -> Option<&'a mut Name> {
    if text.is_empty() {
        return None;
    }
    let at = match names.iter().position(|name| name.text.eq_ignore_ascii_case(text)) {
        Some(at) => at,
        None => {
            names.push(Name {
                text: text.to_owned(),
                number: names.len() as u32 + 1,
                within: Vec::new(),
            });
            names.len() - 1
        }
    };
    names.get_mut(at)
}

/// A number with what may stand in front of it: what it is, and its value.
fn number(text: &str, prefixes: &[(char, u16)]) -> Option<(u16, u16)> {
    let (flag, digits) = match text.chars().next() {
        Some(first) => match prefixes.iter().find(|(prefix, _)| *prefix == first) {
            Some((_, flag)) => (*flag, text.get(1..)?),
            None => (0, text),
        },
        None => return None,
    };
    if digits.is_empty() && flag != 0 && text.starts_with('*') {
        return Some((flag, 0));
    }
    Some((flag, digits.parse().ok()?))
}

/// The versions that one stands for: `2.4-2.6` for three, `95` for itself.
fn versions(text: &str) -> Vec<String> {
    let range = || {
        let (first, last) = text.split_once('-')?;
        let (major, start) = match first.split_once('.') {
            Some((major, start)) if major.len() == 1 => (Some(major), start),
            Some(_) => return None,
            None => (None, first),
        };
        let end = match (major, last.split_once('.')) {
            (Some(major), Some((of, end))) if of == major => end,
            (None, None) => last,
            _ => return None,
        };
        let (start, end): (u32, u32) = (start.parse().ok()?, end.parse().ok()?);
        let name = |n: u32| major.map_or(n.to_string(), |major| format!("{major}.{n}"));
        (start <= end && start < 100 && end < 1000).then(|| (start..=end).map(name).collect())
    };
    range().unwrap_or_default()
}

impl Fingerprints {
    /// Reads a file. The mistakes are its lines, from 1, with a sentence each; they are left out.
    pub fn parse(text: &str) -> (Self, Vec<(usize, String)>) {
        let mut all = Self::default();
        let mut mistakes = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if let Err(mistake) = all.line(line) {
                mistakes.push((at + 1, mistake));
            }
        }
        (all, mistakes)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let fields: Vec<&str> = line.split(':').map(str::trim).collect();
        let [window, ttl, df, size, options, class, version, subtype, _description] = fields.as_slice() else {
            return Err(format!("{} fields, where there must be nine", fields.len()));
        };
        let mut print = OsfpIoctl::default();
        let window_prefixes = [
            ('*', PF_OSFP_WSIZE_DC),
            ('%', PF_OSFP_WSIZE_MOD),
            ('S', PF_OSFP_WSIZE_MSS),
            ('T', PF_OSFP_WSIZE_MTU),
        ];
        let (flag, value) = number(window, &window_prefixes).ok_or(format!("`{window}` is no window"))?;
        (print.flags, print.wsize) = (flag, value);
        print.ttl = ttl.parse().map_err(|_| format!("`{ttl}` is no TTL"))?;
        match *df {
            "0" => (),
            "1" => print.flags |= PF_OSFP_DF,
            _ => return Err(format!("`{df}` is neither 0 nor 1")),
        }
        let size_prefixes = [('*', PF_OSFP_PSIZE_DC), ('%', PF_OSFP_PSIZE_MOD)];
        let (flag, value) = number(size, &size_prefixes).ok_or(format!("`{size}` is no size"))?;
        print.flags |= flag;
        print.psize = value;
        read_options(options, &mut print)?;
        let class = match class.strip_prefix('@') {
            Some(class) => {
                print.os.enflags |= PF_OSFP_GENERIC;
                class
            }
            None => class,
        };
        let class = match class.strip_prefix('*') {
            Some(class) => {
                print.os.enflags |= PF_OSFP_NODETAIL;
                class
            }
            None => class,
        };
        if class.is_empty() {
            return Err("no class".to_owned());
        }
        for version_of in versions(version) {
            self.add(&print, class, &version_of, subtype, PF_OSFP_EXPANDED)?;
        }
        for subtype_of in versions(subtype) {
            self.add(&print, class, version, &subtype_of, PF_OSFP_EXPANDED)?;
        }
        self.add(&print, class, version, subtype, 0)
    }

    fn add(&mut self, print: &OsfpIoctl, class: &str, version: &str, subtype: &str, flags: i32) -> Result<(), String> {
        let mut print = print.clone();
        let name = |text: &str| CName::new(text).ok_or(format!("the name `{text}` is too long"));
        print.os.class_nm = name(class)?;
        print.os.version_nm = name(version)?;
        print.os.subtype_nm = name(subtype)?;
        print.os.enflags |= flags;
        let mut numbers = [0; 3];
        let mut names = Some(&mut self.classes);
        for (number, text) in numbers.iter_mut().zip([class, version, subtype]) {
            let Some(found) = names.and_then(|names| number_of(names, text)) else {
                break;
            };
            *number = found.number;
            if *number >= 1 << 10 {
                return Err(format!("too many names: `{text}`"));
            }
            names = Some(&mut found.within);
        }
        let [class, version, subtype] = numbers;
        print.os.os = osfp_number(class, version, subtype);
        // What is there twice, as ranges make it, is there once.
        if !self.list.contains(&print) {
            self.list.push(print);
        }
        Ok(())
    }

    /// The fingerprints for the kernel.
    pub fn list(&self) -> &[OsfpIoctl] {
        &self.list
    }

    /// The number of a system by the name that a rule has for it: `Linux`, `Linux 2.6`, `Windows 2000 SP3`, or `unknown`.
    pub fn number(&self, name: &str) -> Option<u32> {
        if name.eq_ignore_ascii_case("unknown") {
            return Some(PF_OSFP_UNKNOWN);
        }
        fn find<'a>(names: &'a [Name], text: &str) -> Option<&'a Name> {
            names.iter().find(|name| name.text.eq_ignore_ascii_case(text))
        }
        // A class may have a space in its name, so the longest that fits is tried first.
        for class in self.classes.iter().filter(|class| begins(name, &class.text)) {
            let rest = name.get(class.text.len()..)?.trim();
            if rest.is_empty() {
                return Some(osfp_number(class.number, 0, 0));
            }
            for version in class.within.iter().filter(|version| begins(rest, &version.text)) {
                let rest = rest.get(version.text.len()..)?.trim();
                if rest.is_empty() {
                    return Some(osfp_number(class.number, version.number, 0));
                }
                if let Some(subtype) = find(&version.within, rest) {
                    return Some(osfp_number(class.number, version.number, subtype.number));
                }
            }
        }
        None
    }

    /// The name of a system by its number.
    pub fn name(&self, number: u32) -> Option<String> {
        if number == PF_OSFP_UNKNOWN {
            return Some("unknown".to_owned());
        }
        let mut names = &self.classes;
        let mut text = String::new();
        for part in osfp_parts(number) {
            if part == 0 {
                break;
            }
            let found = names.iter().find(|name| name.number == part)?;
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&found.text);
            names = &found.within;
        }
        (!text.is_empty()).then_some(text)
    }

    /// The names of classes, for hints.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.text.as_str())
    }
}

/// Whether a name begins with another as a whole word.
fn begins(name: &str, with: &str) -> bool {
    name.get(..with.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(with))
        && matches!(
            name.get(with.len()..).and_then(|rest| rest.chars().next()),
            None | Some(' ')
        )
}

/// Reads `M*,N,N,S,T0,W0`.
fn read_options(text: &str, print: &mut OsfpIoctl) -> Result<(), String> {
    if text == "." {
        return Ok(());
    }
    for option in text.split([',', ' ']).filter(|option| !option.is_empty()) {
        let rest = option.get(1..).unwrap_or_default();
        let mistake = || format!("`{option}` is no TCP option");
        let code = match option.chars().next() {
            Some('N') => PF_OSFP_TCPOPT_NOP,
            Some('S') => PF_OSFP_TCPOPT_SACK,
            Some('T') => {
                match rest {
                    "" => (),
                    "0" => print.flags |= PF_OSFP_TS0,
                    _ => return Err(mistake()),
                }
                PF_OSFP_TCPOPT_TS
            }
            Some('M') => {
                let prefixes = [('*', PF_OSFP_MSS_DC), ('%', PF_OSFP_MSS_MOD)];
                let (flag, value) = number(rest, &prefixes).ok_or_else(mistake)?;
                print.flags |= flag | PF_OSFP_MSS;
                print.mss = value;
                PF_OSFP_TCPOPT_MSS
            }
            Some('W') => {
                let prefixes = [('*', PF_OSFP_WSCALE_DC), ('%', PF_OSFP_WSCALE_MOD)];
                let (flag, value) = number(rest, &prefixes).ok_or_else(mistake)?;
                print.flags |= flag | PF_OSFP_WSCALE;
                print.wscale = u8::try_from(value).map_err(|_| mistake())?;
                PF_OSFP_TCPOPT_WSCALE
            }
            _ => return Err(mistake()),
        };
        print.tcpopts = print.tcpopts << PF_OSFP_TCPOPT_BITS | code;
        print.optcnt += 1;
        if usize::from(print.optcnt) > MOST_OPTIONS {
            return Err("too many TCP options".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
16384:64:1:64:M*,N,N,S,N,W0,N,N,T:OpenBSD:3.3::OpenBSD 3.3
S4:64:1:60:M1360,S,T0,N,W7:\tLinux:2.4-2.6::Linux 2.4 to 2.6
%8192:128:0:*:.:Windows:2000:SP3:Windows 2000 # and so on
*:64:1:60:W%2,M%512:@Linux:::Linux, whatever
";

    #[test]
    fn each_field_is_read() {
        let (all, mistakes) = Fingerprints::parse(TEXT);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let bsd = &all.list()[0];
        assert_eq!((bsd.wsize, bsd.ttl, bsd.psize, bsd.optcnt), (16_384, 64, 64, 9));
        assert_eq!(bsd.flags, PF_OSFP_DF | PF_OSFP_MSS | PF_OSFP_MSS_DC | PF_OSFP_WSCALE);
        let (m, n, s, w, t) = (2, 0, 3, 1, 4);
        assert_eq!(
            bsd.tcpopts,
            [m, n, n, s, n, w, n, n, t].into_iter().fold(0, |all, it| all << 3 | it)
        );
        let linux = all.list().iter().find(|it| it.mss == 1360).unwrap();
        assert_eq!((linux.wsize, linux.wscale), (4, 7));
        assert!(linux.flags & PF_OSFP_WSIZE_MSS != 0 && linux.flags & PF_OSFP_TS0 != 0);
        let windows = all.list().iter().find(|it| it.ttl == 128).unwrap();
        assert!(windows.flags & PF_OSFP_WSIZE_MOD != 0 && windows.flags & PF_OSFP_PSIZE_DC != 0);
        assert_eq!((windows.optcnt, windows.os.subtype_nm.as_str()), (0, Some("SP3")));
        let generic = all.list().last().unwrap();
        assert_eq!(generic.os.enflags, PF_OSFP_GENERIC);
        assert!(generic.flags & (PF_OSFP_WSCALE_MOD | PF_OSFP_MSS_MOD) == PF_OSFP_WSCALE_MOD | PF_OSFP_MSS_MOD);
        assert_eq!((generic.wscale, generic.mss), (2, 512));
    }

    #[test]
    fn a_range_of_versions_is_each_of_them_and_itself() {
        let (all, _) = Fingerprints::parse(TEXT);
        let versions: Vec<&str> = all.list()[1..5]
            .iter()
            .map(|it| it.os.version_nm.as_str().unwrap())
            .collect();
        assert_eq!(versions, ["2.4", "2.5", "2.6", "2.4-2.6"]);
        assert_eq!(super::versions("12-21").len(), 10);
        assert!(super::versions("2.4-3.1").is_empty() && super::versions("NT-XP").is_empty());
    }

    #[test]
    fn names_have_numbers_and_back() {
        let (all, _) = Fingerprints::parse(TEXT);
        for (name, parts) in [
            ("OpenBSD", [1, 0, 0]),
            ("openbsd 3.3", [1, 1, 0]),
            ("Linux", [2, 0, 0]),
            ("Linux 2.5", [2, 2, 0]),
            ("Windows 2000 SP3", [3, 1, 1]),
        ] {
            let [class, version, subtype] = parts;
            let number = osfp_number(class, version, subtype);
            assert_eq!(all.number(name), Some(number), "{name}");
            assert!(all.name(number).unwrap().eq_ignore_ascii_case(name));
        }
        assert_eq!(all.number("unknown"), Some(PF_OSFP_UNKNOWN));
        for unknown in ["Linux 9", "Lin", "Linux2.4", "Plan9", ""] {
            assert_eq!(all.number(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_mistake_is_told_by_its_line() {
        let bad = "1:64:1:60:.:A:1::x\nx:64:1:60:.:A:1::x\n1:300:1:60:.:A:1::x\n1:64:2:60:.:A:1::x\n1:64:1:60:Q:A:1::x\n1:64\n";
        let (all, mistakes) = Fingerprints::parse(bad);
        assert_eq!(all.list().len(), 1);
        assert_eq!(
            mistakes.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [2, 3, 4, 5, 6]
        );
    }
}
