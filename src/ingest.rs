//! Converts rows from a connector into rows for the store. Syncs and live reads both use it.
//!
//! The SDK of connectors writes canonical payloads. This module checks what must be true for rows of any connector,
//! because clients display payloads to people.
//!
//! Halves of surrogate pairs in a CRM's JSON become U+FFFD before it is parsed: a strict parser would refuse
//! a whole page because of one label. All candidates for a homepage are stored as the CRM has them, one per
//! line in one column, and domain and URL are computed when needed: a change of the identity rules then needs
//! nothing but what is stored. The hash of a row does not depend on these rules, because each change of them
//! would otherwise write every company record again.

use crate::domain::{FieldType, IntegrationId};
use crate::identity;
use crate::store::{CompleteRange, IdOrder, Parent, RecordBatch, RecordRow, is_number, row_hash};
use crate::time::read_time;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use tether_connector_proto as proto;

/// Maximum size of a payload, in bytes.
pub const MOST_PAYLOAD_BYTES: usize = 4 << 20;
/// Maximum length of an id, in bytes.
const MOST_ID_BYTES: usize = 255;
/// Maximum length of a name for lists, in characters. The full name is in the payload if its field is selected.
const MOST_NAME_CHARS: usize = 255;

/// The connector sent data that its contract forbids.
#[derive(Debug, thiserror::Error)]
#[error("the connector gave {what} for {object} {external_id:?}")]
pub struct Error {
    what: &'static str,
    object: String,
    external_id: String,
}

impl Error {
    fn range(what: &'static str, batch: &proto::RecordBatch, claimed: &proto::Covers) -> Self {
        let cut = |end: &str| end.chars().take(40).collect::<String>();
        Self {
            what,
            object: batch.object.clone(),
            external_id: format!("({}, {}]", cut(&claimed.after), cut(&claimed.through)),
        }
    }
}

/// The origin of rows.
#[derive(Debug, Clone)]
pub struct Source {
    /// The integration.
    pub integration_id: IntegrationId,
    /// The id of the connector.
    pub connector: String,
    /// The id of the organization in the CRM. A record without a usable homepage is a company identified by
    /// organization and record.
    pub organization_id: String,
    /// The object whose records are companies.
    pub company_object: String,
}

/// Converts a batch. The read time is that of the CRM, or now if the CRM gave none.
///
/// # Errors
/// A row violates the contract: it has no id, or its payload is not a JSON object or is too large.
pub fn batch(source: &Source, mut batch: proto::RecordBatch) -> Result<RecordBatch, Error> {
    let complete_range = complete_range(&batch)?;
    let read = read_time(batch.read_time_us);
    let partial = batch.partial.take().map(|partial| partial.fields);
    if partial.is_some() {
        for record in &mut batch.records {
            as_partial(record);
        }
    }
    let rows = rows(source, &batch.object, batch.records, batch.read_time_us > 0)?;
    Ok(RecordBatch {
        object: batch.object,
        rows,
        complete_range,
        read,
        partial,
    })
}

/// A partial record has its id, its times and some fields; what else it has does not count.
fn as_partial(record: &mut proto::Record) {
    record.display_name.clear();
    record.homepage.clear();
    record.homepages.clear();
    record.parents.clear();
    if record.payload.is_empty() {
        record.payload = b"{}".as_slice().into();
    }
}

/// The id range that the batch claims to list completely. Rows are removed based on it, so an invalid claim is
/// rejected.
fn complete_range(batch: &proto::RecordBatch) -> Result<Option<CompleteRange>, Error> {
    let (claimed, order) = match (&batch.covers, &batch.covers_numbers) {
        (None, None) => return Ok(None),
        (Some(bytes), None) => (bytes, IdOrder::Bytes),
        (None, Some(numbers)) => (numbers, IdOrder::Number),
        (Some(claimed), Some(_)) => {
            return Err(Error::range(
                "a range both in the order of bytes and of numbers",
                batch,
                claimed,
            ));
        }
    };
    let number = |end: &str| end.is_empty() || is_number(end);
    if order == IdOrder::Number && !(number(&claimed.after) && number(&claimed.through)) {
        return Err(Error::range(
            "a range of numbers that does not end in numbers",
            batch,
            claimed,
        ));
    }
    Ok(Some(CompleteRange {
        after: claimed.after.clone(),
        through: claimed.through.clone(),
        order,
    }))
}

/// Converts rows of one object. If the reply has no read time of the CRM (`timed` is false), the times in the rows
/// come from an unknown clock and are ignored.
///
/// # Errors
/// The same as for [`batch`].
pub fn rows(
    source: &Source,
    object: &str,
    records: Vec<proto::Record>,
    timed: bool,
) -> Result<Vec<RecordRow>, Error> {
    records
        .into_iter()
        .map(|record| {
            let mut row = row(source, object, record)?;
            if !timed {
                row.read_us = 0;
            }
            Ok(row)
        })
        .collect()
}

