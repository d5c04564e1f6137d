//! The cache of the ranks of texts.

use std::collections::HashMap;
use std::sync::Arc;

use super::problem::Error;
use crate::index::{Ranks, Snapshot, Texts};

/// Cache of text ranks, so that the next pages of a query do not compute them again.
#[derive(Default)]
pub(super) struct RankCache {
    /// Each entry with the turn of its last use.
    ranks: HashMap<RankKey, (Arc<Ranks>, u64)>,
    turn: u64,
}

/// Cache key: the ids of the snapshots, the path, and the kind of texts.
type RankKey = (Vec<u64>, String, Texts);

/// Maximum number of cached ranks.
const MOST_RANKS: usize = 32;

impl RankCache {
    pub(super) fn get(
        of: &parking_lot::Mutex<Self>,
        snapshots: &[&Snapshot],
        path: &str,
        which: Texts,
    ) -> Result<Arc<Ranks>, Error> {
        let key = (
            snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(),
            path.to_owned(),
            which,
        );
        {
            let mut cache = of.lock();
            cache.turn += 1;
            let turn = cache.turn;
            if let Some((ranks, used)) = cache.ranks.get_mut(&key) {
                *used = turn;
                return Ok(Arc::clone(ranks));
            }
        }
        let ranks = Arc::new(Ranks::new(snapshots, path, which)?);
        let mut cache = of.lock();
        if cache.ranks.len() >= MOST_RANKS
            && let Some(oldest) = cache
                .ranks
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(key, _)| key.clone())
        {
            cache.ranks.remove(&oldest);
        }
        let turn = cache.turn;
        cache.ranks.insert(key, (Arc::clone(&ranks), turn));
        Ok(ranks)
    }
}
