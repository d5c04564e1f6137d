//! Brings a database whose companies follow earlier rules of identity to the present ones.

use crate::domain::CompanyId;
use crate::identity;
use crate::store::{self, CompanyRecord, Moved, Store};

/// Companies of one transaction: a fraction of a second, so that others who wait for the same integration do.
pub const BATCH: i64 = 1_000;

/// Why it cannot be brought to them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database was in the hands of a later tether.
    #[error(
        "the database's companies are identified by the rules {found}, which are later than this tether's {}: run the version \
         that wrote them, or a later one",
        identity::VERSION
    )]
    Later {
        /// The version of the rules in the database.
        found: String,
    },
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The number a version begins with; 0 for a text that has none.
fn number(version: &str) -> u32 {
    let digits = version.split(':').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

/// Moves what has to be moved, in batches. Stopped at any moment, the next run goes on; of several processes each waits until
/// all is done.
///
/// # Errors
/// [`Error`].
pub async fn run(store: &Store) -> Result<Moved, Error> {
    let mut all = Moved::default();
    match store.identity_version().await? {
        None => store.identity_begin(identity::VERSION).await?,
        Some(version) if version == identity::VERSION => {}
        Some(found) if number(&found) > number(identity::VERSION) => return Err(Error::Later { found }),
        Some(found) => {
            tracing::info!(
                from = found,
                to = identity::VERSION,
                "moving companies to other rules of identity"
            );
            while !all.done {
                let moved = store
                    .identity_move(identity::VERSION, BATCH, identity::domain_of, company_of)
                    .await?;
                all.records += moved.records;
                all.tracked += moved.tracked;
                all.done = moved.done;
            }
            let Moved { records, tracked, .. } = all;
            tracing::info!(
                "{records} records are other companies now, {tracked} entries of groups' own lists moved"
            );
        }
    }
    all.done = true;
    Ok(all)
}

/// The company of a stored record, by the present rules.
#[must_use]
pub fn company_of(of: &CompanyRecord) -> CompanyId {
    identity::company_of_record(&of.connector, &of.organization_id, &of.external_id, &of.homepage)
}