fn row(source: &Source, object: &str, record: proto::Record) -> Result<RecordRow, Error> {
    let wrong = |what: &'static str, id: &str| Error {
        what,
        object: object.to_owned(),
        external_id: id.chars().take(40).collect(),
    };
    let external_id = record.external_id;
    if external_id.is_empty() || external_id.len() > MOST_ID_BYTES || external_id.contains('\0') {
        return Err(wrong("an id that is empty, too long or holds NUL", &external_id));
    }
    if record.deleted {
        return Ok(RecordRow {
            external_id,
            company_id: None,
            name: String::new(),
            homepage: None,
            payload: String::new(),
            hash: 0,
            modified_us: record.modified_us,
            read_us: record.read_us,
            deleted: true,
            merged_into: Some(record.merged_into).filter(|id| !id.is_empty()),
            parents: Vec::new(),
        });
    }
    if record.payload.len() > MOST_PAYLOAD_BYTES {
        return Err(wrong("a payload of over 4 MiB", &external_id));
    }
    let Ok(payload) = String::from_utf8(record.payload.into()) else {
        return Err(wrong("a payload that is not UTF-8", &external_id));
    };
    let payload = storable(payload);
    if !payload.starts_with('{') || serde_json::from_str::<IgnoredAny>(&payload).is_err() {
        return Err(wrong("a payload that is no JSON object", &external_id));
    }
    let name = clean(&record.display_name);
    let first = Some(&record.homepage).filter(|first| !record.homepages.contains(first));
    let homepage = identity::candidates(first.into_iter().chain(&record.homepages).map(String::as_str));
    let company_id = (object == source.company_object).then(|| {
        let homepage = homepage.as_deref().unwrap_or_default();
        identity::company_of_record(&source.connector, &source.organization_id, &external_id, homepage)
    });
    let mut parents: Vec<Parent> = record
        .parents
        .into_iter()
        .filter(|parent| !parent.external_id.is_empty())
        .map(|parent| Parent {
            object: parent.object,
            external_id: parent.external_id,
        })
        .collect();
    parents.sort_by(|a, b| (&a.object, &a.external_id).cmp(&(&b.object, &b.external_id)));
    parents.dedup();
    let first = homepage.as_deref().unwrap_or_default();
    let hash = row_hash(&payload, &name, first, company_id.is_some(), &parents);
    Ok(RecordRow {
        external_id,
        company_id,
        name,
        homepage,
        payload,
        hash,
        modified_us: record.modified_us,
        read_us: record.read_us,
        deleted: false,
        merged_into: None,
        parents,
    })
}

/// Removes escapes for NUL and for unpaired surrogates: later readers parse strictly, and PostgreSQL cannot store
/// NUL.
fn storable(payload: String) -> String {
    // The canonical form uses `\u` escapes only for control characters.
    if !payload.contains("\\u") {
        return payload;
    }
    let mut bytes = proto::escapes::without_nul(&payload).into_bytes();
    proto::escapes::mend_surrogates(&mut bytes);
    String::from_utf8(bytes).unwrap_or(payload)
}

/// PostgreSQL cannot store NUL, and a name in a list is one line of limited length.
fn clean(text: &str) -> String {
    let text = text.trim();
    let plain = !text.contains(|c: char| c.is_control()) && text.len() <= MOST_NAME_CHARS;
    if plain {
        return text.to_owned();
    }
    let spaced = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    spaced.take(MOST_NAME_CHARS).collect::<String>().trim().to_owned()
}

/// Converts a field type from the connector contract.
#[must_use]
pub fn field_type(of: proto::FieldType) -> FieldType {
    use proto::FieldType as P;
    match of {
        P::Unspecified | P::Text => FieldType::Text,
        P::Picklist => FieldType::Picklist,
        P::MultiPicklist => FieldType::MultiPicklist,
        P::Boolean => FieldType::Boolean,
        P::Integer => FieldType::Integer,
        P::Decimal => FieldType::Decimal,
        P::Currency => FieldType::Currency,
        P::Percent => FieldType::Percent,
        P::Date => FieldType::Date,
        P::Timestamp => FieldType::Timestamp,
        P::Time => FieldType::Time,
        P::Url => FieldType::Url,
        P::Email => FieldType::Email,
        P::Phone => FieldType::Phone,
        P::Reference => FieldType::Reference,
        P::Address => FieldType::Address,
        P::Location => FieldType::Location,
        P::Html => FieldType::Html,
    }
}

