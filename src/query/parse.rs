//! Parses filters and orders by the grammar in `company_service.proto`.

use super::ast::{Ast, Name, Operator, Spot, Value};
use super::{Fault, Problem};
use crate::index::moment;

/// Maximum length of a filter, in characters.
pub const MOST_CHARACTERS: usize = 4_096;
/// Maximum nesting depth of parentheses.
const MOST_LEVELS: usize = 32;
/// Maximum number of conditions.
const MOST_CONDITIONS: usize = 200;

type Result<T> = std::result::Result<T, Problem>;

/// Parses a filter; `None` if the text is empty.
///
/// # Errors
/// A syntax error, or a limit is exceeded.
pub fn filter(text: &str) -> Result<Option<Ast>> {
    let mut parser = Parser::new(text, MOST_CHARACTERS)?;
    parser.space();
    if parser.at_end() {
        return Ok(None);
    }
    let ast = parser.expression()?;
    if !parser.at_end() {
        return Err(parser.problem("expected AND, OR or the end"));
    }
    Ok(Some(ast))
}

/// One sort key or column: the names, and whether the order is descending.
pub type OrderKey = (Vec<Name>, bool);

/// Parses an order.
///
/// # Errors
/// A syntax error.
pub fn order(text: &str) -> Result<Vec<OrderKey>> {
    let mut parser = Parser::new(text, 1_024)?;
    let mut keys = Vec::new();
    parser.space();
    if parser.at_end() {
        return Ok(keys);
    }
    loop {
        if keys.len() == 5 {
            return Err(parser.problem("has more than 5 keys"));
        }
        let names = parser.names()?;
        let word = parser.peek_word();
        let descending = word.as_deref() == Some("desc");
        if descending || word.as_deref() == Some("asc") {
            parser.at += if descending { 4 } else { 3 };
            parser.space();
        }
        keys.push((names, descending));
        if parser.at_end() {
            return Ok(keys);
        }
        if !parser.take(',') {
            return Err(parser.problem("expected asc, desc, a comma or the end"));
        }
    }
}

/// Parses the name of a field, in the form of `Field.query_key`.
///
/// # Errors
/// The text is not the name of a field.
pub fn field(text: &str) -> Result<Vec<Name>> {
    let mut parser = Parser::new(text, 1_024)?;
    parser.space();
    let names = parser.names()?;
    if parser.at_end() {
        return Ok(names);
    }
    Err(parser.problem("expected the end of the field"))
}

