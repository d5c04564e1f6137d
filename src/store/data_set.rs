//! The head of a data set: its generation, the sync that claimed it, what that sync has stored (`sync::stored` reads it), and
//! the change numbers.
//!
//! All writes of a data set lock its head first.

use diesel::prelude::*;

use super::{
    Error, Lost, Noun,
    conn::{Conn, each, first_locked},
    schema::{data_object, data_set},
};
use crate::domain::{IntegrationId, Micros, ReadClock, ReadTime, SyncId, SyncMode};

/// A row of `data_set`.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = data_set, treat_none_as_default_value = false)]
pub(super) struct DataSet {
    pub(super) integration_id: IntegrationId,
    pub(super) generation: i64,
    pub(super) change_no: i64,
    pub(super) forgotten_no: i64,
    pub(super) sync_id: Option<SyncId>,
    pub(super) fence: i64,
    pub(super) stop_fence: i64,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) checkpoint_seq: i64,
    pub(super) bytes: i64,
    pub(super) api_calls: i64,
    pub(super) missing: String,
    pub(super) field_types: String,
    /// The last checkpoint of earlier syncs.
    pub(super) state: Option<Vec<u8>>,
    /// The account of which the state is.
    pub(super) account: String,
    /// How much the sync reads.
    pub(super) mode: SyncMode,
    /// What it reads.
    pub(super) plan: Option<Vec<u8>>,
    /// The change number up to which the tables of companies and of children have the records (`record::by_company`).
    pub(super) company_no: i64,
    /// When rows of which some fields were read were last stored.
    pub(super) partial_us: Micros,
    /// The clock of that time.
    pub(super) partial_clock: i64,
}

impl DataSet {
    fn new(integration_id: IntegrationId, generation: i64) -> Self {
        Self {
            integration_id,
            generation,
            change_no: 0,
            forgotten_no: 0,
            sync_id: None,
            fence: 0,
            stop_fence: 0,
            checkpoint: None,
            checkpoint_seq: 0,
            bytes: 0,
            api_calls: 0,
            missing: "[]".to_owned(),
            field_types: "[]".to_owned(),
            state: None,
            account: String::new(),
            mode: SyncMode::Auto,
            plan: None,
            company_no: 0,
            partial_us: 0,
            partial_clock: ReadClock::UNKNOWN.number(),
        }
    }

    /// When rows of which some fields were read were last stored.
    pub(super) fn partial(&self) -> ReadTime {
        ReadTime {
            us: self.partial_us,
            clock: ReadClock::from_number(self.partial_clock),
        }
    }

    /// Notes that rows of which some fields were read at this time are stored.
    pub(super) fn set_partial(&mut self, read: ReadTime) {
        if !read.is_before(self.partial()) {
            (self.partial_us, self.partial_clock) = (read.us, read.clock.number());
        }
    }

    /// Whether the tables of companies and of children have all records.
    pub(super) fn has_all_entries(&self) -> bool {
        self.company_no >= self.change_no
    }

    /// Moves the change number on after a write. That of the tables of companies and of children follows if they had all records
    /// before, unless the write left entries for later.
    pub(super) fn advance(&mut self, change_no: i64, left_entries: bool) {
        if self.has_all_entries() && !left_entries {
            self.company_no = change_no;
        }
        self.change_no = change_no;
    }
}

/// The head of a data set; `None` if nothing was stored for the integration yet.
pub(super) fn get(conn: &mut Conn, id: IntegrationId) -> Result<Option<DataSet>, Error> {
    let found = data_set::table.find(id).select(DataSet::as_select()).first(conn);
    Ok(found.optional()?)
}

/// Locks the head of a data set until the end of the transaction; `None` if nothing was stored for the integration yet.
pub(super) fn lock(conn: &mut Conn, id: IntegrationId) -> Result<Option<DataSet>, Error> {
    let found = first_locked!(conn, data_set::table.find(id).select(DataSet::as_select()));
    Ok(found.optional()?)
}

/// Locks the head of a data set for a writer of this generation: it is made if there is none, and raised if it is older.
pub(super) fn lock_for(conn: &mut Conn, id: IntegrationId, generation: i64) -> Result<DataSet, Error> {
    let set = match lock(conn, id)? {
        Some(set) => set,
        None => {
            let new = DataSet::new(id, generation);
            each!(conn, c => diesel::insert_into(data_set::table)
                .values(&new)
                .on_conflict_do_nothing()
                .execute(c))?;
            lock(conn, id)?.ok_or_else(|| Error::not_found(Noun::DataSet, id))?
        }
    };
    if set.generation >= generation {
        return Ok(set);
    }
    raise(conn, id, generation)?;
    Ok(lock(conn, id)?.unwrap_or(set))
}

