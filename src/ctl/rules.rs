//! Transactions over lists of rules, and what is loaded.
//!
//! # Life cycle
//! DIOCXBEGIN empties the staged list of each kind that it names and hands out a ticket; DIOCADDRULE adds to a staged list by its
//! ticket, with the addresses that DIOCBEGINADDRS and DIOCADDADDR have gathered; DIOCXCOMMIT puts all staged lists of a transaction
//! in place at once. Who begins takes the lists over, and the tickets of whoever was at it before no longer count. Whatever fails,
//! what is loaded stays as it is; a transaction whose commit runs out of memory is over.
//!
//! Only the main ruleset is there: nothing can be loaded into an anchor, and there is none to ask about.
//!
//! # Locking
//! All under the control mutex; the lists that packets see are read in passive sections.

use core::mem::{offset_of, take};
use core::sync::atomic::Ordering;

use pf_abi::{
    AF_INET, AF_INET6, AF_UNSPEC, Action, AddrKind, AddrWrap, AnchorPath, IfName, IocPoolAddr, IocRule, IocRuleset,
    IocTrans, IocTransE, NO_RULE, PF_GET_CLR_CNTR, PF_GET_NONE, PoolAddr, RulesetKind,
};
use zerocopy::IntoBytes;

use super::{Control, element, interfaces, name};
use crate::Pf;
use crate::iface;
use crate::kpi::{Caller, Errno, SoftNet};
use crate::mem::{KArc, KBox, KVec};
use crate::rule::{self, Numbers, Rule, RuleList};

/// Lists that a transaction may have.
const MAX_ELEMENTS: usize = 64;
/// Rules that a list may have.
const MAX_RULES: usize = 1 << 20;
/// Addresses that a rule's pool may have.
const MAX_ADDRESSES: usize = 1 << 16;
/// Rules whose counters are cleared before a packet may come between.
const BATCH: usize = 256;

/// Kinds of lists, the queues and the tables counted.
const KINDS: usize = RulesetKind::ALL.len();

/// What is being loaded.
#[derive(Default)]
pub(super) struct Staging {
    /// By [`RulesetKind`].
    lists: [Staged; KINDS],
    /// The ticket of the pool.
    pool_ticket: u32,
    /// The addresses of the next rule's pool.
    pool: KVec<PoolAddr>,
}

/// A list that is being loaded.
#[derive(Default)]
struct Staged {
    /// Between begin and commit or rollback.
    open: bool,
    /// The ticket of who is loading it.
    ticket: u32,
    /// The ticket of what is loaded.
    active: u32,
    rules: RuleList,
}

impl Staged {
    /// Empties it and hands out a new ticket.
    fn begin(&mut self) -> u32 {
        self.rules = RuleList::new();
        self.open = true;
        self.ticket = self.ticket.wrapping_add(1);
        self.ticket
    }

    /// Whether who has this ticket is loading it.
    fn is_of(&self, ticket: u32) -> bool {
        self.open && self.ticket == ticket
    }

    /// Ends the loading.
    fn end(&mut self) -> RuleList {
        self.open = false;
        take(&mut self.rules)
    }
}

impl Staging {
    fn list(&mut self, kind: RulesetKind) -> &mut Staged {
        &mut self.lists[kind as usize]
    }
}

/// Refuses what is about an anchor.
pub(super) fn main_ruleset(anchor: &AnchorPath, otherwise: Errno) -> Result<(), Errno> {
    match anchor.to_bytes() {
        Some([]) => Ok(()),
        Some(_) => Err(otherwise),
        None => Err(Errno::Einval),
    }
}

/// The kind of list that a rule with this action stands in.
fn kind_of(action: u8) -> Result<RulesetKind, Errno> {
    let action = Action::try_from(action).map_err(|_| Errno::Einval)?;
    action.ruleset().ok_or(Errno::Einval)
}

