//! Reads objects in turn, in their passes, page by page.

use std::collections::HashSet;
use std::time::Instant;

use super::state::{History, State};
use super::telling::Telling;
use super::{Looked, Page, Pass, Recovery, Source, Wanted, pass};
use crate::proto::{Error, ErrorKind, ObjectCount, PartialFields, Record, RecordBatch};

/// Where the reading of an object begins.
pub(super) struct Begin<P> {
    /// A digest of the passes; 0 before they are known.
    pub(super) passes: u64,
    pub(super) pass: usize,
    /// Since when its changes are to be read after this read; 0 if unknown.
    pub(super) next_us: i64,
    /// Its ids are to be listed after the passes: they could not list all ranges.
    pub(super) unlisted: bool,
    /// The place is that of the checkpoint: the host has stored it.
    pub(super) stored: bool,
    pub(super) place: P,
}

impl<P: Default> Default for Begin<P> {
    fn default() -> Self {
        Self {
            passes: 0,
            pass: 0,
            next_us: 0,
            unlisted: false,
            stored: false,
            place: P::default(),
        }
    }
}

/// Reads the objects of a stream.
pub(super) struct Reader<S> {
    pub(super) source: S,
    pub(super) telling: Telling,
    /// The credentials were renewed, and no request has succeeded since.
    pub(super) renewed: bool,
    /// Since when the changes of the objects are to be read that were read to their end.
    pub(super) history: History,
    /// When the read began, by the host's clock.
    pub(super) begun_us: i64,
    pub(super) begun: Instant,
    pub(super) keeps_checkpoints: bool,
}

impl<S: Source> Reader<S> {
    /// Lets the source inspect all objects at once.
    pub(super) async fn open(&mut self, left: &[Wanted<S::Object>]) -> Result<Vec<ObjectCount>, Error> {
        loop {
            match self.source.open(left).await {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                opened => {
                    self.renewed = false;
                    return opened;
                }
            }
        }
    }

    /// Reports the approximate number of records. The rest of a partly read object is reported later, when it is
    /// known better.
    pub(super) async fn expect(
        &mut self,
        counts: Vec<ObjectCount>,
        state: &State<S::Place>,
    ) -> Result<(), Error> {
        for ObjectCount { object, count, .. } in counts {
            if object != state.object || state.place == S::Place::default() {
                self.telling.expected(&object, count).await?;
            }
        }
        Ok(())
    }

    /// Reads one object; `next` is the following object. If the CRM no longer has its window of changes, it is read in full, and its
    /// time is dropped, so that a later read does not ask for the window again.
    pub(super) async fn object(
        &mut self,
        wanted: &Wanted<S::Object>,
        at: Begin<S::Place>,
        next: &str,
    ) -> Result<(), Error> {
        let Some((error, place)) = self.passes(wanted, at, next).await? else {
            return Ok(());
        };
        let key = S::key(wanted.object);
        tracing::info!(object = key, "read in full: {error}");
        if place != S::Place::default() {
            self.abandon(wanted.object, &place).await?;
        }
        self.history.remove(key);
        let full = Wanted {
            since_us: None,
            ..wanted.clone()
        };
        self.passes(&full, Begin::default(), next).await?;
        Ok(())
    }

    /// Reads one object, in all its passes. If the CRM no longer has its window of changes, returns why, and the place.
    async fn passes(
        &mut self,
        wanted: &Wanted<S::Object>,
        mut at: Begin<S::Place>,
        next: &str,
    ) -> Result<Option<(Error, S::Place)>, Error> {
        let key = S::key(wanted.object);
        let calculated = match wanted.calculated_due {
            true => self.source.calculated(wanted),
            false => Vec::new(),
        };
        let passes = wanted.passes(&calculated);
        let digest = pass::digest(&passes);
        if at.passes != digest {
            // What was read in other passes does not count.
            if at.place != S::Place::default() {
                self.abandon(wanted.object, &at.place).await?;
            }
            at = Begin {
                passes: digest,
                ..Begin::default()
            };
        }
        let listing = wanted.listing();
        loop {
            let (pass, wanted) = match passes.get(at.pass) {
                Some(pass) => pass,
                None if at.unlisted && at.pass == passes.len() => &listing,
                None => break,
            };
            if let Some(error) = self.pass(pass, wanted, &mut at).await? {
                if error.is(ErrorKind::CursorGone) && matches!(pass, Pass::Changes { .. }) {
                    return Ok(Some((error, at.place)));
                }
                self.give_up(key, error, next).await?;
                return Ok(None);
            }
            at.pass += 1;
            (at.place, at.stored) = (S::Place::default(), false);
            if at.pass < passes.len() + usize::from(at.unlisted) {
                let state = self.state(key, &at);
                self.checkpoint(&state).await?;
            }
        }
        if at.next_us > 0 {
            self.history.insert(key.to_owned(), at.next_us);
        }
        self.telling.status(key, None).await?;
        self.checkpoint(&self.state_at(next)).await?;
        Ok(None)
    }

