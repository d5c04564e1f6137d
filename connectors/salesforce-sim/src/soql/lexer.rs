//! Splits the text of a query into tokens.

use crate::errors::Error;

/// `\_` and `\%` of a LIKE pattern, until it is known whether the text is one.
pub(crate) const LITERAL_UNDERSCORE: char = '\u{e05f}';
pub(crate) const LITERAL_PERCENT: char = '\u{e025}';

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Word(String),
    Text(String),
    /// A text that starts with a digit or a sign: numbers, dates, times.
    Number(String),
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
}

impl Token {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(w) if w.eq_ignore_ascii_case(word))
    }

    pub(crate) fn shown(&self) -> String {
        match &self.kind {
            Kind::Word(w) | Kind::Number(w) => format!("'{w}'"),
            Kind::Text(t) => format!("'{t}'"),
            Kind::Sign(s) => format!("'{s}'"),
            Kind::End => "'<EOF>'".to_owned(),
        }
    }
}

const SIGNS: [&str; 12] = ["!=", "<>", "<=", ">=", "(", ")", ",", ".", "=", "<", ">", ":"];

pub(crate) fn tokens(soql: &str) -> Result<Vec<Token>, Error> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = soql[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let rest = &soql[at..];
        let (kind, length) = if c == '\'' {
            text(soql, at)?
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            (Kind::Word(rest[..length].to_owned()), length)
        } else if c.is_ascii_digit() || matches!(c, '-' | '+') {
            let length = 1 + run(&rest[1..], |c| {
                c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | ':' | '.')
            });
            (Kind::Number(rest[..length].to_owned()), length)
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            (Kind::Sign(sign), sign.len())
        } else {
            return Err(Error::malformed(format!(
                "line 1:{at} no viable alternative at character '{c}'"
            )));
        };
        out.push(Token { kind, at });
        at += length;
    }
    out.push(Token {
        kind: Kind::End,
        at: soql.len(),
    });
    Ok(out)
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// A quoted text from its opening quote; the length includes both quotes.
fn text(soql: &str, from: usize) -> Result<(Kind, usize), Error> {
    let mut out = String::new();
    let mut chars = soql[from + 1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((Kind::Text(out), at + 2)),
            '\\' => out.push(match chars.next().map(|(_, c)| c) {
                Some(c @ ('\'' | '"' | '\\')) => c,
                Some('n' | 'N') => '\n',
                Some('r' | 'R') => '\r',
                Some('t' | 'T') => '\t',
                Some('b' | 'B') => '\u{8}',
                Some('f' | 'F') => '\u{c}',
                Some('_') => LITERAL_UNDERSCORE,
                Some('%') => LITERAL_PERCENT,
                _ => {
                    let place = from + at + 1;
                    return Err(Error::malformed(format!(
                        "line 1:{place} no viable alternative at character '\\'"
                    )));
                }
            }),
            c => out.push(c),
        }
    }
    Err(Error::malformed(format!(
        "line 1:{} mismatched character '<EOF>' expecting '''",
        soql.len()
    )))
}
