//! `anchor`, `nat-anchor` and their like, and `load anchor`.

use super::address::{Seen, match_clause, once};
use super::cursor::{Cursor, Parse};
use super::particular::particular;
use crate::conf::ast::{AnchorKind, AnchorRule, LoadAnchor, Match, Particulars};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use pf_abi::Direction;

/// The words that begin one.
pub(super) const WORDS: [(&str, AnchorKind); 4] = [
    ("anchor", AnchorKind::Filter),
    ("nat-anchor", AnchorKind::Nat),
    ("rdr-anchor", AnchorKind::Rdr),
    ("binat-anchor", AnchorKind::Binat),
];

/// Reads a rule of which one of [`WORDS`] comes next. `block` says that a `{` follows it, and rules within.
pub(super) fn anchor_rule(cursor: &mut Cursor<'_>, block: bool) -> Parse<AnchorRule> {
    let begin = cursor.here();
    let kind = WORDS.iter().find(|(word, _)| cursor.eat_word(word).is_some());
    let kind = kind.map_or(AnchorKind::Filter, |(_, kind)| *kind);
    if block && kind != AnchorKind::Filter {
        return Err(Box::new(
            Diagnostic::error(begin, "only a filter anchor has its rules in braces")
                .hint("load the others with `load anchor` or `pfctl -a`"),
        ));
    }
    let is_word = |word: &str| crate::conf::keyword::is_keyword(word);
    let named = cursor
        .peek()
        .is_some_and(|token| token.kind == crate::conf::lexer::Kind::Quoted || !is_word(&token.text));
    let mut rule = AnchorRule {
        span: begin,
        kind,
        name: None,
        direction: Direction::InOut,
        quick: false,
        matching: Match::default(),
        particulars: Particulars::default(),
        block,
    };
    if named && !cursor.at_end() && !cursor.at_sign("!") {
        rule.name = Some(anchor_name(cursor)?);
    }
    if rule.name.is_none() && !block {
        return Err(Box::new(
            Diagnostic::error(begin, "an anchor without a name")
                .hint("only one whose rules stand in braces needs none"),
        ));
    }
    let mut seen = Seen::default();
    while !cursor.at_end() {
        let span = cursor.here();
        if match_clause(cursor, &mut rule.matching, &mut seen)? {
            continue;
        }
        if kind == AnchorKind::Filter {
            if cursor.at_word("in") || cursor.at_word("out") {
                once(rule.direction != Direction::InOut, span, "the direction")?;
                rule.direction = match cursor.eat_word("in") {
                    Some(_) => Direction::In,
                    None => {
                        cursor.next();
                        Direction::Out
                    }
                };
                continue;
            }
            if cursor.eat_word("quick").is_some() {
                once(rule.quick, span, "`quick`")?;
                rule.quick = true;
                continue;
            }
            if particular(cursor, &mut rule.particulars)? {
                continue;
            }
        }
        return Err(cursor.expected("a part of an anchor's rule"));
    }
    rule.span = begin.to(cursor.last());
    Ok(rule)
}

fn anchor_name(cursor: &mut Cursor<'_>) -> Parse<Spanned<String>> {
    let mut name = cursor.string("the name of an anchor")?;
    // `spam/*` without quotes.
    while cursor.eat_sign("/").is_some() {
        let part = cursor.string("the name of an anchor")?;
        name.node = format!("{}/{}", name.node, part.node);
        name.span = name.span.to(part.span);
    }
    check_name(&name)?;
    Ok(name)
}

fn check_name(name: &Spanned<String>) -> Parse<()> {
    if name.node.is_empty() || name.node.starts_with('_') || name.node.contains("/_") {
        return Err(Box::new(
            Diagnostic::error(name.span, format!("`{}` cannot name an anchor", name.node))
                .hint("names that begin with `_` are pfctl's own"),
        ));
    }
    if name.node.len() >= pf_abi::MAXPATHLEN {
        return Err(Box::new(Diagnostic::error(
            name.span,
            "the path of an anchor is too long",
        )));
    }
    Ok(())
}

/// Reads `load anchor name from file`.
pub(super) fn load_anchor(cursor: &mut Cursor<'_>) -> Parse<LoadAnchor> {
    let begin = cursor.here();
    cursor.expect_word("load")?;
    cursor.expect_word("anchor")?;
    let name = anchor_name(cursor)?;
    cursor.expect_word("from")?;
    let file = cursor.string("the name of a file")?;
    if !cursor.at_end() {
        return Err(cursor.expected("the end of the line"));
    }
    Ok(LoadAnchor {
        span: begin.to(cursor.last()),
        name,
        file,
    })
}
