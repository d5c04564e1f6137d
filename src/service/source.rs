//! Sources: the integrations that a group can filter by.
//!
//! A source whose index cannot be read is listed too, with this state: one damaged file must not hide all
//! sources.

use super::{Services, require_own_group};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::Result;
use crate::index::{self, Position};
use crate::store::Source;

/// A source as a group sees it.
#[derive(Debug, Clone)]
pub struct SourceView {
    /// The integration as the group uses it.
    pub row: Source,
    /// The owner's name.
    pub group: String,
    /// How many companies it has.
    pub companies: i64,
    /// How many of its fields are active for the group.
    pub active_fields: usize,
    /// Whether it can be searched.
    pub index: IndexState,
    /// The change number that its index has reached.
    pub position: Position,
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
    /// The sources of a group, by label.
    ///
    /// # Errors
    /// NOT_FOUND for another group.
    pub async fn source_list(
        &self,
        caller: &Caller,
        parent: &GroupId,
        after: Option<String>,
        limit: usize,
    ) -> Result<SourcePage> {
        require_own_group(caller, parent)?;
        let mut rows = self.sources(parent).await?;
        rows.sort_by(|a, b| (&a.label, a.integration.id).cmp(&(&b.label, b.integration.id)));
        rows.retain(|row| after.as_ref().is_none_or(|after| row.label > *after));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let about = self.query_sources(parent, &rows).await?;
        let next = rows.last().filter(|_| more).map(|row| row.label.clone());
        let mut sources = Vec::with_capacity(rows.len());
        for (row, about) in rows.into_iter().zip(about) {
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
                active_fields: about.fields.iter().filter(|field| field.active).count(),
                position,
                row,
            });
        }
        Ok(SourcePage { sources, next })
    }
}
