//! The position in the text, and what can be read from it: words, names, strings.

use crate::query::ast::{Name, Spot};
use crate::query::problem::{Fault, Problem};

/// Maximum number of conditions: each value counts as one.
const MOST_CONDITIONS: usize = 200;
/// Maximum number of counts and sums in a filter.
const MOST_MEASURES: usize = 10;

type Result<T> = std::result::Result<T, Problem>;

/// Reads a text from its beginning to its end.
pub(super) struct Parser {
    pub(super) text: Vec<char>,
    pub(super) at: usize,
    pub(super) level: usize,
    conditions: usize,
    measures: usize,
}

pub(super) fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(super) fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Parser {
    pub(super) fn new(text: &str, most: usize) -> Result<Self> {
        let text: Vec<char> = text.chars().collect();
        if text.len() > most {
            let spot = Spot {
                position: most,
                token: text[most].to_string(),
            };
            return Err(Problem::new(
                Fault::Syntax,
                spot,
                format!("is longer than {most} characters"),
            ));
        }
        Ok(Self {
            text,
            at: 0,
            level: 0,
            conditions: 0,
            measures: 0,
        })
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    pub(super) fn take(&mut self, c: char) -> bool {
        let is = self.peek() == Some(c);
        if is {
            self.at += 1;
            self.space();
        }
        is
    }

    /// The token at the current position: a word, or one character.
    pub(super) fn spot(&self) -> Spot {
        let rest = &self.text[self.at.min(self.text.len())..];
        let end = rest.iter().position(|c| !in_word(*c)).unwrap_or(rest.len());
        Spot {
            position: self.at,
            token: rest[..end.max(1).min(rest.len())].iter().take(100).collect(),
        }
    }

    pub(super) fn since(&self, from: usize) -> Spot {
        Spot {
            position: from,
            token: self.text[from..self.at]
                .iter()
                .collect::<String>()
                .trim_end()
                .to_owned(),
        }
    }

    pub(super) fn problem(&self, message: &str) -> Problem {
        Problem::new(Fault::Syntax, self.spot(), message)
    }

    pub(super) fn peek_word(&self) -> Option<String> {
        let rest = self.text.get(self.at..)?;
        if !begins_word(*rest.first()?) {
            return None;
        }
        let end = rest.iter().position(|c| !in_word(*c)).unwrap_or(rest.len());
        Some(rest[..end].iter().collect())
    }

    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let is = self.peek_word().as_deref() == Some(word);
        if is {
            self.at += word.len();
            self.space();
        }
        is
    }

    /// The error at an earlier position.
    pub(super) fn problem_at(&mut self, at: usize, message: &str) -> Problem {
        self.at = at;
        self.problem(message)
    }

    /// Counts one more condition, which begins at `begin`. Each value is one, because each is looked for on its own.
    pub(super) fn count_condition(&mut self, begin: usize) -> Result<()> {
        self.conditions += 1;
        if self.conditions > MOST_CONDITIONS {
            return Err(self.problem_at(
                begin,
                "has more than 200 conditions; each value of in (...) and between counts as one",
            ));
        }
        Ok(())
    }

    /// Counts one more count or sum, which begins at `begin`.
    pub(super) fn count_measure(&mut self, begin: usize) -> Result<()> {
        self.measures += 1;
        if self.measures > MOST_MEASURES {
            return Err(self.problem_at(begin, "has more than 10 counts and sums"));
        }
        Ok(())
    }

    pub(super) fn names(&mut self) -> Result<Vec<Name>> {
        let mut names = vec![self.name()?];
        while self.take('.') {
            if names.len() == 4 {
                return Err(self.problem(
                    "has too many parts; write a key with a point in quotes, or as its alias: Field.query_key has it",
                ));
            }
            names.push(self.name()?);
        }
        Ok(names)
    }

    pub(super) fn name(&mut self) -> Result<Name> {
        let from = self.at;
        let text = match (self.peek_word(), self.peek()) {
            (Some(word), _) => {
                self.at += word.chars().count();
                word
            }
            (None, Some('"' | '\'')) => self.string()?.into_iter().map(|(c, _)| c).collect(),
            _ => {
                return Err(self.problem(
                    "expected the name of a field; write a key that is not a word in quotes, or as its alias: \
                     Field.query_key has it",
                ));
            }
        };
        let spot = self.since(from);
        self.space();
        Ok(Name { text, spot })
    }

    /// The characters of a string, each with a flag that is true if it was escaped.
    pub(super) fn string(&mut self) -> Result<Vec<(char, bool)>> {
        let from = self.at;
        let quote = self.peek();
        self.at += 1;
        let mut characters = Vec::new();
        loop {
            let Some(c) = self.peek() else {
                self.at = from;
                return Err(self.problem("the string does not end"));
            };
            if Some(c) == quote {
                self.at += 1;
                return Ok(characters);
            }
            self.at += 1;
            if c != '\\' {
                characters.push((c, false));
                continue;
            }
            match self.peek() {
                Some(c @ ('"' | '\'' | '\\' | '*')) => {
                    characters.push((c, true));
                    self.at += 1;
                }
                _ => {
                    self.at -= 1;
                    return Err(self.problem("only \", ', \\ and * are allowed after \\"));
                }
            }
        }
    }
}
