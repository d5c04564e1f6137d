//! `tether serve`: runs the server until SIGTERM or Ctrl-C; SIGHUP reloads what can change at run time.

use super::print::say;
use crate::config::Options;
use crate::server::{Failure, Running};
use crate::{data_dir, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// Serves until a signal ends it.
pub(super) async fn run(options: Options) -> Result<(), Failure> {
    telemetry::init_logs(&options.log)?;
    tracing::debug!(?options, "settings");
    data_dir::close_umask();
    let mut running = Running::start(options).await?;
    // One line for the operator or program that started the server: with port 0, it has the actual ports.
    say(&serde_json::json!({
        "grpc": running.grpc.to_string(),
        "callback": running.callback.to_string(),
        "admin": running.admin.to_string(),
    })
    .to_string());
    let (mut terminate, mut reload) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    loop {
        tokio::select! {
            failure = running.failed() => return Err(failure),
            _ = terminate.recv() => break,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
            _ = reload.recv() => running.reload().await,
        }
    }
    tracing::info!("draining");
    running.stop().await;
    Ok(())
}
