//! The columns of a job: those of the plan, with the parts of compound fields instead of them. Bulk refuses compound fields.

use std::borrow::Cow;

use tether_connector_sdk::proto::{FieldType, ObjectFields};

use crate::plan::{Column, Plan};
use crate::row::{Cell, Maker, Row};
use crate::values;

/// The parts that only organizations with picklists of countries and states have.
const OPTIONAL_PARTS: [&str; 2] = ["CountryCode", "StateCode"];
/// The largest query.
const MOST_CHARACTERS: usize = 100_000;

/// Where the value of a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// In one column of the result.
    Column(usize),
    /// In several; None is a part that the object does not have.
    Parts(Vec<Option<usize>>),
}

/// The columns of a job.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<Column>,
    from: Vec<From>,
    /// The names that are queried, each once.
    pub(crate) asked: Vec<String>,
}

impl Layout {
    /// The columns of a plan. None if a compound field cannot be put together, because not all of its parts are known; REST
    /// returns it whole.
    pub(crate) fn new(plan: &Plan, seen: Option<&ObjectFields>) -> Option<Self> {
        let columns = plan.whole();
        let mut asked: Vec<String> = Vec::with_capacity(columns.len());
        let mut place = |name: &str| {
            let known = asked.iter().position(|one| one.eq_ignore_ascii_case(name));
            known.unwrap_or_else(|| {
                asked.push(name.to_owned());
                asked.len() - 1
            })
        };
        let mut from = Vec::with_capacity(columns.len());
        for column in &columns {
            from.push(match column.kind {
                Some(FieldType::Address | FieldType::Location) => {
                    let parts = parts(column, seen?)?;
                    let parts = parts.iter().map(|part| part.as_deref().map(&mut place));
                    From::Parts(parts.collect())
                }
                _ => From::Column(place(&column.asked)),
            });
        }
        let layout = Self { columns, from, asked };
        (layout.asked.join(",").len() + 500 < MOST_CHARACTERS).then_some(layout)
    }

    /// Whether a field is queried only as a part of a compound one.
    pub(crate) fn is_part(&self, key: &str) -> bool {
        let is = |name: &String| name.eq_ignore_ascii_case(key);
        self.asked.iter().any(is) && !self.columns.iter().any(|column| is(&column.asked))
    }

    /// The order of the queried names in a result, from its first record. None if that is not a header, or lacks a name.
    pub(crate) fn order<'a>(&self, header: impl Iterator<Item = &'a [u8]>) -> Option<Vec<usize>> {
        let header: Vec<Cow<'_, str>> = header.map(String::from_utf8_lossy).collect();
        let place = |name: &String| header.iter().position(|one| one.eq_ignore_ascii_case(name));
        self.asked.iter().map(place).collect()
    }

    /// Makes a row of the values of a record; `value` returns one by its place in `asked`. None if it cannot be used.
    pub(crate) fn row<'a>(
        &self,
        maker: &mut Maker<'_>,
        value: impl Fn(usize) -> &'a [u8],
        buffer: &mut Vec<u8>,
    ) -> Option<Row> {
        let text = |at: usize| text(value(at));
        maker.begin(buffer);
        for (at, from) in self.from.iter().enumerate() {
            match from {
                From::Column(place) => maker.take(at, &Cell::Text(&text(*place)), buffer),
                From::Parts(places) => {
                    let parts = places.iter().map(|place| place.map_or(Cow::Borrowed(""), text));
                    let parts: Vec<Cow<'_, str>> = parts.collect();
                    maker.take(at, &Cell::Parts(&parts), buffer);
                }
            }
        }
        maker.finish(buffer)
    }
}

/// A value as REST would return it: invalid UTF-8 is replaced, and NULs are left out.
fn text(value: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(value);
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "")),
        false => text,
    }
}

