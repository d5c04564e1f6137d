//! The report of a sync: what its data set has stored is copied to its row, which callers see. It may lag behind the data set,
//! and is made again after a crash.

use diesel::prelude::*;

use super::{
    row::{Sync, SyncObject, get, held, lost},
    stored::SyncReport,
};
use crate::domain::{FieldType, IntegrationState, Micros, SyncId, SyncMode, SyncState};
use crate::store::{
    Error, FieldRef, Integration, Lost, Store,
    conn::{Conn, each},
    event::NewEvents,
    field, integration,
    schema::{sync, sync_object},
};

/// What of a report is new.
#[derive(Debug, Clone)]
pub(in crate::store) enum News {
    /// What one commit brought.
    Some {
        missing: Vec<FieldRef>,
        field_types: Vec<(FieldRef, FieldType)>,
        /// The objects that it changed.
        objects: Vec<String>,
        /// The checkpoint moved.
        got_on: bool,
        now_us: Micros,
    },
    /// It is not known: all is reported.
    All,
}

impl News {
    /// These with more objects, and with whether the checkpoint moved.
    pub(super) fn with<'a>(&self, more: impl Iterator<Item = &'a str>, moved: bool) -> Self {
        let mut news = self.clone();
        if let Self::Some { objects, got_on, .. } = &mut news {
            objects.extend(more.map(str::to_owned));
            *got_on = moved;
        }
        news
    }
}

fn check_held(of: &Integration, row: &Sync, fence: i64) -> Result<(), Error> {
    let why = if row.fence != fence {
        Lost::Fence
    } else if row.state != SyncState::Running || of.state != IntegrationState::Active {
        Lost::State
    } else if of.generation != row.generation {
        Lost::Generation
    } else {
        return Ok(());
    };
    Err(Error::LeaseLost { sync: row.id, why })
}

impl Store {
    /// The sync that a worker holds, of an active integration.
    pub(in crate::store) async fn sync_held(&self, (id, fence): (SyncId, i64)) -> Result<Sync, Error> {
        self.read(move |conn| {
            let row = get(conn, id)?;
            check_held(&integration::get(conn, row.integration_id)?, &row, fence)?;
            Ok(row)
        })
        .await
    }

    /// Reports what a sync has stored; gives the sync as it is then. Its lease is extended by heartbeats alone.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if another worker has the sync, it has ended, or its integration is no longer active or has another
    /// generation.
    pub(in crate::store) async fn sync_report(
        &self,
        (id, fence): (SyncId, i64),
        stored: SyncReport,
        news: News,
    ) -> Result<Sync, Error> {
        self.write_with_events(move |conn, events| {
            let before = get(conn, id)?;
            let about_fields = match &news {
                News::All => !stored.missing.is_empty() || !stored.field_types.is_empty(),
                News::Some {
                    missing, field_types, ..
                } => !missing.is_empty() || !field_types.is_empty(),
            };
            // Fields are changed under the integration's lock; progress needs none.
            let of = match about_fields {
                true => integration::lock(conn, before.integration_id)?,
                false => integration::get(conn, before.integration_id)?,
            };
            check_held(&of, &before, fence)?;
            store(conn, events, (&of, &before, fence), &stored, news)?;
            get(conn, id)
        })
        .await
    }
}

/// Stores a report within another transaction.
pub(super) fn store(
    conn: &mut Conn,
    events: &mut NewEvents,
    (of, before, fence): (&Integration, &Sync, i64),
    stored: &SyncReport,
    news: News,
) -> Result<(), Error> {
    let (missing, field_types, objects, now_us) = match &news {
        News::All => (
            &stored.missing,
            &stored.field_types,
            None,
            before.start_us.unwrap_or(before.create_us),
        ),
        News::Some {
            missing,
            field_types,
            objects,
            now_us,
            ..
        } => (missing, field_types, Some(objects), *now_us),
    };
    let got_on = match &news {
        News::Some { got_on, .. } => got_on.then_some(0),
        // An attempt that got on and whose report was lost; this one is the first after it.
        News::All => (stored.checkpoint_seq > before.checkpoint_seq).then_some(1),
    };
    for (field, field_type) in field_types {
        field::set_type(conn, of.id, field, *field_type)?;
    }
    field::mark_missing(conn, events, of, missing, now_us)?;
    let missing = with_missing(before, missing)?;
    // The fencing token in the condition is what counts.
    let done = diesel::update(held(before.id, fence))
        .set((
            sync::checkpoint.eq(&stored.checkpoint),
            sync::checkpoint_seq.eq(stored.checkpoint_seq),
            sync::bytes.eq(stored.bytes),
            sync::api_calls.eq(stored.api_calls),
            got_on.map(|tries| {
                (
                    sync::tries.eq(tries),
                    sync::error_reason.eq(""),
                    sync::error_message.eq(""),
                )
            }),
            missing.map(|missing| sync::missing.eq(missing)),
            (stored.mode != SyncMode::Auto).then_some(sync::mode.eq(stored.mode)),
            sync::change_no.eq(stored.change_no),
            matches!(news, News::Some { .. }).then_some((
                sync::update_us.eq(now_us.max(before.update_us)),
                sync::busy_us.eq(before.busy_us + (now_us - before.update_us).max(0)),
            )),
        ))
        .execute(conn)?;
    if done == 0 {
        return Err(lost(&get(conn, before.id)?, fence));
    }
    for object in &stored.objects {
        if objects.is_none_or(|some| some.contains(&object.object)) {
            object_store(conn, object)?;
        }
    }
    Ok(())
}

fn object_store(conn: &mut Conn, row: &SyncObject) -> Result<(), Error> {
    each!(conn, c => diesel::insert_into(sync_object::table)
        .values(row)
        .on_conflict((sync_object::sync_id, sync_object::object))
        .do_update()
        .set(row)
        .execute(c))?;
    Ok(())
}

/// The sync's missing fields with these among them; `None` if there is nothing new.
fn with_missing(of: &Sync, fields: &[FieldRef]) -> Result<Option<String>, Error> {
    if fields.is_empty() {
        return Ok(None);
    }
    let mut missing = of.missing_fields();
    missing.extend(
        fields
            .iter()
            .map(|field| format!("{}.{}", field.object, field.key)),
    );
    missing.sort_unstable();
    missing.dedup();
    let missing = serde_json::to_string(&missing).map_err(|e| Error::Corrupt(e.to_string()))?;
    Ok(Some(missing).filter(|missing| *missing != of.missing))
}
