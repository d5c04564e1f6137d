//! Runs a checked query: computes sets of companies with bitmaps, then one sorted page.
//!
//! A page token has the *values* of the page's last company and the time that `today` stands for, so the next page is right
//! whatever changed meanwhile. Names and cells of a page are read from the database.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::order::{By, SortKey};
use super::place::Place;
use super::problem::Error;
use super::question::{Answer, Page, Question};
use super::sets::Search;
use super::sort::{SortColumn, first};
use super::tracked::Row;
use crate::domain::IntegrationId;
use crate::index::{self, CancelOnDrop, Index, Position, Snapshot, check};

/// The snapshots that a question needs.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a> {
    /// By source.
    snapshots: &'a [Option<Arc<Snapshot>>],
    /// The one whose names come first.
    names: Option<&'a Snapshot>,
}

impl<'a> Opened<'a> {
    /// The sets of companies that conditions are computed from.
    pub(super) fn search(self, question: &Question, rows: &'a [Row<'a>]) -> Result<Search<'a>, Error> {
        let listed = question
            .listed
            .iter()
            .filter_map(|at| self.snapshots[*at].as_deref());
        let listed: Vec<&Snapshot> = listed.collect();
        Search::new(question, self.snapshots, (self.names, &listed), rows)
    }
}

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
        let engine = self.clone();
        let work = move |question: &Question, opened: Opened<'_>| engine.answer(question, opened);
        let ((page, total), positions) = self.on_snapshots(question, Vec::new(), work, held).await?;
        Ok(Answer {
            page,
            total,
            positions,
        })
    }

    /// Runs work on the snapshots of the sources that a question needs, and of some more. Returns the positions of these
    /// snapshots, too.
    pub(super) async fn on_snapshots<T: Send + 'static>(
        &self,
        question: Question,
        more: Vec<usize>,
        work: impl FnOnce(&Question, Opened<'_>) -> Result<T, Error> + Send + 'static,
        held: impl Send + 'static,
    ) -> Result<(T, Vec<(IntegrationId, Position)>), Error> {
        let mut used = question.listed.clone();
        used.extend(question.plan.uses());
        used.extend(more);
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
        let names = match question.names {
            Some(id) => Some(self.index.snapshot(id).await?.ok_or(Error::NotReady(id))?),
            None => None,
        };
        let used = snapshots.iter().flatten().chain(&names);
        let used: Vec<Arc<Snapshot>> = used.cloned().collect();
        let checked = used.clone();
        let waiter = CancelOnDrop::default();
        let cancelled = waiter.cancelled();
        let work = move || {
            let _held = held;
            // The result counts only if the index files pass the check both before and after the search.
            checked.iter().try_for_each(|snapshot| snapshot.check())?;
            let opened = Opened {
                snapshots: &snapshots,
                names: names.as_deref(),
            };
            let found = cancelled.during(|| work(&question, opened))?;
            checked.iter().try_for_each(|snapshot| snapshot.check())?;
            Ok::<_, Error>(found)
        };
        let done = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(index::Error::Broken(error.to_string()).into()));
        match done {
            Err(Error::Index(error)) => Err(match self.index.suspect(used, &error).await {
                Some(damaged) => Error::NotReady(damaged),
                None => Error::Index(error),
            }),
            other => Ok((other?, positions)),
        }
    }

    /// The group's own list, with the numbers of its companies.
    pub(super) fn tracked_rows<'q>(&self, question: &'q Question) -> Vec<Row<'q>> {
        let ids = question
            .tracked
            .iter()
            .map(|one| index::company_number(one.company_id));
        let numbers = self.index.companies().numbers(ids);
        let rows = numbers.into_iter().zip(&question.tracked);
        rows.map(|(number, of)| Row { number, of }).collect()
    }

    /// The companies that match the filter and the words.
    pub(super) fn matched(&self, question: &Question, search: &Search<'_>) -> Result<RoaringBitmap, Error> {
        let mut matched = search.universe.clone();
        if let Some(node) = &question.plan.filter {
            matched &= search.node(node)?;
        }
        if let Some(words) = &question.plan.words {
            matched &= search.shown(&words.classes()[3])?;
        }
        Ok(matched)
    }

    fn answer(&self, question: &Question, opened: Opened<'_>) -> Result<(Page, u64), Error> {
        let rows = self.tracked_rows(question);
        let search = opened.search(question, &rows)?;
        let matched = self.matched(question, &search)?;
        let mut classes: Vec<RoaringBitmap> = Vec::new();
        let mut order = question.plan.order.clone();
        if let Some(words) = &question.plan.words
            && order.is_empty()
            && !question.by_id
        {
            order.push(SortKey {
                by: By::Class,
                descending: false,
            });
            for class in &words.classes()[..3] {
                classes.push(search.shown(class)?);
            }
            classes.push(matched.clone());
        }
        if (order.is_empty() && !question.by_id) || classes.len() == 4 {
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
