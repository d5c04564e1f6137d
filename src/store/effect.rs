//! What a change of control makes of a data set.
//!
//! The two share no transaction (`data`), so it runs after the commit. A crash in between leaves nothing wrong for long: a
//! worker learns of a cancellation by its heartbeat, the next claim raises the generation, and cleanup deletes data sets
//! without an integration.

use super::{Store, data_set};
use crate::domain::IntegrationId;

/// What a change of control makes of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Commits with a fencing token up to this one are refused.
    Stop(IntegrationId, i64),
    /// Rows that were read for an older generation than this one are refused.
    Generation(IntegrationId, i64),
}

impl Store {
    /// Runs the effects of a transaction of control that was committed. A database that does not answer is not waited for:
    /// the module's comment says what makes up for it.
    pub(super) async fn data_follow(&self, effects: Vec<Effect>) {
        for effect in effects {
            let (Effect::Stop(id, _) | Effect::Generation(id, _)) = effect;
            let done = self.data_write(id, move |conn| match effect {
                Effect::Stop(id, fence) => data_set::stop(conn, id, fence),
                Effect::Generation(id, generation) => data_set::raise(conn, id, generation),
            });
            match done.await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => tracing::warn!(
                    integration = %id,
                    "the data of {id} follows a change later: {error}"
                ),
            }
        }
    }
}
