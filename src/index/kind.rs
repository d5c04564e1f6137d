//! How values of a field are compared.

use serde::Deserialize;

use crate::domain::FieldType;
use crate::store;

/// How values of a field are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, compared as a whole and by words.
    Text,
    /// Long text and HTML: compared by words; as a whole only for equality.
    Long,
    /// A list of texts.
    List,
    /// An exact decimal.
    Number,
    /// A boolean.
    Boolean,
    /// A date.
    Date,
    /// A timestamp.
    Timestamp,
    /// A time of day.
    Time,
    /// A reference to a record: `id` and `label`.
    Reference,
    /// A postal address, compared by its parts.
    Address,
    /// A geographic location: `latitude` and `longitude`.
    Location,
}

impl Kind {
    /// How values of this type are compared.
    #[must_use]
    pub fn of(field_type: FieldType, long_text: bool) -> Self {
        use FieldType as T;
        match field_type {
            T::Html => Self::Long,
            T::Text | T::Url | T::Email | T::Phone if long_text => Self::Long,
            T::Text | T::Picklist | T::Url | T::Email | T::Phone => Self::Text,
            T::MultiPicklist => Self::List,
            T::Boolean => Self::Boolean,
            T::Integer | T::Decimal | T::Currency | T::Percent => Self::Number,
            T::Date => Self::Date,
            T::Timestamp => Self::Timestamp,
            T::Time => Self::Time,
            T::Reference => Self::Reference,
            T::Address => Self::Address,
            T::Location => Self::Location,
        }
    }

    /// How values of a stored field are compared.
    #[must_use]
    pub fn of_field(field: &store::Field) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct More {
            long_text: bool,
        }
        let more: More = serde_json::from_str(&field.describe).unwrap_or_default();
        Self::of(field.field_type, more.long_text)
    }
}

/// The parts of an address.
pub const ADDRESS: &[&str] = &[
    "street",
    "city",
    "postal_code",
    "state",
    "state_code",
    "country",
    "country_code",
];
