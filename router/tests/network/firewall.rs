//! The packet filter of a router under test, by pfctl's library: over the control socket, in this process's memory.

use pf_abi::{Reason, Status, SyncState, TableAddr, TableName};
use pfctl::conf::diagnostic::Sources;
use pfctl::conf::parser::Macros;
use pfctl::device::{self, Access, Device, Pf};

use pfctl::dump::{Dump, Summary, restore, take};
use pfctl::lock::Held;
use pfctl::resolve::SystemResolver;
use pfctl::{conf, load};

use crate::harness::*;

/// What pfctl(8) is to a router.
pub(crate) struct Firewall(Box<dyn Device>);

impl Firewall {
    /// Connects to the router of a network.
    pub(crate) fn connect(network: &Network) -> Self {
        Firewall(device::open(&network.socket(), Access::Write).expect("the router serves its socket"))
    }

    /// The same, and loads rules and enables the filter.
    pub(crate) fn with_rules(network: &Network, rules: &str) -> Self {
        let mut firewall = Self::connect(network);
        firewall.load(rules);
        firewall.pf().start().expect("the filter can be enabled");
        firewall
    }

    fn pf(&mut self) -> Pf<'_> {
        Pf::new(&mut *self.0)
    }

    pub(crate) fn load(&mut self, rules: &str) {
        let mut sources = Sources::default();
        let file = sources.add("rules", rules);
        let config = match conf::compile(&mut sources, file, Macros::default(), &SystemResolver::new()) {
            Ok((config, _)) => config,
            Err(mistakes) => panic!("{}", mistakes.render(&sources)),
        };
        load::load(&mut self.pf(), &config).expect("the rules can be loaded");
    }

    pub(crate) fn status(&mut self) -> Status {
        self.pf().status().expect("there is a status")
    }

    /// How many packets were dropped or passed by rules, or dropped for another reason.
    pub(crate) fn count(&mut self, reason: Reason) -> u64 {
        self.status().counters[reason as usize]
    }

    /// Waits until a count is above what it was.
    pub(crate) fn wait_for_more(&mut self, reason: Reason, than: u64) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.count(reason) <= than {
            assert!(
                std::time::Instant::now() < deadline,
                "no packet is counted as {reason:?}"
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn states(&mut self) -> Vec<SyncState> {
        self.pf().states().expect("states can be read")
    }

    /// The addresses of a table.
    pub(crate) fn table(&mut self, name: &str) -> Vec<String> {
        let name = TableName::new(name).expect("it is a name");
        let addresses = self.pf().addresses(name).expect("the table is there");
        let text = |it: &TableAddr| it.addr.to_ip(it.af).expect("it is an address").to_string();
        addresses.iter().map(text).collect()
    }

    /// Removes all addresses of a table.
    pub(crate) fn empty_table(&mut self, name: &str) {
        let name = TableName::new(name).expect("it is a name");
        self.pf().clear_addresses(name, 0).expect("the table is there");
    }

    pub(crate) fn set_lock(&mut self, locked: bool) {
        self.pf().set_lock(locked).expect("the lock can be set");
    }

    /// Locks, dumps, unlocks.
    pub(crate) fn dump(&mut self) -> Dump {
        let mut held = Held::take(self.pf()).expect("the lock can be taken");
        let dump = take(&mut held).expect("states can be dumped");
        held.release().expect("the lock can be released");
        dump
    }

    /// Locks, restores, unlocks.
    pub(crate) fn restore(&mut self, dump: &Dump) -> Summary {
        let mut held = Held::take(self.pf()).expect("the lock can be taken");
        let summary = restore(&mut held, dump).expect("states can be restored");
        held.release().expect("the lock can be released");
        summary
    }
}
