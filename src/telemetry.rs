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

/// Seconds; from a local call to a CRM's slowest answer.
const BUCKETS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0,
];

/// Longest line of the log in bytes. What is longer is cut.
const LONGEST_LINE: usize = 8_192;

/// Bounds how many lines one place of the code logs, where callers without a token decide how often it is reached.
pub struct Throttle {
    limiter: DefaultDirectRateLimiter,
    suppressed: AtomicU64,
}

impl Throttle {
    /// So many lines a second, and so many at once.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self {
            limiter: RateLimiter::direct(quota),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether a line may be logged now, and if so, how many were suppressed since the last one. The metric
    /// `tether_log_suppressed_total` counts these too.
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

/// Standard error, a line at a time, none longer than [`LONGEST_LINE`].
struct Stderr {
    json: bool,
}

impl std::io::Write for Stderr {
    /// The subscriber gives a whole event in one call.
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

/// A line that is too long, cut; `None` for one that is not. What is left of a JSON line becomes the text of another.
fn cut(line: &[u8], json: bool) -> Option<Vec<u8>> {
    if line.len() <= LONGEST_LINE {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let mark = format!("… (cut, {} bytes)", line.len());
    let beginning = |most| &text[..text.floor_char_boundary(most)];
    let short = match json {
        false => format!("{}{mark}", beginning(LONGEST_LINE).trim_end()),
        // Escaped, each byte may become two.
        true => serde_json::json!({"cut": format!("{}{mark}", beginning(LONGEST_LINE / 2))}).to_string(),
    };
    Some(format!("{short}\n").into_bytes())
}

/// Sends logs to stderr as the operator asked. A second call changes nothing.
///
/// # Errors
/// The filter cannot be read.
pub fn init_logs(options: &config::Log) -> Result<(), config::Error> {
    let filter = EnvFilter::try_new(&options.filter)
        .map_err(|error| config::Error::Rule(format!("log.filter = {:?}: {error}", options.filter)))?;
    let registry = tracing_subscriber::registry().with(filter);
    // Colours are for people; a file or a collector would keep their codes.
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

/// Makes metrics; the handle renders them.
///
/// # Errors
/// Metrics are made already in this process.
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
        "Ended rpcs, by rpc and gRPC code; a stream counts when it ends"
    );
    metrics::describe_gauge!("tether_connections", "Open connections, by listener");
    metrics::describe_counter!(
        "tether_connections_shed_total",
        "Connections closed or not accepted for want of room, by listener and reason"
    );
    metrics::describe_counter!(
        "tether_log_suppressed_total",
        "Log lines left out because callers caused too many"
    );
    metrics::describe_histogram!("tether_rpc_seconds", "Time to the answer's headers, by rpc");
    metrics::describe_counter!(
        "tether_sync_rows_total",
        "Rows of syncs, by connector and what became of them"
    );
    metrics::describe_counter!(
        "tether_sync_finished_total",
        "Finished syncs, by connector and state"
    );
    metrics::describe_gauge!("tether_sync_running", "Syncs this process runs now");
    metrics::describe_histogram!(
        "tether_sync_commit_seconds",
        "Time of one commit of a sync, by connector"
    );
    metrics::describe_counter!(
        "tether_crm_calls_total",
        "API calls made at the CRM, by connector"
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
        "Attempts to bring a search index up to date that failed, by cause"
    );
    metrics::describe_counter!(
        "tether_index_builds_total",
        "Search indexes built from the database, by reason"
    );
    metrics::describe_counter!(
        "tether_calls_refused_total",
        "Calls refused because a limit was reached, by limit"
    );
    metrics::describe_gauge!(
        "tether_answer_bytes",
        "Bytes of answers that are made and not yet taken by their callers"
    );
    metrics::describe_counter!(
        "tether_slow_readers_total",
        "Answers and streams given up because their callers did not take them, by kind"
    );
    metrics::describe_counter!(
        "tether_profile_total",
        "Profiles opened, by how fresh the cards were"
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
