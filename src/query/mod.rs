//! Questions about companies: parse → check against the sources' fields → run over the read model.
//!
//! [`Engine::run`] answers a [`Question`]; [`Plan::new`] makes the checked form of filter, words and order.

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

/// What can be asked about: one integration, as a group sees it. Where the order of sources matters, the one that comes
/// first names companies.
#[derive(Debug, Clone)]
pub struct Source {
    /// The integration.
    pub integration: IntegrationId,
    /// What the group calls it.
    pub label: String,
    /// The object whose records are companies.
    pub company_object: String,
    /// Its fields that the group may know of.
    pub fields: Vec<Field>,
}

/// A field of a source.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its object.
    pub object: String,
    /// Its key.
    pub key: String,
    /// Its type.
    pub field_type: FieldType,
    /// Whether it holds long text.
    pub long_text: bool,
    /// Whether it is active for the group.
    pub active: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The filter.
    pub filter: &'a str,
    /// The words.
    pub query: &'a str,
    /// The order.
    pub order_by: &'a str,
    /// What `today` and `now` are.
    pub now_us: Micros,
}

/// What is wrong with a filter or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not of the grammar, or a value does not suit.
    Syntax,
    /// The source has no such field, as far as the group knows.
    Unknown(String),
    /// The field is passive for the group.
    Passive(String),
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of fault it is.
    pub fault: Fault,
    /// Where.
    pub spot: ast::Spot,
    /// What is wrong, to follow "at position 5 (x): ".
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

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is wrong.
    #[error("the filter is wrong")]
    Filter(Problem),
    /// The order is wrong.
    #[error("the order is wrong")]
    Order(Problem),
    /// The index of this integration is not there yet.
    #[error("the index of {0} is being made")]
    NotReady(IntegrationId),
    /// The index does not answer.
    #[error(transparent)]
    Index(#[from] index::Error),
}

/// One page of companies, in order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The companies.
    pub companies: Vec<CompanyId>,
    /// Of each, the values of the keys: a page may end after any of them.
    pub places: Vec<Vec<Place>>,
    /// Whether more come after the last.
    pub more: bool,
}

impl Page {
    /// Where the next page begins; `None` at the end.
    #[must_use]
    pub fn next(&self) -> Option<(Vec<Place>, CompanyId)> {
        let last = (self.places.last()?.clone(), *self.companies.last()?);
        self.more.then_some(last)
    }
}
