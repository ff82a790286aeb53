//! Fingerprints of operating systems.

use pf_abi::OsfpIoctl;
use std::collections::BTreeSet;

/// The table of `-s osfp`: each system once, in order.
pub fn fingerprints_text(all: &[OsfpIoctl]) -> String {
    let name = |name: Option<&str>| name.unwrap_or("?").to_owned();
    let systems: BTreeSet<[String; 3]> = all
        .iter()
        .map(|it| {
            [
                name(it.os.class_nm.as_str()),
                name(it.os.version_nm.as_str()),
                name(it.os.subtype_nm.as_str()),
            ]
        })
        .collect();
    let mut text = "Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------\n".to_owned();
    let mut last = None;
    for [class, version, subtype] in systems {
        if last.as_ref() != Some(&class) {
            text.push_str(&class);
            text.push('\n');
            last = Some(class);
        }
        if !version.is_empty() {
            text.push_str(&format!("\t{version}\t{subtype}\n"));
        }
    }
    text
}
