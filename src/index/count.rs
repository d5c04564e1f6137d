//! The number of companies in an index.

use std::sync::Arc;

use tether_columns::Position;
use tokio::task::spawn_blocking;

use super::{Error, Index};
use crate::domain::IntegrationId;

impl Index {
    /// The number of companies of an integration, and the position of its index; `None` while the index is being
    /// built. If the index turns out to be damaged, it is marked to be rebuilt.
    ///
    /// # Errors
    /// A temporary error of the operating system or the database, or an unknown error of the index.
    pub async fn count(&self, id: IntegrationId) -> Result<Option<(i64, Position)>, Error> {
        let Some(snapshot) = self.snapshot(id).await? else {
            return Ok(None);
        };
        let counted = Arc::clone(&snapshot);
        let count = spawn_blocking(move || {
            // As for a search: the count is valid only if the index files pass the check both before and after it.
            counted.check()?;
            let count = counted.companies().len();
            counted.check()?;
            Ok::<_, Error>(i64::try_from(count).unwrap_or(i64::MAX))
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
