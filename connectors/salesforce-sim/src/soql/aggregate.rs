//! Aggregates such as COUNT and SUM, with or without GROUP BY.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::ast::{Function, Query, Select};
use super::eval;
use super::plan::{Access, Plan, Scope};
use crate::errors::Error;
use crate::org::{Org, Row};
use crate::value::{Form, Value};

#[derive(Clone, Debug)]
pub(crate) struct Aggregates {
    columns: Vec<(String, Column)>,
    group: Vec<Access>,
}

#[derive(Clone, Debug)]
enum Column {
    /// The nth of the grouped fields.
    Group(usize),
    Of(Function, Box<Access>),
}

/// The aggregates of a query, if it has any.
pub(crate) fn plan(scope: &Scope<'_>, query: &Query) -> Result<Option<Aggregates>, Error> {
    let aggregated = query.select.iter().any(|s| matches!(s, Select::Aggregate { .. }));
    if !aggregated && query.group.is_empty() {
        return Ok(None);
    }
    let mut group = Vec::new();
    for path in &query.group {
        let access = scope.access(path)?;
        if !access.field.groupable {
            let message = format!("field '{}' can not be grouped in a query call", access.field.name);
            return Err(scope.error("MALFORMED_QUERY", path.at, &message));
        }
        group.push(access);
    }
    let mut columns = Vec::new();
    let mut unnamed = 0;
    for select in &query.select {
        let (name, column) = match select {
            Select::Field(path) => {
                let wanted = scope.access(path)?;
                let same = |g: &Access| {
                    g.field.name == wanted.field.name
                        && g.hops
                            .iter()
                            .map(|h| &h.name)
                            .eq(wanted.hops.iter().map(|h| &h.name))
                };
                let Some(at) = group.iter().position(same) else {
                    let message = format!("Field must be grouped or aggregated: {}", path.parts.join("."));
                    return Err(scope.error("MALFORMED_QUERY", path.at, &message));
                };
                (wanted.field.name, Column::Group(at))
            }
            Select::Aggregate {
                function,
                path,
                alias,
            } => {
                let access = scope.access(path)?;
                let numeric = matches!(
                    access.field.kind,
                    "int" | "long" | "double" | "currency" | "percent"
                );
                if !access.field.aggregatable || matches!(function, Function::Sum | Function::Avg) && !numeric
                {
                    let message = format!(
                        "field {} does not support aggregate operator {function:?}",
                        access.field.name
                    );
                    return Err(scope.error("MALFORMED_QUERY", path.at, &message));
                }
                let name = alias.clone().unwrap_or_else(|| {
                    unnamed += 1;
                    format!("expr{}", unnamed - 1)
                });
                (name, Column::Of(*function, Box::new(access)))
            }
            _ => {
                return Err(scope.error(
                    "MALFORMED_QUERY",
                    query.from.at,
                    "unexpected token in an aggregate query",
                ));
            }
        };
        columns.push((name, column));
    }
    Ok(Some(Aggregates { columns, group }))
}

#[derive(Default)]
struct Sums {
    count: u64,
    distinct: std::collections::BTreeSet<String>,
    sum: f64,
    low: Option<Value>,
    high: Option<Value>,
}

impl Aggregates {
    /// The records of the answer.
    pub(crate) fn run(&self, org: &Org, plan: &Plan, all: bool) -> Vec<Json> {
        let unlimited = Plan {
            limit: None,
            offset: 0,
            aggregates: None,
            ..plan.clone()
        };
        let mut order: Vec<(Vec<Value>, Vec<Sums>)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        if self.group.is_empty() {
            known.insert(String::new(), 0);
            order.push((Vec::new(), self.empty()));
        }
        for row in eval::rows(org, &unlimited, all) {
            let at = Row {
                table: plan.table,
                row,
            };
            let group: Vec<Value> = self.group.iter().map(|g| g.read(org, at)).collect();
            let mut key = String::new();
            group.iter().for_each(|v| v.write(&mut key, Form::Wire));
            // Text groups ignore case, as comparisons do.
            key.make_ascii_lowercase();
            let place = *known.entry(key).or_insert_with(|| {
                order.push((group, self.empty()));
                order.len() - 1
            });
            for ((_, column), sums) in self.columns.iter().zip(&mut order[place].1) {
                if let Column::Of(function, access) = column {
                    sums.add(*function, access.read(org, at));
                }
            }
        }
        let page = order
            .iter()
            .skip(plan.offset as usize)
            .take(plan.limit.map_or(usize::MAX, |n| n as usize));
        page.map(|(group, sums)| {
            let mut record = Map::new();
            record.insert("attributes".to_owned(), json!({ "type": "AggregateResult" }));
            for ((name, column), sums) in self.columns.iter().zip(sums) {
                let value = match column {
                    Column::Group(at) => json(&group[*at]),
                    Column::Of(function, _) => sums.result(*function),
                };
                record.insert(name.clone(), value);
            }
            Json::Object(record)
        })
        .collect()
    }

    fn empty(&self) -> Vec<Sums> {
        self.columns.iter().map(|_| Sums::default()).collect()
    }
}

fn json(value: &Value) -> Json {
    let mut out = String::new();
    value.write(&mut out, Form::Wire);
    serde_json::from_str(&out).unwrap_or(Json::Null)
}

impl Sums {
    fn add(&mut self, function: Function, value: Value) {
        if value.is_null() {
            return;
        }
        self.count += 1;
        match function {
            Function::Count => {}
            Function::CountDistinct => {
                self.distinct.insert(value.as_text().to_lowercase());
            }
            Function::Sum | Function::Avg => self.sum += value.number().unwrap_or(0.0),
            Function::Min => {
                if self.low.as_ref().is_none_or(|low| value.order(low).is_lt()) {
                    self.low = Some(value);
                }
            }
            Function::Max => {
                if self.high.as_ref().is_none_or(|high| value.order(high).is_gt()) {
                    self.high = Some(value);
                }
            }
        }
    }

    fn result(&self, function: Function) -> Json {
        match function {
            Function::Count => self.count.into(),
            Function::CountDistinct => self.distinct.len().into(),
            _ if self.count == 0 => Json::Null,
            Function::Sum => json!(self.sum),
            Function::Avg => json!(self.sum / self.count as f64),
            Function::Min => self.low.as_ref().map_or(Json::Null, json),
            Function::Max => self.high.as_ref().map_or(Json::Null, json),
        }
    }
}
