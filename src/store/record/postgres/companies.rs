//! The entries of companies.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, Text},
};

use super::{ROWS, column};
use crate::domain::IntegrationId;
use crate::store::{Error, record::apply::Entry};

/// Adds entries.
pub(in crate::store::record) fn add(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    entries: &[Entry<'_>],
) -> Result<(), Error> {
    const BY_COMPANY: &str = "INSERT INTO company_record (integration_id, company_id, object, external_id) \
        SELECT $1, u.company_id, $2, u.external_id FROM unnest($3::text[], $4::text[], $5::text[]) \
        u (company_id, name_key, external_id) ON CONFLICT DO NOTHING";
    const BY_NAME: &str = "INSERT INTO company_name (integration_id, name_key, company_id, object, external_id) \
        SELECT $1, u.name_key, u.company_id, $2, u.external_id FROM unnest($3::text[], $4::text[], $5::text[]) \
        u (company_id, name_key, external_id) ON CONFLICT DO NOTHING";
    for sql in [BY_COMPANY, BY_NAME] {
        run(c, sql, integration_id, object, entries)?;
    }
    Ok(())
}

/// Removes entries.
pub(in crate::store::record) fn remove(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    entries: &[Entry<'_>],
) -> Result<(), Error> {
    const BY_COMPANY: &str = "DELETE FROM company_record e USING unnest($3::text[], $4::text[], $5::text[]) \
        u (company_id, name_key, external_id) CROSS JOIN LATERAL (SELECT ctid FROM company_record \
        WHERE integration_id = (SELECT $1) AND company_id = u.company_id COLLATE \"C\" AND object = (SELECT $2) \
        AND external_id = u.external_id COLLATE \"C\" LIMIT 1) s (at) WHERE e.ctid = s.at";
    const BY_NAME: &str = "DELETE FROM company_name e USING unnest($3::text[], $4::text[], $5::text[]) \
        u (company_id, name_key, external_id) CROSS JOIN LATERAL (SELECT ctid FROM company_name \
        WHERE integration_id = (SELECT $1) AND name_key = u.name_key COLLATE \"C\" \
        AND company_id = u.company_id COLLATE \"C\" AND object = (SELECT $2) \
        AND external_id = u.external_id COLLATE \"C\" LIMIT 1) s (at) WHERE e.ctid = s.at";
    for sql in [BY_COMPANY, BY_NAME] {
        run(c, sql, integration_id, object, entries)?;
    }
    Ok(())
}

fn run(
    c: &mut PgConnection,
    sql: &str,
    integration_id: IntegrationId,
    object: &str,
    entries: &[Entry<'_>],
) -> Result<(), Error> {
    for entries in entries.chunks(ROWS) {
        sql_query(sql)
            .bind::<Text, _>(integration_id)
            .bind::<Text, _>(object)
            .bind::<Array<Text>, _>(column(entries, |e| e.company_id))
            .bind::<Array<Text>, _>(column(entries, |e| e.name_key))
            .bind::<Array<Text>, _>(column(entries, |e| e.external_id))
            .execute(c)?;
    }
    Ok(())
}
