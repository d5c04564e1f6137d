//! Writes live reads and the batches of syncs. `apply` computes the changes of a batch, without SQL.
//!
//! Existing hashes are read first, and only changed rows are written, each with its own change number: the
//! same on both databases, with exact counters and a change feed without gaps. Payloads are text in canonical
//! form, and the hash covers everything but times: unchanged rows cost no write, and equal data has equal
//! bytes whichever API it was read from.

use std::collections::HashSet;

use diesel::{prelude::*, sql_types};

use super::{
    Counters, Parent, RecordBatch, RecordRow,
    apply::{self, Changes, Entries, Existing, Gone, Touch},
    by_company, by_parent, postgres,
    read::{children, existing_ids},
    sqlite,
};
use crate::domain::{IntegrationId, IntegrationState, Micros, ReadClock, ReadTime};
use crate::store::{Conflict, Error, Noun, Store, conn::Conn, data_set, removal_marks, wanted};

/// What a live read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The generation it was read for.
    pub generation: i64,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Children listed completely: stored ones that are not in the batches no longer hang under that parent.
    pub complete: Vec<ChildSet>,
    /// When it was read.
    pub read: ReadTime,
    /// Now.
    pub now_us: Micros,
}

/// What a live read changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    /// The integration's change number after it.
    pub change_no: i64,
    /// What happened to the rows.
    pub counters: Counters,
    /// How many children were taken from under a parent.
    pub unlinked: i64,
}

/// Children of one parent that were listed completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSet {
    /// The parent's object.
    pub parent_object: String,
    /// The parent's id in the CRM.
    pub parent_id: String,
    /// The children's object.
    pub child_object: String,
}

impl Store {
    /// Stores what a live read brought. [`Conflict::Generation`] if the account or the selection changed since.
    pub async fn record_refresh(&self, refresh: Refresh) -> Result<Refreshed, Error> {
        let id = refresh.integration_id;
        if self.integration_get(id).await?.state == IntegrationState::Deleting {
            return Err(Error::not_found(Noun::Integration, id));
        }
        self.data_write(id, move |conn| store_refresh(conn, refresh))
            .await
    }
}

fn store_refresh(conn: &mut Conn, refresh: Refresh) -> Result<Refreshed, Error> {
    let id = refresh.integration_id;
    let of = data_set::lock_for(conn, id, refresh.generation)?;
    if of.generation != refresh.generation {
        return Err(Error::conflict(
            Conflict::Generation,
            format!(
                "integration \"{id}\" is at generation {}, not {}",
                of.generation, refresh.generation
            ),
        ));
    }
    // The children that are stored of a record are looked for, and those that were read are found at once.
    let of = by_company::fill_children(conn, of)?;
    let mut change_no = of.change_no;
    let mut counters = Counters::default();
    let listed: HashSet<(String, String)> = refresh
        .batches
        .iter()
        .flat_map(|b| b.rows.iter().map(|r| (b.object.clone(), r.external_id.clone())))
        .collect();
    for mut batch in refresh.batches {
        apply::prepare(&mut batch);
        let rows = apply::newest(&batch.rows);
        let ids: Vec<&str> = rows.iter().map(|row| row.external_id.as_str()).collect();
        removal_marks::unmark(conn, id, &batch.object, &ids)?;
        if batch.read.is_before(of.partial()) {
            // Some fields of these records may have been read later, and are replaced now.
            wanted::add(conn, id, &batch.object, &ids)?;
        }
        let existing = existing_ids(conn, id, &batch.object, &ids)?;
        counters.add(&store(
            conn,
            id,
            &mut change_no,
            &batch,
            (&existing, &rows),
            (Touch::All, Entries::Now),
            refresh.now_us,
        )?);
    }
    let mut unlinked = 0;
    for set in &refresh.complete {
        unlinked += unlink(conn, id, &mut change_no, set, &listed, refresh.read)?;
    }
    data_set::set_change_no(conn, &of, change_no)?;
    Ok(Refreshed {
        change_no,
        counters,
        unlinked,
    })
}

