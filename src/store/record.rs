//! Records: what came from the CRMs, their links, and the feed of their changes.

use std::collections::{HashMap, HashSet};

use diesel::{prelude::*, sql_types};

use super::{
    Conflict, Error, Integration, Store,
    conn::{Conn, each},
    covers::{Covers, Piece},
    integration, postgres,
    removal::{self, Marks},
    schema::{integration as integration_table, meta, record, record_link},
    sqlite,
};
use crate::domain::{CompanyId, IntegrationId, IntegrationState, Micros, ReadClock, ReadTime};

mod apply;

use apply::Changes;
pub(super) use apply::{By, Existing, Gone, Link, Put, Touched};

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = record)]
pub struct Record {
    /// Of which integration.
    pub integration_id: IntegrationId,
    /// The object's key.
    pub object: String,
    /// Its id in the CRM.
    pub external_id: String,
    /// The company it is, for company records.
    pub company_id: Option<CompanyId>,
    /// The name people know it by.
    pub name: String,
    /// What it is sorted by.
    pub name_key: String,
    /// The texts that may be the homepage, as they stand in the CRM, one a line (identity.rs reads them).
    pub homepage: Option<String>,
    /// The selected fields, one JSON object.
    pub payload: String,
    /// Of everything that came with it but times.
    pub hash: i64,
    /// When it was last changed in the CRM; 0 for unknown.
    pub modified_us: Micros,
    /// When it was read, by the clock `read_clock`.
    pub read_us: Micros,
    /// When it turned out to be gone. What it held is gone too then.
    pub delete_us: Option<Micros>,
    /// The record it was merged into.
    pub merged_into: Option<String>,
    /// The change number of its last change.
    pub change_no: i64,
    /// Whose clock `read_us` is of: the number of a [`ReadClock`].
    pub read_clock: i64,
}

/// A record that another hangs under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    /// The parent's object.
    pub object: String,
    /// The parent's id in the CRM.
    pub external_id: String,
}

/// A row to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// Its id in the CRM.
    pub external_id: String,
    /// The company it is, for company records.
    pub company_id: Option<CompanyId>,
    /// The name people know it by.
    pub name: String,
    /// The texts that may be the homepage, as they stand in the CRM, one a line (identity.rs reads them).
    pub homepage: Option<String>,
    /// The selected fields, one canonical JSON object.
    pub payload: String,
    /// Of everything here but times: payload, name, homepage, company and parents. Rows with the hash that is stored are
    /// not written.
    pub hash: i64,
    /// When it was last changed in the CRM; 0 for unknown.
    pub modified_us: Micros,
    /// When it was read, by the batch's clock; 0 for the batch's time.
    pub read_us: Micros,
    /// It is gone; only `merged_into` counts besides.
    pub deleted: bool,
    /// The record it was merged into.
    pub merged_into: Option<String>,
    /// The records it hangs under.
    pub parents: Vec<Parent>,
}

/// Rows of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBatch {
    /// The object's key.
    pub object: String,
    /// The rows, in any order.
    pub rows: Vec<RecordRow>,
    /// The range it lists completely: live rows in it that are not in the batch, and were not read later, are gone once the
    /// object was listed whole. Of no effect in a live read.
    pub covers: Option<Covers>,
    /// When it was read.
    pub read: ReadTime,
}

/// What happened to rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows received.
    pub read: i64,
    /// Rows stored because they were new or different.
    pub written: i64,
    /// Rows that were the same, or older than what is stored.
    pub unchanged: i64,
    /// Rows that turned out to be gone.
    pub removed: i64,
    /// Of the written ones, those that were not known before, or gone.
    pub added: i64,
}

impl Counters {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.removed += other.removed;
        self.added += other.added;
    }
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

/// One entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record as it is now.
    pub record: Record,
    /// The records it hangs under.
    pub parents: Vec<Parent>,
}

/// Where a page of related records ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelatedKey {
    /// The last one's time of change.
    pub modified_us: Micros,
    /// The last one's id.
    pub external_id: String,
}

