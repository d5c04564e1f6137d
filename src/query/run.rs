//! Runs a checked query: computes sets of companies with bitmaps, then one sorted page.
//!
//! Inside `source.Object(…)` an expression is evaluated on documents, so that all its conditions hold for the
//! same record. The documents then become companies; related records become the companies of their company
//! records. Above that, AND, OR and NOT are operations on sets of companies.
//!
//! The record that names a company is chosen as in the database: of the first source that has the company,
//! the first record by name and id. Conditions on names look at these records only. Sorting compares ranks:
//! the dictionaries of a column over all segments, merged once for each state of the indexes. A page token
//! has the *values* of the page's last company and the time that `today` stands for, so the next page is
//! right whatever changed meanwhile. Names and cells of a page are read from the database.

use std::cmp::Ordering;
use std::sync::Arc;

use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::check::{Node, Plan};
use super::order::{By, Column, Ground, Kept, Place, SortKey};
use super::{Error, Page, Source};
use crate::domain::{CompanyId, IntegrationId};
use crate::index::text::{fold, plain, words};
use crate::index::{self, CancelOnDrop, Expr, Index, Position, Snapshot, Test, check};

/// A company of the group's own list, with the name that the group gave it.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// The company.
    pub company_id: CompanyId,
    /// Its name.
    pub name: String,
    /// The key by which the name is sorted.
    pub name_key: String,
    /// Its homepage; empty if there is none.
    pub homepage: String,
    /// The domain of the homepage; empty if there is none.
    pub domain: String,
}

/// A query for the engine.
#[derive(Debug, Clone)]
pub struct Question {
    /// The sources of the group, in the order of precedence for names.
    pub sources: Vec<Source>,
    /// Indexes in `sources` of the sources whose companies are listed.
    pub listed: Vec<usize>,
    /// The group's own list.
    pub tracked: Vec<Tracked>,
    /// Return only companies of the group's own list, with the names that the group gave them.
    pub only_tracked: bool,
    /// Return only companies of which a listed source has a record.
    pub only_fed: bool,
    /// The checked filter, words and order.
    pub plan: Plan,
    /// The end of the previous page: the values of the sort keys, and the company.
    pub after: Option<(Vec<Place>, CompanyId)>,
    /// Maximum number of companies in the page.
    pub limit: usize,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The page.
    pub page: Page,
    /// Number of all companies that match.
    pub total: u64,
    /// The positions of the indexes of the listed sources and of those that the query uses.
    pub positions: Vec<(IntegrationId, Position)>,
}

/// A row of the group's own list, in the form that conditions and sort keys use.
pub(super) struct Row {
    pub(super) number: u32,
    name: String,
    pub(super) sorted_name: String,
    pub(super) domain: String,
    homepage: String,
    found_by: String,
}

/// Runs queries.
#[derive(Clone)]
pub struct Engine {
    index: Index,
    kept: Arc<Mutex<Kept>>,
}

