//! `tether secrets`: which keys seal the stored secrets, and sealing them again with the first key.

use super::print::say;
use crate::config::Options;
use crate::credentials::rotate::Rotation;
use crate::server::{self, Failure};

/// Prints one line `table, key id, secrets, description of the key` for each key. Fails if a secret needs a key that
/// is not configured.
pub(super) async fn run(options: &Options, rotate: bool) -> Result<(), Failure> {
    let sealer = server::sealer(options)?;
    let rotation = Rotation::new(server::connect_store(options).await?, sealer.clone());
    if rotate {
        let rotated = rotation.run().await?;
        for (table, count) in &rotated.resealed {
            say(&format!("{table}\t{count} sealed anew"));
        }
        for (table, row, why) in &rotated.left {
            say(&format!("{table}\t{row} left as it is: {why}"));
        }
    }
    let mut missing = Vec::new();
    for ((table, key), count) in rotation.usage().await?.0 {
        let what = if key == sealer.key_id() {
            "the first key"
        } else if sealer.knows(&key) {
            "an old key, still needed"
        } else {
            missing.push(key.clone());
            "NOT CONFIGURED"
        };
        say(&format!("{table}\t{key}\t{count}\t{what}"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort();
    missing.dedup();
    Err(format!(
        "secrets are sealed with {}, which is not in secrets.keys: add the key, or log in again",
        missing.join(", ")
    )
    .into())
}
