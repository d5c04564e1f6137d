//! The plan for reading an object: a selection that does not fit into a URL is read by POST, one page of ids at a
//! time.

use tether_connector_sdk::crm::Fields as _;
use tether_connector_sdk::payload::Payload;
use tether_connector_sdk::proto::SelectedField;
use tether_connector_sdk::reading::{self, Change, Known, Selected};
use url::form_urlencoded::byte_serialize;

use crate::objects::CrmObject;
use crate::properties::{self, Described};

/// The plan for reading an object.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) object: &'static CrmObject,
    /// The selected fields, in the order of their keys.
    pub(crate) columns: Vec<Selected>,
    /// The properties do not fit into a URL: lists return ids, batches return records.
    pub(crate) wide: bool,
}

impl Plan {
    /// A plan for a selection, and the changes of its fields. Without a description the selection is used as it is.
    pub(crate) fn new(
        object: &'static CrmObject,
        selection: &[SelectedField],
        seen: Option<&Described>,
        budget: usize,
    ) -> (Self, Vec<Change>) {
        let (columns, changes) = reading::compare(selection, |key| match seen {
            _ if !properties::is_name(key) => Known::Gone,
            Some(seen) => seen.known(key),
            None => Known::Unknown,
        });
        let mut plan = Self {
            object,
            columns,
            wide: false,
        };
        plan.wide = plan.properties().len() > budget;
        (plan, changes)
    }

    /// Names of all requested properties: selected ones, and those that every record needs.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.columns.iter().map(|column| column.key.as_str()).collect();
        for name in self.object.own_properties() {
            names.push(name);
        }
        let currencies = self.columns.iter().filter_map(|column| column.currency.as_ref());
        names.extend(
            currencies
                .map(|currency| currency.field.as_str())
                .filter(|name| properties::is_name(name)),
        );
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The names as the value of a query parameter.
    pub(crate) fn properties(&self) -> String {
        let names: Vec<String> = self
            .names()
            .into_iter()
            .map(|name| byte_serialize(name.as_bytes()).collect())
            .collect();
        names.join(",")
    }

    /// The path of a page of the list.
    pub(crate) fn list_path(&self, after: &str, archived: bool) -> String {
        let mut path = format!("/crm/v3/objects/{}?limit={PAGE}", self.object.key);
        if archived {
            path.push_str("&archived=true");
        }
        path.push_str("&properties=");
        if archived {
            // A record that others were merged into may be archived before the merge was seen.
            path.push_str(&self.object.merged.join(","));
        } else if self.wide {
            path.push_str("hs_object_id");
        } else {
            path.push_str(&self.properties());
        }
        if !after.is_empty() {
            path.push_str("&after=");
            path.extend(byte_serialize(after.as_bytes()));
        }
        path
    }

    /// The path of one record, with the links to other objects.
    pub(crate) fn record_path(&self, id: &str, associations: &[&str]) -> String {
        let properties = if self.wide {
            "hs_object_id".to_owned()
        } else {
            self.properties()
        };
        let mut path = format!("/crm/v3/objects/{}/{id}?properties={properties}", self.object.key);
        if !associations.is_empty() {
            path.push_str("&associations=");
            path.push_str(&associations.join(","));
        }
        path
    }

    /// The builder for payloads of this plan.
    pub(crate) fn payload(&self) -> Payload {
        Payload::new(self.columns.iter().map(|column| column.key.as_str()))
    }
}

/// Records per page, HubSpot's maximum.
pub(crate) const PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::OBJECTS;
    use crate::properties::Property;
    use tether_connector_sdk::proto::{Field, FieldType};

    fn selected(key: &str, kind: FieldType) -> SelectedField {
        SelectedField {
            key: key.to_owned(),
            r#type: kind.into(),
            ..SelectedField::default()
        }
    }

    #[test]
    fn what_changed_is_told_and_what_is_gone_is_not_asked_for() {
        let seen = Described {
            whole: true,
            properties: [("industry", FieldType::Picklist), ("size", FieldType::Decimal)]
                .map(|(key, kind)| Property {
                    hidden: key == "size",
                    field: Field {
                        key: key.to_owned(),
                        r#type: kind.into(),
                        ..Field::default()
                    },
                })
                .to_vec(),
        };
        let selection = [
            selected("size", FieldType::Text),
            selected("gone", FieldType::Text),
            selected("industry", FieldType::Picklist),
            selected("industry", FieldType::Picklist),
        ];
        let (plan, changes) = Plan::new(&OBJECTS[0], &selection, Some(&seen), 7_000);
        let expected = [
            Change::Type("size".to_owned(), FieldType::Decimal),
            Change::Missing("gone".to_owned()),
        ];
        assert_eq!(changes, expected);
        assert_eq!(
            plan.list_path("17", false),
            "/crm/v3/objects/companies?limit=100&properties=domain,hs_merged_object_ids,industry,name,size,website&after=17"
        );
    }

    #[test]
    fn a_wide_selection_leaves_the_address() {
        let selection: Vec<_> = (0..400)
            .map(|n| selected(&format!("a_rather_long_name_{n}"), FieldType::Text))
            .collect();
        let (plan, _) = Plan::new(&OBJECTS[1], &selection, None, 7_000);
        assert!(
            plan.wide
                && plan.list_path("", false).len() < 200
                && plan.record_path("1", &["deals"]).len() < 200
        );
        assert_eq!(plan.names().len(), 405);
        let (plan, _) = Plan::new(&OBJECTS[1], &selection[..10], None, 7_000);
        assert!(!plan.wide);
    }
}
