//! `table <name> { ... }`, and a table where an address stands.

use super::address::hosts;
use super::cursor::{Cursor, Parse};
use crate::conf::ast::{HostKind, TableContents, TableDefinition};
use crate::conf::diagnostic::{Diagnostic, Spanned};
use pf_abi::{PF_TABLE_NAME_SIZE, TableName};

/// The words that may follow the name of a table.
const OPTIONS: &[&str] = &["persist", "const", "counters", "file"];

/// `<name>`
pub(super) fn name(cursor: &mut Cursor<'_>) -> Parse<Spanned<String>> {
    let open = cursor.expect_sign("<")?;
    let name = cursor.string("the name of a table")?;
    let close = cursor.expect_sign(">")?;
    if name.node.is_empty() || TableName::new(&name.node).is_none() {
        return Err(Box::new(
            Diagnostic::error(name.span, "the name of the table is too long, or empty")
                .label(format!("at most {} characters", PF_TABLE_NAME_SIZE - 1)),
        ));
    }
    Ok(Spanned {
        node: name.node,
        span: open.to(close),
    })
}

/// The whole line.
pub(super) fn definition(cursor: &mut Cursor<'_>) -> Parse<TableDefinition> {
    cursor.expect_word("table")?;
    let mut table = TableDefinition {
        name: name(cursor)?,
        persist: false,
        constant: false,
        contents: Vec::new(),
    };
    while !cursor.at_end() {
        if cursor.eat_word("persist").is_some() {
            table.persist = true;
        } else if cursor.eat_word("const").is_some() {
            table.constant = true;
        } else if cursor.eat_word("counters").is_some() {
            // Every table counts here.
        } else if cursor.eat_word("file").is_some() {
            table
                .contents
                .push(TableContents::File(cursor.string("the name of a file")?));
        } else if cursor.at_sign("{") {
            table.contents.push(TableContents::Hosts(addresses(cursor)?));
        } else {
            return Err(cursor.expected_one_of("an option of the table or its addresses", OPTIONS));
        }
    }
    Ok(table)
}

/// `{ ... }`, which may be empty.
fn addresses(cursor: &mut Cursor<'_>) -> Parse<Vec<Spanned<crate::conf::ast::HostSpec>>> {
    if cursor.peek_second().is_some_and(|token| token.is_sign("}")) {
        cursor.expect_sign("{")?;
        cursor.expect_sign("}")?;
        return Ok(Vec::new());
    }
    let hosts = hosts(cursor)?;
    match hosts.iter().find(|host| !matches!(host.node.kind, HostKind::Name(..))) {
        Some(odd) => Err(Box::new(
            Diagnostic::error(odd.span, "this cannot stand in a table")
                .hint("a table has addresses, networks, and names of hosts and of interfaces"),
        )),
        None => Ok(hosts),
    }
}
