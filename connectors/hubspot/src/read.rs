//! The stream of everything: object after object, some pages of a list between two checkpoints.
//!
//! HubSpot lists records in the order of their ids, which are numbers. That is seen rather than documented, so it is
//! checked, and while it holds each batch is a complete listing of a range of numbers: what is stored there and not listed
//! is gone. Where it does not hold, or a list ends long before the end that search promises, nothing is concluded from what
//! is not listed; then the list of archived records tells what is gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{
    Covers, Error, ErrorKind, FieldChange, FieldChangeKind, FieldType, ObjectSelection, ObjectStatus,
    Progress, ReadMode, ReadRequest, Record, RecordBatch, SelectedField,
};
use tether_connector_sdk::{CallContext, ReadStream};

use crate::bodies::{self, Batch, Input};
use crate::objects::{self, CrmObject};
use crate::page::{self, Row, tombstone};
use crate::plan::{Change, PAGE, Plan};
use crate::properties::{self, Described};
use crate::rest::{App, Session};
use crate::{associations, fields, ids};

/// Times that the list of one object may be begun anew.
const MOST_RESTARTS: u32 = 3;
/// Longest cursor that is kept.
const LONGEST_CURSOR: usize = 2_000;

/// Where a stream stands. No secrets and no addresses: another process goes on from it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    v: u8,
    /// The object that is next, or being read; empty when all are done.
    object: String,
    /// HubSpot's own word for the next page.
    after: String,
    /// The last id that was read.
    last: String,
    /// Rows so far.
    rows: u64,
    /// What a list lacks says nothing: its order was not that of the ids, or it ended too soon.
    doubtful: bool,
    /// The archived records are being listed.
    archived: bool,
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
        let id = state.last.is_empty() || ids::check(&state.last).is_some();
        (state.v == 1 && known && id && state.after.len() <= LONGEST_CURSOR).then_some(state)
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The beginning of the list that it is in.
    fn restart(&mut self) {
        self.after.clear();
        self.last.clear();
        self.rows = 0;
    }
}

/// An object of the selection.
struct Wanted {
    object: &'static CrmObject,
    fields: Vec<SelectedField>,
}

/// Some pages of a list.
struct Stride {
    rows: Vec<Row>,
    /// When the earliest of the replies was made, by HubSpot's clock; 0 where one does not say.
    time_us: i64,
    /// None at the end of the list.
    next: Option<String>,
    last: String,
    in_order: bool,
}

struct Reader {
    session: Session,
    call: CallContext,
    out: ReadStream,
    pages: usize,
    /// The credentials were renewed and nothing was answered since.
    renewed: bool,
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
        return Err(Error::unsupported("HubSpot is read in full only, so far"));
    }
    let wanted = wanted(request.selection)?;
    let mut state = match State::of(&request.checkpoint, &wanted) {
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
    let mut reader = Reader {
        session: Session::new(app, call, request.connection.as_ref())?.yielding(),
        call: call.clone(),
        out,
        pages: app.options.checkpoint_pages,
        renewed: false,
    };
    let left = &wanted[start..];
    for (at, wanted) in left.iter().enumerate() {
        let next = left.get(at + 1).map_or("", |wanted| wanted.object.key);
        reader.object(wanted, state, next).await?;
        state = State::at(next);
    }
    Ok(())
}

fn wanted(selection: Vec<ObjectSelection>) -> Result<Vec<Wanted>, Error> {
    let mut all: Vec<Wanted> = Vec::with_capacity(selection.len());
    for ObjectSelection { object, fields } in selection {
        let object = objects::named(&object)?;
        match all.iter_mut().find(|wanted| wanted.object.key == object.key) {
            Some(wanted) => wanted.fields.extend(fields),
            None => all.push(Wanted { object, fields }),
        }
    }
    Ok(all)
}

