//! Settings of all jobs, and orders for single ones.

use serde::{Deserialize, Serialize};

use super::jobs::State;

/// When the query of a job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Snapshot {
    /// At the first look at the job.
    #[default]
    Start,
    /// When it completes.
    End,
}

/// The `Sforce-Locator` of a last page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum End {
    #[default]
    Null,
    Empty,
    Absent,
}

/// The settings of all jobs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// False: "Async API not enabled".
    pub(crate) enabled: bool,
    /// The number of looks that see `InProgress`, before one sees the end.
    pub(crate) polls: u32,
    /// Rows of a result page without `maxRecords`.
    pub(crate) page_rows: usize,
    /// Entries in one list of result pages.
    pub(crate) pages_listed: usize,
    /// The key of the next list of result pages: its name is not confirmed.
    pub(crate) pages_key: String,
    /// Jobs in one list of jobs.
    pub(crate) jobs_listed: usize,
    /// A header row on every page, or only on the first.
    pub(crate) header_on_every_page: bool,
    pub(crate) end: End,
    /// Jobs in 24 hours.
    pub(crate) max_jobs: u64,
    /// Kilobytes of results in 24 hours are used up.
    pub(crate) storage_exceeded: bool,
    pub(crate) retention_days: i64,
    pub(crate) snapshot: Snapshot,
    /// Rows of a chunk: the chunks of a job without ORDER BY and LIMIT are in reverse order.
    pub(crate) chunk_rows: Option<usize>,
    /// The columns in the order of their names, not of the SELECT.
    pub(crate) columns_sorted: bool,
    /// Further objects that Bulk does not support.
    pub(crate) unsupported: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enabled: true,
            polls: 1,
            page_rows: 250_000,
            pages_listed: 5,
            pages_key: "nextRecordsUrl".to_owned(),
            jobs_listed: 1000,
            header_on_every_page: true,
            end: End::Null,
            max_jobs: 10_000,
            storage_exceeded: false,
            retention_days: 7,
            snapshot: Snapshot::Start,
            chunk_rows: None,
            columns_sorted: false,
            unsupported: Vec::new(),
        }
    }
}

/// The course of jobs that are created later.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Script {
    /// Only jobs of this object.
    pub(crate) object: Option<String>,
    /// Only jobs whose query contains this.
    pub(crate) contains: Option<String>,
    /// The number of matching jobs before it, and of those with it.
    pub(crate) skip: u32,
    pub(crate) times: u32,
    /// As in [`Settings`].
    #[serde(rename = "polls")]
    own_polls: Option<u32>,
    /// The state after the looks that see `InProgress`. An unfinished one stays for ever.
    pub(crate) then: State,
    /// The states that the looks see, instead of `polls` and `then`; the last one stays.
    pub(crate) states: Vec<State>,
    /// Of a job that fails.
    pub(crate) error_message: Option<String>,
    /// The number of rows that are in the result twice: those that change while the job runs, then others.
    pub(crate) duplicates: usize,
    /// The difference of `numberRecordsProcessed` to the rows.
    pub(crate) miscount: i64,
    /// The result ends after so many rows, and counts no others.
    pub(crate) keep: Option<usize>,
    #[serde(skip)]
    pub(crate) polls: u32,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            object: None,
            contains: None,
            skip: 0,
            times: 1,
            own_polls: None,
            then: State::JobComplete,
            states: Vec::new(),
            error_message: None,
            duplicates: 0,
            miscount: 0,
            keep: None,
            polls: 0,
        }
    }
}

/// The course of a new job.
pub(crate) fn course(scripts: &mut Vec<Script>, settings: &Settings, object: &str, soql: &str) -> Script {
    let mut found: Option<Script> = None;
    for script in scripts.iter_mut() {
        let matches = script
            .object
            .as_ref()
            .is_none_or(|o| o.eq_ignore_ascii_case(object))
            && script
                .contains
                .as_ref()
                .is_none_or(|part| soql.contains(part.as_str()));
        if !matches {
            continue;
        }
        if script.skip > 0 {
            script.skip -= 1;
        } else if found.is_none() {
            script.times = script.times.saturating_sub(1);
            found = Some(script.clone());
        }
    }
    scripts.retain(|script| script.times > 0);
    let mut script = found.unwrap_or_default();
    script.polls = script.own_polls.unwrap_or(settings.polls);
    if script.then == State::Failed && script.error_message.is_none() {
        script.error_message = Some("InternalServerError: retried more than 15 times".to_owned());
    }
    script
}
