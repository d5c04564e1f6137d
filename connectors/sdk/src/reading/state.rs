//! The content of a checkpoint.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::proto::Error;

/// The version of the format.
const VERSION: u8 = 1;

/// The position of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State<P> {
    v: u8,
    /// The object that is next or being read; empty when all are done.
    pub(super) object: String,
    /// The position in its list.
    #[serde(flatten)]
    pub(super) place: P,
}

impl<P> State<P> {
    /// At a position in an object.
    pub(super) fn new(object: &str, place: P) -> Self {
        Self {
            v: VERSION,
            object: object.to_owned(),
            place,
        }
    }

    /// At the beginning of an object.
    pub(super) fn at(object: &str) -> Self
    where
        P: Default,
    {
        Self::new(object, P::default())
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
