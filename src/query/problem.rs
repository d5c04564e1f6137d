//! Errors in filters and orders, with their positions, and other reasons why a query fails.

use super::ast::{Name, Spot};
use crate::domain::IntegrationId;
use crate::index;

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
    pub spot: Spot,
    /// The message, to be appended to "at position 5 (x): ".
    pub message: String,
}

impl Problem {
    pub(super) fn new(fault: Fault, spot: Spot, message: impl Into<String>) -> Self {
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

impl From<tether_columns::Error> for Error {
    fn from(error: tether_columns::Error) -> Self {
        Self::Index(error.into())
    }
}

/// A syntax error at a name.
pub(super) fn fault(at: &Name, message: impl Into<String>) -> Problem {
    Problem::new(Fault::Syntax, at.spot.clone(), message)
}
