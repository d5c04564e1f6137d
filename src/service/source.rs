//! Sources: what a group can filter by.

use super::{Services, viewpoint};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::Result;
use crate::index::Position;
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
    /// How far its index has come.
    pub position: Position,
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
    /// NOT_FOUND for another group's viewpoint.
    pub async fn source_list(
        &self,
        caller: &Caller,
        parent: &GroupId,
        after: Option<String>,
        limit: usize,
    ) -> Result<SourcePage> {
        viewpoint(caller, parent)?;
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
            let snapshot = self.engine.index().snapshot(row.integration.id).await;
            let (companies, position) = match snapshot.map_err(crate::query::Error::from)? {
                Some(snapshot) => {
                    let position = snapshot.position;
                    let count =
                        tokio::task::spawn_blocking(move || snapshot.companies().map(|all| all.len()))
                            .await
                            .map_err(crate::error::Error::internal)?
                            .map_err(crate::query::Error::from)?;
                    (count as i64, position)
                }
                None => (
                    row.integration.company_records.unwrap_or_default(),
                    Position::default(),
                ),
            };
            sources.push(SourceView {
                group,
                companies,
                active_fields: about.fields.iter().filter(|field| field.active).count(),
                position,
                row,
            });
        }
        Ok(SourcePage { sources, next })
    }
}
