//! A query for the engine, and its answer.

use super::place::Place;
use super::plan::Plan;
use super::resolve::Source;
use super::tracked::Tracked;
use crate::domain::{CompanyId, IntegrationId};
use crate::index::Position;

/// A query for the engine.
#[derive(Debug, Clone)]
pub struct Question {
    /// The sources of the group, in the order of precedence for names.
    pub sources: Vec<Source>,
    /// Indexes in `sources` of the sources whose companies are listed.
    pub listed: Vec<usize>,
    /// The index whose names come before those of all sources: that of the platform's companies. It adds no company.
    pub names: Option<IntegrationId>,
    /// The group's own list.
    pub tracked: Vec<Tracked>,
    /// Return only companies of the group's own list, with the names that the group gave them.
    pub only_tracked: bool,
    /// Return only companies of which a listed source has a record.
    pub only_fed: bool,
    /// The checked filter, words and order.
    pub plan: Plan,
    /// Sort by the companies' ids alone: the plan has no order then, and the page no sort keys.
    pub by_id: bool,
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

/// One page of companies, in order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The companies.
    pub companies: Vec<CompanyId>,
    /// For each company, the values of the sort keys: a page may end after any of them.
    pub places: Vec<Vec<Place>>,
    /// Whether there are more companies after the last one.
    pub more: bool,
}

impl Page {
    /// Where the next page begins; `None` if this is the last page.
    #[must_use]
    pub fn next(&self) -> Option<(Vec<Place>, CompanyId)> {
        let last = (self.places.last()?.clone(), *self.companies.last()?);
        self.more.then_some(last)
    }
}
