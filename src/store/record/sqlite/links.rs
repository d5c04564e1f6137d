//! The links of children, and the children of parents.

use diesel::prelude::*;

use super::texts::{Insert, insert};
use crate::domain::IntegrationId;
use crate::store::{
    Error,
    record::apply::Link,
    schema::{record_child, record_link},
};

struct Links;

impl Insert for Links {
    const SQL: &'static str =
        "INSERT INTO record_link (integration_id, child_object, child_id, parent_object, parent_id) VALUES ";
}

struct Children;

impl Insert for Children {
    const SQL: &'static str =
        "INSERT INTO record_child (integration_id, parent_object, parent_id, child_object, child_id) VALUES ";
}

/// Adds links, which are sorted by child.
pub(in crate::store::record) fn add(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    let id = integration_id.as_str();
    let rows = links.iter().map(|link| {
        let (parent_object, parent_id) = link.of();
        [id, object, link.child_id, parent_object, parent_id]
    });
    insert::<Links, 5>(c, &rows.collect::<Vec<_>>())
}

/// Adds the same by parent.
pub(in crate::store::record) fn add_children(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    let id = integration_id.as_str();
    let rows = links.iter().map(|link| {
        let (parent_object, parent_id) = link.of();
        [id, parent_object, parent_id, object, link.child_id]
    });
    let mut rows: Vec<[&str; 5]> = rows.collect();
    rows.sort_unstable();
    insert::<Children, 5>(c, &rows)
}

/// Removes links from both tables.
pub(in crate::store::record) fn remove(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    for link in links {
        let (parent_object, parent_id) = link.of();
        let by_child =
            record_link::table.find((integration_id, object, link.child_id, parent_object, parent_id));
        diesel::delete(by_child).execute(c)?;
        let by_parent =
            record_child::table.find((integration_id, parent_object, parent_id, object, link.child_id));
        diesel::delete(by_parent).execute(c)?;
    }
    Ok(())
}
