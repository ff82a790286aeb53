//! `log`.

use super::cursor::{Cursor, Parse};
use crate::conf::ast::Log;
use crate::conf::diagnostic::Diagnostic;
use pf_abi::PFLOGIFS_MAX;

/// Reads `log [(all, user, to pflogN)]`, which comes next.
pub(super) fn log(cursor: &mut Cursor<'_>) -> Parse<Log> {
    cursor.expect_word("log")?;
    let mut log = Log::default();
    if cursor.eat_sign("(").is_none() {
        return Ok(log);
    }
    loop {
        if cursor.eat_word("all").is_some() {
            log.all = true;
        } else if cursor.eat_word("to").is_some() {
            let name = cursor.string("a pflog interface")?;
            log.interface = name
                .node
                .strip_prefix("pflog")
                .and_then(|number| number.parse().ok())
                .filter(|number| *number < PFLOGIFS_MAX)
                .ok_or_else(|| {
                    Box::new(
                        Diagnostic::error(name.span, format!("`{}` is no pflog interface", name.node))
                            .hint("they are `pflog0` to `pflog15`"),
                    )
                })?;
        } else if cursor.eat_word("user").is_some() || cursor.eat_word("group").is_some() {
            log.owner = true;
        } else {
            return Err(cursor.expected_one_of("`all`, `user` or `to`", &["all", "to", "user"]));
        }
        if cursor.eat_sign(")").is_some() {
            return Ok(log);
        }
        let goes_on = ["all", "to", "user", "group"].iter().any(|word| cursor.at_word(word));
        if cursor.eat_sign(",").is_none() && !goes_on {
            return Err(cursor.expected("`)`"));
        }
    }
}
