//! docs/ioctl.md says what each ioctl needs of its caller: the same as the table by which they are served.

use std::collections::BTreeMap;

use pf::Access;
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
        .map(|(cmd, access)| {
            let permission = match access {
                Access::Read => "read",
                Access::Write | Access::WriteOrTry => "write",
            };
            let name = ioctl::name(cmd).expect("it has a name").to_owned();
            (name, [(cmd & 0xff).to_string(), permission.to_owned()])
        })
        .collect();
    let rows = rows();
    let documented: BTreeMap<String, [String; 2]> = rows
        .iter()
        .cloned()
        .map(|[name, number, permission]| {
            // "read; write to clear" is open to readers.
            let permission = permission.split(';').next().unwrap_or_default().to_owned();
            (name, [number, permission])
        })
        .collect();
    assert_eq!(rows.len(), documented.len(), "none twice");
    for (name, row) in &served {
        assert_eq!(documented.get(name), Some(row), "{name}");
    }
    assert_eq!(documented.len(), served.len(), "none that is not served");
}

#[test]
fn the_manual_page_has_every_ioctl() {
    for (cmd, _) in pf::ioctls() {
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
