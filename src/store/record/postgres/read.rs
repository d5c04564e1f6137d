//! Look-ups of many rows by key. The cost of each depends on the rows found only, whatever statistics the
//! planner has.
//!
//! Before a table's first statistics, and for an integration that is newer than they are, the planner expects one row for
//! `integration_id = $1`. It then takes any index that begins with the integration, or joins a thousand keys to all rows of
//! it, because going through "one row" a thousand times costs nothing. Two things hold it to the keys, under custom and
//! generic plans: `(SELECT $1)` hides the value, so that it reckons with an average integration (and `LIMIT (SELECT $1)` the
//! limit, which it would else hold against the few rows it expects), and a LATERAL with LIMIT or OFFSET cannot be turned into
//! a join. `tests/it/store/plans.rs` counts the rows each statement goes through.
//!
//! Hot statements are raw SQL for this reason: the query builder's joins and lists are planned well with good
//! statistics only. Measured for the same 2,000 ids: 14.6 s and 4 ms.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, BigInt, Integer, Nullable, Text},
};

use crate::domain::{CompanyId, IntegrationId, Micros};
use crate::store::{
    Error,
    complete_range::Piece,
    record::{CompanyRecordKey, Held, Record, RecordContent, apply::Known},
};

#[derive(QueryableByName)]
struct KnownRow {
    #[diesel(sql_type = Text)]
    external_id: String,
    #[diesel(sql_type = BigInt)]
    hash: i64,
    #[diesel(sql_type = BigInt)]
    modified_us: Micros,
    #[diesel(sql_type = BigInt)]
    read_us: Micros,
    #[diesel(sql_type = BigInt)]
    read_clock: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    delete_us: Option<Micros>,
    #[diesel(sql_type = Nullable<Text>)]
    company_id: Option<CompanyId>,
    #[diesel(sql_type = Text)]
    name_key: String,
}

impl From<KnownRow> for Known {
    fn from(row: KnownRow) -> Self {
        (
            row.external_id,
            row.hash,
            row.modified_us,
            row.read_us,
            row.read_clock,
            row.delete_us,
            row.company_id,
            row.name_key,
        )
    }
}

