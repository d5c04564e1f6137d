//! Lists of companies: by name from the database; searched, filtered, sorted otherwise, or named by the platform, from
//! the index.
//!
//! The group's own list is read from the database for each search: it is in no change feed, and has at most
//! 100,000 companies.

mod errors;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::cells::{self, Cell};
use super::{CompanyView, LimitPlace, Scope, Services, require_own_group};
use crate::caller::Caller;
use crate::domain::{CompanyId, FieldType, GroupId, IntegrationId, Micros, Zone};
use crate::error::{Error, Reason, Result};
use crate::identity::Homepage;
use crate::index::Position;
use crate::query::{self, Column, Place, Plan, Question, Tracked};
use crate::store::{Company, CompanyKey, Source, Track};
use errors::{not_ready, refused, wrong_page};

/// How long a list waits for an index.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The arguments of a list of companies.
#[derive(Debug, Clone)]
pub struct CompanyAsk {
    /// Which of the group's companies.
    pub scope: Scope,
    /// Only companies of these integrations; empty for all.
    pub only: Vec<IntegrationId>,
    /// The words to search for.
    pub query: String,
    /// The filter.
    pub filter: String,
    /// The order.
    pub order_by: String,
    /// The time zone of `today` and of whole days.
    pub zone: Zone,
    /// Whether the order is that of the ids; `order_by` is empty then.
    pub by_id: bool,
    /// The fields to return.
    pub columns: Vec<String>,
    /// Whether to count the companies of all pages.
    pub total: bool,
    /// The change numbers that the indexes must have reached.
    pub at_least: Vec<(IntegrationId, i64)>,
    /// The position after which the page begins.
    pub after: Option<Cursor>,
    /// The maximum number of companies of the page.
    pub limit: usize,
    /// What `today` and `now` mean, if the page is the first.
    pub now_us: Micros,
}

/// The position after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// In the list by name.
    Name(CompanyKey),
    /// In a result of the index.
    Search {
        /// The time that `today` and `now` meant on the first page.
        now_us: i64,
        /// The values of the sort keys of the last company.
        places: Vec<Place>,
        /// The last company.
        company_id: CompanyId,
    },
}

/// The companies of one page; the caller takes as many as fit into an answer.
pub struct CompanyWalk {
    services: Services,
    about: Vec<query::Source>,
    columns: Vec<Column>,
    shown: Vec<Source>,
    companies: Vec<Company>,
    /// The cursor after each company.
    cursors: Vec<Cursor>,
    /// The cursor after the last company; `None` on the last page.
    end: Option<Cursor>,
    /// The number of companies in all pages, if it was requested.
    pub total: Option<i64>,
    /// The change number that the index of each source had reached.
    pub positions: Vec<(IntegrationId, Position)>,
    /// The permit, held until the last work of the list has ended.
    place: Arc<LimitPlace>,
}

impl Services {
    /// The companies of a group. [`CompanyWalk::some`] reads their columns.
    ///
    /// # Errors
    /// NOT_FOUND for another group or a source that the group does not have; INVALID_FILTER,
    /// INVALID_ORDER_BY, FIELD_UNKNOWN, FIELD_PASSIVE, INDEX_NOT_READY; GROUP_OVERLOADED and OVERLOADED if
    /// too many lists are running or waiting.
    pub async fn company_list(
        &self,
        caller: &Caller,
        parent: &GroupId,
        ask: CompanyAsk,
    ) -> Result<CompanyWalk> {
        require_own_group(caller, parent)?;
        let sources = self.sources(parent).await?;
        let known = |id: &IntegrationId| sources.iter().any(|source| source.integration.id == *id);
        let mut named = ask.only.iter().chain(ask.at_least.iter().map(|(id, _)| id));
        if let Some(unknown) = named.find(|id| !known(id)) {
            return Err(Error::not_found(unknown.name()));
        }
        let listed: Vec<usize> = (0..sources.len())
            .filter(|at| ask.only.is_empty() || ask.only.contains(&sources[*at].integration.id))
            .collect();
        self.wait_for_index(&ask.at_least).await?;
        // Lists need processors and memory, so they have a limit of their own. Calls that wait for an index
        // hold no permit of it.
        let place = self.limits.lists.enter()?;
        let about = self.query_sources(parent, &sources).await?;
        let columns = columns(&about, &ask.columns)?;
        let shown: Vec<Source> = listed.iter().map(|at| sources[*at].clone()).collect();
        let words = |text: &str| !text.trim().is_empty();
        let any = words(&ask.filter) || words(&ask.query) || words(&ask.order_by);
        // Names of the platform are only in an index of their own.
        let names = self.store.platform_head().await? > 0;
        let plain = ask.only.is_empty() && !any && !ask.by_id && !names;
        let (found, place) = if plain {
            (self.list_by_name(parent, &ask, &shown).await?, Arc::new(place))
        } else {
            let of = Listed {
                about: about.clone(),
                listed,
                shown: &shown,
                names: names.then(IntegrationId::platform),
            };
            self.list_by_index(parent, &ask, of, place).await?
        };
        Ok(CompanyWalk {
            services: self.clone(),
            about,
            columns,
            companies: found.companies,
            cursors: found.cursors,
            end: found.end,
            total: found.total,
            positions: found.positions.unwrap_or_else(|| self.positions(&shown)),
            shown,
            place,
        })
    }

