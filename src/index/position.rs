//! The position of an index in the change feed, and the version of its format.

use crate::domain::Micros;

/// The format version: an index with another version is rebuilt.
pub(super) const VERSION: u32 = 4;

/// The position of an index in the change feed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of the last change that is searchable.
    pub change_no: i64,
    /// When the latest of these changes was read from the CRM; 0 if there is none.
    pub time_us: Micros,
}
