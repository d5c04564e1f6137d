//! Queries over companies: parse, check against the fields of the sources, run on the search index.
//!
//! [`Engine::run`] answers a [`Question`]; [`Plan::new`] checks filter, words and order.

pub mod ast;
mod check;
mod order;
pub mod parse;
mod run;
mod words;

use crate::domain::{CompanyId, FieldType, IntegrationId, Micros};
use crate::index;
pub use check::{Column, Plan};
pub use order::Place;
pub use run::{Answer, Engine, Question, Tracked};

/// A source that can be queried: one integration, as a group sees it. Where several sources have a company, the first
/// in the list gives the company its name.
#[derive(Debug, Clone)]
pub struct Source {
    /// The integration.
    pub integration: IntegrationId,
    /// The label that the group gave it.
    pub label: String,
    /// The object whose records are companies.
    pub company_object: String,
    /// The fields that the group is allowed to see.
    pub fields: Vec<Field>,
}

/// A field of a source.
#[derive(Debug, Clone)]
pub struct Field {
    /// The object of the field.
    pub object: String,
    /// The key of the field.
    pub key: String,
    /// The type of the field.
    pub field_type: FieldType,
    /// Whether it holds long text.
    pub long_text: bool,
    /// Whether the field is active for the group.
    pub active: bool,
}

/// The text of a query.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The filter.
    pub filter: &'a str,
    /// The search words.
    pub query: &'a str,
    /// The order.
    pub order_by: &'a str,
    /// The value of `today` and `now`.
    pub now_us: Micros,
}

/// The kind of an error in a filter or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A syntax error, or a value of the wrong type.
    Syntax,
    /// The source has no such field that the group is allowed to see.
    Unknown(String),
    /// The field is passive for the group.
    Passive(String),
}

/// An error in a filter or an order, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of error.
    pub fault: Fault,
    /// The position.
    pub spot: ast::Spot,
    /// The message, to be appended to "at position 5 (x): ".
    pub message: String,
}

impl Problem {
    fn new(fault: Fault, spot: ast::Spot, message: impl Into<String>) -> Self {
        Self {
            fault,
            spot,
            message: message.into(),
        }
    }
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is invalid.
    #[error("the filter is invalid")]
    Filter(Problem),
    /// The order is invalid.
    #[error("the order is invalid")]
    Order(Problem),
    /// The index of this integration is still being built.
    #[error("the index of {0} is being built")]
    NotReady(IntegrationId),
    /// The index returned an error.
    #[error(transparent)]
    Index(#[from] index::Error),
}

/// One page of companies, in order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The companies.
    pub companies: Vec<CompanyId>,
    /// For each company, the values of the sort keys: a page may end after any of them.
    pub places: Vec<Vec<Place>>,
    /// Whether there are more companies after the last one.
    pub more: bool,
}

impl Page {
    /// Where the next page begins; `None` if this is the last page.
    #[must_use]
    pub fn next(&self) -> Option<(Vec<Place>, CompanyId)> {
        let last = (self.places.last()?.clone(), *self.companies.last()?);
        self.more.then_some(last)
    }
}
