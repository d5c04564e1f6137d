//! The review before saving: what would be saved, with numbers of records counted live in the CRM. Nothing is
//! stored.

use super::places::ACCOUNT_LIMIT;
use super::{Edit, IntegrationView, Services, field};
use crate::caller::Caller;
use crate::credentials::deadline;
use crate::domain::{GroupId, IntegrationId, IntegrationState, name_key};
use crate::error::{Error, Reason, Result};
use crate::store::{SeenField, Share};
use crate::time::now_us;
use std::time::Duration;
use tether_connector_proto::{CountRecordsRequest, ObjectRole};

const TIMEOUT: Duration = Duration::from_secs(60);

/// What would be saved.
#[derive(Debug, Clone)]
pub struct Review {
    /// The integration as it would be.
    pub integration: IntegrationView,
    /// Its objects, the company object first.
    pub objects: Vec<ReviewedObject>,
    /// The reasons why it cannot be saved: (reason, sentence).
    pub blocking: Vec<(Reason, String)>,
    /// The groups that would have access; the owner is first if it uses the integration itself.
    pub groups: Vec<ReviewedGroup>,
    /// The number of receiving groups that would lose fields or the source.
    pub losing: usize,
    /// Whether it would take the account's last place.
    pub last_place: bool,
    /// Selected fields that the user can no longer see.
    pub missing: Vec<String>,
    /// Selected fields that the CRM marks as sensitive.
    pub sensitive: Vec<String>,
    /// Objects with selected fields that the user cannot see.
    pub invisible: Vec<String>,
    /// When the CRM was read.
    pub read_us: i64,
}

/// One group of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewedGroup {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub name: String,
    /// Whether it is the owner.
    pub owner: bool,
    /// The number of fields that it would receive.
    pub fields: usize,
}

/// One object of a review.
#[derive(Debug, Clone)]
pub struct ReviewedObject {
    /// The object's key.
    pub object: String,
    /// The label in the CRM.
    pub label: String,
    /// The object's role: company object, related object and so on.
    pub role: ObjectRole,
    /// How many of its fields are selected.
    pub fields: usize,
    /// The number of records in the CRM: (number, whether it is exact).
    pub records: Option<(u64, bool)>,
}

