//! The end of a sync, and of its row.
//!
//! The store itself refuses to end a sync as SUCCEEDED while an object is incomplete or a removal is held
//! back. Whatever the engine and the connectors do, success passes this one place.

use diesel::prelude::*;

use super::{
    queue::{NewSync, insert},
    report::{self, News},
    row::{Sync, get, held, locked, lost, name, objects},
    schedule,
    stored::SyncReport,
};
use crate::domain::{
    EventKind, IntegrationId, IntegrationState, Micros, ObjectState, SyncId, SyncMode, SyncState, SyncTrigger,
};
use crate::store::{
    Conflict, Error, FieldRef, Integration, Lost, Store,
    conn::Conn,
    data_set,
    event::NewEvents,
    field, purge, record,
    schema::{integration as integration_table, sync},
};

/// How a sync ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncEnd {
    /// Which.
    pub sync_id: SyncId,
    /// The fence it was taken with.
    pub fence: i64,
    /// SUCCEEDED if every object was read whole and nothing is held back, PARTIAL, FAILED or CANCELLED.
    pub state: SyncState,
    /// Why it failed, as a word.
    pub error_reason: String,
    /// Why it failed, as a sentence for the integration's owner.
    pub error_message: String,
    /// What else there is to say.
    pub note: String,
    /// How many company records the CRM says there are; `None` counts ours, when they were read whole.
    pub company_records: Option<i64>,
    /// Now.
    pub now_us: Micros,
}

impl Store {
    /// Ends a sync, with what it has stored.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync, or it has ended.
    pub async fn sync_finish(&self, end: SyncEnd) -> Result<Sync, Error> {
        let (of, held) = (self.sync_get(end.sync_id).await?, (end.sync_id, end.fence));
        if (of.fence, of.state) != (end.fence, SyncState::Running) {
            return Err(lost(&of, end.fence));
        }
        // Its companies are found when it is reported as ended.
        self.company_fill(of.integration_id).await?;
        let before = self
            .sync_list(of.integration_id, Some((of.create_us, of.id)), 1)
            .await?;
        let counted = before.first().filter(|before| done_well(before.state));
        let counted_no = counted.map(|before| before.change_no);
        let count = end.company_records.is_none() && done_well(end.state);
        let stored = self
            .data_snapshot(of.integration_id, move |conn| {
                stored(conn, of.integration_id, held, count, counted_no)
            })
            .await?;
        self.write_with_events(move |conn, events| finish(conn, events, end, stored))
            .await
    }

    /// Removes syncs that ended before this time, at most `limit`, but for the last one of each integration; returns how
    /// many.
    pub async fn sync_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| {
            const NOT_LAST: &str = "EXISTS (SELECT 1 FROM sync n \
                WHERE n.integration_id = sync.integration_id AND n.create_us > sync.create_us)";
            purge::old(conn, "sync", "end_us", NOT_LAST, before_us, limit)
        })
        .await
    }
}

fn done_well(state: SyncState) -> bool {
    matches!(state, SyncState::Succeeded | SyncState::Partial)
}

/// What a sync has stored when it ends.
struct Stored {
    /// `None` if it never claimed its data set.
    report: Option<SyncReport>,
    /// Live company records, if they were to be counted.
    company_records: Option<i64>,
}

fn stored(
    conn: &mut Conn,
    id: IntegrationId,
    (sync_id, fence): (SyncId, i64),
    count: bool,
    counted_no: Option<i64>,
) -> Result<Stored, Error> {
    let set = data_set::get(conn, id)?.filter(|set| set.sync_id == Some(sync_id));
    if set.as_ref().is_some_and(|set| set.fence > fence) {
        let why = Lost::Fence;
        return Err(Error::LeaseLost { sync: sync_id, why });
    }
    let report = set.map(|set| SyncReport::of(conn, &set)).transpose()?;
    // Counting goes through all company records; the last sync counted them if nothing has changed since.
    let count = count && report.as_ref().map(|report| report.change_no) != counted_no;
    Ok(Stored {
        report,
        company_records: match count {
            true => Some(record::count_companies(conn, id)?),
            false => None,
        },
    })
}

