//! Logs and metrics of the process.

use std::io::IsTerminal as _;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Histogram buckets in seconds, from a local call to the slowest reply of a CRM.
const BUCKETS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0,
];

/// Maximum length of a log line in bytes. Longer lines are cut.
const LONGEST_LINE: usize = 8_192;

/// Limits the log lines from one place in the code that unauthenticated callers can trigger.
pub struct Throttle {
    limiter: DefaultDirectRateLimiter,
    suppressed: AtomicU64,
}

impl Throttle {
    /// Limits to this many lines per second, with bursts of at most `burst` lines.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self {
            limiter: RateLimiter::direct(quota),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether a line may be logged now; if so, how many lines were suppressed since the last one. The metric
    /// `tether_log_suppressed_total` counts these, too.
    pub fn admit(&self) -> Option<u64> {
        match self.limiter.check() {
            Ok(()) => Some(self.suppressed.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("tether_log_suppressed_total").increment(1);
                None
            }
        }
    }
}

/// Writes whole lines to standard error, none longer than [`LONGEST_LINE`].
struct Stderr {
    json: bool,
}

impl std::io::Write for Stderr {
    /// The subscriber passes a complete event in one call.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut out = std::io::stderr().lock();
        match cut(line, self.json) {
            None => out.write_all(line)?,
            Some(shorter) => out.write_all(&shorter)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Cuts a line that is too long; `None` if it is short enough. The beginning of a JSON line becomes a text in a new
/// JSON object.
fn cut(line: &[u8], json: bool) -> Option<Vec<u8>> {
    if line.len() <= LONGEST_LINE {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let mark = format!("… (cut, {} bytes)", line.len());
    let beginning = |most| &text[..text.floor_char_boundary(most)];
    let short = match json {
        false => format!("{}{mark}", beginning(LONGEST_LINE).trim_end()),
        // Escaping can double the number of bytes.
        true => serde_json::json!({"cut": format!("{}{mark}", beginning(LONGEST_LINE / 2))}).to_string(),
    };
    Some(format!("{short}\n").into_bytes())
}

/// Starts logging to standard error with the operator's settings. A second call changes nothing.
///
/// # Errors
/// The filter is invalid.
pub fn init_logs(options: &config::Log) -> Result<(), config::Error> {
    let filter = EnvFilter::try_new(&options.filter)
        .map_err(|error| config::Error::Rule(format!("log.filter = {:?}: {error}", options.filter)))?;
    let registry = tracing_subscriber::registry().with(filter);
    // Colors are for terminals; in a file or a log collector, the escape codes would remain.
    let format = tracing_subscriber::fmt::layer()
        .with_ansi(
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()),
        )
        .with_writer({
            let json = options.json;
            move || Stderr { json }
        });
    let _ = if options.json {
        registry.with(format.json()).try_init()
    } else {
        registry.with(format).try_init()
    };
    Ok(())
}

/// Installs the metrics recorder; the handle renders the metrics.
///
/// # Errors
/// A recorder is already installed in this process.
pub fn init_metrics() -> Result<PrometheusHandle, config::Error> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)
        .map_err(|error| config::Error::Rule(error.to_string()))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| config::Error::Rule(error.to_string()))?;
    describe();
    Ok(handle)
}

fn describe() {
    metrics::describe_counter!(
        "tether_rpc_total",
        "Completed RPCs, by RPC and gRPC code; a stream counts when it ends"
    );
    metrics::describe_gauge!("tether_connections", "Open connections, by listener");
    metrics::describe_counter!(
        "tether_connections_shed_total",
        "Connections closed or rejected because a limit was reached, by listener and reason"
    );
    metrics::describe_counter!(
        "tether_log_suppressed_total",
        "Log lines suppressed because callers caused too many"
    );
    metrics::describe_histogram!("tether_rpc_seconds", "Time until the response headers, by RPC");
    metrics::describe_counter!(
        "tether_sync_rows_total",
        "Rows of syncs, by connector and outcome"
    );
    metrics::describe_counter!(
        "tether_sync_finished_total",
        "Finished syncs, by connector and state"
    );
    metrics::describe_counter!(
        "tether_sync_scheduled_total",
        "Scheduled times that were reached, by connector and outcome"
    );
    metrics::describe_histogram!(
        "tether_sync_schedule_late_seconds",
        "Time from a scheduled time to the queueing of its sync"
    );
    metrics::describe_histogram!(
        "tether_sync_schedule_wait_seconds",
        "Time that a scheduled sync waited for a worker"
    );
    metrics::describe_gauge!("tether_sync_running", "Syncs that run in this process");
    metrics::describe_histogram!(
        "tether_sync_commit_seconds",
        "Time of one commit of a sync, by connector"
    );
    metrics::describe_counter!(
        "tether_crm_calls_total",
        "API calls made at the CRM, by connector and kind (sync, live)"
    );
    metrics::describe_counter!(
        "tether_crm_pauses_total",
        "Pauses of organizations whose CRM is down or refuses calls, by connector and reason"
    );
    metrics::describe_counter!(
        "tether_grant_refresh_total",
        "Token refreshes, by connector and outcome"
    );
    metrics::describe_histogram!(
        "tether_grant_refresh_seconds",
        "Time of a token refresh, by connector"
    );
    metrics::describe_counter!(
        "tether_index_failures_total",
        "Failed attempts to update a search index, by cause"
    );
    metrics::describe_counter!(
        "tether_index_builds_total",
        "Search indexes built from the database, by reason"
    );
    metrics::describe_counter!(
        "tether_calls_refused_total",
        "Calls rejected because a limit was reached, by limit"
    );
    metrics::describe_gauge!(
        "tether_answer_bytes",
        "Bytes of responses that the callers have not read yet"
    );
    metrics::describe_counter!(
        "tether_slow_readers_total",
        "Responses and streams cancelled because the callers did not read them, by kind"
    );
    metrics::describe_counter!(
        "tether_profile_total",
        "Opened profiles, by the freshness of their data"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        assert_eq!(cut(b"short\n", false), None);
        for json in [false, true] {
            let long = cut("ü\"".repeat(10_000).as_bytes(), json).unwrap();
            assert!(long.len() < LONGEST_LINE + 100 && long.ends_with(b"\n"));
            let text = std::str::from_utf8(&long).unwrap();
            assert!(text.contains("(cut, 30000 bytes)"), "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(text).is_ok(), json);
        }
    }

    #[test]
    fn lines_beyond_the_burst_are_counted() {
        let throttle = Throttle::new(1, 3);
        assert!((0..3).all(|_| throttle.admit() == Some(0)));
        assert!((0..50).all(|_| throttle.admit().is_none()));
        assert_eq!(throttle.suppressed.load(Ordering::Relaxed), 50);
    }
}
