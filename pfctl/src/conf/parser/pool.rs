//! How an address is chosen from a pool, and where packets are sent that go another way: `round-robin` and its like, `route-to` and its
//! like.

use super::address::{host, once};
use super::cursor::{Cursor, Parse};
use super::keyword_or_sign;
use crate::conf::ast::{Choice, RouteHost, RouteSpec};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use crate::conf::lexer::Kind;
use pf_abi::{PoolKind, Route};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher};

/// Reads a word about how an address is chosen, if one comes next: whether it did.
pub(super) fn choice(cursor: &mut Cursor<'_>, choice: &mut Choice) -> Parse<bool> {
    let span = cursor.here();
    if cursor.eat_word("sticky-address").is_some() {
        once(choice.sticky, span, "`sticky-address`")?;
        choice.sticky = true;
        return Ok(true);
    }
    let node = if cursor.eat_word("bitmask").is_some() {
        PoolKind::Bitmask
    } else if cursor.eat_word("random").is_some() {
        PoolKind::Random
    } else if cursor.eat_word("round-robin").is_some() {
        PoolKind::RoundRobin
    } else if cursor.eat_word("source-hash").is_some() {
        choice.key = hash_key(cursor)?;
        PoolKind::SourceHash
    } else {
        return Ok(false);
    };
    once(choice.kind.is_some(), span, "how an address is chosen")?;
    let span = span.to(cursor.last());
    choice.kind = Some(Spanned { node, span });
    Ok(true)
}

/// The key of `source-hash`: `0x` and 32 digits are the key itself, another text is hashed to one, and without either one is drawn.
fn hash_key(cursor: &mut Cursor<'_>) -> Parse<[u32; 4]> {
    let is_text = cursor
        .peek()
        .is_some_and(|token| token.kind == Kind::Quoted || !keyword_or_sign(token));
    if !is_text {
        let half = || std::collections::hash_map::RandomState::new().hash_one(0u8);
        return Ok(words(half(), half()));
    }
    let text = cursor.string("a key")?;
    let Some(digits) = text.node.strip_prefix("0x") else {
        let mut hasher = SipHasher13::new();
        hasher.write(text.node.as_bytes());
        let hash = hasher.finish128();
        return Ok(words(hash.h1, hash.h2));
    };
    match u128::from_str_radix(digits, 16) {
        Ok(key) if digits.len() == 32 && !digits.starts_with('+') => Ok(words((key >> 64) as u64, key as u64)),
        _ => Err(Box::new(
            Diagnostic::error(text.span, "a key in hexadecimal that is not a key")
                .label("expected 32 digits behind the `0x`"),
        )),
    }
}

fn words(high: u64, low: u64) -> [u32; 4] {
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
}

/// Reads `route-to` or its like, if one comes next.
pub(super) fn route(cursor: &mut Cursor<'_>) -> Parse<Option<Spanned<RouteSpec>>> {
    let span = cursor.here();
    let kind = if cursor.eat_word("route-to").is_some() {
        Route::To
    } else if cursor.eat_word("reply-to").is_some() {
        Route::ReplyTo
    } else if cursor.eat_word("dup-to").is_some() {
        Route::DupTo
    } else if cursor.eat_word("fastroute").is_some() {
        Route::Fast
    } else {
        return Ok(None);
    };
    let mut spec = RouteSpec {
        kind,
        hosts: Vec::new(),
        choice: Choice::default(),
    };
    if kind != Route::Fast {
        spec.hosts = cursor.list(route_host)?;
        while choice(cursor, &mut spec.choice)? {}
    }
    Ok(Some(Spanned {
        node: spec,
        span: span.to(cursor.last()),
    }))
}

/// `em0`, `(em0)` or `(em0 192.0.2.1)`
fn route_host(cursor: &mut Cursor<'_>) -> Parse<Spanned<RouteHost>> {
    let span = cursor.here();
    let in_parentheses = cursor.eat_sign("(").is_some();
    let name = cursor.string("an interface")?;
    if pf_abi::IfName::new(&name.node).is_none() {
        return Err(Box::new(
            Diagnostic::error(name.span, "the name of the interface is too long")
                .label(format!("at most {} characters", pf_abi::IFNAMSIZ - 1)),
        ));
    }
    let mut node = RouteHost {
        interface: name.node,
        host: None,
    };
    if in_parentheses {
        if !cursor.at_sign(")") {
            if cursor.at_sign("!") || cursor.at_word("any") {
                return Err(cursor.expected("the address of a gateway"));
            }
            node.host = Some(host(cursor)?);
        }
        cursor.expect_sign(")")?;
    }
    Ok(Spanned {
        node,
        span: span.to(cursor.last()),
    })
}
