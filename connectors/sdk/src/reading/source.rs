//! The part of a full read that depends on the CRM.

use std::future::{Future, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Pass, Wanted};
use crate::proto::{Covers, Error, ErrorKind, ObjectCount, Record};

/// A CRM, as [`super::read`] reads it on behalf of one account.
pub trait Source: Send + Sync {
    /// The CRM's name, for errors.
    const CRM: &'static str;
    /// The next page is loaded while the host stores the last one.
    const AHEAD: bool = false;
    /// Changes can be read: [`Pass::Changes`], [`Pass::Fields`] and [`Pass::Records`]. The connector must list the feature
    /// `changes` exactly then. Only if replies have the CRM's time.
    const CHANGES: bool = false;
    /// How long a change can remain invisible after its time: the CRM sets the time before its transaction ends. So much of
    /// a window of changes is read again with the next one. Microseconds.
    const LATE_US: i64 = 10 * 60 * 1_000_000;
    /// How long the CRM reports deleted records. A state that is older is not used. Microseconds.
    const KEPT_US: i64 = 14 * 24 * 3_600 * 1_000_000;

    /// One of the objects that the connector offers.
    type Object: Copy + Send + Sync;
    /// How an object is read: its columns, and the recoveries tried so far.
    type Plan: Send + Sync;
    /// The position in the list of an object. It is stored in checkpoints as keys of a JSON object beside `v` and
    /// `object`. It must not contain secrets or addresses, because another process may resume from it. The default is
    /// the beginning.
    type Place: Clone + Default + PartialEq + Send + Sync + Serialize + DeserializeOwned;
    /// The result of one or a few requests, before it is converted to records.
    type Loaded: Send;

    /// The object with this key, or INVALID_INPUT.
    fn object(key: &str) -> Result<Self::Object, Error>;

    /// The key of an object.
    fn key(object: Self::Object) -> &'static str;

    /// Whether a read can resume from this position of a checkpoint.
    fn is_place(place: &Self::Place) -> bool {
        let _ = place;
        true
    }

    /// Whether the host must have stored this position before it is loaded, because loading it begins something in the CRM that
    /// would be left behind if the process ended before the next checkpoint: an export job. It is not loaded ahead then.
    fn must_be_stored(place: &Self::Place) -> bool {
        let _ = place;
        false
    }

    /// Ends what was begun in the CRM for a position of an object that no read goes on from: that of an earlier read, or of
    /// one with another selection. Called after [`Source::open`]; an error other than CREDENTIALS_EXPIRED is logged.
    fn abandon(
        &mut self,
        object: Self::Object,
        place: &Self::Place,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (object, place);
        ready(Ok(()))
    }

    /// What could not be ended in the CRM: export jobs whose deletion was refused. It is stored in each checkpoint, so it must be
    /// short and without secrets; the next attempt, or the next read of the account, gives it to [`Source::end_left`].
    fn left(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends what an earlier read has left, as [`Source::left`] of that read said. What cannot be ended now is left again. Called
    /// after [`Source::open`], if there is something; an error other than CREDENTIALS_EXPIRED is logged.
    fn end_left(&mut self, left: &[String]) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = left;
        ready(Ok(()))
    }

    /// Inspects all remaining objects before the first is read, if the CRM can describe several at once. Returns the
    /// approximate numbers of their records.
    fn open(
        &mut self,
        left: &[Wanted<Self::Object>],
    ) -> impl Future<Output = Result<Vec<ObjectCount>, Error>> + Send {
        let _ = left;
        ready(Ok(Vec::new()))
    }

    /// The keys of those selected fields of an object whose values change without a change of the record. Called after
    /// [`Source::open`], if such fields are due.
    fn calculated(&self, wanted: &Wanted<Self::Object>) -> Vec<String> {
        let _ = wanted;
        Vec::new()
    }

    /// Whether all of an object is read instead of what changed, because something of all its records is due
    /// ([`Wanted::calculated_due`], [`Wanted::sweep_due`]). For objects of which the CRM does not say everything that changed, such as
    /// links between records that are stored apart from them: what a window of changes lacks comes then.
    fn in_full(wanted: &Wanted<Self::Object>) -> bool {
        let _ = wanted;
        false
    }

