//! The stream of everything: object after object, a checkpoint after each page. A checkpoint is the last id, so any
//! process goes on where another stopped, and the CRM's cursors may die at will.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{
    Covers, Error, ErrorKind, FieldChange, FieldChangeKind, FieldType, ObjectCount, ObjectSelection,
    ObjectStatus, Progress, ReadMode, ReadRequest, RecordBatch, SelectedField,
};
use tether_connector_sdk::{CallContext, ReadStream};

use crate::describe::Described;
use crate::objects::{self, CrmObject};
use crate::plan::{Change, Plan};
use crate::query::{self, Place, Step, Whole};
use crate::rest::{App, Session};
use crate::{errors, fields, ids};

/// Times in a row that a cursor may be left without a page in between.
const MOST_CURSORS_LOST: u32 = 5;
/// Times in a row that a query may run too long before the object is given up: with the pauses between them, about a minute.
const MOST_TIME_OUTS: u32 = 7;

/// Where a stream stands. No secrets and no addresses: another process, on another host of the account, goes on from it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    v: u8,
    /// The object that is next, or being read; empty when all are done.
    object: String,
    /// Its last id that was read.
    after: String,
    /// Its rows so far.
    rows: u64,
    /// The CRM's order of its ids was seen not to be the order of the bytes, or some ids are not known.
    unordered: bool,
    /// Some rows could not be used.
    #[serde(default)]
    unusable: bool,
}

impl State {
    fn at(object: &str) -> Self {
        Self {
            v: 1,
            object: object.to_owned(),
            ..Self::default()
        }
    }

