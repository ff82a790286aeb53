//! `nat`, `rdr` and `binat`.

use super::address::{Seen, host, match_clause, once};
use super::cursor::{Cursor, Parse};
use super::log::log;
use super::particular::tag;
use super::pool::choice;
use crate::conf::ast::{Choice, Match, RedirectEnd, RedirectPort, Target, TranslationKind, TranslationRule};
use crate::conf::diagnostic::{Diagnostic, Span, Spanned};
use crate::conf::keyword;

/// Reads a rule, of which `nat`, `rdr`, `binat` or the `no` before them comes next.
pub(super) fn translation_rule(cursor: &mut Cursor<'_>) -> Parse<TranslationRule> {
    let begin = cursor.here();
    let no = cursor.eat_word("no");
    let kind = if cursor.eat_word("nat").is_some() {
        TranslationKind::Nat
    } else if cursor.eat_word("rdr").is_some() {
        TranslationKind::Rdr
    } else if cursor.eat_word("binat").is_some() {
        TranslationKind::Binat
    } else {
        return Err(cursor.expected_one_of("`nat`, `rdr` or `binat`", &["nat", "rdr", "binat", "scrub"]));
    };
    let mut rule = TranslationRule {
        span: begin,
        kind,
        no: no.is_some(),
        pass: false,
        log: None,
        matching: Match::default(),
        target: None,
        particulars: Default::default(),
    };
    let mut seen = Seen::default();
    while !cursor.at_end() {
        let span = cursor.here();
        if match_clause(cursor, &mut rule.matching, &mut seen)? {
            continue;
        }
        if tag(cursor, &mut rule.particulars)? {
            continue;
        }
        if cursor.eat_word("pass").is_some() {
            once(rule.pass, span, "`pass`")?;
            if rule.no {
                return Err(Box::new(Diagnostic::error(span, "`pass` together with `no`")));
            }
            rule.pass = true;
        } else if cursor.at_word("log") {
            once(rule.log.is_some(), span, "`log`")?;
            rule.log = Some(log(cursor)?);
        } else if cursor.eat_sign("->").is_some() {
            once(rule.target.is_some(), span, "`->`")?;
            rule.target = Some(target(cursor)?);
        } else if let Some(target) = &mut rule.target {
            if !target_option(cursor, target)? {
                refuse_unsupported(cursor)?;
                return Err(cursor.expected_one_of("the end of the rule", keyword::TRANSLATION));
            }
        } else {
            refuse_unsupported(cursor)?;
            return Err(cursor.expected_one_of("a part of a rule, or `->`", keyword::TRANSLATION));
        }
    }
    rule.span = begin.to(cursor.last());
    check_target(&rule, cursor.here())?;
    Ok(rule)
}

fn check_target(rule: &TranslationRule, end: Span) -> Parse<()> {
    match (&rule.target, rule.no) {
        (None, false) => Err(Box::new(
            Diagnostic::error(end, "a translation without `->`")
                .label("expected `-> address`")
                .hint("put `no` in front for a rule that keeps packets from being translated"),
        )),
        (Some(_), true) => Err(Box::new(
            Diagnostic::error(rule.span, "`->` in a rule with `no`").hint("`no nat` and its like translate to nothing"),
        )),
        _ => Ok(()),
    }
}

/// What follows `->`.
fn target(cursor: &mut Cursor<'_>) -> Parse<Target> {
    let hosts = cursor.list(|cursor| {
        if cursor.at_sign("!") || cursor.at_word("any") {
            return Err(Box::new(
                Diagnostic::error(cursor.here(), "a translation needs an address to translate to")
                    .label("not an address"),
            ));
        }
        host(cursor)
    })?;
    let mut target = Target {
        hosts,
        port: None,
        static_port: None,
        choice: Choice::default(),
    };
    if cursor.eat_word("port").is_some() {
        let text = cursor.string("a port")?;
        let part = |node: &str| Spanned {
            node: node.to_owned(),
            span: text.span,
        };
        let node = match text.node.split_once(':') {
            None => RedirectPort {
                first: part(&text.node),
                last: RedirectEnd::Same,
            },
            Some((first, "*")) => RedirectPort {
                first: part(first),
                last: RedirectEnd::Open,
            },
            Some((first, last)) => RedirectPort {
                first: part(first),
                last: RedirectEnd::At(part(last)),
            },
        };
        target.port = Some(Spanned { node, span: text.span });
    }
    Ok(target)
}

/// `static-port` and how an address is chosen.
fn target_option(cursor: &mut Cursor<'_>, target: &mut Target) -> Parse<bool> {
    let span = cursor.here();
    if cursor.eat_word("static-port").is_some() {
        once(target.static_port.is_some(), span, "`static-port`")?;
        target.static_port = Some(span);
        return Ok(true);
    }
    choice(cursor, &mut target.choice)
}

/// Says clearly what pf.conf(5) has and this program has not.
fn refuse_unsupported(cursor: &Cursor<'_>) -> Parse<()> {
    const UNSUPPORTED: &[&str] = &["rtable", "if-bound", "floating", "os"];
    match UNSUPPORTED.iter().find(|word| cursor.at_word(word)) {
        Some(word) => Err(Box::new(Diagnostic::unsupported(
            cursor.here(),
            format!("`{word}` in a translation rule"),
        ))),
        None => Ok(()),
    }
}
