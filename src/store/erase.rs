//! Erases a group: deletes what remains of it after DeleteGroup, including its audit log.
//!
//! The audit log of a group is about people, so an operator may have to erase it before its time.

use diesel::prelude::*;

use super::{
    AuditEntry, Error, Store, Tx,
    conn::Conn,
    group, leftover,
    rollback::Never,
    schema::{integration, outbox, tracked_company},
};
use crate::domain::{AuditId, GroupId, IntegrationId, IntegrationState, Micros};

/// Rows of one transaction: servers write in between.
const BATCH: i64 = 1_000;

/// What was erased of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Integrations, drafts included, with their records, syncs and shares.
    pub integrations: usize,
    /// Shares it received.
    pub shares: usize,
    /// Companies it tracked.
    pub tracked_companies: usize,
    /// Entries of its log of changes.
    pub audit_entries: usize,
    /// Its events.
    pub events: usize,
    /// Request ids it used.
    pub requests: usize,
    /// Accounts, of all groups, that nothing uses any more and whose revocation is done.
    pub accounts: usize,
    /// Whether there was a row of the group itself.
    pub group: bool,
    /// Revocations, of all groups, that a CRM has not confirmed yet: the sealed credentials stay until then.
    pub revocations_pending: i64,
}

impl Erased {
    /// Whether there was anything.
    #[must_use]
    pub fn is_some(&self) -> bool {
        let done = Self {
            revocations_pending: 0,
            accounts: 0,
            ..*self
        };
        done != Self::default()
    }
}

impl Store {
    /// Erases a group at once: deletes it where that has not happened, then removes everything that would go later. Safe
    /// to repeat, and while servers run. One entry of the audit log that is no group's says so.
    pub async fn group_erase(&self, id: &GroupId, by: &str, now_us: Micros) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        self.write(|conn| {
            if let Conn::Sqlite(c) = conn {
                // Freed pages are overwritten: the file does not keep what was erased.
                diesel::connection::SimpleConnection::batch_execute(c, "PRAGMA secure_delete = ON")?;
            }
            Ok(())
        })
        .await?;
        let group = id.clone();
        erased.tracked_companies = self
            .read(move |conn| {
                let tracked = tracked_company::table.filter(tracked_company::group_id.eq(group));
                let count: i64 = tracked.count().get_result(conn)?;
                Ok(usize::try_from(count).unwrap_or(usize::MAX))
            })
            .await?;
        match self.group_get(id).await {
            Ok(_) => {
                let group = id.clone();
                let gone = self
                    .transaction_anew::<_, Never, _>(move |tx| Ok(tx.group_delete(&group, now_us)?))
                    .await?;
                (erased.integrations, erased.shares) = (gone.integrations, gone.shares);
            }
            Err(Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
        // Some may have been deleted before; saved ones that were deleted just now are among them.
        let deleting = self.deleting(id).await?;
        erased.integrations = erased.integrations.max(deleting.len());
        for integration in deleting {
            let mut emptied = false;
            while !emptied {
                emptied = self.integration_purge(integration, BATCH).await?;
            }
        }
        let group = id.clone();
        loop {
            let group = group.clone();
            let rest = self
                .write(move |conn| leftover::rest(conn, &group, BATCH))
                .await?;
            erased.audit_entries += rest.audit_entries;
            erased.events += rest.events;
            erased.requests += rest.requests;
            if rest.is_empty() {
                break;
            }
        }
        let group = id.clone();
        erased.group = self.write(move |conn| group::remove(conn, &group)).await?;
        // Completed revocations are not kept, nor accounts that nothing uses.
        while self.outbox_purge(now_us + 1, BATCH).await? > 0 {}
        loop {
            let accounts = self.credential_purge(now_us + 1).await?;
            erased.accounts += accounts;
            if accounts == 0 {
                break;
            }
        }
        erased.revocations_pending = self
            .read(|conn| {
                Ok(outbox::table
                    .filter(outbox::done_us.is_null())
                    .count()
                    .get_result(conn)?)
            })
            .await?;
        if erased.is_some() {
            let entry = AuditEntry {
                id: AuditId::new(),
                group_id: String::new(),
                create_us: now_us,
                actor: by.to_owned(),
                role: "operator".to_owned(),
                request_id: String::new(),
                method: "EraseGroup".to_owned(),
                resource: id.name(),
                detail: "{}".to_owned(),
            };
            self.write(move |conn| Tx::new(conn, String::new()).audit_append(&[entry]))
                .await?;
        }
        Ok(erased)
    }

    /// The integrations of a group whose rows are still to be removed.
    async fn deleting(&self, id: &GroupId) -> Result<Vec<IntegrationId>, Error> {
        let id = id.clone();
        self.read(move |conn| {
            Ok(integration::table
                .filter(integration::group_id.eq(id))
                .filter(integration::state.eq(IntegrationState::Deleting))
                .order(integration::id)
                .select(integration::id)
                .load(conn)?)
        })
        .await
    }
}