    /// The state of a checkpoint, if it fits the selection. One that does not is no harm: the read begins anew.
    fn of(checkpoint: &[u8], wanted: &[Wanted]) -> Option<Self> {
        let state: Self = serde_json::from_slice(checkpoint).ok()?;
        let known = state.object.is_empty() || wanted.iter().any(|wanted| wanted.object.key == state.object);
        let id = state.after.is_empty() || ids::normalise(&state.after).as_ref() == Some(&state.after);
        (state.v == 1 && known && id).then_some(state)
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// An object of the selection.
struct Wanted {
    object: &'static CrmObject,
    fields: Vec<SelectedField>,
}

struct Reader {
    session: Session,
    call: CallContext,
    out: ReadStream,
    budget: usize,
    /// The credentials were renewed and nothing was answered since.
    renewed: bool,
}

/// What was tried for an object, and how often in a row.
#[derive(Default)]
struct Tries {
    /// Cursors that were lost since the last page.
    lost: u32,
    /// Queries that ran too long since the last page.
    timed_out: u32,
    described_again: bool,
    /// Rows without ids were asked for again.
    asked_again: bool,
}

/// What becomes of an object after an error.
enum Recovery {
    Again,
    GiveUp(Error),
}

/// Reads what a request asks for.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &CallContext,
    request: ReadRequest,
    out: ReadStream,
) -> Result<(), Error> {
    if request.mode() != ReadMode::Full {
        return Err(Error::unsupported("Salesforce is read in full only, so far"));
    }
    let wanted = wanted(request.selection)?;
    let state = match State::of(&request.checkpoint, &wanted) {
        Some(state) => state,
        None => {
            if !request.checkpoint.is_empty() {
                tracing::warn!("the checkpoint does not fit this read; it begins anew");
            }
            State::at(wanted.first().map_or("", |wanted| wanted.object.key))
        }
    };
    let Some(start) = wanted.iter().position(|wanted| wanted.object.key == state.object) else {
        return Ok(());
    };
    let session = Session::new(app, call, request.connection.as_ref())?;
    let mut reader = Reader {
        session,
        call: call.clone(),
        out,
        budget: app.options.query_budget,
        renewed: false,
    };
    let left = &wanted[start..];
    let left_objects: Vec<_> = left.iter().map(|wanted| wanted.object).collect();
    let (described, estimates) = reader.describe(&left_objects, true).await?;
    reader.expect(&estimates, &state).await?;
    let mut state = state;
    for (at, (wanted, seen)) in left.iter().zip(&described).enumerate() {
        let next = left.get(at + 1).map_or("", |wanted| wanted.object.key);
        reader.object(wanted, seen.as_ref(), state, next).await?;
        state = State::at(next);
    }
    Ok(())
}

fn wanted(selection: Vec<ObjectSelection>) -> Result<Vec<Wanted>, Error> {
    let mut all: Vec<Wanted> = Vec::with_capacity(selection.len());
    for ObjectSelection { object, fields } in selection {
        let found = objects::find(&object).ok_or_else(|| {
            Error::invalid_input(format!("there is no object {object}")).object(object.clone())
        })?;
        match all.iter_mut().find(|wanted| wanted.object.key == found.key) {
            Some(wanted) => wanted.fields.extend(fields),
            None => all.push(Wanted {
                object: found,
                fields,
            }),
        }
    }
    Ok(all)
}

impl Reader {
    /// Reads one object from where `state` stands. Errors of the object alone are told in the stream.
    async fn object(
        &mut self,
        wanted: &Wanted,
        seen: Option<&Described>,
        mut state: State,
        next: &str,
    ) -> Result<(), Error> {
        let object = wanted.object;
        if seen.is_some_and(|seen| !seen.object.visible) {
            let error =
                Error::object_gone(format!("the user cannot see {}", object.label)).object(object.key);
            return self.give_up(object, error, next).await;
        }
        // Without a describe that is whole the selection is believed: the query itself tells what is gone.
        let seen = seen.filter(|seen| seen.whole).map(|seen| &seen.object);
        let (mut plan, changes) = Plan::new(object, &wanted.fields, seen, self.budget);
        let mut told = HashSet::new();
        for change in changes {
            let (field, kind, field_type) = match change {
                Change::Missing(field) => (field, FieldChangeKind::Missing, FieldType::Unspecified),
                Change::Type(field, field_type) => (field, FieldChangeKind::TypeChanged, field_type),
            };
            self.tell(object, field, kind, field_type, &mut told).await?;
        }
        let mut place = Place::after(std::mem::take(&mut state.after));
        let mut ready: Option<Result<crate::page::Page, Error>> = None;
        let mut tries = Tries::default();
        let mut unusable = 0;
        loop {
            let page = match ready.take() {
                Some(page) => page,
                None => {
                    self.session
                        .page(&place.path(&self.session, &plan), &plan.parts[0])
                        .await
                }
            };
            let mut moved = place.clone();
            let read = match page {
                Ok(page) => self.take(&plan, &mut moved, page).await,
                Err(error) => Err(error),
            };
            let (step, whole) = match read {
                // It may be a fault of the moment.
                Ok((_, whole)) if whole.unusable > 0 && !std::mem::replace(&mut tries.asked_again, true) => {
                    tracing::warn!(object = object.key, "records without ids are asked for again");
                    place.leave_cursor();
                    continue;
                }
                Ok(read) => read,
                Err(error) => {
                    match self
                        .recover(error, &mut plan, &mut place, &mut tries, &mut told)
                        .await?
                    {
                        Recovery::Again => continue,
                        Recovery::GiveUp(error) => return self.give_up(object, error, next).await,
                    }
                }
            };
            (tries.lost, tries.timed_out, self.renewed) = (0, 0, false);
            unusable += whole.unusable;
            // From a record on whose place is not known, no range is known to be whole.
            state.unordered |= !step.in_order || whole.unusable > 0;
            if let Some(total) = step.total {
                let expected = state.rows + total;
                self.out
                    .progress(Progress {
                        object: object.key.to_owned(),
                        expected,
                    })
                    .await?;
            }
            state.rows += whole.records.len() as u64;
            let covers = (!state.unordered).then(|| Covers {
                after: place.after.clone(),
                through: if step.last {
                    String::new()
                } else {
                    moved.after.clone()
                },
            });
            let batch = RecordBatch {
                object: object.key.to_owned(),
                records: whole.records,
                covers,
                read_time_us: whole.read_us,
                ..RecordBatch::default()
            };
            place = moved;
            if step.last {
                self.out.batch(batch).await?;
                if unusable > 0 || state.unusable {
                    let text = format!("Salesforce gave {} without ids that can be used", object.label);
                    return self.give_up(object, Error::bug(text), next).await;
                }
                let status = ObjectStatus {
                    object: object.key.to_owned(),
                    complete: true,
                    error: None,
                };
                self.out.object_status(status).await?;
                return self.checkpoint(&State::at(next)).await;
            }
            state.unusable |= unusable > 0;
            let checkpoint = State {
                after: place.after.clone(),
                ..state.clone()
            };
            let path = place.path(&self.session, &plan);
            let session = self.session.clone();
            // The next page comes while the host stores this one.
            let (sent, page) = tokio::join!(
                async {
                    self.out.batch(batch).await?;
                    self.checkpoint(&checkpoint).await
                },
                session.page(&path, &plan.parts[0])
            );
            sent?;
            ready = Some(page);
        }
    }

