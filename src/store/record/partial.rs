//! Rows of which some fields were read. They are put into the stored records; names, homepages and parents stay.
//!
//! The time of reading of a record stays, too: it is that of its other fields. A row that is not stored, or that the CRM changed
//! after the stored one, has to be read in full: it is noted as wanted.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    Counters, Parent, Record, RecordBatch, RecordRow,
    apply::{Changes, Entries, Existing, Gone, Put},
    postgres,
    read::{existing_range, parents},
    sqlite, write,
};
use crate::domain::{IntegrationId, Micros, ReadClock, ReadTime, name_key};
use crate::store::{Error, complete_range::Piece, conn::Conn, wanted};

/// Stored records in memory at the same time.
const RECORDS_AT_ONCE: usize = 250;

/// Applies a batch of partial rows; both lists are sorted by key. The head of the data set is locked.
pub(super) fn store(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    batch: &RecordBatch,
    fields: &[String],
    (existing, rows): (&[Existing], &[&RecordRow]),
    now_us: Micros,
) -> Result<Counters, Error> {
    let object = batch.object.as_str();
    let mut counters = Counters {
        read: batch.rows.len() as i64,
        ..Counters::default()
    };
    let sorted = sort(batch, existing, rows);
    wanted::add(conn, integration_id, object, &sorted.wanted)?;
    for some in sorted.gone.chunks(RECORDS_AT_ONCE) {
        let mut changes = Changes::none();
        for (row, before, read) in some {
            *change_no += 1;
            changes.gone.push(Gone {
                external_id: &row.external_id,
                before,
                merged_into: row.merged_into.as_deref(),
                modified_us: row.modified_us,
                read: *read,
                change_no: *change_no,
            });
        }
        counters.removed += some.len() as i64;
        write::write(conn, integration_id, object, &changes, Entries::Now, now_us)?;
    }
    if !fields.is_empty() {
        for some in sorted.live.chunks(RECORDS_AT_ONCE) {
            let merged = merge_all(conn, integration_id, object, fields, some)?;
            let mut changes = Changes::none();
            for (row, old) in &merged {
                *change_no += 1;
                changes.puts.push(Put {
                    row,
                    name_key: name_key(&row.name),
                    read: old.read,
                    clock: old.read.clock.number(),
                    change_no: *change_no,
                    before: Some(old),
                });
            }
            counters.written += merged.len() as i64;
            write::write(conn, integration_id, object, &changes, Entries::Now, now_us)?;
        }
    }
    counters.unchanged = counters.read - counters.written - counters.removed;
    Ok(counters)
}

/// Records of which fields are dropped at once.
const DROPPED_AT_ONCE: i64 = 1_000;

/// Drops fields that are no longer selected from the records of an object whose ids come after this one. Returns the last of
/// them, to go on from, or `None` at the end. The head of the data set is locked.
pub(in crate::store) fn drop_fields(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    (object, fields): (&str, &[String]),
    after: &str,
    now_us: Micros,
) -> Result<Option<String>, Error> {
    let piece = Piece {
        from: format!("{after}\u{1}"),
        to: String::new(),
        lengths: None,
    };
    let existing = existing_range(conn, integration_id, object, &piece, DROPPED_AT_ONCE)?;
    let live = existing.iter().filter(|old| !old.deleted);
    let rows: Vec<RecordRow> = live.map(|old| without_fields(&old.external_id)).collect();
    let batch = RecordBatch {
        object: object.to_owned(),
        rows: Vec::new(),
        complete_range: None,
        // No row is older than what is stored: nothing was read.
        read: ReadTime {
            us: 0,
            clock: ReadClock::UNKNOWN,
        },
        partial: None,
    };
    let rows: Vec<&RecordRow> = rows.iter().collect();
    let seen = (existing.as_slice(), rows.as_slice());
    store(conn, integration_id, change_no, &batch, fields, seen, now_us)?;
    let is_full = existing.len() as i64 == DROPPED_AT_ONCE;
    Ok(existing
        .into_iter()
        .next_back()
        .filter(|_| is_full)
        .map(|last| last.external_id))
}

fn without_fields(external_id: &str) -> RecordRow {
    RecordRow {
        external_id: external_id.to_owned(),
        company_id: None,
        name: String::new(),
        homepage: None,
        payload: "{}".to_owned(),
        hash: 0,
        modified_us: 0,
        read_us: 0,
        deleted: false,
        merged_into: None,
        parents: Vec::new(),
    }
}

/// The rows of a batch by what is to be done with them.
#[derive(Default)]
struct Sorted<'a> {
    /// They are put into these records.
    live: Vec<(&'a RecordRow, &'a Existing)>,
    gone: Vec<(&'a RecordRow, &'a Existing, ReadTime)>,
    /// To be read in full.
    wanted: Vec<&'a str>,
}