/// The fields that a compound field consists of: `BillingCity` of `BillingAddress`, `HQ__Latitude__s` of `HQ__c`. None if some
/// of them are not known: a custom address has no fields for the names of country and state.
fn parts(column: &Column, seen: &ObjectFields) -> Option<Vec<Option<String>>> {
    let names: &[(&str, &str)] = match column.kind {
        Some(FieldType::Address) => &values::ADDRESS,
        _ => &values::LOCATION,
    };
    let name = |part: &str| match column.key.strip_suffix("__c") {
        Some(custom) => Some(format!("{custom}__{part}__s")),
        None => column
            .key
            .strip_suffix("Address")
            .map(|prefix| format!("{prefix}{part}")),
    };
    let one = |(_, part): &(&str, &str)| {
        let name = name(part)?;
        let has = seen.fields.iter().any(|field| field.key == name);
        match has {
            true => Some(Some(name)),
            false => OPTIONAL_PARTS.contains(part).then_some(None),
        }
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use tether_connector_sdk::proto::{Field, SelectedField};

    use super::*;
    use crate::objects::OBJECTS;
    use crate::plan::QUERY_BUDGET;

    fn layout(selected: &[(&str, FieldType)], seen: &[&str]) -> Option<Layout> {
        let seen = ObjectFields {
            fields: seen
                .iter()
                .chain(["Id", "SystemModstamp"].iter())
                .map(|key| Field {
                    key: (*key).to_owned(),
                    r#type: selected
                        .iter()
                        .find(|(selected, _)| selected == key)
                        .map_or(FieldType::Text, |(_, kind)| *kind)
                        .into(),
                    ..Field::default()
                })
                .collect(),
            ..ObjectFields::default()
        };
        let fields = selected.iter().map(|(key, kind)| SelectedField {
            key: (*key).to_owned(),
            r#type: (*kind).into(),
            ..SelectedField::default()
        });
        let fields: Vec<SelectedField> = fields.collect();
        let (plan, _) = Plan::new(&OBJECTS[0], &fields, Some(&seen), QUERY_BUDGET);
        Layout::new(&plan, Some(&seen))
    }

    const ADDRESS: (&str, FieldType) = ("BillingAddress", FieldType::Address);
    const PARTS: [&str; 6] = [
        "BillingAddress",
        "BillingCity",
        "BillingCountry",
        "BillingPostalCode",
        "BillingState",
        "BillingStreet",
    ];

    #[test]
    fn compounds_are_queried_in_parts() {
        let city = ("BillingCity", FieldType::Text);
        let layout = layout(&[ADDRESS, city], &PARTS).unwrap();
        let asked = [
            "BillingCity",
            "BillingCountry",
            "BillingPostalCode",
            "BillingState",
            "BillingStreet",
            "Id",
            "SystemModstamp",
        ];
        assert_eq!(layout.asked, asked);
        assert!(layout.is_part("BillingStreet") && !layout.is_part("BillingCity") && !layout.is_part("Name"));
        // In another order, in another spelling.
        let header = [
            "id",
            "SystemModstamp",
            "BillingStreet",
            "BillingState",
            "BillingPostalCode",
            "BillingCountry",
            "BillingCity",
            "More",
        ];
        let order = layout.order(header.iter().map(|name| name.as_bytes())).unwrap();
        assert_eq!(order, [6, 5, 4, 3, 2, 0, 1]);
        assert_eq!(layout.order(header[1..].iter().map(|name| name.as_bytes())), None);
        let record = [
            "001000000000001AAA",
            "2026-01-31T09:30:00.000Z",
            "",
            "",
            "",
            "X",
            "A\0\u{301}",
        ];
        let mut buffer = Vec::new();
        let mut maker = Maker::new(&layout.columns);
        let row = layout
            .row(&mut maker, |at| record[order[at]].as_bytes(), &mut buffer)
            .unwrap();
        assert_eq!(row.id, "001000000000001AAA");
        let payload = String::from_utf8(buffer).unwrap();
        assert_eq!(
            payload,
            "{\"BillingAddress\":{\"city\":\"A\u{301}\",\"country\":\"X\"},\"BillingCity\":\"A\u{301}\"}"
        );
    }

    #[test]
    fn what_cannot_be_put_together_is_left_to_rest() {
        assert!(layout(&[ADDRESS], &PARTS).is_some());
        assert!(layout(&[ADDRESS], &PARTS[..5]).is_none(), "without the street");
        let place = ("HQ__c", FieldType::Location);
        assert!(layout(&[place], &["HQ__c", "HQ__Latitude__s", "HQ__Longitude__s"]).is_some());
        assert!(layout(&[place], &["HQ__c", "HQ__Latitude__s"]).is_none());
        let own = ("Plant__c", FieldType::Address);
        let parts = [
            "Plant__c",
            "Plant__City__s",
            "Plant__CountryCode__s",
            "Plant__PostalCode__s",
            "Plant__StateCode__s",
            "Plant__Street__s",
        ];
        assert!(layout(&[own], &parts).is_none());
        // Without a description nothing is known of parts; other fields are queried as they are.
        let field = |key: &str, kind: FieldType| SelectedField {
            key: key.to_owned(),
            r#type: kind.into(),
            ..SelectedField::default()
        };
        let plan = |fields: &[SelectedField]| Plan::new(&OBJECTS[0], fields, None, QUERY_BUDGET).0;
        assert!(Layout::new(&plan(&[field("BillingAddress", FieldType::Address)]), None).is_none());
        assert!(Layout::new(&plan(&[field("Name", FieldType::Text)]), None).is_some());
        // Too wide for a job, too.
        let wide: Vec<SelectedField> = (0..3_000)
            .map(|number| {
                field(
                    &format!("A_rather_long_name_of_a_field_{number:04}__c"),
                    FieldType::Text,
                )
            })
            .collect();
        assert!(Layout::new(&plan(&wide), None).is_none());
        assert!(Layout::new(&plan(&wide[..800]), None).is_some());
    }
}
