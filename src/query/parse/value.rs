//! Operators and values: strings, numbers, dates, `today` and `now`.

use super::cursor::{Parser, begins_word, in_word};
use crate::index::moment;
use crate::query::ast::{Operator, Value};
use crate::query::problem::{Fault, Problem};

type Result<T> = std::result::Result<T, Problem>;

impl Parser {
    pub(super) fn operator(&mut self) -> Option<Operator> {
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

    pub(super) fn value(&mut self, operator: Operator) -> Result<Value> {
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
