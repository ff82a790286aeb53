//! Criteria that few rules have: user, group, type of service, tag, chance.

use super::address::{once, port};
use super::cursor::{Cursor, Parse};
use crate::conf::ast::{Particulars, TagSpec};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use pf_abi::PF_TAG_NAME_SIZE;

/// Reads one of them, if one comes next: whether it did.
pub(super) fn particular(cursor: &mut Cursor<'_>, to: &mut Particulars) -> Parse<bool> {
    let span = cursor.here();
    if cursor.eat_word("user").is_some() {
        once(!to.users.is_empty(), span, "`user`")?;
        to.users = cursor.list(port)?;
    } else if cursor.eat_word("group").is_some() {
        once(!to.groups.is_empty(), span, "`group`")?;
        to.groups = cursor.list(port)?;
    } else if cursor.eat_word("tos").is_some() {
        once(to.tos.is_some(), span, "`tos`")?;
        to.tos = Some(tos(cursor)?);
    } else if cursor.eat_word("probability").is_some() {
        once(to.probability.is_some(), span, "`probability`")?;
        to.probability = Some(probability(cursor)?);
    } else {
        return tag(cursor, to);
    }
    Ok(true)
}

/// `tag x`, `tagged x`, `! tagged x`
pub(super) fn tag(cursor: &mut Cursor<'_>, to: &mut Particulars) -> Parse<bool> {
    let span = cursor.here();
    let not = cursor.at_sign("!") && cursor.peek_second().is_some_and(|next| next.is_word("tagged"));
    if cursor.eat_word("tag").is_some() {
        once(to.tag.is_some(), span, "`tag`")?;
        to.tag = Some(name(cursor)?);
    } else if not || cursor.at_word("tagged") {
        once(to.tagged.is_some(), span, "`tagged`")?;
        cursor.eat_sign("!");
        cursor.expect_word("tagged")?;
        to.tagged = Some(TagSpec {
            not,
            name: name(cursor)?,
        });
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn name(cursor: &mut Cursor<'_>) -> Parse<Spanned<String>> {
    let name = cursor.string("a tag")?;
    if name.node.is_empty() || name.node.len() >= PF_TAG_NAME_SIZE {
        return Err(Box::new(
            Diagnostic::error(name.span, "a tag is empty or too long")
                .label(format!("at most {} characters", PF_TAG_NAME_SIZE - 1)),
        ));
    }
    Ok(name)
}

/// `lowdelay`, `throughput`, `reliability`, or a number above 0.
fn tos(cursor: &mut Cursor<'_>) -> Parse<u8> {
    for (word, value) in [("lowdelay", 0x10), ("throughput", 0x08), ("reliability", 0x04)] {
        if cursor.eat_word(word).is_some() {
            return Ok(value);
        }
    }
    if cursor
        .peek()
        .is_none_or(|token| super::parse_number(&token.text).is_none())
    {
        return Err(cursor.expected_one_of("a type of service", &["lowdelay", "throughput", "reliability"]));
    }
    let number = cursor.number("a type of service", 255)?;
    if number.node == 0 {
        return Err(Box::new(Diagnostic::error(
            number.span,
            "type of service 0 cannot be matched",
        )));
    }
    Ok(number.node as u8)
}

/// `20%` or `0.2`: of 2^32.
fn probability(cursor: &mut Cursor<'_>) -> Parse<u32> {
    let text = cursor.string("a probability")?;
    let (digits, percent) = match text.node.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (text.node.as_str(), false),
    };
    let value = digits.parse::<f64>().ok().filter(|value| value.is_finite());
    let value = value.map(|value| if percent { value / 100.0 } else { value });
    match value.filter(|value| *value > 0.0 && *value <= 1.0) {
        // As NetBSD's pfctl has it: 100% is 2^32 - 1.
        Some(value) => Ok(((value * f64::from(u32::MAX)) as u32).max(1)),
        None => Err(Box::new(
            Diagnostic::error(text.span, format!("`{}` is no probability", text.node))
                .hint("it is above 0 and at most 1, or so in percent: `20%`"),
        )),
    }
}
