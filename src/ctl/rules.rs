//! Transactions over lists of rules, and what is loaded.
//!
//! # Life cycle
//! DIOCXBEGIN empties the staged list of each kind that it names and hands out a ticket; DIOCADDRULE adds to a staged list by its
//! ticket, with the addresses that DIOCBEGINADDRS and DIOCADDADDR have gathered; DIOCXCOMMIT puts all staged lists of a transaction
//! in place at once. Who begins takes the lists over, and the tickets of whoever was at it before no longer count. Whatever fails,
//! what is loaded stays as it is; a transaction whose commit runs out of memory is over, and so is one whose file is closed.
//!
//! Every ruleset, the main one and each anchor's, has lists, transactions and tickets of its own; see [`Anchors`] for how long it
//! is there. DIOCCHANGERULE changes a list that is loaded, one rule at a time.
//!
//! # Locking
//! All under the control mutex. Whoever has it reads what is loaded without raising the level, as nobody else can replace it: work that
//! grows with the anchors and the rules there are holds up no packet.

use core::mem::{offset_of, take};
use core::sync::atomic::Ordering;

use pf_abi::{
    Action, AnchorPath, Change, IocRule, IocTrans, IocTransE, Limit, NO_RULE, PF_GET_CLR_CNTR, PoolAddr, RulesetKind,
};
use zerocopy::IntoBytes;

use super::{Control, element, fingerprints, interfaces, name, tables};
use crate::Pf;
use crate::kpi::{Caller, Errno, NoMemory, ReadSection, SoftNet};
use crate::mem::{KArc, KBox, KVec, Retired};
use crate::rule::{self, Anchors, Config, ListChange, MAIN, Numbers, Rule, RuleList, RuleTables, RulesetName, Tags};
use crate::table;

/// Lists that a transaction may have: those of a main ruleset and of many anchors.
const MAX_ELEMENTS: usize = 1 << 14;
/// Rules that a list may have.
const MAX_RULES: usize = 1 << 20;

/// Kinds of lists, the queues and the tables counted.
const KINDS: usize = RulesetKind::ALL.len();

/// What is being loaded.
pub(super) struct Staging {
    /// The rulesets and their numbers.
    pub(super) anchors: Anchors,
    /// The numbers of tags.
    tags: Tags,
    /// By the ruleset's number, and by [`RulesetKind`].
    rulesets: KVec<KVec<Staged>>,
    /// The ticket that was given out last, of any list: none is given out twice, though a ruleset go and another come.
    last_ticket: u32,
    /// The ticket of the pool.
    pub(super) pool_ticket: u32,
    /// The addresses of the next rule's pool.
    pub(super) pool: KVec<PoolAddr>,
    /// Who gathers them.
    pool_owner: u64,
}

/// A list that is being loaded.
#[derive(Default)]
struct Staged {
    /// Between begin and commit or rollback.
    open: bool,
    /// The ticket of who is loading it.
    ticket: u32,
    /// Who that is, as [`Caller::owner`] has it.
    owner: u64,
    /// The ticket of what is loaded.
    active: u32,
    rules: RuleList,
}