/// Converts a field type to the connector contract.
#[must_use]
pub fn field_type_proto(of: FieldType) -> proto::FieldType {
    use proto::FieldType as P;
    match of {
        FieldType::Text => P::Text,
        FieldType::Picklist => P::Picklist,
        FieldType::MultiPicklist => P::MultiPicklist,
        FieldType::Boolean => P::Boolean,
        FieldType::Integer => P::Integer,
        FieldType::Decimal => P::Decimal,
        FieldType::Currency => P::Currency,
        FieldType::Percent => P::Percent,
        FieldType::Date => P::Date,
        FieldType::Timestamp => P::Timestamp,
        FieldType::Time => P::Time,
        FieldType::Url => P::Url,
        FieldType::Email => P::Email,
        FieldType::Phone => P::Phone,
        FieldType::Reference => P::Reference,
        FieldType::Address => P::Address,
        FieldType::Location => P::Location,
        FieldType::Html => P::Html,
    }
}

/// Where the currency of a field's amounts is, as the connector said it.
fn currency(field: &crate::store::Field) -> Option<proto::AmountCurrency> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Described {
        currency: Option<Currency>,
    }
    #[derive(Deserialize)]
    struct Currency {
        field: String,
        code: String,
    }
    if field.field_type != FieldType::Currency {
        return None;
    }
    let described: Described = serde_json::from_str(&field.describe).unwrap_or_default();
    let Currency { field, code } = described.currency?;
    Some(proto::AmountCurrency { field, code })
}

