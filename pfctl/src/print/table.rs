//! Tables and their addresses.

use super::addr::ip_text;
use super::clock::time_text;
use pf_abi::{
    AF_INET6, Feedback, PFR_DIR_MAX, PFR_OP_TABLE_MAX, PFR_TFLAG_ACTIVE, PFR_TFLAG_CONST, PFR_TFLAG_INACTIVE,
    PFR_TFLAG_PERSIST, PFR_TFLAG_REFDANCHOR, PFR_TFLAG_REFERENCED, Table, TableAddr, TableAddrStats, TableStats,
};
use std::fmt::Write as _;

/// Directions and what became of packets.
const STATS: [[&str; PFR_OP_TABLE_MAX]; PFR_DIR_MAX] = [
    ["In/Block:", "In/Pass:", "In/XPass:"],
    ["Out/Block:", "Out/Pass:", "Out/XPass:"],
];

/// A table: its name, and with `verbose` its flags and its anchor.
pub fn table_text(table: &Table, verbose: bool) -> String {
    let name = table.name.as_str().unwrap_or("?");
    if !verbose {
        return format!("{name}\n");
    }
    let mut text = String::new();
    for (flag, letter) in [
        (PFR_TFLAG_CONST, 'c'),
        (PFR_TFLAG_PERSIST, 'p'),
        (PFR_TFLAG_ACTIVE, 'a'),
        (PFR_TFLAG_INACTIVE, 'i'),
        (PFR_TFLAG_REFERENCED, 'r'),
        (PFR_TFLAG_REFDANCHOR, 'h'),
    ] {
        text.push(if table.flags & flag != 0 { letter } else { '-' });
    }
    let _ = write!(text, "\t{name}");
    if let Some(anchor) = table.anchor.as_str().filter(|anchor| !anchor.is_empty()) {
        let _ = write!(text, "\t{anchor}");
    }
    text.push('\n');
    text
}

/// A table with all that it has counted.
pub fn table_stats_text(stats: &TableStats) -> String {
    let mut text = table_text(&stats.t, true);
    let _ = writeln!(text, "\tAddresses:   {}", stats.cnt);
    let _ = writeln!(text, "\tCleared:     {}", time_text(stats.tzero));
    let [rules, anchors] = stats.refcnt;
    let _ = writeln!(text, "\tReferences:  [ Anchors: {anchors:<18} Rules: {rules:<18} ]");
    let _ = writeln!(
        text,
        "\tEvaluations: [ NoMatch: {:<18} Match: {:<18} ]",
        stats.nomatch, stats.matched
    );
    counters(&mut text, &stats.packets, &stats.bytes);
    text
}

fn counters<const N: usize>(text: &mut String, packets: &[[u64; N]; PFR_DIR_MAX], bytes: &[[u64; N]; PFR_DIR_MAX]) {
    for (words, (packets, bytes)) in STATS.iter().zip(packets.iter().zip(bytes)) {
        for (word, (packets, bytes)) in words.iter().zip(packets.iter().zip(bytes)) {
            let _ = writeln!(text, "\t{word:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]");
        }
    }
}

fn network(address: &TableAddr) -> String {
    let not = if address.not != 0 { '!' } else { ' ' };
    let full = if address.af == AF_INET6 { 128 } else { 32 };
    let ip = ip_text(&address.addr, address.af);
    if address.net < full {
        format!("{not}{ip}/{}", address.net)
    } else {
        format!("{not}{ip}")
    }
}

/// An address, with the letter of what became of it.
pub fn address_line(address: &TableAddr) -> String {
    format!("{} {}\n", letter(address), network(address))
}

/// An address that was looked for, and the entry that it was found by.
pub fn tested_line(address: &TableAddr, found: &TableAddr) -> String {
    let by = match Feedback::try_from(found.fback) {
        Ok(Feedback::None) => "\t nomatch".to_owned(),
        _ => format!("\t{}", network(found)),
    };
    format!("{} {}{by}\n", letter(found), network(address))
}

fn letter(address: &TableAddr) -> char {
    match Feedback::try_from(address.fback) {
        Ok(Feedback::None | Feedback::NotMatch) => ' ',
        Ok(Feedback::Match) => 'M',
        Ok(Feedback::Added) => 'A',
        Ok(Feedback::Deleted) => 'D',
        Ok(Feedback::Changed) => 'C',
        Ok(Feedback::Cleared) => 'Z',
        Ok(Feedback::Duplicate) => 'X',
        Ok(Feedback::Conflict) => 'Y',
        Err(_) => '?',
    }
}

/// An address with all that it has counted.
pub fn address_stats_text(stats: &TableAddrStats) -> String {
    let mut text = address_line(&stats.a);
    let _ = writeln!(text, "\tCleared:     {}", time_text(stats.tzero));
    counters(&mut text, &stats.packets, &stats.bytes);
    text
}