/// Ids in one query's list: well under what either database takes.
const IDS_A_QUERY: usize = 500;

impl Store {
    /// Stores what a live read brought. [`Conflict::Generation`] if the account or the selection changed since.
    pub async fn record_refresh(&self, refresh: Refresh) -> Result<Refreshed, Error> {
        self.write(move |conn| store_refresh(conn, refresh)).await
    }

    /// One record, live or gone.
    pub async fn record_get(
        &self,
        integration_id: IntegrationId,
        object: &str,
        external_id: &str,
    ) -> Result<Option<Record>, Error> {
        let key = (integration_id, object.to_owned(), external_id.to_owned());
        self.read(move |conn| {
            Ok(record::table
                .find(key)
                .select(Record::as_select())
                .first(conn)
                .optional()?)
        })
        .await
    }

    /// The live company records of a company in these integrations.
    pub async fn record_company(
        &self,
        integration_ids: Vec<IntegrationId>,
        company_id: CompanyId,
    ) -> Result<Vec<Record>, Error> {
        self.read(move |conn| {
            Ok(record::table
                .filter(record::integration_id.eq_any(integration_ids))
                .filter(record::company_id.eq(company_id))
                .filter(record::delete_us.is_null())
                .order((record::integration_id, record::external_id))
                .select(Record::as_select())
                .load(conn)?)
        })
        .await
    }

    /// The live records of an object under these parents, last changed first, after this key, and how many there are
    /// in all.
    pub async fn record_related(
        &self,
        integration_id: IntegrationId,
        parent_object: &str,
        parent_ids: Vec<String>,
        object: &str,
        after: Option<RelatedKey>,
        limit: i64,
    ) -> Result<(Vec<Record>, i64), Error> {
        let (parent_object, object) = (parent_object.to_owned(), object.to_owned());
        self.snapshot(move |conn| {
            // Three look-ups by key instead of one clever join: its plan depends on statistics, and a database that has none
            // yet (PostgreSQL after a first load) went through every record of the object for each profile.
            let children: Vec<String> = record_link::table
                .filter(record_link::integration_id.eq(integration_id))
                .filter(record_link::parent_object.eq(&parent_object))
                .filter(record_link::parent_id.eq_any(&parent_ids))
                .filter(record_link::child_object.eq(&object))
                .select(record_link::child_id)
                .distinct()
                .load(conn)?;
            let of_object = || {
                record::table
                    .filter(record::integration_id.eq(integration_id))
                    .filter(record::object.eq(&object))
            };
            let mut live: Vec<(Micros, String)> = Vec::with_capacity(children.len());
            for some in children.chunks(IDS_A_QUERY) {
                live.extend(
                    of_object()
                        .filter(record::external_id.eq_any(some))
                        .filter(record::delete_us.is_null())
                        .select((record::modified_us, record::external_id))
                        .load::<(Micros, String)>(conn)?,
                );
            }
            let total = live.len() as i64;
            live.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            if let Some(key) = after {
                live.retain(|(modified_us, id)| {
                    *modified_us < key.modified_us
                        || (*modified_us == key.modified_us && *id > key.external_id)
                });
            }
            live.truncate(usize::try_from(limit).unwrap_or_default());
            let place: HashMap<&str, usize> = live.iter().map(|(_, id)| id.as_str()).zip(0..).collect();
            let mut rows: Vec<Record> = Vec::with_capacity(live.len());
            for some in live.chunks(IDS_A_QUERY) {
                rows.extend(
                    of_object()
                        .filter(record::external_id.eq_any(some.iter().map(|(_, id)| id)))
                        .select(Record::as_select())
                        .load(conn)?,
                );
            }
            rows.sort_by_key(|row| place.get(row.external_id.as_str()).copied());
            Ok((rows, total))
        })
        .await
    }

    /// The records that one hangs under.
    pub async fn record_parents(
        &self,
        integration_id: IntegrationId,
        object: &str,
        external_id: &str,
    ) -> Result<Vec<Parent>, Error> {
        let (object, external_id) = (object.to_owned(), external_id.to_owned());
        self.read(move |conn| {
            Ok(parents(conn, integration_id, &object, &[&external_id])?
                .into_iter()
                .map(|(_, p)| p)
                .collect())
        })
        .await
    }

