//! What a scrub rule asks for.
//!
//! # Locking
//! None: immutable.

use pf_abi as abi;

use crate::kpi::Errno;

/// The flags of rules that are about scrubbing.
pub(super) const FLAGS: u32 =
    abi::PFRULE_NODF | abi::PFRULE_FRAGCROP | abi::PFRULE_FRAGDROP | abi::PFRULE_RANDOMID | abi::PFRULE_REASSEMBLE_TCP;

/// What becomes of fragments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FragmentPolicy {
    /// `fragment reassemble`: they wait until the packet is whole.
    #[default]
    Reassemble,
    /// `fragment crop`: they pass at once, but for bytes that have passed already.
    Crop,
    /// `fragment drop-ovl`: they pass at once, until a byte would pass again.
    DropOverlaps,
}

/// How packets are normalised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrub {
    /// What becomes of fragments.
    pub fragments: FragmentPolicy,
    /// `no-df`: routers may fragment.
    pub no_df: bool,
    /// `random-id`: IPv4 packets get another identification.
    pub random_id: bool,
    /// `reassemble tcp`
    pub reassemble_tcp: bool,
    /// `min-ttl`: the least TTL; 0 for any.
    pub min_ttl: u8,
    /// `max-mss`: the highest maximum segment size; 0 for any.
    pub max_mss: u16,
}

impl Scrub {
    /// What the ABI's rule asks for.
    ///
    /// # Errors
    /// EINVAL where a rule that does not scrub asks for any of it, and for `reassemble tcp` in one direction alone.
    pub(super) fn new(source: &abi::Rule) -> Result<Self, Errno> {
        let has = |flag| source.rule_flag & flag != 0;
        let scrub = Scrub {
            fragments: if has(abi::PFRULE_FRAGDROP) {
                FragmentPolicy::DropOverlaps
            } else if has(abi::PFRULE_FRAGCROP) {
                FragmentPolicy::Crop
            } else {
                FragmentPolicy::Reassemble
            },
            no_df: has(abi::PFRULE_NODF),
            random_id: has(abi::PFRULE_RANDOMID),
            reassemble_tcp: has(abi::PFRULE_REASSEMBLE_TCP),
            min_ttl: source.min_ttl,
            max_mss: source.max_mss,
        };
        let scrubs = source.action == abi::PF_SCRUB;
        let asks = scrub != Scrub::default();
        if (asks && !scrubs) || (scrub.reassemble_tcp && source.direction != abi::PF_INOUT) {
            return Err(Errno::Einval);
        }
        Ok(scrub)
    }
}
