//! The review before saving: what would be saved, with numbers of records counted live in the CRM. Nothing is
//! stored. This file gathers what is known; `judge` concludes from it.

mod judge;

pub use judge::{ReviewedObject, SelectedField, Verdict};

use super::errors::of_integration;
use super::listing::Listing;
use super::{Edit, IntegrationView, Services, field};
use crate::caller::Caller;
use crate::credentials::deadline;
use crate::domain::{CredentialId, GroupId, IntegrationId, IntegrationState};
use crate::error::Result;
use crate::store::{FieldRef, Integration, SeenField};
use crate::time::now_us;
use judge::{Facts, judge};
use std::time::Duration;
use tether_connector_proto::{self as proto, CountRecordsRequest, DescribeResponse, ObjectCount, ObjectRole};

const TIMEOUT: Duration = Duration::from_secs(60);

/// What would be saved.
#[derive(Debug, Clone)]
pub struct Review {
    /// The integration as it would be.
    pub integration: IntegrationView,
    /// Its objects, the company object first.
    pub objects: Vec<ReviewedObject>,
    /// The groups that would have access; the owner is first if it uses the integration itself.
    pub groups: Vec<ReviewedGroup>,
    /// What follows from it.
    pub verdict: Verdict,
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

impl Review {
    /// The number of company records, and whether it is exact: an upper bound of companies. `None` if the user cannot
    /// see them.
    #[must_use]
    pub fn company_records(&self) -> Option<(u64, bool)> {
        let company = self.objects.iter().find(|one| one.role == ObjectRole::Company);
        company.and_then(|object| object.records)
    }
}

impl Services {
    /// Reviews an integration as it is, or with proposed changes.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, NOT_LOGGED_IN, FIELD_UNKNOWN, FIELD_PASSIVE, CONNECTOR_DISABLED, API_BUDGET_USED, and errors of
    /// the CRM.
    pub async fn integration_review(&self, caller: &Caller, id: IntegrationId, edit: Edit) -> Result<Review> {
        let row = edit.with_budget(self.owned(caller, id).await?);
        self.require_enabled(&row.group_id, &row.connector).await?;
        let credential_id = field::logged_in(&row)?;
        let (_, describe) = self.usable(&row.connector)?;
        let before = self.view(&row.group_id, id).await?;
        let view = self.proposed(&row, &edit).await?;
        let listing = self.listing(&row, false).await?;
        let counts = self
            .count_records(&row, credential_id, visible(&describe, &view, &listing))
            .await?;
        let objects = objects(&describe, &view, &listing, &counts);
        let sources = self.store.source_list(&row.group_id).await?;
        let connections = self.store.group_connections(&row.group_id).await?;
        let verdict = judge(&Facts {
            draft: row.state == IntegrationState::Draft,
            account_integrations: view.account_integrations,
            display_name: &view.row().display_name,
            other_names: sources
                .into_iter()
                .filter(|one| one.is_owned() && one.integration.id != id)
                .map(|one| one.integration.name_key)
                .collect(),
            objects: &objects,
            fields: view.fields.iter().map(|one| selected(one, &listing)).collect(),
            shares_before: &before.shares,
            shares: &view.shares,
            connections: connections.into_iter().map(|group| group.id).collect(),
        });
        Ok(Review {
            groups: groups(&view),
            integration: view,
            objects,
            verdict,
            read_us: now_us(),
        })
    }

    async fn count_records(
        &self,
        row: &Integration,
        credential_id: CredentialId,
        objects: Vec<String>,
    ) -> Result<Vec<ObjectCount>> {
        let counted = self
            .credentials
            .call(
                field::editing(row, credential_id),
                &row.connector,
                |connector, connection| {
                    let objects = objects.clone();
                    async move {
                        let request = CountRecordsRequest {
                            connection: Some(connection),
                            objects,
                        };
                        connector.count_records(request, deadline(TIMEOUT)).await
                    }
                },
            )
            .await
            .map_err(of_integration(row.id))?;
        Ok(counted.counts)
    }
}

/// The objects of a review: the company object and those of which fields are selected.
fn reviewed<'a>(
    describe: &'a DescribeResponse,
    fields: &'a [SeenField],
) -> impl Iterator<Item = &'a proto::Object> {
    describe.objects.iter().filter(|object| {
        object.role() == ObjectRole::Company || fields.iter().any(|one| one.field.object == object.key)
    })
}

/// The keys of the objects that the user can see.
fn visible(describe: &DescribeResponse, view: &IntegrationView, listing: &Listing) -> Vec<String> {
    reviewed(describe, &view.fields)
        .map(|object| &object.key)
        .filter(|key| {
            listing
                .objects
                .iter()
                .any(|listed| listed.object == **key && listed.visible)
        })
        .cloned()
        .collect()
}

fn objects(
    describe: &DescribeResponse,
    view: &IntegrationView,
    listing: &Listing,
    counts: &[ObjectCount],
) -> Vec<ReviewedObject> {
    reviewed(describe, &view.fields)
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
                .map(|count| (count.count, count.exact)),
        })
        .collect()
}

fn selected(one: &SeenField, listing: &Listing) -> SelectedField {
    let object = listing
        .objects
        .iter()
        .find(|listed| listed.object == one.field.object);
    let listed = object.and_then(|object| object.fields.iter().find(|listed| listed.key == one.field.key));
    SelectedField {
        field: FieldRef {
            object: one.field.object.clone(),
            key: one.field.key.clone(),
        },
        sensitive: listed.map(|listed| listed.sensitive),
    }
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
