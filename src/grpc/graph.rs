//! `AggregateCompanies`.

use tether_columns::number::Number;

use super::companies::{positions, scope, sources};
use super::{convert, validate};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::Error;
use crate::proto::v1;
use crate::proto::v1::bucket_key::Bucket;
use crate::proto::v1::date_bucket::Unit as UnitOf;
use crate::proto::v1::grouping::Bucket as BucketOf;
use crate::proto::v1::measure::Function as FunctionOf;
use crate::service::{
    Calendar, Function, GraphAsk, GraphKey, GraphRow, GroupAsk, Services, Unit, WidthOrUnit,
};
use crate::value::{Shown, Value};

/// The most groupings.
const GROUPINGS: usize = 2;
/// The most measures.
const MEASURES: usize = 10;
/// The maximum length of a field's name, in characters.
const MOST_FIELD: usize = 600;
/// The maximum length of a bucket's width, in characters.
const MOST_WIDTH: usize = 40;

/// Answers a request.
pub(super) async fn get(
    services: &Services,
    caller: &Caller,
    parent: &GroupId,
    request: v1::AggregateCompaniesRequest,
) -> Result<v1::AggregateCompaniesResponse, Error> {
    validate::text("query", &request.query, validate::QUERY_LENGTH)?;
    validate::list("groupings", &request.groupings, GROUPINGS)?;
    validate::list("measures", &request.measures, MEASURES)?;
    let groupings = request.groupings.iter().enumerate();
    let groupings = groupings.map(|(at, one)| grouping(&format!("groupings[{at}]"), one));
    let measures = request.measures.iter().enumerate();
    let measures = measures.map(|(at, one)| measure(&format!("measures[{at}]"), one));
    let ask = GraphAsk {
        scope: scope(request.scope()),
        only: sources(&request.sources)?,
        groupings: groupings.collect::<Result<_, _>>()?,
        measures: measures.collect::<Result<_, _>>()?,
        zone: validate::time_zone("time_zone", &request.time_zone)?,
        at_least: positions(&request.at_least)?,
        query: request.query,
        filter: request.filter,
    };
    let view = services.company_aggregate(caller, parent, ask).await?;
    let as_of = view.positions.iter();
    Ok(v1::AggregateCompaniesResponse {
        rows: view.rows.into_iter().map(row).collect(),
        total: Some(row(view.total)),
        as_of: as_of
            .map(|(id, position)| convert::source_position(*id, *position))
            .collect(),
    })
}

fn grouping(path: &str, of: &v1::Grouping) -> Result<GroupAsk, Error> {
    validate::text(&format!("{path}.field"), &of.field, MOST_FIELD)?;
    let bucket = match &of.bucket {
        None => WidthOrUnit::Each,
        Some(BucketOf::DateBucket(bucket)) => {
            let path = format!("{path}.date_bucket");
            let zone = validate::time_zone(&format!("{path}.time_zone"), &bucket.time_zone)?;
            let unit = match bucket.unit() {
                UnitOf::Unspecified => return Err(Error::invalid(format!("{path}.unit"), "is required")),
                UnitOf::Day => Unit::Day,
                UnitOf::Week => Unit::Week,
                UnitOf::Month => Unit::Month,
                UnitOf::Quarter => Unit::Quarter,
                UnitOf::Year => Unit::Year,
            };
            WidthOrUnit::Unit(Calendar { unit, zone })
        }
        Some(BucketOf::NumberBucket(bucket)) => {
            let path = format!("{path}.number_bucket.width");
            validate::text(&path, &bucket.width, MOST_WIDTH)?;
            let width = Number::parse(&bucket.width).filter(Number::is_positive);
            WidthOrUnit::Width(
                width
                    .ok_or_else(|| Error::invalid(path, "must be a decimal above 0, such as 1000 or 0.5"))?,
            )
        }
    };
    Ok(GroupAsk {
        field: of.field.clone(),
        bucket,
        most: validate::limit(&format!("{path}.limit"), of.limit, 20, 1_000)?,
    })
}

fn measure(path: &str, of: &v1::Measure) -> Result<(String, Function), Error> {
    validate::text(&format!("{path}.field"), &of.field, MOST_FIELD)?;
    let only_percentile = || {
        Error::invalid(
            format!("{path}.percentile"),
            "must be 1 to 99, and is allowed for PERCENTILE only",
        )
    };
    if (of.function() == FunctionOf::Percentile) != (of.percentile != 0) {
        return Err(only_percentile());
    }
    let function = match of.function() {
        FunctionOf::Unspecified => return Err(Error::invalid(format!("{path}.function"), "is required")),
        FunctionOf::Count => Function::Count,
        FunctionOf::Sum => Function::Sum,
        FunctionOf::Average => Function::Average,
        FunctionOf::Minimum => Function::Minimum,
        FunctionOf::Maximum => Function::Maximum,
        FunctionOf::Median => Function::Percentile(50),
        FunctionOf::Percentile => {
            let percent = u32::try_from(of.percentile)
                .ok()
                .filter(|percent| (1..=99).contains(percent));
            Function::Percentile(percent.ok_or_else(only_percentile)?)
        }
    };
    Ok((of.field.clone(), function))
}

fn row(of: GraphRow) -> v1::AggregateRow {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let key = |key| v1::BucketKey {
        bucket: Some(match key {
            GraphKey::Value(shown) => Bucket::Value(convert::value(Some(shown))),
            GraphKey::Unset => Bucket::Unset(true),
            GraphKey::Other => Bucket::Other(true),
        }),
    };
    v1::AggregateRow {
        keys: of.keys.into_iter().map(key).collect(),
        company_count: count(of.companies),
        record_count: count(of.records),
        results: of.results.into_iter().map(result).collect(),
    }
}

fn result(of: Option<Value>) -> v1::Value {
    let shown: Option<Shown> = of.map(|value| value.shown(0, MOST_FIELD));
    convert::value(shown)
}
