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
//! | reads an object in full | if the CRM no longer has its window of changes (CURSOR_GONE) |
//! | sends records, then API usage, then the checkpoint | in this order |
//! | loads the next page while the host stores this one | if [`Source::AHEAD`] allows it |
//! | waits until the host has stored a place | if [`Source::must_be_stored`] asks for it |
//! | ends what an earlier read has left in the CRM | if [`Source::left`] said so |
//! | lists the ids of an object apart | if its pages could not list ranges ([`Page::unlisted`]) |

use std::time::Instant;

mod pass;
mod reader;
mod selection;
mod source;
mod state;
mod telling;
#[cfg(test)]
mod tests;

pub use self::pass::Pass;
use self::reader::{Begin, Reader};
pub use self::selection::{Change, Known, Selected, Wanted, add_currencies, compare};
pub use self::source::{Looked, Page, Recovery, Source, is_of_one_object, of_one_object};
use self::state::{History, State};
use self::telling::Telling;
use crate::proto::{Connection, Error, ReadMode, ReadRequest, RecordIds};
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
    // The last checkpoint goes on from the state.
    let undone = match request.checkpoint.is_empty() {
        true => state::left(&request.state),
        false => state::left(&request.checkpoint),
    };
    let (state, behind) = begin::<S>((&request.checkpoint, &request.state), &wanted, known.clone());
    let Some(start) = wanted.iter().position(|one| S::key(one.object) == state.object) else {
        return Ok(());
    };
    for one in &mut wanted {
        // An object whose window was found to be gone is not among the times of the checkpoint.
        let key = S::key(one.object);
        one.since_us = known.get(key).copied().filter(|_| state.since.contains_key(key));
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
        begun: Instant::now(),
        keeps_checkpoints: mode != ReadMode::Records,
    };
    let left = &wanted[start..];
    let counts = reader.open(left).await?;
    reader.expect(counts, &state).await?;
    if let Some((object, place)) = behind {
        reader.abandon(object, &place).await?;
    }
    if !undone.is_empty() {
        reader.end_left(&undone).await?;
    }
    let mut at = Begin {
        passes: state.passes,
        pass: state.pass,
        next_us: state.next_us,
        unlisted: state.unlisted,
        // A process that dies after each checkpoint must get on: the same one is not sent again.
        stored: state.place != S::Place::default(),
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

/// A place that a read does not go on from, and its object.
type Behind<S> = Option<(<S as Source>::Object, <S as Source>::Place)>;

/// Where a read begins: at its checkpoint, if there is one that fits; and the place that is left behind otherwise.
fn begin<S: Source>(
    (checkpoint, before): (&[u8], &[u8]),
    wanted: &[Wanted<S::Object>],
    known: History,
) -> (State<S::Place>, Behind<S>) {
    let is_wanted = |object: &str| wanted.iter().any(|one| S::key(one.object) == object);
    let state = State::<S::Place>::of(checkpoint, |state| {
        (state.object.is_empty() || is_wanted(&state.object)) && S::is_place(&state.place)
    });
    if let Some(state) = state {
        return (state, None);
    }
    let left = match checkpoint.is_empty() {
        // The last checkpoint of the read before: it may have ended in the middle.
        true => before,
        false => {
            tracing::warn!("the checkpoint does not fit this read; it begins anew");
            checkpoint
        }
    };
    let behind = State::<S::Place>::of(left, |state| S::is_place(&state.place)).and_then(|state| {
        let object = S::object(&state.object).ok()?;
        (state.place != S::Place::default()).then_some((object, state.place))
    });
    let first = wanted.first().map_or("", |one| S::key(one.object));
    (State::at(first, known), behind)
}