impl Staged {
    /// Empties it for whoever has the ticket.
    fn begin(&mut self, ticket: u32, owner: u64) {
        self.rules = RuleList::new();
        self.open = true;
        (self.ticket, self.owner) = (ticket, owner);
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
    pub(super) fn new() -> Result<Self, NoMemory> {
        Ok(Staging {
            anchors: Anchors::new()?,
            tags: Tags::default(),
            rulesets: KVec::new(),
            last_ticket: 0,
            pool_ticket: 0,
            pool: KVec::new(),
            pool_owner: NOBODY,
        })
    }

    /// An empty pool for this owner's next rule; the answer is its ticket, and the one before is no good any more.
    pub(super) fn begin_pool(&mut self, owner: u64) -> u32 {
        self.pool = KVec::new();
        self.pool_owner = owner;
        self.pool_ticket = self.pool_ticket.wrapping_add(1);
        self.pool_ticket
    }

    /// The pool, for its rule.
    fn take_pool(&mut self) -> KVec<PoolAddr> {
        self.pool_owner = NOBODY;
        take(&mut self.pool)
    }

    /// A list of a ruleset that there is.
    fn list(&mut self, list: List) -> Result<&mut Staged, NoMemory> {
        let at = usize::from(list.ruleset);
        while self.rulesets.len() <= at {
            self.rulesets.push(KVec::new())?;
        }
        let lists = self.rulesets.get_mut(at).ok_or(NoMemory)?;
        while lists.len() < KINDS {
            lists.push(Staged::default())?;
        }
        lists.get_mut(list.kind as usize).ok_or(NoMemory)
    }

    /// The same, if anybody has ever loaded anything there.
    fn known_list(&self, list: List) -> Option<&Staged> {
        self.rulesets.get(usize::from(list.ruleset))?.get(list.kind as usize)
    }

    /// Whether who has this ticket is loading the list.
    fn is_of(&self, list: List, ticket: u32) -> bool {
        self.known_list(list).is_some_and(|staged| staged.is_of(ticket))
    }

    /// Ends the loading of a list, if it is being loaded.
    fn end(&mut self, list: List) -> RuleList {
        self.list(list).map_or(RuleList::new(), Staged::end)
    }

    /// The ticket of what is loaded.
    pub(super) fn active(&self, list: List) -> u32 {
        self.known_list(list).map_or(0, |staged| staged.active)
    }

    /// The lists that are being loaded.
    pub(super) fn lists(&self) -> impl Iterator<Item = &RuleList> {
        self.rulesets
            .iter()
            .flat_map(|lists| lists.iter())
            .map(|list| &list.rules)
    }

    fn next_ticket(&mut self) -> u32 {
        self.last_ticket = self.last_ticket.wrapping_add(1).max(1);
        self.last_ticket
    }

    /// The number of the ruleset with a path.
    ///
    /// # Errors
    /// EINVAL for a path without an end; `otherwise` where there is no such ruleset.
    pub(super) fn find(&self, path: &AnchorPath, otherwise: Errno) -> Result<u16, Errno> {
        self.anchors
            .find(path.to_bytes().ok_or(Errno::Einval)?)
            .ok_or(otherwise)
    }
}

/// A list of a ruleset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    pub(super) ruleset: u16,
    pub(super) kind: RulesetKind,
}

impl Control {
    /// The ruleset with this path, if it is there: by its name it has tables.
    pub(super) fn ruleset(&self, path: &[u8]) -> Option<KArc<RulesetName>> {
        let anchors = &self.staging.anchors;
        anchors.name(anchors.find(path)?).cloned()
    }

    /// The same, made if it is not there. As [`Anchors::find_or_make`].
    pub(super) fn ruleset_or_new(&mut self, path: &[u8]) -> Result<KArc<RulesetName>, Errno> {
        let anchors = &mut self.staging.anchors;
        let number = anchors.find_or_make(path)?;
        anchors.name(number).cloned().ok_or(Errno::Einval)
    }

    /// The rules of a list that are loaded.
    pub(super) fn rules(&self, list: List) -> &[KArc<Rule>] {
        let list = self.config.list_of(list.ruleset, list.kind);
        list.map_or(&[], |list| list.rules())
    }

    /// Whether who has this ticket is loading the tables of a ruleset.
    pub(super) fn is_loading_tables(&self, ruleset: &RulesetName, ticket: u32) -> bool {
        let list = List {
            ruleset: ruleset.number(),
            kind: RulesetKind::Table,
        };
        self.staging.is_of(list, ticket)
    }

    /// Ends the loading of a list; of tables, what they were to become is forgotten.
    fn end(&mut self, list: List) {
        self.staging.end(list);
        if list.kind == RulesetKind::Table
            && let Some(ruleset) = self.staging.anchors.name(list.ruleset)
        {
            self.tables.unstage(ruleset.path());
        }
    }
}

