//! Text into tokens, by the rules of pf.conf(5): words, quoted strings, signs, comments, lines continued by a backslash.

use super::diagnostic::{Diagnostic, Diagnostics, Span};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word without quotes, that may be a keyword.
    Word,
    /// A string in quotes, never a keyword.
    Quoted,
    /// `$name`: the text is the name.
    Macro,
    /// One of the signs `{ } ( ) , / ! = < > #`, or `><`, `<>`, `->`.
    Sign,
    /// The end of a line.
    Newline,
}

/// A word, string or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text, without quotes or dollar.
    pub text: String,
    /// Where it stands. A token from a macro's value stands where the macro is used.
    pub span: Span,
    /// The macro whose value it comes from.
    pub from_macro: Option<String>,
}

impl Token {
    /// Whether it is this unquoted word.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    /// Whether it is this sign.
    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }
}

fn begins_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':' || c == '_'
}

fn continues_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || (c.is_ascii_punctuation() && !"(){}<>!=/#,\"'\\".contains(c))
}

/// Cuts a whole file into tokens. Each line, the last one too, ends in a [`Kind::Newline`].
pub fn tokenize(file: usize, text: &str, diagnostics: &mut Diagnostics) -> Vec<Token> {
    Lexer {
        file,
        text,
        position: 0,
        diagnostics,
    }
    .run()
}

/// Cuts the value of a macro into tokens that all stand where the macro is used. `$` has no meaning in it.
pub fn tokenize_value(name: &str, value: &str, used: Span, diagnostics: &mut Diagnostics) -> Vec<Token> {
    let mut inner = Diagnostics::default();
    let mut tokens = tokenize(used.file, value, &mut inner);
    tokens.retain(|token| token.kind != Kind::Newline);
    for token in &mut tokens {
        token.span = used;
        token.from_macro = Some(name.to_owned());
        if token.kind == Kind::Macro {
            diagnostics.push(
                Diagnostic::error(used, format!("macro `{name}` has `${}` in quotes", token.text))
                    .label(format!("its value is `{value}`"))
                    .hint("macros are not expanded inside quotes: end the quotes before the `$`"),
            );
        }
    }
    for diagnostic in inner.iter() {
        diagnostics.push(Diagnostic::error(used, diagnostic.message.clone()).label(format!("`{name}` is `{value}`")));
    }
    tokens.retain(|token| token.kind != Kind::Macro);
    tokens
}

struct Lexer<'a> {
    file: usize,
    text: &'a str,
    position: usize,
    diagnostics: &'a mut Diagnostics,
}

