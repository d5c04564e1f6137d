//! The position of an index in the change feed.

/// The position of an index in the change feed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of the last change that is searchable.
    pub change_no: i64,
    /// When the latest of these changes was read from the CRM, in Unix microseconds; 0 if there is none.
    pub time_us: i64,
}