    /// The host's time.
    fn now_us(&self) -> i64 {
        let since = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.begun_us.saturating_add(since)
    }

    /// At the beginning of an object.
    fn state_at(&self, next: &str) -> State<S::Place> {
        State {
            left: self.source.left(),
            ..State::at(next, self.history.clone())
        }
    }

    fn state(&self, key: &str, at: &Begin<S::Place>) -> State<S::Place> {
        State {
            passes: at.passes,
            pass: at.pass,
            next_us: at.next_us,
            unlisted: at.unlisted,
            place: at.place.clone(),
            ..self.state_at(key)
        }
    }

    /// Reads one pass over an object. Returns the error of an object that cannot be read.
    async fn pass(
        &mut self,
        pass: &Pass,
        wanted: &Wanted<S::Object>,
        at: &mut Begin<S::Place>,
    ) -> Result<Option<Error>, Error> {
        let key = S::key(wanted.object);
        let (mut plan, changes, expected) = match self.look(wanted, pass).await? {
            Looked::Hidden(error) => return Ok(Some(error)),
            Looked::Seen {
                plan,
                changes,
                expected,
            } => (plan, changes, expected),
        };
        let mut told = HashSet::new();
        self.telling.changes(key, changes, &mut told).await?;
        if let Some(expected) = expected {
            self.telling.expected(key, expected).await?;
        }
        let mut is_first = at.pass == 0 && at.place == S::Place::default();
        let mut ahead: Option<Result<S::Loaded, Error>> = None;
        loop {
            let loaded = match ahead.take() {
                Some(loaded) => loaded,
                None => {
                    self.store_first(key, at).await?;
                    self.source.load(&plan, &at.place).await
                }
            };
            let page = match loaded {
                Ok(loaded) => self.source.page(&mut plan, &at.place, loaded).await,
                Err(error) => Err(error),
            };
            let mut page = match page {
                Ok(page) => page,
                Err(error) => match self.recover_page(key, error, &mut plan, &mut at.place).await? {
                    Recovery::Again(changes) => {
                        at.stored = false;
                        self.telling.changes(key, changes, &mut told).await?;
                        continue;
                    }
                    Recovery::GiveUp(error) => return Ok(Some(error)),
                },
            };
            self.renewed = false;
            if std::mem::take(&mut is_first) && page.read_time_us > 0 {
                // A clock that is ahead would leave out what changes meanwhile.
                at.next_us = page.read_time_us.min(self.begun_us).saturating_sub(S::LATE_US);
            }
            if let Some(expected) = page.expected {
                self.telling.expected(key, expected).await?;
            }
            // The next window is reckoned from the CRM's own time, whatever it is.
            page.read_time_us = self.telling.call.comparable(page.read_time_us, self.now_us());
            let batch = batch(key, pass, wanted, &told, &mut page);
            let Some(after) = page.next else {
                self.send(batch).await?;
                at.unlisted |= page.unlisted && pass.is_listing() && wanted.lists_all();
                return Ok(page.lacking);
            };
            (at.place, at.stored) = (after, false);
            ahead = self.go_on(key, batch, &plan, at).await?;
        }
    }

    /// Sends a batch and the checkpoint after it; returns the next page, if it was loaded meanwhile.
    async fn go_on(
        &mut self,
        key: &str,
        batch: Option<RecordBatch>,
        plan: &S::Plan,
        at: &Begin<S::Place>,
    ) -> Result<Option<Result<S::Loaded, Error>>, Error> {
        if S::must_be_stored(&at.place) {
            // The checkpoint follows before the place is loaded.
            self.send(batch).await?;
            return Ok(None);
        }
        let state = self.state(key, at);
        if !S::AHEAD || !self.keeps_checkpoints {
            self.send(batch).await?;
            self.checkpoint(&state).await?;
            return Ok(None);
        }
        let (telling, source) = (&mut self.telling, &self.source);
        let stored = async {
            if let Some(batch) = batch {
                telling.out.batch(batch).await?;
            }
            telling.checkpoint(&state).await
        };
        let (stored, loaded) = tokio::join!(stored, source.load(plan, &at.place));
        stored?;
        Ok(Some(loaded))
    }

    async fn send(&mut self, batch: Option<RecordBatch>) -> Result<(), Error> {
        match batch {
            Some(batch) => self.telling.out.batch(batch).await,
            None => Ok(()),
        }
    }

    /// Waits until the host has stored the place, if it must be stored before it is loaded.
    async fn store_first(&mut self, key: &str, at: &Begin<S::Place>) -> Result<(), Error> {
        if !S::must_be_stored(&at.place) || at.stored || !self.keeps_checkpoints {
            return Ok(());
        }
        let number = self.telling.checkpoint(&self.state(key, at)).await?;
        // The host may be pulling already while it stores: an event makes it pull again (SPEC CKPT-8).
        self.telling.usage().await?;
        self.telling.out.stored(number).await
    }

