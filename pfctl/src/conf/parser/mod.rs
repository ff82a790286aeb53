//! Tokens into statements: macros are expanded, each line is read on its own, and after a mistake reading goes on with the
//! next line, so that all mistakes of a file come out together.

mod address;
mod anchor;
mod antispoof;
mod cursor;
mod filter;
mod log;
mod option;
mod particular;
mod pool;
mod queue;
mod scrub;
mod state;
mod table;
mod translation;

pub use address::{check_modifiers, modifier};
pub use cursor::parse_number;
pub use filter::{DEFAULT_ICMP_CODE, DEFAULT_ICMP6_CODE, FLAG_LETTERS};

use super::ast::{AnchorKind, SetOption, Statement};
use super::diagnostic::{Diagnostic, Diagnostics, Sources, Span, Spanned, did_you_mean};
use super::keyword;
use super::lexer::{Kind, Token, tokenize, tokenize_value};
use cursor::{Cursor, Parse};
use std::collections::BTreeMap;
use std::path::Path;

/// How deep files may include each other.
const MAX_INCLUDES: usize = 16;

/// Whether a token is no name: a keyword, or a sign.
fn keyword_or_sign(token: &Token) -> bool {
    token.kind != Kind::Word || keyword::is_keyword(&token.text)
}

/// The parts of a configuration, in the order in which they must stand unless `set require-order no`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Nothing,
    Options,
    Normalization,
    Queueing,
    Translation,
    Filtering,
}

/// The values of macros by their names.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    values: BTreeMap<String, Value>,
}

#[derive(Clone, Debug)]
struct Value {
    text: String,
    /// Whether it was given on the command line: then a file cannot change it.
    fixed: bool,
}

impl Macros {
    /// Defines a macro as `-D name=value` does: for good.
    pub fn define_fixed(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = Value {
            text: value.into(),
            fixed: true,
        };
        self.values.insert(name.into(), value);
    }

    fn define(&mut self, name: &str, text: String) {
        if self.values.get(name).is_none_or(|value| !value.fixed) {
            let value = Value { text, fixed: false };
            self.values.insert(name.to_owned(), value);
        }
    }
}

/// Something that was read, as `pfctl -v` repeats it.
#[derive(Clone, Debug)]
pub enum Item {
    /// A macro's name and value.
    Macro(String, String),
    /// A statement.
    Statement(Box<Spanned<Statement>>),
}

/// Reads a file that is among the sources already, and those it includes.
pub fn parse(sources: &mut Sources, file: usize, macros: Macros, diagnostics: &mut Diagnostics) -> Vec<Item> {
    let mut parser = Parser {
        sources,
        diagnostics,
        macros,
        items: Vec::new(),
        section: Section::Nothing,
        require_order: true,
        depth: 0,
        blocks: Vec::new(),
    };
    parser.file(file);
    if let Some(open) = parser.blocks.pop() {
        parser.diagnostics.push(
            Diagnostic::error(open, "an anchor without its `}`")
                .label("begins here")
                .hint("the rules of an anchor end with a line that has a `}` alone"),
        );
    }
    parser.items
}

struct Parser<'a> {
    sources: &'a mut Sources,
    diagnostics: &'a mut Diagnostics,
    macros: Macros,
    items: Vec<Item>,
    section: Section,
    require_order: bool,
    depth: usize,
    /// Where the anchors begin whose `}` has not come.
    blocks: Vec<Span>,
}

