//! What the engine costs: states beside a red-black tree, packets through the whole of it, memory.
#![warn(unsafe_op_in_unsafe_fn)]

mod dump;
mod memory;
mod packet;
mod population;
mod rbtree;
mod report;
mod stages;
mod states;
mod tables;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use report::Report;

/// Sizes of the state table.
const STATES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 4_000_000];
/// Addresses of a table.
const ADDRESSES: usize = 500_000;
/// Bytes that a state takes in all that is measured at once: both tables, keys, what is looked up.
const BYTES_A_STATE: usize = 1200;

/// Measures the packet filter's engine: lookups, insertions and removals of states beside a red-black tree of the classical design,
/// packets of established connections, dumps, tables, memory. Takes a few minutes.
#[derive(Parser)]
#[command(bin_name = "scripts/bench")]
struct Arguments {
    /// Also write each figure to FILE, as one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fewer passes, and no more than 100,000 states: a look, not a measurement.
    #[arg(long)]
    quick: bool,
    /// This many states in the table, instead of several sizes from 1,000 to 4,000,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..=16_000_000))]
    states: Vec<u32>,
    /// Only one part: what a profiler is to look at.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The state table beside the red-black tree.
    States,
    /// Packets through the whole engine.
    Packets,
    /// Address tables beside a BTreeMap and a radix tree.
    Tables,
    /// What each stage of a packet's way adds.
    Stages,
    /// How long packets wait while all states are dumped.
    Dump,
}

impl Part {
    /// Whether this part is measured where one may have been asked for.
    fn is_asked(self, only: Option<Part>) -> bool {
        only.is_none_or(|only| only == self)
    }
}

/// States that are dumped, unless other numbers are asked for.
const DUMPED: usize = 1_000_000;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::new(arguments.json.as_deref())?;
    let (most, passes) = if arguments.quick { (100_000, 3) } else { (usize::MAX, 7) };
    let sizes: Vec<usize> = match &arguments.states[..] {
        [] => STATES.into_iter().filter(|states| *states <= most).collect(),
        sizes => sizes.iter().map(|states| *states as usize).collect(),
    };
    let available = memory::available() / BYTES_A_STATE;
    let (fitting, left_out): (Vec<_>, Vec<_>) = sizes.into_iter().partition(|states| *states <= available);

    let mut records = vec![];
    for &states in &fitting {
        if Part::States.is_asked(arguments.only) {
            eprintln!("measuring {states} states ...");
            records.extend(states::measure(states, passes));
            records.push(states::measure_crafted(states, passes));
        }
        if Part::Packets.is_asked(arguments.only) {
            eprintln!("measuring packets of {states} states ...");
            records.extend(packet::measure(states, passes)?);
        }
    }
    if Part::Packets.is_asked(arguments.only) {
        records.extend(packet::measure_rules(passes)?);
    }
    if Part::Stages.is_asked(arguments.only) {
        eprintln!("measuring stages ...");
        records.extend(stages::measure(passes)?);
    }
    if Part::Dump.is_asked(arguments.only) {
        let is_wanted = |states: &usize| !arguments.states.is_empty() || *states == DUMPED.min(most);
        for states in fitting.iter().copied().filter(is_wanted) {
            eprintln!("measuring dumps of {states} states ...");
            records.extend(dump::measure(states, passes)?);
        }
    }
    if Part::Tables.is_asked(arguments.only) {
        eprintln!("measuring tables ...");
        records.extend(tables::measure(ADDRESSES.min(most), passes));
    }
    let mut names: Vec<_> = vec![];
    for record in &records {
        if !names.contains(&record.name) {
            names.push(record.name);
        }
    }
    for name in names {
        for record in records.iter().filter(|record| record.name == name) {
            report.add(record)?;
        }
    }
    for states in left_out {
        println!("\nleft out: {states} states, for which this machine has too little memory");
    }
    Ok(())
}
