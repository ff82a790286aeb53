//! The ioctls over tables.

use super::calls::nonsense;
use super::{Buffer, IoctlError, Pf, as_bytes_mut};
use pf_abi::{
    DIOCRADDADDRS, DIOCRADDTABLES, DIOCRCLRADDRS, DIOCRCLRTABLES, DIOCRCLRTSTATS, DIOCRDELADDRS, DIOCRDELTABLES,
    DIOCRGETADDRS, DIOCRGETASTATS, DIOCRGETTABLES, DIOCRGETTSTATS, DIOCRINADEFINE, DIOCRSETADDRS, DIOCRTSTADDRS,
    IocTable, PFR_FLAG_ADDRSTOO, PFR_FLAG_ALLRSETS, PFR_FLAG_FEEDBACK, Table, TableAddr, TableAddrStats, TableName,
    TableStats, UserPtr,
};
use std::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

type Outcome<T> = Result<T, IoctlError>;

/// Elements that an ioctl's argument points to.
trait Element: FromBytes + IntoBytes + KnownLayout + Immutable + Clone + Default {}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable + Clone + Default> Element for T {}

/// More elements than any pf has.
const MANY: usize = 1 << 26;

/// What became of a table's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// How many were added.
    pub added: i32,
    /// How many were deleted.
    pub deleted: i32,
    /// How many are negated and were not, or the other way round.
    pub changed: i32,
}

fn shown(name: &TableName) -> &str {
    name.as_str().unwrap_or("?")
}

