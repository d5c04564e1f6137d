//! Converts the results of services to the public API. Only `grpc` uses the generated types.

mod company;
mod connector;
mod event;
mod integration;
mod review;
mod sync;
mod value;

pub use company::{card, company, listed_company, record, source_position, source_view, table};
pub use connector::connector;
pub use event::event;
pub use integration::{activated, available_objects, field, integration, listed_integration, share, state};
pub use review::review;
pub use sync::sync;
pub use value::{micros, timestamp, value};

use crate::domain::Micros;
use crate::error::{Most, Reason, shortened};
use crate::proto::v1;

/// The maximum length of a cause's message, in characters.
const MOST_CAUSE: usize = 2_000;

/// The reason of a stored name.
fn reason(word: &str) -> v1::ErrorReason {
    v1::ErrorReason::from_str_name(&format!("ERROR_REASON_{word}")).unwrap_or(v1::ErrorReason::Internal)
}

/// A cause; `None` without a reason.
fn cause(word: &str, message: &str, time_us: Option<Micros>, retry_us: Option<Micros>) -> Option<v1::Cause> {
    (!word.is_empty()).then(|| v1::Cause {
        reason: reason(word) as i32,
        message: shortened(message, Most::Characters(MOST_CAUSE)).into_owned(),
        time: time_us.map(timestamp),
        retry_time: retry_us.map(timestamp),
    })
}

/// A reason of the business rules.
fn of_reason(of: Reason) -> v1::ErrorReason {
    reason(of.as_str())
}
