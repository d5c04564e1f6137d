//! Reads a page of a query from its JSON text into records in one pass, without a tree and without copying a value
//! twice.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tether_connector_sdk::proto::Error;

use crate::plan::Column;
use crate::rest::earlier;
use crate::row::{Cell, Maker, Row};

/// One page.
#[derive(Debug, Default)]
pub struct Page {
    /// Number of rows of the whole query.
    pub(crate) total: u64,
    /// There is no next page.
    pub(crate) done: bool,
    /// The path of the next page.
    pub(crate) next: Option<String>,
    pub(crate) rows: Vec<Row>,
    /// The payloads of all rows.
    pub(crate) buffer: Vec<u8>,
    /// Number of rows that could not be used: without an id, or with an invalid parent. Their content is unknown.
    pub(crate) unusable: u64,
    /// The CRM's time of the reply: unix microseconds, 0 if unknown.
    pub(crate) read_us: i64,
}

impl Page {
    /// Of no rows, with nothing after it.
    pub(crate) fn end() -> Self {
        Self {
            done: true,
            ..Self::default()
        }
    }

    /// Appends the next page.
    pub(crate) fn append(&mut self, next: Self) {
        self.unusable += next.unusable;
        self.total = self.total.max(next.total);
        self.read_us = earlier(self.read_us, next.read_us);
        let shift = self.buffer.len();
        self.buffer.extend_from_slice(&next.buffer);
        self.rows.extend(next.rows.into_iter().map(|mut row| {
            row.payload = row.payload.start + shift..row.payload.end + shift;
            row
        }));
        (self.done, self.next) = (next.done, next.next);
    }

    /// Whether the result has fewer rows than its total.
    pub(crate) fn is_short(&self) -> bool {
        self.done && self.rows.len() as u64 + self.unusable < self.total
    }
}

/// The error for [`Page::is_short`]: missing rows are not evidence of a deletion.
pub(crate) fn short() -> Error {
    Error::transient("Salesforce promised records and gave fewer")
}

/// Reads a page. `text` is the reply's body; `columns` defines the content of the rows.
pub(crate) fn read(text: &str, columns: &[Column]) -> Result<Page, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let page = PageSeed { columns }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(page)
}

struct PageSeed<'c> {
    columns: &'c [Column],
}

impl<'de> DeserializeSeed<'de> for PageSeed<'_> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageSeed<'_> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        let (mut done, mut total, mut records) = (None, None, false);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "totalSize" => total = Some(map.next_value::<u64>()?),
                "done" => done = Some(map.next_value::<bool>()?),
                "nextRecordsUrl" => page.next = map.next_value()?,
                "records" => {
                    let columns = self.columns;
                    map.next_value_seed(Rows {
                        columns,
                        page: &mut page,
                    })?;
                    records = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // A reply without these keys is not a page, whatever its status.
        page.done = done.ok_or_else(|| A::Error::missing_field("done"))?;
        page.total = total.ok_or_else(|| A::Error::missing_field("totalSize"))?;
        if !records {
            return Err(A::Error::missing_field("records"));
        }
        Ok(page)
    }
}

struct Rows<'c, 'p> {
    columns: &'c [Column],
    page: &'p mut Page,
}

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut maker = Maker::new(self.columns);
        loop {
            let seed = RowSeed {
                columns: self.columns,
                maker: &mut maker,
                buffer: &mut self.page.buffer,
            };
            match seq.next_element_seed(seed)? {
                Some(Some(row)) => self.page.rows.push(row),
                Some(None) => self.page.unusable += 1,
                None => return Ok(()),
            }
        }
    }
}

struct RowSeed<'c, 'p> {
    columns: &'c [Column],
    maker: &'p mut Maker<'c>,
    buffer: &'p mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_> {
    type Value = Option<Row>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Row>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

/// A row, or None if it cannot be used.
impl<'de> Visitor<'de> for RowSeed<'_, '_> {
    type Value = Option<Row>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_unit<E>(self) -> Result<Option<Row>, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Option<Row>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Row>, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Row>, A::Error> {
        self.maker.begin(self.buffer);
        let mut expected = 0;
        while let Some(column) = map.next_key_seed(ColumnSeed {
            columns: self.columns,
            expected,
        })? {
            let Some(at) = column else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            expected = at + 1;
            let json = map.next_value::<&RawValue>()?.get();
            self.maker.take(at, &Cell::Json(json), self.buffer);
        }
        Ok(self.maker.finish(self.buffer))
    }
}

/// Finds the column of a key: nearly always the one after the previous.
struct ColumnSeed<'c> {
    columns: &'c [Column],
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for ColumnSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for ColumnSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Option<usize>, E> {
        if self
            .columns
            .get(self.expected)
            .is_some_and(|column| column.key == key)
        {
            return Ok(Some(self.expected));
        }
        if key == "attributes" {
            return Ok(None);
        }
        if let Ok(at) = self
            .columns
            .binary_search_by(|column| column.key.as_str().cmp(key))
        {
            return Ok(Some(at));
        }
        // Names are returned in the spelling of the describe, whatever the query had.
        Ok(self
            .columns
            .iter()
            .position(|column| column.key.eq_ignore_ascii_case(key)))
    }
}

