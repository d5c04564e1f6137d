//! The review step: what would be saved, counted live at the CRM before anything is stored.

use super::integration::IntegrationView;
use super::{Services, field};
use crate::caller::Caller;
use crate::domain::IntegrationId;
use crate::error::{Error, Reason, Result};
use crate::grants::deadline;
use crate::store::Field;
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
    /// What stands in the way of saving: (reason, sentence).
    pub blocking: Vec<(Reason, String)>,
    /// Selected fields that the user cannot see any more.
    pub missing: Vec<String>,
    /// Selected fields that the CRM marks as needing care.
    pub sensitive: Vec<String>,
    /// Objects of which fields are selected and that the user cannot see.
    pub invisible: Vec<String>,
    /// When the CRM was asked.
    pub read_us: i64,
}

/// One object of a review.
#[derive(Debug, Clone)]
pub struct ReviewedObject {
    /// The object's key.
    pub object: String,
    /// The name people see.
    pub label: String,
    /// What it is to tether.
    pub role: ObjectRole,
    /// How many of its fields are selected.
    pub fields: usize,
    /// How many records the CRM has: (number, exact).
    pub records: Option<(u64, bool)>,
}

impl Services {
    /// Reviews a draft, as it is or with a proposed name and selection.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_LOGGED_IN, FIELD_UNKNOWN, CONNECTOR_DISABLED, and what the CRM answers.
    pub async fn integration_review(
        &self,
        caller: &Caller,
        id: IntegrationId,
        display_name: Option<String>,
        fields: Option<Vec<(String, String)>>,
    ) -> Result<Review> {
        let row = self.owned(caller, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        let grant_id = field::logged_in(&row)?;
        let (_, describe) = self.usable(&row.connector)?;
        let mut view = self.view(row.clone()).await?;
        if let Some(name) = display_name {
            view.row.display_name = name;
        }
        if let Some(keys) = &fields {
            view.fields = self.resolve(&row, keys).await?;
        }
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
            .grants
            .call(grant_id, &row.connector, |connector, connection| {
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
                    .filter(|field| field.object == object.key)
                    .count(),
                records: counts
                    .iter()
                    .find(|count| count.object == object.key)
                    .map(|c| (c.count, c.exact)),
            })
            .collect();
        let seen = |field: &Field| {
            let object = listing
                .objects
                .iter()
                .find(|listed| listed.object == field.object)?;
            object.fields.iter().find(|listed| listed.key == field.key)
        };
        let name = |field: &Field| format!("{}.{}", field.object, field.key);
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
        Ok(Review {
            missing: view
                .fields
                .iter()
                .filter(|field| seen(field).is_none())
                .map(name)
                .collect(),
            sensitive: view
                .fields
                .iter()
                .filter(|field| seen(field).is_some_and(|listed| listed.sensitive))
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

fn selects(fields: &[Field], object: &str) -> bool {
    fields.iter().any(|field| field.object == object)
}

impl Review {
    /// How many company records there are: an upper bound of companies.
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