impl Pf<'_> {
    /// A table of the ruleset that calls are about.
    pub fn table(&self, name: TableName) -> Table {
        Table {
            anchor: self.anchor,
            name,
            ..Table::default()
        }
    }

    fn about(&self, name: TableName, flags: i32) -> IocTable {
        IocTable {
            table: self.table(name),
            flags,
            ..IocTable::default()
        }
    }

    fn table_call<T: Element>(
        &mut self,
        cmd: u64,
        argument: &mut IocTable,
        elements: &mut [T],
        doing: &str,
    ) -> Outcome<()> {
        argument.esize = size_of::<T>() as i32;
        argument.size =
            i32::try_from(elements.len()).map_err(|_| nonsense(cmd, doing, "more than an int can count"))?;
        let buffer = Buffer {
            pointer_at: offset_of!(IocTable, buffer),
            bytes: as_bytes_mut(elements),
        };
        self.raw(cmd, argument.as_mut_bytes(), Some(buffer), doing)
    }

    /// All elements, however many there are by the time they are read.
    fn table_elements<T: Element>(&mut self, cmd: u64, argument: &IocTable, doing: &str) -> Outcome<Vec<T>> {
        let mut room = 64;
        loop {
            let mut elements = vec![T::default(); room];
            let mut asked = argument.clone();
            self.table_call(cmd, &mut asked, &mut elements, doing)?;
            match usize::try_from(asked.size) {
                Ok(found) if found <= room => {
                    elements.truncate(found);
                    return Ok(elements);
                }
                // Some more may come to be in between.
                Ok(found) if found <= MANY => room = found + found / 8,
                _ => return Err(nonsense(cmd, doing, "a number that cannot be")),
            }
        }
    }

    /// Defines tables: how many were not.
    pub fn add_tables(&mut self, tables: &mut [Table], flags: i32) -> Outcome<i32> {
        let mut argument = self.about(TableName::EMPTY, flags);
        self.table_call(DIOCRADDTABLES, &mut argument, tables, "adding a table")?;
        Ok(argument.nadd)
    }

    /// Deletes tables: how many there were.
    pub fn delete_tables(&mut self, tables: &mut [Table], flags: i32) -> Outcome<i32> {
        let mut argument = self.about(TableName::EMPTY, flags);
        self.table_call(DIOCRDELTABLES, &mut argument, tables, "deleting a table")?;
        Ok(argument.ndel)
    }

    /// Deletes the tables of the ruleset: how many there were.
    pub fn clear_tables(&mut self, flags: i32) -> Outcome<i32> {
        let mut argument = self.about(TableName::EMPTY, flags);
        self.raw(DIOCRCLRTABLES, argument.as_mut_bytes(), None, "deleting the tables")?;
        Ok(argument.ndel)
    }

    /// The tables of the ruleset, or those of all anchors.
    pub fn tables(&mut self, all: bool) -> Outcome<Vec<Table>> {
        let argument = self.about(TableName::EMPTY, if all { PFR_FLAG_ALLRSETS } else { 0 });
        self.table_elements(DIOCRGETTABLES, &argument, "reading the tables")
    }

    /// The same with their counters.
    pub fn table_stats(&mut self, all: bool) -> Outcome<Vec<TableStats>> {
        let argument = self.about(TableName::EMPTY, if all { PFR_FLAG_ALLRSETS } else { 0 });
        self.table_elements(DIOCRGETTSTATS, &argument, "reading the counters of the tables")
    }

    /// Clears the counters of tables and of their addresses: of how many.
    pub fn clear_table_stats(&mut self, tables: &mut [Table], flags: i32) -> Outcome<i32> {
        let mut argument = self.about(TableName::EMPTY, flags | PFR_FLAG_ADDRSTOO);
        self.table_call(
            DIOCRCLRTSTATS,
            &mut argument,
            tables,
            "clearing the counters of a table",
        )?;
        Ok(argument.nadd)
    }

    /// Removes all addresses of a table: how many there were.
    pub fn clear_addresses(&mut self, name: TableName, flags: i32) -> Outcome<i32> {
        let mut argument = self.about(name, flags);
        let doing = format!("removing the addresses of <{}>", shown(&name));
        self.raw(DIOCRCLRADDRS, argument.as_mut_bytes(), None, &doing)?;
        Ok(argument.ndel)
    }

    /// Adds addresses to a table: how many it had not.
    pub fn add_addresses(&mut self, name: TableName, addresses: &mut [TableAddr], flags: i32) -> Outcome<i32> {
        let mut argument = self.about(name, flags);
        let doing = format!("adding addresses to <{}>", shown(&name));
        self.table_call(DIOCRADDADDRS, &mut argument, addresses, &doing)?;
        Ok(argument.nadd)
    }

    /// Deletes addresses from a table: how many it had.
    pub fn delete_addresses(&mut self, name: TableName, addresses: &mut [TableAddr], flags: i32) -> Outcome<i32> {
        let mut argument = self.about(name, flags);
        let doing = format!("deleting addresses from <{}>", shown(&name));
        self.table_call(DIOCRDELADDRS, &mut argument, addresses, &doing)?;
        Ok(argument.ndel)
    }

    /// Replaces the addresses of a table. With PFR_FLAG_FEEDBACK those that were deleted are put behind the others.
    pub fn set_addresses(&mut self, name: TableName, addresses: &mut Vec<TableAddr>, flags: i32) -> Outcome<Replaced> {
        let doing = format!("replacing the addresses of <{}>", shown(&name));
        let given = addresses.len();
        let mut room = addresses.clone();
        loop {
            let size2 = i32::try_from(room.len()).unwrap_or(i32::MAX);
            let mut argument = IocTable {
                size: i32::try_from(given).unwrap_or(i32::MAX),
                esize: size_of::<TableAddr>() as i32,
                size2: if flags & PFR_FLAG_FEEDBACK != 0 { size2 } else { 0 },
                ..self.about(name, flags)
            };
            let buffer = Buffer {
                pointer_at: offset_of!(IocTable, buffer),
                bytes: as_bytes_mut(&mut room),
            };
            self.raw(DIOCRSETADDRS, argument.as_mut_bytes(), Some(buffer), &doing)?;
            let needed = match usize::try_from(argument.size2) {
                _ if flags & PFR_FLAG_FEEDBACK == 0 => given,
                Ok(needed) if (given..=MANY).contains(&needed) => needed,
                _ => return Err(nonsense(DIOCRSETADDRS, &doing, "a number that cannot be")),
            };
            if needed <= room.len() {
                room.truncate(needed);
                *addresses = room;
                return Ok(Replaced {
                    added: argument.nadd,
                    deleted: argument.ndel,
                    changed: argument.nchange,
                });
            }
            // Nothing has been done yet, but for what was written beside the addresses.
            room.clone_from(addresses);
            room.resize(needed, TableAddr::default());
        }
    }

    /// The addresses of a table.
    pub fn addresses(&mut self, name: TableName) -> Outcome<Vec<TableAddr>> {
        let doing = format!("reading the addresses of <{}>", shown(&name));
        self.table_elements(DIOCRGETADDRS, &self.about(name, 0), &doing)
    }

    /// The same with their counters.
    pub fn address_stats(&mut self, name: TableName) -> Outcome<Vec<TableAddrStats>> {
        let doing = format!("reading the counters of the addresses of <{}>", shown(&name));
        self.table_elements(DIOCRGETASTATS, &self.about(name, 0), &doing)
    }

    /// Whether hosts are in a table: how many are.
    pub fn test_addresses(&mut self, name: TableName, addresses: &mut [TableAddr], flags: i32) -> Outcome<i32> {
        let mut argument = self.about(name, flags);
        let doing = format!("looking for addresses in <{}>", shown(&name));
        self.table_call(DIOCRTSTADDRS, &mut argument, addresses, &doing)?;
        Ok(argument.nadd)
    }

    /// Defines a table in a transaction; without addresses it keeps those that it has.
    pub fn define_table(
        &mut self,
        ticket: u32,
        name: TableName,
        table_flags: u32,
        addresses: Option<&[TableAddr]>,
    ) -> Outcome<()> {
        let mut argument = IocTable {
            ticket,
            ..self.about(name, if addresses.is_some() { PFR_FLAG_ADDRSTOO } else { 0 })
        };
        argument.table.flags = table_flags;
        argument.buffer = UserPtr(0);
        let mut addresses = addresses.unwrap_or_default().to_vec();
        let doing = format!("defining <{}>", shown(&name));
        self.table_call(DIOCRINADEFINE, &mut argument, &mut addresses, &doing)
    }
}
