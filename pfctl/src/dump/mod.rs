//! The state table in a file, and back.
//!
//! `docs/dump.md` has both formats. A [`Dump`] holds the states and, for each rule that they belong to, an identity by
//! which the same rule is found again in other rules: its number may be another by then.
//!
//! The way out: lock, read states and rules, unlock, [`save`]. The way in: [`open`], which refuses what is not whole before
//! anything is touched; lock, find the rules, add the states, unlock.

pub mod binary;
pub mod identity;
mod restore;
mod store;
pub mod text;

pub use restore::{Summary, restore};
pub use store::{save, take};

use identity::Identity;
use pf_abi::{RulesetKind, SyncState};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A rule that states belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleRecord {
    /// Its list: [`RulesetKind::Filter`], [`RulesetKind::Nat`] or [`RulesetKind::Rdr`].
    pub kind: RulesetKind,
    /// Its number there, which the states have.
    pub number: u32,
    /// How many rules of the same identity stand before it.
    pub ordinal: u32,
    /// What it says.
    pub identity: Identity,
}

/// The state table of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Seconds since the epoch.
    pub created: u64,
    /// The rules that the states belong to.
    pub rules: Vec<RuleRecord>,
    /// The states.
    pub states: Vec<SyncState>,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Small and fast.
    Binary,
    /// Readable, a state a line.
    Text,
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The magic is missing.
    #[error("not a dump of pf's states")]
    Foreign,
    /// The version is not known.
    #[error("version {0} of the format is not known here: made by a newer pfctl?")]
    Version(u32),
    /// The file is shorter than it says.
    #[error("truncated: {found} bytes where there must be {wanted}")]
    Truncated {
        /// Bytes that there must be at least.
        wanted: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The checksum does not fit, or something does not go together.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a whole dump.
    #[error("{}: {source}; nothing was loaded", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
}

impl Dump {
    /// The bytes of a file.
    pub fn encode(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Binary => binary::encode(self),
            Format::Text => text::encode(self).into_bytes(),
        }
    }

    /// The dump in the bytes of a file, of either format.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if text::recognizes(bytes) {
            text::decode(bytes)
        } else {
            binary::decode(bytes)
        }
    }
}

/// Reads a file whole and checks it.
pub fn open(path: &Path) -> Result<Dump, FileError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|source| FileError::Io {
            path: path.to_owned(),
            source,
        })?;
    Dump::decode(&bytes).map_err(|source| FileError::Format {
        path: path.to_owned(),
        source,
    })
}

/// The number that a list has in a file; `None` for a list whose rules make no states.
fn kind_number(kind: RulesetKind) -> Option<u32> {
    match kind {
        RulesetKind::Filter | RulesetKind::Nat | RulesetKind::Binat | RulesetKind::Rdr => {
            u32::try_from(i32::from(kind)).ok()
        }
        _ => None,
    }
}

/// The list of a number in a file.
fn kind_of(number: u32) -> Option<RulesetKind> {
    let kind = RulesetKind::try_from(i32::try_from(number).ok()?).ok()?;
    kind_number(kind).map(|_| kind)
}