fn finish(conn: &mut Conn, events: &mut NewEvents, mut end: SyncEnd, stored: Stored) -> Result<Sync, Error> {
    if !end.state.is_final() {
        return Err(Error::conflict(
            Conflict::State,
            format!("a sync cannot end as {}", end.state),
        ));
    }
    let (of, mut before) = locked(conn, end.sync_id)?;
    if let Some(stored) = &stored.report {
        // What was stored last may not have been reported.
        report::store(conn, events, (&of, &before, end.fence), stored, News::All)?;
        before = get(conn, end.sync_id)?;
    }
    if done_well(end.state) && before.cancel_requested {
        end.state = SyncState::Cancelled;
        end.error_reason.clear();
        end.error_message.clear();
    }
    let done = diesel::update(held(end.sync_id, end.fence))
        .set((
            sync::state.eq(end.state),
            sync::end_us.eq(end.now_us),
            sync::busy_us.eq(before.busy_us + (end.now_us - before.update_us).max(0)),
            sync::update_us.eq(end.now_us),
            sync::lease_owner.eq(None::<String>),
            sync::error_reason.eq(&end.error_reason),
            sync::error_message.eq(&end.error_message),
            sync::note.eq(&end.note),
        ))
        .execute(conn)?;
    let row = get(conn, end.sync_id)?;
    if done == 0 {
        return Err(lost(&row, end.fence));
    }
    schedule::count_from_end(conn, &of, end.now_us)?;
    if done_well(end.state) {
        succeed(conn, &of, &row, &end, stored.company_records)?;
    }
    if !done_well(end.state) && of.state == IntegrationState::Active && of.generation != row.generation {
        // The selection changed while the sync ran: queue another one for the added fields.
        let new = NewSync {
            integration_id: of.id,
            trigger: SyncTrigger::Selection,
            create_by: row.create_by.clone(),
            due_us: end.now_us,
            confirms: None,
            mode: SyncMode::Auto,
            now_us: end.now_us,
        };
        insert(conn, &of, new)?;
    }
    let kind = match end.state {
        SyncState::Failed => EventKind::SyncFailed,
        SyncState::Cancelled => EventKind::SyncCancelled,
        SyncState::Partial => EventKind::SyncPartial,
        _ => EventKind::SyncFinished,
    };
    events.tell(conn, kind, of.id, &name(&row), &end.error_reason, end.now_us)?;
    Ok(row)
}

/// Stores in the integration that a sync ended well.
fn succeed(
    conn: &mut Conn,
    of: &Integration,
    row: &Sync,
    end: &SyncEnd,
    counted: Option<i64>,
) -> Result<(), Error> {
    if of.generation != row.generation {
        return Err(Error::LeaseLost {
            sync: row.id,
            why: Lost::Generation,
        });
    }
    if end.state == SyncState::Succeeded {
        // The final check: a sync that did not read every object completely never ends as SUCCEEDED.
        let lacking = objects(conn, end.sync_id)?
            .into_iter()
            .find(|one| one.state != ObjectState::Complete || one.held > 0);
        if let Some(one) = lacking {
            return Err(Error::conflict(
                Conflict::State,
                format!(
                    "sync \"{}\" cannot end as SUCCEEDED: {} is {} with {} removals held back",
                    end.sync_id, one.object, one.state, one.held
                ),
            ));
        }
    }
    let company_records = end.company_records.or(counted);
    let row_of = || integration_table::table.find(of.id);
    if end.state == SyncState::Succeeded {
        diesel::update(row_of())
            .set(integration_table::last_success_us.eq(row.start_us))
            .execute(conn)?;
    }
    if let Some(count) = company_records {
        diesel::update(row_of())
            .set(integration_table::company_records.eq(count))
            .execute(conn)?;
    }
    fields_are_back(conn, row)
}

/// Clears the missing marks of fields that no attempt of the sync missed, if their objects were read completely. Marks that are
/// newer than the sync's start stay: they are from live reads with newer information.
fn fields_are_back(conn: &mut Conn, of: &Sync) -> Result<(), Error> {
    let missing = of.missing_fields();
    let whole: Vec<String> = objects(conn, of.id)?
        .into_iter()
        .filter(|one| one.state == ObjectState::Complete)
        .map(|one| one.object)
        .collect();
    let back: Vec<FieldRef> = field::list(conn, &[of.integration_id])?
        .into_iter()
        .filter(|field| field.missing_us.is_some_and(|since| Some(since) < of.start_us))
        .filter(|field| whole.contains(&field.object))
        .filter(|field| !missing.contains(&format!("{}.{}", field.object, field.key)))
        .map(|field| FieldRef {
            object: field.object,
            key: field.key,
        })
        .collect();
    field::clear_missing(conn, of.integration_id, &back)?;
    Ok(())
}
