//! `/limits` and `/limits/recordCount`.

use serde_json::{Value as Json, json};

use super::{Call, Reply};
use crate::errors::Error;

pub(crate) fn limits(call: &Call<'_>) -> Json {
    let org = call.org();
    let left = org.api_max.saturating_sub(org.used());
    let full = |max: u64| json!({ "Max": max, "Remaining": max });
    json!({
        "ConcurrentAsyncGetReportInstances": full(200),
        "DailyApiRequests": { "Max": org.api_max, "Remaining": left },
        "DailyAsyncApexExecutions": full(250_000),
        "DailyBulkApiBatches": full(15_000),
        "DailyBulkV2QueryFileStorageMB": full(976_562),
        "DailyBulkV2QueryJobs": full(10_000),
        "DataStorageMB": full(10_240),
        "FileStorageMB": full(10_240),
        "HourlyODataCallout": full(20_000),
    })
}

/// Counts of live rows. A real org returns outdated counts.
pub(crate) fn record_count(call: &Call<'_>) -> Result<Reply, Error> {
    let org = call.org();
    let viewer = call.viewer(&org)?;
    let asked = call.param("sObjects");
    let asked: Option<Vec<&str>> = asked.as_deref().map(|a| a.split(',').map(str::trim).collect());
    let counts: Vec<Json> = org
        .schema
        .objects
        .iter()
        .filter(|o| {
            asked
                .as_ref()
                .is_none_or(|a| a.iter().any(|n| n.eq_ignore_ascii_case(o.name)))
        })
        .filter_map(|o| viewer.object(o.name))
        .map(|(table, o)| json!({ "count": org.tables[table].live_count(), "name": o.name }))
        .collect();
    Ok(json!({ "sObjects": counts }).into())
}
