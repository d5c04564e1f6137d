//! The conditions of a restriction: `field operator value`, `field in (…)`, `contains(field, value)`.

mod date;
mod form;
mod label;
mod test;
mod text;

pub(super) use date::Clock;
pub(super) use form::{Condition, Conditions};
pub(super) use label::labelled;
pub(super) use test::{boolean, number, test};
