//! `scrub` and `no scrub`.

use super::address::{Seen, match_clause, once};
use super::cursor::{Cursor, Parse};
use super::log::log;
use crate::conf::ast::{Fragments, Match, ScrubRule};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use crate::conf::keyword;
use pf_abi::Direction;

/// Reads a rule, of which `scrub`, or the `no` before it, comes next.
pub(super) fn scrub_rule(cursor: &mut Cursor<'_>) -> Parse<ScrubRule> {
    let begin = cursor.here();
    let no = cursor.eat_word("no").is_some();
    cursor.expect_word("scrub")?;
    let mut rule = ScrubRule {
        span: begin,
        no,
        direction: Direction::InOut,
        log: None,
        matching: Match::default(),
        no_df: None,
        random_id: None,
        min_ttl: None,
        max_mss: None,
        fragments: None,
        reassemble_tcp: None,
    };
    let mut seen = Seen::default();
    while !cursor.at_end() {
        if !match_clause(cursor, &mut rule.matching, &mut seen)? && !clause(cursor, &mut rule)? {
            if cursor.at_word("quick") {
                return Err(Box::new(
                    Diagnostic::error(cursor.here(), "`quick` in a scrub rule")
                        .hint("the first scrub rule that matches decides anyway"),
                ));
            }
            for word in ["rtable", "os", "tag", "tagged"] {
                if cursor.at_word(word) {
                    return Err(Box::new(Diagnostic::unsupported(cursor.here(), format!("`{word}`"))));
                }
            }
            return Err(cursor.expected_one_of("a part of a scrub rule", keyword::SCRUB));
        }
    }
    rule.span = begin.to(cursor.last());
    Ok(rule)
}

/// What is no match of packets, if it comes next: whether it did.
fn clause(cursor: &mut Cursor<'_>, rule: &mut ScrubRule) -> Parse<bool> {
    let span = cursor.here();
    if cursor.at_word("in") || cursor.at_word("out") {
        once(rule.direction != Direction::InOut, span, "the direction")?;
        rule.direction = match cursor.eat_word("in") {
            Some(_) => Direction::In,
            None => {
                cursor.next();
                Direction::Out
            }
        };
    } else if cursor.at_word("log") {
        once(rule.log.is_some(), span, "`log`")?;
        rule.log = Some(log(cursor)?);
    } else if cursor.eat_word("no-df").is_some() {
        once(rule.no_df.is_some(), span, "`no-df`")?;
        rule.no_df = Some(span);
    } else if cursor.eat_word("random-id").is_some() {
        once(rule.random_id.is_some(), span, "`random-id`")?;
        rule.random_id = Some(span);
    } else if cursor.eat_word("min-ttl").is_some() {
        once(rule.min_ttl.is_some(), span, "`min-ttl`")?;
        let ttl = cursor.number("a TTL", u8::MAX.into())?;
        rule.min_ttl = Some(Spanned {
            node: ttl.node as u8,
            span: span.to(ttl.span),
        });
    } else if cursor.eat_word("max-mss").is_some() {
        once(rule.max_mss.is_some(), span, "`max-mss`")?;
        let mss = cursor.number("a maximum segment size", u16::MAX.into())?;
        rule.max_mss = Some(Spanned {
            node: mss.node as u16,
            span: span.to(mss.span),
        });
    } else if cursor.eat_word("fragment").is_some() {
        once(rule.fragments.is_some(), span, "`fragment`")?;
        let node = if cursor.eat_word("reassemble").is_some() {
            Fragments::Reassemble
        } else if cursor.eat_word("crop").is_some() {
            Fragments::Crop
        } else if cursor.eat_word("drop-ovl").is_some() {
            Fragments::DropOverlaps
        } else {
            let words = ["reassemble", "crop", "drop-ovl"];
            return Err(cursor.expected_one_of("`reassemble`, `crop` or `drop-ovl`", &words));
        };
        rule.fragments = Some(Spanned {
            node,
            span: span.to(cursor.last()),
        });
    } else if cursor.eat_word("reassemble").is_some() {
        once(rule.reassemble_tcp.is_some(), span, "`reassemble tcp`")?;
        cursor.expect_word("tcp")?;
        rule.reassemble_tcp = Some(span.to(cursor.last()));
    } else {
        return Ok(false);
    }
    Ok(true)
}
