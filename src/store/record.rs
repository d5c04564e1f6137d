//! Records: what came from the CRMs, their links, and the feed of their changes.

use std::collections::{HashSet, VecDeque};

use diesel::{prelude::*, sql_types};

use super::{
    Conflict, Error, Integration, Store,
    conn::{Conn, each},
    covers::{Covers, Piece},
    integration, postgres,
    removal::{self, Marks},
    schema::{integration as integration_table, meta, record},
    sqlite,
};
use crate::domain::{CompanyId, IntegrationId, IntegrationState, Micros, ReadClock, ReadTime, SyncId};

mod apply;

use apply::{Changes, Touch};
pub(super) use apply::{Existing, Gone, Link, Put, Touched};

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable)]
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

/// A page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePage {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Nothing has changed after these, as of the moment of the reading.
    pub last: bool,
}

/// How many change numbers the feed looks at for each row it wants: a record that changed again leaves a gap, so that a
/// window of as many numbers as rows would often be short.
const FEED_WINDOW: i64 = 4;

impl Store {
    /// Stores what a live read brought. [`Conflict::Generation`] if the account or the selection changed since.
    pub async fn record_refresh(&self, refresh: Refresh) -> Result<Refreshed, Error> {
        self.write(move |conn| store_refresh(conn, refresh)).await
    }

    /// The feed: records changed after this change number, each once, by the number of its last change. A page has at most
    /// `rows` of them, and ends before they have more than `bytes` of texts together; one alone may have more.
    pub async fn record_changes(
        &self,
        integration_id: IntegrationId,
        after_change_no: i64,
        rows: i64,
        bytes: i64,
    ) -> Result<ChangePage, Error> {
        self.snapshot(move |conn| {
            let head: Option<i64> = integration_table::table
                .find(integration_id)
                .select(integration_table::change_no)
                .first(conn)
                .optional()?;
            let head = head.unwrap_or(after_change_no);
            // A window of numbers costs what is in it. "The first rows after a number" costs all rows after it, where the
            // planner expects few of them and sorts.
            let (mut after, mut window) = (after_change_no, rows.saturating_mul(FEED_WINDOW));
            let (mut rows_left, mut bytes_left) = (rows, bytes);
            let mut found: Vec<Record> = Vec::new();
            while after < head && rows_left > 0 && (bytes_left > 0 || found.is_empty()) {
                let through = after.saturating_add(window).min(head);
                // What the rows hold is asked for before they are read.
                let sizes = changed_sizes(conn, integration_id, after, through, rows_left)?;
                let mut fits = 0;
                for (_, size) in &sizes {
                    if bytes_left < *size && (fits > 0 || !found.is_empty()) {
                        break;
                    }
                    bytes_left = bytes_left.saturating_sub(*size);
                    fits += 1;
                }
                let Some((last, _)) = sizes[..fits].last() else {
                    match sizes.is_empty() {
                        true => after = through,
                        false => break,
                    }
                    window = window.saturating_mul(2);
                    continue;
                };
                found.extend(changed(conn, integration_id, after, *last, fits as i64)?);
                rows_left -= fits as i64;
                match fits == sizes.len() && rows_left > 0 {
                    // All of the window.
                    true => after = through,
                    false => {
                        after = *last;
                        break;
                    }
                }
                window = window.saturating_mul(2);
            }
            Ok(ChangePage {
                changes: with_parents(conn, integration_id, found)?,
                last: after >= head,
            })
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
            // Who changes rows holds their integration: a commit may bring one back at this moment.
            match integration::lock(conn, integration_id) {
                Err(error) if error.is_not_found() => return Ok(0),
                locked => locked?,
            };
            #[derive(QueryableByName)]
            struct Forgotten {
                #[diesel(sql_type = sql_types::BigInt)]
                change_no: i64,
            }
            const SQLITE: &str = "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN \
                (SELECT object, external_id FROM record WHERE integration_id = $1 AND delete_us < $2 LIMIT $3) \
                RETURNING change_no";
            const POSTGRES: &str = "DELETE FROM record WHERE ctid = ANY (ARRAY(SELECT ctid FROM record \
                WHERE integration_id = (SELECT $1) AND delete_us < $2 LIMIT $3)) AND delete_us < $2 RETURNING change_no";
            let done: Vec<Forgotten> = diesel::sql_query(match conn {
                Conn::Sqlite(_) => SQLITE,
                Conn::Postgres(_) => POSTGRES,
            })
            .bind::<sql_types::Text, _>(integration_id)
            .bind::<sql_types::BigInt, _>(before_us)
            .bind::<sql_types::BigInt, _>(limit)
            .load(conn)?;
            if let Some(last) = done.iter().map(|one| one.change_no).max() {
                let key = forgotten_key(integration_id);
                let known: Option<String> = meta::table
                    .find(&key)
                    .select(meta::value)
                    .first(conn)
                    .optional()?;
                // It never falls: what was forgotten stays so.
                let known = known.and_then(|known| known.parse().ok()).unwrap_or(0);
                let last = last.max(known).to_string();
                each!(conn, c => diesel::insert_into(meta::table)
                    .values((meta::key.eq(&key), meta::value.eq(&last)))
                    .on_conflict(meta::key)
                    .do_update()
                    .set(meta::value.eq(&last))
                    .execute(c))?;
            }
            Ok(done.len())
        })
        .await
    }
}

