//! A position in the tokens of one line, and the small things that every rule is read with.

use crate::conf::diagnostic::{Diagnostic, Span, Spanned, did_you_mean};
use crate::conf::keyword;
use crate::conf::lexer::{Kind, Token};

/// What was read, or the mistake that stopped the reading of this line.
pub(super) type Parse<T> = Result<T, Box<Diagnostic>>;

/// A position in the tokens of one line. The line is not empty and has no [`Kind::Newline`] or [`Kind::Macro`].
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a line.
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, position: 0 }
    }

    /// The token that comes next.
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.position)
    }

    /// The token behind the one that comes next.
    pub(super) fn peek_second(&self) -> Option<&'a Token> {
        self.tokens.get(self.position + 1)
    }

    /// Steps over the token that comes next.
    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek()?;
        self.position += 1;
        Some(token)
    }

    /// Whether the line is at its end.
    pub(super) fn at_end(&self) -> bool {
        self.peek().is_none()
    }

    /// Where the next token stands, or the end of the line.
    pub(super) fn here(&self) -> Span {
        match (self.peek(), self.tokens.last()) {
            (Some(token), _) => token.span,
            (None, Some(last)) => Span {
                start: last.span.end,
                ..last.span
            },
            (None, None) => Span {
                file: 0,
                start: 0,
                end: 0,
            },
        }
    }

    /// Where the token stands that was stepped over last.
    pub(super) fn last(&self) -> Span {
        let index = self.position.saturating_sub(1);
        self.tokens.get(index).map_or_else(|| self.here(), |token| token.span)
    }

    /// Whether an unquoted word comes next.
    pub(super) fn at_word(&self, word: &str) -> bool {
        self.peek().is_some_and(|token| token.is_word(word))
    }

    /// Whether a sign comes next.
    pub(super) fn at_sign(&self, sign: &str) -> bool {
        self.peek().is_some_and(|token| token.is_sign(sign))
    }

    /// Steps over an unquoted word if it comes next: where it stands.
    pub(super) fn eat_word(&mut self, word: &str) -> Option<Span> {
        self.at_word(word).then(|| {
            self.position += 1;
            self.last()
        })
    }

    /// Steps over a sign if it comes next: where it stands.
    pub(super) fn eat_sign(&mut self, sign: &str) -> Option<Span> {
        self.at_sign(sign).then(|| {
            self.position += 1;
            self.last()
        })
    }

    /// A mistake at the next token: something else was to stand there.
    pub(super) fn expected(&self, what: &str) -> Box<Diagnostic> {
        let found = match self.peek() {
            None => "the end of the line".to_owned(),
            Some(token) => describe(token),
        };
        let mut error =
            Diagnostic::error(self.here(), format!("expected {what}, found {found}")).label(format!("expected {what}"));
        if let Some(name) = self.peek().and_then(|token| token.from_macro.as_deref()) {
            error = error.hint(format!("{found} comes from the value of macro `{name}`"));
        }
        Box::new(error)
    }

    /// As [`Self::expected`], with a hint at the word that may have been meant.
    pub(super) fn expected_one_of(&self, what: &str, words: &[&str]) -> Box<Diagnostic> {
        let mut error = self.expected(what);
        if let Some(token) = self.peek().filter(|token| token.kind == Kind::Word) {
            error.hints.extend(did_you_mean(&token.text, words.iter().copied()));
        }
        error
    }

    /// Steps over a word that must come next.
    pub(super) fn expect_word(&mut self, word: &str) -> Parse<Span> {
        self.eat_word(word)
            .ok_or_else(|| self.expected_one_of(&format!("`{word}`"), &[word]))
    }

    /// Steps over a sign that must come next.
    pub(super) fn expect_sign(&mut self, sign: &str) -> Parse<Span> {
        self.eat_sign(sign).ok_or_else(|| self.expected(&format!("`{sign}`")))
    }

    /// Steps over the `}` of a list.
    fn expect_list_end(&mut self, open: Span) -> Parse<Span> {
        self.eat_sign("}").ok_or_else(|| {
            let mut error = self.expected("`}`");
            if self.at_end() {
                error.span = open;
                error.message = "a list without its `}`".to_owned();
                error.label = "begins here".to_owned();
                error
                    .hints
                    .push("a list ends on its line; end a line with `\\` to go on in the next".into());
            }
            error
        })
    }

    /// Steps over a string: in quotes, or a word that is no keyword.
    pub(super) fn string(&mut self, what: &str) -> Parse<Spanned<String>> {
        let token = match self.peek() {
            Some(token) if token.kind == Kind::Quoted => token,
            Some(token) if token.kind == Kind::Word && !keyword::is_keyword(&token.text) => token,
            Some(token) if token.kind == Kind::Word => {
                let mut error = self.expected(what);
                error.hints.push(format!(
                    "`{}` is a keyword; put it into quotes to use it as a name",
                    token.text
                ));
                return Err(error);
            }
            _ => return Err(self.expected(what)),
        };
        self.position += 1;
        Ok(Spanned {
            node: token.text.clone(),
            span: token.span,
        })
    }

    /// Steps over a number up to `max`, decimal or hexadecimal with `0x`.
    pub(super) fn number(&mut self, what: &str, max: u32) -> Parse<Spanned<u32>> {
        let Some(token) = self.peek() else {
            return Err(self.expected(what));
        };
        let Some(value) = parse_number(&token.text) else {
            return Err(self.expected(what));
        };
        match u32::try_from(value) {
            Ok(node) if node <= max => {
                self.position += 1;
                Ok(Spanned { node, span: token.span })
            }
            _ => Err(Box::new(
                Diagnostic::error(token.span, format!("{what} out of range: {value}")).label(format!("at most {max}")),
            )),
        }
    }

    /// One item, or several in braces, with commas between them or not.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let Some(open) = self.eat_sign("{") else {
            return Ok(vec![item(self)?]);
        };
        let mut items = Vec::new();
        while !self.at_end() && !self.at_sign("}") {
            items.push(item(self)?);
            self.eat_sign(",");
        }
        self.expect_list_end(open)?;
        if items.is_empty() {
            return Err(Box::new(
                Diagnostic::error(open.to(self.last()), "an empty list").label("nothing in it"),
            ));
        }
        Ok(items)
    }
}

/// A token in the words of a message.
pub(super) fn describe(token: &Token) -> String {
    match token.kind {
        Kind::Quoted => format!("\"{}\"", token.text),
        Kind::Newline => "the end of the line".to_owned(),
        Kind::Macro => format!("`${}`", token.text),
        Kind::Word | Kind::Sign => format!("`{}`", token.text),
    }
}

/// A number as strtoul(3) reads it: decimal, hexadecimal with `0x`, octal with `0`.
pub fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => match text.strip_prefix('0') {
            Some(digits) if !digits.is_empty() => (digits, 8),
            _ => (text, 10),
        },
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_strtoul_takes() {
        assert_eq!(parse_number("10"), Some(10));
        assert_eq!(parse_number("0x10"), Some(16));
        assert_eq!(parse_number("010"), Some(8));
        assert_eq!(parse_number("0"), Some(0));
        for bad in ["", "0x", "08", "1a", "+1", "-1", "99999999999999999999"] {
            assert_eq!(parse_number(bad), None, "{bad}");
        }
    }
}
