//! The names that pf.conf(5) has for types and codes of ICMP and ICMPv6.

use pf_abi::AF_INET6;

/// ICMP "destination unreachable".
pub const UNREACH: u8 = 3;
/// ICMPv6 "destination unreachable".
pub const UNREACH6: u8 = 1;

/// Types of ICMP (RFC 792 and the registry that grew out of it). Where a number has two names, the first is printed.
const TYPES: &[(&str, u8)] = &[
    ("echoreq", 8),
    ("echorep", 0),
    ("unreach", UNREACH),
    ("squench", 4),
    ("redir", 5),
    ("althost", 6),
    ("routeradv", 9),
    ("routersol", 10),
    ("timex", 11),
    ("paramprob", 12),
    ("timereq", 13),
    ("timerep", 14),
    ("inforeq", 15),
    ("inforep", 16),
    ("maskreq", 17),
    ("maskrep", 18),
    ("trace", 30),
    ("dataconv", 31),
    ("mobredir", 32),
    ("ipv6-where", 33),
    ("ipv6-here", 34),
    ("mobregreq", 35),
    ("mobregrep", 36),
    ("skip", 39),
    ("photuris", 40),
];

/// Types of ICMPv6 (RFC 4443 and others).
const TYPES6: &[(&str, u8)] = &[
    ("unreach", UNREACH6),
    ("toobig", 2),
    ("timex", 3),
    ("paramprob", 4),
    ("echoreq", 128),
    ("echorep", 129),
    ("groupqry", 130),
    ("listqry", 130),
    ("grouprep", 131),
    ("listenrep", 131),
    ("groupterm", 132),
    ("listendone", 132),
    ("routersol", 133),
    ("routeradv", 134),
    ("neighbrsol", 135),
    ("neighbradv", 136),
    ("redir", 137),
    ("routrrenum", 138),
    ("wrureq", 139),
    ("fqdnreq", 139),
    ("niqry", 139),
    ("wrurep", 140),
    ("fqdnrep", 140),
    ("nirep", 140),
    ("mtraceresp", 200),
    ("mtrace", 201),
];

/// Codes of ICMP, with their types. NetBSD has no names for the codes 13 to 15 of "unreachable".
const CODES: &[(&str, u8, u8)] = &[
    ("net-unr", UNREACH, 0),
    ("host-unr", UNREACH, 1),
    ("proto-unr", UNREACH, 2),
    ("port-unr", UNREACH, 3),
    ("needfrag", UNREACH, 4),
    ("srcfail", UNREACH, 5),
    ("net-unk", UNREACH, 6),
    ("host-unk", UNREACH, 7),
    ("isolate", UNREACH, 8),
    ("net-prohib", UNREACH, 9),
    ("host-prohib", UNREACH, 10),
    ("net-tos", UNREACH, 11),
    ("host-tos", UNREACH, 12),
    ("redir-net", 5, 0),
    ("redir-host", 5, 1),
    ("redir-tos-net", 5, 2),
    ("redir-tos-host", 5, 3),
    ("normal-adv", 9, 0),
    ("transit", 11, 0),
    ("reassemb", 11, 1),
    ("badhead", 12, 0),
    ("optmiss", 12, 1),
    ("badlen", 12, 2),
    ("unknown-ind", 40, 0),
    ("auth-fail", 40, 1),
    ("decrypt-fail", 40, 3),
];

/// Codes of ICMPv6, with their types.
const CODES6: &[(&str, u8, u8)] = &[
    ("noroute-unr", UNREACH6, 0),
    ("admin-unr", UNREACH6, 1),
    ("notnbr-unr", UNREACH6, 2),
    ("beyond-unr", UNREACH6, 2),
    ("addr-unr", UNREACH6, 3),
    ("port-unr", UNREACH6, 4),
    ("transit", 3, 0),
    ("reassemb", 3, 1),
    ("badhead", 4, 0),
    ("nxthdr", 4, 1),
    ("redironlink", 137, 0),
    ("redirrouter", 137, 1),
];

fn types(af: u8) -> &'static [(&'static str, u8)] {
    if af == AF_INET6 { TYPES6 } else { TYPES }
}

fn codes(af: u8) -> &'static [(&'static str, u8, u8)] {
    if af == AF_INET6 { CODES6 } else { CODES }
}

/// The number of a type by its name.
pub fn type_by_name(af: u8, name: &str) -> Option<u8> {
    types(af)
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// The name of a type by its number. For any family but [`AF_INET6`] the names are those of ICMP.
pub fn type_name(af: u8, number: u8) -> Option<&'static str> {
    types(af)
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

/// The names of all types.
pub fn type_names(af: u8) -> impl Iterator<Item = &'static str> {
    types(af).iter().map(|(name, _)| *name)
}

/// The number of a type's code by its name.
pub fn code_by_name(af: u8, kind: u8, name: &str) -> Option<u8> {
    codes(af)
        .iter()
        .find(|(known, of, _)| *known == name && *of == kind)
        .map(|(_, _, number)| *number)
}

/// The name of a type's code by its number.
pub fn code_name(af: u8, kind: u8, number: u8) -> Option<&'static str> {
    codes(af)
        .iter()
        .find(|(_, of, known)| *of == kind && *known == number)
        .map(|(name, _, _)| *name)
}

/// The names of all codes of a type.
pub fn code_names(af: u8, kind: u8) -> impl Iterator<Item = &'static str> {
    codes(af)
        .iter()
        .filter(move |(_, of, _)| *of == kind)
        .map(|(name, _, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::AF_INET;

    #[test]
    fn names_and_numbers_belong_together() {
        for af in [AF_INET, AF_INET6] {
            for (name, number) in types(af) {
                assert_eq!(type_by_name(af, name), Some(*number));
                let printed = type_name(af, *number).unwrap();
                assert_eq!(type_by_name(af, printed), Some(*number));
            }
            for (name, kind, number) in codes(af) {
                assert_eq!(code_by_name(af, *kind, name), Some(*number));
                let printed = code_name(af, *kind, *number).unwrap();
                assert_eq!(code_by_name(af, *kind, printed), Some(*number));
            }
        }
        assert_eq!(type_name(AF_INET, 128), None);
        assert_eq!(type_name(AF_INET6, 128), Some("echoreq"));
    }
}
