//! The common form of a full read: object after object, page after page, with a checkpoint after each page.
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

mod selection;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

pub use self::selection::{Change, Known, Selected, Wanted, add_currencies, compare};
pub use self::source::{Looked, Page, Recovery, Source, is_of_one_object, of_one_object};
use self::state::State;
use crate::proto::{
    Connection, Error, ErrorKind, FieldChange, FieldChangeKind, FieldType, ObjectCount, ObjectStatus,
    Progress, ReadMode, ReadRequest, RecordBatch,
};
use crate::{CallContext, ReadStream};

/// Reads the requested records into `out`. `open` creates the source for the request's connection; it is called only
/// if something is left to read.
///
/// # Errors
/// UNSUPPORTED for a mode other than FULL, INVALID_INPUT for a selection of unknown objects, and errors from which
/// the source cannot recover. Errors of a single object are reported in the stream.
pub async fn read<S: Source>(
    call: &CallContext,
    request: ReadRequest,
    out: ReadStream,
    open: impl FnOnce(Option<&Connection>) -> Result<S, Error>,
) -> Result<(), Error> {
    if request.mode() != ReadMode::Full {
        let text = format!("{} is read in full only, so far", S::CRM);
        return Err(Error::unsupported(text));
    }
    let wanted = Wanted::all(request.selection, S::object, S::key)?;
    let key_at = |at: usize| {
        wanted
            .get(at)
            .map_or("", |wanted: &Wanted<S::Object>| S::key(wanted.object))
    };
    let state = State::<S::Place>::of(&request.checkpoint, |state| {
        let known = state.object.is_empty() || (0..wanted.len()).any(|at| key_at(at) == state.object);
        known && S::is_place(&state.place)
    });
    let state = state.unwrap_or_else(|| {
        if !request.checkpoint.is_empty() {
            tracing::warn!("the checkpoint does not fit this read; it begins anew");
        }
        State::at(key_at(0))
    });
    let Some(start) = (0..wanted.len()).find(|at| key_at(*at) == state.object) else {
        return Ok(());
    };
    let mut reader = Reader {
        source: open(request.connection.as_ref())?,
        telling: Telling {
            call: call.clone(),
            out,
        },
        renewed: false,
    };
    let left = &wanted[start..];
    let counts = reader.open(left).await?;
    reader.expect(counts, &state).await?;
    let mut place = state.place;
    for (at, wanted) in left.iter().enumerate() {
        reader.object(wanted, place, key_at(start + at + 1)).await?;
        place = S::Place::default();
    }
    Ok(())
}

struct Reader<S> {
    source: S,
    telling: Telling,
    /// The credentials were renewed, and no request has succeeded since.
    renewed: bool,
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

    /// Reads one object from `place` on; `next` is the following object.
    async fn object(
        &mut self,
        wanted: &Wanted<S::Object>,
        mut place: S::Place,
        next: &str,
    ) -> Result<(), Error> {
        let key = S::key(wanted.object);
        let (mut plan, changes, expected) = match self.look(wanted).await? {
            Looked::Hidden(error) => return self.give_up(key, error, next).await,
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
        let mut ahead: Option<Result<S::Loaded, Error>> = None;
        loop {
            let loaded = match ahead.take() {
                Some(loaded) => loaded,
                None => self.source.load(&plan, &place).await,
            };
            let page = match loaded {
                Ok(loaded) => self.source.page(&mut plan, &place, loaded).await,
                Err(error) => Err(error),
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => match self.recover(error, &mut plan, &mut place).await? {
                    Recovery::Again(changes) => {
                        self.telling.changes(key, changes, &mut told).await?;
                        continue;
                    }
                    Recovery::GiveUp(error) => return self.give_up(key, error, next).await,
                },
            };
            self.renewed = false;
            if let Some(expected) = page.expected {
                self.telling.expected(key, expected).await?;
            }
            let batch = RecordBatch {
                object: key.to_owned(),
                records: page.records,
                covers: page.covers,
                covers_numbers: page.covers_numbers,
                read_time_us: page.read_time_us,
                ..RecordBatch::default()
            };
            let Some(after) = page.next else {
                self.telling.out.batch(batch).await?;
                if let Some(error) = page.lacking {
                    return self.give_up(key, error, next).await;
                }
                self.telling.status(key, None).await?;
                return self.checkpoint(&State::at(next)).await;
            };
            place = after;
            let state = State::new(key, place.clone());
            if S::AHEAD {
                let (telling, source) = (&mut self.telling, &self.source);
                let stored = async {
                    telling.out.batch(batch).await?;
                    telling.checkpoint(&state).await
                };
                let (stored, loaded) = tokio::join!(stored, source.load(&plan, &place));
                stored?;
                ahead = Some(loaded);
            } else {
                self.telling.out.batch(batch).await?;
                self.checkpoint(&state).await?;
            }
        }
    }

    async fn look(&mut self, wanted: &Wanted<S::Object>) -> Result<Looked<S::Plan>, Error> {
        loop {
            match self.source.look(wanted).await {
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
        self.checkpoint(&State::at(next)).await
    }

    async fn checkpoint(&mut self, state: &State<S::Place>) -> Result<(), Error> {
        self.telling.checkpoint(state).await
    }
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
        self.out.api_usage(self.call.usage()).await?;
        self.out.checkpoint(state.bytes()?).await.map(|_| ())
    }
}
