//! Tables, and the addresses of tables wherever they come from: the configuration, files, the command line.

use super::host::{Host, Purpose};
use super::{Config, Expander};
use crate::conf::ast::{TableContents, TableDefinition};
use crate::conf::diagnostic::{Diagnostic, Diagnostics, Sources, Span};
use crate::print::addr::{address_text, mask_bits};
use crate::resolve::Resolver;
use pf_abi::{AF_INET, PFR_TFLAG_CONST, PFR_TFLAG_PERSIST, TableAddr, TableName};
use std::fmt::Write as _;

/// Where a word of the command line stands, which is in no file.
const NOWHERE: Span = Span {
    file: 0,
    start: 0,
    end: 0,
};

/// A table as it goes to the kernel.
#[derive(Clone, Debug)]
pub struct LoadTable {
    /// The path of the anchor that it stands in; empty for the main ruleset.
    pub anchor: String,
    /// Its name.
    pub name: TableName,
    /// `PFR_TFLAG_*`
    pub flags: u32,
    /// What is in it; `None` where it keeps what it has.
    pub addresses: Option<Vec<TableAddr>>,
    /// The file that it stands in.
    pub file: String,
    /// The line that it stands in, from 1.
    pub line: usize,
}

/// The words of a file of addresses: between spaces, up to a `#`.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let before_comment = |line: &'_ str| -> usize { line.find('#').unwrap_or(line.len()) };
    text.lines()
        .flat_map(move |line| line[..before_comment(line)].split_whitespace())
}

/// Looks up addresses as they stand on a command line or in a file: `10.0.0.0/8`, `!www.example.org`, `em0:network`.
///
/// # Errors
/// The first that means nothing, in words.
pub fn table_addresses<'a>(
    words: impl IntoIterator<Item = &'a str>,
    resolver: &dyn Resolver,
) -> Result<Vec<TableAddr>, String> {
    let (sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    let expander = Expander {
        sources: &sources,
        resolver,
        interfaces: resolver.interfaces().unwrap_or_default(),
        diagnostics: &mut diagnostics,
        config: Config::default(),
        path: String::new(),
        outer: Vec::new(),
        blocks: 0,
        inline: Vec::new(),
    };
    let mut all = Vec::new();
    for word in words {
        let found = expander.word(word, NOWHERE);
        all.extend(found.map_err(|diagnostic| format!("{word}: {}", diagnostic.message))?);
    }
    Ok(all)
}

fn table_addr(host: &Host) -> TableAddr {
    let longest = if host.af == AF_INET { 32 } else { 128 };
    TableAddr {
        addr: host.wrap.a.addr,
        af: host.af,
        net: mask_bits(&host.wrap.a.mask).min(longest) as u8,
        not: host.not.into(),
        fback: 0,
    }
}

impl Expander<'_> {
    /// The addresses of one word.
    fn word(&self, word: &str, span: Span) -> Result<Vec<TableAddr>, Box<Diagnostic>> {
        let (text, not) = match word.strip_prefix('!') {
            Some(text) => (text.trim_start(), true),
            None => (word, false),
        };
        let (name, mask) = match text.split_once('/') {
            Some((name, bits)) => {
                let bits = bits.parse().ok().filter(|bits| *bits <= 128);
                let wrong = || Box::new(Diagnostic::error(span, "the mask must be a number, at most 128"));
                (name, Some(bits.ok_or_else(wrong)?))
            }
            None => (text, None),
        };
        let mut hosts = self.named(Purpose::Meet, name, mask, span)?;
        hosts.iter_mut().for_each(|host| host.not = not);
        Ok(hosts.iter().map(table_addr).collect())
    }

    /// Adds a table to the configuration.
    pub(super) fn table(&mut self, table: &TableDefinition) {
        let mut flags = 0;
        let mut echo = format!("table <{}>", table.name.node);
        for (is, flag, word) in [
            (table.constant, PFR_TFLAG_CONST, " const"),
            (table.persist, PFR_TFLAG_PERSIST, " persist"),
        ] {
            if is {
                flags |= flag;
                echo.push_str(word);
            }
        }
        let mut addresses = (!table.contents.is_empty()).then(Vec::new);
        for contents in &table.contents {
            let found = match contents {
                TableContents::Hosts(hosts) if hosts.is_empty() => {
                    echo.push_str(" { }");
                    Some(Vec::new())
                }
                TableContents::Hosts(hosts) => self.hosts(hosts).map(|hosts| {
                    echo.push_str(" {");
                    for host in &hosts {
                        let not = if host.not { "!" } else { "" };
                        let _ = write!(echo, " {not}{}", address_text(&host.wrap, host.af, false));
                    }
                    echo.push_str(" }");
                    hosts.iter().map(table_addr).collect()
                }),
                TableContents::File(file) => {
                    let _ = write!(echo, " file \"{}\"", file.node);
                    self.table_file(&file.node, file.span)
                }
            };
            match (&mut addresses, found) {
                (Some(addresses), Some(found)) => addresses.extend(found),
                // It has been reported.
                _ => return,
            }
        }
        let (file, line) = self.sources.line(table.name.span);
        self.config.echo.push(echo);
        self.config.tables.push(LoadTable {
            anchor: self.path.clone(),
            name: TableName::new(&table.name.node).unwrap_or_default(),
            flags,
            addresses,
            file,
            line,
        });
    }

    fn table_file(&mut self, file: &str, span: Span) -> Option<Vec<TableAddr>> {
        let found = std::fs::read_to_string(file)
            .map_err(|error| Box::new(Diagnostic::error(span, format!("cannot read `{file}`: {error}"))))
            .and_then(|text| {
                let mut all = Vec::new();
                for word in words(&text) {
                    all.extend(self.word(word, span).map_err(|mut diagnostic| {
                        diagnostic.message = format!("`{file}`: {}", diagnostic.message);
                        diagnostic
                    })?);
                }
                Ok(all)
            });
        found.map_err(|diagnostic| self.diagnostics.push(*diagnostic)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_spaces_and_comments() {
        let text = "10.0.0.1 ! # not this\n\n\t10.0.0.2#nor this\n#\n!10.0.0.3";
        assert_eq!(
            words(text).collect::<Vec<_>>(),
            ["10.0.0.1", "!", "10.0.0.2", "!10.0.0.3"]
        );
    }
}
