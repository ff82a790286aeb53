//! `log`.

use super::cursor::{Cursor, Parse};
use crate::conf::ast::Log;
use crate::conf::diagnostic::Diagnostic;

/// Reads `log [(all, to pflogN)]`, which comes next.
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
                .ok_or_else(|| {
                    Box::new(
                        Diagnostic::error(name.span, format!("`{}` is no pflog interface", name.node))
                            .hint("they are `pflog0` to `pflog255`"),
                    )
                })?;
        } else if cursor.at_word("user") || cursor.at_word("group") {
            return Err(Box::new(Diagnostic::unsupported(cursor.here(), "`log (user)`")));
        } else {
            return Err(cursor.expected_one_of("`all` or `to`", &["all", "to", "user"]));
        }
        if cursor.eat_sign(")").is_some() {
            return Ok(log);
        }
        if cursor.eat_sign(",").is_none() && !cursor.at_word("all") && !cursor.at_word("to") {
            return Err(cursor.expected("`)`"));
        }
    }
}
