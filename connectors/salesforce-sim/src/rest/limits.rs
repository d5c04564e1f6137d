//! `/limits` and `/limits/recordCount`.

use serde_json::{Value as Json, json};

use super::{Call, Reply, answers};
use crate::errors::Error;

pub(crate) fn limits(call: &Call<'_>) -> Json {
    let (max_jobs, used_jobs) = {
        let jobs = call.app.jobs.lock();
        let used = jobs.used.get(&call.user.org).copied();
        (jobs.settings.max_jobs, used.unwrap_or(0))
    };
    let jobs_left = max_jobs.saturating_sub(used_jobs);
    let org = call.org();
    let left = org.api_max.saturating_sub(org.used());
    let full = |max: u64| json!({ "Max": max, "Remaining": max });
    json!({
        "ConcurrentAsyncGetReportInstances": full(200),
        "DailyApiRequests": { "Max": org.api_max, "Remaining": left },
        "DailyAsyncApexExecutions": full(250_000),
        "DailyBulkApiBatches": full(15_000),
        "DailyBulkV2QueryFileStorageMB": full(976_562),
        "DailyBulkV2QueryJobs": { "Max": max_jobs, "Remaining": jobs_left },
        "DataStorageMB": full(10_240),
        "FileStorageMB": full(10_240),
        "HourlyODataCallout": full(20_000),
    })
}

/// Counts of live rows. A real org returns outdated counts, and `answers` can.
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
        .map(|(table, o)| {
            let count = answers::count(call, o.name).unwrap_or_else(|| org.tables[table].live_count());
            json!({ "count": count, "name": o.name })
        })
        .collect();
    Ok(json!({ "sObjects": counts }).into())
}
