//! What the CRM listed of an account's fields, kept for later pages and for the selection.

use crate::domain::CredentialId;
use std::sync::Arc;
use std::time::Duration;
use tether_connector_proto as proto;

/// The size of the cache of field lists, in bytes, over all accounts.
const MOST_LISTED_BYTES: u64 = 128 << 20;

/// Recent listings, by credential: later pages and the selection of fields use them.
pub(super) type Listings = moka::future::Cache<CredentialId, Arc<Listing>>;

/// An empty cache of listings.
pub(super) fn listings() -> Listings {
    moka::future::Cache::builder()
        .weigher(|_, listing: &Arc<Listing>| u32::try_from(listing.bytes).unwrap_or(u32::MAX))
        .max_capacity(MOST_LISTED_BYTES)
        .time_to_live(Duration::from_secs(300))
        .build()
}

/// The fields that the CRM listed, with the time.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) objects: Vec<proto::ObjectFields>,
    pub(super) read_us: i64,
    /// The encoded size.
    pub(super) bytes: usize,
}
