//! The assignment of columns to queries. A selection that does not fit into one URL is split into parts, which are
//! read over the same closed range of ids and joined by id.

use tether_connector_sdk::proto::{FieldType, ObjectFields, SelectedField};
use tether_connector_sdk::reading::{self, Change, Known, Selected};

use crate::objects::CrmObject;
use crate::soql::{self, Filter};

/// A safe size of an encoded query in bytes: URLs are limited to 16,384 bytes, including headers.
pub(crate) const QUERY_BUDGET: usize = 14_000;
/// A sample id for measuring lengths.
const SAMPLE_ID: &str = "001000000000000AAA";
/// A sample time for measuring lengths.
const SAMPLE_TIME: &str = "2026-01-31T09:30:00Z";

/// The use of a column besides the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    None,
    Id,
    Modified,
    Deleted,
    MergedInto,
    Parent,
    /// The name, with its index among the candidates.
    Name(u8),
    Homepage,
    /// The name of the record that a later column refers to: `Owner` for `OwnerId`.
    Label,
    /// The currency of the record's amounts.
    Currency,
}

/// One column of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// The name in the query: `OwnerId`, `Owner.Name`.
    pub(crate) asked: String,
    /// The key in the reply: `OwnerId`, `Owner`.
    pub(crate) key: String,
    /// `,"key":`, as written in a payload.
    pub(crate) prefix: Vec<u8>,
    /// The type in the payload, if the column is part of it.
    pub(crate) kind: Option<FieldType>,
    pub(crate) role: Role,
    /// Of an amount that is given with its currency: the currency if the record has none, or an empty text.
    pub(crate) currency: Option<String>,
}

impl Column {
    fn plain(key: &str, role: Role) -> Self {
        Self {
            asked: key.to_owned(),
            key: key.to_owned(),
            prefix: Vec::new(),
            kind: None,
            role,
            currency: None,
        }
    }
}

/// The relationship whose name is queried together with a reference: standard relationships to objects that have a
/// name and are visible to every user. They are known without a describe, so live reads and full reads return the
/// same record.
pub(crate) fn label_of(field: &str) -> Option<&'static str> {
    match field {
        "AccountId" => Some("Account"),
        "CreatedById" => Some("CreatedBy"),
        "LastModifiedById" => Some("LastModifiedBy"),
        "OwnerId" => Some("Owner"),
        "RecordTypeId" => Some("RecordType"),
        "ReportsToId" => Some("ReportsTo"),
        _ => None,
    }
}

/// The plan for reading an object.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) object: &'static CrmObject,
    own: Vec<&'static str>,
    /// Names are queried together with references.
    labels: bool,
    /// The field that has the currency of a record's amounts, if the selected amounts are given with it.
    currency: Option<String>,
    shares: Vec<Vec<Selected>>,
    /// The columns of each part, ordered by name. The first part has all columns that are not part of the payload.
    pub(crate) parts: Vec<Vec<Column>>,
}

impl Plan {
    /// A plan for a selection, and the changes of its fields. Without a describe the selection is used as it is.
    pub(crate) fn new(
        object: &'static CrmObject,
        selection: &[SelectedField],
        seen: Option<&ObjectFields>,
        budget: usize,
    ) -> (Self, Vec<Change>) {
        let (selected, changes) = reading::compare(selection, |key| match seen {
            _ if !soql::is_name(key) => Known::Gone,
            Some(seen) => seen
                .fields
                .iter()
                .find(|f| f.key == key)
                .map_or(Known::Gone, Known::Field),
            None => Known::Unknown,
        });
        let mut own = object.own_fields();
        if let Some(seen) = seen {
            own.retain(|key| *key == "Id" || has(seen, key));
        }
        let mut plan = Self {
            object,
            own,
            labels: true,
            currency: selected
                .iter()
                .filter_map(|field| field.currency.as_ref())
                .map(|currency| currency.field.clone())
                .find(|field| soql::is_name(field) && seen.is_none_or(|seen| has(seen, field))),
            shares: vec![selected],
            parts: Vec::new(),
        };
        plan.fit(budget);
        (plan, changes)
    }

    /// Removes a column that does not exist. False if there is no column with this name.
    pub(crate) fn drop_field(&mut self, key: &str) -> bool {
        let before = self.count();
        self.currency
            .take_if(|currency| currency.eq_ignore_ascii_case(key));
        self.own
            .retain(|own| *own == "Id" || !own.eq_ignore_ascii_case(key));
        for share in &mut self.shares {
            share.retain(|field| !field.key.eq_ignore_ascii_case(key));
        }
        self.lay_out();
        before > self.count()
    }

