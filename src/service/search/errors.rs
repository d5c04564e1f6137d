//! The errors of lists of companies.

use std::time::Duration;

use crate::domain::IntegrationId;
use crate::error::{Detail, Error, Reason, echo};
use crate::index;
use crate::query::{self, Fault, Problem};

/// The error of a position of another list.
pub(super) fn wrong_page() -> Error {
    Error::new(Reason::InvalidPageToken, "page_token: is not of this list")
}

/// The error of an index that lacks changes or is being built.
pub(super) fn not_ready(id: IntegrationId) -> Error {
    if id == IntegrationId::platform() {
        let text = "the search index of the platform's companies is being built: try again in a moment";
        return Error::new(Reason::IndexNotReady, text).detail(Detail::RetryAfter(Duration::from_secs(1)));
    }
    Error::new(
        Reason::IndexNotReady,
        format!(
            "the search index of {} does not include these changes yet: try again in a moment",
            id.name()
        ),
    )
    .with("integration", id.name())
    .detail(Detail::RetryAfter(Duration::from_secs(1)))
}

/// The error of an invalid argument, with the position in it.
pub(super) fn refused(argument: &str, reason: Reason, problem: Problem) -> Error {
    let Problem { fault, spot, message } = problem;
    let (position, token) = (spot.position, echo(&spot.token));
    let description = if token.is_empty() {
        format!("at position {position}, the end: {message}")
    } else {
        format!("at position {position}, {token:?}: {message}")
    };
    let sentence = format!("{argument}: {description}");
    let fields = |description| Detail::Fields(vec![(argument.to_owned(), description)]);
    let error = match fault {
        Fault::Syntax => Error::new(reason, sentence).detail(fields(description)),
        Fault::Unknown(field) => Error::new(Reason::FieldUnknown, sentence)
            .with("field", echo(&field))
            .detail(fields(description)),
        Fault::Passive(field) => Error::new(Reason::FieldPassive, sentence)
            .detail(Detail::Precondition(
                "FIELD",
                echo(&field).into_owned(),
                "is passive".to_owned(),
            ))
            .with("field", echo(&field)),
    };
    error.with("position", position).with("token", token)
}

impl From<query::Error> for Error {
    fn from(error: query::Error) -> Self {
        match error {
            query::Error::Filter(problem) => refused("filter", Reason::InvalidFilter, problem),
            query::Error::Order(problem) => refused("order_by", Reason::InvalidOrderBy, problem),
            query::Error::NotReady(id) => not_ready(id),
            query::Error::Index(index::Error::Store(error)) => error.into(),
            query::Error::Index(index::Error::Cancelled) => {
                Self::new(Reason::DeadlineExceeded, "the caller's deadline has passed")
            }
            query::Error::Index(error) if error.is_temporary() => {
                tracing::warn!("a search index cannot be read: {error}");
                Self::new(
                    Reason::IndexNotReady,
                    "a search index cannot be read at the moment: try again",
                )
                .detail(Detail::RetryAfter(Duration::from_secs(1)))
            }
            query::Error::Index(error) => Self::internal(error),
        }
    }
}
