//! The common form of a read: object after object, pass after pass, page after page, with a checkpoint after each page.
//!
//! An object is read in full, or only what changed since the last read ([`Pass`]). The time from which the next read begins is
//! that of the first reply, less the time in which changes can appear late: it needs no upper end of its own, because what
//! changes during the read is later than it.
//!
//! [`read`] implements the parts that do not depend on the CRM. A connector implements [`Source`]: how an object is
//! described, how a page is loaded, which range of ids a page lists completely, and how to recover from an error.
//!
//! | what [`read`] does | rule |
//! |---|---|
//! | merges the selection, and resumes from a matching checkpoint | with another checkpoint, it starts from the
//! beginning |
//! | requests new credentials from the host when they expire, and repeats the request | once for each request |
//! | reports fields that are missing or have a new type | each once |
//! | skips an object that cannot be read | as [`Source::recover`] decides |
//! | sends records, then API usage, then the checkpoint | in this order |
//! | loads the next page while the host stores this one | if [`Source::AHEAD`] allows it |

mod pass;
mod selection;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

pub use self::pass::Pass;
pub use self::selection::{Change, Known, Selected, Wanted, add_currencies, compare};
pub use self::source::{Looked, Page, Recovery, Source, is_of_one_object, of_one_object};
use self::state::{History, State};
use crate::proto::{
    Connection, Error, ErrorKind, FieldChange, FieldChangeKind, FieldType, ObjectCount, ObjectStatus,
    PartialFields, Progress, ReadMode, ReadRequest, Record, RecordBatch, RecordIds,
};
use crate::{CallContext, ReadStream};

/// Reads the requested records into `out`. `now_us` is the host's time in unix microseconds. `open` creates the source for the
/// request's connection; it is called only if something is left to read.
///
/// # Errors
/// UNSUPPORTED for a mode that the source does not have, INVALID_INPUT for a selection of unknown objects, and errors from
/// which the source cannot recover. Errors of a single object are reported in the stream.
pub async fn read<S: Source>(
    call: &CallContext,
    request: ReadRequest,
    out: ReadStream,
    now_us: i64,
    open: impl FnOnce(Option<&Connection>) -> Result<S, Error>,
) -> Result<(), Error> {
    let mode = request.mode();
    match mode {
        ReadMode::Full => {}
        ReadMode::Changes | ReadMode::Records if S::CHANGES => {}
        _ => return Err(Error::unsupported(format!("{} is read in full only", S::CRM))),
    }
    let mut wanted = Wanted::all(request.selection, S::object, S::key)?;
    if mode == ReadMode::Records {
        for one in &mut wanted {
            one.ids = ids_of(S::key(one.object), &request.records);
        }
        wanted.retain(|one| !one.ids.is_empty());
    }
    let known = match mode {
        ReadMode::Changes => state::history(&request.state, now_us.saturating_sub(S::KEPT_US)),
        _ => History::new(),
    };
    let state = begin::<S>(&request.checkpoint, &wanted, known.clone());
    let Some(start) = wanted.iter().position(|one| S::key(one.object) == state.object) else {
        return Ok(());
    };
    for one in &mut wanted {
        one.since_us = known.get(S::key(one.object)).copied();
        if S::in_full(one) {
            one.since_us = None;
        }
    }
    let mut reader = Reader {
        source: open(request.connection.as_ref())?,
        telling: Telling {
            call: call.clone(),
            out,
        },
        renewed: false,
        history: state.since.clone(),
        begun_us: now_us,
        keeps_checkpoints: mode != ReadMode::Records,
    };
    let left = &wanted[start..];
    let counts = reader.open(left).await?;
    reader.expect(counts, &state).await?;
    let mut at = Begin {
        passes: state.passes,
        pass: state.pass,
        next_us: state.next_us,
        place: state.place,
    };
    for (number, one) in left.iter().enumerate() {
        let next = left.get(number + 1).map_or("", |next| S::key(next.object));
        reader.object(one, at, next).await?;
        at = Begin::default();
    }
    Ok(())
}