/// Lets tables and anchors go that nobody needs. Without memory, some other time.
pub(super) fn sweep(pf: &Pf, control: &mut Control) {
    control.tables.sweep(&pf.passive);
    if control.staging.anchors.len() == 1 {
        return;
    }
    let mut with_tables = KVec::new();
    let Control {
        staging,
        tables,
        config,
        ..
    } = control;
    for table in tables.iter().filter(|table| !table.anchor().is_empty()) {
        if let Some(number) = staging.anchors.find(table.anchor())
            && with_tables.push(number).is_err()
        {
            return;
        }
    }
    let rulesets = &mut staging.rulesets;
    // The borrows are of different parts, so that what is not needed can go at once.
    let mark = |need: &mut dyn FnMut(u16)| {
        with_tables.iter().for_each(|number| need(*number));
        let calls = |need: &mut dyn FnMut(u16), list: &RuleList| {
            for call in list.calls() {
                need(call.anchor.number());
            }
        };
        for (number, ruleset) in config.rulesets() {
            for list in ruleset.lists() {
                if !list.rules().is_empty() {
                    need(number);
                }
                calls(need, list);
            }
        }
        for (number, staged) in (0u16..).zip(rulesets.iter()) {
            for staged in staged.iter() {
                if staged.open {
                    need(number);
                }
                calls(need, &staged.rules);
            }
        }
    };
    let mut gone = KVec::new();
    let swept = staging.anchors.sweep(mark, |number| {
        // What cannot be noted keeps its tickets, which does no harm.
        let _ = gone.push(number);
    });
    for number in gone.iter() {
        if let Some(slot) = rulesets.get_mut(usize::from(*number)) {
            *slot = KVec::new();
        }
    }
    let _ = swept;
}

/// The kind of list that a rule with this action stands in.
pub(super) fn kind_of(action: u8) -> Result<RulesetKind, Errno> {
    let action = Action::try_from(action).map_err(|_| Errno::Einval)?;
    action.ruleset().ok_or(Errno::Einval)
}

/// Fetches the lists of a transaction and their tickets. Where `make` says so, rulesets that are not there are made; else such an
/// element is nothing.
///
/// # Errors
/// ENODEV for elements of another size, as NetBSD's pf answers; EINVAL for too many, for a kind that there is not (with ALTQ's, as
/// where there is no ALTQ), for a path that cannot be; ENOSPC for too many rulesets; EFAULT, ENOMEM.
fn elements(
    caller: &Caller<'_>,
    arg: &IocTrans,
    control: &mut Control,
    make: bool,
) -> Result<KVec<Option<(List, u32)>>, Errno> {
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
        let path = each.anchor.to_bytes().ok_or(Errno::Einval)?;
        let kind = match RulesetKind::try_from(each.rs_num) {
            Ok(RulesetKind::Altq) | Err(_) => return Err(Errno::Einval),
            Ok(kind) => kind,
        };
        let anchors = &mut control.staging.anchors;
        let ruleset = match make {
            true => Some(anchors.find_or_make(path)?),
            false => anchors.find(path),
        };
        elements.push(ruleset.map(|ruleset| (List { ruleset, kind }, each.ticket)))?;
    }
    Ok(elements)
}

/// DIOCXBEGIN.
pub(super) fn begin(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTrans) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    let begun = elements(caller, arg, &mut control, true).and_then(|elements| {
        for (at, (list, _)) in elements.iter().flatten().enumerate() {
            // What somebody was loading is forgotten.
            control.end(*list);
            let ticket = control.staging.next_ticket();
            let to = element::<IocTransE>(arg.array, at)?.checked_add(offset_of!(IocTransE, ticket) as u64);
            let written = control
                .staging
                .list(*list)
                .map_err(Errno::from)
                .map(|staged| staged.begin(ticket, caller.owner))
                .and_then(|()| to.ok_or(Errno::Efault))
                .and_then(|to| caller.memory.copyout(ticket.as_bytes(), to));
            if let Err(errno) = written {
                // Nobody knows the tickets that were given out.
                for (list, _) in elements.iter().flatten().take(at + 1) {
                    control.end(*list);
                }
                return Err(errno);
            }
        }
        Ok(())
    });
    if begun.is_err() {
        sweep(pf, &mut control);
    }
    note_loader(pf, &control);
    begun
}

/// Nobody is loading anything.
pub(crate) const NOBODY: u64 = 0;
/// Lists are being loaded through more than one open file of the device.
const SEVERAL: u64 = u64::MAX;

/// Notes who is loading lists, so that the others can end without a look.
fn note_loader(pf: &Pf, control: &Control) {
    let open = control.staging.rulesets.iter().flat_map(|lists| lists.iter());
    let owners = open.filter(|staged| staged.open).map(|staged| staged.owner);
    pf.loader
        .store(owners.fold(control.staging.pool_owner, together), Ordering::Relaxed);
}

/// The one who loads something, where these do.
fn together(loader: u64, other: u64) -> u64 {
    match (loader, other) {
        (NOBODY, only) | (only, NOBODY) => only,
        (one, other) if one == other => one,
        _ => SEVERAL,
    }
}

