//! Mistakes in a configuration: where they are, what is wrong, and how a person gets to see them.

use codespan_reporting::diagnostic::{self, Label};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;

/// A stretch of bytes in one of the [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file, as [`Sources::add`] numbered it.
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

impl Span {
    /// From the beginning of this one to the end of another in the same file.
    pub fn to(self, end: Self) -> Self {
        Self {
            end: end.end.max(self.end),
            ..self
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub node: T,
    /// Where it stands.
    pub span: Span,
}

/// The files that a configuration is made of: the main one, what it includes, and the command line.
#[derive(Debug)]
pub struct Sources(SimpleFiles<String, String>);

impl Default for Sources {
    fn default() -> Self {
        Self(SimpleFiles::new())
    }
}

impl Sources {
    /// Takes a file's text, and numbers it.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        self.0.add(name.into(), text.into())
    }

    /// The text of a file.
    pub fn text(&self, file: usize) -> &str {
        self.0.get(file).map_or("", |file| file.source())
    }

    /// The name of a file, and the number, from 1, of the line in which a stretch begins.
    pub fn line(&self, span: Span) -> (String, usize) {
        use codespan_reporting::files::Files as _;
        let name = self.0.name(span.file).unwrap_or_default();
        let line = self.0.line_index(span.file, span.start).unwrap_or_default();
        (name, line + 1)
    }
}

/// Whether a configuration can be used in spite of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It can, but somebody should know.
    Warning,
    /// It cannot.
    Error,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What stands under the caret.
    pub label: String,
    /// What might help, a sentence each.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            message: message.into(),
            label: String::new(),
            hints: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// A part of pf.conf(5) that this program knows but does not have.
    pub fn unsupported(span: Span, what: impl std::fmt::Display) -> Self {
        Self::error(span, format!("{what} is not supported"))
    }

    /// Puts a word under the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a hint if there is one.
    pub fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hints.extend(hint);
        self
    }
}

/// All mistakes of a configuration, in the order of their finding.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Whether any is an error.
    pub fn has_errors(&self) -> bool {
        self.error_count() > 0
    }

    /// How many are errors.
    pub fn error_count(&self) -> usize {
        self.iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .count()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// All of them as text for a person: file, line, column, the line itself, a caret, hints. In the order of the file.
    pub fn render(&self, sources: &Sources) -> String {
        let config = term::Config {
            chars: term::Chars::ascii(),
            ..term::Config::default()
        };
        let mut sorted: Vec<&Diagnostic> = self.0.iter().collect();
        sorted.sort_by_key(|diagnostic| (diagnostic.span.file, diagnostic.span.start));
        let mut text = String::new();
        for item in sorted {
            let severity = match item.severity {
                Severity::Warning => diagnostic::Severity::Warning,
                Severity::Error => diagnostic::Severity::Error,
            };
            let label = Label::primary(item.span.file, item.span.start..item.span.end).with_message(&item.label);
            let report = diagnostic::Diagnostic::new(severity)
                .with_message(&item.message)
                .with_labels(vec![label])
                .with_notes(item.hints.iter().map(|hint| format!("hint: {hint}")).collect());
            match term::emit_into_string(&config, &sources.0, &report) {
                Ok(report) => text.push_str(&report),
                Err(_) => text.push_str(&format!("error: {}\n", item.message)),
            }
        }
        text
    }
}

/// The known word that a mistyped one is closest to, if any is close.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint at the known word that a mistyped one is closest to.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(word, known).map(|known| format!("did you mean `{known}`?"))
}

/// How many letters must be changed, added, removed or swapped with their neighbour to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_close_and_another_word_is_not() {
        let known = ["pass", "block", "quick", "proto"];
        assert_eq!(closest("blcok", known), Some("block"));
        assert_eq!(closest("qick", known), Some("quick"));
        assert_eq!(closest("xyzzy", known), None);
    }

    #[test]
    fn a_report_has_file_line_column_and_caret() {
        let mut sources = Sources::default();
        let file = sources.add("pf.conf", "pass in\nblcok all\n");
        let mut diagnostics = Diagnostics::default();
        let span = Span {
            file,
            start: 8,
            end: 13,
        };
        diagnostics.push(Diagnostic::error(span, "unknown word `blcok`").hint("did you mean `block`?"));
        let text = diagnostics.render(&sources);
        assert!(text.contains("pf.conf:2:1"), "{text}");
        assert!(text.contains("blcok all"), "{text}");
        assert!(text.contains("^^^^^"), "{text}");
        assert!(text.contains("hint: did you mean `block`?"), "{text}");
    }
}