impl Reader {
    /// Reads one object from where `state` stands. Errors of the object alone are told in the stream.
    async fn object(&mut self, wanted: &Wanted, mut state: State, next: &str) -> Result<(), Error> {
        let object = wanted.object;
        let Some((described, total)) = self.look(object).await? else {
            let error = Error::object_gone(format!(
                "the login cannot see {}: it lacks the scope {}",
                object.label, object.scope
            ));
            return self.give_up(object, error, next).await;
        };
        let (mut plan, changes) = Plan::new(
            object,
            &wanted.fields,
            Some(&described),
            self.session.address_budget(),
        );
        for change in changes {
            self.tell(object, change).await?;
        }
        if let Some(expected) = total {
            let object = object.key.to_owned();
            self.out.progress(Progress { object, expected }).await?;
        }
        let mut restarts = 0;
        loop {
            let made = match self.stride(&plan, &state).await {
                Ok(stride) => self.records(&plan, &state, stride).await,
                Err(error) => Err(error),
            };
            let (stride, records) = match made {
                Ok(made) => made,
                Err(error) => match self.recover(error, &mut plan, &mut state, &mut restarts).await? {
                    Recovery::Again => continue,
                    Recovery::GiveUp(error) => return self.give_up(object, error, next).await,
                },
            };
            self.renewed = false;
            let covers_numbers = self.covers(object, &mut state, &stride, total);
            self.out
                .batch(RecordBatch {
                    object: object.key.to_owned(),
                    records,
                    covers_numbers,
                    read_time_us: stride.time_us,
                    ..RecordBatch::default()
                })
                .await?;
            state.rows += stride.rows.len() as u64;
            state.last = stride.last;
            state.after = stride.next.unwrap_or_default();
            if state.after.is_empty() && state.doubtful && !state.archived {
                state.restart();
                state.archived = true;
            } else if state.after.is_empty() {
                let status = ObjectStatus {
                    object: object.key.to_owned(),
                    complete: true,
                    error: None,
                };
                self.out.object_status(status).await?;
                return self.checkpoint(&State::at(next)).await;
            }
            self.checkpoint(&state).await?;
        }
    }

    /// What an object has, and about how much of it there is; nothing where the login cannot see it.
    async fn look(&mut self, object: &'static CrmObject) -> Result<Option<(Described, Option<u64>)>, Error> {
        loop {
            let looked = match properties::describe(&self.session, object).await {
                Ok(None) => Ok(None),
                Ok(Some(described)) => fields::total(&self.session, object)
                    .await
                    .map(|total| Some((described, total))),
                Err(error) => Err(error),
            };
            match looked {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                other => {
                    self.renewed = false;
                    return other;
                }
            }
        }
    }

    /// Some pages of the list, from where `state` stands.
    async fn stride(&self, plan: &Plan, state: &State) -> Result<Stride, Error> {
        let mut stride = Stride {
            rows: Vec::new(),
            time_us: i64::MAX,
            next: Some(state.after.clone()),
            last: state.last.clone(),
            in_order: true,
        };
        for _ in 0..self.pages {
            let Some(after) = stride.next.take() else { break };
            let path = plan.list_path(&after, state.archived);
            let (page, time_us) = self.session.get(&path, |text| page::read(plan, text)).await?;
            stride.time_us = stride.time_us.min(time_us);
            for row in &page.rows {
                let id = row.record.external_id.as_str();
                stride.in_order &= stride.last.is_empty() || ids::value(id) > ids::value(&stride.last);
                id.clone_into(&mut stride.last);
            }
            if page
                .next
                .as_ref()
                .is_some_and(|next| *next == after || next.len() > LONGEST_CURSOR)
            {
                return Err(Error::cursor_gone(
                    "HubSpot's list leads to the same page again and again",
                ));
            }
            stride.next = page.next;
            stride.rows.extend(page.rows);
            if stride.next.is_none() {
                break;
            }
        }
        Ok(stride)
    }

