//! Logged packets: what a pflog(4) interface shows of a packet that a rule with `log` matched.
//!
//! # Overview
//! An [`Entry`] says what became of a packet; [`Entry::header`] is NetBSD's `struct pfloghdr` of it, which goes in front of the packet to
//! whoever listens (tcpdump(8), pflogd(8)). The packet is shown as the filter rules see it: translated. What was dropped
//! before any rule could look at it is shown as well, on pflog0, with -1 for the rule.
//!
//! # Locking
//! None. A reader of the interface is the kernel's business, and never holds up a packet.

#![forbid(unsafe_code)]

use pf_abi::{Action, CName, IfName, LogHeader, NO_PID, NO_RULE, PFLOG_REAL_HDRLEN, Reason, UID_MAX};

use crate::kpi::Direction;
use crate::rule::Rule;
use crate::wire::Af;

/// An anchor that was on the way to a rule.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    /// The rule of the main ruleset that led to it.
    pub rule: &'a Rule,
    /// Its name. What does not fit into the header is cut off.
    pub name: &'a [u8],
}

/// What became of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The interface that it crosses.
    pub interface: IfName,
    /// Which way.
    pub direction: Direction,
    /// Its family.
    pub af: Af,
    /// The rule that it is logged by, if that is not what no rule has seen.
    pub rule: Option<&'a Rule>,
    /// The anchor in which that rule stands.
    pub within: Option<Within<'a>>,
    /// Why: a match, or what ended it.
    pub reason: Reason,
    /// It goes no further, whatever the rule says.
    pub is_dropped: bool,
    /// Whose socket it is for or from, by the user's number, where `log (user)` asks for it and there is one. Which process has the
    /// socket no kernel tells, as there may be several.
    pub owner: Option<u32>,
}

impl Entry<'_> {
    /// What goes in front of the packet.
    pub fn header(&self) -> LogHeader {
        let nr = |rule: Option<&Rule>| rule.map_or(NO_RULE, Rule::nr).to_be();
        let action = match self.rule {
            Some(rule) if !self.is_dropped => rule.action_number(),
            _ if self.is_dropped => Action::Drop.into(),
            _ => Action::Pass.into(),
        };
        let (rule_uid, rule_pid) = self.rule.map_or((UID_MAX, NO_PID), Rule::loaded_by);
        let (rulenr, subrulenr) = match &self.within {
            Some(within) => (nr(Some(within.rule)), nr(self.rule)),
            None => (nr(self.rule), NO_RULE),
        };
        LogHeader {
            length: PFLOG_REAL_HDRLEN,
            af: self.af.into(),
            action,
            reason: self.reason.into(),
            ifname: self.interface,
            ruleset: self.within.map_or(CName::EMPTY, |within| CName::cut(within.name)),
            rulenr,
            subrulenr,
            uid: self.owner.unwrap_or(UID_MAX),
            pid: NO_PID,
            rule_uid,
            rule_pid,
            dir: self.direction as u8,
            ..LogHeader::default()
        }
    }
}
