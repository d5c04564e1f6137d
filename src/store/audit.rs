//! The audit log: who changed what. Entries outlive what they speak of.

use diesel::prelude::*;

use super::{Error, Store, schema::audit_entry};
use crate::domain::{AuditId, GroupId, Micros};

/// One change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
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

impl Store {
    /// Adds entries, all or none.
    pub async fn audit_append(&self, entries: Vec<AuditEntry>) -> Result<(), Error> {
        self.write(move |conn| {
            for entry in &entries {
                diesel::insert_into(audit_entry::table)
                    .values(entry)
                    .execute(conn)?;
            }
            Ok(())
        })
        .await
    }

    /// Entries, newest first, before this (time, id).
    pub async fn audit_list(
        &self,
        filter: AuditFilter,
        before: Option<(Micros, AuditId)>,
        limit: i64,
    ) -> Result<Vec<AuditEntry>, Error> {
        self.read(move |conn| {
            let mut query = audit_entry::table.into_boxed();
            if let Some(group) = filter.group {
                query = query.filter(audit_entry::group_id.eq(group.as_str().to_owned()));
            }
            if let Some(resource) = filter.resource {
                // '0' is the character after '/'.
                let (from, to) = (format!("{resource}/"), format!("{resource}0"));
                let under = audit_entry::resource.ge(from).and(audit_entry::resource.lt(to));
                query = query.filter(audit_entry::resource.eq(resource).or(under));
            }
            if let Some(actor) = filter.actor {
                query = query.filter(audit_entry::actor.eq(actor));
            }
            if let Some(from) = filter.from_us {
                query = query.filter(audit_entry::create_us.ge(from));
            }
            if let Some(until) = filter.until_us {
                query = query.filter(audit_entry::create_us.lt(until));
            }
            if let Some((create_us, id)) = before {
                query = query
                    .filter(audit_entry::create_us.le(create_us))
                    .filter(audit_entry::create_us.lt(create_us).or(audit_entry::id.lt(id)));
            }
            Ok(query
                .order((audit_entry::create_us.desc(), audit_entry::id.desc()))
                .limit(limit)
                .select(AuditEntry::as_select())
                .load(conn)?)
        })
        .await
    }

    /// Removes entries from before this time, at most `limit`; returns how many.
    pub async fn audit_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| {
            let ids: Vec<AuditId> = audit_entry::table
                .filter(audit_entry::create_us.lt(before_us))
                .order((audit_entry::create_us, audit_entry::id))
                .limit(limit)
                .select(audit_entry::id)
                .load(conn)?;
            Ok(diesel::delete(audit_entry::table.filter(audit_entry::id.eq_any(ids))).execute(conn)?)
        })
        .await
    }
}