    /// Waits until the indexes have reached these change numbers, with a permit for waiting calls.
    pub(super) async fn wait_for_index(&self, wanted: &[(IntegrationId, i64)]) -> Result<()> {
        let index = self.engine.index();
        if index.reached(wanted) {
            return Ok(());
        }
        let _place = self.limits.waits.enter()?;
        match index.wait(wanted, TIMEOUT).await {
            Some(behind) => Err(not_ready(behind)),
            None => Ok(()),
        }
    }

    /// The change numbers that the indexes of these sources have reached.
    pub(super) fn positions(&self, sources: &[Source]) -> Vec<(IntegrationId, Position)> {
        let position = |id| self.engine.index().position(id).unwrap_or_default();
        sources
            .iter()
            .map(|source| (source.integration.id, position(source.integration.id)))
            .collect()
    }

    async fn list_by_name(&self, parent: &GroupId, ask: &CompanyAsk, shown: &[Source]) -> Result<Found> {
        let ids: Vec<_> = shown.iter().map(|source| source.integration.id).collect();
        let after = match &ask.after {
            None => None,
            Some(Cursor::Name(key)) => Some(key.clone()),
            Some(Cursor::Search { .. }) => return Err(wrong_page()),
        };
        let total = match (ask.total, ask.scope) {
            (false, _) => None,
            (true, Scope::All) => Some(self.store.company_count_all(parent, ids.clone()).await?),
            (true, Scope::Tracked) => Some(self.store.company_count_tracked(parent).await?),
        };
        let limit = ask.limit + 1;
        let mut companies = match ask.scope {
            Scope::All => self.store.company_list_all(parent, ids, after, limit).await?,
            Scope::Tracked => self.store.company_list_tracked(parent, ids, after, limit).await?,
        };
        let more = companies.len() > ask.limit;
        companies.truncate(ask.limit);
        let cursors: Vec<Cursor> = companies.iter().map(|one| Cursor::Name(one.key())).collect();
        Ok(Found {
            end: cursors.last().filter(|_| more).cloned(),
            companies,
            cursors,
            total,
            positions: None,
        })
    }

    /// Lists from the index. Returns the permit too: it is released and taken again if the list waits for an
    /// index.
    async fn list_by_index(
        &self,
        parent: &GroupId,
        ask: &CompanyAsk,
        of: Listed<'_>,
        mut place: LimitPlace,
    ) -> Result<(Found, Arc<LimitPlace>)> {
        let Listed {
            about,
            listed,
            shown,
            names,
        } = of;
        let (now_us, after) = match &ask.after {
            None => (ask.now_us, None),
            Some(Cursor::Search {
                now_us,
                places,
                company_id,
            }) => (*now_us, Some((places.clone(), *company_id))),
            // The list was by name, from the database, until the platform named companies.
            Some(Cursor::Name(key)) => (ask.now_us, Some((by_name(key), key.company_id))),
        };
        let text = query::Text {
            filter: &ask.filter,
            query: &ask.query,
            order_by: &ask.order_by,
            now_us,
            zone: &ask.zone,
        };
        let plan = Plan::new(&about, &text)?;
        let mut used: Vec<usize> = listed.iter().copied().chain(plan.uses()).collect();
        used.sort_unstable();
        used.dedup();
        // A new index is usually built within a moment.
        let wanted = used.iter().map(|at| about[*at].integration).chain(names);
        let wanted: Vec<_> = wanted.map(|id| (id, 0)).collect();
        if !self.engine.index().reached(&wanted) {
            drop(place);
            self.wait_for_index(&wanted).await?;
            place = self.limits.lists.enter()?;
        }
        let place = Arc::new(place);
        let question = Question {
            sources: about,
            listed,
            names,
            tracked: self.own_list(parent).await?,
            only_tracked: ask.scope == Scope::Tracked,
            only_fed: !ask.only.is_empty(),
            plan,
            by_id: ask.by_id,
            after,
            limit: ask.limit,
        };
        let answer = self.engine.run(question, Arc::clone(&place)).await?;
        let ids: Vec<_> = shown.iter().map(|source| source.integration.id).collect();
        let cursor = |(places, company_id)| Cursor::Search {
            now_us,
            places,
            company_id,
        };
        let end = answer.page.next().map(cursor);
        let page = answer.page.companies;
        let mut views = match ask.scope {
            Scope::All => self.store.company_get_many(parent, ids, page.clone()).await?,
            Scope::Tracked => self.store.company_get_tracked(parent, ids, page.clone()).await?,
        };
        // Companies that were removed after the index was read are left out.
        let found = page
            .into_iter()
            .zip(answer.page.places)
            .filter_map(|(id, places)| Some((views.remove(&id)?, cursor((places, id)))));
        let (companies, cursors) = found.unzip();
        let found = Found {
            companies,
            cursors,
            end,
            total: ask.total.then_some(answer.total as i64),
            positions: Some(answer.positions),
        };
        Ok((found, place))
    }
}

