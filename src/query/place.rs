//! The values of sort keys at which a page ends.

use crate::index::SortValue;

/// The value of one sort key at the end of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The company has no value.
    None,
    /// An integer or a scaled number.
    Integer(i64),
    /// Text, cut to the length that is used for sorting.
    Text(String),
    /// A decimal that is not an exact scaled number: the largest scaled number below it, and its sortable text.
    Decimal(i64, String),
}

impl Place {
    /// The value; `None` if the company has none.
    #[must_use]
    pub fn value(&self) -> Option<SortValue> {
        match self {
            Self::None => None,
            Self::Integer(number) => Some(SortValue::Integer(*number)),
            Self::Text(text) => Some(SortValue::Text(text.clone())),
            Self::Decimal(below, text) => Some(SortValue::Decimal(*below, text.clone())),
        }
    }
}

impl From<Option<SortValue>> for Place {
    fn from(value: Option<SortValue>) -> Self {
        match value {
            None => Self::None,
            Some(SortValue::Integer(number)) => Self::Integer(number),
            Some(SortValue::Text(text)) => Self::Text(text),
            Some(SortValue::Decimal(below, text)) => Self::Decimal(below, text),
        }
    }
}
