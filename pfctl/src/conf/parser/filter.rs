//! `pass` and `block`.

use super::address::{Seen, match_clause, once};
use super::cursor::{Cursor, Parse};
use super::log::log;
use super::particular::particular;
use super::pool::route;
use super::queue::rule_queue;
use super::state::keep;
use crate::conf::ast::{Af, FilterRule, Flags, IcmpSpec, Match, Response, Verdict};
use crate::conf::diagnostic::{Diagnostic, Span, Spanned, did_you_mean};
use crate::conf::keyword;
use crate::icmp;
use pf_abi::Direction;

/// What the kernel answers with `return-icmp` unless told: "port unreachable".
pub const DEFAULT_ICMP_CODE: u8 = 3;
/// What it answers with `return-icmp6` unless told: "port unreachable".
pub const DEFAULT_ICMP6_CODE: u8 = 4;

/// Reads a rule, of which `pass` or `block` comes next.
pub(super) fn filter_rule(cursor: &mut Cursor<'_>) -> Parse<FilterRule> {
    let begin = cursor.here();
    let verdict = if cursor.eat_word("pass").is_some() {
        Verdict::Pass
    } else {
        cursor.expect_word("block")?;
        Verdict::Block(None)
    };
    let mut rule = FilterRule {
        span: begin,
        verdict: Spanned {
            node: verdict,
            span: begin,
        },
        direction: Direction::InOut,
        log: None,
        queue: None,
        quick: false,
        matching: Match::default(),
        flags: None,
        icmp: Vec::new(),
        keep: None,
        fragment: None,
        allow_opts: None,
        label: None,
        particulars: Default::default(),
        route: None,
    };
    let mut seen = Seen::default();
    while !cursor.at_end() {
        if !match_clause(cursor, &mut rule.matching, &mut seen)?
            && !response_clause(cursor, &mut rule)?
            && !option_clause(cursor, &mut rule)?
        {
            refuse_unsupported(cursor)?;
            return Err(cursor.expected_one_of("a part of a rule", keyword::FILTER));
        }
    }
    rule.span = begin.to(cursor.last());
    Ok(rule)
}

/// `drop`, `return` and its like.
fn response_clause(cursor: &mut Cursor<'_>, rule: &mut FilterRule) -> Parse<bool> {
    let span = cursor.here();
    let Some(response) = response(cursor)? else {
        return Ok(false);
    };
    match &mut rule.verdict.node {
        Verdict::Pass => Err(Box::new(
            Diagnostic::error(span, "an answer to packets that are passed")
                .hint("`drop` and `return` belong to `block`"),
        )),
        Verdict::Block(earlier) => {
            once(earlier.is_some(), span, "the answer")?;
            *earlier = Some(response);
            rule.verdict.span = rule.verdict.span.to(cursor.last());
            Ok(true)
        }
    }
}

/// `drop`, `return` and its like, if one comes next.
pub(super) fn response(cursor: &mut Cursor<'_>) -> Parse<Option<Response>> {
    let response = if cursor.eat_word("drop").is_some() {
        Response::Drop
    } else if cursor.eat_word("return").is_some() {
        Response::Return
    } else if cursor.eat_word("return-rst").is_some() {
        let mut ttl = 0;
        if cursor.eat_sign("(").is_some() {
            cursor.expect_word("ttl")?;
            ttl = cursor.number("a TTL", 255)?.node as u8;
            cursor.expect_sign(")")?;
        }
        Response::ReturnRst(ttl)
    } else if cursor.eat_word("return-icmp").is_some() {
        let mut codes = (DEFAULT_ICMP_CODE, DEFAULT_ICMP6_CODE);
        if cursor.eat_sign("(").is_some() {
            codes.0 = unreachable_code(cursor, Af::Inet)?;
            cursor.eat_sign(",");
            if !cursor.at_sign(")") {
                codes.1 = unreachable_code(cursor, Af::Inet6)?;
            }
            cursor.expect_sign(")")?;
        }
        Response::ReturnIcmp(codes.0, codes.1)
    } else if cursor.eat_word("return-icmp6").is_some() {
        let mut code = DEFAULT_ICMP6_CODE;
        if cursor.eat_sign("(").is_some() {
            code = unreachable_code(cursor, Af::Inet6)?;
            cursor.expect_sign(")")?;
        }
        Response::ReturnIcmp(DEFAULT_ICMP_CODE, code)
    } else {
        return Ok(None);
    };
    Ok(Some(response))
}

/// A code of "destination unreachable", by name or number.
fn unreachable_code(cursor: &mut Cursor<'_>, af: Af) -> Parse<u8> {
    let kind = match af {
        Af::Inet => icmp::UNREACH,
        Af::Inet6 => icmp::UNREACH6,
    };
    icmp_code(cursor, af, kind)
}

fn icmp_code(cursor: &mut Cursor<'_>, af: Af, kind: u8) -> Parse<u8> {
    if let Some(code) = cursor
        .peek()
        .and_then(|token| icmp::code_by_name(af.number(), kind, &token.text))
    {
        cursor.next();
        return Ok(code);
    }
    if cursor
        .peek()
        .is_some_and(|token| token.text.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Ok(cursor.number("a code", 255)?.node as u8);
    }
    let names: Vec<&str> = icmp::code_names(af.number(), kind).collect();
    let mut error = cursor.expected_one_of("a code of ICMP", &names);
    if !names.is_empty() {
        error.hints.push(format!("known are {}", names.join(", ")));
    }
    Err(error)
}