    /// The records of a stride: whole, under their companies, and with those whose place they took.
    async fn records(
        &self,
        plan: &Plan,
        state: &State,
        mut stride: Stride,
    ) -> Result<(Stride, Vec<Record>), Error> {
        let mut listed = std::mem::take(&mut stride.rows);
        if state.archived {
            // One that does not say that it is archived proves nothing, and has no values here.
            listed.retain(|row| row.record.deleted);
        }
        let rows = if plan.wide && !state.archived {
            let ids: Vec<&str> = listed.iter().map(|row| row.record.external_id.as_str()).collect();
            let mut whole = batch(&self.session, plan, &ids).await?.0;
            // What was archived between the list and the batch is not there any more.
            ids.iter().filter_map(|id| whole.remove(*id)).collect()
        } else {
            listed
        };
        let mut records: Vec<Record> = Vec::with_capacity(rows.len());
        for row in &rows {
            records.push(row.record.clone());
            // The list lacks them, and their ids lead here.
            if !row.record.deleted {
                let lost = row.merged.iter();
                records.extend(lost.map(|loser| tombstone(loser, &row.record.external_id)));
            }
        }
        associations::adopt(&self.session, plan.object, &mut records).await?;
        stride.rows = rows;
        Ok((stride, records))
    }

    /// The range that a stride lists completely, if there is one; notes in `state` where there is none from here on.
    fn covers(
        &self,
        object: &CrmObject,
        state: &mut State,
        stride: &Stride,
        total: Option<u64>,
    ) -> Option<Covers> {
        if state.archived {
            return None;
        }
        let last = stride.next.is_none();
        let rows = state.rows + stride.rows.len() as u64;
        if !stride.in_order && !state.doubtful {
            tracing::warn!(
                object = object.key,
                "the list is not in the order of its ids: removals are taken from the archived records"
            );
        }
        state.doubtful |= !stride.in_order;
        let claimed = !state.doubtful;
        if last && claimed && ends_too_soon(rows, total) {
            tracing::warn!(
                object = object.key,
                rows,
                ?total,
                "the list ended long before what search counts"
            );
            state.doubtful = true;
        }
        let through = if last && !state.doubtful {
            String::new()
        } else {
            stride.last.clone()
        };
        // An empty end would be the end of all.
        let ends = !through.is_empty() || last && !state.doubtful;
        (claimed && ends).then(|| Covers {
            after: state.last.clone(),
            through,
        })
    }

    /// Decides what to do about an error, and does it.
    async fn recover(
        &mut self,
        error: Error,
        plan: &mut Plan,
        state: &mut State,
        restarts: &mut u32,
    ) -> Result<Recovery, Error> {
        match error.what() {
            ErrorKind::CredentialsExpired => {
                self.renew(error).await?;
                Ok(Recovery::Again)
            }
            ErrorKind::CursorGone if *restarts < MOST_RESTARTS => {
                *restarts += 1;
                state.restart();
                Ok(Recovery::Again)
            }
            ErrorKind::QueryTooBig if !plan.wide => {
                plan.wide = true;
                Ok(Recovery::Again)
            }
            ErrorKind::ObjectGone
            | ErrorKind::Forbidden
            | ErrorKind::RecordGone
            | ErrorKind::QueryTooBig
            | ErrorKind::CursorGone
            | ErrorKind::Bug => Ok(Recovery::GiveUp(error)),
            _ => Err(error),
        }
    }

    /// Asks the host for new credentials, once for each request.
    async fn renew(&mut self, error: Error) -> Result<(), Error> {
        if self.renewed {
            return Err(error);
        }
        self.renewed = true;
        let (credentials, _) = self.out.credentials_needed(error).await?;
        self.session.renew(credentials.access_token);
        Ok(())
    }

