//! What a connector knows of its CRM, for a full read.

use std::future::{Future, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Wanted};
use crate::proto::{Covers, Error, ObjectCount, Record};

/// A CRM, as [`super::read`] reads it on behalf of one account.
pub trait Source: Send + Sync {
    /// The CRM's name, for errors.
    const CRM: &'static str;
    /// The next page is loaded while the host stores the last one.
    const AHEAD: bool = false;

    /// One of the objects that the connector offers.
    type Object: Copy + Send + Sync;
    /// How an object is read: its columns, and what was tried against errors.
    type Plan: Send + Sync;
    /// Where the list of an object stands. It goes into checkpoints as the keys of a JSON object beside `v` and `object`:
    /// no secrets and no addresses, another process goes on from it. The default is the beginning.
    type Place: Clone + Default + PartialEq + Send + Sync + Serialize + DeserializeOwned;
    /// What one request, or a few, gave; not yet records.
    type Loaded: Send;

    /// The object with this key, or INVALID_INPUT.
    fn object(key: &str) -> Result<Self::Object, Error>;

    /// The key of an object.
    fn key(object: Self::Object) -> &'static str;

    /// Whether a place of a checkpoint can be gone on from.
    fn is_place(place: &Self::Place) -> bool {
        let _ = place;
        true
    }

    /// Looks at all objects that are left before the first is read, where the CRM answers for several at once. Answers about
    /// how many records they have.
    fn open(
        &mut self,
        left: &[Wanted<Self::Object>],
    ) -> impl Future<Output = Result<Vec<ObjectCount>, Error>> + Send {
        let _ = left;
        ready(Ok(Vec::new()))
    }

    /// Looks at an object before it is read. An error ends the stream, one of the object alone is [`Looked::Hidden`].
    fn look(
        &mut self,
        wanted: &Wanted<Self::Object>,
    ) -> impl Future<Output = Result<Looked<Self::Plan>, Error>> + Send;

    /// Loads what comes at a place.
    fn load(
        &self,
        plan: &Self::Plan,
        place: &Self::Place,
    ) -> impl Future<Output = Result<Self::Loaded, Error>> + Send;

    /// Turns what was loaded at `place` into records; completes it by more requests where that needs some.
    fn page(
        &mut self,
        plan: &mut Self::Plan,
        place: &Self::Place,
        loaded: Self::Loaded,
    ) -> impl Future<Output = Result<Page<Self::Place>, Error>> + Send;

    /// Does what helps against an error of [`Source::load`] or [`Source::page`] other than CREDENTIALS_EXPIRED, by changing
    /// the plan or the place. An error that is returned ends the stream; CREDENTIALS_EXPIRED is recovered from as anywhere, and
    /// then the page is loaded again.
    fn recover(
        &mut self,
        error: Error,
        plan: &mut Self::Plan,
        place: &mut Self::Place,
    ) -> impl Future<Output = Result<Recovery, Error>> + Send;

    /// Goes on with another access token, at another base URL where that is not empty.
    fn renew(&mut self, access_token: String, base_url: &str);

    /// Drops from a place what ends with the session of the old credentials.
    fn leave_session(place: &mut Self::Place) {
        let _ = place;
    }

    /// The error of a request that was refused with new credentials too.
    fn refused_again(&self, error: Error) -> Error {
        error
    }
}

/// What looking at an object showed.
#[derive(Debug)]
pub enum Looked<P> {
    /// It can be read.
    Seen {
        /// How.
        plan: P,
        /// Selected fields that are not as they were selected.
        changes: Vec<Change>,
        /// About how many records it has, where the CRM tells.
        expected: Option<u64>,
    },
    /// The login cannot see it.
    Hidden(Error),
}

/// A page of an object.
#[derive(Debug)]
pub struct Page<P> {
    /// Its records.
    pub records: Vec<Record>,
    /// The range of ids, by their bytes, that it lists completely; see `RecordBatch.covers`.
    pub covers: Option<Covers>,
    /// The same where ids are numbers.
    pub covers_numbers: Option<Covers>,
    /// When the CRM answered, by its clock: unix microseconds, 0 for unknown.
    pub read_time_us: i64,
    /// How many records the object has, where the page tells.
    pub expected: Option<u64>,
    /// Where the list goes on; none at its end.
    pub next: Option<P>,
    /// At the end of the list: why the object is not complete all the same.
    pub lacking: Option<Error>,
}

/// What becomes of an object after an error.
#[derive(Debug)]
pub enum Recovery {
    /// Its page is loaded again; these fields turned out to have changed.
    Again(Vec<Change>),
    /// It is told as not complete, and the read goes on with the next object.
    GiveUp(Error),
}