    /// How many live records there are, by object. Reads all of them: for reports, not for pages.
    pub async fn record_counts(&self, integration_id: IntegrationId) -> Result<Vec<(String, i64)>, Error> {
        self.read(move |conn| {
            Ok(record::table
                .filter(
                    record::integration_id
                        .eq(integration_id)
                        .and(record::delete_us.is_null()),
                )
                .group_by(record::object)
                .order(record::object)
                .select((record::object, diesel::dsl::count_star()))
                .load(conn)?)
        })
        .await
    }

    /// The feed: records changed after this change number, each once, by the number of its last change.
    pub async fn record_changes(
        &self,
        integration_id: IntegrationId,
        after_change_no: i64,
        limit: i64,
    ) -> Result<Vec<Change>, Error> {
        self.snapshot(move |conn| {
            let rows: Vec<Record> = record::table
                .filter(
                    record::integration_id
                        .eq(integration_id)
                        .and(record::change_no.gt(after_change_no)),
                )
                .order(record::change_no)
                .limit(limit)
                .select(Record::as_select())
                .load(conn)?;
            with_parents(conn, integration_id, rows)
        })
        .await
    }

    /// The last change number of an integration.
    pub async fn record_change_no(&self, integration_id: IntegrationId) -> Result<i64, Error> {
        Ok(self.integration_get(integration_id).await?.change_no)
    }

