//! A condition in the form in which it was written.

use crate::query::ast::{Operand, Operator, Relation, Spot, Value};
use crate::query::problem::{Fault, Problem};

/// A condition in the form in which it was written.
pub(in crate::query) struct Condition<'a> {
    pub(in crate::query) operator: Operator,
    pub(in crate::query) at: &'a Spot,
    pub(in crate::query) value: &'a Value,
    pub(in crate::query) value_at: &'a Spot,
}

impl Condition<'_> {
    pub(in crate::query) fn of_operator(&self, message: &str) -> Problem {
        Problem::new(Fault::Syntax, self.at.clone(), message)
    }

    pub(in crate::query) fn of_value(&self, message: &str) -> Problem {
        Problem::new(Fault::Syntax, self.value_at.clone(), message)
    }
}

/// The conditions that a restriction consists of.
pub(in crate::query) struct Conditions<'a> {
    relation: Relation,
    each: Vec<Condition<'a>>,
}

impl<'a> Conditions<'a> {
    /// One condition for each value.
    pub(in crate::query) fn new(relation: Relation, at: &'a Spot, values: &'a [Operand]) -> Self {
        let operator = |place: usize| match relation {
            Relation::Compare(operator) => operator,
            Relation::In => Operator::Equal,
            Relation::Between if place == 0 => Operator::GreaterOrEqual,
            Relation::Between => Operator::LessOrEqual,
        };
        let each = values.iter().enumerate().map(|(place, operand)| Condition {
            operator: operator(place),
            at,
            value: &operand.value,
            value_at: &operand.at,
        });
        Self {
            relation,
            each: each.collect(),
        }
    }

    /// Checks each condition, and joins the results: all of `between` hold, or one of `in`.
    pub(in crate::query) fn join<T>(
        &self,
        check: impl FnMut(&Condition<'a>) -> Result<T, Problem>,
        all: fn(Vec<T>) -> T,
        any: fn(Vec<T>) -> T,
    ) -> Result<T, Problem> {
        let mut checked = self.each.iter().map(check).collect::<Result<Vec<T>, Problem>>()?;
        if checked.len() == 1
            && let Some(one) = checked.pop()
        {
            return Ok(one);
        }
        Ok(match self.relation {
            Relation::Between => all(checked),
            Relation::Compare(_) | Relation::In => any(checked),
        })
    }
}
