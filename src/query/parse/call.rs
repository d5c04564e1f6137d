//! Names before a parenthesis: conditions on one record, functions, counts and sums.

use super::cursor::Parser;
use crate::query::ast::{Ast, Measure, Name, Operator, Relation, Subject};
use crate::query::problem::{Problem, fault};

type Result<T> = std::result::Result<T, Problem>;

const NO_FUNCTION: &str = "is not a function; there are count, sum, starts_with, ends_with and contains";

impl Parser {
    /// What stands before and in a parenthesis; the position is at the parenthesis.
    pub(super) fn call(&mut self, begin: usize, mut names: Vec<Name>) -> Result<Ast> {
        match names.as_slice() {
            [name] => {
                let name = name.clone();
                let operator = match function(&name)? {
                    "starts_with" => Operator::StartsWith,
                    "ends_with" => Operator::EndsWith,
                    "contains" => Operator::Contains,
                    _ => {
                        let measure = self.measure(begin, name)?;
                        return self.restriction(begin, Subject::Measure(measure));
                    }
                };
                self.function(begin, name, operator)
            }
            [_, _] => {
                self.take('(');
                let inner = Box::new(self.nested()?);
                match (names.pop(), names.pop()) {
                    (Some(object), Some(label)) => Ok(Ast::Same { label, object, inner }),
                    _ => Err(self.problem("only label.Object is allowed before (")),
                }
            }
            _ => Err(self.problem("only label.Object or a function is allowed before (")),
        }
    }

    /// The subject of a sort key.
    pub(super) fn sort_subject(&mut self) -> Result<Subject> {
        let begin = self.at;
        let names = self.names()?;
        if self.peek() != Some('(') {
            return Ok(Subject::Field(names));
        }
        match names.as_slice() {
            [name] if matches!(function(name)?, "count" | "sum") => {
                Ok(Subject::Measure(self.measure(begin, name.clone())?))
            }
            _ => Err(self.problem_at(
                begin,
                "is not a sort key; only count and sum are functions to sort by",
            )),
        }
    }

    /// `(field, value)` of a function on texts.
    fn function(&mut self, begin: usize, name: Name, operator: Operator) -> Result<Ast> {
        self.count_condition(begin)?;
        self.take('(');
        let field = self.names()?;
        if !self.take(',') {
            return Err(self.problem(&format!(
                "expected a comma and a text: {}(field, \"text\")",
                name.text
            )));
        }
        let value = self.operand(operator)?;
        if !self.take(')') {
            return Err(self.problem(&format!("expected ) after {}(field, \"text\"", name.text)));
        }
        Ok(Ast::Restriction {
            subject: Subject::Field(field),
            relation: Relation::Compare(operator),
            at: name.spot,
            values: vec![value],
        })
    }

    /// The parentheses of `count` and `sum` with what is in them.
    fn measure(&mut self, begin: usize, function: Name) -> Result<Measure> {
        self.count_measure(begin)?;
        self.take('(');
        let sum = function.text == "sum";
        let names = self.names()?;
        let [label, object, field @ ..] = names.as_slice() else {
            return Err(names
                .first()
                .map_or_else(|| self.problem(wrong(sum)), |one| fault(one, wrong(sum))));
        };
        let mut field = field.to_vec();
        let mut inner = None;
        if field.is_empty() && self.take('(') {
            inner = Some(Box::new(self.nested()?));
            if self.take('.') {
                field = self.names()?;
            }
        }
        if let Some(one) = field.first().filter(|_| !sum) {
            return Err(fault(one, wrong(sum)));
        }
        if sum && field.is_empty() || field.len() > 2 {
            return Err(fault(object, wrong(sum)));
        }
        if !self.take(')') {
            return Err(self.problem(&format!("expected ) after {}(...", function.text)));
        }
        Ok(Measure {
            function,
            label: label.clone(),
            object: object.clone(),
            inner,
            field,
        })
    }
}

/// The function of this name.
fn function(name: &Name) -> Result<&'static str> {
    const ALL: [&str; 5] = ["count", "sum", "starts_with", "ends_with", "contains"];
    // A name in quotes is the name of a field.
    let written = name.spot.token.as_str();
    if let Some(known) = ALL.iter().find(|known| **known == written) {
        return Ok(known);
    }
    if ALL.iter().any(|known| known.eq_ignore_ascii_case(written)) {
        return Err(fault(
            name,
            "is not a function; functions are written in lower case",
        ));
    }
    Err(fault(name, NO_FUNCTION))
}

fn wrong(sum: bool) -> &'static str {
    if sum {
        "is not what sum adds up: write sum(source.Object.Field) or sum(source.Object(...).Field)"
    } else {
        "is not what count counts: write count(source.Object) or count(source.Object(...))"
    }
}
