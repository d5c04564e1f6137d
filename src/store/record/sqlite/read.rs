//! Look-ups of many rows by key. A list of keys is one bound text, so that a statement is prepared once for lists of any
//! length.

use diesel::{dsl::sql, prelude::*, sql_query, sql_types::Bool, sql_types::Text};

use crate::domain::{CompanyId, IntegrationId};
use crate::store::{
    Error,
    complete_range::Piece,
    record::{CompanyRecordKey, Held, Record, RecordContent, apply::Known},
    schema::{record, record_child, record_link},
};

/// Keys as one text.
fn list<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
    let keys: Vec<&str> = keys.into_iter().collect();
    serde_json::to_string(&keys).map_err(|e| Error::Corrupt(e.to_string()))
}

/// What is stored of these ids.
pub(in crate::store::record) fn existing(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Known>, Error> {
    Ok(record::table
        .filter(record::integration_id.eq(integration_id))
        .filter(record::object.eq(object))
        .filter(
            sql::<Bool>("external_id IN (SELECT value FROM json_each(")
                .bind::<Text, _>(list(ids.iter().copied())?)
                .sql("))"),
        )
        .select((
            record::external_id,
            record::hash,
            record::modified_us,
            record::read_us,
            record::read_clock,
            record::delete_us,
            record::company_id,
            record::name_key,
        ))
        .load(c)?)
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// Characters of a text.
    fn length(text: Text) -> diesel::sql_types::Integer;
}

/// What is stored of a range of ids: the first so many of it, by id.
pub(in crate::store::record) fn existing_range(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    piece: &Piece,
    limit: i64,
) -> Result<Vec<Known>, Error> {
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
            record::company_id,
            record::name_key,
        ))
        .into_boxed();
    if !piece.to.is_empty() {
        range = range.filter(record::external_id.le(&piece.to));
    }
    if let Some((shortest, longest)) = piece.lengths {
        range = range.filter(length(record::external_id).between(shortest, longest));
    }
    Ok(range.load(c)?)
}

/// The entries of the tables of companies are looked up first, then each record. What the record has decides.
macro_rules! of_companies {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM company_record k CROSS JOIN record r ON r.integration_id = k.integration_id AND r.object = k.object \
             AND r.external_id = k.external_id WHERE k.integration_id IN (SELECT value FROM json_each(?)) \
             AND k.company_id IN (SELECT value FROM json_each(?)) AND r.company_id = k.company_id AND r.delete_us IS NULL"
        )
    };
}

/// The live company records of these companies in these integrations, without payloads.
pub(in crate::store::record) fn held(
    c: &mut SqliteConnection,
    integration_ids: &[IntegrationId],
    company_ids: &[CompanyId],
) -> Result<Vec<Held>, Error> {
    Ok(sql_query(of_companies!(
        "r.integration_id, r.external_id, r.company_id, r.name, r.name_key, r.homepage"
    ))
    .bind::<Text, _>(list(integration_ids.iter().map(|id| id.as_str()))?)
    .bind::<Text, _>(list(company_ids.iter().map(|id| id.as_str()))?)
    .load(c)?)
}

/// [`held`] of one integration, the keys alone.
pub(in crate::store::record) fn company_keys(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    company_ids: &[CompanyId],
) -> Result<Vec<CompanyRecordKey>, Error> {
    Ok(
        sql_query(of_companies!("r.company_id, r.object, r.external_id, r.read_us"))
            .bind::<Text, _>(list([integration_id.as_str()])?)
            .bind::<Text, _>(list(company_ids.iter().map(|id| id.as_str()))?)
            .load(c)?,
    )
}

/// These records, as far as they are live.
pub(in crate::store::record) fn live(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<Record>, Error> {
    Ok(record::table
        .filter(record::integration_id.eq(integration_id))
        .filter(record::object.eq(object))
        .filter(
            sql::<Bool>("external_id IN (SELECT value FROM json_each(")
                .bind::<Text, _>(list(ids.iter().copied())?)
                .sql("))"),
        )
        .filter(record::delete_us.is_null())
        .select(Record::as_select())
        .load(c)?)
}

/// What answers show of these records, as far as they are live.
pub(in crate::store::record) fn contents(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    ids: &[&str],
) -> Result<Vec<RecordContent>, Error> {
    Ok(record::table
        .filter(record::integration_id.eq(integration_id))
        .filter(record::object.eq(object))
        .filter(
            sql::<Bool>("external_id IN (SELECT value FROM json_each(")
                .bind::<Text, _>(list(ids.iter().copied())?)
                .sql("))"),
        )
        .filter(record::delete_us.is_null())
        .select((
            record::external_id,
            record::name,
            record::modified_us,
            record::payload,
        ))
        .load(c)?)
}

/// The links of children: (child, parent's object, parent's id), in that order.
pub(in crate::store::record) fn parents(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    children: &[&str],
) -> Result<Vec<(String, String, String)>, Error> {
    Ok(record_link::table
        .filter(record_link::integration_id.eq(integration_id))
        .filter(record_link::child_object.eq(object))
        .filter(
            sql::<Bool>("child_id IN (SELECT value FROM json_each(")
                .bind::<Text, _>(list(children.iter().copied())?)
                .sql("))"),
        )
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
        .load(c)?)
}

/// The children of an object under these parents: (parent, child).
pub(in crate::store::record) fn children(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    parent_object: &str,
    parent_ids: &[&str],
    object: &str,
) -> Result<Vec<(String, String)>, Error> {
    Ok(record_child::table
        .filter(record_child::integration_id.eq(integration_id))
        .filter(record_child::parent_object.eq(parent_object))
        .filter(
            sql::<Bool>("parent_id IN (SELECT value FROM json_each(")
                .bind::<Text, _>(list(parent_ids.iter().copied())?)
                .sql("))"),
        )
        .filter(record_child::child_object.eq(object))
        .select((record_child::parent_id, record_child::child_id))
        .load(c)?)
}