impl Services {
    /// The group's own list, as rows of a query.
    pub(super) async fn own_list(&self, parent: &GroupId) -> Result<Vec<Tracked>> {
        let tracked = self.store.company_tracked(parent).await?;
        let row = |(track, name_key): (Track, String)| {
            let homepage = Homepage::read(&track.homepage);
            let (domain, homepage) = homepage.map_or_else(Default::default, |homepage| {
                (homepage.domain.unwrap_or_default(), homepage.uri)
            });
            Tracked {
                company_id: track.company_id,
                domain,
                name: track.name,
                homepage,
                name_key,
            }
        };
        Ok(tracked.into_iter().map(row).collect())
    }
}

/// What a list from the index is about.
struct Listed<'a> {
    /// The sources of the group.
    about: Vec<query::Source>,
    /// Those of them whose companies are listed.
    listed: Vec<usize>,
    shown: &'a [Source],
    /// The index of the platform's companies, if there are any.
    names: Option<IntegrationId>,
}

/// The error of a wrong argument of a graph.
pub(super) fn refused_graph(argument: &str, problem: query::Problem) -> Error {
    refused(argument, Reason::InvalidFieldValue, problem)
}

/// The sort keys of a position in a list by name.
fn by_name(key: &CompanyKey) -> Vec<Place> {
    vec![match key.name_key.is_empty() {
        true => Place::None,
        false => Place::Text(key.name_key.clone()),
    }]
}

/// The result of a list.
struct Found {
    companies: Vec<Company>,
    cursors: Vec<Cursor>,
    end: Option<Cursor>,
    total: Option<i64>,
    positions: Option<Vec<(IntegrationId, Position)>>,
}

impl CompanyWalk {
    /// The number of companies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.companies.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.companies.is_empty()
    }

    /// The cursor of a page that ends after `count` companies; `None` on the last page.
    #[must_use]
    pub fn next(&self, count: usize) -> Option<Cursor> {
        if count >= self.companies.len() {
            return self.end.clone();
        }
        self.cursor(count)
    }

    /// The position after the first `count` companies, also on the last page; `None` for none.
    #[must_use]
    pub fn cursor(&self, count: usize) -> Option<Cursor> {
        self.cursors.get(count.checked_sub(1)?).cloned()
    }

    /// The type of each column, and whether its object is a related one.
    pub fn column_types(&self) -> impl Iterator<Item = (FieldType, bool)> {
        self.columns.iter().map(|column| {
            let about = &self.about[column.source];
            (column.field_type, column.object != about.company_object)
        })
    }

    /// Companies of the page, each with a cell for each column.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn some(&self, range: Range<usize>) -> Result<Vec<(CompanyView, Vec<Cell>)>> {
        let companies = self.companies.get(range).unwrap_or_default();
        let ids: Vec<CompanyId> = companies.iter().map(|company| company.company_id).collect();
        let read = cells::Reading {
            store: &self.services.store,
            about: &self.about,
            columns: &self.columns,
            place: &self.place,
        };
        let mut cells = read.cells(&ids).await?;
        let companies = companies.iter().map(|company| {
            let cells = cells.remove(&company.company_id).unwrap_or_default();
            (CompanyView::new(company.clone(), &self.shown), cells)
        });
        Ok(companies.collect())
    }
}

fn columns(about: &[query::Source], texts: &[String]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let argument = format!("columns[{at}]");
        let column = Column::new(about, text)
            .map_err(|problem| refused(&argument, Reason::InvalidFieldValue, problem))?;
        if let Some(first) = columns.iter().position(|known| known.is(&column)) {
            return Err(Error::invalid(
                argument,
                format!("is the same as columns[{first}]"),
            ));
        }
        columns.push(column);
    }
    Ok(columns)
}
