//! The content of a checkpoint.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::proto::Error;

/// The version of the format. Version 1 had no times: after it, everything is read again.
const VERSION: u8 = 2;

/// Since when the changes of each object are still to be read: unix microseconds by the CRM's clock.
pub(super) type History = BTreeMap<String, i64>;

/// The position of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State<P> {
    pub(super) v: u8,
    /// The object that is next or being read; empty when all are done.
    pub(super) object: String,
    /// A digest of the passes over it; 0 if none has begun.
    #[serde(default)]
    pub(super) passes: u64,
    /// The number of the pass.
    #[serde(default)]
    pub(super) pass: usize,
    /// Since when its changes are to be read after this read; 0 if unknown.
    #[serde(default)]
    pub(super) next_us: i64,
    /// Its ids are to be listed after the passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unlisted: bool,
    /// The objects that were read to their end, in this read or an earlier one.
    #[serde(default)]
    pub(super) since: History,
    /// What the source could not end in the CRM, in its own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<String>,
    /// The position in its list.
    #[serde(flatten)]
    pub(super) place: P,
}

impl<P> State<P> {
    /// At the beginning of an object.
    pub(super) fn at(object: &str, since: History) -> Self
    where
        P: Default,
    {
        Self {
            v: VERSION,
            object: object.to_owned(),
            passes: 0,
            pass: 0,
            next_us: 0,
            unlisted: false,
            since,
            left: Vec::new(),
            place: P::default(),
        }
    }

    /// The state of a checkpoint, if it can be parsed and fits. Otherwise the read starts from the beginning.
    pub(super) fn of(checkpoint: &[u8], fits: impl Fn(&Self) -> bool) -> Option<Self>
    where
        P: DeserializeOwned,
    {
        let state: Self = serde_json::from_slice(checkpoint).ok()?;
        (state.v == VERSION && fits(&state)).then_some(state)
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>, Error>
    where
        P: Serialize,
    {
        serde_json::to_vec(self).map_err(|_| Error::bug("a checkpoint cannot be written"))
    }
}

/// What an earlier read has left in the CRM, as its last state says.
pub(super) fn left(state: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Known {
        v: u8,
        #[serde(default)]
        left: Vec<String>,
    }
    let known: Option<Known> = serde_json::from_slice(state).ok();
    let left = known.filter(|known| known.v == VERSION).map(|known| known.left);
    left.unwrap_or_default()
}

/// The times in the state of an earlier read, as far as they can be used: later than `oldest_us`.
pub(super) fn history(state: &[u8], oldest_us: i64) -> History {
    #[derive(Deserialize)]
    struct Known {
        v: u8,
        since: History,
    }
    let known: Option<Known> = serde_json::from_slice(state).ok();
    let since = known.filter(|known| known.v == VERSION).map(|known| known.since);
    let mut since = since.unwrap_or_default();
    since.retain(|_, us| *us > oldest_us);
    since
}
