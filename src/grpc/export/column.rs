//! A column of an export.

use crate::domain::FieldType;

/// A column of the request.
pub(super) struct Column {
    /// Its text in the request.
    pub(super) name: String,
    pub(super) field_type: FieldType,
    /// Whether it belongs to a related object.
    pub(super) related: bool,
}
