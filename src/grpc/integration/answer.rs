//! What all handlers of integrations answer, and the next page of lists with offsets.

use crate::proto::internal::v1::keyset_value::Kind;
use tonic::{Response, Status};

/// The answer of a handler.
pub(super) type Answer<T> = Result<Response<T>, Status>;

/// The keyset of the next page of a list with offsets; `None` after the last page.
pub(super) fn after<T>(from: usize, page: &[T], more: bool) -> Option<Vec<Kind>> {
    more.then(|| vec![Kind::Integer((from + page.len()) as i64)])
}
