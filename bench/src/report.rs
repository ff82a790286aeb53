//! What was measured, as a table for a person and as JSON for a program.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Record {
    /// What was measured.
    pub(crate) name: &'static str,
    /// States in the table.
    pub(crate) states: usize,
    /// Nanoseconds for one operation: the median of all passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ns: Option<f64>,
    /// Bytes for one state, everything counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<f64>,
    /// Bytes for one state that the allocator gave: what is counted, and what the last slabs have left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocated_bytes: Option<f64>,
    /// What it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baseline: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baseline_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baseline_bytes: Option<f64>,
    /// How many times the baseline takes as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// Of 10,000 operations, all but one took no longer, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ns_9999: Option<f64>,
    /// The longest took so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ns_max: Option<f64>,
    /// Filter rules that are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<usize>,
    /// Distinct addresses of the states.
    pub(crate) addresses: usize,
}

impl Record {
    /// A time beside the baseline's.
    pub(crate) fn compared(name: &'static str, states: usize, addresses: usize, [ns, baseline_ns]: [f64; 2]) -> Self {
        Record {
            name,
            states,
            addresses,
            ns: Some(tenths(ns)),
            baseline: Some("rbtree"),
            baseline_ns: Some(tenths(baseline_ns)),
            ratio: Some(tenths(baseline_ns / ns)),
            ..Record::default()
        }
    }
}

/// Rounded to what can be told apart.
pub(crate) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Where records go.
pub(crate) struct Report {
    json: Option<BufWriter<File>>,
    last: &'static str,
}

impl Report {
    /// To standard output, and as JSON to a file, if one is named.
    pub(crate) fn new(json: Option<&Path>) -> anyhow::Result<Self> {
        let json = json.map(|path| File::create(path).with_context(|| format!("cannot write {}", path.display())));
        Ok(Report {
            json: json.transpose()?.map(BufWriter::new),
            last: "",
        })
    }

    pub(crate) fn add(&mut self, record: &Record) -> anyhow::Result<()> {
        if self.last != record.name {
            self.last = record.name;
            println!("\n{}", record.name);
        }
        print!(
            "{:>12} states {:>8} addresses",
            grouped(record.states),
            grouped(record.addresses)
        );
        if let Some(rules) = record.rules {
            print!(" {rules:>3} rules");
        }
        if let Some(ns) = record.ns {
            print!("{ns:>10.1} ns");
        }
        if let (Some(most), Some(longest)) = (record.ns_9999, record.ns_max) {
            print!(" {most:>10.0} ns for 99.99 % of them, {longest:>10.0} ns for the longest");
        }
        if let Some(bytes) = record.bytes {
            print!("{bytes:>10.1} bytes");
        }
        if let Some(bytes) = record.allocated_bytes {
            print!(" ({bytes:.1} allocated)");
        }
        if let Some(baseline) = record.baseline {
            let (value, unit) = match (record.baseline_ns, record.baseline_bytes) {
                (Some(ns), _) => (ns, "ns"),
                (None, bytes) => (bytes.unwrap_or_default(), "bytes"),
            };
            print!("   {baseline} {value:>8.1} {unit}");
            if let Some(ratio) = record.ratio {
                print!(", {ratio:.1} times as much");
            }
        }
        println!();
        if let Some(json) = &mut self.json {
            serde_json::to_writer(&mut *json, record)?;
            json.write_all(b"\n")?;
            json.flush()?;
        }
        Ok(())
    }
}

/// 1000000 as 1,000,000.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_object_without_what_it_does_not_say() {
        let record = Record::compared("state-lookup", 1_000_000, 131_000, [100.04, 900.0]);
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"name":"state-lookup","states":1000000,"ns":100.0,"baseline":"rbtree","baseline_ns":900.0,"ratio":9.0,"addresses":131000}"#
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1000, 4_000_000].map(grouped),
            ["0", "999", "1,000", "4,000,000"]
        );
    }
}
