//! docs/ioctl.md says what each ioctl needs of its caller: the same as the table by which they are served.

use std::collections::BTreeMap;

use pf::{Access, Level};
use pf_abi::ioctl;

const MANUAL_PAGE: &str = include_str!("../../man/pf.4");
const DOCUMENT: &str = include_str!("../../docs/ioctl.md");

/// The rows of the tables whose first column is `ioctl`: the ioctl, its number in the group, its permission.
fn rows() -> Vec<[String; 3]> {
    let (mut rows, mut inside) = (vec![], false);
    for line in DOCUMENT.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["ioctl", "number", "permission", ..] if line.starts_with('|') => inside = true,
            [name, number, permission, ..] if inside && line.starts_with('|') => {
                if !name.starts_with("---") {
                    rows.push([name, number, permission].map(|cell| cell.trim_matches('`').to_owned()));
                }
            }
            _ => inside = false,
        }
    }
    rows
}

#[test]
fn the_document_has_every_ioctl_and_what_it_needs() {
    let served: BTreeMap<String, [String; 2]> = pf::ioctls()
        .map(|(cmd, access, level)| {
            let at_any_level = match level {
                Level::BelowTwo => "",
                Level::Any => " at any securelevel",
            };
            let permission = match access {
                Access::Read => "read".to_owned(),
                Access::ReadOrChange => format!("read; write{at_any_level} to change"),
                Access::Write => format!("write{at_any_level}"),
                Access::WriteOrTry => format!("write{at_any_level}; read to try"),
            };
            let name = ioctl::name(cmd).expect("it has a name").to_owned();
            (name, [(cmd & 0xff).to_string(), permission])
        })
        .collect();
    let rows = rows();
    let documented: BTreeMap<String, [String; 2]> = rows
        .iter()
        .cloned()
        .map(|[name, number, permission]| (name, [number, permission]))
        .collect();
    assert_eq!(rows.len(), documented.len(), "none twice");
    for (name, row) in &served {
        assert_eq!(documented.get(name), Some(row), "{name}");
    }
    assert_eq!(documented.len(), served.len(), "none that is not served");
}

#[test]
fn the_manual_page_has_every_ioctl() {
    for (cmd, ..) in pf::ioctls() {
        let name = ioctl::name(cmd).expect("it has a name");
        let item = format!(".It Dv {name}");
        assert!(
            MANUAL_PAGE
                .lines()
                .any(|line| line == item || line.starts_with(&format!("{item} "))),
            "{name}"
        );
    }
}
