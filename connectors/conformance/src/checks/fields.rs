//! Fields and counts.

use std::collections::HashSet;

use tether_connector_host::proto::{CountRecordsRequest, FieldType, ListFieldsRequest, ObjectFields};

use super::check::Check;
use crate::connector::CALL_TIMEOUT;
use crate::finding::{CheckResult, Context as _, Findings};
use crate::quirks::Lack;
use crate::world::World;

pub(super) const LISTED: Check = Check {
    id: "fields.listed",
    title: "ListFields lists every object of Describe, the same each time, with keys, labels and types",
    why: "Users choose from this list, and a selection is stored as its keys.",
    spec: &["FIELD-1", "FIELD-2", "FIELD-3", "FIELD-4"],
    run: |world| Box::pin(listed(world)),
};

pub(super) const COUNTED: Check = Check {
    id: "fields.counted",
    title: "CountRecords returns the numbers of records of a full read",
    why: "The review shows these numbers before an integration is saved.",
    spec: &["FIELD-5"],
    run: |world| Box::pin(counted(world)),
};

async fn listed(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let described = world.description(&connector).await?.clone();
    let first = world.listed(&connector).await?.to_vec();
    let connection = Some(world.log_in(&connector).await?);
    let other = world.open().await?;
    let request = ListFieldsRequest {
        connection: connection.clone(),
        objects: Vec::new(),
    };
    let again = other
        .list_fields(request, CALL_TIMEOUT)
        .await
        .context("ListFields")?
        .objects;
    findings.unless(again == first, || {
        "two calls on an unchanged CRM return different answers".to_owned()
    });
    let keys = |objects: &[ObjectFields]| {
        objects
            .iter()
            .map(|object| object.object.clone())
            .collect::<Vec<_>>()
    };
    let expected: Vec<_> = described
        .objects
        .iter()
        .map(|object| object.key.clone())
        .collect();
    findings.unless(keys(&first) == expected, || {
        format!(
            "it lists {:?}; expected {expected:?} as in Describe, in this order",
            keys(&first)
        )
    });
    for object in &first {
        let name = &object.object;
        findings.unless(object.visible || object.fields.is_empty(), || {
            format!("{name} is not visible and has fields")
        });
        findings.unless(!object.visible || !object.fields.is_empty(), || {
            format!("{name} is visible and has no fields")
        });
        let mut keys = HashSet::new();
        for field in &object.fields {
            findings.unless(!field.key.is_empty() && !field.label.is_empty(), || {
                format!("{name}.{} has no key or no label", field.key)
            });
            findings.unless(keys.insert(&field.key), || {
                format!("{name}.{} is listed twice", field.key)
            });
            let known = FieldType::try_from(field.r#type).is_ok_and(|kind| kind != FieldType::Unspecified);
            findings.unless(known, || {
                format!("{name}.{} has the unknown type {}", field.key, field.r#type)
            });
            let mut values = HashSet::new();
            for value in &field.picklist_values {
                findings.unless(values.insert(&value.value), || {
                    format!("{name}.{} lists the value {:?} twice", field.key, value.value)
                });
            }
        }
    }
    // One known object and an unknown one.
    let company = world.company(&connector).await?;
    let objects = vec![company.clone(), "NoSuchObjectOfTheKit".to_owned()];
    let request = ListFieldsRequest { connection, objects };
    let one = other
        .list_fields(request, CALL_TIMEOUT)
        .await
        .context("ListFields of one object and an unknown one")?
        .objects;
    findings.unless(keys(&one) == [company.clone()], || {
        format!("for {company} and an unknown object it lists {:?}", keys(&one))
    });
    let alone = first.iter().find(|object| object.object == company);
    findings.unless(one.first() == alone, || {
        format!("{company} alone has other fields than in the list of all objects")
    });
    let fields: usize = first.iter().map(|object| object.fields.len()).sum();
    findings.done(format!("{} objects, {fields} fields", first.len()))
}

async fn counted(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let visible: Vec<_> = world
        .listed(&connector)
        .await?
        .iter()
        .filter(|object| object.visible)
        .collect();
    let objects: Vec<_> = visible.iter().map(|object| object.object.clone()).collect();
    let connection = Some(world.log_in(&connector).await?);
    let request = CountRecordsRequest {
        connection,
        objects: objects.clone(),
    };
    let counts = connector
        .count_records(request, CALL_TIMEOUT)
        .await
        .context("CountRecords")?
        .counts;
    let mut counted = Vec::new();
    for object in &objects {
        let read = whole
            .records
            .iter()
            .filter(|((of, _), record)| of == object && !record.deleted)
            .count() as u64;
        findings.unless(read > 0 || world.quirks.lack(Lack::Rows).is_some(), || {
            format!("{object} has no records in the fixture: it cannot be checked")
        });
        let mut of_it = counts.iter().filter(|count| count.object == *object);
        let (Some(count), None) = (of_it.next(), of_it.next()) else {
            findings.add(format!("{object} is counted twice, or not at all"));
            continue;
        };
        let exact = if count.exact { "exactly" } else { "about" };
        let equal = if count.exact {
            count.count == read
        } else {
            (count.count == 0) == (read == 0)
        };
        findings.unless(equal, || {
            format!(
                "it counts {exact} {} of {object}; a full read returns {read}",
                count.count
            )
        });
        counted.push(format!("{object} {exact} {}", count.count));
    }
    findings.done(counted.join(", "))
}
