//! Restrictions: what follows a field or a measure, `operator value`, `in (…)` or `between … and …`.

use super::cursor::Parser;
use crate::query::ast::{Ast, Operand, Operator, Relation, Subject};
use crate::query::problem::Problem;

type Result<T> = std::result::Result<T, Problem>;

impl Parser {
    /// The rest of a restriction that began at `begin`.
    pub(super) fn restriction(&mut self, begin: usize, subject: Subject) -> Result<Ast> {
        self.count_condition(begin)?;
        let from = self.at;
        let (relation, at, values) = if let Some(operator) = self.operator() {
            let at = self.since(from);
            self.space();
            (Relation::Compare(operator), at, vec![self.operand(operator)?])
        } else if self.keyword("in") {
            let at = self.since(from);
            (Relation::In, at, self.list()?)
        } else if self.keyword("between") {
            let at = self.since(from);
            (Relation::Between, at, self.both_ends()?)
        } else {
            return Err(self.problem(self.instead_of_operator()));
        };
        Ok(Ast::Restriction {
            subject,
            relation,
            at,
            values,
        })
    }

    /// A value and the space after it.
    pub(super) fn operand(&mut self, operator: Operator) -> Result<Operand> {
        let from = self.at;
        let value = self.value(operator)?;
        let at = self.since(from);
        self.space();
        Ok(Operand { value, at })
    }

    fn list(&mut self) -> Result<Vec<Operand>> {
        if !self.take('(') {
            return Err(self.problem("expected ( after in, for example in (1, 2)"));
        }
        let mut values = vec![self.operand(Operator::Equal)?];
        while self.take(',') {
            self.count_condition(self.at)?;
            values.push(self.operand(Operator::Equal)?);
        }
        if !self.take(')') {
            return Err(self.problem("expected a comma or ) after a value of in (...)"));
        }
        Ok(values)
    }

    fn both_ends(&mut self) -> Result<Vec<Operand>> {
        let from = self.operand(Operator::GreaterOrEqual)?;
        if !self.keyword("and") {
            let message = match self.peek_word().as_deref() {
                Some("AND") => {
                    "expected and, in lower case, between two values; AND in capitals joins conditions"
                }
                _ => "expected and, for example between 1 and 5",
            };
            return Err(self.problem(message));
        }
        self.count_condition(self.at)?;
        let to = self.operand(Operator::LessOrEqual)?;
        Ok(vec![from, to])
    }

    /// What to write where no operator stands.
    fn instead_of_operator(&self) -> &'static str {
        let word = self.peek_word().unwrap_or_default();
        match word.to_ascii_lowercase().as_str() {
            "in" => "expected an operator; in is written in lower case",
            "between" => "expected an operator; between is written in lower case",
            "not" => "expected an operator; write NOT before the field, for example NOT field in (1, 2)",
            "starts_with" | "ends_with" | "contains" => {
                "expected an operator; functions are written before the field, for example contains(field, \"text\")"
            }
            _ => {
                "expected an operator; put search words into query, and write a key that is not a word in quotes, or as \
                 its alias: Field.query_key has it"
            }
        }
    }
}
