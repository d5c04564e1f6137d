//! Parses filters and orders by the grammar in `company_service.proto`.

mod call;
mod cursor;
mod restriction;
mod value;

use super::ast::{Ast, Name, Subject};
use super::problem::Problem;
use cursor::Parser;

/// Maximum length of a filter, in characters.
pub const MOST_CHARACTERS: usize = 4_096;
/// Maximum nesting depth of parentheses.
const MOST_LEVELS: usize = 32;
/// Maximum number of sort keys.
const MOST_KEYS: usize = 5;

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

/// One sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderKey {
    /// What is compared.
    pub subject: Subject,
    /// Whether the order is descending.
    pub descending: bool,
}

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
        if keys.len() == MOST_KEYS {
            return Err(parser.problem("has more than 5 keys"));
        }
        let subject = parser.sort_subject()?;
        let word = parser.peek_word();
        let descending = word.as_deref() == Some("desc");
        if descending || word.as_deref() == Some("asc") {
            parser.at += if descending { 4 } else { 3 };
            parser.space();
        }
        keys.push(OrderKey { subject, descending });
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

impl Parser {
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
        let names = self.names()?;
        if self.peek() == Some('(') {
            return self.call(begin, names);
        }
        self.restriction(begin, Subject::Field(names))
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