struct Parser {
    text: Vec<char>,
    at: usize,
    level: usize,
    conditions: usize,
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Parser {
    fn new(text: &str, most: usize) -> Result<Self> {
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
        })
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, c: char) -> bool {
        let is = self.peek() == Some(c);
        if is {
            self.at += 1;
            self.space();
        }
        is
    }

    /// The token at the current position: a word, or one character.
    fn spot(&self) -> Spot {
        let rest = &self.text[self.at.min(self.text.len())..];
        let end = rest.iter().position(|c| !in_word(*c)).unwrap_or(rest.len());
        Spot {
            position: self.at,
            token: rest[..end.max(1).min(rest.len())].iter().take(100).collect(),
        }
    }

    fn since(&self, from: usize) -> Spot {
        Spot {
            position: from,
            token: self.text[from..self.at]
                .iter()
                .collect::<String>()
                .trim_end()
                .to_owned(),
        }
    }

    fn problem(&self, message: &str) -> Problem {
        Problem::new(Fault::Syntax, self.spot(), message)
    }

    fn peek_word(&self) -> Option<String> {
        let rest = self.text.get(self.at..)?;
        if !begins_word(*rest.first()?) {
            return None;
        }
        let end = rest.iter().position(|c| !in_word(*c)).unwrap_or(rest.len());
        Some(rest[..end].iter().collect())
    }

    fn keyword(&mut self, word: &str) -> bool {
        let is = self.peek_word().as_deref() == Some(word);
        if is {
            self.at += word.len();
            self.space();
        }
        is
    }

    fn expression(&mut self) -> Result<Ast> {
        let mut all = vec![self.alternative()?];
        while self.keyword("AND") {
            all.push(self.alternative()?);
        }
        Ok(one_or(all, Ast::And))
    }

    fn alternative(&mut self) -> Result<Ast> {
        let mut any = vec![self.factor()?];
        while self.keyword("OR") {
            any.push(self.factor()?);
        }
        Ok(one_or(any, Ast::Or))
    }

    fn factor(&mut self) -> Result<Ast> {
        if self.keyword("NOT") || self.take('-') {
            return Ok(Ast::Not(Box::new(self.term()?)));
        }
        self.term()
    }

    fn nested(&mut self) -> Result<Ast> {
        if self.level == MOST_LEVELS {
            return Err(self.problem("is nested deeper than 32 levels"));
        }
        self.level += 1;
        let inner = self.expression()?;
        self.level -= 1;
        if !self.take(')') {
            return Err(self.problem("expected AND, OR or )"));
        }
        Ok(inner)
    }

    fn term(&mut self) -> Result<Ast> {
        if self.take('(') {
            return self.nested();
        }
        if let Some(word) = self
            .peek_word()
            .filter(|word| matches!(word.as_str(), "AND" | "OR" | "NOT"))
        {
            return Err(self.problem(&format!(
                "expected a condition; write a key named {word} in quotes"
            )));
        }
        let begin = self.at;
        let mut field = self.names()?;
        if self.peek() == Some('(') {
            if field.len() != 2 {
                return Err(self.problem("only label.Object is allowed before ("));
            }
            self.take('(');
            let inner = Box::new(self.nested()?);
            let (Some(object), Some(label)) = (field.pop(), field.pop()) else {
                return Err(self.problem("only label.Object is allowed before ("));
            };
            return Ok(Ast::Same { label, object, inner });
        }
        self.conditions += 1;
        if self.conditions > MOST_CONDITIONS {
            self.at = begin;
            return Err(self.problem("has more than 200 conditions"));
        }
        let from = self.at;
        let Some(operator) = self.operator() else {
            return Err(self.problem("expected an operator; put search words into query"));
        };
        let at = self.since(from);
        self.space();
        let from = self.at;
        let value = self.value(operator)?;
        let value_at = self.since(from);
        self.space();
        Ok(Ast::Restriction {
            field,
            operator,
            at,
            value,
            value_at,
        })
    }

    fn operator(&mut self) -> Option<Operator> {
        let next = self.text.get(self.at + 1) == Some(&'=');
        let (operator, length) = match (self.peek()?, next) {
            ('=', _) => (Operator::Equal, 1),
            (':', _) => (Operator::Has, 1),
            ('!', true) => (Operator::NotEqual, 2),
            ('<', true) => (Operator::LessOrEqual, 2),
            ('<', false) => (Operator::Less, 1),
            ('>', true) => (Operator::GreaterOrEqual, 2),
            ('>', false) => (Operator::Greater, 1),
            _ => return None,
        };
        self.at += length;
        Some(operator)
    }

    fn names(&mut self) -> Result<Vec<Name>> {
        let mut names = vec![self.name()?];
        while self.take('.') {
            if names.len() == 4 {
                return Err(self.problem("has too many parts"));
            }
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn name(&mut self) -> Result<Name> {
        let from = self.at;
        let text = match (self.peek_word(), self.peek()) {
            (Some(word), _) => {
                self.at += word.chars().count();
                word
            }
            (None, Some('"' | '\'')) => self.string()?.into_iter().map(|(c, _)| c).collect(),
            _ => return Err(self.problem("expected the name of a field")),
        };
        let spot = self.since(from);
        self.space();
        Ok(Name { text, spot })
    }

    /// The characters of a string, each with a flag that is true if it was escaped.
    fn string(&mut self) -> Result<Vec<(char, bool)>> {
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

    fn value(&mut self, operator: Operator) -> Result<Value> {
        match self.peek() {
            Some('*') if operator == Operator::Has => {
                self.at += 1;
                Ok(Value::Any)
            }
            Some('"' | '\'') => {
                let mut text = self.string()?;
                let after = text.len() > 1 && text.last() == Some(&('*', false));
                let before = text.first() == Some(&('*', false));
                if after {
                    text.pop();
                }
                let text = text
                    .into_iter()
                    .skip(usize::from(before))
                    .map(|(c, _)| c)
                    .collect();
                Ok(Value::Text { before, text, after })
            }
            Some(c) if begins_word(c) => self.word_or_relative(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number_or_date(),
            _ => Err(self.problem("expected a value; write text with other characters in quotes")),
        }
    }

    fn word_or_relative(&mut self) -> Result<Value> {
        let word = self.peek_word().unwrap_or_default();
        self.at += word.chars().count();
        if word != "today" && word != "now" {
            return Ok(Value::Word(word));
        }
        let now = word == "now";
        let end = self.at;
        self.space();
        let sign = match self.peek() {
            Some('+') => 1,
            Some('-') => -1,
            _ => {
                self.at = end;
                return Ok(Value::Relative { now, offset: None });
            }
        };
        self.at += 1;
        self.space();
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.text[from..self.at].iter().collect();
        let amount = digits.parse::<i64>().ok().filter(|amount| *amount <= 1_000_000);
        let unit = self.peek().filter(|c| matches!(c, 'd' | 'w' | 'm' | 'y'));
        let follows = self.text.get(self.at + 1).is_some_and(|c| in_word(*c));
        match (amount, unit) {
            (Some(amount), Some(unit)) if !follows => {
                self.at += 1;
                Ok(Value::Relative {
                    now,
                    offset: Some((sign * amount, unit)),
                })
            }
            _ => {
                self.at = from;
                Err(self.problem("expected a number of d, w, m or y, for example today-30d"))
            }
        }
    }

    fn number_or_date(&mut self) -> Result<Value> {
        let from = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        let inside = |c: char| c.is_ascii_digit() || in_word(c) || matches!(c, '.' | ':' | '-' | '+');
        while self.peek().is_some_and(inside) {
            self.at += 1;
        }
        let text: String = self.text[from..self.at].iter().collect();
        let plain = |text: &str| {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits(whole) && digits(fraction)
        };
        let value = if plain(text.strip_prefix('-').unwrap_or(&text)) {
            Some(Value::Number(text.clone()))
        } else if let Some(day) = moment::day(&text) {
            Some(Value::Date(day))
        } else if text.contains('T') || text.contains('t') {
            crate::value::timestamp_us(&text).map(Value::Moment)
        } else {
            Some(&text)
                .filter(|text| !text.ends_with('Z'))
                .and_then(|text| moment::time_of_day(text))
                .map(Value::Time)
        };
        value.ok_or_else(|| {
            let spot = self.since(from);
            let message = "is not a number, date (2026-01-31) or time (09:30:00, 2026-01-31T09:30:00Z); write other \
                           text in quotes";
            Problem::new(Fault::Syntax, spot, message)
        })
    }
}

fn one_or(mut list: Vec<Ast>, of: fn(Vec<Ast>) -> Ast) -> Ast {
    if list.len() == 1
        && let Some(one) = list.pop()
    {
        return one;
    }
    of(list)
}

#[cfg(test)]
mod tests;
