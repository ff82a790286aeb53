//! What the ABI's rule asks for: its action, and what is refused because it is not done here.
//!
//! # Locking
//! None.

use pf_abi as abi;

use super::{Action, Answer, Endpoint};
use crate::kpi::Errno;
use crate::mem::{KBox, KVec};
use crate::nat::{Pool, Purpose};
use crate::source::Limits;
use crate::table::TableRef;
use crate::wire::Af;

/// The last type of ICMP that NetBSD has a name for, and with which a packet may be answered.
const ICMP_MAXTYPE: u16 = 40;
/// The last type of ICMPv6 that is an error's (RFC 4443, 2.1).
const ICMP6_LAST_ERROR: u16 = 127;

/// What a blocked packet's sender hears, or the other actions.
pub(super) fn action(source: &abi::Rule) -> Result<Action, Errno> {
    let flags = source.rule_flag;
    if source.return_icmp >> 8 > ICMP_MAXTYPE || source.return_icmp6 >> 8 > ICMP6_LAST_ERROR {
        return Err(Errno::Einval);
    }
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
        abi::Action::Nat | abi::Action::Rdr | abi::Action::Binat => Action::Translate,
        abi::Action::NoNat | abi::Action::NoRdr | abi::Action::NoBinat => Action::NoTranslation,
        abi::Action::Scrub => Action::Scrub,
        abi::Action::NoScrub => Action::NoScrub,
        abi::Action::SynproxyDrop => return Err(Errno::Einval),
    })
}

/// A rule that asks for what is not done here is refused, rather than loaded and not obeyed.
pub(super) fn refuse_unsupported(source: &abi::Rule) -> Result<(), Errno> {
    let flags = abi::PFRULE_RETURNRST | abi::PFRULE_RETURNICMP | abi::PFRULE_RETURN | abi::PFRULE_FRAGMENT
        | abi::PFRULE_IFBOUND
        // Nothing announces states, so none is announced.
        | abi::PFRULE_NOSYNC
        | abi::PFRULE_SRCTRACK
        | abi::PFRULE_RULESRCTRACK
        | super::scrub::FLAGS;
    let asks = source.rule_flag & !flags != 0 || source.rtableid > 0;
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

/// The pool of a rule: of a translation, or of a filter rule that says where packets go.
pub(super) fn pool(
    source: &abi::Rule,
    addresses: KVec<abi::PoolAddr>,
    tables: &[Option<TableRef>],
    af: Option<Af>,
    inside: &Endpoint,
) -> Result<Option<KBox<Pool>>, Errno> {
    let purpose = match abi::Action::try_from(source.action) {
        Ok(abi::Action::Nat | abi::Action::Rdr) => Purpose::Translation,
        Ok(abi::Action::Binat) => Purpose::Binat,
        _ => match abi::Route::try_from(source.rt).map_err(|_| Errno::Einval)? {
            abi::Route::To | abi::Route::ReplyTo | abi::Route::DupTo => Purpose::Route,
            abi::Route::None | abi::Route::Fast if addresses.is_empty() => return Ok(None),
            abi::Route::None | abi::Route::Fast => return Err(Errno::Einval),
        },
    };
    if purpose != Purpose::Route && source.rt != abi::PF_NOPFROUTE {
        return Err(Errno::Einval);
    }
    let pool = KBox::new(Pool::new(&source.rpool, addresses, tables, af, purpose)?)?;
    if purpose == Purpose::Binat && !inside.is_network() {
        return Err(Errno::Einval);
    }
    if purpose == Purpose::Binat && inside.fixed_mask().is_some_and(|mask| !pool.is_as_large_as(mask)) {
        return Err(Errno::Einval);
    }
    Ok(Some(pool))
}

/// What a rule allows each source. EINVAL for limits without `source-track`, and for a rate without seconds.
pub(super) fn limits(source: &abi::Rule) -> Result<Limits, Errno> {
    let limits = Limits::new(source);
    let tracks = source.action == abi::PF_PASS && source.keep_state != 0;
    let is_sound = match limits.track {
        Some(_) => tracks && (limits.max_conn_rate.limit == 0 || limits.max_conn_rate.seconds != 0),
        None => limits == Limits::default(),
    };
    if is_sound { Ok(limits) } else { Err(Errno::Einval) }
}
