//! Graphs: counts and measures of a group's companies and their records.

use std::sync::Arc;

use tether_columns::{Bucket, Function, Group, Outcome};

use super::search::refused_graph;
use super::{Scope, Services, require_own_group};
use crate::caller::Caller;
use crate::domain::{FieldType, GroupId, IntegrationId, Zone};
use crate::error::{Error, Reason, Result};
use crate::index::{Kind, Position, moment};
use crate::query::{self, By, Graph, GroupText, Grouped, MeasureText, Measured, Plan, Question};
use crate::store::Source;
use crate::time::now_us;
use crate::value::{Shown, Value};

/// The maximum length of a text of a bucket, in characters.
const MOST_CHARACTERS: usize = 1_000;
/// The maximum length of the texts of all buckets, in characters: an answer with many rows has shorter ones.
const MOST_CHARACTERS_OF_ROWS: usize = 200_000;
/// The maximum number of rows, whatever the limits of the groupings are: the answer has to fit into a response.
pub const MOST_ROWS: usize = 5_000;

/// The arguments of a graph.
#[derive(Debug, Clone)]
pub struct GraphAsk {
    /// Which of the group's companies.
    pub scope: Scope,
    /// Only companies of these integrations; empty for all.
    pub only: Vec<IntegrationId>,
    /// The words to search for.
    pub query: String,
    /// The filter.
    pub filter: String,
    /// What to group by.
    pub groupings: Vec<GroupAsk>,
    /// What to measure: the field and the function.
    pub measures: Vec<(String, Function)>,
    /// The time zone of the filter's days.
    pub zone: Zone,
    /// The change numbers that the indexes must have reached.
    pub at_least: Vec<(IntegrationId, i64)>,
}

/// A grouping of a graph.
#[derive(Debug, Clone)]
pub struct GroupAsk {
    /// A field, `source` or `tracked`.
    pub field: String,
    /// How values become buckets.
    pub bucket: query::WidthOrUnit,
    /// The maximum number of buckets.
    pub most: usize,
}

/// A bucket as an answer shows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// A value, or the lower bound of a bucket.
    Value(Shown),
    /// Records without a value.
    Unset,
    /// All buckets beyond the maximum.
    Other,
}

/// A row of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphRow {
    /// The bucket of each grouping.
    pub keys: Vec<Key>,
    /// The number of companies.
    pub companies: u64,
    /// The number of records.
    pub records: u64,
    /// The result of each measure; `None` if there was nothing to compute.
    pub results: Vec<Option<Value>>,
}

/// The answer.
pub struct GraphView {
    /// The rows.
    pub rows: Vec<GraphRow>,
    /// The total.
    pub total: GraphRow,
    /// The positions of the indexes.
    pub positions: Vec<(IntegrationId, Position)>,
}

impl Services {
    /// Counts and measures companies and their records.
    ///
    /// # Errors
    /// NOT_FOUND for another group or a source that the group does not have; INVALID_FILTER, INVALID_FIELD_VALUE,
    /// FIELD_UNKNOWN, FIELD_PASSIVE, INDEX_NOT_READY, LIMIT_REACHED for more rows than an answer can have;
    /// GROUP_OVERLOADED and OVERLOADED if too many lists are running or waiting.
    pub async fn company_aggregate(
        &self,
        caller: &Caller,
        parent: &GroupId,
        ask: GraphAsk,
    ) -> Result<GraphView> {
        require_own_group(caller, parent)?;
        let sources = self.sources(parent).await?;
        let known = |id: &IntegrationId| sources.iter().any(|source| source.integration.id == *id);
        let mut named = ask.only.iter().chain(ask.at_least.iter().map(|(id, _)| id));
        if let Some(unknown) = named.find(|id| !known(id)) {
            return Err(Error::not_found(unknown.name()));
        }
        self.wait_for_index(&ask.at_least).await?;
        let about = self.query_sources(parent, &sources).await?;
        let plan = plan(&about, &ask)?;
        let graph = graph(&about, &ask)?;
        let listed: Vec<usize> = (0..sources.len())
            .filter(|at| ask.only.is_empty() || ask.only.contains(&sources[*at].integration.id))
            .collect();
        let names = (self.store.platform_head().await? > 0).then(IntegrationId::platform);
        let used = listed.iter().copied().chain(plan.uses()).chain(graph.sources());
        // A new index is usually built within a moment.
        let wanted = used.map(|at| about[at].integration).chain(names);
        let wanted: Vec<_> = wanted.map(|id| (id, 0)).collect();
        self.wait_for_index(&wanted).await?;
        // Graphs need processors and memory like lists. Calls that wait for an index hold no permit.
        let place = Arc::new(self.limits.lists.enter()?);
        let question = Question {
            sources: about,
            listed: listed.clone(),
            names,
            tracked: self.own_list(parent).await?,
            only_tracked: ask.scope == Scope::Tracked,
            only_fed: !ask.only.is_empty(),
            plan,
            by_id: true,
            after: None,
            limit: 0,
        };
        let answer = self.engine.aggregate(question, graph.clone(), place).await?;
        if answer.aggregated.groups.len() > MOST_ROWS {
            let text = format!("the graph has more than {MOST_ROWS} rows: lower the limits of its groupings");
            return Err(Error::new(Reason::LimitReached, text).with("limit", MOST_ROWS));
        }
        let texts = (answer.aggregated.groups.len() * graph.groupings.len()).max(1);
        let shown = Shower {
            graph: &graph,
            most: (MOST_CHARACTERS_OF_ROWS / texts).min(MOST_CHARACTERS),
            listed: listed.iter().map(|at| &sources[*at]).collect(),
        };
        Ok(GraphView {
            rows: answer
                .aggregated
                .groups
                .into_iter()
                .map(|group| shown.row(group))
                .collect(),
            total: shown.row(answer.aggregated.total),
            positions: answer.positions,
        })
    }
}

