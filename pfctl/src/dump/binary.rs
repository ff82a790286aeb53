//! The binary format. All numbers are little-endian.
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | bytes of this header, 48 |
//! | 16 | 8 | when it was made, in seconds since the epoch |
//! | 24 | 4 | bytes of a rule's record, 32 |
//! | 28 | 4 | rules |
//! | 32 | 4 | bytes of a state's record, 240 |
//! | 36 | 4 | states |
//! | 40 | 8 | zero |
//!
//! Then the rules, the states (`struct pfsync_state` of NetBSD/amd64), and the CRC-32 of all before it, 4 bytes.

use super::identity::Identity;
use super::{Dump, FormatError, RuleRecord, kind_number, kind_of};
use pf_abi::SyncState;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a file. A byte above 127, both ends of lines and a NUL show at once what a transfer as text has spoiled.
pub const MAGIC: [u8; 8] = *b"\x89pfs\r\n\x1a\0";
/// The version that is written here, and the only one that is read.
pub const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    header_size: U32,
    created: U64,
    rule_size: U32,
    rules: U32,
    state_size: U32,
    states: U32,
    reserved: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RuleBytes {
    kind: U32,
    number: U32,
    ordinal: U32,
    reserved: U32,
    identity: [u8; 16],
}

const CHECKSUM_SIZE: usize = 4;

/// The bytes of a file.
pub fn encode(dump: &Dump) -> Vec<u8> {
    let header = Header {
        magic: MAGIC,
        version: U32::new(VERSION),
        header_size: U32::new(size_of::<Header>() as u32),
        created: U64::new(dump.created),
        rule_size: U32::new(size_of::<RuleBytes>() as u32),
        rules: U32::new(dump.rules.len() as u32),
        state_size: U32::new(size_of::<SyncState>() as u32),
        states: U32::new(dump.states.len() as u32),
        reserved: U64::new(0),
    };
    let mut bytes = header.as_bytes().to_vec();
    for rule in &dump.rules {
        let record = RuleBytes {
            kind: U32::new(kind_number(rule.kind).unwrap_or(u32::MAX)),
            number: U32::new(rule.number),
            ordinal: U32::new(rule.ordinal),
            reserved: U32::new(0),
            identity: rule.identity.0,
        };
        bytes.extend_from_slice(record.as_bytes());
    }
    bytes.extend_from_slice(dump.states.as_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn corrupt(what: &str) -> FormatError {
    FormatError::Corrupt(what.to_owned())
}

/// The dump in the bytes of a file.
pub fn decode(bytes: &[u8]) -> Result<Dump, FormatError> {
    let truncated = |wanted: u64| FormatError::Truncated {
        wanted,
        found: bytes.len() as u64,
    };
    // A file that ends within the magic is a truncated one as far as it goes.
    if !bytes.starts_with(&MAGIC) {
        return Err(if !bytes.is_empty() && MAGIC.starts_with(bytes) {
            truncated(size_of::<Header>() as u64)
        } else {
            FormatError::Foreign
        });
    }
    let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| truncated(size_of::<Header>() as u64))?;
    if header.version != VERSION {
        return Err(FormatError::Version(header.version.get()));
    }
    if header.header_size != size_of::<Header>() as u32
        || header.rule_size != size_of::<RuleBytes>() as u32
        || header.state_size != size_of::<SyncState>() as u32
        || header.reserved != 0
    {
        return Err(corrupt("the header has sizes that version 1 does not have"));
    }
    let rule_bytes = u64::from(header.rules.get()) * size_of::<RuleBytes>() as u64;
    let state_bytes = u64::from(header.states.get()) * size_of::<SyncState>() as u64;
    let wanted = size_of::<Header>() as u64 + rule_bytes + state_bytes + CHECKSUM_SIZE as u64;
    let found = bytes.len() as u64;
    if found < wanted {
        return Err(truncated(wanted));
    }
    if found > wanted {
        return Err(corrupt(&format!("{} bytes too many", found - wanted)));
    }
    let (summed, checksum) = bytes.split_at(bytes.len() - CHECKSUM_SIZE);
    if crc32fast::hash(summed).to_le_bytes() != checksum {
        return Err(corrupt("the checksum does not fit"));
    }
    let rest = &rest[..rest.len() - CHECKSUM_SIZE];
    let (rules, states) = rest.split_at(rule_bytes as usize);
    let rules = <[RuleBytes]>::ref_from_bytes(rules)
        .map_err(|_| corrupt("the rules"))?
        .iter()
        .map(rule)
        .collect::<Result<_, _>>()?;
    let states = states
        .chunks_exact(size_of::<SyncState>())
        .map(|bytes| SyncState::read_from_bytes(bytes).map_err(|_| corrupt("the states")))
        .collect::<Result<_, _>>()?;
    Ok(Dump {
        created: header.created.get(),
        rules,
        states,
    })
}

fn rule(record: &RuleBytes) -> Result<RuleRecord, FormatError> {
    let kind = kind_of(record.kind.get())
        .filter(|_| record.reserved == 0)
        .ok_or_else(|| corrupt("a rule of a list that does not exist"))?;
    Ok(RuleRecord {
        kind,
        number: record.number.get(),
        ordinal: record.ordinal.get(),
        identity: Identity(record.identity),
    })
}
