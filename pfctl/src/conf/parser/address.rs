//! What a rule matches: interfaces, family, protocols, addresses and ports.

use super::cursor::{Cursor, Parse};
use crate::conf::ast::{Af, Endpoint, HostKind, HostSpec, IfSpec, Match, PortSpec};
use crate::conf::diagnostic::{Diagnostic, Span, Spanned, did_you_mean};
use crate::conf::lexer::Kind;
use pf_abi::{PFI_AFLAG_BROADCAST, PFI_AFLAG_MODEMASK, PFI_AFLAG_NETWORK, PFI_AFLAG_NOALIAS, PFI_AFLAG_PEER, PortOp};

/// Which of the clauses were read already: each may stand once.
#[derive(Debug, Default)]
pub(super) struct Seen {
    all: Option<Span>,
    from: Option<Span>,
    to: Option<Span>,
}

/// Refuses a clause that stands in the rule already.
pub(super) fn once(earlier: bool, span: Span, what: &str) -> Parse<()> {
    if earlier {
        return Err(Box::new(
            Diagnostic::error(span, format!("{what} given twice")).label("the second one"),
        ));
    }
    Ok(())
}

/// Reads one clause of a rule's match, if one comes next: whether it did.
pub(super) fn match_clause(cursor: &mut Cursor<'_>, matching: &mut Match, seen: &mut Seen) -> Parse<bool> {
    let span = cursor.here();
    if cursor.eat_word("on").is_some() {
        once(!matching.interfaces.is_empty(), span, "`on`")?;
        matching.interfaces = cursor.list(interface)?;
    } else if cursor.at_word("inet") || cursor.at_word("inet6") {
        once(matching.af.is_some(), span, "the address family")?;
        let node = if cursor.eat_word("inet").is_some() {
            Af::Inet
        } else {
            cursor.expect_word("inet6")?;
            Af::Inet6
        };
        matching.af = Some(Spanned { node, span });
    } else if cursor.eat_word("proto").is_some() {
        once(!matching.protos.is_empty(), span, "`proto`")?;
        matching.protos = cursor.list(|cursor| cursor.string("a protocol"))?;
    } else if cursor.eat_word("all").is_some() {
        once(seen.all.is_some(), span, "`all`")?;
        seen.all = Some(span);
    } else if cursor.eat_word("from").is_some() {
        once(seen.from.is_some(), span, "`from`")?;
        seen.from = Some(span);
        matching.from = endpoint(cursor, Some(&mut matching.os))?;
    } else if cursor.eat_word("to").is_some() {
        once(seen.to.is_some(), span, "`to`")?;
        seen.to = Some(span);
        matching.to = endpoint(cursor, None)?;
    } else {
        return Ok(false);
    }
    if let (Some(_), Some(_)) = (seen.all, seen.from.or(seen.to)) {
        return Err(Box::new(
            Diagnostic::error(span, "`all` together with `from` or `to`").hint("`all` is short for `from any to any`"),
        ));
    }
    Ok(true)
}

/// `[!] em0`
pub(super) fn interface(cursor: &mut Cursor<'_>) -> Parse<Spanned<IfSpec>> {
    let span = cursor.here();
    let not = cursor.eat_sign("!").is_some();
    let name = cursor.string("an interface")?;
    if pf_abi::IfName::new(&name.node).is_none() {
        return Err(Box::new(
            Diagnostic::error(name.span, "the name of the interface is too long")
                .label(format!("at most {} characters", pf_abi::IFNAMSIZ - 1)),
        ));
    }
    Ok(Spanned {
        node: IfSpec { not, name: name.node },
        span: span.to(name.span),
    })
}

/// What follows `from` or `to`. Only a source has a system.
fn endpoint(cursor: &mut Cursor<'_>, mut systems: Option<&mut Vec<Spanned<String>>>) -> Parse<Endpoint> {
    let mut endpoint = Endpoint::default();
    if !cursor.at_word("port") && !cursor.at_word("os") {
        endpoint.hosts = hosts(cursor)?;
    }
    system(cursor, &mut systems)?;
    if cursor.eat_word("port").is_some() {
        endpoint.ports = cursor.list(port)?;
    }
    system(cursor, &mut systems)?;
    Ok(endpoint)
}

/// `os`, if it comes next.
fn system(cursor: &mut Cursor<'_>, to: &mut Option<&mut Vec<Spanned<String>>>) -> Parse<()> {
    let Some(span) = cursor.eat_word("os") else {
        return Ok(());
    };
    let Some(to) = to else {
        return Err(Box::new(
            Diagnostic::error(span, "`os` of a destination").hint("only the sender of a packet shows its system"),
        ));
    };
    once(!to.is_empty(), span, "`os`")?;
    **to = cursor.list(|cursor| cursor.string("an operating system"))?;
    Ok(())
}

/// An address, or a list of them, in which lists may stand.
pub(super) fn hosts(cursor: &mut Cursor<'_>) -> Parse<Vec<Spanned<HostSpec>>> {
    let nested = cursor.list(|cursor| {
        if cursor.at_sign("{") {
            hosts(cursor)
        } else {
            Ok(vec![host(cursor)?])
        }
    })?;
    Ok(nested.into_iter().flatten().collect())
}

