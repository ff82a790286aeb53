//! `antispoof`.

use super::address::{interface, once};
use super::cursor::{Cursor, Parse};
use super::log::log;
use crate::conf::ast::{Af, Antispoof, AntispoofInterface};
use crate::conf::diagnostic::{Diagnostic, Spanned};

/// Reads a rule, of which `antispoof` comes next.
pub(super) fn antispoof(cursor: &mut Cursor<'_>) -> Parse<Antispoof> {
    let begin = cursor.expect_word("antispoof")?;
    let mut rule = Antispoof {
        span: begin,
        log: None,
        quick: false,
        interfaces: Vec::new(),
        af: None,
        label: None,
    };
    while !cursor.at_end() {
        let span = cursor.here();
        if cursor.at_word("log") {
            once(rule.log.is_some(), span, "`log`")?;
            rule.log = Some(log(cursor)?);
        } else if cursor.eat_word("quick").is_some() {
            once(rule.quick, span, "`quick`")?;
            rule.quick = true;
        } else if cursor.eat_word("for").is_some() {
            once(!rule.interfaces.is_empty(), span, "`for`")?;
            rule.interfaces = cursor.list(one)?;
        } else if cursor.at_word("inet") || cursor.at_word("inet6") {
            once(rule.af.is_some(), span, "the address family")?;
            let node = match cursor.eat_word("inet") {
                Some(_) => Af::Inet,
                None => {
                    cursor.next();
                    Af::Inet6
                }
            };
            rule.af = Some(Spanned { node, span });
        } else if cursor.eat_word("label").is_some() {
            once(rule.label.is_some(), span, "`label`")?;
            rule.label = Some(cursor.string("a label")?);
        } else {
            return Err(cursor.expected_one_of(
                "a part of `antispoof`",
                &["for", "log", "quick", "inet", "inet6", "label"],
            ));
        }
    }
    if rule.interfaces.is_empty() {
        return Err(Box::new(
            Diagnostic::error(cursor.here(), "`antispoof` for which interface?").hint("write `antispoof for em0`"),
        ));
    }
    rule.span = begin.to(cursor.last());
    Ok(rule)
}

/// `em0` or `(em0)`
fn one(cursor: &mut Cursor<'_>) -> Parse<Spanned<AntispoofInterface>> {
    let dynamic = cursor.eat_sign("(").is_some();
    let name = interface(cursor)?;
    if name.node.not {
        return Err(Box::new(Diagnostic::error(name.span, "`antispoof` takes no `!`")));
    }
    if dynamic {
        cursor.expect_sign(")")?;
    }
    Ok(Spanned {
        node: AntispoofInterface {
            name: name.node.name,
            dynamic,
        },
        span: name.span,
    })
}