/// Whether somebody is in the middle of loading something.
pub(super) fn anybody_loads(pf: &Pf) -> bool {
    pf.loader.load(Ordering::Relaxed) != NOBODY
}

/// Notes that somebody has begun to load something. The control mutex is held.
pub(super) fn join_loaders(pf: &Pf, owner: u64) {
    let loader = pf.loader.load(Ordering::Relaxed);
    pf.loader.store(together(loader, owner), Ordering::Relaxed);
}

/// The file of this owner is closed: what was being loaded through it is forgotten.
pub(super) fn close(pf: &Pf, owner: u64) {
    // Many close the device, and few in the middle of a transaction.
    let loader = pf.loader.load(Ordering::Relaxed);
    if loader != owner && loader != SEVERAL {
        return;
    }
    let mut control = pf.control.lock();
    if owner == control.staging.pool_owner {
        control.staging.begin_pool(NOBODY);
    }
    for ruleset in 0..=u16::MAX {
        if usize::from(ruleset) >= control.staging.rulesets.len() {
            break;
        }
        for kind in RulesetKind::ALL.iter().copied() {
            let list = List { ruleset, kind };
            let staged = control.staging.known_list(list);
            if staged.is_some_and(|it| it.open && it.owner == owner) {
                control.end(list);
            }
        }
    }
    note_loader(pf, &control);
    sweep(pf, &mut control);
}

/// DIOCXROLLBACK. Lists that are not the caller's any more are not touched.
pub(super) fn roll_back(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTrans) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    let elements = elements(caller, arg, &mut control, false)?;
    for (list, ticket) in elements.iter().flatten() {
        if control.staging.is_of(*list, *ticket) {
            control.end(*list);
        }
    }
    note_loader(pf, &control);
    sweep(pf, &mut control);
    Ok(())
}

/// DIOCXCOMMIT. EBUSY where a ticket is not, or no longer, good; then the transaction is as it was.
pub(super) fn commit(pf: &Pf, caller: &Caller<'_>, arg: &mut IocTrans) -> Result<(), Errno> {
    let mut control = pf.control.lock();
    let elements = elements(caller, arg, &mut control, false)?;
    let is_good =
        |element: &Option<(List, u32)>| element.is_some_and(|(list, ticket)| control.staging.is_of(list, ticket));
    if !elements.iter().all(is_good) {
        return Err(Errno::Ebusy);
    }
    let committed = put_in_place(pf, &mut control, &elements);
    let old = match committed {
        Ok(old) => old,
        Err(NoMemory) => {
            // Whatever of it is left is over.
            for (list, _) in elements.iter().flatten() {
                control.end(*list);
            }
            note_loader(pf, &control);
            sweep(pf, &mut control);
            return Err(Errno::Enomem);
        }
    };
    for (list, ticket) in elements.iter().flatten() {
        control.end(*list);
        if let Ok(staged) = control.staging.list(*list) {
            staged.active = *ticket;
        }
    }
    note_loader(pf, &control);
    fingerprints::publish(pf, &mut control);
    // The rules are freed here; nobody has to wait for that.
    drop(control);
    drop(old);
    // Only now: they may have been the last to speak of a table.
    sweep(pf, &mut pf.control.lock());
    Ok(())
}

/// What packets no longer see, until they can no longer be looking.
type Old<'a> = (KBox<KArc<Config>>, Retired<'a, table::Contents>);

/// Makes what was staged what packets see. The answer is what they saw before.
fn put_in_place<'a>(
    pf: &'a Pf,
    control: &mut Control,
    elements: &KVec<Option<(List, u32)>>,
) -> Result<Old<'a>, NoMemory> {
    let mut changes = KVec::with_capacity(elements.len())?;
    let mut with_tables = KVec::new();
    for (list, _) in elements.iter().flatten() {
        if list.kind == RulesetKind::Table
            && let Some(ruleset) = control.staging.anchors.name(list.ruleset)
        {
            with_tables.push(ruleset.clone())?;
        }
        // One that is named twice is ended once.
        if control.staging.known_list(*list).is_some_and(|staged| staged.open) {
            let mut rules = control.staging.end(*list);
            rules.seal()?;
            let List { ruleset, kind } = *list;
            let list = KArc::new(rules)?;
            changes.push(ListChange { ruleset, kind, list })?;
        }
    }
    let paths = with_tables.iter().map(|ruleset| ruleset.path());
    let limit = control.limit(Limit::TableEntries);
    let tables = control.tables.staged_changes(paths, limit, &pf.passive)?;
    change_config(pf, control, changes, tables)
}

