//! `keep state` and its like.

use super::cursor::{Cursor, Parse};
use crate::conf::ast::{Keep, StateOption, StatePolicy};
use crate::conf::diagnostic::{Diagnostic, Spanned, did_you_mean};
use pf_abi::{PF_STATE_MODULATE, PF_STATE_NORMAL, PF_STATE_SYNPROXY, Timeout};

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
    const UNSUPPORTED: &[&str] = &[
        "source-track",
        "max-src-nodes",
        "max-src-states",
        "max-src-conn",
        "max-src-conn-rate",
        "overload",
    ];
    let span = cursor.here();
    if let Some(word) = UNSUPPORTED.iter().find(|word| cursor.at_word(word)) {
        return Err(Box::new(Diagnostic::unsupported(span, format!("`{word}`"))));
    }
    let node = if cursor.eat_word("max").is_some() {
        StateOption::Max(cursor.number("a number of states", u32::MAX)?.node)
    } else if cursor.eat_word("no-sync").is_some() {
        StateOption::NoSync
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