/// Where the number of the last change that was forgotten stands: the one row of `meta` that belongs to an integration.
fn forgotten_key(integration_id: IntegrationId) -> String {
    format!("forgotten {integration_id}")
}

/// The integration is gone, and with it what was forgotten of it.
pub(super) fn unforget(conn: &mut Conn, integration_id: IntegrationId) -> Result<(), Error> {
    diesel::delete(meta::table.find(forgotten_key(integration_id))).execute(conn)?;
    Ok(())
}

/// The children of an object under these parents: (parent, child).
pub(super) fn children<T: AsRef<str>>(
    conn: &mut Conn,
    integration_id: IntegrationId,
    parent_object: &str,
    parent_ids: &[T],
    object: &str,
) -> Result<Vec<(String, String)>, Error> {
    let parent_ids: Vec<&str> = parent_ids.iter().map(AsRef::as_ref).collect();
    if parent_ids.is_empty() {
        return Ok(Vec::new());
    }
    match conn {
        Conn::Sqlite(c) => sqlite::read::children(c, integration_id, parent_object, &parent_ids, object),
        Conn::Postgres(c) => postgres::read::children(c, integration_id, parent_object, &parent_ids, object),
    }
}

/// The first records of a window of change numbers, in their order. The value is hidden from PostgreSQL's planner, as in
/// `postgres::read`.
fn changed(
    conn: &mut Conn,
    integration_id: IntegrationId,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    Ok(diesel::sql_query(
        "SELECT * FROM record WHERE integration_id = (SELECT $1) AND change_no > $2 AND change_no <= $3 \
         ORDER BY change_no LIMIT $4",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::BigInt, _>(after)
    .bind::<sql_types::BigInt, _>(through)
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?)
}

/// The numbers of the first changes of such a window, and how many bytes of texts each record has.
fn changed_sizes(
    conn: &mut Conn,
    integration_id: IntegrationId,
    after: i64,
    through: i64,
    limit: i64,
) -> Result<Vec<(i64, i64)>, Error> {
    #[derive(QueryableByName)]
    struct Size {
        #[diesel(sql_type = sql_types::BigInt)]
        change_no: i64,
        #[diesel(sql_type = sql_types::BigInt)]
        bytes: i64,
    }
    // Neither database reads a long text to tell its length.
    let sizes: Vec<Size> = diesel::sql_query(
        "SELECT change_no, CAST(octet_length(payload) + octet_length(name) + octet_length(name_key) \
         + coalesce(octet_length(homepage), 0) AS BIGINT) AS bytes FROM record WHERE integration_id = (SELECT $1) \
         AND change_no > $2 AND change_no <= $3 ORDER BY change_no LIMIT $4",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::BigInt, _>(after)
    .bind::<sql_types::BigInt, _>(through)
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?;
    Ok(sizes.into_iter().map(|one| (one.change_no, one.bytes)).collect())
}

fn parents(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<(String, Parent)>, Error> {
    let rows = match conn {
        Conn::Sqlite(c) => sqlite::read::parents(c, integration_id, object, ids)?,
        Conn::Postgres(c) => postgres::read::parents(c, integration_id, object, ids)?,
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
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query(
        "SELECT count(*) AS n FROM record WHERE integration_id = (SELECT $1) AND company_id IS NOT NULL \
         AND delete_us IS NULL",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .get_result(conn)?;
    Ok(count.n)
}

/// Removes up to `limit` records and links of an integration; returns how many.
pub(super) fn purge(conn: &mut Conn, integration_id: IntegrationId, limit: i64) -> Result<usize, Error> {
    const SQLITE: [&str; 2] = [
        "DELETE FROM record WHERE integration_id = $1 AND (object, external_id) IN (SELECT object, external_id FROM \
         record WHERE integration_id = $1 LIMIT $2)",
        "DELETE FROM record_link WHERE integration_id = $1 AND (child_object, child_id, parent_object, parent_id) IN \
         (SELECT child_object, child_id, parent_object, parent_id FROM record_link WHERE integration_id = $1 LIMIT $2)",
    ];
    const POSTGRES: [&str; 2] = [
        "DELETE FROM record WHERE ctid = ANY (ARRAY(SELECT ctid FROM record WHERE integration_id = (SELECT $1) LIMIT $2))",
        "DELETE FROM record_link WHERE ctid = ANY (ARRAY(SELECT ctid FROM record_link \
         WHERE integration_id = (SELECT $1) LIMIT $2))",
    ];
    let mut gone = 0;
    for sql in match conn {
        Conn::Sqlite(_) => SQLITE,
        Conn::Postgres(_) => POSTGRES,
    } {
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
    for mut batch in refresh.batches {
        apply::prepare(&mut batch);
        let rows = apply::newest(&batch.rows);
        let ids: Vec<&str> = rows.iter().map(|row| row.external_id.as_str()).collect();
        removal::unmark(conn, of.id, &batch.object, &ids)?;
        let existing = existing_ids(conn, of.id, &batch.object, &ids)?;
        counters.add(&store(
            conn,
            of.id,
            &mut change_no,
            &batch,
            (&existing, &rows),
            Touch::All,
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
    let parent = [set.parent_id.as_str()];
    let children = children(
        conn,
        integration_id,
        &set.parent_object,
        &parent,
        &set.child_object,
    )?;
    let children: Vec<&str> = children.iter().map(|(_, child)| child.as_str()).collect();
    let stored = existing_ids(conn, integration_id, &set.child_object, &children)?;
    let mut unlinked = 0;
    for child in stored {
        let key = (set.child_object.clone(), child.external_id);
        if child.deleted || read.is_before(child.read) || listed.contains(&key) {
            continue;
        }
        *change_no += 1;
        unlinked += 1;
        diesel::sql_query(
            "DELETE FROM record_link WHERE integration_id = (SELECT $1) AND child_object = (SELECT $2) AND child_id = $3 \
             AND parent_object = $4 AND parent_id = $5",
        )
        .bind::<sql_types::Text, _>(integration_id)
        .bind::<sql_types::Text, _>(&set.child_object)
        .bind::<sql_types::Text, _>(&key.1)
        .bind::<sql_types::Text, _>(&set.parent_object)
        .bind::<sql_types::Text, _>(&set.parent_id)
        .execute(conn)?;
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

/// A batch of a sync, on its way into the store. What its range lacks is marked, not removed.
pub(super) struct Listing {
    batch: RecordBatch,
    /// What of its range has not been walked through; `None` before the first step.
    left: Option<VecDeque<Piece>>,
}

impl Listing {
    pub(super) fn new(mut batch: RecordBatch) -> Self {
        apply::prepare(&mut batch);
        Self { batch, left: None }
    }

    pub(super) fn object(&self) -> &str {
        &self.batch.object
    }

    /// Applies the batch; every row that changes gets the next change number. `budget` is how many rows that the batch lacks
    /// may be looked at. Where it is used up before the end of the range, only marks have been written so far, `None` is
    /// answered, and another transaction goes on: what a listing lacks has no bound. The integration is locked.
    pub(super) fn step(
        &mut self,
        conn: &mut Conn,
        of: (IntegrationId, SyncId, i64),
        change_no: &mut i64,
        budget: &mut i64,
        now_us: Micros,
    ) -> Result<Option<Counters>, Error> {
        let (integration_id, sync_id, generation) = of;
        let (batch, object) = (&self.batch, self.batch.object.as_str());
        let rows = apply::newest(&batch.rows);
        let ids: Vec<&str> = rows.iter().map(|row| row.external_id.as_str()).collect();
        let existing = match &batch.covers {
            None => existing_ids(conn, integration_id, object, &ids)?,
            Some(covers) => {
                let marks = Marks {
                    integration_id,
                    object,
                    sync_id,
                    generation,
                };
                let begun = self.left.is_some();
                let left = self.left.get_or_insert_with(|| covers.pieces().into());
                let mut found = Vec::new();
                if !walk(conn, &marks, &ids, covers, batch.read, left, budget, &mut found)? {
                    return Ok(None);
                }
                match begun {
                    // An earlier transaction saw some of it.
                    true => existing_ids(conn, integration_id, object, &ids)?,
                    false => {
                        let outside: Vec<&str> =
                            ids.iter().copied().filter(|id| !covers.contains(id)).collect();
                        found.extend(existing_ids(conn, integration_id, object, &outside)?);
                        found.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
                        found
                    }
                }
            }
        };
        removal::unmark(conn, integration_id, object, &ids)?;
        let seen = (existing.as_slice(), rows.as_slice());
        store(conn, integration_id, change_no, batch, seen, Touch::Moved, now_us).map(Some)
    }
}

/// Stores what became of the rows of a batch, given what is stored of them: both by key.
fn store(
    conn: &mut Conn,
    integration_id: IntegrationId,
    change_no: &mut i64,
    batch: &RecordBatch,
    (existing, rows): (&[Existing], &[&RecordRow]),
    touch: Touch,
    now_us: Micros,
) -> Result<Counters, Error> {
    let object = batch.object.as_str();
    let changes = apply::changes(existing, rows, batch, touch, change_no);
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

/// Walks through what is stored in the pieces of a range: what is listed is found, what is live and not listed is marked.
/// False if the budget, of rows that are not listed, was used up first: `pieces` has the rest. Only so much is held in memory
/// as the batch has rows, however many the range has. The ids are sorted.
#[expect(clippy::too_many_arguments, reason = "one call site, the state of one walk")]
fn walk(
    conn: &mut Conn,
    marks: &Marks<'_>,
    ids: &[&str],
    covers: &Covers,
    read: ReadTime,
    pieces: &mut VecDeque<Piece>,
    budget: &mut i64,
    found: &mut Vec<Existing>,
) -> Result<bool, Error> {
    let listed = |id: &str| ids.binary_search(&id).is_ok();
    while let Some(piece) = pieces.front_mut() {
        if *budget <= 0 {
            return Ok(false);
        }
        let page = existing_range(conn, marks.integration_id, marks.object, piece, RANGE_ROWS)?;
        let next = (page.len() as i64 == RANGE_ROWS)
            .then(|| page.last().map(|last| next_id(&last.external_id)))
            .flatten();
        let mut lacking = Vec::new();
        for old in page {
            if covers.contains(&old.external_id) && listed(&old.external_id) {
                found.push(old);
                continue;
            }
            *budget -= 1;
            if covers.contains(&old.external_id) && !old.deleted && !read.is_before(old.read) {
                lacking.push(old.external_id);
            }
        }
        if !lacking.is_empty() {
            let lacking: Vec<&str> = lacking.iter().map(String::as_str).collect();
            removal::mark(conn, marks, read, &lacking)?;
        }
        match next {
            Some(next) => piece.from = next,
            None => {
                pieces.pop_front();
            }
        }
    }
    Ok(true)
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
    let rows = match conn {
        Conn::Sqlite(c) => sqlite::read::existing_range(c, integration_id, object, piece, limit)?,
        Conn::Postgres(c) => postgres::read::existing_range(c, integration_id, object, piece, limit)?,
    };
    Ok(rows.into_iter().map(Existing::from).collect())
}

pub(super) fn existing_ids(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Existing>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Known> = match conn {
        Conn::Sqlite(c) => sqlite::read::existing(c, integration_id, object, ids)?,
        Conn::Postgres(c) => postgres::read::existing(c, integration_id, object, ids)?,
    };
    let mut found: Vec<Existing> = rows.into_iter().map(Existing::from).collect();
    found.sort_unstable_by(|a, b| a.external_id.cmp(&b.external_id));
    Ok(found)
}