/// Fetches the lists of a transaction and their tickets.
///
/// # Errors
/// ENODEV for elements of another size, as NetBSD's pf answers; EINVAL for too many, for a kind that there is not (with ALTQ's, as
/// where there is no ALTQ), EOPNOTSUPP for anchors; EFAULT, ENOMEM.
fn elements(caller: &Caller<'_>, arg: &IocTrans) -> Result<KVec<(RulesetKind, u32)>, Errno> {
    if usize::try_from(arg.esize) != Ok(size_of::<IocTransE>()) {
        return Err(Errno::Enodev);
    }
    let size = usize::try_from(arg.size).map_err(|_| Errno::Einval)?;
    if size > MAX_ELEMENTS {
        return Err(Errno::Einval);
    }
    let mut elements = KVec::with_capacity(size)?;
    let mut each: KBox<IocTransE> = KBox::zeroed()?;
    for at in 0..size {
        caller
            .memory
            .copyin(element::<IocTransE>(arg.array, at)?, each.as_mut_bytes())?;
        main_ruleset(&each.anchor, Errno::Eopnotsupp)?;
        match RulesetKind::try_from(each.rs_num) {
            Ok(RulesetKind::Altq) | Err(_) => return Err(Errno::Einval),
            Ok(kind) => elements.push((kind, each.ticket))?,
        }
    }
    Ok(elements)
}

/// DIOCXBEGIN.
pub(super) fn begin(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTrans) -> Result<(), Errno> {
    let elements = elements(caller, arg)?;
    let mut control = pf.control.lock();
    for (at, (kind, _)) in elements.iter().enumerate() {
        let ticket = control.staging.list(*kind).begin();
        let to = element::<IocTransE>(arg.array, at)?.checked_add(offset_of!(IocTransE, ticket) as u64);
        let written = to
            .ok_or(Errno::Efault)
            .and_then(|to| caller.memory.copyout(ticket.as_bytes(), to));
        if let Err(errno) = written {
            // Nobody knows the tickets that were given out.
            for (kind, _) in elements.iter().take(at + 1) {
                control.staging.list(*kind).end();
            }
            return Err(errno);
        }
    }
    Ok(())
}

/// DIOCXROLLBACK. Lists that are not the caller's any more are not touched.
pub(super) fn roll_back(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTrans) -> Result<(), Errno> {
    let elements = elements(caller, arg)?;
    let mut control = pf.control.lock();
    for (kind, ticket) in elements.iter() {
        let staged = control.staging.list(*kind);
        if staged.is_of(*ticket) {
            staged.end();
        }
    }
    Ok(())
}

/// DIOCXCOMMIT. EBUSY where a ticket is not, or no longer, good; then the transaction is as it was.
pub(super) fn commit(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTrans) -> Result<(), Errno> {
    let elements = elements(caller, arg)?;
    let mut control = pf.control.lock();
    if !elements
        .iter()
        .all(|(kind, ticket)| control.staging.list(*kind).is_of(*ticket))
    {
        return Err(Errno::Ebusy);
    }
    let mut ended: [Option<RuleList>; KINDS] = [const { None }; KINDS];
    for ((staged, ended), kind) in control.staging.lists.iter_mut().zip(&mut ended).zip(RulesetKind::ALL) {
        if elements.iter().any(|(of, _)| of == kind) {
            *ended = Some(staged.end());
        }
    }
    let mut new: [Option<KArc<RuleList>>; KINDS] = [const { None }; KINDS];
    for (list, new) in ended.into_iter().zip(&mut new) {
        *new = list.map(KArc::new).transpose()?;
    }
    let config = {
        let level = SoftNet::raise();
        let section = pf.read(&level);
        let lists = RulesetKind::ALL.iter().copied().zip(new);
        let lists = lists.filter_map(|(kind, list)| Some((kind, list?)));
        KBox::new(pf.config.read(&section).with_lists(lists))?
    };
    let scrubs = !config.scrub().rules().is_empty();
    if scrubs {
        pf.scrubs.store(true, Ordering::Relaxed);
    }
    let old = pf.config.replace(config, &pf.passive);
    pf.scrubs.store(scrubs, Ordering::Relaxed);
    for (kind, _) in elements.iter() {
        let staged = control.staging.list(*kind);
        staged.active = staged.ticket;
    }
    // The rules are freed here; nobody has to wait for that.
    drop(control);
    drop(old);
    Ok(())
}

/// DIOCBEGINADDRS.
pub(super) fn begin_addresses(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let staging = &mut pf.control.lock().staging;
    staging.pool = KVec::new();
    staging.pool_ticket = staging.pool_ticket.wrapping_add(1);
    arg.ticket = staging.pool_ticket;
    Ok(())
}