    /// Lets the source end what an earlier read has left.
    pub(super) async fn end_left(&mut self, left: &[String]) -> Result<(), Error> {
        loop {
            match self.source.end_left(left).await {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                Err(error) => {
                    tracing::warn!("cannot end what an earlier read left: {error}");
                    return Ok(());
                }
                Ok(()) => {
                    self.renewed = false;
                    return Ok(());
                }
            }
        }
    }

    /// Lets the source end what it has begun for a place that this read does not go on from.
    pub(super) async fn abandon(&mut self, object: S::Object, place: &S::Place) -> Result<(), Error> {
        loop {
            match self.source.abandon(object, place).await {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                Err(error) => {
                    tracing::warn!(
                        object = S::key(object),
                        "cannot end what an earlier read began: {error}"
                    );
                    return Ok(());
                }
                Ok(()) => {
                    self.renewed = false;
                    return Ok(());
                }
            }
        }
    }

    async fn look(&mut self, wanted: &Wanted<S::Object>, pass: &Pass) -> Result<Looked<S::Plan>, Error> {
        loop {
            match self.source.look(wanted, pass).await {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                looked => {
                    self.renewed = false;
                    return looked;
                }
            }
        }
    }

    /// Decides how to handle an error, and does so.
    async fn recover(
        &mut self,
        error: Error,
        plan: &mut S::Plan,
        place: &mut S::Place,
    ) -> Result<Recovery, Error> {
        let recovered = if error.is(ErrorKind::CredentialsExpired) {
            Err(error)
        } else {
            self.source.recover(error, plan, place).await
        };
        match recovered {
            Err(error) if error.is(ErrorKind::CredentialsExpired) => {
                self.renew(error).await?;
                S::leave_session(place);
                Ok(Recovery::Again(Vec::new()))
            }
            recovered => recovered,
        }
    }

    /// The same; an error that ends the stream names the object, unless it concerns the whole account.
    async fn recover_page(
        &mut self,
        key: &str,
        error: Error,
        plan: &mut S::Plan,
        place: &mut S::Place,
    ) -> Result<Recovery, Error> {
        let recovered = self.recover(error, plan, place).await;
        recovered.map_err(
            |error| match error.object.is_empty() && !error.is_account_wide() {
                true => error.object(key),
                false => error,
            },
        )
    }

    /// Requests new credentials from the host, once for each request.
    async fn renew(&mut self, error: Error) -> Result<(), Error> {
        if self.renewed {
            return Err(self.source.refused_again(error));
        }
        self.renewed = true;
        // The host may not get new ones: the calls so far count in any case.
        self.telling.usage().await?;
        let (credentials, base_url) = self.telling.out.credentials_needed(error).await?;
        self.source.renew(credentials.access_token, &base_url);
        Ok(())
    }

    /// Reports that an object cannot be read, and continues with the next one.
    async fn give_up(&mut self, key: &str, error: Error, next: &str) -> Result<(), Error> {
        // The host may end the stream at the status.
        self.telling.usage().await?;
        self.telling.status(key, Some(error.object(key))).await?;
        self.checkpoint(&self.state_at(next)).await
    }

    /// A read by ids is short, and has no checkpoints.
    async fn checkpoint(&mut self, state: &State<S::Place>) -> Result<(), Error> {
        match self.keeps_checkpoints {
            true => self.telling.checkpoint(state).await.map(|_| ()),
            false => self.telling.usage().await,
        }
    }
}

/// A record of which some fields are read has neither names nor parents.
fn keep_fields_only(record: &mut Record) {
    record.display_name.clear();
    record.homepage.clear();
    record.homepages.clear();
    record.parents.clear();
}

/// The fields that a pass reads: those that turned out to be missing, or to have another type, are not among them.
fn read_fields<O>(wanted: &Wanted<O>, told: &HashSet<String>) -> Vec<String> {
    let keys = wanted.fields.iter().map(|field| field.key.clone());
    keys.filter(|key| !told.contains(key)).collect()
}

/// The records of a page as a batch. None if it says nothing.
fn batch<O, P>(
    key: &str,
    pass: &Pass,
    wanted: &Wanted<O>,
    told: &HashSet<String>,
    page: &mut Page<P>,
) -> Option<RecordBatch> {
    let listed = pass.is_listing();
    let mut records = std::mem::take(&mut page.records);
    if *pass == Pass::Fields {
        records.iter_mut().for_each(keep_fields_only);
    }
    let covers = page.covers.take().filter(|_| listed);
    let covers_numbers = page.covers_numbers.take().filter(|_| listed);
    // The last page is sent in any case: it shows that the object was read.
    if page.next.is_some() && records.is_empty() && covers.is_none() && covers_numbers.is_none() {
        return None;
    }
    Some(RecordBatch {
        object: key.to_owned(),
        records,
        covers,
        covers_numbers,
        read_time_us: page.read_time_us,
        partial: (*pass == Pass::Fields).then(|| PartialFields {
            fields: read_fields(wanted, told),
        }),
    })
}