/// A query's count: the `totalSize` of a reply to `SELECT COUNT()`.
pub(crate) fn total(text: &str) -> Result<u64, serde_json::Error> {
    #[derive(Deserialize)]
    struct Total {
        #[serde(rename = "totalSize")]
        total: u64,
        #[expect(dead_code, reason = "that it is there tells a query's reply from other JSON")]
        done: bool,
    }
    serde_json::from_str::<Total>(text).map(|reply| reply.total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{OBJECTS, named};
    use crate::plan::{Plan, QUERY_BUDGET};
    use tether_connector_sdk::proto::{AmountCurrency, FieldType, SelectedField};

    fn plan(object: &'static crate::objects::CrmObject, fields: &[(&str, FieldType)]) -> Plan {
        let fields: Vec<SelectedField> = fields
            .iter()
            .map(|(k, t)| SelectedField {
                key: (*k).into(),
                r#type: (*t).into(),
                ..SelectedField::default()
            })
            .collect();
        Plan::new(object, &fields, None, QUERY_BUDGET).0
    }

    #[test]
    fn amounts_have_the_currency_of_their_record() {
        let amount = |key: &str| SelectedField {
            key: key.into(),
            r#type: FieldType::Currency.into(),
            currency: Some(AmountCurrency {
                field: "CurrencyIsoCode".into(),
                code: "USD".into(),
            }),
        };
        let selection = [amount("Amount"), amount("ExpectedRevenue")];
        let (plan, _) = Plan::new(named("Opportunity").unwrap(), &selection, None, QUERY_BUDGET);
        let page = read(
            r#"{"totalSize":4,"done":true,"records":[
              {"Id":"006000000000001AAA","Amount":12.50,"CurrencyIsoCode":"EUR","ExpectedRevenue":null},
              {"ExpectedRevenue":1E3,"CurrencyIsoCode":"CHF","Id":"006000000000002AAA","Amount":2},
              {"Id":"006000000000003AAA","Amount":3,"CurrencyIsoCode":null},
              {"Id":"006000000000004AAA","Amount":"much","CurrencyIsoCode":"EUR"}]}"#,
            &plan.parts[0],
        )
        .unwrap();
        let payloads: Vec<&str> = page.rows.iter().map(|row| payload(&page, row)).collect();
        assert_eq!(
            payloads,
            [
                r#"{"Amount":{"amount":"12.5","currency":"EUR"}}"#,
                r#"{"Amount":{"amount":"2","currency":"CHF"},"ExpectedRevenue":{"amount":"1000","currency":"CHF"}}"#,
                r#"{"Amount":{"amount":"3","currency":"USD"}}"#,
                r#"{"Amount":{"raw":"much"}}"#,
            ]
        );
    }

    fn payload<'a>(page: &'a Page, row: &Row) -> &'a str {
        std::str::from_utf8(&page.buffer[row.payload.clone()]).unwrap()
    }

    #[test]
    fn rows_become_canonical_whatever_their_order() {
        let plan = plan(
            &OBJECTS[0],
            &[
                ("Website", FieldType::Url),
                ("AnnualRevenue", FieldType::Currency),
                ("Tier__c", FieldType::Picklist),
            ],
        );
        let page = read(
            r#"{"totalSize":9,"done":false,"nextRecordsUrl":"/services/data/v62.0/query/01g-2000","records":[
              {"attributes":{"type":"Account","url":"/x"},"AnnualRevenue":950000000.0,"Id":"001000000000001AAA",
               "IsDeleted":false,"MasterRecordId":null,"Name":"Acme \u0026 Co","SystemModstamp":"2011-07-07T00:37:00.000+0000",
               "Tier__c":"gold","Website":"http://acme.com"},
              {"Website":"x.de","tier__c":null,"AnnualRevenue":1E2,"Id":"001000000000002AAA","IsDeleted":true,
               "MasterRecordId":"001000000000001AAA","Surprise":{"records":[1]},"Name":"Ä","SystemModstamp":null},
              {"Id":"001000000000003AAA"}],"extra":[]}"#,
            &plan.parts[0],
        )
        .unwrap();
        assert_eq!((page.total, page.done), (9, false));
        assert_eq!(page.next.as_deref(), Some("/services/data/v62.0/query/01g-2000"));
        let [a, b, c] = &page.rows[..] else {
            panic!("three rows")
        };
        assert_eq!(
            payload(&page, a),
            r#"{"AnnualRevenue":"950000000","Tier__c":"gold","Website":"http://acme.com"}"#
        );
        assert_eq!(
            (a.name.as_str(), a.homepage.as_str(), a.modified_us),
            ("Acme & Co", "http://acme.com", 1_309_999_020_000_000)
        );
        assert_eq!(payload(&page, b), r#"{"AnnualRevenue":"100","Website":"x.de"}"#);
        assert!(b.deleted && b.merged_into == "001000000000001AAA");
        assert_eq!(payload(&page, c), "{}");
    }

    #[test]
    fn the_first_name_that_is_set_counts() {
        let plan = plan(named("Case").unwrap(), &[]);
        let page = read(
            r#"{"totalSize":2,"done":true,"records":[
              {"AccountId":"001000000000001","CaseNumber":"00001","Id":"500000000000001AAA","Subject":"Help"},
              {"AccountId":null,"CaseNumber":"00002","Id":"500000000000002AAA","Subject":null}]}"#,
            &plan.parts[0],
        )
        .unwrap();
        assert_eq!(
            (page.rows[0].name.as_str(), page.rows[0].parent.as_str()),
            ("Help", "001000000000001AAA")
        );
        assert_eq!(
            (page.rows[1].name.as_str(), page.rows[1].parent.as_str()),
            ("00002", "")
        );
    }

    #[test]
    fn names_of_references_stand_with_them() {
        let plan = plan(
            &OBJECTS[0],
            &[
                ("OwnerId", FieldType::Reference),
                ("RecordTypeId", FieldType::Reference),
                ("OwnerExpirationNotice", FieldType::Picklist),
            ],
        );
        let page = read(
            r#"{"totalSize":2,"done":true,"records":[
              {"Id":"001000000000001AAA","Owner":{"attributes":{"type":"User","url":"/x"},"Name":"Ann \"A\" Lee"},
               "OwnerExpirationNotice":"15","OwnerId":"005x00000012Q9PAAU","RecordType":null,"RecordTypeId":null},
              {"Id":"001000000000002AAA","Owner":null,"OwnerId":"005x00000012Q9PAAU","RecordTypeId":"005x00000012Q9PAAU"}]}"#,
            &plan.parts[0],
        )
        .unwrap();
        assert_eq!(
            payload(&page, &page.rows[0]),
            r#"{"OwnerExpirationNotice":"15","OwnerId":{"id":"005x00000012Q9PAAU","label":"Ann \"A\" Lee"}}"#
        );
        let alone = r#"{"OwnerId":{"id":"005x00000012Q9PAAU"},"RecordTypeId":{"id":"005x00000012Q9PAAU"}}"#;
        assert_eq!(payload(&page, &page.rows[1]), alone);
    }

    #[test]
    fn a_row_that_cannot_be_used_costs_no_other() {
        let plan = plan(named("Contact").unwrap(), &[("LastName", FieldType::Text)]);
        let page = read(
            r#"{"totalSize":7,"done":true,"records":[
              {"Id":"003000000000001AAA","AccountId":null,"LastName":"a\u0000b","Name":null},
              {"Id":null,"LastName":"x"},{"LastName":"y"},{"Id":"no id"},null,
              {"Id":"003000000000002AAA","AccountId":{"id":"x"}},
              {"Id":"003000000000003","AccountId":"001000000000001","LastName":"c"}]}"#,
            &plan.parts[0],
        )
        .unwrap();
        assert_eq!(page.unusable, 5);
        let [a, c] = &page.rows[..] else {
            panic!("two rows")
        };
        assert_eq!(
            (payload(&page, a), a.name.as_str()),
            ("{\"LastName\":\"ab\"}", "")
        );
        assert_eq!(
            (payload(&page, c), c.id.as_str()),
            (r#"{"LastName":"c"}"#, "003000000000003AAA")
        );
        assert_eq!(c.parent, "001000000000001AAA");
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let plan = plan(&OBJECTS[0], &[]);
        for text in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"totalSize":1,"done":true}"#,
            r#"{"totalSize":1,"records":[]}"#,
            r#"{"done":true,"records":[]}"#,
            r#"{"totalSize":null,"done":true,"records":[]}"#,
            r#"{"totalSize":1,"done":true,"records":null}"#,
            r#"{"totalSize":1,"done":true,"records":{}}"#,
            r#"{"totalSize":1,"done":false,"nextRecordsUrl":7,"records":[]}"#,
            r#"{"totalSize":1,"done":true,"records":[{"Id":"001000000000001AAA"#,
            r#"{"totalSize":1,"done":true,"records":[]} trailing"#,
        ] {
            assert!(read(text, &plan.parts[0]).is_err(), "{text}");
        }
        assert!(
            read(r#"{"totalSize":0,"done":true,"records":[]}"#, &plan.parts[0])
                .unwrap()
                .rows
                .is_empty()
        );
        assert_eq!(total(r#"{"totalSize":42,"done":true,"records":[]}"#).unwrap(), 42);
    }
}