/// DIOCADDADDR. EBUSY for a stale ticket, EINVAL for what is no address of a pool, ENOSPC for too many.
pub(super) fn add_address(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    let from = &arg.addr;
    let kind = AddrKind::try_from(from.addr.kind).map_err(|_| Errno::Einval)?;
    if !matches!(kind, AddrKind::AddrMask | AddrKind::DynIfTl | AddrKind::Table)
        || !matches!(arg.af, AF_UNSPEC | AF_INET | AF_INET6)
    {
        return Err(Errno::Einval);
    }
    // Taken over field by field: no kernel pointer that it might claim, nothing in its padding.
    let address = PoolAddr {
        addr: AddrWrap {
            a: from.addr.a,
            kind: from.addr.kind,
            iflags: from.addr.iflags,
            ..AddrWrap::default()
        },
        ifname: name(&from.ifname)?,
        ..PoolAddr::default()
    };
    let staging = &mut pf.control.lock().staging;
    if arg.ticket != staging.pool_ticket {
        return Err(Errno::Ebusy);
    }
    if staging.pool.len() >= MAX_ADDRESSES {
        return Err(Errno::Enospc);
    }
    Ok(staging.pool.push(address)?)
}

/// DIOCADDRULE. The addresses that were gathered become the rule's, or are gone where it is refused.
///
/// # Errors
/// EBUSY for a stale ticket, EINVAL for what makes no sense, EOPNOTSUPP for what is not done here, ENOSPC for too many rules,
/// ENOMEM.
pub(super) fn add(pf: &Pf, caller: &Caller<'_>, arg: &mut IocRule) -> Result<(), Errno> {
    main_ruleset(&arg.anchor, Errno::Eopnotsupp)?;
    main_ruleset(&arg.anchor_call, Errno::Eopnotsupp)?;
    let kind = kind_of(arg.rule.action)?;
    let mut control = pf.control.lock();
    let staging = &mut control.staging;
    if !staging.list(kind).is_of(arg.ticket) || arg.pool_ticket != staging.pool_ticket {
        return Err(Errno::Ebusy);
    }
    let addresses = take(&mut staging.pool);
    let nr = staging.list(kind).rules.rules().len();
    if nr >= MAX_RULES {
        return Err(Errno::Enospc);
    }
    let mut source = rule::blank()?;
    source.as_mut_bytes().copy_from_slice(arg.rule.as_bytes());
    check_names(&mut source)?;
    source.cuid = caller.uid;
    source.cpid = caller.pid;
    let numbers = numbers(pf, &mut control, &source)?;
    let nr = u32::try_from(nr).map_err(|_| Errno::Enospc)?;
    let mut rule = Rule::new(source, addresses, &numbers, nr)?;
    rule.find_queues(&pf.kernel)?;
    if rule.synproxy {
        pf.handshakes.prepare()?;
    }
    Ok(control.staging.list(kind).rules.push(rule)?)
}

/// The numbers of the names that a rule speaks of, which get one where they have none.
fn numbers(pf: &Pf, control: &mut Control, rule: &pf_abi::Rule) -> Result<Numbers, Errno> {
    Ok(Numbers {
        interface: match rule.ifname {
            IfName::EMPTY => iface::ALL,
            ifname => interfaces::number(pf, control, ifname)?,
        },
        src: interfaces::dynamic(pf, control, &rule.src.addr)?,
        dst: interfaces::dynamic(pf, control, &rule.dst.addr)?,
    })
}

/// Every name of a rule ends in a NUL, and is all zeros behind it.
fn check_names(rule: &mut pf_abi::Rule) -> Result<(), Errno> {
    rule.label = name(&rule.label)?;
    rule.ifname = name(&rule.ifname)?;
    rule.qname = name(&rule.qname)?;
    rule.pqname = name(&rule.pqname)?;
    rule.tagname = name(&rule.tagname)?;
    rule.match_tagname = name(&rule.match_tagname)?;
    rule.overload_tblname = name(&rule.overload_tblname)?;
    Ok(())
}

/// Does something with the rules that are loaded.
pub(super) fn with_rules<R>(pf: &Pf, kind: RulesetKind, act: impl FnOnce(&[KArc<Rule>]) -> R) -> R {
    let level = SoftNet::raise();
    let section = pf.read(&level);
    act(pf.config.read(&section).list(kind).map_or(&[], |list| list.rules()))
}

/// The ticket of what is loaded.
pub(super) fn active_ticket(control: &mut Control, kind: RulesetKind) -> u32 {
    control.staging.list(kind).active
}

/// DIOCGETRULES.
pub(super) fn count(pf: &Pf, arg: &mut IocRule) -> Result<(), Errno> {
    main_ruleset(&arg.anchor, Errno::Einval)?;
    let kind = kind_of(arg.rule.action)?;
    let mut control = pf.control.lock();
    arg.nr = with_rules(pf, kind, |rules| u32::try_from(rules.len()).unwrap_or(u32::MAX));
    arg.ticket = control.staging.list(kind).active;
    Ok(())
}