/// The ids of one object, sorted, each once.
fn ids_of(object: &str, records: &[RecordIds]) -> Vec<String> {
    let of_object = records.iter().filter(|ids| ids.object == object);
    let mut ids: Vec<String> = of_object.flat_map(|ids| ids.external_ids.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Where a read begins: at its checkpoint, if there is one that fits.
fn begin<S: Source>(checkpoint: &[u8], wanted: &[Wanted<S::Object>], known: History) -> State<S::Place> {
    let is_wanted = |object: &str| wanted.iter().any(|one| S::key(one.object) == object);
    let state = State::<S::Place>::of(checkpoint, |state| {
        (state.object.is_empty() || is_wanted(&state.object)) && S::is_place(&state.place)
    });
    state.unwrap_or_else(|| {
        if !checkpoint.is_empty() {
            tracing::warn!("the checkpoint does not fit this read; it begins anew");
        }
        State::at(wanted.first().map_or("", |one| S::key(one.object)), known)
    })
}

/// Where the reading of an object begins.
struct Begin<P> {
    /// A digest of the passes; 0 before they are known.
    passes: u64,
    pass: usize,
    /// Since when its changes are to be read after this read; 0 if unknown.
    next_us: i64,
    place: P,
}

impl<P: Default> Default for Begin<P> {
    fn default() -> Self {
        Self {
            passes: 0,
            pass: 0,
            next_us: 0,
            place: P::default(),
        }
    }
}

struct Reader<S> {
    source: S,
    telling: Telling,
    /// The credentials were renewed, and no request has succeeded since.
    renewed: bool,
    /// Since when the changes of the objects are to be read that were read to their end.
    history: History,
    /// When the read began, by the host's clock.
    begun_us: i64,
    keeps_checkpoints: bool,
}

impl<S: Source> Reader<S> {
    /// Lets the source inspect all objects at once.
    async fn open(&mut self, left: &[Wanted<S::Object>]) -> Result<Vec<ObjectCount>, Error> {
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
    async fn expect(&mut self, counts: Vec<ObjectCount>, state: &State<S::Place>) -> Result<(), Error> {
        for ObjectCount { object, count, .. } in counts {
            if object != state.object || state.place == S::Place::default() {
                self.telling.expected(&object, count).await?;
            }
        }
        Ok(())
    }

    /// Reads one object, in all its passes; `next` is the following object.
    async fn object(
        &mut self,
        wanted: &Wanted<S::Object>,
        mut at: Begin<S::Place>,
        next: &str,
    ) -> Result<(), Error> {
        let key = S::key(wanted.object);
        let calculated = match wanted.calculated_due {
            true => self.source.calculated(wanted),
            false => Vec::new(),
        };
        let passes = wanted.passes(&calculated);
        let digest = pass::digest(&passes);
        if at.passes != digest {
            // What was read in other passes does not count.
            at = Begin {
                passes: digest,
                ..Begin::default()
            };
        }
        while let Some((pass, wanted)) = passes.get(at.pass) {
            if let Some(error) = self.pass(pass, wanted, &mut at).await? {
                return self.give_up(key, error, next).await;
            }
            at.pass += 1;
            at.place = S::Place::default();
            if at.pass < passes.len() {
                let state = self.state(key, &at);
                self.checkpoint(&state).await?;
            }
        }
        if at.next_us > 0 {
            self.history.insert(key.to_owned(), at.next_us);
        }
        self.telling.status(key, None).await?;
        let state = State::at(next, self.history.clone());
        self.checkpoint(&state).await
    }

    fn state(&self, key: &str, at: &Begin<S::Place>) -> State<S::Place> {
        State {
            passes: at.passes,
            pass: at.pass,
            next_us: at.next_us,
            place: at.place.clone(),
            ..State::at(key, self.history.clone())
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
                None => self.source.load(&plan, &at.place).await,
            };
            let page = match loaded {
                Ok(loaded) => self.source.page(&mut plan, &at.place, loaded).await,
                Err(error) => Err(error),
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => match self.recover(error, &mut plan, &mut at.place).await? {
                    Recovery::Again(changes) => {
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
            let listed = pass.is_listing();
            let mut records = page.records;
            if *pass == Pass::Fields {
                records.iter_mut().for_each(keep_fields_only);
            }
            let batch = RecordBatch {
                object: key.to_owned(),
                records,
                covers: page.covers.filter(|_| listed),
                covers_numbers: page.covers_numbers.filter(|_| listed),
                read_time_us: page.read_time_us,
                partial: (*pass == Pass::Fields).then(|| PartialFields {
                    fields: read_fields(wanted, &told),
                }),
            };
            let Some(after) = page.next else {
                self.telling.out.batch(batch).await?;
                return Ok(page.lacking);
            };
            at.place = after;
            let state = self.state(key, at);
            if S::AHEAD && self.keeps_checkpoints {
                let (telling, source) = (&mut self.telling, &self.source);
                let stored = async {
                    telling.out.batch(batch).await?;
                    telling.checkpoint(&state).await
                };
                let (stored, loaded) = tokio::join!(stored, source.load(&plan, &at.place));
                stored?;
                ahead = Some(loaded);
            } else {
                self.telling.out.batch(batch).await?;
                self.checkpoint(&state).await?;
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

    /// Requests new credentials from the host, once for each request.
    async fn renew(&mut self, error: Error) -> Result<(), Error> {
        if self.renewed {
            return Err(self.source.refused_again(error));
        }
        self.renewed = true;
        let (credentials, base_url) = self.telling.out.credentials_needed(error).await?;
        self.source.renew(credentials.access_token, &base_url);
        Ok(())
    }

    /// Reports that an object cannot be read, and continues with the next one.
    async fn give_up(&mut self, key: &str, error: Error, next: &str) -> Result<(), Error> {
        self.telling.status(key, Some(error.object(key))).await?;
        let state = State::at(next, self.history.clone());
        self.checkpoint(&state).await
    }

    /// A read by ids is short, and has no checkpoints.
    async fn checkpoint(&mut self, state: &State<S::Place>) -> Result<(), Error> {
        match self.keeps_checkpoints {
            true => self.telling.checkpoint(state).await,
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

/// The events of the stream other than records.
struct Telling {
    call: CallContext,
    out: ReadStream,
}

impl Telling {
    async fn expected(&mut self, object: &str, expected: u64) -> Result<(), Error> {
        let object = object.to_owned();
        self.out.progress(Progress { object, expected }).await
    }

    async fn changes(
        &mut self,
        object: &str,
        changes: Vec<Change>,
        told: &mut HashSet<String>,
    ) -> Result<(), Error> {
        for change in changes {
            let (field, kind, field_type) = match change {
                Change::Missing(field) => (field, FieldChangeKind::Missing, FieldType::Unspecified),
                Change::Type(field, field_type) => (field, FieldChangeKind::TypeChanged, field_type),
            };
            if told.insert(field.clone()) {
                self.out
                    .field_change(FieldChange {
                        object: object.to_owned(),
                        field,
                        kind: kind.into(),
                        r#type: field_type.into(),
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn status(&mut self, object: &str, error: Option<Error>) -> Result<(), Error> {
        self.out
            .object_status(ObjectStatus {
                object: object.to_owned(),
                complete: error.is_none(),
                error,
            })
            .await
    }

    async fn checkpoint<P: serde::Serialize>(&mut self, state: &State<P>) -> Result<(), Error> {
        self.usage().await?;
        self.out.checkpoint(state.bytes()?).await.map(|_| ())
    }

    async fn usage(&mut self) -> Result<(), Error> {
        self.out.api_usage(self.call.usage()).await
    }
}