/// The objects and fields that a connector has to read: the selected fields by object, in the connector's order of
/// objects. The company object is always included, because companies come from it.
#[must_use]
pub fn selection<'a>(
    objects: &[proto::Object],
    fields: impl IntoIterator<Item = &'a crate::store::Field>,
) -> Vec<proto::ObjectSelection> {
    let mut by_object: HashMap<&'a str, Vec<proto::SelectedField>> = HashMap::new();
    for field in fields {
        by_object
            .entry(&field.object)
            .or_default()
            .push(proto::SelectedField {
                key: field.key.clone(),
                r#type: field_type_proto(field.field_type) as i32,
                currency: currency(field),
            });
    }
    objects
        .iter()
        .filter_map(|object| match by_object.remove(object.key.as_str()) {
            Some(fields) => Some(proto::ObjectSelection {
                object: object.key.clone(),
                fields,
                ..proto::ObjectSelection::default()
            }),
            None if object.role() == proto::ObjectRole::Company => Some(proto::ObjectSelection {
                object: object.key.clone(),
                fields: Vec::new(),
                ..proto::ObjectSelection::default()
            }),
            None => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            integration_id: IntegrationId::new(),
            connector: "any".into(),
            organization_id: "org".into(),
            company_object: "Company".into(),
        }
    }

    fn record(id: &str, payload: &str) -> proto::Record {
        proto::Record {
            external_id: id.into(),
            payload: payload.to_owned().into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_currency_of_amounts_is_given_back() {
        let field = |key: &str, field_type, describe: &str| crate::store::Field {
            integration_id: IntegrationId::new(),
            object: "Deal".into(),
            key: key.into(),
            label: key.into(),
            field_type,
            describe: describe.into(),
            position: 0,
            missing_us: None,
            alias: String::new(),
            select_us: 0,
        };
        let described = r#"{"currency":{"field":"Code","code":"EUR"}}"#;
        let fields = [
            field("Amount", FieldType::Currency, described),
            field("Old", FieldType::Currency, r#"{"scale":2}"#),
            field("Text", FieldType::Text, described),
        ];
        let object = proto::Object {
            key: "Deal".into(),
            ..proto::Object::default()
        };
        let given = selection(&[object], &fields).remove(0).fields;
        let currencies: Vec<_> = given.into_iter().map(|field| field.currency).collect();
        let currency = proto::AmountCurrency {
            field: "Code".into(),
            code: "EUR".into(),
        };
        assert_eq!(currencies, [Some(currency), None, None]);
    }

    #[test]
    fn escapes_that_stand_for_no_text_are_put_right_before_the_hash() {
        let make = |payload| {
            rows(&source(), "Company", vec![record("1", payload)], true)
                .unwrap_or_default()
                .remove(0)
        };
        let plain = make(r#"{"A":"xy"}"#);
        assert_eq!(make(r#"{"A":"x\u0000y"}"#), plain);
        assert_eq!(make(r#"{"A":"x\ud800"}"#).payload, r#"{"A":"x\ufffd"}"#);
        assert_eq!(
            make(r#"{"A":"\u0001\\u0000"}"#).payload,
            r#"{"A":"\u0001\\u0000"}"#
        );
    }

    #[test]
    fn what_the_contract_forbids_is_refused() {
        let make = |record| rows(&source(), "Company", vec![record], true);
        assert!(make(record("1", "{}")).is_ok());
        for (id, payload) in [
            ("", "{}"),
            ("a\0", "{}"),
            ("1", "[]"),
            ("1", "{"),
            ("1", ""),
            ("1", "{} {}"),
        ] {
            assert!(make(record(id, payload)).is_err(), "{id:?} {payload:?}");
        }
        let broken = proto::Record {
            payload: vec![b'{', 0xff, b'}'].into(),
            ..record("1", "")
        };
        assert!(make(broken).is_err());
    }

    #[test]
    fn a_claimed_range_makes_sense_or_is_refused() {
        let range = |after: &str, through: &str| {
            Some(proto::Covers {
                after: after.into(),
                through: through.into(),
            })
        };
        let claim = |covers, covers_numbers| {
            let given = proto::RecordBatch {
                object: "Company".into(),
                covers,
                covers_numbers,
                ..Default::default()
            };
            batch(&source(), given).map(|batch| batch.complete_range.map(|covers| covers.order))
        };
        assert_eq!(claim(None, None).unwrap(), None);
        assert_eq!(claim(range("a", "b"), None).unwrap(), Some(IdOrder::Bytes));
        assert_eq!(claim(None, range("9", "10")).unwrap(), Some(IdOrder::Number));
        assert_eq!(claim(None, range("", "")).unwrap(), Some(IdOrder::Number));
        assert!(claim(range("", ""), range("", "")).is_err());
        assert!(claim(None, range("07", "")).is_err());
        assert!(claim(None, range("", "a")).is_err());
    }

    #[test]
    fn only_company_records_are_companies_and_the_hash_sees_what_counts() {
        let one = |object: &str, record| rows(&source(), object, vec![record], true).unwrap().remove(0);
        let base = record("1", r#"{"a":1}"#);
        assert!(one("Company", base.clone()).company_id.is_some());
        assert!(one("Person", base.clone()).company_id.is_none());
        let same = proto::Record {
            modified_us: 5,
            read_us: 7,
            ..base.clone()
        };
        assert_eq!(
            one("Company", base.clone()).hash,
            one("Company", same).hash,
            "times do not count"
        );
        let parent = proto::Parent {
            object: "Company".into(),
            external_id: "2".into(),
        };
        for other in [
            proto::Record {
                display_name: "n".into(),
                ..base.clone()
            },
            proto::Record {
                homepage: "acme.com".into(),
                ..base.clone()
            },
            proto::Record {
                payload: "{}".into(),
                ..base.clone()
            },
            proto::Record {
                parents: vec![parent],
                ..base.clone()
            },
        ] {
            assert_ne!(one("Company", base.clone()).hash, one("Company", other).hash);
        }
    }

    #[test]
    fn names_become_one_line() {
        let row = rows(
            &source(),
            "Company",
            vec![proto::Record {
                display_name: " A\nB\0 ".into(),
                ..record("1", "{}")
            }],
            true,
        );
        assert_eq!(row.unwrap()[0].name, "A B");
    }

    #[test]
    fn the_hash_of_a_row_is_of_its_first_homepage() {
        let given = proto::Record {
            display_name: "Company".into(),
            homepage: "https://stone-three.com/about".into(),
            ..record("3", "{}")
        };
        let one = |given| rows(&source(), "Company", vec![given], true).unwrap().remove(0);
        let listed = proto::Record {
            homepages: vec![given.homepage.clone()],
            ..given.clone()
        };
        assert_eq!(
            one(given.clone()),
            one(listed),
            "one candidate is one, whichever field it stands in"
        );
        let homepage = "https://stone-three.com/about";
        assert_eq!(one(given).hash, row_hash("{}", "Company", homepage, true, &[]));
    }

    #[test]
    fn the_first_usable_homepage_of_a_record_counts() {
        let company = |homepage: &str, homepages: &[&str]| {
            let given = proto::Record {
                homepage: homepage.into(),
                homepages: homepages.iter().map(|text| (*text).to_owned()).collect(),
                ..record("1", "{}")
            };
            rows(&source(), "Company", vec![given], true)
                .unwrap()
                .remove(0)
                .company_id
        };
        let right = Some(crate::domain::CompanyId::of_domain("social-one.com"));
        for other in ["https://www.facebook.com/social-one", "n/a", " "] {
            assert_eq!(company("social-one.com", &["social-one.com", other]), right);
            assert_eq!(company(other, &[other, "https://www.social-one.com/"]), right);
        }
        assert_eq!(company("social-one.com", &[]), right);
        // `homepage` is a candidate even if the connector does not repeat it in `homepages`.
        assert_eq!(company("social-one.com", &["other-one.com"]), right);
        let itself = crate::domain::CompanyId::of_record("any", "org", "1");
        assert_eq!(company("", &[]), Some(itself));
    }
}