/// What is stored of these ids.
pub(in crate::store::record) fn existing(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Known>, Error> {
    let rows: Vec<KnownRow> = sql_query(
        "SELECT r.external_id, r.hash, r.modified_us, r.read_us, r.read_clock, r.delete_us, r.company_id, r.name_key \
         FROM unnest($3::text[]) u (id) \
         CROSS JOIN LATERAL (SELECT external_id, hash, modified_us, read_us, read_clock, delete_us, \
         company_id, name_key FROM record \
         WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND external_id = u.id COLLATE \"C\" LIMIT 1) r",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(ids)
    .load(c)?;
    Ok(rows.into_iter().map(Known::from).collect())
}

/// What is stored of a range of ids: the first so many of it, by id.
pub(in crate::store::record) fn existing_range(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    piece: &Piece,
    limit: i64,
) -> Result<Vec<Known>, Error> {
    // Nothing is beyond the end where there is none; what a length is compared with is a byte longer than any id.
    let (shortest, longest) = piece.lengths.unwrap_or((0, i32::MAX));
    const FROM: &str = "SELECT external_id, hash, modified_us, read_us, read_clock, delete_us, company_id, name_key FROM record \
        WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND length(external_id) BETWEEN $3 AND $4 \
        AND external_id >= $5 ORDER BY external_id LIMIT (SELECT $6)";
    const FROM_TO: &str = "SELECT external_id, hash, modified_us, read_us, read_clock, delete_us, company_id, name_key FROM record \
        WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND length(external_id) BETWEEN $3 AND $4 \
        AND external_id >= $5 AND external_id <= $7 ORDER BY external_id LIMIT (SELECT $6)";
    let open = piece.to.is_empty();
    let query = sql_query(if open { FROM } else { FROM_TO })
        .bind::<Text, _>(integration_id)
        .bind::<Text, _>(object)
        .bind::<Integer, _>(shortest)
        .bind::<Integer, _>(longest)
        .bind::<Text, _>(&piece.from)
        .bind::<BigInt, _>(limit);
    let rows: Vec<KnownRow> = if open {
        query.load(c)?
    } else {
        query.bind::<Text, _>(&piece.to).load(c)?
    };
    Ok(rows.into_iter().map(Known::from).collect())
}

/// The entries of the tables of companies are looked up first, then each record. What the record has decides: a replica of an
/// earlier version does not keep the entries.
macro_rules! of_companies {
    ($columns:literal) => {
        concat!(
            "SELECT r.* FROM unnest($1::text[]) i (id) CROSS JOIN unnest($2::text[]) c (id) \
             CROSS JOIN LATERAL (SELECT object, external_id FROM company_record \
             WHERE integration_id = i.id COLLATE \"C\" AND company_id = c.id COLLATE \"C\" OFFSET 0) k \
             CROSS JOIN LATERAL (SELECT ",
            $columns,
            " FROM record WHERE integration_id = i.id COLLATE \"C\" AND object = k.object \
             AND external_id = k.external_id AND company_id = c.id COLLATE \"C\" AND delete_us IS NULL LIMIT 1) r"
        )
    };
}

/// The live company records of these companies in these integrations, without payloads.
pub(in crate::store::record) fn held(
    c: &mut PgConnection,
    integration_ids: &[IntegrationId],
    company_ids: &[CompanyId],
) -> Result<Vec<Held>, Error> {
    Ok(sql_query(of_companies!(
        "integration_id, external_id, company_id, name, name_key, homepage"
    ))
    .bind::<Array<Text>, _>(integration_ids)
    .bind::<Array<Text>, _>(company_ids)
    .load(c)?)
}

/// [`held`] of one integration, the keys alone.
pub(in crate::store::record) fn company_keys(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    company_ids: &[CompanyId],
) -> Result<Vec<CompanyRecordKey>, Error> {
    Ok(
        sql_query(of_companies!("company_id, object, external_id, read_us"))
            .bind::<Array<Text>, _>(&[integration_id][..])
            .bind::<Array<Text>, _>(company_ids)
            .load(c)?,
    )
}

/// These records, as far as they are live.
pub(in crate::store::record) fn live(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Record>, Error> {
    Ok(sql_query(
        "SELECT r.* FROM unnest($3::text[]) u (id) CROSS JOIN LATERAL (SELECT * FROM record \
         WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND external_id = u.id COLLATE \"C\" \
         AND delete_us IS NULL LIMIT 1) r",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(ids)
    .load(c)?)
}

/// What answers show of these records, as far as they are live.
pub(in crate::store::record) fn contents(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<RecordContent>, Error> {
    Ok(sql_query(
        "SELECT r.* FROM unnest($3::text[]) u (id) CROSS JOIN LATERAL (SELECT external_id, name, modified_us, payload \
         FROM record WHERE integration_id = (SELECT $1) AND object = (SELECT $2) AND external_id = u.id COLLATE \"C\" \
         AND delete_us IS NULL LIMIT 1) r",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(ids)
    .load(c)?)
}

#[derive(QueryableByName)]
struct Linked {
    #[diesel(sql_type = Text)]
    child_id: String,
    #[diesel(sql_type = Text)]
    parent_object: String,
    #[diesel(sql_type = Text)]
    parent_id: String,
}

/// The links of children: (child, parent's object, parent's id), in that order.
pub(in crate::store::record) fn parents(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    children: &[&str],
) -> Result<Vec<(String, String, String)>, Error> {
    let rows: Vec<Linked> = sql_query(
        "SELECT l.child_id, l.parent_object, l.parent_id FROM unnest($3::text[]) u (id) \
         CROSS JOIN LATERAL (SELECT child_id, parent_object, parent_id FROM record_link \
         WHERE integration_id = (SELECT $1) AND child_object = (SELECT $2) AND child_id = u.id COLLATE \"C\" OFFSET 0) l \
         ORDER BY l.child_id, l.parent_object, l.parent_id",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(children)
    .load(c)?;
    Ok(rows
        .into_iter()
        .map(|l| (l.child_id, l.parent_object, l.parent_id))
        .collect())
}

#[derive(QueryableByName)]
struct Under {
    #[diesel(sql_type = Text)]
    parent_id: String,
    #[diesel(sql_type = Text)]
    child_id: String,
}

/// The children of an object under these parents: (parent, child).
pub(in crate::store::record) fn children(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    parent_object: &str,
    parent_ids: &[&str],
    object: &str,
) -> Result<Vec<(String, String)>, Error> {
    let rows: Vec<Under> = sql_query(
        "SELECT l.parent_id, l.child_id FROM unnest($4::text[]) u (id) \
         CROSS JOIN LATERAL (SELECT parent_id, child_id FROM record_link \
         WHERE integration_id = (SELECT $1) AND parent_object = (SELECT $2) AND parent_id = u.id COLLATE \"C\" \
         AND child_object = (SELECT $3) OFFSET 0) l",
    )
    .bind::<Text, _>(integration_id)
    .bind::<Text, _>(parent_object)
    .bind::<Text, _>(object)
    .bind::<Array<Text>, _>(parent_ids)
    .load(c)?;
    Ok(rows.into_iter().map(|l| (l.parent_id, l.child_id)).collect())
}
