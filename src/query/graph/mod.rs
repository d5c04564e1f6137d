//! Graphs: counts and measures of companies and their records by buckets.
//!
//! The records of the object that is grouped by are counted if their company matches the filter and the filter holds with
//! its conditions on this object applied to the record itself (`record_test`). Without groupings there is one row.

mod calendar;
mod record_test;
mod subject;

use roaring::RoaringBitmap;
use tether_columns::{Aggregate, Aggregated, Dimension, GroupMeasure, Keep, Subject};

use super::check::Node;
use super::problem::Error;
use super::question::Question;
use super::run::{Engine, Opened};
use super::sets::Search;
use crate::domain::IntegrationId;
use crate::index::Position;
pub use calendar::{Calendar, Unit};
pub use subject::{By, Graph, GroupText, Grouped, MeasureText, Measured, WidthOrUnit};

/// The answer to a graph.
pub struct GraphAnswer {
    /// The rows and the total.
    pub aggregated: Aggregated,
    /// The positions of the indexes that it was computed from.
    pub positions: Vec<(IntegrationId, Position)>,
}

impl Engine {
    /// Computes a graph over the companies of a question, whose page and order do not count. `held` is dropped when the
    /// work ends; the work ends early if the caller drops this future.
    ///
    /// # Errors
    /// [`Error::NotReady`], or an error of the index.
    pub async fn aggregate(
        &self,
        question: Question,
        graph: Graph,
        held: impl Send + 'static,
    ) -> Result<GraphAnswer, Error> {
        let used = graph.sources();
        let engine = self.clone();
        let work = move |question: &Question, opened: Opened<'_>| {
            let rows = engine.tracked_rows(question);
            let search = opened.search(question, &rows)?;
            let matched = engine.matched(question, &search)?;
            engine.compute(&graph, question, &search, &matched)
        };
        let (aggregated, positions) = self.on_snapshots(question, used, work, held).await?;
        Ok(GraphAnswer {
            aggregated,
            positions,
        })
    }

    fn compute(
        &self,
        graph: &Graph,
        question: &Question,
        search: &Search<'_>,
        matched: &RoaringBitmap,
    ) -> Result<Aggregated, Error> {
        let subject = |of: &(usize, String)| -> Result<Subject<'_>, Error> {
            let (source, object) = of;
            let filter = question.plan.filter.as_ref();
            Ok(Subject {
                snapshot: search.snapshot(*source)?,
                object: object.clone(),
                test: record_test::of(filter, *source, object, search)?,
            })
        };
        let base = graph.object();
        let mut dimensions = Vec::new();
        for grouped in &graph.groupings {
            let dimension = match &grouped.by {
                By::Source => Dimension::Companies(sets_of_sources(question, search)?),
                By::Tracked => {
                    let tracked = search.node(&Node::Tracked(true))?;
                    Dimension::Companies(vec![matched - &tracked, tracked])
                }
                By::Field(dimension) => dimension.clone(),
            };
            let keep = Keep {
                most: grouped.most,
                last: grouped.in_order,
            };
            dimensions.push((dimension, keep));
        }
        let mut measures = Vec::new();
        for measured in &graph.measures {
            let own = base.is_some_and(|base| *base == measured.of);
            let other = if own { None } else { Some(subject(&measured.of)?) };
            measures.push((measured.measure.clone(), other));
        }
        let companies = self.index().companies().len();
        let aggregate = Aggregate {
            matched,
            subject: base.map(subject).transpose()?,
            dimensions,
            measures,
            companies,
        };
        Ok(aggregate.run()?)
    }
}

/// The companies of each listed source.
fn sets_of_sources(question: &Question, search: &Search<'_>) -> Result<Vec<RoaringBitmap>, Error> {
    let of = |at: &usize| Ok(search.snapshot(*at)?.companies().clone());
    question.listed.iter().map(of).collect()
}

/// Keeps the type of a measure apart from that of a filter.
pub(super) type OfRecords = GroupMeasure;
