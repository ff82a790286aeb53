//! Status, timeouts and limits.

use pf_abi::{Debug as DebugLevel, LCNT_NAMES, Limit, PF_DROP, PF_PASS, Reason, Status, Timeout};
use std::fmt::Write as _;

/// The names of the counters of the state table and of source tracking.
const TABLE_COUNTERS: [&str; 3] = ["searches", "inserts", "removals"];

/// The status. `now` is the time in seconds since the epoch.
pub fn status_text(status: &Status, now: u64, verbose: bool) -> String {
    let runtime = now.saturating_sub(u64::from(status.since));
    let mut out = String::new();
    let running = if status.running != 0 { "Enabled" } else { "Disabled" };
    let line = if status.since == 0 {
        format!("Status: {running}")
    } else {
        let (seconds, minutes, hours) = (runtime % 60, runtime / 60 % 60, runtime / 3600 % 24);
        format!(
            "Status: {running} for {} days {hours:02}:{minutes:02}:{seconds:02}",
            runtime / 86_400
        )
    };
    let debug = match DebugLevel::try_from(status.debug) {
        Ok(DebugLevel::None) => "Debug: None",
        Ok(DebugLevel::Urgent) => "Debug: Urgent",
        Ok(DebugLevel::Misc) => "Debug: Misc",
        Ok(DebugLevel::Noisy) => "Debug: Loud",
        Err(_) => "",
    };
    let _ = writeln!(out, "{line:<44}{debug:>15}\n");
    if verbose {
        let sum: String = status.pf_chksum.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(out, "Hostid:   0x{:08x}", u32::from_be(status.hostid));
        let _ = writeln!(out, "Checksum: 0x{sum}\n");
    }
    if !status.ifname.is_empty() {
        push_interface(&mut out, status);
    }
    let _ = writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate");
    let _ = writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", status.states, "");
    for (name, count) in TABLE_COUNTERS.iter().zip(status.fcounters) {
        push_counter(&mut out, name, count, runtime);
    }
    if verbose {
        out.push_str("Source Tracking Table\n");
        let _ = writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", status.src_nodes, "");
        for (name, count) in TABLE_COUNTERS.iter().zip(status.scounters) {
            push_counter(&mut out, name, count, runtime);
        }
    }
    out.push_str("Counters\n");
    for (reason, count) in Reason::ALL.iter().zip(status.counters) {
        push_counter(&mut out, reason.name(), count, runtime);
    }
    if verbose {
        out.push_str("Limit Counters\n");
        for (name, count) in LCNT_NAMES.iter().zip(status.lcounters) {
            push_counter(&mut out, name, count, runtime);
        }
    }
    out
}

fn push_counter(out: &mut String, name: &str, count: u64, runtime: u64) {
    let _ = write!(out, "  {name:<25} {count:>14} ");
    let _ = if runtime > 0 {
        writeln!(out, "{:>14.1}/s", count as f64 / runtime as f64)
    } else {
        writeln!(out, "{:>14}", "")
    };
}

fn push_interface(out: &mut String, status: &Status) {
    let name = status.ifname.as_str().unwrap_or("?");
    let _ = writeln!(out, "Interface Stats for {name:<16} {:>5} {:>16}", "IPv4", "IPv6");
    for (index, word) in ["Bytes In", "Bytes Out"].iter().enumerate() {
        let [v4, v6] = status.bcounters.map(|family| family[index]);
        let _ = writeln!(out, "  {word:<25} {v4:>14} {v6:>16}");
    }
    for (index, word) in ["Packets In", "Packets Out"].iter().enumerate() {
        let _ = writeln!(out, "  {word}");
        for (word, action) in [("Passed", PF_PASS), ("Blocked", PF_DROP)] {
            let [v4, v6] = status.pcounters.map(|family| family[index][usize::from(action)]);
            let _ = writeln!(out, "    {word:<23} {v4:>14} {v6:>16}");
        }
    }
    out.push('\n');
}

/// The timeouts in the order in which NetBSD's pfctl lists them.
pub const TIMEOUT_ORDER: [Timeout; Timeout::COUNT] = [
    Timeout::TcpFirst,
    Timeout::TcpOpening,
    Timeout::TcpEstablished,
    Timeout::TcpClosing,
    Timeout::TcpFinWait,
    Timeout::TcpClosed,
    Timeout::TsDiff,
    Timeout::UdpFirst,
    Timeout::UdpSingle,
    Timeout::UdpMultiple,
    Timeout::IcmpFirst,
    Timeout::IcmpError,
    Timeout::OtherFirst,
    Timeout::OtherSingle,
    Timeout::OtherMultiple,
    Timeout::Frag,
    Timeout::Interval,
    Timeout::AdaptiveStart,
    Timeout::AdaptiveEnd,
    Timeout::SrcTrack,
];

/// A line of `-s timeouts`.
pub fn timeout_text(timeout: Timeout, value: i32) -> String {
    let unit = match timeout {
        Timeout::AdaptiveStart | Timeout::AdaptiveEnd => " states",
        _ => "s",
    };
    format!("{:<20} {value:>10}{unit}\n", timeout.name())
}

/// A line of `-s memory`.
pub fn limit_text(limit: Limit, value: u32) -> String {
    if value == u32::MAX {
        format!("{:<13} unlimited\n", limit.name())
    } else {
        format!("{:<13} hard limit {value:>8}\n", limit.name())
    }
}
