//! pf.conf(5): text in, rules of the kernel's ABI out.
//!
//! The way: [`lexer`] cuts text into tokens, [`parser`] expands macros and makes each line a statement ([`ast`]), [`expand`]
//! looks names up and turns lists into one rule each. Every stage adds its mistakes to one [`Diagnostics`] and goes on.

pub mod ast;
pub mod diagnostic;
pub mod expand;
pub mod keyword;
pub mod lexer;
pub mod parser;

use crate::resolve::Resolver;
use diagnostic::{Diagnostic, Diagnostics, Sources};
use expand::Config;
use parser::Macros;

/// Turns a configuration into rules. `Err` holds all its mistakes; `Ok` holds warnings, if there are any.
pub fn compile(
    sources: &mut Sources,
    file: usize,
    macros: Macros,
    resolver: &dyn Resolver,
) -> Result<(Config, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let config = compile_file(sources, file, macros, resolver, &mut diagnostics, 0);
    if diagnostics.has_errors() {
        Err(diagnostics)
    } else {
        Ok((config, diagnostics))
    }
}

/// How deep files may load anchors from others.
const MAX_LOADS: usize = 16;

/// One file, and those that its anchors are loaded from.
fn compile_file(
    sources: &mut Sources,
    file: usize,
    macros: Macros,
    resolver: &dyn Resolver,
    diagnostics: &mut Diagnostics,
    depth: usize,
) -> Config {
    let items = parser::parse(sources, file, macros.clone(), diagnostics);
    let mut config = expand::expand(&items, sources, resolver, diagnostics);
    for load in std::mem::take(&mut config.load_statements) {
        let path = load.name.node.trim_start_matches('/').to_owned();
        let mistake = |message: String| Diagnostic::error(load.file.span, message);
        if depth == MAX_LOADS {
            diagnostics.push(mistake(format!("more than {MAX_LOADS} files load each other")));
            continue;
        }
        let text = match std::fs::read_to_string(&load.file.node) {
            Ok(text) => text,
            Err(error) => {
                diagnostics.push(mistake(format!("cannot read `{}`: {error}", load.file.node)));
                continue;
            }
        };
        let of_load = sources.add(load.file.node.clone(), text);
        let inner = compile_file(sources, of_load, macros.clone(), resolver, diagnostics, depth + 1);
        let within = |anchor: &str| match anchor {
            "" => path.clone(),
            anchor => format!("{path}/{anchor}"),
        };
        config.loads.push((path.clone(), load.file.node.clone()));
        config
            .loads
            .extend(inner.loads.iter().map(|(path, file)| (within(path), file.clone())));
        config.rules.extend(inner.rules.into_iter().map(|mut rule| {
            rule.anchor = within(&rule.anchor);
            rule
        }));
        config.tables.extend(inner.tables.into_iter().map(|mut table| {
            table.anchor = within(&table.anchor);
            table
        }));
        config.speaks_of_queues |= inner.speaks_of_queues;
        // The numbers of both are of the same file, or the last one wins, as with `set fingerprints` itself.
        if inner.fingerprints.is_some() {
            config.fingerprints = inner.fingerprints;
        }
    }
    config
}