    /// The records of a page, and where it leads.
    async fn take(
        &self,
        plan: &Plan,
        moved: &mut Place,
        page: crate::page::Page,
    ) -> Result<(Step, Whole), Error> {
        let after = moved.after.clone();
        let step = moved.step(&page)?;
        Ok((step, query::whole(&self.session, plan, page, &after).await?))
    }

    /// Decides what to do about an error, and does it.
    async fn recover(
        &mut self,
        error: Error,
        plan: &mut Plan,
        place: &mut Place,
        tries: &mut Tries,
        told: &mut HashSet<String>,
    ) -> Result<Recovery, Error> {
        let object = plan.object;
        match error.what() {
            ErrorKind::CredentialsExpired => {
                self.renew(error).await?;
                // A cursor dies with its session.
                place.leave_cursor();
                Ok(Recovery::Again)
            }
            ErrorKind::CursorGone => {
                place.leave_cursor();
                tries.lost += 1;
                if tries.lost > MOST_CURSORS_LOST {
                    Err(error)
                } else {
                    Ok(Recovery::Again)
                }
            }
            ErrorKind::QueryTooBig => {
                let whole_is_big = matches!(error.code.as_str(), "QUERY_TIMEOUT" | "http.body_too_large");
                let smaller = if whole_is_big {
                    // The database may be slow for a moment: it is given some time besides.
                    tries.timed_out += 1;
                    let narrower = place.narrow();
                    (narrower || tries.timed_out <= MOST_TIME_OUTS)
                        && self.session.pause(tries.timed_out).await?
                } else {
                    place.leave_cursor();
                    plan.split()
                };
                Ok(if smaller {
                    Recovery::Again
                } else {
                    Recovery::GiveUp(error)
                })
            }
            ErrorKind::FieldGone => {
                place.leave_cursor();
                let mut gone = Vec::new();
                let mut smaller = false;
                if !std::mem::replace(&mut tries.described_again, true) {
                    let (described, _) = self.describe(&[object], false).await?;
                    let before: usize = plan.parts.iter().map(Vec::len).sum();
                    let seen = described.first().and_then(Option::as_ref);
                    // Hidden since the read began: the query has the last word.
                    if let Some(seen) = seen.filter(|seen| seen.whole && seen.object.visible) {
                        gone = plan.keep_seen(&seen.object);
                    }
                    smaller = plan.parts.iter().map(Vec::len).sum::<usize>() < before;
                }
                // The describe may still show what the query refuses.
                if !smaller && !plan.drop_labels() {
                    if plan.has_selected(&error.field) {
                        gone.push(error.field.clone());
                    }
                    if !plan.drop_field(&error.field) {
                        return Ok(Recovery::GiveUp(error));
                    }
                }
                for field in gone {
                    self.tell(
                        object,
                        field,
                        FieldChangeKind::Missing,
                        FieldType::Unspecified,
                        told,
                    )
                    .await?;
                }
                Ok(Recovery::Again)
            }
            ErrorKind::ObjectGone | ErrorKind::Forbidden | ErrorKind::RecordGone | ErrorKind::Bug => {
                Ok(Recovery::GiveUp(error))
            }
            // What an administrator can do about one object; the others are not concerned.
            ErrorKind::AdminAction
                if matches!(error.code.as_str(), "OPERATION_TOO_LARGE" | "API_ERROR")
                    || error.code.starts_with("TXN_SECURITY_") =>
            {
                Ok(Recovery::GiveUp(error))
            }
            _ => Err(error),
        }
    }

