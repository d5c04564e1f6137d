//! Lists of companies: by name out of the database, and whatever is searched, filtered or sorted out of the read model.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::{CompanyView, Scope, Services, viewpoint};
use crate::caller::Caller;
use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::error::{Detail, Error, Reason, Result};
use crate::identity::Homepage;
use crate::index::{Position, number::Number, text};
use crate::query::{self, Column, Fault, Place, Plan, Problem, Question, Tracked};
use crate::store::{Company, CompanyKey, Record, Source};
use crate::time::now_us;
use crate::value::{self, Value};

/// How long a list waits for the index.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most values of one cell.
const MOST_VALUES: usize = 10;

/// What is asked of a list of companies.
#[derive(Debug, Clone)]
pub struct CompanyAsk {
    /// Which of the group's companies.
    pub scope: Scope,
    /// Only companies of these; empty for all.
    pub only: Vec<IntegrationId>,
    /// Words.
    pub query: String,
    /// Conditions.
    pub filter: String,
    /// The order.
    pub order_by: String,
    /// Fields to answer with.
    pub columns: Vec<String>,
    /// Whether to count all.
    pub total: bool,
    /// How far the indexes must have come.
    pub at_least: Vec<(IntegrationId, i64)>,
    /// Where the page begins.
    pub after: Option<Cursor>,
    /// Most companies of the page.
    pub limit: usize,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Of the list by name.
    Name(CompanyKey),
    /// Of an answer of the read model.
    Search {
        /// What `today` and `now` were on the first page.
        now_us: i64,
        /// The values of the keys.
        places: Vec<Place>,
        /// The last company.
        company_id: CompanyId,
    },
}

/// The values of one column for one company.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The values, ascending.
    pub values: Vec<Value>,
    /// Whether there are more.
    pub more: bool,
}

/// One page.
#[derive(Debug, Clone)]
pub struct CompanyPage {
    /// The companies, in order, each with a cell for each column.
    pub companies: Vec<(CompanyView, Vec<Cell>)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
    /// How many there are in all, if asked for.
    pub total: Option<i64>,
    /// How far the index of each source had come.
    pub positions: Vec<(IntegrationId, Position)>,
}

impl Services {
    /// The companies of a group.
    ///
    /// # Errors
    /// NOT_FOUND for another group's viewpoint or a source that is not the group's; INVALID_FILTER, INVALID_ORDER_BY,
    /// FIELD_UNKNOWN, FIELD_PASSIVE, INDEX_NOT_READY.
    pub async fn company_list(
        &self,
        caller: &Caller,
        parent: &GroupId,
        ask: CompanyAsk,
    ) -> Result<CompanyPage> {
        viewpoint(caller, parent)?;
        let sources = self.sources(parent).await?;
        let known = |id: &IntegrationId| sources.iter().any(|source| source.integration.id == *id);
        let mut named = ask.only.iter().chain(ask.at_least.iter().map(|(id, _)| id));
        if let Some(unknown) = named.find(|id| !known(id)) {
            return Err(Error::not_found(unknown.name()));
        }
        let listed: Vec<usize> = (0..sources.len())
            .filter(|at| ask.only.is_empty() || ask.only.contains(&sources[*at].integration.id))
            .collect();
        let about = self.query_sources(parent, &sources).await?;
        let columns = columns(&about, &ask.columns)?;
        if let Some(behind) = self.engine.index().wait(&ask.at_least, PATIENCE).await {
            return Err(not_ready(behind));
        }
        let shown: Vec<Source> = listed.iter().map(|at| sources[*at].clone()).collect();
        let words = |text: &str| !text.trim().is_empty();
        let plain = ask.only.is_empty() && !words(&ask.filter) && !words(&ask.query) && !words(&ask.order_by);
        let (companies, next, total, positions) = if plain {
            let (companies, next, total) = self.list_by_name(parent, &ask, &shown).await?;
            (companies, next, total, self.positions(&shown))
        } else {
            self.list_by_index(parent, &ask, about.clone(), listed, &shown)
                .await?
        };
        let ids: Vec<CompanyId> = companies.iter().map(|company| company.company_id).collect();
        let mut cells = self.cells(&about, &columns, &ids).await?;
        let companies = companies
            .into_iter()
            .map(|company| {
                let cells = cells.remove(&company.company_id).unwrap_or_default();
                (CompanyView::new(company, &shown), cells)
            })
            .collect();
        Ok(CompanyPage {
            companies,
            next,
            total,
            positions,
        })
    }