fn plan(about: &[query::Source], ask: &GraphAsk) -> Result<Plan> {
    let text = query::Text {
        filter: &ask.filter,
        query: &ask.query,
        order_by: "",
        now_us: now_us(),
        zone: &ask.zone,
    };
    Ok(Plan::new(about, &text)?)
}

fn graph(about: &[query::Source], ask: &GraphAsk) -> Result<Graph> {
    let groupings = ask.groupings.iter().map(|one| GroupText {
        field: &one.field,
        bucket: one.bucket.clone(),
        most: one.most,
    });
    let groupings: Vec<GroupText<'_>> = groupings.collect();
    let measures = ask.measures.iter().map(|(field, function)| MeasureText {
        field,
        function: *function,
    });
    let measures: Vec<MeasureText<'_>> = measures.collect();
    Graph::new(about, &groupings, &measures).map_err(|(argument, problem)| refused_graph(&argument, problem))
}

/// Shows the results of a graph.
struct Shower<'a> {
    graph: &'a Graph,
    listed: Vec<&'a Source>,
    /// The maximum length of a text, in characters.
    most: usize,
}

impl Shower<'_> {
    fn row(&self, group: Group) -> GraphRow {
        let keys = self.graph.groupings.iter().zip(group.buckets).zip(group.shown);
        GraphRow {
            keys: keys
                .map(|((grouped, bucket), shown)| self.key(grouped, bucket, shown))
                .collect(),
            companies: group.companies,
            records: group.records,
            results: self
                .graph
                .measures
                .iter()
                .zip(group.results)
                .map(|(of, outcome)| result(of, outcome))
                .collect(),
        }
    }

    fn key(&self, grouped: &Grouped, bucket: Bucket, shown: Option<String>) -> Key {
        let value = match bucket {
            Bucket::Unset => return Key::Unset,
            Bucket::Other => return Key::Other,
            Bucket::Companies(at) => match grouped.by {
                By::Source => Value::Text(
                    self.listed
                        .get(at)
                        .map(|source| source.label.clone())
                        .unwrap_or_default(),
                ),
                _ => Value::Boolean(at == 1),
            },
            Bucket::Number(number) => Value::Decimal(number),
            Bucket::Integer(number) => of_integer(grouped, number),
            Bucket::Text(folded) => {
                let text = shown.unwrap_or(folded);
                match grouped.field_type {
                    Some(FieldType::Reference) => Value::Reference {
                        id: String::new(),
                        label: text,
                    },
                    _ => Value::Text(text),
                }
            }
        };
        let shown = value.shown(0, self.most);
        Key::Value(shown.labelled(grouped.picklist.get(), self.most))
    }
}

/// The value that an integer of the index stands for; of buckets of dates the first day.
fn of_integer(grouped: &Grouped, number: i64) -> Value {
    match (grouped.kind, &grouped.calendar) {
        (Some(Kind::Timestamp), Some(calendar)) => Value::Date(date(calendar.zone.day(number))),
        (kind, _) => of_kind(kind, number),
    }
}

fn of_kind(kind: Option<Kind>, number: i64) -> Value {
    match kind {
        Some(Kind::Boolean) => Value::Boolean(number == 1),
        Some(Kind::Date) => Value::Date(date(number)),
        Some(Kind::Time) => Value::Time(moment::clock(number)),
        Some(Kind::Timestamp) => Value::Timestamp(number),
        _ => Value::Integer(number),
    }
}

fn date(day: i64) -> String {
    moment::to_date(day)
        .map(|date| date.to_string())
        .unwrap_or_default()
}

fn result(of: &Measured, outcome: Outcome) -> Option<Value> {
    Some(match outcome {
        Outcome::None => return None,
        Outcome::Count(count) => Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)),
        Outcome::Integer(number) => of_kind(of.kind, number),
        Outcome::Number(amount, Some(currency)) => Value::Money { amount, currency },
        Outcome::Number(number, None) => Value::Decimal(number),
    })
}
