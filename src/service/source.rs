//! Sources: the integrations that a group can filter by.
//!
//! A source whose index cannot be read is listed too, with this state: one damaged file must not hide all
//! sources.

use super::{Services, Standing, require_own_group};
use crate::caller::Caller;
use crate::domain::{GroupId, IntegrationId};
use crate::error::Result;
use crate::index::{self, Position};
use crate::store::{SeenField, Source};
use crate::time::now_us;
use std::collections::BTreeMap;
use tether_connector_proto::ObjectRole;

/// A source as a group sees it.
#[derive(Debug, Clone)]
pub struct SourceView {
    /// The integration as the group uses it.
    pub row: Source,
    /// The owner's name.
    pub group: String,
    /// How many companies it has.
    pub companies: i64,
    /// Whether it can be searched.
    pub index: IndexState,
    /// The change number that its index has reached.
    pub position: Position,
    /// The objects of which the group sees fields, the company object first.
    pub objects: Vec<SourceObject>,
    /// The state of the integration.
    pub state: Standing,
}

/// An object of a source.
#[derive(Debug, Clone)]
pub struct SourceObject {
    /// Its key.
    pub object: String,
    /// The name people see.
    pub label: String,
    /// What it is to tether.
    pub role: ObjectRole,
    /// The fields that the group sees, by key.
    pub fields: Vec<SeenField>,
}

impl SourceView {
    /// How many of its fields are active for the group.
    #[must_use]
    pub fn active_fields(&self) -> usize {
        self.objects.iter().map(SourceObject::active_fields).sum()
    }
}

impl SourceObject {
    /// How many of its fields are active for the group.
    #[must_use]
    pub fn active_fields(&self) -> usize {
        self.fields.iter().filter(|field| field.active).count()
    }
}

/// Whether a source can be searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// Its index can be searched.
    Ready,
    /// Its index is being built.
    Building,
    /// Its index cannot be read for now: the operating system returns an error, or the cause is unknown.
    Unreadable,
}

/// One page.
#[derive(Debug, Clone)]
pub struct SourcePage {
    /// The sources, by label.
    pub sources: Vec<SourceView>,
    /// The label that the next page begins after; `None` at the end.
    pub next: Option<String>,
}

impl Services {
    /// The sources of a group, by label; with `only`, those of them.
    ///
    /// # Errors
    /// NOT_FOUND for another group or a source that the group does not have.
    pub async fn source_list(
        &self,
        caller: &Caller,
        parent: &GroupId,
        only: &[IntegrationId],
        after: Option<String>,
        limit: usize,
    ) -> Result<SourcePage> {
        require_own_group(caller, parent)?;
        let mut rows = self.sources_among(parent, only).await?;
        rows.sort_by(|a, b| (&a.label, a.integration.id).cmp(&(&b.label, b.integration.id)));
        rows.retain(|row| after.as_ref().is_none_or(|after| row.label > *after));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let ids = rows.iter().map(|row| row.integration.id).collect();
        let mut fields = self.store.field_list_seen(parent, ids).await?;
        let next = rows.last().filter(|_| more).map(|row| row.label.clone());
        let mut sources = Vec::with_capacity(rows.len());
        for row in rows {
            let group = self
                .store
                .group_get(&row.integration.group_id)
                .await?
                .display_name;
            // An error of one index is shown as the state of its source.
            let counted = self.engine.index().count(row.integration.id).await;
            let (index, counted) = match counted {
                Ok(Some(counted)) => (IndexState::Ready, Some(counted)),
                Ok(None) => (IndexState::Building, None),
                Err(index::Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    let id = row.integration.id;
                    tracing::error!(integration = %id, "the companies of {id} cannot be counted: {error}");
                    (IndexState::Unreadable, None)
                }
            };
            let stored = || {
                (
                    row.integration.company_records.unwrap_or_default(),
                    Position::default(),
                )
            };
            let (companies, position) = counted.unwrap_or_else(stored);
            sources.push(SourceView {
                group,
                companies,
                index,
                position,
                state: Standing::of(&row, now_us()),
                objects: self.source_objects(&row, fields.remove(&row.integration.id).unwrap_or_default()),
                row,
            });
        }
        Ok(SourcePage { sources, next })
    }

    /// The objects of these fields, in the order of the connector.
    fn source_objects(&self, of: &Source, fields: Vec<SeenField>) -> Vec<SourceObject> {
        let described = self.usable(&of.integration.connector);
        let described = described
            .map(|(_, describe)| describe.objects)
            .unwrap_or_default();
        let mut by_object: BTreeMap<String, Vec<SeenField>> = BTreeMap::new();
        for field in fields {
            by_object
                .entry(field.field.object.clone())
                .or_default()
                .push(field);
        }
        let objects = by_object.into_iter().map(|(object, mut fields)| {
            fields.sort_by(|a, b| a.field.key.cmp(&b.field.key));
            let at = described.iter().position(|known| known.key == object);
            let known = at.map(|at| &described[at]);
            let role = known.map_or(ObjectRole::Unspecified, |known| known.role());
            let label = known.map_or(&object, |known| &known.label).clone();
            let place = (role != ObjectRole::Company, at.unwrap_or(usize::MAX));
            (
                place,
                SourceObject {
                    object,
                    label,
                    role,
                    fields,
                },
            )
        });
        let mut objects: Vec<_> = objects.collect();
        objects.sort_by(|(a, x), (b, y)| (a, &x.object).cmp(&(b, &y.object)));
        objects.into_iter().map(|(_, object)| object).collect()
    }
}
