//! The links of children. Children of a parent are found by an index of them (`record::by_parent`).

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, Text},
};

use super::{ROWS, column};
use crate::domain::IntegrationId;
use crate::store::{Error, record::apply::Link};

/// Adds links.
pub(in crate::store::record) fn add(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    const BY_CHILD: &str = "INSERT INTO record_link (integration_id, child_object, child_id, parent_object, parent_id) \
        SELECT $1, $2, u.* FROM unnest($3::text[], $4::text[], $5::text[]) u ON CONFLICT DO NOTHING";
    run(c, BY_CHILD, integration_id, object, links)
}

/// Removes links.
pub(in crate::store::record) fn remove(
    c: &mut PgConnection,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    const BY_CHILD: &str = "DELETE FROM record_link l USING unnest($3::text[], $4::text[], $5::text[]) \
        u (child_id, parent_object, parent_id) CROSS JOIN LATERAL (SELECT ctid FROM record_link \
        WHERE integration_id = (SELECT $1) AND child_object = (SELECT $2) AND child_id = u.child_id COLLATE \"C\" \
        AND parent_object = u.parent_object COLLATE \"C\" AND parent_id = u.parent_id COLLATE \"C\" LIMIT 1) s (at) \
        WHERE l.ctid = s.at";
    run(c, BY_CHILD, integration_id, object, links)
}

fn run(
    c: &mut PgConnection,
    sql: &str,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    for links in links.chunks(ROWS) {
        sql_query(sql)
            .bind::<Text, _>(integration_id)
            .bind::<Text, _>(object)
            .bind::<Array<Text>, _>(column(links, |link| link.child_id))
            .bind::<Array<Text>, _>(column(links, |link| link.of().0))
            .bind::<Array<Text>, _>(column(links, |link| link.of().1))
            .execute(c)?;
    }
    Ok(())
}
