//! What `scrub reassemble tcp` knows of a connection: of each end, its TTL and its clock.
//!
//! # Locking
//! Under a lock of its own in [`Extra`](super::Extra), taken before or after the state's, never with it in hand.

use pf_abi::{PFSS_DATA_NOTS, PFSS_DATA_TS, PFSS_TIMESTAMP, PFSYNC_SCRUB_FLAG_VALID, SyncScrub};

/// Whether data comes with timestamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataStamps {
    /// There was no data yet.
    #[default]
    Unknown,
    /// The first data had some.
    With,
    /// The first data had none.
    Without,
}

/// The clock of an end, as its timestamps show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The latest timestamp.
    pub latest: u32,
    /// When it was seen, in seconds of uptime.
    pub seen: u32,
    /// The first timestamp of the connection, where that was seen.
    pub first: Option<u32>,
}

/// One end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubPeer {
    /// A segment of it has been seen: whether its timestamps are modulated is settled.
    pub is_known: bool,
    /// The highest TTL or hop limit that it sent.
    pub ttl: u8,
    /// What is added to its timestamps, if they are modulated.
    pub modulator: Option<u32>,
    /// Whether its data comes with timestamps.
    pub data: DataStamps,
    /// Its clock; nothing before it has shown it, or since the state was restored.
    pub clock: Option<Clock>,
    /// The latest timestamp of the other end that it has echoed.
    pub echoed: Option<u32>,
}

impl ScrubPeer {
    /// The end in a record of its state. Its clock is not in there: it will have moved on.
    pub fn export(&self) -> SyncScrub {
        let mut flags = match self.data {
            DataStamps::Unknown => 0,
            DataStamps::With => PFSS_DATA_TS,
            DataStamps::Without => PFSS_DATA_NOTS,
        };
        if self.modulator.is_some() {
            flags |= PFSS_TIMESTAMP;
        }
        SyncScrub {
            flags,
            ttl: self.ttl,
            scrub_flag: PFSYNC_SCRUB_FLAG_VALID,
            ts_mod: self.modulator.unwrap_or(0),
        }
    }

    /// The end of a record. `is_known`: it has sent something.
    pub fn import(record: &SyncScrub, is_known: bool) -> Self {
        let has = |flag| record.flags & flag != 0;
        ScrubPeer {
            is_known,
            ttl: record.ttl,
            modulator: has(PFSS_TIMESTAMP).then_some(record.ts_mod),
            data: if has(PFSS_DATA_TS) {
                DataStamps::With
            } else if has(PFSS_DATA_NOTS) {
                DataStamps::Without
            } else {
                DataStamps::Unknown
            },
            clock: None,
            echoed: None,
        }
    }
}
