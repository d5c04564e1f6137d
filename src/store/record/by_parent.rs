//! The links of children (`record_link`), which are also found by parent.
//!
//! On PostgreSQL by an index. On SQLite that index was two thirds of what a first load of a million related records wrote: their
//! parents come in random order, so that each commit of some thousand links wrote most pages of the index again. There it is a table
//! of its own (`record_child`), which first loads fill later, like those of companies; `by_company` has the rules. In addition:
//!
//! - Links of records that are stored already are always written at once: a record that moves is never without a parent.
//! - A write that looks for the children of a record adds those that were left for later first (`by_company::fill_children`):
//!   otherwise it would miss some.
//!
//! PostgreSQL writes changed pages at checkpoints or when its buffers are full, not with every commit. Measured there for 500,000
//! records with links, in commits of 2,000: 9 s of processor time and 648 MB of WAL with the index, 11 s and 735 MB with the table.

use std::collections::HashSet;

use diesel::{RunQueryDsl as _, sql_query, sql_types};

use super::{
    Parent,
    apply::{Changes, Entries, Link},
    postgres,
    read::parents,
    sqlite,
};
use crate::domain::IntegrationId;
use crate::store::{Error, conn::Conn, data_set::DataSet};

/// Writes the links that the changes of an object end, and those that they begin.
pub(super) fn write(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    changes: &Changes<'_>,
    entries: Entries,
) -> Result<(), Error> {
    let known = changes.known();
    let stored = match known.is_empty() {
        true => Vec::new(),
        false => parents(conn, integration_id, object, &known)?,
    };
    let mut before: Vec<Link<'_>> = stored
        .iter()
        .map(|(child_id, parent)| Link { child_id, parent })
        .collect();
    before.sort_unstable();
    let after = changes.links();
    let (ended, new) = (without(&before, &after), without(&after, &before));
    remove(conn, integration_id, object, &ended)?;
    match conn {
        Conn::Sqlite(c) => {
            sqlite::links::add(c, integration_id, object, &new)?;
            sqlite::links::add_children(c, integration_id, object, &at_once(&known, new, entries))
        }
        Conn::Postgres(c) => postgres::links::add(c, integration_id, object, &new),
    }
}

/// Those of new links that are not left for later. Some of their children were stored before.
fn at_once<'a>(known: &[&str], new: Vec<Link<'a>>, entries: Entries) -> Vec<Link<'a>> {
    match entries {
        Entries::Now => new,
        Entries::Later if known.is_empty() => Vec::new(),
        Entries::Later => {
            let known: HashSet<&str> = known.iter().copied().collect();
            new.into_iter()
                .filter(|link| known.contains(link.child_id))
                .collect()
        }
    }
}

/// The links that others lack; both are sorted.
fn without<'a>(links: &[Link<'a>], others: &[Link<'_>]) -> Vec<Link<'a>> {
    let lacks = |link: &&Link<'a>| others.binary_search_by(|other| other.cmp(link)).is_err();
    links.iter().filter(lacks).copied().collect()
}

/// Removes links of children of an object.
fn remove(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    links: &[Link<'_>],
) -> Result<(), Error> {
    match conn {
        Conn::Sqlite(c) => sqlite::links::remove(c, integration_id, object, links),
        Conn::Postgres(c) => postgres::links::remove(c, integration_id, object, links),
    }
}

/// Removes the link of a child to a parent.
pub(super) fn unlink(
    conn: &mut Conn,
    integration_id: IntegrationId,
    (object, child_id): (&str, &str),
    parent: &Parent,
) -> Result<(), Error> {
    remove(conn, integration_id, object, &[Link { child_id, parent }])
}

/// Adds the links of the records after `set.company_no` up to a change number to `record_child`. The head is locked.
pub(super) fn fill(conn: &mut Conn, set: &DataSet, through: i64) -> Result<(), Error> {
    let Conn::Sqlite(c) = conn else { return Ok(()) };
    // Not `ON CONFLICT`: for that SQLite keeps a copy of each page that the statement changes, in memory.
    sql_query(
        "INSERT OR IGNORE INTO record_child (integration_id, parent_object, parent_id, child_object, child_id) \
         SELECT l.integration_id, l.parent_object, l.parent_id, l.child_object, l.child_id FROM record r \
         CROSS JOIN record_link l ON l.integration_id = r.integration_id AND l.child_object = r.object \
         AND l.child_id = r.external_id WHERE r.integration_id = (SELECT $1) AND r.change_no > $2 AND r.change_no <= $3 \
         ORDER BY l.parent_object, l.parent_id, l.child_object, l.child_id",
    )
    .bind::<sql_types::Text, _>(set.integration_id)
    .bind::<sql_types::BigInt, _>(set.company_no)
    .bind::<sql_types::BigInt, _>(through)
    .execute(c)?;
    Ok(())
}