    /// The number of the last change that may have been forgotten: who is behind it has to begin again.
    pub async fn record_forgotten(&self, integration_id: IntegrationId) -> Result<i64, Error> {
        let number = self.meta_get(&forgotten_key(integration_id)).await?;
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// Forgets up to `limit` records that turned out to be gone before this time; returns how many. Whoever follows
    /// the feed from before has to begin again.
    pub async fn record_forget(
        &self,
        integration_id: IntegrationId,
        before_us: Micros,
        limit: i64,
    ) -> Result<usize, Error> {
        self.write(move |conn| {
            let last: Option<i64> = record::table
                .filter(record::integration_id.eq(integration_id))
                .filter(record::delete_us.lt(before_us))
                .select(diesel::dsl::max(record::change_no))
                .first(conn)?;
            if let Some(last) = last {
                let (key, last) = (forgotten_key(integration_id), last.to_string());
                each!(conn, c => diesel::insert_into(meta::table)
                    .values((meta::key.eq(&key), meta::value.eq(&last)))
                    .on_conflict(meta::key)
                    .do_update()
                    .set(meta::value.eq(&last))
                    .execute(c))?;
            }
            let done = diesel::sql_query(
                "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN (SELECT object, \
                 external_id FROM record WHERE integration_id = $1 AND delete_us < $2 LIMIT $3)",
            )
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(before_us)
            .bind::<sql_types::BigInt, _>(limit)
            .execute(conn)?;
            Ok(done)
        })
        .await
    }
}

fn forgotten_key(integration_id: IntegrationId) -> String {
    format!("forgotten {integration_id}")
}

fn parents(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<(String, Parent)>, Error> {
    let rows: Vec<(String, String, String)> = match conn {
        Conn::Sqlite(c) => record_link::table
            .filter(record_link::integration_id.eq(integration_id))
            .filter(record_link::child_object.eq(object))
            .filter(record_link::child_id.eq_any(ids))
            .order((
                record_link::child_id,
                record_link::parent_object,
                record_link::parent_id,
            ))
            .select((
                record_link::child_id,
                record_link::parent_object,
                record_link::parent_id,
            ))
            .load(c)?,
        Conn::Postgres(c) => postgres::parents(c, integration_id, object, ids)?,
    };
    Ok(rows
        .into_iter()
        .map(|(child, object, external_id)| (child, Parent { object, external_id }))
        .collect())
}

fn with_parents(
    conn: &mut Conn,
    integration_id: IntegrationId,
    rows: Vec<Record>,
) -> Result<Vec<Change>, Error> {
    let mut objects: Vec<&str> = rows
        .iter()
        .filter(|r| r.company_id.is_none())
        .map(|r| r.object.as_str())
        .collect();
    objects.sort_unstable();
    objects.dedup();
    let mut links: Vec<(String, String, Parent)> = Vec::new();
    for object in objects {
        let ids: Vec<&str> = rows
            .iter()
            .filter(|r| r.object == object && r.delete_us.is_none())
            .map(|r| r.external_id.as_str())
            .collect();
        for part in ids.chunks(5000) {
            links.extend(
                parents(conn, integration_id, object, part)?
                    .into_iter()
                    .map(|(child, parent)| (object.to_owned(), child, parent)),
            );
        }
    }
    links.sort_unstable();
    Ok(rows
        .into_iter()
        .map(|record| {
            let key = (record.object.as_str(), record.external_id.as_str());
            let first = links.partition_point(|(o, c, _)| (o.as_str(), c.as_str()) < key);
            let parents = links[first..]
                .iter()
                .take_while(|(o, c, _)| (o.as_str(), c.as_str()) == key)
                .map(|(_, _, p)| p.clone())
                .collect();
            Change { record, parents }
        })
        .collect())
}

/// How many live company records an integration has.
pub(super) fn count_companies(conn: &mut Conn, integration_id: IntegrationId) -> Result<i64, Error> {
    Ok(record::table
        .filter(record::integration_id.eq(integration_id))
        .filter(record::company_id.is_not_null())
        .filter(record::delete_us.is_null())
        .count()
        .get_result(conn)?)
}

/// Removes up to `limit` records and links of an integration; returns how many.
pub(super) fn purge(conn: &mut Conn, integration_id: IntegrationId, limit: i64) -> Result<usize, Error> {
    let mut gone = 0;
    for sql in [
        "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN (SELECT object, external_id FROM \
         record WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM record_link WHERE integration_id = $1 AND (child_object, child_id, parent_object, parent_id) IN \
         (SELECT child_object, child_id, parent_object, parent_id FROM record_link WHERE integration_id = $1 LIMIT $2)",
    ] {
        gone += diesel::sql_query(sql)
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(limit)
            .execute(conn)?;
    }
    Ok(gone)
}

/// Stores the change number after a write. The integration is locked and was at `of.change_no`.
pub(super) fn set_change_no(conn: &mut Conn, of: &Integration, change_no: i64) -> Result<(), Error> {
    if change_no != of.change_no {
        diesel::update(integration_table::table.find(of.id))
            .set(integration_table::change_no.eq(change_no))
            .execute(conn)?;
    }
    Ok(())
}

fn store_refresh(conn: &mut Conn, refresh: Refresh) -> Result<Refreshed, Error> {
    let of = integration::lock(conn, refresh.integration_id)?;
    if of.state == IntegrationState::Deleting {
        return Err(Error::not_found("integration", of.id));
    }
    if of.generation != refresh.generation {
        return Err(Error::conflict(
            Conflict::Generation,
            format!(
                "integration \"{}\" is at generation {}, not {}",
                of.id, of.generation, refresh.generation
            ),
        ));
    }
    let mut change_no = of.change_no;
    let mut counters = Counters::default();
    let listed: HashSet<(String, String)> = refresh
        .batches
        .iter()
        .flat_map(|b| b.rows.iter().map(|r| (b.object.clone(), r.external_id.clone())))
        .collect();
    for batch in refresh.batches {
        counters.add(&apply(
            conn,
            of.id,
            &mut change_no,
            batch,
            By::Live,
            refresh.now_us,
        )?);
    }
    let mut unlinked = 0;
    for set in &refresh.complete {
        unlinked += unlink(conn, of.id, &mut change_no, set, &listed, refresh.read)?;
    }
    set_change_no(conn, &of, change_no)?;
    Ok(Refreshed {
        change_no,
        counters,
        unlinked,
    })
}

/// Takes children that a complete listing lacks from under their parent. They may live on under another: the next
/// sync tells, and writes them whatever their hash.
fn unlink(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    set: &ChildSet,
    listed: &HashSet<(String, String)>,
    read: ReadTime,
) -> Result<i64, Error> {
    let children: Vec<String> = record_link::table
        .filter(record_link::integration_id.eq(integration_id))
        .filter(record_link::parent_object.eq(&set.parent_object))
        .filter(record_link::parent_id.eq(&set.parent_id))
        .filter(record_link::child_object.eq(&set.child_object))
        .select(record_link::child_id)
        .load(conn)?;
    let children: Vec<&str> = children.iter().map(String::as_str).collect();
    let stored = existing_ids(conn, integration_id, &set.child_object, &children)?;
    let mut unlinked = 0;
    for child in stored {
        let key = (set.child_object.clone(), child.external_id);
        if child.deleted || read.is_before(child.read) || listed.contains(&key) {
            continue;
        }
        *change_no += 1;
        unlinked += 1;
        diesel::delete(record_link::table.find((
            integration_id,
            &set.child_object,
            &key.1,
            &set.parent_object,
            &set.parent_id,
        )))
        .execute(conn)?;
        diesel::update(record::table.find((integration_id, &set.child_object, &key.1)))
            .set((record::hash.eq(!child.hash), record::change_no.eq(*change_no)))
            .execute(conn)?;
    }
    Ok(unlinked)
}

/// Applies one batch. The integration is locked; every row that changes gets the next change number. What a sync's range
/// lacks is marked, not removed.
pub(super) fn apply(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    mut batch: RecordBatch,
    by: By,
    now_us: Micros,
) -> Result<Counters, Error> {
    apply::prepare(&mut batch);
    let rows = apply::newest(&batch.rows);
    let object = batch.object.as_str();
    let ids: Vec<&str> = rows.iter().map(|row| row.external_id.as_str()).collect();
    removal::unmark(conn, integration_id, object, &ids)?;
    let existing = match (by, &batch.covers) {
        (By::Sync { sync_id, generation }, Some(covers)) => {
            let marks = Marks {
                integration_id,
                object,
                sync_id,
                generation,
            };
            existing_listed(conn, &marks, &ids, covers, batch.read)?
        }
        _ => existing_ids(conn, integration_id, object, &ids)?,
    };
    let changes = apply::changes(&existing, &rows, &batch, by.touch(), change_no);
    let Changes {
        puts, gone, touched, ..
    } = &changes;
    let (unlink, links) = (changes.unlinked(), changes.links());
    match conn {
        Conn::Sqlite(c) => {
            sqlite::put(c, integration_id, object, puts)?;
            sqlite::gone(c, integration_id, object, gone, now_us)?;
            sqlite::touch(c, integration_id, object, touched)?;
            sqlite::unlink(c, integration_id, object, &unlink)?;
            sqlite::link(c, integration_id, object, &links)?;
        }
        Conn::Postgres(c) => {
            postgres::put(c, integration_id, object, puts)?;
            postgres::gone(c, integration_id, object, gone, now_us)?;
            postgres::touch(c, integration_id, object, touched)?;
            postgres::unlink(c, integration_id, object, &unlink)?;
            postgres::link(c, integration_id, object, &links)?;
        }
    }
    Ok(changes.counters)
}

/// Removes rows that a listing lacked, unless they were read after it; returns how many. They are sorted by id; the
/// integration is locked.
pub(super) fn remove(
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
            merged_into: None,
            modified_us: old.modified_us,
            read,
            change_no: *change_no,
        });
    }
    let unlink: Vec<&str> = gone.iter().map(|gone| gone.external_id).collect();
    match conn {
        Conn::Sqlite(c) => {
            sqlite::gone(c, integration_id, object, &gone, now_us)?;
            sqlite::unlink(c, integration_id, object, &unlink)?;
        }
        Conn::Postgres(c) => {
            postgres::gone(c, integration_id, object, &gone, now_us)?;
            postgres::unlink(c, integration_id, object, &unlink)?;
        }
    }
    Ok(gone.len() as i64)
}

