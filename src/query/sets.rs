//! The sets of companies that conditions stand for.
//!
//! Inside `source.Object(…)` an expression is evaluated on documents, so that all its conditions hold for the
//! same record. The documents then become companies; related records become the companies of their company
//! records. Above that, AND, OR and NOT are operations on sets of companies.
//!
//! The record that names a company is chosen as in the database: the platform's, else of the first source that has the
//! company the first record by name and id. Conditions on names look at these records only, and at the rows of the
//! group's own list where no source has the company. Both are evaluated by `index::Expr::rows`.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::check::Node;
use super::problem::Error;
use super::question::Question;
use super::tracked::Row;
use crate::index::{self, Expr, MemoryRows, Snapshot, check_at};

/// The sets of companies from which conditions are computed.
pub(super) struct Search<'a> {
    snapshots: &'a [Option<Arc<Snapshot>>],
    pub(super) universe: RoaringBitmap,
    tracked: RoaringBitmap,
    /// The snapshots that give companies their names, each with the companies it names.
    pub(super) naming: Vec<(&'a Snapshot, RoaringBitmap)>,
    /// The rows that give companies their names.
    pub(super) rows: Vec<&'a Row<'a>>,
    /// The same rows with the values that conditions test.
    values: MemoryRows,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        question: &Question,
        snapshots: &'a [Option<Arc<Snapshot>>],
        (names, listed): (Option<&'a Snapshot>, &[&'a Snapshot]),
        rows: &'a [Row<'a>],
    ) -> Result<Self, Error> {
        let tracked: RoaringBitmap = rows.iter().map(|row| row.number).collect();
        let mut fed = RoaringBitmap::new();
        for snapshot in listed {
            fed |= snapshot.companies();
        }
        let mut universe = match question.only_tracked {
            true => tracked.clone(),
            false => &fed | &tracked,
        };
        if question.only_fed {
            universe &= fed;
        }
        let (mut named, mut naming) = (RoaringBitmap::new(), Vec::new());
        if let Some(names) = names {
            let here = &universe & names.companies();
            named |= &here;
            naming.push((names, here));
        }
        if !question.only_tracked {
            for snapshot in listed {
                let here = snapshot.companies() - &named;
                named |= &here;
                naming.push((*snapshot, here));
            }
        }
        let rows: Vec<&Row<'_>> = rows.iter().filter(|row| !named.contains(row.number)).collect();
        let mut values = MemoryRows::new(question.plan.shown().iter().map(String::as_str));
        for (at, row) in rows.iter().enumerate() {
            check_at(at)?;
            values.add_company(row.number, &row.of.name, &row.of.homepage, &row.of.domain);
        }
        Ok(Self {
            snapshots,
            universe,
            tracked,
            naming,
            rows,
            values,
        })
    }

    pub(super) fn node(&self, node: &Node) -> Result<RoaringBitmap, Error> {
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
            Node::Measured(of, test) => of.passing(self.snapshot(of.source)?, test, &self.universe)?,
            Node::Shown(expr) => self.shown(expr)?,
            Node::Tracked(true) => self.tracked.clone(),
            Node::Tracked(false) => &self.universe - &self.tracked,
            Node::Fed(by) => {
                let mut found = RoaringBitmap::new();
                for source in by {
                    found |= self.snapshot(*source)?.companies();
                }
                found
            }
        })
    }

    pub(super) fn snapshot(&self, source: usize) -> Result<&'a Snapshot, Error> {
        self.snapshots[source]
            .as_deref()
            .ok_or_else(|| index::Error::Broken("a source is not open".to_owned()).into())
    }

    /// The companies whose displayed name, domain or homepage matches.
    pub(super) fn shown(&self, expr: &Expr) -> Result<RoaringBitmap, Error> {
        let mut found = RoaringBitmap::new();
        for (snapshot, named) in &self.naming {
            found |= snapshot.search_names(expr)? & named;
        }
        found |= expr.rows(&self.values)?;
        Ok(found)
    }
}