impl Engine {
    /// Creates an engine on this index.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self {
            index,
            kept: Arc::default(),
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
        let rows: Vec<Row> = companies
            .numbers(ids)
            .into_iter()
            .zip(&question.tracked)
            .map(|(number, one)| Row::new(number, one))
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
        let ground = Ground {
            matched: &matched,
            naming: search.naming.clone(),
            rows: search.rows.clone(),
            snapshots,
            classes: &classes,
            kept: &self.kept,
        };
        let columns = order
            .iter()
            .map(|key| ground.column(key))
            .collect::<Result<Vec<_>, _>>()?;
        check()?;
        let page = self.page(question, &matched, &columns)?;
        Ok((page, matched.len()))
    }

    fn page(&self, question: &Question, matched: &RoaringBitmap, columns: &[Column]) -> Result<Page, Error> {
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

/// The sets of companies from which conditions are computed.
struct Search<'a> {
    snapshots: &'a [Option<Arc<Snapshot>>],
    universe: RoaringBitmap,
    tracked: RoaringBitmap,
    /// The snapshots that give companies their names, each with the companies it names.
    naming: Vec<(&'a Snapshot, RoaringBitmap)>,
    /// The rows that give companies their names.
    rows: Vec<&'a Row>,
}

impl<'a> Search<'a> {
    fn new(
        question: &Question,
        snapshots: &'a [Option<Arc<Snapshot>>],
        listed: &[&'a Snapshot],
        rows: &'a [Row],
    ) -> Result<Self, Error> {
        let tracked: RoaringBitmap = rows.iter().map(|row| row.number).collect();
        let mut named = if question.only_tracked {
            tracked.clone()
        } else {
            RoaringBitmap::new()
        };
        let mut naming = Vec::new();
        if !question.only_tracked {
            for snapshot in listed {
                let here = snapshot.companies()? - &named;
                named |= &here;
                naming.push((*snapshot, here));
            }
        }
        let own = |row: &&Row| question.only_tracked || !named.contains(row.number);
        let rows = rows.iter().filter(own).collect();
        let mut universe = if question.only_tracked {
            tracked.clone()
        } else {
            &named | &tracked
        };
        if question.only_fed {
            let mut fed = RoaringBitmap::new();
            for snapshot in listed {
                fed |= snapshot.companies()?;
            }
            universe &= fed;
        }
        Ok(Self {
            snapshots,
            universe,
            tracked,
            naming,
            rows,
        })
    }

    fn node(&self, node: &Node) -> Result<RoaringBitmap, Error> {
        Ok(match node {
            Node::And(all) => {
                let mut found = self.universe.clone();
                for one in all {
                    if found.is_empty() {
                        break;
                    }
                    found &= self.node(one)?;
                }
                found
            }
            Node::Or(any) => {
                let mut found = RoaringBitmap::new();
                for one in any {
                    found |= self.node(one)?;
                }
                found
            }
            Node::Not(one) => &self.universe - self.node(one)?,
            Node::Records(source, expr) => self.snapshot(*source)?.search(expr)?,
            Node::Shown(expr) => self.shown(expr)?,
            Node::Tracked(true) => self.tracked.clone(),
            Node::Tracked(false) => &self.universe - &self.tracked,
            Node::Fed(by) => {
                let mut found = RoaringBitmap::new();
                for source in by {
                    found |= self.snapshot(*source)?.companies()?;
                }
                found
            }
        })
    }

    fn snapshot(&self, source: usize) -> Result<&'a Snapshot, Error> {
        self.snapshots[source]
            .as_deref()
            .ok_or_else(|| index::Error::Broken("a source is not open".to_owned()).into())
    }

    /// The companies whose displayed name, domain or homepage matches.
    fn shown(&self, expr: &Expr) -> Result<RoaringBitmap, Error> {
        let mut found = RoaringBitmap::new();
        for (snapshot, named) in &self.naming {
            found |= snapshot.search_names(expr)? & named;
        }
        found.extend(
            self.rows
                .iter()
                .filter(|row| row.passes(expr))
                .map(|row| row.number),
        );
        Ok(found)
    }
}

impl Row {
    fn new(number: u32, of: &Tracked) -> Self {
        Self {
            number,
            name: fold(&of.name),
            sorted_name: of.name_key.clone(),
            domain: of.domain.clone(),
            homepage: fold(&of.homepage),
            found_by: plain(&of.name),
        }
    }

    fn passes(&self, expr: &Expr) -> bool {
        match expr {
            Expr::All(_) => false,
            Expr::And(all) => all.iter().all(|one| self.passes(one)),
            Expr::Or(any) => any.iter().any(|one| self.passes(one)),
            Expr::Less(from, less) => self.passes(from) && !self.passes(less),
            Expr::Value(path, test) if *path == index::found_by() => match test {
                Test::Text(test) => test.passes(&words(&self.found_by).collect::<Vec<_>>().join(" ")),
                Test::Words(all) => all
                    .iter()
                    .all(|one| one.passes_in(&self.found_by) || one.passes_in(&self.domain)),
                _ => false,
            },
            Expr::Value(path, test) => {
                let text = if *path == index::name() {
                    &self.name
                } else if *path == index::domain() {
                    &self.domain
                } else {
                    &self.homepage
                };
                match test {
                    _ if text.is_empty() => false,
                    Test::Set => true,
                    Test::Text(test) => test.passes(text),
                    Test::Words(all) => all.iter().all(|one| one.passes_in(text)),
                    Test::Int(..) | Test::Number(..) => false,
                }
            }
        }
    }
}
