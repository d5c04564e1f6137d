//! How many companies an index has.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Error, Index, Position};
use crate::domain::IntegrationId;

impl Index {
    /// How many companies an integration has, and how far its index has come; `None` while that is being built. An index
    /// that turns out to be damaged is built again from here on.
    ///
    /// # Errors
    /// The operating system or the database refuses for now, or the index does not answer for an unknown reason.
    pub async fn count(&self, id: IntegrationId) -> Result<Option<(i64, Position)>, Error> {
        let Some(snapshot) = self.snapshot(id).await? else {
            return Ok(None);
        };
        let counted = Arc::clone(&snapshot);
        let count = spawn_blocking(move || {
            // As with a search: what was counted counts only if the files are what was written, before and after.
            counted.check()?;
            let count = counted.companies()?.len();
            counted.check()?;
            Ok(i64::try_from(count).unwrap_or(i64::MAX))
        });
        let counted = count
            .await
            .unwrap_or_else(|error| Err(Error::Broken(error.to_string())));
        match counted {
            Ok(count) => Ok(Some((count, snapshot.position))),
            Err(error) => match self.suspect(vec![snapshot], &error).await {
                Some(_) => Ok(None),
                None => Err(error),
            },
        }
    }
}
