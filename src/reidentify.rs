//! Converts a database whose companies were identified by earlier rules to the current identity rules.

use crate::domain::CompanyId;
use crate::identity;
use crate::store::{self, CompanyRecord, Moved, Store};

/// Companies per transaction. One takes a fraction of a second, so that other writers of the same integration do not
/// wait long.
pub const BATCH: i64 = 1_000;

/// Why the database cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A later version of tether has converted the database.
    #[error(
        "the companies in the database were identified by the rules {found}, later than the rules {} of this version: run the version \
         that wrote them, or a later one",
        identity::VERSION
    )]
    Later {
        /// The version of the rules in the database.
        found: String,
    },
    /// An error of the database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The number at the beginning of a version; 0 if there is none.
fn number(version: &str) -> u32 {
    let digits = version.split(':').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

/// Converts the records in batches. After an interruption, the next run continues. If several processes run this,
/// each returns only when all is done.
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
                "converting companies to new identity rules"
            );
            while !all.done {
                let moved = store
                    .identity_move(identity::VERSION, BATCH, identity::domain_of, company_of)
                    .await?;
                all.records += moved.records;
                all.tracked += moved.tracked;
                all.platform += moved.platform;
                all.done = moved.done;
            }
            let Moved {
                records,
                tracked,
                platform,
                ..
            } = all;
            tracing::info!(
                "converted companies: {records} records belong to another company, {tracked} entries of groups' own lists and \
                 {platform} companies of the platform moved"
            );
        }
    }
    all.done = true;
    Ok(all)
}

/// The company of a stored record under the current rules.
#[must_use]
pub fn company_of(of: &CompanyRecord) -> CompanyId {
    identity::company_of_record(&of.connector, &of.organization_id, &of.external_id, &of.homepage)
}
