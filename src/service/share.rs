//! Sharing: which groups receive which of the owner's active fields, and whether a group uses an integration
//! itself.
//!
//! The names of all fields that the shares of an integration list are limited to 1 MiB in total when they are
//! written, so that an integration can be answered whole, edited, and sent back.

use super::field::{is, unknown};
use super::reader::group_of;
use super::{AuditChange, Author, Services};
use crate::caller::Caller;
use crate::domain::{GroupId, IntegrationId, name_key};
use crate::error::{Detail, Error, Reason, Result, echo};
use crate::service::IntegrationView;
use crate::store::{Conflict, FieldRef, Group, Integration, NewShare, SeenField, Share};
use crate::time::now_us;
use std::collections::HashSet;

/// The maximum number of groups that an integration may be shared with.
pub const MOST_SHARES: usize = 500;
/// The maximum size of the names of all fields that the shares of one integration list, in bytes: an
/// integration is answered whole, and an answer has at most 3 MiB.
const MOST_LISTED_BYTES: usize = 1 << 20;

/// A group that an integration can be shared with.
#[derive(Debug, Clone)]
pub struct Shareable {
    /// The group.
    pub group: Group,
    /// Whether the given integration is shared with it.
    pub shared: bool,
}

impl Services {
    /// The groups that the caller's group is connected with and whose name contains `query`, by name and id.
    ///
    /// # Errors
    /// NOT_FOUND or NOT_OWNER for the given integration.
    pub async fn group_search_shareable(
        &self,
        caller: &Caller,
        query: &str,
        integration: Option<IntegrationId>,
    ) -> Result<Vec<Shareable>> {
        let group = group_of(caller)?;
        let shared: HashSet<GroupId> = match integration {
            Some(id) => {
                self.owned(caller, id).await?;
                let shares = self.store.share_list(id).await?;
                shares.into_iter().map(|share| share.group_id).collect()
            }
            None => HashSet::new(),
        };
        let part = name_key(query);
        let mut found: Vec<(String, Shareable)> = self
            .store
            .group_connections(&group)
            .await?
            .into_iter()
            .map(|group| {
                let shared = shared.contains(&group.id);
                (name_key(&group.display_name), Shareable { group, shared })
            })
            .filter(|(key, _)| key.contains(&part))
            .collect();
        found.sort_by(|a, b| (&a.0, &a.1.group.id).cmp(&(&b.0, &b.1.group.id)));
        Ok(found.into_iter().map(|(_, one)| one).collect())
    }

    /// Shares an integration with a group, or changes what is shared.
    ///
    /// # Errors
    /// NOT_FOUND (also for a group that is not connected with the owner), NOT_OWNER, FIELD_UNKNOWN, FIELD_PASSIVE,
    /// LIMIT_REACHED.
    pub async fn share_set(
        &self,
        author: &Author,
        id: IntegrationId,
        new: NewShare,
    ) -> Result<(Share, bool)> {
        let row = self.owned(author, id).await?;
        let name = share_name(id, &new.group_id);
        let seen = self.seen_fields(&row.group_id, id).await?;
        let known = self.store.share_list(id).await?;
        if new.group_id == row.group_id {
            return Err(Error::invalid(
                "share.name",
                "names the owner itself, whose own use ConnectIntegration and DisconnectIntegration decide",
            ));
        }
        self.check_shares(&row, &seen, &known, std::slice::from_ref(&new), "share")
            .await?;
        if known.len() >= MOST_SHARES && !known.iter().any(|share| share.group_id == new.group_id) {
            return Err(too_many(&row));
        }
        let others = known.iter().filter(|share| share.group_id != new.group_id);
        let lists = others.map(|share| &share.fields).chain([&new.fields]);
        check_listed(&row.id.name(), lists.flatten().flatten())?;
        let group = new.group_id.clone();
        let fields = new.fields.as_ref().map(Vec::len);
        let made = AuditChange::of(share_name(id, &group)).with(
            "fields",
            fields.map_or("all active".to_owned(), |count| count.to_string()),
        );
        let by = author.subject.clone();
        let shared = self.change(author, move |tx| {
            tx.share_set(id, &new, &by, now_us())?;
            Ok(((), Some(made)))
        });
        shared.await.map_err(|error| {
            error.or(|error| match error.is_conflict(Conflict::NotConnected) {
                true => Error::not_found(group.name()),
                false => error.into(),
            })
        })?;
        tracing::info!(integration = %id, %group, by = author.subject, "shared {id} with {group}");
        let shares = self.store.share_list(id).await?;
        let share = shares.into_iter().find(|share| share.group_id == group);
        let saved = row.state != crate::domain::IntegrationState::Draft;
        Ok((share.ok_or_else(|| Error::not_found(name))?, saved))
    }

