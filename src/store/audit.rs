//! The audit log: who changed what. Entries remain when their resource is deleted.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{BigInt, Text},
};

use super::{Error, Store, Tx, conn::Conn, purge, schema::audit_entry};
use crate::domain::{AuditId, GroupId, Micros};

/// One change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = audit_entry, treat_none_as_default_value = false)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// The group whose log it stands in. Empty for what the platform did that is no group's.
    pub group_id: String,
    /// When.
    pub create_us: Micros,
    /// The subject of the caller's token.
    pub actor: String,
    /// The caller's role.
    pub role: String,
    /// The request's id, as in the log.
    pub request_id: String,
    /// What was called, without its package and service.
    pub method: String,
    /// The name of what was changed.
    pub resource: String,
    /// What of it, as a JSON object of texts. Never a secret.
    pub detail: String,
}

/// Which entries are wanted. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those of this group's log.
    pub group: Option<GroupId>,
    /// Those of this resource and of what is under it.
    pub resource: Option<String>,
    /// Those by this actor.
    pub actor: Option<String>,
    /// Those from this time on.
    pub from_us: Option<Micros>,
    /// Those before this time.
    pub until_us: Option<Micros>,
}

impl Tx<'_> {
    /// Adds entries, all or none.
    pub fn audit_append(&mut self, entries: &[AuditEntry]) -> Result<(), Error> {
        let conn = &mut *self.conn;
        for entry in entries {
            diesel::insert_into(audit_entry::table)
                .values(entry)
                .execute(conn)?;
        }
        Ok(())
    }
}

impl Store {
    /// Entries, newest first, before this (time, id).
    pub async fn audit_list(
        &self,
        filter: AuditFilter,
        before: Option<(Micros, AuditId)>,
        limit: i64,
    ) -> Result<Vec<AuditEntry>, Error> {
        self.snapshot(move |conn| {
            let Some(resource) = filter.resource.clone() else {
                return page(conn, &filter, None, before, limit);
            };
            // Each of the two is a range of the index of resources; both in one condition would not be.
            let mut found = page(conn, &filter, Some(Of::Itself(&resource)), before, limit)?;
            found.extend(page(conn, &filter, Some(Of::Under(&resource)), before, limit)?);
            found.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.create_us, entry.id)));
            found.truncate(usize::try_from(limit).unwrap_or_default());
            Ok(found)
        })
        .await
    }

    /// Removes entries from before this time, at most `limit`; returns how many.
    pub async fn audit_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| purge::old(conn, "audit_entry", "create_us", "true", before_us, limit))
            .await
    }
}

/// Whose entries.
enum Of<'a> {
    /// Those of this resource.
    Itself(&'a str),
    /// Those of what is under it.
    Under(&'a str),
}

/// A page of entries of one range of an index, the newest first. Whose entries, and how many, is hidden from PostgreSQL's
/// planner: `record::postgres::read` says why. Those of a resource are found by the index of resources and sorted: asked for in
/// order, PostgreSQL would go through the group's whole log until it has a page of them. Every form has the same parameters.
fn page(
    conn: &mut Conn,
    filter: &AuditFilter,
    of: Option<Of<'_>>,
    before: Option<(Micros, AuditId)>,
    limit: i64,
) -> Result<Vec<AuditEntry>, Error> {
    const NEWEST: &str = "create_us >= $4 AND create_us < $5 AND create_us <= $6 AND (create_us < $7 OR id < $8) \
        AND ($9 = '' OR actor = $10) ORDER BY create_us DESC, id DESC LIMIT (SELECT $11)";
    let group = match filter.group {
        Some(_) => "group_id = (SELECT $1)",
        None => "(SELECT $1) IS NOT NULL",
    };
    let all = match conn {
        Conn::Sqlite(_) => "",
        Conn::Postgres(_) => "OFFSET 0",
    };
    let inside =
        |of: &str| format!("FROM (SELECT * FROM audit_entry WHERE {group} AND {of} {all}) entry WHERE");
    let (from_where, from, to) = match of {
        Some(Of::Itself(resource)) => (
            inside("resource = (SELECT $2) AND (SELECT $3) IS NOT NULL"),
            resource.to_owned(),
            String::new(),
        ),
        // '0' is the character after '/'.
        Some(Of::Under(resource)) => (
            inside("resource >= (SELECT $2) AND resource < (SELECT $3)"),
            format!("{resource}/"),
            format!("{resource}0"),
        ),
        None => (
            format!(
                "FROM audit_entry WHERE {group} AND (SELECT $2) IS NOT NULL AND (SELECT $3) IS NOT NULL AND"
            ),
            String::new(),
            String::new(),
        ),
    };
    let group_id = filter.group.as_ref().map(|group| group.as_str().to_owned());
    let actor = filter.actor.clone().unwrap_or_default();
    let (before_us, before_id) = match before {
        Some((create_us, id)) => (create_us, id.to_string()),
        None => (i64::MAX, "~".to_owned()),
    };
    Ok(sql_query(format!("SELECT * {from_where} {NEWEST}"))
        .bind::<Text, _>(group_id.unwrap_or_default())
        .bind::<Text, _>(from)
        .bind::<Text, _>(to)
        .bind::<BigInt, _>(filter.from_us.unwrap_or(i64::MIN))
        .bind::<BigInt, _>(filter.until_us.unwrap_or(i64::MAX))
        .bind::<BigInt, _>(before_us)
        .bind::<BigInt, _>(before_us)
        .bind::<Text, _>(before_id)
        .bind::<Text, _>(actor.clone())
        .bind::<Text, _>(actor)
        .bind::<BigInt, _>(limit)
        .load(conn)?)
}
