//! Groups and their connections, as the platform reports them.

use super::audit::Worked;
use super::{AuditChange, Author, Services};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::{Error, Result};
use crate::store::{DeletedGroup, Group};
use crate::time::now_us;

impl Services {
    /// Rejects callers whose group the platform has not created.
    ///
    /// # Errors
    /// GROUP_UNKNOWN; STORAGE_UNAVAILABLE.
    pub async fn require_known_group(&self, caller: &Caller) -> Result<()> {
        let Some(group) = caller
            .group
            .as_deref()
            .and_then(|group| group.parse::<GroupId>().ok())
        else {
            return Ok(());
        };
        if self.known_groups.get(&group).await.is_some() {
            return Ok(());
        }
        self.store.group_get(&group).await?;
        self.known_groups.insert(group, ()).await;
        Ok(())
    }

    /// Adds a group, or renames it.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn group_upsert(
        &self,
        author: &Author,
        id: &GroupId,
        display_name: &str,
    ) -> Result<(Group, usize)> {
        let made = AuditChange::of(id.name())
            .with("display_name", display_name)
            .concerns(id);
        let (of, name) = (id.clone(), display_name.to_owned());
        let group = self
            .change(author, move |tx| {
                Ok((tx.group_upsert(&of, &name, now_us())?, Some(made)))
            })
            .await?;
        let connections = self.store.group_connections(id).await?.len();
        Ok((group, connections))
    }

    /// Adds a group when the server starts, without an audit entry, because no caller requested it.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn group_ensure(&self, id: &GroupId, display_name: &str) -> Result<()> {
        let (id, name) = (id.clone(), display_name.to_owned());
        let added = self
            .store
            .transaction(move |tx| Worked::Ok(tx.group_upsert(&id, &name, now_us())?));
        added.await?;
        Ok(())
    }

    /// Groups in the order of their ids, each with the number of groups it is connected with.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown `connected_to`.
    pub async fn group_list(
        &self,
        connected_to: Option<&GroupId>,
        after: Option<&GroupId>,
        limit: usize,
    ) -> Result<Vec<(Group, usize)>> {
        let groups = match connected_to {
            None => self.store.group_list(after, limit as i64).await?,
            Some(to) => {
                self.known(to).await?;
                let mut groups = self.store.group_connections(to).await?;
                groups.retain(|group| after.is_none_or(|after| group.id > *after));
                groups.truncate(limit);
                groups
            }
        };
        let mut out = Vec::with_capacity(groups.len());
        for group in groups {
            let connections = self.store.group_connections(&group.id).await?.len();
            out.push((group, connections));
        }
        Ok(out)
    }

    /// Connects two groups. The platform has both sides' agreement.
    ///
    /// # Errors
    /// NOT_FOUND if one of them does not exist.
    pub async fn group_connect(&self, author: &Author, one: &GroupId, other: &GroupId) -> Result<()> {
        self.two(one, other).await?;
        let (a, b, made) = (one.clone(), other.clone(), of_both(one, other));
        self.change(author, move |tx| {
            tx.group_connect(&a, &b, now_us())?;
            Ok(((), Some(made)))
        })
        .await?;
        Ok(())
    }

    /// Disconnects two groups and ends the shares between them; returns the number of ended shares.
    ///
    /// # Errors
    /// NOT_FOUND if one of them does not exist.
    pub async fn group_disconnect(&self, author: &Author, one: &GroupId, other: &GroupId) -> Result<usize> {
        self.two(one, other).await?;
        let (a, b, made) = (one.clone(), other.clone(), of_both(one, other));
        let parted = self.change(author, move |tx| {
            let ended = tx.group_disconnect(&a, &b, now_us())?;
            Ok((ended, Some(made)))
        });
        Ok(parted.await?)
    }

    /// Deletes a group and everything it owns.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn group_delete(&self, author: &Author, id: &GroupId) -> Result<DeletedGroup> {
        let of = id.clone();
        let deleted = self.change_anew(author, move |tx| {
            let gone = tx.group_delete(&of, now_us())?;
            Ok(gone.map(|gone| {
                let made = AuditChange::of(of.name())
                    .with("integrations", gone.integrations)
                    .with("shares", gone.shares)
                    .concerns(&of);
                (gone, made)
            }))
        });
        let gone = deleted.await.map_err(|error| error.or_not_found(id.name()))?;
        self.known_groups.invalidate(id).await;
        tracing::info!(group = %id, integrations = gone.integrations, "{} deleted", id.name());
        Ok(gone)
    }

    async fn two(&self, one: &GroupId, other: &GroupId) -> Result<()> {
        if one == other {
            return Err(Error::invalid(
                "other_group",
                "must be another group than `group`",
            ));
        }
        self.known(one).await?;
        self.known(other).await
    }

    pub(super) async fn known(&self, id: &GroupId) -> Result<()> {
        match self.store.group_get(id).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Err(Error::not_found(id.name())),
            Err(error) => Err(error.into()),
        }
    }
}

/// An audit entry for both groups about a change of their connection.
fn of_both(one: &GroupId, other: &GroupId) -> AuditChange {
    AuditChange::of(one.name())
        .with("other_group", other.name())
        .concerns(one)
        .concerns(other)
}