    /// The number of fields that are read.
    fn count(&self) -> usize {
        let selected: usize = self.shares.iter().map(Vec::len).sum();
        self.own.len() + selected + usize::from(self.currency.is_some())
    }

    /// Removes every column that a new describe lacks; returns the selected ones among them.
    pub(crate) fn keep_seen(&mut self, seen: &ObjectFields) -> Vec<String> {
        let is_seen = |key: &str| has(seen, key);
        self.currency.take_if(|currency| !is_seen(currency));
        self.own.retain(|key| *key == "Id" || is_seen(key));
        let mut gone = Vec::new();
        for share in &mut self.shares {
            share.retain(|field| {
                let keep = is_seen(&field.key);
                if !keep {
                    gone.push(field.key.clone());
                }
                keep
            });
        }
        self.lay_out();
        gone
    }

    /// Stops querying names together with references. False if they were not queried any more.
    pub(crate) fn drop_labels(&mut self) -> bool {
        let had = std::mem::replace(&mut self.labels, false);
        self.lay_out();
        had
    }

    /// Whether a field was selected and is still read.
    pub(crate) fn has_selected(&self, key: &str) -> bool {
        self.shares
            .iter()
            .flatten()
            .any(|field| field.key.eq_ignore_ascii_case(key))
    }

    /// Splits the part that is probably the most expensive: formulas first, because the CRM expands them. False if
    /// nothing can be split.
    pub(crate) fn split(&mut self) -> bool {
        let weight = |share: &Vec<Selected>| (share.iter().filter(|f| f.calculated).count(), share.len());
        let Some(at) = (0..self.shares.len())
            .filter(|&i| self.shares[i].len() > 1)
            .max_by_key(|&i| weight(&self.shares[i]))
        else {
            return false;
        };
        let share = &mut self.shares[at];
        let formulas = share.iter().filter(|f| f.calculated).count();
        let middle = if formulas > 1 {
            let half = share
                .iter()
                .enumerate()
                .filter(|(_, f)| f.calculated)
                .nth(formulas / 2);
            half.map_or(share.len() / 2, |(i, _)| i)
        } else {
            share.len() / 2
        };
        let rest = share.split_off(middle.clamp(1, share.len() - 1));
        self.shares.insert(at + 1, rest);
        self.lay_out();
        true
    }

    /// The query of a part.
    pub(crate) fn soql(&self, part: usize, filter: &Filter<'_>, limit: Option<u32>) -> String {
        let columns: Vec<&str> = self.parts[part]
            .iter()
            .map(|column| column.asked.as_str())
            .collect();
        soql::select(self.object.key, &columns, filter, limit)
    }

    /// The columns of all parts together, for a query that need not fit into a URL.
    pub(crate) fn whole(&self) -> Vec<Column> {
        self.columns(0, &self.shares.concat())
    }