/// The rest of a rule's clauses.
fn option_clause(cursor: &mut Cursor<'_>, rule: &mut FilterRule) -> Parse<bool> {
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
    } else if cursor.eat_word("quick").is_some() {
        once(rule.quick, span, "`quick`")?;
        rule.quick = true;
    } else if cursor.eat_word("flags").is_some() {
        once(rule.flags.is_some(), span, "`flags`")?;
        rule.flags = Some(flags(cursor, span)?);
    } else if cursor.at_word("icmp-type") || cursor.at_word("icmp6-type") {
        once(!rule.icmp.is_empty(), span, "`icmp-type`")?;
        let af = match cursor.eat_word("icmp-type") {
            Some(_) => Af::Inet,
            None => {
                cursor.next();
                Af::Inet6
            }
        };
        rule.icmp = cursor.list(|cursor| icmp_type(cursor, af))?;
    } else if cursor.eat_word("fragment").is_some() {
        once(rule.fragment.is_some(), span, "`fragment`")?;
        rule.fragment = Some(span);
    } else if cursor.eat_word("allow-opts").is_some() {
        once(rule.allow_opts.is_some(), span, "`allow-opts`")?;
        rule.allow_opts = Some(span);
    } else if cursor.eat_word("label").is_some() {
        once(rule.label.is_some(), span, "`label`")?;
        rule.label = Some(cursor.string("a label")?);
    } else if cursor.eat_word("queue").is_some() {
        once(rule.queue.is_some(), span, "`queue`")?;
        rule.queue = Some(rule_queue(cursor)?);
    } else if particular(cursor, &mut rule.particulars)? {
        // Done.
    } else if let Some(route) = route(cursor)? {
        once(rule.route.is_some(), span, "where packets are sent")?;
        rule.route = Some(route);
    } else if let Some(state) = keep(cursor)? {
        once(rule.keep.is_some(), span, "`keep state`")?;
        rule.keep = Some(state);
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// `S/SA`, `/SA` or `any`
fn flags(cursor: &mut Cursor<'_>, begin: Span) -> Parse<Spanned<Flags>> {
    let node = if cursor.eat_word("any").is_some() {
        Flags { set: 0, of: 0 }
    } else {
        let set = match cursor.at_sign("/") {
            true => 0,
            false => flag_letters(cursor)?,
        };
        cursor.expect_sign("/")?;
        Flags {
            set,
            of: flag_letters(cursor)?,
        }
    };
    let span = begin.to(cursor.last());
    if node.set & !node.of != 0 {
        return Err(Box::new(
            Diagnostic::error(span, "flags that can never match")
                .label("flags before the `/` that do not stand behind it"),
        ));
    }
    Ok(Spanned { node, span })
}

/// TCP flags by their letters; the bit of each is its place here.
pub const FLAG_LETTERS: &str = "FSRPAUEW";

fn flag_letters(cursor: &mut Cursor<'_>) -> Parse<u8> {
    let text = cursor.string("TCP flags")?;
    let mut flags = 0;
    for letter in text.node.chars() {
        let Some(bit) = FLAG_LETTERS.find(letter) else {
            return Err(Box::new(
                Diagnostic::error(text.span, format!("`{letter}` is no TCP flag"))
                    .hint("the flags are F, S, R, P, A, U, E and W"),
            ));
        };
        flags |= 1 << bit;
    }
    Ok(flags)
}

/// `echoreq [code n]`
fn icmp_type(cursor: &mut Cursor<'_>, af: Af) -> Parse<Spanned<IcmpSpec>> {
    let span = cursor.here();
    let text = cursor.string("a type of ICMP")?;
    let kind = match icmp::type_by_name(af.number(), &text.node) {
        Some(kind) => kind,
        None => match super::cursor::parse_number(&text.node) {
            Some(number) => u8::try_from(number)
                .map_err(|_| Box::new(Diagnostic::error(text.span, "a type of ICMP is at most 255")))?,
            None => {
                return Err(Box::new(
                    Diagnostic::error(text.span, format!("unknown type of ICMP `{}`", text.node))
                        .hint_opt(did_you_mean(&text.node, icmp::type_names(af.number()))),
                ));
            }
        },
    };
    let code = match cursor.eat_word("code") {
        Some(_) => Some(icmp_code(cursor, af, kind)?),
        None => None,
    };
    Ok(Spanned {
        node: IcmpSpec { af, kind, code },
        span: span.to(cursor.last()),
    })
}

/// Says clearly what pf.conf(5) has and this program has not.
fn refuse_unsupported(cursor: &Cursor<'_>) -> Parse<()> {
    const UNSUPPORTED: &[&str] = &["rtable"];
    if cursor.at_word("port") {
        return Err(Box::new(
            Diagnostic::error(cursor.here(), "`port` without `from` or `to` before it")
                .hint("write `to port ...` or `from port ...`"),
        ));
    }
    match UNSUPPORTED.iter().find(|word| cursor.at_word(word)) {
        Some(word) => Err(Box::new(
            Diagnostic::unsupported(cursor.here(), format!("`{word}`"))
                .hint("NetBSD has one routing table; see `route-to`"),
        )),
        None => Ok(()),
    }
}
