//! `set`.

use super::address::interface;
use super::cursor::{Cursor, Parse};
use super::filter::response;
use super::state::{state_policy, timeout};
use crate::conf::ast::{Optimization, Response, SetOption};
use crate::conf::diagnostic::{Diagnostic, Spanned, did_you_mean};
use crate::conf::keyword;
use pf_abi::{Debug as DebugLevel, Limit};

/// Reads an option, of which `set` comes next.
pub(super) fn set_option(cursor: &mut Cursor<'_>) -> Parse<SetOption> {
    cursor.expect_word("set")?;
    let option = if cursor.eat_word("timeout").is_some() {
        SetOption::Timeouts(cursor.list(|cursor| {
            let timeout = timeout(cursor)?;
            Ok((timeout, cursor.number("a timeout", i32::MAX as u32)?.node))
        })?)
    } else if cursor.eat_word("limit").is_some() {
        SetOption::Limits(cursor.list(|cursor| {
            let limit = limit(cursor)?;
            Ok((limit, cursor.number("a limit", u32::MAX)?.node))
        })?)
    } else if cursor.eat_word("optimization").is_some() {
        SetOption::Optimization(optimization(cursor)?)
    } else if cursor.eat_word("debug").is_some() {
        SetOption::Debug(debug_level(cursor)?)
    } else if cursor.eat_word("loginterface").is_some() {
        let interface = interface(cursor)?;
        SetOption::LogInterface((interface.node.name != "none").then_some(Spanned {
            node: interface.node.name,
            span: interface.span,
        }))
    } else if cursor.eat_word("block-policy").is_some() {
        let span = cursor.here();
        match response(cursor)? {
            Some(policy @ (Response::Drop | Response::Return)) => SetOption::BlockPolicy(policy),
            Some(_) => {
                return Err(Box::new(Diagnostic::error(
                    span,
                    "the block policy is `drop` or `return`",
                )));
            }
            None => return Err(cursor.expected_one_of("`drop` or `return`", &["drop", "return"])),
        }
    } else if cursor.eat_word("skip").is_some() {
        skip(cursor)?
    } else if cursor.eat_word("require-order").is_some() {
        let word = cursor.string("`yes` or `no`").or_else(|error| {
            // `no` is a keyword too.
            cursor.eat_word("no").map_or(Err(error), |span| {
                Ok(Spanned {
                    node: "no".to_owned(),
                    span,
                })
            })
        })?;
        match word.node.as_str() {
            "yes" => SetOption::RequireOrder(true),
            "no" => SetOption::RequireOrder(false),
            _ => {
                return Err(Box::new(Diagnostic::error(
                    word.span,
                    "`require-order` is `yes` or `no`",
                )));
            }
        }
    } else if cursor.eat_word("state-policy").is_some() {
        let policy = state_policy(cursor)
            .ok_or_else(|| cursor.expected_one_of("`if-bound` or `floating`", &["if-bound", "floating"]))?;
        SetOption::StatePolicy(policy)
    } else if cursor.eat_word("hostid").is_some() {
        let id = cursor.number("an identity", u32::MAX)?;
        if id.node == 0 {
            return Err(Box::new(Diagnostic::error(id.span, "the identity of a host is not 0")));
        }
        SetOption::HostId(id.node)
    } else if cursor.eat_word("ruleset-optimization").is_some() {
        SetOption::RulesetOptimization(ruleset_optimization(cursor)?)
    } else if cursor.eat_word("fingerprints").is_some() {
        SetOption::Fingerprints(cursor.string("the name of a file")?)
    } else {
        return Err(cursor.expected_one_of("an option", keyword::OPTIONS));
    };
    if !cursor.at_end() {
        return Err(cursor.expected("the end of the line"));
    }
    Ok(option)
}

/// What follows `set skip`.
fn skip(cursor: &mut Cursor<'_>) -> Parse<SetOption> {
    cursor.expect_word("on")?;
    let list = cursor.list(interface)?;
    let mut names = Vec::new();
    for item in list {
        if item.node.not {
            return Err(Box::new(Diagnostic::error(item.span, "`set skip on` takes no `!`")));
        }
        names.push(Spanned {
            node: item.node.name,
            span: item.span,
        });
    }
    if let [only] = names.as_slice()
        && only.node == "none"
    {
        names.clear();
    }
    Ok(SetOption::Skip(names))
}

fn limit(cursor: &mut Cursor<'_>) -> Parse<Spanned<Limit>> {
    let name = cursor.string("a limit")?;
    match Limit::from_name(&name.node.to_ascii_lowercase()) {
        Some(node) => Ok(Spanned { node, span: name.span }),
        None => Err(Box::new(
            Diagnostic::error(name.span, format!("unknown limit `{}`", name.node))
                .hint_opt(did_you_mean(&name.node, Limit::ALL.iter().map(|limit| limit.name()))),
        )),
    }
}

fn optimization(cursor: &mut Cursor<'_>) -> Parse<Optimization> {
    const NAMES: [(&str, Optimization); 6] = [
        ("default", Optimization::Normal),
        ("normal", Optimization::Normal),
        ("satellite", Optimization::HighLatency),
        ("high-latency", Optimization::HighLatency),
        ("conservative", Optimization::Conservative),
        ("aggressive", Optimization::Aggressive),
    ];
    let name = cursor.string("an optimization")?;
    NAMES
        .iter()
        .find(|(known, _)| *known == name.node.to_ascii_lowercase())
        .map(|(_, optimization)| *optimization)
        .ok_or_else(|| {
            Box::new(
                Diagnostic::error(name.span, format!("unknown optimization `{}`", name.node))
                    .hint_opt(did_you_mean(&name.node, NAMES.map(|(known, _)| known))),
            )
        })
}

fn ruleset_optimization(cursor: &mut Cursor<'_>) -> Parse<Spanned<&'static str>> {
    let names = SetOption::RULESET_OPTIMIZATIONS;
    let name = cursor.string("`none`, `basic` or `profile`")?;
    match names.iter().find(|known| **known == name.node) {
        Some(&node) => Ok(Spanned { node, span: name.span }),
        None => Err(Box::new(
            Diagnostic::error(
                name.span,
                format!("unknown optimization of the ruleset `{}`", name.node),
            )
            .hint_opt(did_you_mean(&name.node, names)),
        )),
    }
}

fn debug_level(cursor: &mut Cursor<'_>) -> Parse<DebugLevel> {
    let name = cursor.string("a debug level")?;
    DebugLevel::ALL
        .iter()
        .copied()
        .find(|level| level.name() == name.node)
        .ok_or_else(|| {
            Box::new(
                Diagnostic::error(name.span, format!("unknown debug level `{}`", name.node))
                    .hint("the levels are `none`, `urgent`, `misc` and `loud`"),
            )
        })
}
