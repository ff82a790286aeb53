//! What the ABI's rule asks for: its action, and what is refused because it is not done here.
//!
//! # Locking
//! None.

use pf_abi as abi;

use super::{Action, Answer};
use crate::kpi::Errno;

/// What a blocked packet's sender hears, or the other actions.
pub(super) fn action(source: &abi::Rule) -> Result<Action, Errno> {
    let flags = source.rule_flag;
    // 0 stands for none.
    let icmp = |word: u16| (word != 0).then_some(((word >> 8) as u8, word as u8));
    Ok(match abi::Action::try_from(source.action).map_err(|_| Errno::Einval)? {
        abi::Action::Pass => Action::Pass,
        abi::Action::Drop => {
            let with_icmp = flags & (abi::PFRULE_RETURNICMP | abi::PFRULE_RETURN) != 0;
            Action::Block(Answer {
                reset: (flags & (abi::PFRULE_RETURNRST | abi::PFRULE_RETURN) != 0).then_some(source.return_ttl),
                icmp: if with_icmp { icmp(source.return_icmp) } else { None },
                icmp6: if with_icmp { icmp(source.return_icmp6) } else { None },
            })
        }
        abi::Action::Nat | abi::Action::Rdr => Action::Translate,
        abi::Action::NoNat | abi::Action::NoRdr => Action::NoTranslation,
        abi::Action::Scrub => Action::Scrub,
        abi::Action::NoScrub => Action::NoScrub,
        abi::Action::Binat | abi::Action::NoBinat => {
            return Err(Errno::Eopnotsupp);
        }
        abi::Action::SynproxyDrop => return Err(Errno::Einval),
    })
}

/// A rule that asks for what is not done here is refused, rather than loaded and not obeyed.
pub(super) fn refuse_unsupported(source: &abi::Rule) -> Result<(), Errno> {
    let flags = abi::PFRULE_RETURNRST | abi::PFRULE_RETURNICMP | abi::PFRULE_RETURN | abi::PFRULE_FRAGMENT
        | abi::PFRULE_IFBOUND
        // Nothing announces states, so none is announced.
        | abi::PFRULE_NOSYNC
        | super::scrub::FLAGS;
    let asks = source.rule_flag & !flags != 0
        || source.rt != abi::PF_NOPFROUTE
        || source.rtableid > 0
        || source.max_src_nodes != 0
        || source.max_src_states != 0
        || source.max_src_conn != 0
        || source.max_src_conn_rate.limit != 0
        || !source.overload_tblname.is_empty();
    if asks { Err(Errno::Eopnotsupp) } else { Ok(()) }
}

/// Takes out of a rule what is the kernel's to say.
pub(super) fn strip(source: &mut abi::Rule) {
    source.skip = Default::default();
    source.entries = Default::default();
    source.rpool.list = Default::default();
    source.rpool.cur = Default::default();
    source.kif = Default::default();
    source.anchor = Default::default();
    source.overload_tbl = Default::default();
    source.src.addr.p = 0;
    source.dst.addr.p = 0;
    source.evaluations = 0;
    source.packets = [0; 2];
    source.bytes = [0; 2];
    source.states = 0;
    source.src_nodes = 0;
}
