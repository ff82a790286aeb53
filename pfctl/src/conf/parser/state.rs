//! `keep state` and its like.

use super::cursor::{Cursor, Parse};
use crate::conf::ast::{Keep, SourceScope, StateOption, StatePolicy};
use crate::conf::diagnostic::{Diagnostic, Spanned, did_you_mean};
use pf_abi::{
    PF_FLUSH, PF_FLUSH_GLOBAL, PF_STATE_MODULATE, PF_STATE_NORMAL, PF_STATE_SYNPROXY, PF_TABLE_NAME_SIZE,
    PF_THRESHOLD_MULT, TableName, Timeout,
};

/// Reads `keep`, `modulate`, `synproxy` or `no state`, if one comes next.
pub(super) fn keep(cursor: &mut Cursor<'_>) -> Parse<Option<Spanned<Keep>>> {
    let span = cursor.here();
    let kind = if cursor.eat_word("keep").is_some() {
        PF_STATE_NORMAL
    } else if cursor.eat_word("modulate").is_some() {
        PF_STATE_MODULATE
    } else if cursor.eat_word("synproxy").is_some() {
        PF_STATE_SYNPROXY
    } else if cursor.eat_word("no").is_some() {
        0
    } else {
        return Ok(None);
    };
    cursor.expect_word("state")?;
    let mut options = Vec::new();
    if kind != 0 && cursor.eat_sign("(").is_some() {
        while cursor.eat_sign(")").is_none() {
            options.push(state_option(cursor)?);
            if cursor.eat_sign(",").is_none() && cursor.at_end() {
                return Err(cursor.expected("`)`"));
            }
        }
    }
    Ok(Some(Spanned {
        node: Keep { kind, options },
        span: span.to(cursor.last()),
    }))
}

/// The names of timeouts, for hints.
fn timeout_names() -> impl Iterator<Item = &'static str> {
    Timeout::ALL.iter().map(|timeout| timeout.name())
}

fn state_option(cursor: &mut Cursor<'_>) -> Parse<Spanned<StateOption>> {
    let span = cursor.here();
    let node = if cursor.eat_word("max").is_some() {
        StateOption::Max(cursor.number("a number of states", u32::MAX)?.node)
    } else if cursor.eat_word("no-sync").is_some() {
        StateOption::NoSync
    } else if let Some(option) = source_option(cursor)? {
        option
    } else if let Some(policy) = state_policy(cursor) {
        StateOption::Policy(policy)
    } else {
        let timeout = timeout(cursor)?;
        if !timeout.node.name().contains('.') {
            return Err(Box::new(
                Diagnostic::error(
                    timeout.span,
                    format!("`{}` is no timeout of a state", timeout.node.name()),
                )
                .hint("it can be set for all by `set timeout`"),
            ));
        }
        StateOption::Timeout(timeout.node, cursor.number("a timeout", u32::MAX)?.node)
    };
    Ok(Spanned {
        node,
        span: span.to(cursor.last()),
    })
}

/// `source-track` and the limits of a source, if one comes next.
fn source_option(cursor: &mut Cursor<'_>) -> Parse<Option<StateOption>> {
    let option = if cursor.eat_word("source-track").is_some() {
        StateOption::SourceTrack(if cursor.eat_word("rule").is_some() {
            Some(SourceScope::Rule)
        } else {
            cursor.eat_word("global").map(|_| SourceScope::Global)
        })
    } else if cursor.eat_word("max-src-nodes").is_some() {
        StateOption::MaxSrcNodes(cursor.number("a number of sources", u32::MAX)?.node)
    } else if cursor.eat_word("max-src-states").is_some() {
        StateOption::MaxSrcStates(cursor.number("a number of states", u32::MAX)?.node)
    } else if cursor.eat_word("max-src-conn").is_some() {
        StateOption::MaxSrcConn(cursor.number("a number of connections", u32::MAX)?.node)
    } else if cursor.eat_word("max-src-conn-rate").is_some() {
        let connections = cursor
            .number("a number of connections", u32::MAX / PF_THRESHOLD_MULT)?
            .node;
        cursor.expect_sign("/")?;
        StateOption::MaxSrcConnRate(connections, cursor.number("seconds", u32::MAX)?.node)
    } else if cursor.eat_word("overload").is_some() {
        cursor.expect_sign("<")?;
        let name = cursor.string("a table")?;
        let Some(table) = TableName::new(&name.node) else {
            return Err(Box::new(
                Diagnostic::error(name.span, "the name of the table is too long")
                    .label(format!("at most {} characters", PF_TABLE_NAME_SIZE - 1)),
            ));
        };
        cursor.expect_sign(">")?;
        let mut flush = 0;
        if cursor.eat_word("flush").is_some() {
            flush = PF_FLUSH;
            if cursor.eat_word("global").is_some() {
                flush |= PF_FLUSH_GLOBAL;
            }
        }
        StateOption::Overload(table, flush)
    } else {
        return Ok(None);
    };
    Ok(Some(option))
}

/// `if-bound` or `floating`, if one comes next.
pub(super) fn state_policy(cursor: &mut Cursor<'_>) -> Option<StatePolicy> {
    if cursor.eat_word("if-bound").is_some() {
        Some(StatePolicy::IfBound)
    } else {
        cursor.eat_word("floating").map(|_| StatePolicy::Floating)
    }
}

/// The name of a timeout.
pub(super) fn timeout(cursor: &mut Cursor<'_>) -> Parse<Spanned<Timeout>> {
    let name = cursor.string("a timeout")?;
    match Timeout::from_name(&name.node.to_ascii_lowercase()) {
        Some(node) => Ok(Spanned { node, span: name.span }),
        None => Err(Box::new(
            Diagnostic::error(name.span, format!("unknown timeout `{}`", name.node))
                .hint_opt(did_you_mean(&name.node, timeout_names())),
        )),
    }
}