impl Lexer<'_> {
    fn run(mut self) -> Vec<Token> {
        let mut tokens = Vec::new();
        while let Some(token) = self.next_token() {
            tokens.push(token);
        }
        if tokens.last().is_some_and(|token| token.kind != Kind::Newline) {
            tokens.push(self.token(Kind::Newline, self.position, ""));
        }
        tokens
    }

    fn next_token(&mut self) -> Option<Token> {
        loop {
            let start = self.position;
            match self.peek()? {
                '\\' if self.skip_continuation() => {}
                '\\' => {
                    self.bump();
                    let span = self.span(start);
                    self.diagnostics.push(
                        Diagnostic::error(span, "a backslash in the middle of a line")
                            .hint("a backslash continues a line only as its very last character"),
                    );
                }
                '\n' => {
                    self.bump();
                    return Some(self.token(Kind::Newline, start, ""));
                }
                '#' => self.skip_comment(),
                c if c.is_whitespace() => {
                    self.bump();
                }
                quote @ ('"' | '\'') => return Some(self.quoted(quote)),
                '$' => return Some(self.macro_name()),
                c if begins_word(c) => return Some(self.word()),
                _ => {
                    if let Some(sign) = self.sign() {
                        return Some(sign);
                    }
                }
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn bump(&mut self) {
        self.position += self.peek().map_or(0, char::len_utf8);
    }

    fn span(&self, start: usize) -> Span {
        Span {
            file: self.file,
            start,
            end: self.position,
        }
    }

    fn token(&self, kind: Kind, start: usize, text: &str) -> Token {
        Token {
            kind,
            text: text.to_owned(),
            span: self.span(start),
            from_macro: None,
        }
    }

    /// Steps over a backslash and the end of the line behind it, if that is what comes.
    fn skip_continuation(&mut self) -> bool {
        for end in ["\\\n", "\\\r\n"] {
            if self.text[self.position..].starts_with(end) {
                self.position += end.len();
                return true;
            }
        }
        false
    }

    /// Steps over a comment, to the end of its line; a backslash continues a comment too.
    fn skip_comment(&mut self) {
        while let Some(c) = self.peek() {
            if c == '\n' {
                return;
            }
            if !self.skip_continuation() {
                self.bump();
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Token {
        let start = self.position;
        self.bump();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c == quote {
                self.bump();
                return self.token(Kind::Quoted, start, &text);
            }
            if self.skip_continuation() {
                continue;
            }
            self.bump();
            // A string may go over lines; their ends are not part of it.
            if c != '\n' {
                text.push(c);
            }
        }
        let opening = Span {
            end: start + quote.len_utf8(),
            ..self.span(start)
        };
        self.diagnostics.push(
            Diagnostic::error(opening, "a string without an end")
                .label("begins here")
                .hint(format!("put a `{quote}` where it ends")),
        );
        self.token(Kind::Quoted, start, &text)
    }

    fn macro_name(&mut self) -> Token {
        let start = self.position;
        self.bump();
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            let span = self.span(start);
            self.diagnostics.push(
                Diagnostic::error(span, "a `$` without the name of a macro")
                    .hint("write `$name`; a name has letters, digits and `_`"),
            );
        }
        self.token(Kind::Macro, start, &name)
    }

    fn word(&mut self) -> Token {
        let start = self.position;
        let text = self.take_while(continues_word);
        self.token(Kind::Word, start, &text)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if accept(c) {
                text.push(c);
                self.bump();
            } else if !self.skip_continuation() {
                break;
            }
        }
        text
    }

    fn sign(&mut self) -> Option<Token> {
        const SIGNS: [&str; 13] = ["->", "><", "<>", "{", "}", "(", ")", ",", "/", "!", "=", "<", ">"];
        let start = self.position;
        let rest = &self.text[start..];
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.position += sign.len();
            return Some(self.token(Kind::Sign, start, sign));
        }
        let c = self.peek()?;
        self.bump();
        let span = self.span(start);
        self.diagnostics.push(
            Diagnostic::error(span, format!("unexpected character `{}`", c.escape_default()))
                .hint("put a string with such characters into quotes"),
        );
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let mut diagnostics = Diagnostics::default();
        let tokens = tokenize(0, text, &mut diagnostics);
        assert_eq!(diagnostics.error_count(), 0);
        tokens
            .into_iter()
            .map(|token| match token.kind {
                Kind::Newline => "\n".to_owned(),
                Kind::Quoted => format!("\"{}\"", token.text),
                Kind::Macro => format!("${}", token.text),
                _ => token.text,
            })
            .collect()
    }

    fn errors(text: &str) -> usize {
        let mut diagnostics = Diagnostics::default();
        tokenize(0, text, &mut diagnostics);
        diagnostics.error_count()
    }

    #[test]
    fn words_hold_what_addresses_and_ports_are_made_of() {
        assert_eq!(
            texts("from ::1 to 2001:db8::/32 port 1:1024"),
            ["from", "::1", "to", "2001:db8::", "/", "32", "port", "1:1024", "\n"]
        );
        assert_eq!(texts("em0:network"), ["em0:network", "\n"]);
    }

    #[test]
    fn signs_of_two_letters_are_one() {
        assert_eq!(texts("a><b c<>d->e"), ["a", "><", "b", "c", "<>", "d-", ">", "e", "\n"]);
        assert_eq!(texts("x -> y"), ["x", "->", "y", "\n"]);
        assert_eq!(texts(">=1 !=2"), [">", "=", "1", "!", "=", "2", "\n"]);
    }

    #[test]
    fn a_backslash_continues_a_line_and_a_comment() {
        assert_eq!(
            texts("pass \\\n in # note \\\n more\nall"),
            ["pass", "in", "\n", "all", "\n"]
        );
        assert_eq!(texts("pa\\\nss"), ["pass", "\n"]);
        assert_eq!(errors("pass \\ in"), 1);
    }

    #[test]
    fn quotes_make_one_string() {
        assert_eq!(texts("a = \"{ 1, 2 }\""), ["a", "=", "\"{ 1, 2 }\"", "\n"]);
        assert_eq!(texts("'it\"s'"), ["\"it\"s\"", "\n"]);
        assert_eq!(errors("label \"x"), 1);
    }

    #[test]
    fn an_odd_character_is_a_mistake_and_no_panic() {
        assert_eq!(errors("pass ; in"), 1);
        assert_eq!(errors("päss"), 1);
        assert_eq!(errors("$"), 1);
    }

    #[test]
    fn the_value_of_a_macro_stands_where_it_is_used() {
        let mut diagnostics = Diagnostics::default();
        let used = Span {
            file: 3,
            start: 7,
            end: 11,
        };
        let tokens = tokenize_value("web", "{ 80 443 }", used, &mut diagnostics);
        assert_eq!(tokens.len(), 4);
        assert!(tokens.iter().all(|token| token.span == used));
        assert_eq!(diagnostics.error_count(), 0);
    }
}