fn sort<'a>(batch: &RecordBatch, existing: &'a [Existing], rows: &[&'a RecordRow]) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for &row in rows {
        let found = existing.binary_search_by(|old| old.external_id.cmp(&row.external_id));
        let old = found.ok().and_then(|at| existing.get(at));
        let read = ReadTime {
            us: row.read_us,
            ..batch.read
        };
        match old {
            // It was read in full since.
            Some(old) if read.is_before(old.read) => {}
            Some(old) if row.deleted => {
                if !old.deleted {
                    sorted.gone.push((row, old, read));
                }
            }
            Some(old) if !old.deleted => {
                sorted.live.push((row, old));
                if row.modified_us > old.modified_us {
                    sorted.wanted.push(&row.external_id);
                }
            }
            None if row.deleted => {}
            _ => sorted.wanted.push(&row.external_id),
        }
    }
    sorted
}

/// The stored records with the fields of these rows, as far as that changes them.
fn merge_all<'a>(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    fields: &[String],
    rows: &[(&'a RecordRow, &'a Existing)],
) -> Result<Vec<(RecordRow, &'a Existing)>, Error> {
    let ids: Vec<&str> = rows.iter().map(|(row, _)| row.external_id.as_str()).collect();
    let mut records: Vec<Record> = match conn {
        Conn::Sqlite(c) => sqlite::read::live(c, integration_id, object, &ids)?,
        Conn::Postgres(c) => postgres::read::live(c, integration_id, object, &ids)?,
    };
    records.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
    let mut changed = Vec::new();
    for (row, old) in rows {
        let Ok(at) = records.binary_search_by(|record| record.external_id.cmp(&row.external_id)) else {
            continue;
        };
        let Some(payload) = merge(&records[at].payload, &row.payload, fields)? else {
            continue;
        };
        changed.push((at, payload, *old));
    }
    let ids: Vec<&str> = changed
        .iter()
        .map(|(at, ..)| records[*at].external_id.as_str())
        .collect();
    let links = parents(conn, integration_id, object, &ids)?;
    let merged = changed.into_iter().map(|(at, payload, old)| {
        let record = &records[at];
        let of = links.iter().filter(|(child, _)| *child == record.external_id);
        let parents = of.map(|(_, parent)| parent.clone()).collect();
        (whole(record, payload, parents), old)
    });
    Ok(merged.collect())
}

/// A stored record with another payload.
fn whole(record: &Record, payload: String, mut parents: Vec<Parent>) -> RecordRow {
    parents.sort();
    let homepage = record.homepage.as_deref().unwrap_or_default();
    RecordRow {
        hash: super::row_hash(
            &payload,
            &record.name,
            homepage,
            record.company_id.is_some(),
            &parents,
        ),
        external_id: record.external_id.clone(),
        company_id: record.company_id,
        name: record.name.clone(),
        homepage: record.homepage.clone(),
        payload,
        modified_us: record.modified_us,
        read_us: record.read_us,
        deleted: false,
        merged_into: None,
        parents,
    }
}

/// A stored payload with some fields of another one; `None` if that is the same. Both are canonical: JSON objects whose keys
/// are sorted by bytes.
fn merge(stored: &str, partial: &str, fields: &[String]) -> Result<Option<String>, Error> {
    type Fields<'a> = BTreeMap<String, &'a RawValue>;
    let corrupt = |error: serde_json::Error| Error::Corrupt(error.to_string());
    let mut all: Fields<'_> = serde_json::from_str(stored).map_err(corrupt)?;
    let mut new: Fields<'_> = serde_json::from_str(partial).map_err(corrupt)?;
    for field in fields {
        match new.remove(field) {
            Some(value) => all.insert(field.clone(), value),
            None => all.remove(field),
        };
    }
    let merged = serde_json::to_string(&all).map_err(corrupt)?;
    Ok(Some(merged).filter(|merged| merged != stored))
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn fields_of_one_payload_are_put_into_another() {
        let merged = |stored: &str, partial: &str, fields: &[&str]| {
            let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            merge(stored, partial, &fields).unwrap()
        };
        let stored = r#"{"A":1,"C":"c","É":{"id":"x","label":"y"}}"#;
        for (partial, fields, expected) in [
            // A new field, in its place; the bytes of the others stay.
            (
                r#"{"B":"1.50"}"#,
                &["B"][..],
                r#"{"A":1,"B":"1.50","C":"c","É":{"id":"x","label":"y"}}"#,
            ),
            (
                r#"{"A":2}"#,
                &["A"],
                r#"{"A":2,"C":"c","É":{"id":"x","label":"y"}}"#,
            ),
            // A field that was read and has no value.
            ("{}", &["C"], r#"{"A":1,"É":{"id":"x","label":"y"}}"#),
            (r#"{"É":[]}"#, &["É"], r#"{"A":1,"C":"c","É":[]}"#),
            // What is not listed does not count.
            (
                r#"{"A":9,"B":1}"#,
                &["B"],
                r#"{"A":1,"B":1,"C":"c","É":{"id":"x","label":"y"}}"#,
            ),
        ] {
            assert_eq!(
                merged(stored, partial, fields).as_deref(),
                Some(expected),
                "{partial}"
            );
        }
        assert_eq!(merged(stored, r#"{"A":1}"#, &["A"]), None);
        assert_eq!(merged(stored, "{}", &["B"]), None);
        assert_eq!(merged("{}", "{}", &["B"]), None);
    }
}
