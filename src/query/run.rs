//! Runs a checked query: computes sets of companies with bitmaps, then one sorted page.
//!
//! A page token has the *values* of the page's last company and the time that `today` stands for, so the next page is right
//! whatever changed meanwhile. Names and cells of a page are read from the database.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::order::{By, SortKey};
use super::problem::Error;
use super::question::{Answer, Page, Question};
use super::sets::Search;
use super::sort::{Place, SortColumn, first};
use super::tracked::Row;
use crate::domain::IntegrationId;
use crate::index::{self, CancelOnDrop, Index, Position, Snapshot, check};

/// Runs queries.
#[derive(Clone)]
pub struct Engine {
    index: Index,
}

impl Engine {
    /// Creates an engine on this index.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self { index }
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Runs a query. `held` is dropped when the work ends; the work ends early if the caller drops this future.
    ///
    /// # Errors
    /// [`Error::NotReady`], or an error of the index.
    pub async fn run(&self, question: Question, held: impl Send + 'static) -> Result<Answer, Error> {
        let mut used = question.listed.clone();
        used.extend(question.plan.uses());
        let mut snapshots = vec![None; question.sources.len()];
        let mut positions: Vec<(IntegrationId, Position)> = Vec::new();
        for at in used {
            if snapshots[at].is_some() {
                continue;
            }
            let id = question.sources[at].integration;
            let snapshot = self.index.snapshot(id).await?.ok_or(Error::NotReady(id))?;
            positions.push((id, snapshot.position));
            snapshots[at] = Some(snapshot);
        }
        let used: Vec<Arc<Snapshot>> = snapshots.iter().flatten().cloned().collect();
        let (engine, checked) = (self.clone(), used.clone());
        let waiter = CancelOnDrop::default();
        let cancelled = waiter.cancelled();
        let work = move || {
            let _held = held;
            // The result counts only if the index files pass the check both before and after the search.
            checked.iter().try_for_each(|snapshot| snapshot.check())?;
            let found = cancelled.during(|| engine.answer(&question, &snapshots))?;
            checked.iter().try_for_each(|snapshot| snapshot.check())?;
            Ok::<_, Error>(found)
        };
        let done = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(index::Error::Broken(error.to_string()).into()));
        let (page, total) = match done {
            Err(Error::Index(error)) => match self.index.suspect(used, &error).await {
                Some(damaged) => return Err(Error::NotReady(damaged)),
                None => return Err(Error::Index(error)),
            },
            other => other?,
        };
        Ok(Answer {
            page,
            total,
            positions,
        })
    }

    fn answer(&self, question: &Question, snapshots: &[Option<Arc<Snapshot>>]) -> Result<(Page, u64), Error> {
        let companies = self.index.companies();
        let ids = question
            .tracked
            .iter()
            .map(|one| index::company_number(one.company_id));
        let rows: Vec<Row<'_>> = companies
            .numbers(ids)
            .into_iter()
            .zip(&question.tracked)
            .map(|(number, of)| Row { number, of })
            .collect();
        let listed = question.listed.iter().filter_map(|at| snapshots[*at].as_deref());
        let listed: Vec<&Snapshot> = listed.collect();
        let search = Search::new(question, snapshots, &listed, &rows)?;
        let mut matched = search.universe.clone();
        if let Some(node) = &question.plan.filter {
            matched &= search.node(node)?;
        }
        let mut classes: Vec<RoaringBitmap> = Vec::new();
        let mut order = question.plan.order.clone();
        if let Some(words) = &question.plan.words {
            let any = search.shown(&words.classes()[3])?;
            matched &= &any;
            if order.is_empty() {
                order.push(SortKey {
                    by: By::Class,
                    descending: false,
                });
                for class in &words.classes()[..3] {
                    classes.push(search.shown(class)?);
                }
                classes.push(any);
            }
        }
        if order.is_empty() || classes.len() == 4 {
            order.push(SortKey {
                by: By::Name,
                descending: false,
            });
        }
        let columns = order
            .iter()
            .map(|key| SortColumn::new(key, &search, &classes))
            .collect::<Result<Vec<_>, _>>()?;
        check()?;
        let page = self.page(question, &matched, &columns)?;
        Ok((page, matched.len()))
    }

    fn page(
        &self,
        question: &Question,
        matched: &RoaringBitmap,
        columns: &[SortColumn<'_>],
    ) -> Result<Page, Error> {
        let after = question.after.as_ref().map(|(places, last)| {
            let values: Vec<_> = places.iter().map(Place::value).collect();
            (values, index::company_number(*last))
        });
        let after = after.as_ref().map(|(values, id)| (values.as_slice(), *id));
        let companies = self.index.companies();
        let mut entries =
            companies.with_ids(|ids| first(columns, matched, after, ids, question.limit + 1))?;
        let more = entries.len() > question.limit;
        entries.truncate(question.limit);
        Ok(Page {
            companies: entries.iter().map(|entry| index::company_of(entry.id)).collect(),
            places: entries
                .into_iter()
                .map(|entry| entry.values.into_iter().map(Place::from).collect())
                .collect(),
            more,
        })
    }
}