/// What is stored of these rows, by key; what is stored in the range and not among them is marked. Only so much is held in
/// memory as the batch has rows, however many the range has. The ids are sorted.
fn existing_listed(
    conn: &mut Conn,
    marks: &Marks<'_>,
    ids: &[&str],
    covers: &Covers,
    read: ReadTime,
) -> Result<Vec<Existing>, Error> {
    let listed = |id: &str| ids.binary_search(&id).is_ok();
    let mut found: Vec<Existing> = Vec::with_capacity(ids.len());
    for mut piece in covers.pieces() {
        loop {
            let page = existing_range(conn, marks.integration_id, marks.object, &piece, RANGE_ROWS)?;
            let next = (page.len() as i64 == RANGE_ROWS)
                .then(|| page.last().map(|last| next_id(&last.external_id)))
                .flatten();
            let mut lacking = Vec::new();
            for old in page {
                if !covers.contains(&old.external_id) {
                } else if listed(&old.external_id) {
                    found.push(old);
                } else if !old.deleted && !read.is_before(old.read) {
                    lacking.push(old.external_id);
                }
            }
            if !lacking.is_empty() {
                let lacking: Vec<&str> = lacking.iter().map(String::as_str).collect();
                removal::mark(conn, marks, read, &lacking)?;
            }
            match next {
                Some(next) => piece.from = next,
                None => break,
            }
        }
    }
    let outside: Vec<&str> = ids.iter().copied().filter(|id| !covers.contains(id)).collect();
    found.extend(existing_ids(conn, marks.integration_id, marks.object, &outside)?);
    found.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
    Ok(found)
}