/// DIOCGETRULE. EBUSY where the ticket is not that of what is loaded, and for a number that no rule has.
pub(super) fn get(pf: &Pf, caller: &Caller<'_>, arg: &mut IocRule) -> Result<(), Errno> {
    let clear = match arg.action {
        PF_GET_NONE => false,
        PF_GET_CLR_CNTR if !caller.may_write => return Err(Errno::Eacces),
        PF_GET_CLR_CNTR => true,
        _ => return Err(Errno::Einval),
    };
    main_ruleset(&arg.anchor, Errno::Einval)?;
    let kind = kind_of(arg.rule.action)?;
    let mut control = pf.control.lock();
    if arg.ticket != control.staging.list(kind).active {
        return Err(Errno::Ebusy);
    }
    {
        let level = SoftNet::raise();
        let section = pf.read(&level);
        let list = pf.config.read(&section).list(kind).ok_or(Errno::Ebusy)?;
        let rule = list.rules().get(arg.nr as usize).ok_or(Errno::Ebusy)?;
        rule.export(&mut arg.rule);
        let interfaces = pf.interfaces.read(&section);
        for (end, to) in [(&rule.src, &mut arg.rule.src), (&rule.dst, &mut arg.rule.dst)] {
            // Where a kernel has a pointer, a count comes out.
            to.addr.p = end.count(interfaces).map_or(0, |count| count as u64);
        }
        if clear {
            rule.clear_counters();
        }
    }
    // No rule is ever skipped: not one stands in the way of the evaluation of the next.
    arg.rule.skip.fill(NO_RULE.into());
    arg.anchor_call = AnchorPath::EMPTY;
    Ok(())
}

/// DIOCCLRRULECTRS: clears the counters of the filter rules.
pub(super) fn clear_counters(pf: &Pf) -> Result<(), Errno> {
    // What is loaded stays as long as the mutex is held.
    let _control = pf.control.lock();
    let mut from = 0;
    loop {
        let cleared = with_rules(pf, RulesetKind::Filter, |rules| {
            let batch = rules.iter().skip(from).take(BATCH);
            batch.map(|rule| rule.clear_counters()).count()
        });
        if cleared == 0 {
            return Ok(());
        }
        from += cleared;
    }
}

/// Does something with the pool of a loaded rule. EBUSY where there is no such rule.
fn with_pool<R>(pf: &Pf, arg: &IocPoolAddr, kind: RulesetKind, act: impl FnOnce(&[PoolAddr]) -> R) -> Result<R, Errno> {
    with_rules(pf, kind, |rules| {
        let rule = match arg.r_last {
            0 => rules.get(arg.r_num as usize),
            _ => rules.last(),
        };
        Ok(act(rule.ok_or(Errno::Ebusy)?.addresses()))
    })
}

/// DIOCGETADDRS.
pub(super) fn count_addresses(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    main_ruleset(&arg.anchor, Errno::Ebusy)?;
    let kind = kind_of(arg.r_action)?;
    arg.nr = with_pool(pf, arg, kind, |pool| u32::try_from(pool.len()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// DIOCGETADDR. EBUSY where the ticket is not that of what is loaded, and for a number that no address has.
pub(super) fn get_address(pf: &Pf, arg: &mut IocPoolAddr) -> Result<(), Errno> {
    main_ruleset(&arg.anchor, Errno::Ebusy)?;
    let kind = kind_of(arg.r_action)?;
    let mut control = pf.control.lock();
    if arg.ticket != control.staging.list(kind).active {
        return Err(Errno::Ebusy);
    }
    let address = with_pool(pf, arg, kind, |pool| pool.get(arg.nr as usize).copied())?;
    arg.addr = address.ok_or(Errno::Ebusy)?;
    Ok(())
}

/// DIOCGETRULESETS: none in the main ruleset. EINVAL for anchors, which there are none of.
pub(super) fn count_anchors(arg: &mut IocRuleset) -> Result<(), Errno> {
    main_ruleset(&arg.path, Errno::Einval)?;
    arg.nr = 0;
    Ok(())
}

/// DIOCGETRULESET: EBUSY, as no anchor has the number.
pub(super) fn get_anchor(arg: &mut IocRuleset) -> Result<(), Errno> {
    main_ruleset(&arg.path, Errno::Einval)?;
    Err(Errno::Ebusy)
}