    async fn tell(&mut self, object: &CrmObject, change: Change) -> Result<(), Error> {
        let (field, kind, field_type) = match change {
            Change::Missing(field) => (field, FieldChangeKind::Missing, FieldType::Unspecified),
            Change::Type(field, field_type) => (field, FieldChangeKind::TypeChanged, field_type),
        };
        self.out
            .field_change(FieldChange {
                object: object.key.to_owned(),
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

/// Whether a list that ended lacks more than search can be behind. Search lags by moments; a list that a fault cut off
/// must not be proof that the rest is gone.
fn ends_too_soon(rows: u64, total: Option<u64>) -> bool {
    total.is_some_and(|total| rows == 0 && total > 0 || rows + (total / 50).max(100) < total)
}

/// Records by id, and the selected properties that none of them mentions: all, where there is none. One that is not in it is
/// gone: HubSpot said so, or that another took its place. What it says nothing of is asked for again, and in the end an error.
pub(crate) async fn batch(
    session: &Session,
    plan: &Plan,
    ids: &[&str],
) -> Result<(HashMap<String, Row>, Vec<String>), Error> {
    let path = format!("/crm/v3/objects/{}/batch/read", plan.object.key);
    let mut found: HashMap<String, Row> = HashMap::with_capacity(ids.len());
    let mut unmentioned: Option<HashSet<String>> = None;
    for ids in ids.chunks(PAGE) {
        let mut left: Vec<&str> = ids.to_vec();
        let mut attempt = 0;
        while !left.is_empty() {
            attempt += 1;
            let input = |id: &&str| Input {
                id: (*id).to_owned(),
                after: None,
            };
            let body = bodies::text(&Batch {
                inputs: left.iter().map(input).collect(),
                properties: plan.names().into_iter().map(str::to_owned).collect(),
            });
            let read = |text: &str| page::read_batch(plan, text);
            let ((page, lacking), _) = session.post(&path, &body, read).await?;
            if !page.rows.is_empty() {
                let none: HashSet<String> = page.unmentioned.into_iter().collect();
                unmentioned = Some(match unmentioned {
                    Some(before) => before.intersection(&none).cloned().collect(),
                    None => none,
                });
            }
            let asked: HashSet<&str> = left.iter().copied().collect();
            let rows = page
                .rows
                .into_iter()
                .filter(|row| asked.contains(row.record.external_id.as_str()));
            found.extend(rows.map(|row| (row.record.external_id.clone(), row)));
            left.retain(|id| !found.contains_key(*id) && !lacking.gone.contains(*id));
            match lacking.failed {
                _ if left.is_empty() => {}
                Some(_) if session.pause(attempt).await? => {}
                Some(failed) => {
                    let text = format!("HubSpot did not give all records ({failed})");
                    return Err(Error::transient(text).object(plan.object.key));
                }
                None => {
                    for id in std::mem::take(&mut left) {
                        is_gone(session, plan, id).await?;
                    }
                }
            }
        }
    }
    let unmentioned = match unmentioned {
        Some(unmentioned) => unmentioned.into_iter().collect(),
        None => plan.columns.iter().map(|column| column.key.clone()).collect(),
    };
    Ok((found, unmentioned))
}

/// Makes sure that a record that a batch passed over in silence is gone, or gave its place to another: then its id leads there.
async fn is_gone(session: &Session, plan: &Plan, id: &str) -> Result<(), Error> {
    let path = Plan::new(plan.object, &[], None, session.address_budget())
        .0
        .record_path(id, &[]);
    match session.get(&path, |text| page::read_one(plan, text)).await {
        Ok((page, _)) if page.rows.iter().all(|row| row.record.external_id != id) => Ok(()),
        Ok(_) => Err(Error::transient("HubSpot passed over a record that it has").object(plan.object.key)),
        Err(error) if error.is(ErrorKind::RecordGone) => Ok(()),
        Err(error) => Err(error),
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
            after: "10051".into(),
            last: "10001".into(),
            rows: 7,
            ..State::at("contacts")
        };
        assert_eq!(State::of(&state.bytes(), &wanted), Some(state.clone()));
        assert_eq!(State::of(&State::at("").bytes(), &wanted), Some(State::at("")));
        for other in [
            State::at("companies"),
            State {
                v: 2,
                ..state.clone()
            },
            State {
                last: "1&x=2".into(),
                ..state.clone()
            },
            State {
                after: "9".repeat(3_000),
                ..state.clone()
            },
        ] {
            assert_eq!(State::of(&other.bytes(), &wanted), None);
        }
        assert_eq!(State::of(b"", &wanted), None);
    }

    #[test]
    fn a_list_that_was_cut_off_proves_nothing() {
        for (rows, total, too_soon) in [
            (0, Some(0), false),
            (0, Some(1), true),
            (0, None, false),
            (50, Some(140), false),
            (50, Some(151), true),
            (97_999, Some(100_000), true),
            (98_000, Some(100_000), false),
            (10, Some(5), false),
        ] {
            assert_eq!(ends_too_soon(rows, total), too_soon, "{rows} of {total:?}");
        }
    }
}
