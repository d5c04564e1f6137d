//! Which group a request is about, and with which rights the caller reads it.

use super::services::Services;
use crate::caller::{Caller, Role};
use crate::domain::{GroupId, IntegrationId};
use crate::error::{Error, Reason, Result};

/// Checks that the request is about the caller's own group.
///
/// # Errors
/// NOT_FOUND if it names another group.
pub fn require_own_group(caller: &Caller, parent: &GroupId) -> Result<()> {
    if caller.group.as_deref() == Some(parent.as_str()) {
        return Ok(());
    }
    Err(Error::not_found(parent.name()))
}

impl Services {
    /// The caller with the rights to read this group's resources: the caller itself or, for the service
    /// identity, a member of the group.
    ///
    /// # Errors
    /// NOT_FOUND for a group that is not the caller's, or, for the service identity, that does not exist.
    pub async fn reader(&self, caller: Caller, parent: &GroupId) -> Result<Caller> {
        if caller.role != Role::Service {
            require_own_group(&caller, parent)?;
            return Ok(caller);
        }
        self.about(&caller, parent)?;
        self.known(parent).await?;
        Ok(member_of(caller, parent))
    }

    /// Counts a call of the service identity against the limits of the group that it is about.
    ///
    /// # Errors
    /// GROUP_OVERLOADED.
    pub fn about(&self, caller: &Caller, group: &GroupId) -> Result<()> {
        match caller.role {
            Role::Service => self.limits.count_for(group),
            Role::Member | Role::Administrator => Ok(()),
        }
    }

    /// As [`reader`](Self::reader), for an integration: the service identity gets the rights of a member of
    /// the owner group.
    ///
    /// # Errors
    /// NOT_FOUND if the service identity names an unknown integration.
    pub async fn reader_of(&self, caller: Caller, id: IntegrationId) -> Result<Caller> {
        if caller.role != Role::Service {
            return Ok(caller);
        }
        match self.store.integration_get(id).await {
            Ok(integration) => {
                self.about(&caller, &integration.group_id)?;
                Ok(member_of(caller, &integration.group_id))
            }
            Err(error) if error.is_not_found() => Err(Error::not_found(id.name())),
            Err(error) => Err(error.into()),
        }
    }
}

fn member_of(caller: Caller, group: &GroupId) -> Caller {
    Caller {
        group: Some(group.as_str().to_owned()),
        role: Role::Member,
        ..caller
    }
}

/// The group of the caller; TOKEN_INVALID if the token has none.
pub(super) fn group_of(caller: &Caller) -> Result<GroupId> {
    caller
        .group
        .as_deref()
        .and_then(|group| group.parse().ok())
        .ok_or_else(|| Error::new(Reason::TokenInvalid, "the token names no group"))
}
