//! Interfaces and groups.

use pf_abi::{Kif, PFI_IFLAG_SKIP, UserPtr};
use std::fmt::Write as _;

/// One interface of `-s Interfaces`: its name, with `-v` what it is, with `-vv` what it counted.
pub fn interface_text(kif: &Kif, verbose: u8) -> String {
    let mut text = kif.name.as_str().unwrap_or("?").to_owned();
    if verbose > 0 {
        if kif.flags & PFI_IFLAG_SKIP != 0 {
            text.push_str(" (skip)");
        }
        if kif.group == UserPtr(0) && kif.ifp == UserPtr(0) {
            text.push_str(" (not there)");
        }
    }
    text.push('\n');
    if verbose < 2 {
        return text;
    }
    let _ = writeln!(
        text,
        "\tReferences:  [ States:  {:<18} Rules: {:<18} ]",
        kif.states, kif.rules
    );
    for (family, (packets, bytes)) in ["4", "6"].iter().zip(kif.packets.iter().zip(&kif.bytes)) {
        for (direction, (packets, bytes)) in ["In", "Out"].iter().zip(packets.iter().zip(bytes)) {
            for (fate, (packets, bytes)) in ["Pass", "Block"].iter().zip(packets.iter().zip(bytes)) {
                let title = format!("{direction}{family}/{fate}:");
                let _ = writeln!(text, "\t{title:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::IfName;

    #[test]
    fn an_interface_says_more_when_asked() {
        let mut kif = Kif {
            name: IfName::new("em0").unwrap(),
            flags: PFI_IFLAG_SKIP,
            ..Kif::default()
        };
        kif.packets[1][1][0] = 7;
        kif.bytes[1][1][0] = 700;
        assert_eq!(interface_text(&kif, 0), "em0\n");
        assert_eq!(interface_text(&kif, 1), "em0 (skip) (not there)\n");
        let text = interface_text(&kif, 2);
        assert!(
            text.contains("\tOut6/Pass:   [ Packets: 7                  Bytes: 700                ]\n"),
            "{text}"
        );
    }
}
