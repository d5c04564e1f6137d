//! Logins that are not used: CRMs end them after some weeks, so they are refreshed earlier.
//!
//! Syncs refresh a login as often as its sessions end; one whose integrations sync by hand only may be unused for months, and
//! some CRMs end a refresh token that was not used for 30 days.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Credentials;
use crate::time::now_us;

/// How often unused logins are looked for, besides at the start.
const LOOK: Duration = Duration::from_secs(600);
/// The maximum number of refreshes of one look.
const BATCH: i64 = 50;

impl Credentials {
    /// Refreshes logins that are not used, until `stop` is cancelled.
    pub async fn run_idle(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.refresh_idle(&stop).await {
                tracing::warn!("unused logins are refreshed later: {error}");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn refresh_idle(&self, stop: &CancellationToken) -> Result<(), crate::store::Error> {
        let before_us = now_us() - self.refresh_after.as_micros() as i64;
        for (id, generation) in self.store.credential_list_idle(before_us, BATCH).await? {
            if stop.is_cancelled() {
                return Ok(());
            }
            match self.refresh(id, generation).await {
                Ok(_) => tracing::info!(credential = %id, "credential {id} was refreshed: it was not used"),
                // The refresh has stored and logged the error, with the time of the next attempt.
                Err(error) => tracing::debug!(credential = %id, "credential {id} was not refreshed: {error}"),
            }
        }
        Ok(())
    }
}