    /// How far the indexes of these sources have come.
    pub(super) fn positions(&self, sources: &[Source]) -> Vec<(IntegrationId, Position)> {
        let position = |id| self.engine.index().position(id).unwrap_or_default();
        sources
            .iter()
            .map(|source| (source.integration.id, position(source.integration.id)))
            .collect()
    }

    async fn list_by_name(
        &self,
        parent: &GroupId,
        ask: &CompanyAsk,
        shown: &[Source],
    ) -> Result<(Vec<Company>, Option<Cursor>, Option<i64>)> {
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
        let last = companies.last().filter(|_| more);
        let next = last.map(|last| Cursor::Name(last.key()));
        Ok((companies, next, total))
    }

    async fn list_by_index(
        &self,
        parent: &GroupId,
        ask: &CompanyAsk,
        about: Vec<query::Source>,
        listed: Vec<usize>,
        shown: &[Source],
    ) -> Result<(
        Vec<Company>,
        Option<Cursor>,
        Option<i64>,
        Vec<(IntegrationId, Position)>,
    )> {
        let (now_us, after) = match &ask.after {
            None => (now_us(), None),
            Some(Cursor::Search {
                now_us,
                places,
                company_id,
            }) => (*now_us, Some((places.clone(), *company_id))),
            Some(Cursor::Name(_)) => return Err(wrong_page()),
        };
        let text = query::Text {
            filter: &ask.filter,
            query: &ask.query,
            order_by: &ask.order_by,
            now_us,
        };
        let plan = Plan::new(&about, &text)?;
        let tracked = self.store.company_tracked(parent).await?;
        let tracked = tracked.into_iter().map(|(track, name_key)| {
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
        });
        let mut used: Vec<usize> = listed.iter().copied().chain(plan.uses()).collect();
        used.sort_unstable();
        used.dedup();
        // An index that was only just begun is there in a moment.
        let wanted: Vec<_> = used.iter().map(|at| (about[*at].integration, 0)).collect();
        if let Some(behind) = self.engine.index().wait(&wanted, PATIENCE).await {
            return Err(not_ready(behind));
        }
        let question = Question {
            sources: about,
            listed,
            tracked: tracked.collect(),
            only_tracked: ask.scope == Scope::Tracked,
            only_fed: !ask.only.is_empty(),
            plan,
            after,
            limit: ask.limit,
        };
        let answer = self.engine.run(question).await?;
        let ids: Vec<_> = shown.iter().map(|source| source.integration.id).collect();
        let page = answer.page.companies;
        let mut views = match ask.scope {
            Scope::All => self.store.company_get_many(parent, ids, page.clone()).await?,
            Scope::Tracked => self.store.company_get_tracked(parent, ids, page.clone()).await?,
        };
        let next = answer.page.next.map(|(places, company_id)| Cursor::Search {
            now_us,
            places,
            company_id,
        });
        Ok((
            // What went since the index last looked is left out.
            page.iter().filter_map(|id| views.remove(id)).collect(),
            next,
            ask.total.then_some(answer.total as i64),
            answer.positions,
        ))
    }

    /// The cells of companies, one for each column.
    async fn cells(
        &self,
        about: &[query::Source],
        columns: &[Column],
        ids: &[CompanyId],
    ) -> Result<HashMap<CompanyId, Vec<Cell>>> {
        let mut values: HashMap<CompanyId, Vec<Vec<Value>>> = ids
            .iter()
            .map(|id| (*id, vec![Vec::new(); columns.len()]))
            .collect();
        let mut read: HashMap<(usize, &str), Vec<(CompanyId, Record)>> = HashMap::new();
        for (at, column) in columns.iter().enumerate() {
            let key = (column.source, column.object.as_str());
            let records = match read.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let source = &about[column.source];
                    entry.insert(self.records_of(source, &column.object, ids).await?)
                }
            };
            for (company, record) in records.iter() {
                let payload: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&record.payload).map_err(Error::internal)?;
                if let Some(value) = value::read(&payload, &column.key, column.field_type)
                    && let Some(cells) = values.get_mut(company)
                {
                    cells[at].push(value);
                }
            }
        }
        let cell = |mut values: Vec<Value>| {
            values.sort_by_cached_key(sorted);
            let more = values.len() > MOST_VALUES;
            values.truncate(MOST_VALUES);
            Cell { values, more }
        };
        Ok(values
            .into_iter()
            .map(|(company, columns)| (company, columns.into_iter().map(cell).collect()))
            .collect())
    }

    async fn records_of(
        &self,
        source: &query::Source,
        object: &str,
        ids: &[CompanyId],
    ) -> Result<Vec<(CompanyId, Record)>> {
        let own = self
            .store
            .record_of_companies(source.integration, ids.to_vec())
            .await?;
        // Of a connector that is not loaded the records themselves say it.
        let company_object = own
            .first()
            .map_or_else(|| source.company_object.clone(), |record| record.object.clone());
        let own: Vec<(CompanyId, Record)> = own
            .into_iter()
            .filter_map(|record| Some((record.company_id?, record)))
            .collect();
        if object == company_object {
            return Ok(own);
        }
        let company_of: HashMap<String, CompanyId> = own
            .into_iter()
            .map(|(company, record)| (record.external_id, company))
            .collect();
        let parents = company_of.keys().cloned().collect();
        let under = self
            .store
            .record_under(source.integration, &company_object, parents, object)
            .await?;
        let mut found: Vec<(CompanyId, Record)> = under
            .into_iter()
            .filter_map(|(parent, record)| Some((*company_of.get(&parent)?, record)))
            .collect();
        // A record under two records of one company counts once.
        found.sort_by(|a, b| (a.0, &a.1.external_id).cmp(&(b.0, &b.1.external_id)));
        found.dedup_by(|a, b| a.0 == b.0 && a.1.external_id == b.1.external_id);
        Ok(found)
    }
}

