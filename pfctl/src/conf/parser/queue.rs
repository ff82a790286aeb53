//! `altq` and `queue`: read, and checked as far as the grammar goes. Queues are loaded by no kernel that this program knows.

use super::cursor::{Cursor, Parse};
use crate::conf::ast::{Queueing, RuleQueue};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use pf_abi::PF_QNAME_SIZE;

/// The schedulers.
const SCHEDULERS: &[&str] = &["cbq", "priq", "hfsc"];
/// What a scheduler can be told of a queue.
const FLAGS: &[&str] = &["default", "red", "rio", "ecn", "borrow", "control"];
/// Curves of hfsc: `realtime 10%` or `realtime(10% 10 20%)`.
const CURVES: &[&str] = &["realtime", "upperlimit", "linkshare"];
/// What stands before the subqueues.
const OPTIONS: &[&str] = &["bandwidth", "priority", "qlimit", "tbrsize", "cbq", "priq", "hfsc"];

/// Reads `queue NAME` or `queue (NAME, NAME)` of a rule, behind `queue`.
pub(super) fn rule_queue(cursor: &mut Cursor<'_>) -> Parse<RuleQueue> {
    if cursor.eat_sign("(").is_none() {
        return Ok(RuleQueue {
            queue: name(cursor)?,
            priority: None,
        });
    }
    let queue = name(cursor)?;
    let priority = match cursor.at_sign(")") {
        true => None,
        false => {
            cursor.eat_sign(",");
            Some(name(cursor)?)
        }
    };
    cursor.expect_sign(")")?;
    Ok(RuleQueue { queue, priority })
}

/// The name of a queue.
fn name(cursor: &mut Cursor<'_>) -> Parse<String> {
    let name = cursor.string("the name of a queue")?;
    if name.node.len() >= PF_QNAME_SIZE {
        let message = format!("the name of a queue has at most {} bytes", PF_QNAME_SIZE - 1);
        return Err(Box::new(Diagnostic::error(name.span, message)));
    }
    Ok(name.node)
}

/// Reads `altq on IF OPTIONS queue { NAMES }` or `queue NAME [on IF] OPTIONS [{ NAMES }]`, which comes next.
pub(super) fn queueing(cursor: &mut Cursor<'_>) -> Parse<Queueing> {
    let mut text = Vec::new();
    let is_altq = cursor.eat_word("altq").is_some();
    if is_altq {
        text.push("altq".to_owned());
        cursor.expect_word("on")?;
        text.push(on(cursor)?);
    } else {
        cursor.expect_word("queue")?;
        text.push(format!("queue {}", name(cursor)?));
        if cursor.eat_word("on").is_some() {
            text.push(on(cursor)?);
        }
    }
    while let Some(word) = OPTIONS.iter().find(|word| cursor.at_word(word)) {
        cursor.next();
        text.push(option(cursor, word)?);
    }
    if is_altq {
        cursor.expect_word("queue")?;
        text.push("queue".to_owned());
    }
    if is_altq || cursor.at_sign("{") {
        let names = cursor.list(name)?;
        text.push(match names.as_slice() {
            [only] if is_altq => only.clone(),
            names => format!("{{ {} }}", names.join(", ")),
        });
    }
    if !cursor.at_end() {
        return Err(cursor.expected_one_of("an option of a queue", OPTIONS));
    }
    Ok(Queueing { text: text.join(" ") })
}

fn on(cursor: &mut Cursor<'_>) -> Parse<String> {
    let names = cursor.list(|cursor| cursor.string("an interface").map(|name| name.node))?;
    Ok(match names.as_slice() {
        [only] => format!("on {only}"),
        names => format!("on {{ {} }}", names.join(", ")),
    })
}

/// The rest of an option.
fn option(cursor: &mut Cursor<'_>, word: &str) -> Parse<String> {
    if SCHEDULERS.contains(&word) {
        return scheduler(cursor, word);
    }
    Ok(match word {
        "bandwidth" => format!("bandwidth {}", bandwidth(cursor)?),
        "priority" => format!("priority {}", cursor.number("a priority", 15)?.node),
        word => format!("{word} {}", cursor.number("a number", u16::MAX.into())?.node),
    })
}

/// `10Mb`, `30%`
fn bandwidth(cursor: &mut Cursor<'_>) -> Parse<String> {
    let text: Spanned<String> = cursor.string("a bandwidth")?;
    let digits = text.node.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let is_one = digits.len() < text.node.len() && matches!(digits, "" | "%" | "b" | "Kb" | "Mb" | "Gb");
    if !is_one {
        let message = format!("`{}` is no bandwidth", text.node);
        return Err(Box::new(
            Diagnostic::error(text.span, message).hint("it is a number with b, Kb, Mb, Gb or %"),
        ));
    }
    Ok(text.node)
}

/// `cbq`, `cbq(default borrow)`, `hfsc(realtime 10% default)`
fn scheduler(cursor: &mut Cursor<'_>, word: &str) -> Parse<String> {
    if cursor.eat_sign("(").is_none() {
        return Ok(word.to_owned());
    }
    let mut flags = Vec::new();
    while cursor.eat_sign(")").is_none() {
        if let Some(curve) = CURVES.iter().find(|curve| cursor.at_word(curve)) {
            cursor.next();
            flags.push(service_curve(cursor, curve)?);
        } else if let Some(flag) = FLAGS.iter().find(|flag| cursor.at_word(flag)) {
            cursor.next();
            flags.push((*flag).to_owned());
        } else {
            let known: Vec<&str> = FLAGS.iter().chain(CURVES).copied().collect();
            return Err(cursor.expected_one_of("what a scheduler can be told", &known));
        }
        cursor.eat_sign(",");
    }
    Ok(format!("{word}( {} )", flags.join(" ")))
}

/// `10%` or `(10% 10 20%)`
fn service_curve(cursor: &mut Cursor<'_>, word: &str) -> Parse<String> {
    if cursor.eat_sign("(").is_none() {
        return Ok(format!("{word} {}", bandwidth(cursor)?));
    }
    let first = bandwidth(cursor)?;
    cursor.eat_sign(",");
    let millis = cursor.number("milliseconds", u32::MAX)?.node;
    cursor.eat_sign(",");
    let then = bandwidth(cursor)?;
    cursor.expect_sign(")")?;
    Ok(format!("{word}({first} {millis} {then})"))
}