impl Services {
    /// Reviews an integration as it is, or with proposed changes.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, NOT_LOGGED_IN, FIELD_UNKNOWN, FIELD_PASSIVE, CONNECTOR_DISABLED, and errors of
    /// the CRM.
    pub async fn integration_review(&self, caller: &Caller, id: IntegrationId, edit: Edit) -> Result<Review> {
        let row = self.owned(caller, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        let credential_id = field::logged_in(&row)?;
        let (_, describe) = self.usable(&row.connector)?;
        let now = self.view(&row.group_id, id).await?;
        let view = self.proposed(&row, &edit).await?;
        let listing = self.listing(&row, false).await?;
        let wanted: Vec<String> = describe
            .objects
            .iter()
            .filter(|object| object.role() == ObjectRole::Company || selects(&view.fields, &object.key))
            .filter(|object| {
                listing
                    .objects
                    .iter()
                    .any(|listed| listed.object == object.key && listed.visible)
            })
            .map(|object| object.key.clone())
            .collect();
        let counts = self
            .credentials
            .call(credential_id, &row.connector, |connector, connection| {
                let objects = wanted.clone();
                async move {
                    let request = CountRecordsRequest {
                        connection: Some(connection),
                        objects,
                    };
                    connector.count_records(request, deadline(TIMEOUT)).await
                }
            })
            .await
            .map_err(super::of_integration(row.id))?
            .counts;
        let objects: Vec<_> = describe
            .objects
            .iter()
            .filter(|object| object.role() == ObjectRole::Company || selects(&view.fields, &object.key))
            .map(|object| ReviewedObject {
                object: object.key.clone(),
                label: listing
                    .objects
                    .iter()
                    .find(|listed| listed.object == object.key && !listed.label.is_empty())
                    .map_or(&object.label, |listed| &listed.label)
                    .clone(),
                role: object.role(),
                fields: view
                    .fields
                    .iter()
                    .filter(|one| one.field.object == object.key)
                    .count(),
                records: counts
                    .iter()
                    .find(|count| count.object == object.key)
                    .map(|c| (c.count, c.exact)),
            })
            .collect();
        let seen = |one: &SeenField| {
            let field = &one.field;
            let object = listing
                .objects
                .iter()
                .find(|listed| listed.object == field.object)?;
            object.fields.iter().find(|listed| listed.key == field.key)
        };
        let name = |one: &SeenField| format!("{}.{}", one.field.object, one.field.key);
        let mut blocking = Vec::new();
        if view.fields.is_empty() {
            blocking.push((Reason::NoFieldsSelected, "no field is selected".to_owned()));
        }
        if let Some(company) = objects.iter().find(|object| object.role == ObjectRole::Company)
            && company.records.is_none()
        {
            let text = format!(
                "the logged-in user cannot see {}, which companies are made of",
                company.label
            );
            blocking.push((Reason::CrmForbidden, text));
        }
        let draft = row.state == IntegrationState::Draft;
        if draft && view.account_integrations >= ACCOUNT_LIMIT {
            let text = format!("the account has its {ACCOUNT_LIMIT} active integrations already");
            blocking.push((Reason::AccountLimitReached, text));
        }
        let taken = self.store.source_list(&row.group_id).await?;
        let key = name_key(&view.row().display_name);
        if taken
            .iter()
            .any(|one| one.is_owned() && one.integration.id != id && one.integration.name_key == key)
        {
            let text = format!(
                "the group has an integration named {:?} already",
                view.row().display_name
            );
            blocking.push((Reason::NameTaken, text));
        }
        let connections = self.store.group_connections(&row.group_id).await?;
        for share in &view.shares {
            if !connections.iter().any(|group| group.id == share.group_id) {
                let text = format!(
                    "{} is not connected with the owner any more",
                    share.group_id.name()
                );
                blocking.push((Reason::GroupsNotConnected, text));
            }
        }
        Ok(Review {
            groups: groups(&view),
            losing: if draft {
                0
            } else {
                losing(&now.shares, &view.shares)
            },
            last_place: draft && view.account_integrations + 1 == ACCOUNT_LIMIT,
            missing: view
                .fields
                .iter()
                .filter(|one| seen(one).is_none())
                .map(name)
                .collect(),
            sensitive: view
                .fields
                .iter()
                .filter(|one| seen(one).is_some_and(|listed| listed.sensitive))
                .map(name)
                .collect(),
            invisible: objects
                .iter()
                .filter(|one| one.records.is_none())
                .map(|one| one.object.clone())
                .collect(),
            read_us: now_us(),
            integration: view,
            objects,
            blocking,
        })
    }
}

fn selects(fields: &[SeenField], object: &str) -> bool {
    fields.iter().any(|one| one.field.object == object)
}

fn groups(view: &IntegrationView) -> Vec<ReviewedGroup> {
    let owner = view.source.connected.then(|| ReviewedGroup {
        group: view.row().group_id.clone(),
        name: view.group.display_name.clone(),
        owner: true,
        fields: view.fields.len(),
    });
    let receivers = view.shares.iter().map(|share| ReviewedGroup {
        group: share.group_id.clone(),
        name: share.group_name.clone(),
        owner: false,
        fields: share.shared.len(),
    });
    owner.into_iter().chain(receivers).collect()
}

/// The number of receivers that would lose fields or the share.
fn losing(now: &[Share], then: &[Share]) -> usize {
    now.iter()
        .filter(|share| {
            let after = then.iter().find(|one| one.group_id == share.group_id);
            after.is_none_or(|after| share.shared.iter().any(|field| !after.shared.contains(field)))
        })
        .count()
}

impl Review {
    /// The number of company records, which is an upper bound of the number of companies.
    ///
    /// # Errors
    /// CRM_FORBIDDEN if the user cannot see them.
    pub fn company_records(&self) -> Result<(u64, bool)> {
        let company = self
            .objects
            .iter()
            .find(|object| object.role == ObjectRole::Company);
        company.and_then(|object| object.records).ok_or_else(|| {
            Error::new(
                Reason::CrmForbidden,
                "the logged-in user cannot see any company record",
            )
        })
    }
}
