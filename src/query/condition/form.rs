//! A condition in the form in which it was written.

use crate::query::ast::{Operator, Spot, Value};
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