    /// Inspects an object before each pass over it; `wanted.fields` are those that the pass reads. An error ends the stream; an error of this object only is
    /// [`Looked::Hidden`].
    fn look(
        &mut self,
        wanted: &Wanted<Self::Object>,
        pass: &Pass,
    ) -> impl Future<Output = Result<Looked<Self::Plan>, Error>> + Send;

    /// Loads the page at a position.
    fn load(
        &self,
        plan: &Self::Plan,
        place: &Self::Place,
    ) -> impl Future<Output = Result<Self::Loaded, Error>> + Send;

    /// Converts what was loaded at `place` into records, with further requests if necessary.
    fn page(
        &mut self,
        plan: &mut Self::Plan,
        place: &Self::Place,
        loaded: Self::Loaded,
    ) -> impl Future<Output = Result<Page<Self::Place>, Error>> + Send;

    /// Recovers from an error of [`Source::load`] or [`Source::page`] other than CREDENTIALS_EXPIRED, by changing the
    /// plan or the position. A returned error ends the stream, except CREDENTIALS_EXPIRED, which is handled as usual;
    /// then the page is loaded again. An object that is given up with CURSOR_GONE in [`Pass::Changes`] is read in full.
    /// By default [`of_one_object`].
    fn recover(
        &mut self,
        error: Error,
        plan: &mut Self::Plan,
        place: &mut Self::Place,
    ) -> impl Future<Output = Result<Recovery, Error>> + Send {
        let _ = (plan, place);
        ready(of_one_object(error))
    }

    /// Continues with another access token, and with another base URL if that is not empty.
    fn renew(&mut self, access_token: String, base_url: &str);

    /// Removes from a position what is bound to the session of the old credentials.
    fn leave_session(place: &mut Self::Place) {
        let _ = place;
    }

    /// The error of a request that was refused with the new credentials too.
    fn refused_again(&self, error: Error) -> Error {
        error
    }
}

/// The result of inspecting an object.
#[derive(Debug)]
pub enum Looked<P> {
    /// It can be read.
    Seen {
        /// How it is read.
        plan: P,
        /// Selected fields that have changed since they were selected.
        changes: Vec<Change>,
        /// The approximate number of records, if the CRM reports it.
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
    /// The range of ids, ordered by their bytes, that the page lists completely; see `RecordBatch.covers`. Ignored in a pass
    /// that does not list all ids.
    pub covers: Option<Covers>,
    /// The same, if ids are numbers.
    pub covers_numbers: Option<Covers>,
    /// The CRM's time of the answer: unix microseconds, 0 if unknown.
    pub read_time_us: i64,
    /// The number of records of the object, if the page reports it.
    pub expected: Option<u64>,
    /// The next position; None at the end of the list.
    pub next: Option<P>,
    /// At the end of the list: the reason why the object is nevertheless not complete.
    pub lacking: Option<Error>,
    /// At the end of the list: all records came, but not all ranges could be listed, because they came in another order. If they are
    /// to be listed, a pass over the ids alone follows ([`Pass::Fields`] without fields); its pages must not set this.
    pub unlisted: bool,
}

/// How to continue with an object after an error.
#[derive(Debug)]
pub enum Recovery {
    /// Load its page again; these fields have changed.
    Again(Vec<Change>),
    /// Report it as not complete, and continue with the next object.
    GiveUp(Error),
}

/// Gives up an object whose error says nothing about the others; any other error is returned.
///
/// # Errors
/// The error, if it is not of this object alone.
pub fn of_one_object(error: Error) -> Result<Recovery, Error> {
    match is_of_one_object(&error) {
        true => Ok(Recovery::GiveUp(error)),
        false => Err(error),
    }
}

/// Whether an error of one object says nothing about the others.
#[must_use]
pub fn is_of_one_object(error: &Error) -> bool {
    matches!(
        error.what(),
        ErrorKind::ObjectGone
            | ErrorKind::Forbidden
            | ErrorKind::RecordGone
            | ErrorKind::QueryTooBig
            | ErrorKind::CursorGone
            | ErrorKind::Bug
    )
}
