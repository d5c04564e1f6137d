//! One condition, `field operator value`.

mod date;
mod form;
mod label;
mod test;
mod text;

pub(super) use form::Condition;
pub(super) use label::labelled;
pub(super) use test::{boolean, test};