/// Replaces lists and tables of what packets see. The answer is what they saw before.
fn change_config<'a>(
    pf: &'a Pf,
    control: &mut Control,
    changes: KVec<ListChange>,
    tables: KVec<table::Change>,
) -> Result<Old<'a>, NoMemory> {
    let mut retired = Retired::with_room(tables.len(), &pf.passive)?;
    let config = KArc::new(control.config.with(&control.staging.anchors, changes)?)?;
    let seen = KBox::new(config.clone())?;
    // From here on nothing fails. The tables come before the rules that speak of them.
    control
        .tables
        .apply(tables, pf.kernel.wall_clock(), &pf.passive, &mut retired)?;
    // Packets look for scrub rules only where there are some: before the first is there, and until the last has gone.
    let scrubs = config.has(RulesetKind::Scrub);
    if scrubs {
        pf.scrubs.store(true, Ordering::Relaxed);
    }
    let old = pf.config.replace(seen, &pf.passive);
    control.config = config;
    pf.scrubs.store(scrubs, Ordering::Relaxed);
    Ok((old, retired))
}

/// DIOCADDRULE. The addresses that were gathered become the rule's, or are gone where it is refused.
///
/// # Errors
/// EBUSY for a stale ticket, EINVAL for what makes no sense or an anchor that is not there, EOPNOTSUPP for what is not done here,
/// ENOSPC for too many rules, ENOMEM.
pub(super) fn add(pf: &Pf, caller: &Caller<'_>, arg: &mut IocRule) -> Result<(), Errno> {
    let kind = kind_of(arg.rule.action)?;
    let mut control = pf.control.lock();
    let ruleset = control.staging.find(&arg.anchor, Errno::Einval)?;
    let list = List { ruleset, kind };
    if !control.staging.is_of(list, arg.ticket) || arg.pool_ticket != control.staging.pool_ticket {
        return Err(Errno::Ebusy);
    }
    let nr = control.staging.list(list)?.rules.rules().len();
    let added = make_rule(pf, caller, &mut control, arg, list, nr)
        .and_then(|rule| Ok(control.staging.list(list)?.rules.share(rule)?));
    if added.is_err() {
        sweep(pf, &mut control);
    }
    added
}

/// A rule of the caller's, for number `nr` of a list. What its pool has gathered is its own.
#[inline(never)]
fn make_rule(
    pf: &Pf,
    caller: &Caller<'_>,
    control: &mut Control,
    arg: &IocRule,
    list: List,
    nr: usize,
) -> Result<KArc<Rule>, Errno> {
    let addresses = control.staging.take_pool();
    if nr >= MAX_RULES {
        return Err(Errno::Enospc);
    }
    let nr = u32::try_from(nr).map_err(|_| Errno::Enospc)?;
    let mut source = rule::blank()?;
    source.as_mut_bytes().copy_from_slice(arg.rule.as_bytes());
    check_names(&mut source)?;
    source.cuid = caller.uid;
    source.cpid = caller.pid;
    let mut numbers = numbers(pf, control, &source, &addresses)?;
    let home = control
        .staging
        .anchors
        .name(list.ruleset)
        .cloned()
        .ok_or(Errno::Einval)?;
    numbers.tables = rule_tables(pf, control, home.path(), &source, &addresses)?;
    numbers.home = Some(home);
    numbers.call = match arg.anchor_call.to_bytes().ok_or(Errno::Einval)? {
        [] => None,
        call => Some(control.staging.anchors.call(list.ruleset, call)?),
    };
    source.anchor_relative = numbers.call.as_ref().map_or(0, |call| call.relative);
    source.anchor_wildcard = numbers.call.as_ref().is_some_and(|call| call.wildcard).into();
    let rule = build(pf, source, addresses, &numbers, nr)?;
    if rule.synproxy {
        pf.handshakes.prepare()?;
    }
    Ok(rule)
}

/// Apart, so that no rule lies on the stack of whoever asks for it.
#[inline(never)]
fn build(
    pf: &Pf,
    source: KBox<pf_abi::Rule>,
    addresses: KVec<PoolAddr>,
    numbers: &Numbers,
    nr: u32,
) -> Result<KArc<Rule>, Errno> {
    let mut rule = Rule::new(source, addresses, numbers, nr)?;
    rule.find_queues(&pf.kernel)?;
    Ok(KArc::new(rule)?)
}

