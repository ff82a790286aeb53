//! Tables as pfctl(8) handles them.

use std::net::IpAddr;

use pf::kpi::Errno;
use pf_abi::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Machine, addr};

/// A table, by `name` or `anchor:name`.
pub(crate) fn table(name: &str) -> Table {
    let (anchor, name) = name.split_once(':').unwrap_or(("", name));
    Table {
        anchor: AnchorPath::new(anchor).unwrap(),
        name: TableName::new(name).unwrap(),
        ..Table::default()
    }
}

/// `10.0.0.0/8`, `! 2001:db8::1`
pub(crate) fn table_addr(text: &str) -> TableAddr {
    let (text, not) = match text.strip_prefix("! ") {
        Some(text) => (text, 1),
        None => (text, 0),
    };
    let (ip, net) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().unwrap();
    let (af, most) = if ip.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
    TableAddr {
        addr: addr(ip),
        af,
        net: net.parse().unwrap_or(most),
        not,
        fback: 0,
    }
}

/// The same the other way round.
pub(crate) fn text(address: &TableAddr) -> String {
    let not = if address.not != 0 { "! " } else { "" };
    let ip = address.addr.to_ip(address.af).unwrap();
    match (address.af, address.net) {
        (AF_INET, 32) | (AF_INET6, 128) => format!("{not}{ip}"),
        (_, net) => format!("{not}{ip}/{net}"),
    }
}

pub(crate) fn addrs(texts: &[&str]) -> Vec<TableAddr> {
    texts.iter().map(|text| table_addr(text)).collect()
}

/// What became of each.
pub(crate) fn feedback(addresses: &[TableAddr]) -> Vec<Feedback> {
    addresses
        .iter()
        .map(|it| Feedback::try_from(it.fback).unwrap())
        .collect()
}

impl Machine {
    /// An ioctl about tables with an array of elements: the argument and the array as they come back.
    pub(crate) fn table_call<T: FromBytes + IntoBytes + Immutable + Clone>(
        &self,
        may_write: bool,
        cmd: u64,
        mut arg: IocTable,
        array: &mut [T],
    ) -> Result<IocTable, Errno> {
        arg.buffer = self.memory.put(array.as_bytes());
        arg.esize = size_of::<T>() as i32;
        if arg.size == 0 {
            arg.size = array.len() as i32;
        }
        let result = if may_write {
            self.ioctl(cmd, &mut arg)
        } else {
            self.read_ioctl(cmd, &mut arg)
        };
        let bytes = self.memory.take(arg.buffer);
        for (element, bytes) in array.iter_mut().zip(bytes.chunks(size_of::<T>())) {
            *element = T::read_from_bytes(bytes).unwrap();
        }
        result.map(|()| arg)
    }

    /// Some of DIOCRADDADDRS and its like, on a table.
    pub(crate) fn addresses_call(
        &self,
        cmd: u64,
        name: &str,
        flags: i32,
        addresses: &mut [TableAddr],
    ) -> Result<IocTable, Errno> {
        let arg = IocTable {
            table: table(name),
            flags,
            ..IocTable::default()
        };
        self.table_call(true, cmd, arg, addresses)
    }

    /// `pfctl -t NAME -T add`: how many were added.
    pub(crate) fn add_addresses(&self, name: &str, addresses: &[&str]) -> Result<i32, Errno> {
        self.addresses_call(DIOCRADDADDRS, name, 0, &mut addrs(addresses))
            .map(|arg| arg.nadd)
    }

    /// DIOCRADDTABLES with flags: how many were added.
    pub(crate) fn add_tables(&self, names: &[&str], flags: u32) -> Result<i32, Errno> {
        let table = |name: &&str| Table { flags, ..table(name) };
        let mut tables: Vec<Table> = names.iter().map(table).collect();
        self.table_call(true, DIOCRADDTABLES, IocTable::default(), &mut tables)
            .map(|arg| arg.nadd)
    }

    /// A persistent table with these addresses.
    pub(crate) fn make_table(&self, name: &str, addresses: &[&str]) {
        self.add_tables(&[name], PFR_TFLAG_PERSIST).unwrap();
        self.add_addresses(name, addresses).unwrap();
    }

    fn get_all<T: FromBytes + IntoBytes + Immutable + Clone + Default>(
        &self,
        cmd: u64,
        arg: &IocTable,
    ) -> Result<Vec<T>, Errno> {
        let asked = self.table_call::<T>(false, cmd, arg.clone(), &mut [])?;
        let mut all = vec![T::default(); asked.size as usize];
        let got = self.table_call(false, cmd, arg.clone(), &mut all)?;
        assert_eq!(got.size as usize, all.len());
        Ok(all)
    }

    /// All addresses of a table, as a reader sees them.
    pub(crate) fn table_addresses(&self, name: &str) -> Result<Vec<String>, Errno> {
        let arg = IocTable {
            table: table(name),
            ..IocTable::default()
        };
        let all: Vec<TableAddr> = self.get_all(DIOCRGETADDRS, &arg)?;
        Ok(all.iter().map(text).collect())
    }

    /// The counters of the addresses of a table.
    pub(crate) fn address_stats(&self, name: &str) -> Vec<TableAddrStats> {
        let arg = IocTable {
            table: table(name),
            ..IocTable::default()
        };
        self.get_all(DIOCRGETASTATS, &arg).unwrap()
    }

    /// All tables of all anchors, `anchor:name`, and their flags.
    pub(crate) fn tables(&self) -> Vec<(String, u32)> {
        let arg = IocTable {
            flags: PFR_FLAG_ALLRSETS,
            ..IocTable::default()
        };
        let all: Vec<Table> = self.get_all(DIOCRGETTABLES, &arg).unwrap();
        let shown = |table: &Table| match (table.anchor.as_str().unwrap(), table.name.as_str().unwrap()) {
            ("", name) => (name.to_owned(), table.flags),
            (anchor, name) => (format!("{anchor}:{name}"), table.flags),
        };
        all.iter().map(shown).collect()
    }

    /// The counters of a table.
    pub(crate) fn table_stats(&self, name: &str) -> TableStats {
        let of = table(name);
        let arg = IocTable {
            flags: PFR_FLAG_ALLRSETS,
            ..IocTable::default()
        };
        let all: Vec<TableStats> = self.get_all(DIOCRGETTSTATS, &arg).unwrap();
        let found = all
            .into_iter()
            .find(|it| it.t.name == of.name && it.t.anchor == of.anchor);
        found.unwrap()
    }
}