/// `[!] address`
pub(super) fn host(cursor: &mut Cursor<'_>) -> Parse<Spanned<HostSpec>> {
    let span = cursor.here();
    let not = cursor.eat_sign("!").is_some();
    let kind = if cursor.eat_word("any").is_some() {
        if not {
            return Err(Box::new(
                Diagnostic::error(span.to(cursor.last()), "`! any` matches nothing").hint("leave the rule out"),
            ));
        }
        HostKind::Any
    } else if cursor.at_sign("<") {
        HostKind::Table(super::table::name(cursor)?.node)
    } else if cursor.eat_word("no-route").is_some() {
        HostKind::NoRoute
    } else if cursor.eat_word("urpf-failed").is_some() {
        HostKind::UrpfFailed
    } else if cursor.at_word("route") {
        return Err(Box::new(
            Diagnostic::unsupported(cursor.here(), "`route`, the label of a route")
                .hint("NetBSD's routes have no labels"),
        ));
    } else if cursor.at_sign("(") {
        dynamic(cursor)?
    } else {
        let name = cursor.string("an address")?;
        HostKind::Name(name.node, mask(cursor)?)
    };
    Ok(Spanned {
        node: HostSpec { not, kind },
        span: span.to(cursor.last()),
    })
}

/// `/24`
fn mask(cursor: &mut Cursor<'_>) -> Parse<Option<u8>> {
    if cursor.eat_sign("/").is_none() {
        return Ok(None);
    }
    let bits = cursor.number("a mask", 128)?;
    Ok(Some(bits.node as u8))
}

/// `(em0:network)`
fn dynamic(cursor: &mut Cursor<'_>) -> Parse<HostKind> {
    cursor.expect_sign("(")?;
    let text = cursor.string("an interface")?;
    cursor.expect_sign(")")?;
    let mask = mask(cursor)?;
    let mut parts = text.node.split(':');
    let name = parts.next().unwrap_or_default().to_owned();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || pf_abi::IfName::new(&name).is_none() {
        return Err(Box::new(
            Diagnostic::error(text.span, format!("`{name}` is no name of an interface"))
                .hint("parentheses are for an interface whose addresses may change"),
        ));
    }
    let mut flags = 0;
    for part in parts {
        flags |= modifier(part, text.span)?;
    }
    check_modifiers(flags, text.span)?;
    Ok(HostKind::Dynamic { name, flags, mask })
}

/// The `PFI_AFLAG_*` of a word behind an interface's name.
pub fn modifier(word: &str, span: Span) -> Parse<u8> {
    Ok(match word {
        "network" => PFI_AFLAG_NETWORK,
        "broadcast" => PFI_AFLAG_BROADCAST,
        "peer" => PFI_AFLAG_PEER,
        "0" => PFI_AFLAG_NOALIAS,
        _ => {
            return Err(Box::new(
                Diagnostic::error(span, format!("unknown modifier `{word}` of an interface"))
                    .hint_opt(did_you_mean(word, ["network", "broadcast", "peer"]))
                    .hint("an interface can be followed by `:network`, `:broadcast`, `:peer` and `:0`"),
            ));
        }
    })
}

/// Refuses modifiers that cannot stand together.
pub fn check_modifiers(flags: u8, span: Span) -> Parse<()> {
    if (flags & PFI_AFLAG_MODEMASK).count_ones() > 1 {
        return Err(Box::new(Diagnostic::error(
            span,
            "`:network`, `:broadcast` and `:peer` exclude each other",
        )));
    }
    Ok(())
}

/// `[op] port`, `port:port`, `port >< port` or `port <> port`
pub(super) fn port(cursor: &mut Cursor<'_>) -> Parse<Spanned<PortSpec>> {
    let span = cursor.here();
    let unary = unary_operator(cursor)?;
    let text = cursor.string("a port")?;
    let range = text.node.split_once(':');
    let binary = cursor
        .peek()
        .filter(|token| token.kind == Kind::Sign)
        .and_then(|token| match token.text.as_str() {
            "><" => Some(PortOp::InsideRange),
            "<>" => Some(PortOp::OutsideRange),
            _ => None,
        });
    let part = |node: &str| Spanned {
        node: node.to_owned(),
        span: text.span,
    };
    let node = match (unary, range, binary) {
        (None, None, None) => PortSpec {
            op: PortOp::Equal,
            first: text,
            second: None,
        },
        (Some(op), None, None) => PortSpec {
            op,
            first: text,
            second: None,
        },
        (None, Some((first, second)), None) => PortSpec {
            op: PortOp::Range,
            first: part(first),
            second: Some(part(second)),
        },
        (None, None, Some(op)) => {
            cursor.next();
            let second = cursor.string("a port")?;
            if second.node.contains(':') {
                return Err(Box::new(two_operators(second.span)));
            }
            PortSpec {
                op,
                first: text,
                second: Some(second),
            }
        }
        _ => return Err(Box::new(two_operators(span.to(text.span)))),
    };
    Ok(Spanned {
        node,
        span: span.to(cursor.last()),
    })
}

fn two_operators(span: Span) -> Diagnostic {
    Diagnostic::error(span, "two operators in one comparison of ports").hint("`:` makes a range and stands alone")
}

/// `=`, `!=`, `<`, `<=`, `>` or `>=`
fn unary_operator(cursor: &mut Cursor<'_>) -> Parse<Option<PortOp>> {
    let op = if cursor.eat_sign("=").is_some() {
        PortOp::Equal
    } else if cursor.eat_sign("!").is_some() {
        cursor.expect_sign("=")?;
        PortOp::NotEqual
    } else if cursor.eat_sign("<").is_some() {
        match cursor.eat_sign("=") {
            Some(_) => PortOp::LessOrEqual,
            None => PortOp::Less,
        }
    } else if cursor.eat_sign(">").is_some() {
        match cursor.eat_sign("=") {
            Some(_) => PortOp::GreaterOrEqual,
            None => PortOp::Greater,
        }
    } else {
        return Ok(None);
    };
    Ok(Some(op))
}