impl Parser<'_> {
    fn file(&mut self, file: usize) {
        let tokens = tokenize(file, self.sources.text(file), self.diagnostics);
        for line in tokens.split(|token| token.kind == Kind::Newline) {
            if line.is_empty() {
                continue;
            }
            if let Err(diagnostic) = self.line(line) {
                self.diagnostics.push(*diagnostic);
            }
        }
    }

    fn line(&mut self, tokens: &[Token]) -> Parse<()> {
        if let [name, equals, value @ ..] = tokens
            && matches!(name.kind, Kind::Word | Kind::Quoted)
            && equals.is_sign("=")
        {
            return self.macro_definition(name, equals.span, value);
        }
        let tokens = self.expand(tokens)?;
        let Some(last) = tokens.last() else {
            return Ok(());
        };
        let span = tokens[0].span.to(last.span);
        if let [brace] = tokens.as_slice()
            && brace.is_sign("}")
        {
            return self.end_block(span);
        }
        // The `{` at the end of a line begins an anchor's rules.
        let is_block = last.is_sign("{") && tokens[0].is_word("anchor");
        let tokens = if is_block {
            &tokens[..tokens.len() - 1]
        } else {
            &tokens[..]
        };
        if is_block {
            self.blocks.push(span);
        }
        let mut cursor = Cursor::new(tokens);
        if let Some(statement) = self.statement(&mut cursor, span)? {
            self.items
                .push(Item::Statement(Box::new(Spanned { node: statement, span })));
        }
        Ok(())
    }

    fn end_block(&mut self, span: Span) -> Parse<()> {
        if self.blocks.pop().is_none() {
            return Err(Box::new(Diagnostic::error(span, "a `}` without its `{`")));
        }
        let node = Statement::EndAnchor;
        self.items.push(Item::Statement(Box::new(Spanned { node, span })));
        Ok(())
    }

    /// Puts the values of macros in the place of their names.
    fn expand(&mut self, tokens: &[Token]) -> Parse<Vec<Token>> {
        let mut expanded = Vec::with_capacity(tokens.len());
        for token in tokens {
            if token.kind == Kind::Macro {
                let value = self.macro_value(token)?;
                expanded.extend(tokenize_value(&token.text, &value, token.span, self.diagnostics));
            } else {
                expanded.push(token.clone());
            }
        }
        Ok(expanded)
    }

    fn macro_value(&self, token: &Token) -> Parse<String> {
        match self.macros.values.get(&token.text) {
            Some(value) => Ok(value.text.clone()),
            None => Err(Box::new(
                Diagnostic::error(token.span, format!("macro `{}` is not defined", token.text))
                    .label("used here")
                    .hint_opt(did_you_mean(&token.text, self.macros.values.keys().map(String::as_str)))
                    .hint(format!("define it before this line: {} = \"...\"", token.text)),
            )),
        }
    }

    fn macro_definition(&mut self, name: &Token, equals: Span, value: &[Token]) -> Parse<()> {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.text.is_empty() || !name.text.chars().all(valid) {
            return Err(Box::new(
                Diagnostic::error(name.span, format!("`{}` cannot name a macro", name.text))
                    .hint("a name has letters, digits and `_`"),
            ));
        }
        if keyword::is_keyword(&name.text) && name.kind == Kind::Word {
            return Err(Box::new(
                Diagnostic::error(name.span, format!("`{}` is a keyword", name.text))
                    .hint("give the macro another name"),
            ));
        }
        let mut parts = Vec::new();
        for token in value {
            match token.kind {
                Kind::Word | Kind::Quoted => parts.push(token.text.clone()),
                Kind::Macro => parts.push(self.macro_value(token)?),
                Kind::Sign | Kind::Newline => {
                    return Err(Box::new(
                        Diagnostic::error(token.span, "a sign in the value of a macro")
                            .hint(format!("put the value into quotes: {} = \"...\"", name.text)),
                    ));
                }
            }
        }
        if parts.is_empty() {
            return Err(Box::new(
                Diagnostic::error(equals, "a macro without a value").hint("an empty value is written \"\""),
            ));
        }
        let text = parts.join(" ");
        self.macros.define(&name.text, text.clone());
        self.items.push(Item::Macro(name.text.clone(), text));
        Ok(())
    }

    fn statement(&mut self, cursor: &mut Cursor<'_>, span: Span) -> Parse<Option<Statement>> {
        let second = |word| cursor.peek_second().is_some_and(|token| token.is_word(word));
        let no = cursor.at_word("no");
        if cursor.at_word("include") {
            self.include(cursor)?;
            return Ok(None);
        }
        let is_anchor = |word: &str| anchor::WORDS.iter().find(|(of, _)| *of == word);
        let first = cursor.peek().filter(|token| token.kind == Kind::Word);
        if let Some((_, kind)) = first.and_then(|token| is_anchor(&token.text)) {
            let section = match kind {
                AnchorKind::Filter => Section::Filtering,
                _ => Section::Translation,
            };
            self.enter(section, span);
            let is_block = self.blocks.last().is_some_and(|open| *open == span);
            return anchor::anchor_rule(cursor, is_block).map(|rule| Some(Statement::Anchor(rule)));
        }
        if cursor.at_word("load") && second("anchor") {
            return anchor::load_anchor(cursor).map(|load| Some(Statement::LoadAnchor(load)));
        }
        if let Some(open) = self.blocks.last()
            && !cursor.at_word("pass")
            && !cursor.at_word("block")
        {
            return Err(Box::new(
                Diagnostic::error(span, "only filter rules and anchors stand in an anchor's braces")
                    .hint("load the others with `load anchor` or `pfctl -a`")
                    .hint(format!("the anchor begins in line {}", self.sources.line(*open).1)),
            ));
        }
        if cursor.at_word("antispoof") {
            self.enter(Section::Filtering, span);
            return antispoof::antispoof(cursor).map(|rule| Some(Statement::Antispoof(rule)));
        }
        if cursor.at_word("set") {
            let option = option::set_option(cursor)?;
            if let SetOption::RequireOrder(required) = option {
                self.require_order = required;
            }
            let anywhere = matches!(
                option,
                SetOption::RequireOrder(_)
                    | SetOption::Skip(_)
                    | SetOption::StatePolicy(_)
                    | SetOption::HostId(_)
                    | SetOption::Fingerprints(_)
                    | SetOption::RulesetOptimization(_)
            );
            if !anywhere {
                self.enter(Section::Options, span);
            }
            return Ok(Some(Statement::Set(option)));
        }
        if cursor.at_word("pass") || cursor.at_word("block") {
            self.enter(Section::Filtering, span);
            return filter::filter_rule(cursor).map(|rule| Some(Statement::Filter(rule)));
        }
        if cursor.at_word("scrub") || no && second("scrub") {
            self.enter(Section::Normalization, span);
            return scrub::scrub_rule(cursor).map(|rule| Some(Statement::Scrub(rule)));
        }
        if cursor.at_word("nat")
            || cursor.at_word("rdr")
            || cursor.at_word("binat")
            || no && (second("nat") || second("rdr") || second("binat"))
        {
            self.enter(Section::Translation, span);
            return translation::translation_rule(cursor).map(|rule| Some(Statement::Translation(rule)));
        }
        if cursor.at_word("altq") || cursor.at_word("queue") {
            self.enter(Section::Queueing, span);
            return queue::queueing(cursor).map(|queue| Some(Statement::Queueing(queue)));
        }
        if cursor.at_word("table") {
            return table::definition(cursor).map(|table| Some(Statement::Table(table)));
        }
        let what = if no { cursor.peek_second() } else { cursor.peek() };
        if let Some(word) = what.filter(|token| token.kind == Kind::Word)
            && keyword::STATEMENTS.contains(&word.text.as_str())
            && word.text != "no"
        {
            return Err(Box::new(Diagnostic::unsupported(word.span, format!("`{}`", word.text))));
        }
        Err(cursor.expected_one_of("a rule, an option or a macro", keyword::STATEMENTS))
    }

    /// Notes that a statement of a section comes, and complains if it comes too late.
    fn enter(&mut self, section: Section, span: Span) {
        if self.require_order && self.section > section {
            self.diagnostics.push(
                Diagnostic::error(span, "this line stands too late")
                    .label("belongs further up")
                    .hint(
                        "rules must be in order: options, normalization, queueing, translation, filtering \
                         (or `set require-order no`)",
                    ),
            );
            return;
        }
        self.section = section;
    }

    fn include(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        cursor.expect_word("include")?;
        let name = cursor.string("the name of a file")?;
        if !cursor.at_end() {
            return Err(cursor.expected("the end of the line"));
        }
        if self.depth == MAX_INCLUDES {
            return Err(Box::new(Diagnostic::error(
                name.span,
                format!("more than {MAX_INCLUDES} files include each other"),
            )));
        }
        let text = std::fs::read_to_string(Path::new(&name.node)).map_err(|error| {
            Box::new(Diagnostic::error(
                name.span,
                format!("cannot read `{}`: {error}", name.node),
            ))
        })?;
        let file = self.sources.add(name.node, text);
        self.depth += 1;
        self.file(file);
        self.depth -= 1;
        Ok(())
    }
}
