//! A checked query, and a checked column of its answer.

use super::check::{Checker, Node};
use super::condition::Clock;
use super::order::{SortKey, sort_key};
use super::parse;
use super::problem::{Error, Problem, fault};
use super::resolve::{Source, field};
use super::words::Words;
use crate::domain::{FieldType, Micros, Zone};
use crate::index;
use crate::picklist::LazyPicklist;
use std::collections::BTreeSet;

/// The text of a query.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The filter.
    pub filter: &'a str,
    /// The search words.
    pub query: &'a str,
    /// The order.
    pub order_by: &'a str,
    /// The value of `now`.
    pub now_us: Micros,
    /// The time zone of `today` and of whole days.
    pub zone: &'a Zone,
}

/// A checked query.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The condition, if the filter is not empty.
    pub(super) filter: Option<Node>,
    /// The search words, if there are any.
    pub(super) words: Option<Words>,
    /// The sort keys.
    pub(super) order: Vec<SortKey>,
}

/// A column of the answer.
#[derive(Debug, Clone)]
pub struct Column {
    /// The index of its source.
    pub source: usize,
    /// The object.
    pub object: String,
    /// The key.
    pub key: String,
    /// The type.
    pub field_type: FieldType,
    /// The labels of its entries, if it is a picklist.
    pub picklist: LazyPicklist,
}

impl Plan {
    /// Checks a query against the sources of a group.
    ///
    /// # Errors
    /// The error in the filter or the order, with its position.
    pub fn new(sources: &[Source], text: &Text<'_>) -> Result<Self, Error> {
        let checker = Checker {
            sources,
            clock: Clock {
                now_us: text.now_us,
                zone: text.zone,
            },
        };
        let filter = parse::filter(text.filter)
            .and_then(|ast| ast.map(|ast| checker.node(&ast)).transpose())
            .map_err(Error::Filter)?;
        let order = parse::order(text.order_by)
            .and_then(|keys| keys.into_iter().map(|key| sort_key(&checker, key)).collect())
            .map_err(Error::Order)?;
        let words = Words::new(text.query);
        Ok(Self { filter, words, order })
    }

    /// The paths of the values of companies that the filter and the words test.
    pub(super) fn shown(&self) -> BTreeSet<String> {
        fn of(node: &Node, to: &mut BTreeSet<String>) {
            match node {
                Node::And(all) | Node::Or(all) => all.iter().for_each(|one| of(one, to)),
                Node::Not(one) => of(one, to),
                Node::Shown(expr) => to.extend(expr.paths().into_iter().map(str::to_owned)),
                Node::Records(..) | Node::Tracked(_) | Node::Fed(_) | Node::Measured(..) => {}
            }
        }
        let mut paths = BTreeSet::new();
        if let Some(node) = &self.filter {
            of(node, &mut paths);
        }
        if self.words.is_some() {
            paths.insert(index::found_by());
        }
        paths
    }

    /// The sources that the answer depends on, in addition to the listed ones.
    #[must_use]
    pub fn uses(&self) -> Vec<usize> {
        fn of(node: &Node, to: &mut Vec<usize>) {
            match node {
                Node::And(all) | Node::Or(all) => all.iter().for_each(|one| of(one, to)),
                Node::Not(one) => of(one, to),
                Node::Records(source, _) => to.push(*source),
                Node::Measured(measurement, _) => to.push(measurement.source),
                Node::Fed(by) => to.extend(by),
                Node::Shown(_) | Node::Tracked(_) => {}
            }
        }
        let mut used: Vec<usize> = self.order.iter().filter_map(SortKey::source).collect();
        if let Some(node) = &self.filter {
            of(node, &mut used);
        }
        used.sort_unstable();
        used.dedup();
        used
    }
}

impl Column {
    /// Checks a column by its query key.
    ///
    /// # Errors
    /// The error, with its position.
    pub fn new(sources: &[Source], text: &str) -> Result<Self, Problem> {
        let names = parse::field(text)?;
        let [label, object, key] = names.as_slice() else {
            return Err(fault(&names[0], "is not a field: write source.Object.Field"));
        };
        let (source, field) = field(sources, label, object, key)?;
        Ok(Self {
            source,
            object: field.object.clone(),
            key: field.key.clone(),
            field_type: field.field_type,
            picklist: field.picklist.clone(),
        })
    }

    /// Whether both are the same field of the same source.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.source, &self.object, &self.key) == (other.source, &other.object, &other.key)
    }
}

#[cfg(test)]
mod tests;