/// What values of one column are sorted by.
fn sorted(value: &Value) -> (i64, String) {
    let number = |text: &str| Number::parse(text).map_or_else(|| text.to_owned(), |number| number.ordered());
    match value {
        Value::Boolean(yes) => (i64::from(*yes), String::new()),
        Value::Timestamp(us) => (*us, String::new()),
        Value::Integer(whole) => (0, number(&whole.to_string())),
        Value::Decimal(text) | Value::Money(text) | Value::Location(text, _) => (0, number(text)),
        Value::Text(text) | Value::Html(text) => (0, text::fold(text)),
        Value::Date(text) | Value::Time(text) | Value::Raw(text) => (0, text.clone()),
        Value::List(entries) => (0, text::fold(&entries.join("\n"))),
        Value::Reference { label, .. } => (0, text::fold(label)),
        Value::Address(address) => (0, text::fold(&format!("{}\n{}", address.country, address.city))),
    }
}

fn columns(about: &[query::Source], texts: &[String]) -> Result<Vec<Column>> {
    let texts = texts.iter().enumerate();
    texts
        .map(|(at, text)| {
            Column::new(about, text)
                .map_err(|problem| refused(&format!("columns[{at}]"), Reason::InvalidFieldValue, problem))
        })
        .collect()
}

fn wrong_page() -> Error {
    Error::new(Reason::InvalidPageToken, "page_token: is not of this list")
}

fn not_ready(id: IntegrationId) -> Error {
    Error::new(
        Reason::IndexNotReady,
        format!(
            "the search index of {} has not come so far: try again in a moment",
            id.name()
        ),
    )
    .with("integration", id.name())
    .detail(Detail::RetryAfter(Duration::from_secs(1)))
}

/// What is wrong with an argument, pointed at.
fn refused(argument: &str, reason: Reason, problem: Problem) -> Error {
    let Problem { fault, spot, message } = problem;
    let (position, token) = (spot.position, spot.token);
    let description = if token.is_empty() {
        format!("at position {position}, the end: {message}")
    } else {
        format!("at position {position}, {token:?}: {message}")
    };
    let sentence = format!("{argument}: {description}");
    let fields = |description| Detail::Fields(vec![(argument.to_owned(), description)]);
    let error = match fault {
        Fault::Syntax => Error::new(reason, sentence).detail(fields(description)),
        Fault::Unknown(field) => Error::new(Reason::FieldUnknown, sentence)
            .with("field", field)
            .detail(fields(description)),
        Fault::Passive(field) => Error::new(Reason::FieldPassive, sentence)
            .detail(Detail::Precondition(
                "FIELD",
                field.clone(),
                "is passive".to_owned(),
            ))
            .with("field", field),
    };
    error.with("position", position).with("token", token)
}

impl From<query::Error> for Error {
    fn from(error: query::Error) -> Self {
        match error {
            query::Error::Filter(problem) => refused("filter", Reason::InvalidFilter, problem),
            query::Error::Order(problem) => refused("order_by", Reason::InvalidOrderBy, problem),
            query::Error::NotReady(id) => not_ready(id),
            query::Error::Index(crate::index::Error::Store(error)) => error.into(),
            query::Error::Index(error) if error.is_temporary() => {
                tracing::warn!("a search index cannot be read: {error}");
                Self::new(
                    Reason::IndexNotReady,
                    "a search index cannot be read at the moment: try again",
                )
                .detail(Detail::RetryAfter(Duration::from_secs(1)))
            }
            query::Error::Index(error) => Self::internal(error),
        }
    }
}