    /// Ends a share.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER.
    pub async fn share_remove(&self, author: &Author, id: IntegrationId, group: &GroupId) -> Result<()> {
        self.owned(author, id).await?;
        let (name, receiver) = (share_name(id, group), group.clone());
        self.change(author, move |tx| {
            if !tx.share_remove(id, &receiver, now_us())? {
                return Err(Error::not_found(name).into());
            }
            Ok(((), Some(AuditChange::of(name))))
        })
        .await?;
        tracing::info!(integration = %id, %group, by = author.subject, "no longer shared: {id} with {group}");
        Ok(())
    }

    /// The shares of an integration in the order of the receivers' ids, and whether they are in effect: those
    /// of a draft are not.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER.
    pub async fn share_list(&self, caller: &Caller, id: IntegrationId) -> Result<(Vec<Share>, bool)> {
        let row = self.owned(caller, id).await?;
        let saved = row.state != crate::domain::IntegrationState::Draft;
        Ok((self.store.share_list(id).await?, saved))
    }

    /// Makes the caller's group use an integration, or stop using it.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn integration_connect(
        &self,
        author: &Author,
        id: IntegrationId,
        connected: bool,
    ) -> Result<IntegrationView> {
        self.seen(author, id).await?;
        let group = group_of(author)?;
        let of = group.clone();
        let changed = self.change(author, move |tx| {
            let changed = tx.source_connect(&of, id, connected)?;
            Ok((changed, Some(AuditChange::of(id.name()))))
        });
        let changed = changed.await.map_err(|error| error.or_not_found(id.name()))?;
        if changed {
            tracing::info!(integration = %id, %group, by = author.subject, connected, "the group's own use of {id} changed");
        }
        self.view(&group, id).await
    }

    /// The fields of one integration that a group sees.
    pub(super) async fn seen_fields(&self, group: &GroupId, id: IntegrationId) -> Result<Vec<SeenField>> {
        let mut seen = self.store.field_list_seen(group, vec![id]).await?;
        Ok(seen.remove(&id).unwrap_or_default())
    }

    /// Checks new shares against the selected fields: each listed field is selected and active for the owner,
    /// or was listed in that share before; each receiver is connected with the owner.
    pub(super) async fn check_shares(
        &self,
        row: &Integration,
        seen: &[SeenField],
        known: &[Share],
        shares: &[NewShare],
        path: &str,
    ) -> Result<()> {
        let connections = self.store.group_connections(&row.group_id).await?;
        for new in shares {
            if !connections.iter().any(|group| group.id == new.group_id) {
                return Err(Error::not_found(new.group_id.name()));
            }
            let before = known.iter().find(|share| share.group_id == new.group_id);
            let before = before
                .and_then(|share| share.fields.as_deref())
                .unwrap_or_default();
            for (position, field) in new.fields.iter().flatten().enumerate() {
                if before.contains(field) {
                    continue;
                }
                let name = echo(&format!("{}.{}", field.object, field.key)).into_owned();
                let at = format!("{path}.fields[{position}]");
                match seen.iter().find(|one| is(one, field)) {
                    None => return Err(unknown(&at, &name, "is not selected")),
                    Some(one) if !one.active => {
                        return Err(Error::new(
                            Reason::FieldPassive,
                            format!(
                                "{name} is passive for the owner, and only active fields can be shared: \
                                     BatchUpdateFieldActivation makes it active"
                            ),
                        )
                        .with("field", &name)
                        .detail(Detail::Precondition(
                            "FIELD",
                            name,
                            "is passive".to_owned(),
                        )));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Returns an error if the shares list more names than fit into an answer.
pub(super) fn check_listed<'a>(name: &str, listed: impl Iterator<Item = &'a FieldRef>) -> Result<()> {
    let bytes: usize = listed.map(|field| field.object.len() + field.key.len() + 1).sum();
    if bytes <= MOST_LISTED_BYTES {
        return Ok(());
    }
    let limit = format!(
        "the fields that its shares list may have {MOST_LISTED_BYTES} bytes of names together, and would have {bytes}: \
         share all active fields, or fewer"
    );
    Err(Error::new(Reason::LimitReached, format!("{name}: {limit}"))
        .with("limit", MOST_LISTED_BYTES)
        .with("quota", "bytes of fields listed in shares")
        .detail(Detail::Quota(name.to_owned(), limit)))
}

pub(super) fn too_many(row: &Integration) -> Error {
    let limit = format!("an integration may be shared with {MOST_SHARES} groups: end another share first");
    Error::new(Reason::LimitReached, format!("{}: {limit}", row.id.name()))
        .with("limit", MOST_SHARES)
        .with("quota", "shares per integration")
        .detail(Detail::Quota(row.id.name(), limit))
}

fn share_name(id: IntegrationId, group: &GroupId) -> String {
    format!("{}/shares/{group}", id.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_list_no_more_than_an_answer_holds() {
        let field = |length: usize| FieldRef {
            object: "o".repeat(10),
            key: "k".repeat(length - 11),
        };
        let fields = vec![field(256); 4_096];
        assert!(check_listed("integrations/1", fields.iter()).is_ok());
        let one_more = [field(12)];
        let refused = check_listed("integrations/1", fields.iter().chain(&one_more)).unwrap_err();
        assert_eq!(refused.reason, Reason::LimitReached);
    }
}
