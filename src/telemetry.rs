//! Logs and metrics of the process.

use std::io::IsTerminal as _;

use crate::config;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Seconds; from a local call to a CRM's slowest answer.
const BUCKETS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0,
];

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
        .with_writer(std::io::stderr);
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
    metrics::describe_counter!("tether_rpc_total", "Answered rpcs, by rpc and gRPC code");
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
        "API calls made at the CRM, by connector and integration"
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
        "tether_profile_total",
        "Profiles opened, by how fresh the cards were"
    );
}
