//! Parses filters and orders by the grammar in `company_service.proto`.

mod cursor;
mod value;

use super::ast::{Ast, Name};
use super::problem::Problem;
use cursor::Parser;

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
            return Err(self.problem(
                "expected an operator; put search words into query, and write a key that is not a word in quotes, or as \
                 its alias: Field.query_key has it",
            ));
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
