//! Converts rows to records, and joins the parts of a split selection.

use std::collections::HashMap;

use bytes::Bytes;
use tether_connector_sdk::proto::{Parent, Record};

use crate::objects::{COMPANY, CrmObject};
use crate::page::Page;
use crate::row::Row;

/// The records of a whole page.
pub(crate) fn records(object: &CrmObject, page: Page) -> Vec<Record> {
    let payloads = Bytes::from(page.buffer);
    page.rows
        .into_iter()
        .map(|row| {
            let payload = payloads.slice(row.payload.clone());
            record(object, row, payload)
        })
        .collect()
}

/// Joins the parts by id. The first part has the columns that are not payload. For rows that are not the same in all
/// parts, because they changed between two queries, only the ids are returned.
pub(crate) fn merge(object: &CrmObject, mut parts: Vec<Page>) -> (Vec<Record>, Vec<String>) {
    if parts.len() == 1 {
        return (
            parts.pop().map(|page| records(object, page)).unwrap_or_default(),
            Vec::new(),
        );
    }
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_default();
    let mut rest: Vec<(HashMap<String, Row>, Vec<u8>)> = parts
        .map(|page| {
            (
                page.rows.into_iter().map(|row| (row.id.clone(), row)).collect(),
                page.buffer,
            )
        })
        .collect();
    let mut records = Vec::with_capacity(first.rows.len());
    let mut torn = Vec::new();
    for row in first.rows {
        let inner = |range: std::ops::Range<usize>| range.start + 1..range.end - 1;
        let mut payload = vec![b'{'];
        payload.extend_from_slice(&first.buffer[inner(row.payload.clone())]);
        let mut whole = true;
        for (rows, buffer) in &mut rest {
            match rows.remove(&row.id) {
                Some(part) if part.modified_us == row.modified_us => {
                    let range = inner(part.payload);
                    if !range.is_empty() && payload.len() > 1 {
                        payload.push(b',');
                    }
                    payload.extend_from_slice(&buffer[range]);
                }
                _ => whole = false,
            }
        }
        if whole {
            payload.push(b'}');
            records.push(record(object, row, payload.into()));
        } else {
            torn.push(row.id);
        }
    }
    // A row that only a later part has became visible in the meantime.
    for (rows, _) in rest {
        torn.extend(rows.into_keys());
    }
    torn.sort();
    torn.dedup();
    (records, torn)
}

fn record(object: &CrmObject, row: Row, payload: Bytes) -> Record {
    let parent = |id: String| Parent {
        object: COMPANY.to_owned(),
        external_id: id,
    };
    Record {
        external_id: row.id,
        payload,
        modified_us: row.modified_us,
        deleted: row.deleted,
        parents: if object.parent.is_some() && !row.parent.is_empty() {
            vec![parent(row.parent)]
        } else {
            Vec::new()
        },
        merged_into: if row.deleted {
            row.merged_into
        } else {
            String::new()
        },
        display_name: row.name,
        homepage: row.homepage,
        // `Website` is the only standard field of an account for the homepage.
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::OBJECTS;

    fn page(rows: &[(&str, i64, &str)]) -> Page {
        let mut page = Page::default();
        for (id, modified_us, payload) in rows {
            let start = page.buffer.len();
            page.buffer.extend_from_slice(payload.as_bytes());
            page.rows.push(Row {
                id: (*id).into(),
                modified_us: *modified_us,
                payload: start..page.buffer.len(),
                ..Row::default()
            });
        }
        page
    }

    #[test]
    fn parts_are_put_together_in_order() {
        let parts = vec![
            page(&[("a", 1, r#"{"A":1}"#), ("b", 1, "{}"), ("c", 1, "{}")]),
            page(&[("a", 1, r#"{"B":2}"#), ("b", 1, r#"{"B":2}"#), ("c", 1, "{}")]),
            page(&[("c", 1, "{}"), ("a", 1, r#"{"C":3,"D":4}"#), ("b", 1, "{}")]),
        ];
        let (records, torn) = merge(&OBJECTS[0], parts);
        let payloads: Vec<&[u8]> = records.iter().map(|r| &r.payload[..]).collect();
        assert_eq!(
            payloads,
            [&br#"{"A":1,"B":2,"C":3,"D":4}"#[..], br#"{"B":2}"#, b"{}"]
        );
        assert!(torn.is_empty());
    }

    #[test]
    fn torn_rows_are_named_and_not_given() {
        let parts = vec![
            page(&[("a", 1, "{}"), ("b", 1, "{}"), ("c", 1, "{}")]),
            page(&[("a", 2, "{}"), ("c", 1, "{}"), ("d", 1, "{}")]),
        ];
        let (records, torn) = merge(&OBJECTS[0], parts);
        assert_eq!(
            records.iter().map(|r| r.external_id.as_str()).collect::<Vec<_>>(),
            ["c"]
        );
        assert_eq!(torn, ["a", "b", "d"]);
    }
}
