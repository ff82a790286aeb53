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
use diagnostic::{Diagnostics, Sources};
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
    let items = parser::parse(sources, file, macros, &mut diagnostics);
    let config = expand::expand(&items, sources, resolver, &mut diagnostics);
    if diagnostics.has_errors() {
        Err(diagnostics)
    } else {
        Ok((config, diagnostics))
    }
}