    /// Describes objects, with new credentials where the old ones ended. One that cannot be described is left out: it can be
    /// read without.
    async fn describe(
        &mut self,
        objects: &[&'static CrmObject],
        estimate: bool,
    ) -> Result<(Vec<Option<Described>>, Vec<ObjectCount>), Error> {
        loop {
            let described = fields::describe(&self.session, objects, estimate).await;
            let described = described.and_then(|(described, estimates)| {
                let told = described.into_iter().map(|described| match described {
                    Err(error) if errors::account_wide(&error) => Err(error),
                    Err(error) => {
                        tracing::warn!(object = %error.object, "an object is read without its describe: {error}");
                        Ok(None)
                    }
                    Ok(described) => Ok(Some(described)),
                });
                Ok((told.collect::<Result<_, Error>>()?, estimates))
            });
            match described {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                other => {
                    self.renewed = false;
                    return other;
                }
            }
        }
    }

    /// Asks the host for new credentials, once for each request.
    async fn renew(&mut self, error: Error) -> Result<(), Error> {
        if self.renewed {
            return Err(errors::refused_again(error));
        }
        self.renewed = true;
        let (credentials, base_url) = self.out.credentials_needed(error).await?;
        self.session.renew(credentials.access_token, &base_url);
        Ok(())
    }

    async fn expect(&mut self, estimates: &[ObjectCount], state: &State) -> Result<(), Error> {
        for ObjectCount { object, count, .. } in estimates {
            // What a resumed read still finds is known better in a moment.
            if *object != state.object || state.rows == 0 {
                self.out
                    .progress(Progress {
                        object: object.clone(),
                        expected: *count,
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &mut self,
        object: &CrmObject,
        field: String,
        kind: FieldChangeKind,
        field_type: FieldType,
        told: &mut HashSet<String>,
    ) -> Result<(), Error> {
        if !told.insert(field.clone()) {
            return Ok(());
        }
        let object = object.key.to_owned();
        self.out
            .field_change(FieldChange {
                object,
                field,
                kind: kind.into(),
                r#type: field_type.into(),
            })
            .await
    }

    /// Goes on with the next object.
    async fn give_up(&mut self, object: &CrmObject, error: Error, next: &str) -> Result<(), Error> {
        let error = Some(error.object(object.key));
        self.out
            .object_status(ObjectStatus {
                object: object.key.to_owned(),
                complete: false,
                error,
            })
            .await?;
        self.checkpoint(&State::at(next)).await
    }

    async fn checkpoint(&mut self, state: &State) -> Result<(), Error> {
        self.out.api_usage(self.call.usage()).await?;
        self.out.checkpoint(state.bytes()).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::OBJECTS;

    #[test]
    fn checkpoints_that_do_not_fit_begin_anew() {
        let wanted = [Wanted {
            object: &OBJECTS[1],
            fields: Vec::new(),
        }];
        let state = State {
            after: "003000000000001AAA".into(),
            rows: 7,
            ..State::at("Contact")
        };
        assert_eq!(State::of(&state.bytes(), &wanted), Some(state.clone()));
        assert_eq!(State::of(&State::at("").bytes(), &wanted), Some(State::at("")));
        for other in [
            State::at("Account"),
            State {
                v: 2,
                ..state.clone()
            },
            State {
                after: "x' OR Id != '".into(),
                ..state.clone()
            },
        ] {
            assert_eq!(State::of(&other.bytes(), &wanted), None);
        }
        assert_eq!(State::of(b"", &wanted), None);
    }
}
