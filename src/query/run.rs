//! Runs a checked query: computes sets of companies with bitmaps, then one sorted page.
//!
//! Sorting compares ranks:
//! the dictionaries of a column over all segments, merged once for each state of the indexes. A page token
//! has the *values* of the page's last company and the time that `today` stands for, so the next page is
//! right whatever changed meanwhile. Names and cells of a page are read from the database.

use std::cmp::Ordering;
use std::sync::Arc;

use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::order::{By, SortKey};
use super::problem::Error;
use super::question::{Answer, Page, Question};
use super::rank_cache::RankCache;
use super::sets::Search;
use super::sort::{SortColumn, SortContext};
use super::tracked::Row;
use crate::domain::{CompanyId, IntegrationId};
use crate::index::{self, CancelOnDrop, Index, Position, Snapshot, check};

/// Runs queries.
#[derive(Clone)]
pub struct Engine {
    index: Index,
    ranks: Arc<Mutex<RankCache>>,
}

impl Engine {
    /// Creates an engine on this index.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self {
            index,
            ranks: Arc::default(),
        }
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
        let names = match question.names {
            Some(id) => Some(self.index.snapshot(id).await?.ok_or(Error::NotReady(id))?),
            None => None,
        };
        let used = snapshots.iter().flatten().chain(&names);
        let used: Vec<Arc<Snapshot>> = used.cloned().collect();
        let (engine, checked) = (self.clone(), used.clone());
        let waiter = CancelOnDrop::default();
        let cancelled = waiter.cancelled();
        let work = move || {
            let _held = held;
            // The result counts only if the index files pass the check both before and after the search.
            checked.iter().try_for_each(|snapshot| snapshot.check())?;
            let found = cancelled.during(|| engine.answer(&question, &snapshots, names.as_deref()))?;
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

    fn answer(
        &self,
        question: &Question,
        snapshots: &[Option<Arc<Snapshot>>],
        names: Option<&Snapshot>,
    ) -> Result<(Page, u64), Error> {
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
        let search = Search::new(question, snapshots, (names, &listed), &rows)?;
        let mut matched = search.universe.clone();
        if let Some(node) = &question.plan.filter {
            matched &= search.node(node)?;
        }
        let mut classes: Vec<RoaringBitmap> = Vec::new();
        let mut order = question.plan.order.clone();
        if let Some(words) = &question.plan.words {
            let any = search.shown(&words.classes()[3])?;
            matched &= &any;
            if order.is_empty() && !question.by_id {
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
        if (order.is_empty() && !question.by_id) || classes.len() == 4 {
            order.push(SortKey {
                by: By::Name,
                descending: false,
            });
        }
        let context = SortContext {
            matched: &matched,
            naming: search.naming.clone(),
            rows: search.rows.clone(),
            snapshots,
            classes: &classes,
            cache: &self.ranks,
        };
        let columns = order
            .iter()
            .map(|key| context.column(key))
            .collect::<Result<Vec<_>, _>>()?;
        check()?;
        let page = self.page(question, &matched, &columns)?;
        Ok((page, matched.len()))
    }

    fn page(
        &self,
        question: &Question,
        matched: &RoaringBitmap,
        columns: &[SortColumn],
    ) -> Result<Page, Error> {
        let ids = self.index.companies().ids(matched.iter());
        let compare = |a: &usize, b: &usize| {
            let by_key = columns
                .iter()
                .map(|column| column.compare(column.at(*a), column.at(*b)))
                .find(|order| order.is_ne());
            by_key.unwrap_or_else(|| ids[*a].cmp(&ids[*b]))
        };
        let mut all: Vec<usize> = (0..ids.len()).collect();
        if let Some((places, last)) = &question.after {
            let mut keys = Vec::new();
            for (column, place) in columns.iter().zip(places) {
                keys.push(column.key(place)?);
            }
            let last = index::company_number(*last);
            all.retain(|at| {
                let by_key = columns
                    .iter()
                    .zip(&keys)
                    .map(|(column, key)| column.compare(column.at(*at), *key))
                    .find(|order| order.is_ne());
                by_key.unwrap_or_else(|| ids[*at].cmp(&last)) == Ordering::Greater
            });
        }
        let more = all.len() > question.limit;
        if more {
            all.select_nth_unstable_by(question.limit, compare);
            all.truncate(question.limit);
        }
        all.sort_unstable_by(compare);
        let id = |at: &usize| CompanyId::from_uuid(uuid::Uuid::from_u128(ids[*at]));
        let places = |at: &usize| columns.iter().map(|column| column.place(*at)).collect();
        Ok(Page {
            companies: all.iter().map(id).collect(),
            places: all.iter().map(places).collect::<Result<_, _>>()?,
            more,
        })
    }
}