/// The first id after this one: none holds NUL.
fn next_id(id: &str) -> String {
    format!("{id}\u{1}")
}

/// Rows of a range that are looked at at once.
const RANGE_ROWS: i64 = 5_000;

/// How many live rows an object has.
pub(super) fn count_live(conn: &mut Conn, integration_id: IntegrationId, object: &str) -> Result<i64, Error> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query(
        "SELECT count(*) AS n FROM record WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND delete_us IS NULL",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::Text, _>(object)
    .get_result(conn)?;
    Ok(count.n)
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// Characters of a text.
    fn length(text: sql_types::Text) -> sql_types::Integer;
}

/// What is known of a stored row: id, hash, time of change, time of reading and its clock, time it was gone.
pub(super) type Known = (String, i64, Micros, Micros, i64, Option<Micros>);

impl From<Known> for Existing {
    fn from((external_id, hash, modified_us, read_us, read_clock, delete_us): Known) -> Self {
        Self {
            external_id,
            hash,
            modified_us,
            read: ReadTime {
                us: read_us,
                clock: ReadClock::from_number(read_clock),
            },
            deleted: delete_us.is_some(),
        }
    }
}

fn existing_range(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    piece: &Piece,
    limit: i64,
) -> Result<Vec<Existing>, Error> {
    let rows: Vec<Known> = each!(conn, c => {
        let mut range = record::table
            .filter(record::integration_id.eq(integration_id))
            .filter(record::object.eq(object))
            .filter(record::external_id.ge(&piece.from))
            .order(record::external_id)
            .limit(limit)
            .select((
                record::external_id,
                record::hash,
                record::modified_us,
                record::read_us,
                record::read_clock,
                record::delete_us,
            ))
            .into_boxed();
        if !piece.to.is_empty() {
            range = range.filter(record::external_id.le(&piece.to));
        }
        if let Some((shortest, longest)) = piece.lengths {
            range = range.filter(length(record::external_id).between(shortest, longest));
        }
        range.load(c)
    })?;
    Ok(rows.into_iter().map(Existing::from).collect())
}

fn existing_ids(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Existing>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Known> = match conn {
        Conn::Sqlite(c) => sqlite::existing(c, integration_id, object, ids)?,
        Conn::Postgres(c) => postgres::existing(c, integration_id, object, ids)?,
    };
    let mut found: Vec<Existing> = rows.into_iter().map(Existing::from).collect();
    found.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
    Ok(found)
}