/// The tables that a rule in the ruleset `home` speaks of, which come up where they are not there. Apart, for the sake of the stack.
#[inline(never)]
fn rule_tables(
    pf: &Pf,
    control: &mut Control,
    home: &[u8],
    rule: &pf_abi::Rule,
    addresses: &[PoolAddr],
) -> Result<RuleTables, Errno> {
    let mut pool = KVec::with_capacity(addresses.len())?;
    for address in addresses {
        pool.push(tables::refer(pf, control, home, &address.addr)?)?;
    }
    Ok(RuleTables {
        pool,
        src: tables::refer(pf, control, home, &rule.src.addr)?,
        dst: tables::refer(pf, control, home, &rule.dst.addr)?,
        overload: tables::refer_to_overload(pf, control, home, &rule.overload_tblname)?,
    })
}

/// What the names stand for that a rule speaks of, which get numbers where they have none. `addresses` are its pool's.
fn numbers(pf: &Pf, control: &mut Control, rule: &pf_abi::Rule, addresses: &[PoolAddr]) -> Result<Numbers, Errno> {
    let (src, dst) = (
        interfaces::dynamic(&rule.src.addr)?,
        interfaces::dynamic(&rule.dst.addr)?,
    );
    let [interface, src, dst] = interfaces::numbers(pf, control, [rule.ifname, src, dst], addresses)?;
    let mut tag = |name: &pf_abi::CName<{ pf_abi::PF_TAG_NAME_SIZE }>| match name.is_empty() {
        true => Ok(None),
        false => control.staging.tags.get(name).map(Some),
    };
    Ok(Numbers {
        interface,
        src,
        dst,
        tag: tag(&rule.tagname)?,
        match_tag: tag(&rule.match_tagname)?,
        ..Numbers::default()
    })
}

