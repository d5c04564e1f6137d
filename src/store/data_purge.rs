//! The deletion of data sets, a limited number of rows at a time.

use diesel::prelude::*;

use super::{
    Error,
    conn::Conn,
    record, removal_marks,
    schema::{data_object, data_set as data_set_table},
};
use crate::domain::IntegrationId;

/// Deletes up to `limit` rows of a data set, and at last its head; true when nothing is left. Commits of a
/// worker that holds it are refused from the first call on.
pub(super) fn purge(conn: &mut Conn, id: IntegrationId, limit: i64) -> Result<bool, Error> {
    diesel::update(
        data_set_table::table
            .find(id)
            .filter(data_set_table::generation.lt(i64::MAX)),
    )
    .set(data_set_table::generation.eq(i64::MAX))
    .execute(conn)?;
    if record::purge(conn, id, limit)? + removal_marks::purge(conn, id, limit)? > 0 {
        return Ok(false);
    }
    diesel::delete(data_object::table.filter(data_object::integration_id.eq(id))).execute(conn)?;
    diesel::delete(data_set_table::table.find(id)).execute(conn)?;
    Ok(true)
}