/// Locks the head of a data set for the worker that claimed it for this sync.
pub(super) fn lock_held(
    conn: &mut Conn,
    id: IntegrationId,
    (sync, fence, generation): (SyncId, i64, i64),
) -> Result<DataSet, Error> {
    let lost = |why| Error::LeaseLost { sync, why };
    let set = lock(conn, id)?.ok_or_else(|| lost(Lost::Fence))?;
    if set.generation != generation {
        Err(lost(Lost::Generation))
    } else if set.fence != fence || set.sync_id != Some(sync) {
        Err(lost(Lost::Fence))
    } else {
        Ok(set)
    }
}

/// Nothing is stored of this sync yet, nor of any other. The last checkpoint of the sync before becomes the state.
pub(super) fn begin(conn: &mut Conn, id: IntegrationId, sync: Option<SyncId>) -> Result<(), Error> {
    diesel::update(
        data_set::table
            .find(id)
            .filter(data_set::checkpoint.is_not_null()),
    )
    .set(data_set::state.eq(data_set::checkpoint))
    .execute(conn)?;
    diesel::delete(data_object::table.filter(data_object::integration_id.eq(id))).execute(conn)?;
    diesel::update(data_set::table.find(id))
        .set((
            data_set::sync_id.eq(sync),
            data_set::checkpoint.eq(None::<Vec<u8>>),
            data_set::checkpoint_seq.eq(0),
            data_set::bytes.eq(0),
            data_set::api_calls.eq(0),
            data_set::missing.eq("[]"),
            data_set::field_types.eq("[]"),
            data_set::mode.eq(SyncMode::Auto),
            data_set::plan.eq(None::<Vec<u8>>),
        ))
        .execute(conn)?;
    Ok(())
}

/// Refuses commits with another fencing token than this one. The head is locked.
pub(super) fn set_fence(conn: &mut Conn, id: IntegrationId, fence: i64) -> Result<(), Error> {
    diesel::update(data_set::table.find(id))
        .set(data_set::fence.eq(fence))
        .execute(conn)?;
    Ok(())
}

/// Refuses commits with a fencing token up to this one.
pub(super) fn stop(conn: &mut Conn, id: IntegrationId, fence: i64) -> Result<(), Error> {
    diesel::update(data_set::table.find(id).filter(data_set::stop_fence.lt(fence)))
        .set(data_set::stop_fence.eq(fence))
        .execute(conn)?;
    Ok(())
}

/// Refuses rows of an older generation than this one. What a sync of an older one has stored is not gone on from.
pub(super) fn raise(conn: &mut Conn, id: IntegrationId, generation: i64) -> Result<(), Error> {
    let older = data_set::table
        .find(id)
        .filter(data_set::generation.lt(generation));
    let raised = diesel::update(older)
        .set(data_set::generation.eq(generation))
        .execute(conn)?;
    match raised {
        0 => Ok(()),
        _ => begin(conn, id, None),
    }
}

/// Stores what a sync has stored, after a commit.
pub(super) fn store(conn: &mut Conn, set: &DataSet) -> Result<(), Error> {
    diesel::update(data_set::table.find(set.integration_id))
        .set((
            data_set::change_no.eq(set.change_no),
            data_set::company_no.eq(set.company_no),
            data_set::checkpoint.eq(&set.checkpoint),
            data_set::checkpoint_seq.eq(set.checkpoint_seq),
            data_set::bytes.eq(set.bytes),
            data_set::api_calls.eq(set.api_calls),
            data_set::missing.eq(&set.missing),
            data_set::field_types.eq(&set.field_types),
            data_set::partial_us.eq(set.partial_us),
            data_set::partial_clock.eq(set.partial_clock),
        ))
        .execute(conn)?;
    Ok(())
}

/// Stores the change number after a write of the data set, which is locked and was at `of.change_no`. The write has written to
/// the tables of companies and of children too.
pub(super) fn set_change_no(conn: &mut Conn, of: &DataSet, change_no: i64) -> Result<(), Error> {
    let mut set = of.clone();
    set.advance(change_no, false);
    store_numbers(conn, of, &set)
}

/// Stores the change numbers of a data set that was `before`.
pub(super) fn store_numbers(conn: &mut Conn, before: &DataSet, set: &DataSet) -> Result<(), Error> {
    if (set.change_no, set.company_no) != (before.change_no, before.company_no) {
        diesel::update(data_set::table.find(set.integration_id))
            .set((
                data_set::change_no.eq(set.change_no),
                data_set::company_no.eq(set.company_no),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// The data sets whose tables of companies or of children lack records. There is one row an integration.
pub(super) fn lacking_entries(conn: &mut Conn) -> Result<Vec<IntegrationId>, Error> {
    Ok(data_set::table
        .filter(data_set::company_no.lt(data_set::change_no))
        .select(data_set::integration_id)
        .load(conn)?)
}

/// The last change number of each data set. There is one row an integration.
pub(super) fn heads(conn: &mut Conn) -> Result<Vec<(IntegrationId, i64)>, Error> {
    Ok(data_set::table
        .select((data_set::integration_id, data_set::change_no))
        .load(conn)?)
}