    /// Splits until every part fits into the budget.
    fn fit(&mut self, budget: usize) {
        self.lay_out();
        let range = Filter::Range {
            after: SAMPLE_ID,
            through: SAMPLE_ID,
            since: SAMPLE_TIME,
        };
        loop {
            let wide = (0..self.parts.len()).find(|&i| {
                soql::encode(&self.soql(i, &range, Some(2_000))).len() > budget && self.shares[i].len() > 1
            });
            let Some(wide) = wide else { return };
            // The longest prefix that fits stays; the rest becomes a new part.
            let mut low = 1;
            let mut high = self.shares[wide].len() - 1;
            let share = self.shares[wide].clone();
            while low < high {
                let middle = low.midpoint(high + 1);
                let columns = self.columns(wide, &share[..middle]);
                let names: Vec<&str> = columns.iter().map(|c| c.asked.as_str()).collect();
                let length = soql::encode(&soql::select(self.object.key, &names, &range, Some(2_000))).len();
                if length <= budget {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            let rest = self.shares[wide].split_off(low);
            self.shares.insert(wide + 1, rest);
            self.lay_out();
        }
    }

    fn lay_out(&mut self) {
        // The first part always has columns; any other part needs at least one field.
        let mut first = true;
        self.shares
            .retain(|share| std::mem::take(&mut first) || !share.is_empty());
        self.parts = (0..self.shares.len())
            .map(|part| self.columns(part, &self.shares[part]))
            .collect();
    }

    /// Columns ordered by name: values are returned in the order of the query, so payloads need no sorting, and a
    /// label comes before its reference.
    fn columns(&self, part: usize, share: &[Selected]) -> Vec<Column> {
        let own = self
            .own
            .iter()
            .filter(|key| part == 0 || matches!(**key, "Id" | "SystemModstamp"));
        let mut columns: Vec<Column> = own.map(|key| Column::plain(key, self.role(key))).collect();
        for field in share {
            let kind = Some(field.field_type);
            let prefix = format!(",\"{}\":", field.key).into_bytes();
            match columns.iter_mut().find(|column| column.key == field.key) {
                Some(column) => (column.kind, column.prefix) = (kind, prefix),
                None => columns.push(Column {
                    prefix,
                    kind,
                    currency: field.currency.as_ref().map(|currency| currency.code.clone()),
                    ..Column::plain(&field.key, Role::None)
                }),
            }
            if self.labels
                && field.field_type == FieldType::Reference
                && let Some(relationship) = label_of(&field.key)
            {
                columns.push(Column {
                    asked: format!("{relationship}.Name"),
                    ..Column::plain(relationship, Role::Label)
                });
            }
        }
        if let Some(key) = &self.currency
            && columns.iter().any(|column| column.currency.is_some())
        {
            match columns.iter_mut().find(|column| column.key == *key) {
                Some(column) => column.role = Role::Currency,
                None => columns.push(Column::plain(key, Role::Currency)),
            }
        }
        columns.sort_by(|a, b| a.key.cmp(&b.key));
        columns
    }

    fn role(&self, key: &str) -> Role {
        match key {
            "Id" => Role::Id,
            "SystemModstamp" => Role::Modified,
            "IsDeleted" => Role::Deleted,
            "MasterRecordId" => Role::MergedInto,
            key if self.object.parent == Some(key) => Role::Parent,
            key if self.object.homepage == Some(key) => Role::Homepage,
            key => match (0u8..).zip(self.object.names).find(|(_, name)| **name == key) {
                Some((place, _)) => Role::Name(place),
                None => Role::None,
            },
        }
    }
}

/// Whether a described object has a field.
fn has(seen: &ObjectFields, key: &str) -> bool {
    seen.fields.iter().any(|field| field.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{OBJECTS, named};
    use tether_connector_sdk::proto::{AmountCurrency, Field};

    fn selection(keys: &[&str]) -> Vec<SelectedField> {
        keys.iter()
            .map(|k| SelectedField {
                key: (*k).into(),
                r#type: FieldType::Text.into(),
                ..SelectedField::default()
            })
            .collect()
    }

    fn keys(columns: &[Column]) -> Vec<&str> {
        columns.iter().map(|c| c.key.as_str()).collect()
    }

    #[test]
    fn what_is_always_read_is_added_once() {
        let (plan, changes) = Plan::new(
            &OBJECTS[0],
            &selection(&["Website", "Industry"]),
            None,
            QUERY_BUDGET,
        );
        assert!(changes.is_empty());
        assert_eq!(plan.parts.len(), 1);
        assert_eq!(
            keys(&plan.parts[0]),
            [
                "Id",
                "Industry",
                "IsDeleted",
                "MasterRecordId",
                "Name",
                "SystemModstamp",
                "Website"
            ]
        );
        let website = plan.parts[0].last().unwrap();
        assert_eq!(
            (website.role, website.kind),
            (Role::Homepage, Some(FieldType::Text))
        );
    }

    #[test]
    fn a_describe_shows_what_went_and_what_changed() {
        let seen = ObjectFields {
            fields: ["Id", "Name", "Industry", "SystemModstamp"]
                .map(|key| Field {
                    key: key.into(),
                    r#type: if key == "Industry" {
                        FieldType::Picklist
                    } else {
                        FieldType::Text
                    }
                    .into(),
                    ..Field::default()
                })
                .into(),
            ..ObjectFields::default()
        };
        let wanted = selection(&["Gone__c", "Industry", "x'y"]);
        let (plan, changes) = Plan::new(&OBJECTS[0], &wanted, Some(&seen), QUERY_BUDGET);
        assert_eq!(
            changes,
            [
                Change::Missing("Gone__c".into()),
                Change::Type("Industry".into(), FieldType::Picklist),
                Change::Missing("x'y".into())
            ]
        );
        assert_eq!(keys(&plan.parts[0]), ["Id", "Industry", "Name", "SystemModstamp"]);
    }

    #[test]
    fn wide_selections_are_split_and_every_part_fits() {
        let names: Vec<String> = (0..800)
            .map(|i| format!("A_rather_long_field_name_{i:03}__c"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (plan, _) = Plan::new(named("Contact").unwrap(), &selection(&names), None, QUERY_BUDGET);
        assert!(plan.parts.len() > 1);
        let mut all = Vec::new();
        for (i, part) in plan.parts.iter().enumerate() {
            let range = Filter::Range {
                after: SAMPLE_ID,
                through: SAMPLE_ID,
                since: SAMPLE_TIME,
            };
            assert!(soql::encode(&plan.soql(i, &range, None)).len() <= QUERY_BUDGET);
            assert!(part.iter().any(|c| c.role == Role::Id) && part.iter().any(|c| c.role == Role::Modified));
            all.extend(part.iter().filter(|c| c.kind.is_some()).map(|c| c.key.clone()));
        }
        assert_eq!(all, names, "each field once, in order");
    }

    #[test]
    fn references_bring_their_names() {
        let field = SelectedField {
            key: "OwnerId".into(),
            r#type: FieldType::Reference.into(),
            ..SelectedField::default()
        };
        let (mut plan, _) = Plan::new(named("Contract").unwrap(), &[field], None, QUERY_BUDGET);
        let soql = "SELECT AccountId,ContractNumber,Id,IsDeleted,Owner.Name,OwnerId,SystemModstamp FROM Contract ORDER BY Id";
        assert_eq!(plan.soql(0, &Filter::After(""), None), soql);
        assert!(plan.drop_labels() && !plan.drop_labels());
        assert_eq!(
            plan.soql(0, &Filter::After(""), None),
            soql.replace("Owner.Name,", "")
        );
    }

    #[test]
    fn amounts_bring_their_currency() {
        let field = |key: &str, field: &str| SelectedField {
            key: key.into(),
            r#type: FieldType::Currency.into(),
            currency: Some(AmountCurrency {
                field: field.into(),
                code: "USD".into(),
            }),
        };
        let object = named("Opportunity").unwrap();
        let with = [field("Amount", "CurrencyIsoCode")];
        let (mut plan, _) = Plan::new(object, &with, None, QUERY_BUDGET);
        let role = |plan: &Plan| {
            let found = plan.parts[0]
                .iter()
                .find(|column| column.key == "CurrencyIsoCode");
            found.map(|column| column.role)
        };
        assert_eq!(role(&plan), Some(Role::Currency));
        let amount = plan.parts[0]
            .iter()
            .find(|column| column.key == "Amount")
            .unwrap();
        assert_eq!(amount.currency.as_deref(), Some("USD"));
        assert!(plan.drop_field("currencyisocode") && !plan.drop_field("CurrencyIsoCode"));
        assert_eq!(role(&plan), None);
        // One currency for all records, or a field that the object does not have: nothing is queried.
        assert_eq!(
            role(&Plan::new(object, &[field("Amount", "")], None, QUERY_BUDGET).0),
            None
        );
        let seen = ObjectFields::default();
        assert_eq!(role(&Plan::new(object, &with, Some(&seen), QUERY_BUDGET).0), None);
    }

    #[test]
    fn formulas_are_split_first() {
        let field = |key: &str, calculated| Field {
            key: key.into(),
            r#type: FieldType::Text.into(),
            calculated,
            ..Field::default()
        };
        let seen = ObjectFields {
            fields: vec![
                field("Id", false),
                field("A", true),
                field("B", true),
                field("C", false),
                field("D", false),
            ],
            ..ObjectFields::default()
        };
        let (mut plan, _) = Plan::new(
            &OBJECTS[0],
            &selection(&["A", "B", "C", "D"]),
            Some(&seen),
            QUERY_BUDGET,
        );
        assert!(plan.split());
        assert_eq!(
            (keys(&plan.parts[0]), keys(&plan.parts[1])),
            (vec!["A", "Id"], vec!["B", "C", "D", "Id"])
        );
        while plan.split() {}
        assert_eq!(plan.parts.len(), 4);
        assert!(plan.drop_field("c") && !plan.drop_field("c") && !plan.drop_field("Id"));
    }
}
