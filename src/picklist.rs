//! The labels of a picklist's entries.
//!
//! Records have the values of entries, and of many CRMs these are ids, such as `17`. Labels are looked up when values
//! are shown or compared, not when records are stored or indexed: a label that changes in the CRM then takes effect
//! with the next description of the field, without another read of a single record.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

/// The labels of a picklist's entries, by value. Entries without a label of their own are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picklist {
    labels: BTreeMap<String, String>,
}

impl Picklist {
    /// The labels in the description of a field, as it is stored. A description that cannot be read has none.
    #[must_use]
    pub fn of(describe: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Described {
            picklist_values: Vec<Entry>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Entry {
            value: String,
            label: String,
        }
        let described: Described = serde_json::from_str(describe).unwrap_or_default();
        let entries = described.picklist_values.into_iter();
        let own = entries.filter(|one| !one.label.is_empty() && one.label != one.value);
        Self {
            labels: own.map(|one| (one.value, one.label)).collect(),
        }
    }

    /// The label of a value; `None` if the value is shown as it is.
    #[must_use]
    pub fn label(&self, value: &str) -> Option<&str> {
        self.labels.get(value).map(String::as_str)
    }

    /// The values that have a label of their own, with their labels.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels
            .iter()
            .map(|(value, label)| (value.as_str(), label.as_str()))
    }

    /// Whether no value has a label of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// The picklist of a field, read from the field's description when it is first needed: descriptions may be large.
#[derive(Debug, Clone, Default)]
pub struct LazyPicklist(Arc<Described>);

#[derive(Debug, Default)]
struct Described {
    describe: String,
    read: OnceLock<Picklist>,
}

impl LazyPicklist {
    /// The picklist in the description of a field, as it is stored.
    #[must_use]
    pub fn new(describe: String) -> Self {
        Self(Arc::new(Described {
            describe,
            read: OnceLock::new(),
        }))
    }

    /// The picklist.
    #[must_use]
    pub fn get(&self) -> &Picklist {
        self.0.read.get_or_init(|| Picklist::of(&self.0.describe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_whose_label_is_their_value_are_left_out() {
        let describe = r#"{"native_type":"enumeration","picklist_values":[
            {"value":"17","label":"Gold","active":true},{"value":"Silver","label":"Silver","active":true},
            {"value":"18","label":"","active":false}]}"#;
        let picklist = Picklist::of(describe);
        assert_eq!(picklist.label("17"), Some("Gold"));
        assert_eq!((picklist.label("Silver"), picklist.label("18")), (None, None));
        assert_eq!(picklist.entries().collect::<Vec<_>>(), [("17", "Gold")]);
        assert!(Picklist::of("{}").is_empty() && Picklist::of("").is_empty());
    }
}