/// Deletes the links of children that a complete listing of a parent lacks. The children may have another parent now: the next
/// sync reads them by id, or with everything, and writes them again, even if their hash is unchanged.
fn unlink(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    set: &ChildSet,
    listed: &HashSet<(String, String)>,
    read: ReadTime,
) -> Result<i64, Error> {
    let parent = Parent {
        object: set.parent_object.clone(),
        external_id: set.parent_id.clone(),
    };
    let ids = [parent.external_id.as_str()];
    let children = children(conn, integration_id, &parent.object, &ids, &set.child_object)?;
    let children: Vec<&str> = children.iter().map(|(_, child)| child.as_str()).collect();
    let stored = existing_ids(conn, integration_id, &set.child_object, &children)?;
    let mut unlinked = 0;
    for child in stored {
        let key = (set.child_object.clone(), child.external_id);
        if child.deleted || read.is_before(child.read) || listed.contains(&key) {
            continue;
        }
        wanted::add(conn, integration_id, &set.child_object, &[&key.1])?;
        *change_no += 1;
        unlinked += 1;
        by_parent::unlink(conn, integration_id, (&key.0, &key.1), &parent)?;
        diesel::sql_query(
            "UPDATE record SET hash = $1, change_no = $2 WHERE integration_id = (SELECT $3) AND object = (SELECT $4) \
             AND external_id = $5",
        )
        .bind::<sql_types::BigInt, _>(!child.hash)
        .bind::<sql_types::BigInt, _>(*change_no)
        .bind::<sql_types::Text, _>(integration_id)
        .bind::<sql_types::Text, _>(&set.child_object)
        .bind::<sql_types::Text, _>(&key.1)
        .execute(conn)?;
    }
    Ok(unlinked)
}

/// Applies a batch against the stored rows; both are sorted by key.
pub(super) fn store(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    batch: &RecordBatch,
    (existing, rows): (&[Existing], &[&RecordRow]),
    (touch, entries): (Touch, Entries),
    now_us: Micros,
) -> Result<Counters, Error> {
    let object = batch.object.as_str();
    let changes = apply::changes(existing, rows, batch, touch, change_no);
    write(conn, integration_id, object, &changes, entries, now_us)?;
    Ok(changes.counters)
}

/// Writes the changes of a batch.
pub(super) fn write(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    changes: &Changes<'_>,
    entries: Entries,
    now_us: Micros,
) -> Result<(), Error> {
    let Changes {
        puts, gone, touched, ..
    } = changes;
    let parents: Vec<&str> = gone.iter().map(|gone| gone.external_id).collect();
    wanted::add_children(conn, integration_id, object, &parents)?;
    match conn {
        Conn::Sqlite(c) => {
            sqlite::put(c, integration_id, object, puts)?;
            sqlite::gone(c, integration_id, object, gone, now_us)?;
            sqlite::touch(c, integration_id, object, touched)?;
        }
        Conn::Postgres(c) => {
            postgres::put(c, integration_id, object, puts)?;
            postgres::gone(c, integration_id, object, gone, now_us)?;
            postgres::touch(c, integration_id, object, touched)?;
        }
    }
    by_parent::write(conn, integration_id, object, changes, entries)?;
    by_company::write(conn, integration_id, object, changes, entries)
}

/// Removes rows that a listing lacked, unless they were read after it; returns how many. They are sorted by id; the
/// integration is locked.
pub(in crate::store) fn remove(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    change_no: &mut i64,
    lacking: &[(String, Micros, i64)],
    now_us: Micros,
) -> Result<i64, Error> {
    let ids: Vec<&str> = lacking.iter().map(|(id, ..)| id.as_str()).collect();
    let existing = existing_ids(conn, integration_id, object, &ids)?;
    let mut gone = Vec::with_capacity(existing.len());
    for old in &existing {
        let Ok(at) = lacking.binary_search_by(|(id, ..)| id.cmp(&old.external_id)) else {
            continue;
        };
        let (_, us, clock) = &lacking[at];
        let read = ReadTime {
            us: *us,
            clock: ReadClock::from_number(*clock),
        };
        if old.deleted || read.is_before(old.read) {
            continue;
        }
        *change_no += 1;
        gone.push(Gone {
            external_id: &old.external_id,
            before: old,
            merged_into: None,
            modified_us: old.modified_us,
            read,
            change_no: *change_no,
        });
    }
    let changes = Changes {
        gone,
        ..Changes::none()
    };
    match conn {
        Conn::Sqlite(c) => sqlite::gone(c, integration_id, object, &changes.gone, now_us)?,
        Conn::Postgres(c) => postgres::gone(c, integration_id, object, &changes.gone, now_us)?,
    }
    by_parent::write(conn, integration_id, object, &changes, Entries::Now)?;
    by_company::write(conn, integration_id, object, &changes, Entries::Now)?;
    Ok(changes.gone.len() as i64)
}