/// DIOCCHANGERULE: changes a list that is loaded, after DIOCCHANGERULE has given a ticket for it (`PF_CHANGE_GET_TICKET`).
///
/// # Errors
/// EBUSY for a stale ticket of the pool; EINVAL for a stale ticket of the list, an anchor or a rule that is not there, and what
/// makes no sense; as [`add`].
pub(super) fn change(pf: &Pf, caller: &Caller<'_>, arg: &mut IocRule) -> Result<(), Errno> {
    let change = Change::try_from(arg.action).map_err(|_| Errno::Einval)?;
    let kind = kind_of(arg.rule.action)?;
    let mut control = pf.control.lock();
    let adds = !matches!(change, Change::None | Change::Remove | Change::GetTicket);
    if adds && arg.pool_ticket != control.staging.pool_ticket {
        return Err(Errno::Ebusy);
    }
    let ruleset = control.staging.find(&arg.anchor, Errno::Einval)?;
    let list = List { ruleset, kind };
    match change {
        Change::None => return Err(Errno::Einval),
        Change::GetTicket => {
            arg.ticket = control.staging.next_ticket();
            control.staging.list(list)?.active = arg.ticket;
            return Ok(());
        }
        _ if arg.ticket != control.staging.active(list) => return Err(Errno::Einval),
        _ => (),
    }
    let len = control.rules(list).len();
    let named = || usize::try_from(arg.nr).ok().filter(|at| *at < len).ok_or(Errno::Einval);
    let place = match change {
        Change::AddHead => 0,
        Change::AddTail => len,
        Change::AddBefore | Change::Remove => named()?,
        _ => named()? + 1,
    };
    let changed = (|| {
        let new = match adds {
            true => Some(make_rule(pf, caller, &mut control, arg, list, place)?),
            false => None,
        };
        if adds && len >= MAX_RULES {
            return Err(Errno::Enospc);
        }
        let mut rules = KVec::with_capacity(len + 1)?;
        for rule in control.rules(list) {
            rules.push(rule.clone())?;
        }
        match new {
            Some(rule) => {
                rules.push(rule)?;
                if let Some(behind) = rules.get_mut(place..) {
                    behind.rotate_right(1);
                }
            }
            None => {
                if let Some(behind) = rules.get_mut(place..) {
                    behind.rotate_left(1);
                }
                rules.pop();
            }
        }
        let mut changed = RuleList::new();
        for rule in rules.iter() {
            changed.share(rule.clone())?;
        }
        changed.seal()?;
        let mut changes = KVec::new();
        changes.push(ListChange {
            ruleset,
            kind,
            list: KArc::new(changed)?,
        })?;
        let old = change_config(pf, &mut control, changes, KVec::new())?;
        for (nr, rule) in (0..).zip(rules.iter()) {
            rule.set_nr(nr);
        }
        Ok(old)
    })();
    if changed.is_ok() {
        let ticket = control.staging.next_ticket();
        control.staging.list(list)?.active = ticket;
    }
    drop(control);
    let changed = changed.map(drop);
    // Only now: the rule that went may have been the last to speak of a table.
    sweep(pf, &mut pf.control.lock());
    changed
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

/// The ticket of what is loaded.
pub(super) fn active_ticket(control: &Control, list: List) -> u32 {
    control.staging.active(list)
}

/// DIOCGETRULES. EINVAL where there is no such anchor.
pub(super) fn count(pf: &Pf, arg: &mut IocRule) -> Result<(), Errno> {
    let kind = kind_of(arg.rule.action)?;
    let control = pf.control.lock();
    let ruleset = control.staging.find(&arg.anchor, Errno::Einval)?;
    let list = List { ruleset, kind };
    arg.nr = u32::try_from(control.rules(list).len()).unwrap_or(u32::MAX);
    arg.ticket = control.staging.active(list);
    Ok(())
}

/// DIOCGETRULE. EINVAL where there is no such anchor; EBUSY where the ticket is not that of what is loaded, and for a number that
/// no rule has.
pub(super) fn get(pf: &Pf, caller: &Caller<'_>, arg: &mut IocRule) -> Result<(), Errno> {
    let clear = match arg.action {
        PF_GET_CLR_CNTR => caller.may_write().map(|()| true)?,
        // Some leave it as it was.
        _ => false,
    };
    let kind = kind_of(arg.rule.action)?;
    let control = pf.control.lock();
    let ruleset = control.staging.find(&arg.anchor, Errno::Einval)?;
    let list = List { ruleset, kind };
    if arg.ticket != control.staging.active(list) {
        return Err(Errno::Ebusy);
    }
    let home = control.staging.anchors.name(ruleset).ok_or(Errno::Einval)?;
    let rule = control.rules(list).get(arg.nr as usize).ok_or(Errno::Ebusy)?;
    let level = SoftNet::raise();
    let section = pf.read(&level);
    export(pf, &section, home, rule, &mut arg.rule, &mut arg.anchor_call);
    if clear {
        rule.take_counters(&mut arg.rule);
    }
    Ok(())
}

/// Tells a rule of the ruleset `home`, and the anchor that it calls.
pub(super) fn export(
    pf: &Pf,
    section: &ReadSection<'_>,
    home: &RulesetName,
    rule: &Rule,
    to: &mut pf_abi::Rule,
    anchor_call: &mut AnchorPath,
) {
    rule.export(to);
    let interfaces = pf.interfaces.read(section);
    for (end, to) in [(&rule.src, &mut to.src), (&rule.dst, &mut to.dst)] {
        // Where a kernel has a pointer, a count comes out: an `int`, -1 for a table that is not active.
        let count = match end.table() {
            Some(_) => Some(end.table_len(section).map_or(u32::MAX, |len| len as u32).into()),
            None => end.count(interfaces).map(|count| count as u64),
        };
        to.addr.p = count.unwrap_or(0);
    }
    // No rule is ever skipped: not one stands in the way of the evaluation of the next.
    to.skip.fill(NO_RULE.into());
    // All of it: what was there before may have been longer.
    anchor_call.as_mut_bytes().fill(0);
    if let Some(call) = &rule.call {
        call.write(home, anchor_call.as_mut_bytes());
    }
}

/// DIOCCLRRULECTRS: clears the counters of the filter rules, those in anchors included.
pub(super) fn clear_counters(pf: &Pf) -> Result<(), Errno> {
    // What is loaded stays as long as the mutex is held.
    let control = pf.control.lock();
    for number in 0..=u16::MAX {
        let filter = List {
            ruleset: number,
            kind: RulesetKind::Filter,
        };
        if number != MAIN && usize::from(number) >= control.staging.anchors.len() {
            break;
        }
        control.rules(filter).iter().for_each(|rule| rule.clear_counters());
    }
    Ok(())
}
