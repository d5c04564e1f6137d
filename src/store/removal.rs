//! The removal of rows that a listing lacks. They stay marked (`removal_marks`) until their object was listed completely
//! and the listing can be trusted.
//!
//! A commit marks the rows that its range lacks and removes nothing. After the connector has reported that the object
//! was read completely, [`Store::sync_settle`] counts the marks of the sync and decides: few rows are removed; many are held back
//! until a person confirms them or a second listing lacks the same rows. The same *rows* must be missing, not the same number: two
//! replies that are wrong in different ways confirm nothing.
//!
//! A full read must find what is gone, but marking every row that was seen would rewrite every unchanged row.
//! So a batch says which range of ids it lists completely. A stored row of that range which the batch lacks,
//! and which no later read has confirmed, gets a mark; a row that is read afterwards loses its mark. Marks
//! are rows, so they survive crashes and need no memory, and how many there are is known when the sync ends.
//! A mark remembers when the first complete listing lacked its row: a later sync that marks it again an hour
//! or more afterwards, or a person who confirms what was marked by then, lets it go.
//!
//! - Tombstones of the CRM take effect at once and do not count: they are the CRM's word about one record.
//!   The limit is for what is concluded from silence.
//! - The limit's share is of the rows that were known before the sync. Otherwise a load of new rows (every id
//!   in another form) would make a removal look small.

use diesel::prelude::*;

use super::{
    Counters, Error, Store, Sync,
    conn::Conn,
    data_set::{self, DataSet},
    record,
    removal_marks::{Mark, delete, is_marked_by, marks_after, set_first},
    schema::{data_object, removal},
    sync::{self, News, SyncReport},
};
use crate::domain::{IntegrationId, Micros, SyncId};

/// How much may go without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovalGuard {
    /// Up to so many rows of an object go at once.
    pub rows: i64,
    /// So do more, up to this share of the object's rows; 100 holds nothing back.
    pub percent: i64,
    /// A second listing that lacks the same rows confirms that they are gone, if it began so long after the first ended.
    pub again_us: Micros,
}

impl RemovalGuard {
    /// Whether the removal of so many of so many rows is held back.
    fn holds(&self, rows: i64, of: i64) -> bool {
        // At 100 % nothing is held back, whatever the sync itself added before.
        self.percent < 100 && rows > self.rows && rows.saturating_mul(100) > of.saturating_mul(self.percent)
    }
}

/// A question about one object of a sync: may what its listing lacks go?
#[derive(Debug, Clone)]
pub struct Settle {
    /// Which sync.
    pub sync_id: SyncId,
    /// The fence it was taken with.
    pub fence: i64,
    /// The object, which was read whole.
    pub object: String,
    /// The rule.
    pub guard: RemovalGuard,
    /// Most rows of one call.
    pub limit: i64,
    /// How far the call before came; `None` begins.
    pub settling: Option<Settling>,
    /// Now.
    pub now_us: Micros,
}

/// The progress of settling one object, for consecutive calls of one worker. Another worker starts again with the same result:
/// rows that were removed meanwhile count neither as missing nor as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// `None` as long as marks of other syncs are removed.
    decision: Option<Decision>,
    /// Marks up to this id are processed; the next call continues after it.
    through: String,
}

/// The decision about the rows that a listing lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decision {
    /// Only confirmed rows are removed.
    hold: bool,
    /// What was lacking in a whole listing by then is confirmed.
    confirmed_us: Micros,
    /// How many rows are lacking and not confirmed.
    alone: i64,
}

/// The result of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Rows removed by this call.
    pub removed: i64,
    /// Rows that are held back; set by the last call.
    pub held: i64,
    /// Set if there is more to do: pass it to the next call.
    pub more: Option<Settling>,
}

impl Store {
    /// Whether a listing of this sync lacked records of an object.
    pub async fn sync_has_marks(&self, of: &Sync, object: &str) -> Result<bool, Error> {
        let (id, sync_id, object) = (of.integration_id, of.id, object.to_owned());
        self.data_read(id, move |conn| is_marked_by(conn, id, &object, sync_id))
            .await
    }

    /// Decides about the rows that the listing of an object lacks, and removes them or holds them back. A call processes at
    /// most `limit` marks, except that one call counts all of them. A crash in between is harmless: the next worker starts again.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] as for a commit.
    pub async fn sync_settle(&self, settle: Settle) -> Result<Settled, Error> {
        let held = (settle.sync_id, settle.fence);
        let sync = self.sync_held(held).await?;
        let integration_id = sync.integration_id;
        let done = self
            .data_write_large(integration_id, move |conn| run(conn, &sync, &settle))
            .await?;
        // Nothing is written after a cancel request; the worker learns of it by its heartbeat.
        let Some((settled, stored)) = done else {
            return Ok(Settled::default());
        };
        self.sync_report(held, stored, News::All).await?;
        Ok(settled)
    }
}

/// Settles in the data set; `None` after a cancel request.
fn run(conn: &mut Conn, sync: &Sync, settle: &Settle) -> Result<Option<(Settled, SyncReport)>, Error> {
    let held = (sync.id, settle.fence, sync.generation);
    let of = data_set::lock_held(conn, sync.integration_id, held)?;
    if of.stop_fence >= settle.fence {
        return Ok(None);
    }
    let settled = step(conn, &of, sync, settle)?;
    let now = data_set::lock_held(conn, sync.integration_id, held)?;
    Ok(Some((settled, SyncReport::of(conn, &now)?)))
}

fn step(conn: &mut Conn, of: &DataSet, sync: &Sync, settle: &Settle) -> Result<Settled, Error> {
    let id = of.integration_id;
    let object = settle.object.as_str();
    let (decision, after) = match &settle.settling {
        Some(settling) => (settling.decision, settling.through.as_str()),
        None => (None, ""),
    };
    let marks = marks_after(conn, id, object, after, settle.limit)?;
    let through = match marks.last() {
        Some(last) if marks.len() as i64 >= settle.limit => Some(last.external_id.clone()),
        _ => None,
    };
    let go_on = |decision, through| Settled {
        more: Some(Settling { decision, through }),
        ..Settled::default()
    };
    let Some(decision) = decision else {
        drop_stale(conn, sync, object, &marks)?;
        if let Some(through) = through {
            return Ok(go_on(None, through));
        }
        return Ok(match decide(conn, sync, settle)? {
            Some(decision) => go_on(Some(decision), String::new()),
            None => Settled::default(),
        });
    };
    let goes = |mark: &Mark| {
        !decision.hold
            || mark
                .first_us
                .is_some_and(|first_us| first_us <= decision.confirmed_us)
    };
    let (take, keep): (Vec<&Mark>, Vec<&Mark>) = marks.iter().partition(|mark| goes(mark));
    let mut removed = 0;
    if !take.is_empty() {
        let lacking: Vec<(String, Micros, i64)> = take
            .iter()
            .map(|mark| (mark.external_id.clone(), mark.read_us, mark.read_clock))
            .collect();
        let mut change_no = of.change_no;
        removed = record::remove(conn, id, object, &mut change_no, &lacking, settle.now_us)?;
        let ids: Vec<&str> = take.iter().map(|mark| mark.external_id.as_str()).collect();
        delete(conn, id, object, &ids)?;
        data_set::set_change_no(conn, of, change_no)?;
        let counters = Counters {
            removed,
            ..Counters::default()
        };
        sync::object_count(conn, id, object, &counters)?;
    }
    let first: Vec<&str> = keep
        .iter()
        .filter(|mark| mark.first_us.is_none())
        .map(|mark| mark.external_id.as_str())
        .collect();
    if !first.is_empty() {
        set_first(conn, id, object, &first, settle.now_us)?;
    }
    let end = match through {
        Some(through) => go_on(Some(decision), through),
        None => conclude(conn, id, settle, decision)?,
    };
    Ok(Settled { removed, ..end })
}

/// Deletes stale marks: those of earlier syncs, whose rows this listing has, and those of an earlier generation, whose account
/// could not see the rows.
fn drop_stale(conn: &mut Conn, sync: &Sync, object: &str, marks: &[Mark]) -> Result<(), Error> {
    let stale: Vec<&str> = marks
        .iter()
        .filter(|mark| mark.sync_id != sync.id || mark.generation != sync.generation)
        .map(|mark| mark.external_id.as_str())
        .collect();
    match stale.is_empty() {
        true => Ok(()),
        false => delete(conn, sync.integration_id, object, &stale),
    }
}

/// Decides about the rows that the listing lacks; `None` if it lacks none. All remaining marks of the object are from this sync.
fn decide(conn: &mut Conn, sync: &Sync, settle: &Settle) -> Result<Option<Decision>, Error> {
    let id = sync.integration_id;
    let object = settle.object.as_str();
    // An earlier worker of this sync may have held rows back that were listed again since.
    let earlier = data_object::table
        .find((id, object))
        .filter(data_object::held.gt(0));
    diesel::update(earlier)
        .set((
            data_object::held.eq(0),
            data_object::error_reason.eq(""),
            data_object::error_message.eq(""),
        ))
        .execute(conn)?;
    let marked = || {
        removal::table
            .filter(removal::integration_id.eq(id))
            .filter(removal::object.eq(object))
    };
    let lacking: i64 = marked().count().get_result(conn)?;
    if lacking == 0 {
        return Ok(None);
    }
    // Confirmed by a person, who saw the missing rows at the end of an earlier sync, or by an earlier listing.
    let listed_before = sync.start_us.unwrap_or(sync.create_us) - settle.guard.again_us;
    let confirmed_us = listed_before.max(sync.confirm_us.unwrap_or(i64::MIN));
    let confirmed: i64 = marked()
        .filter(removal::first_us.le(confirmed_us))
        .count()
        .get_result(conn)?;
    let alone = lacking - confirmed;
    let hold = alone > settle.guard.rows && {
        let added: Option<i64> = data_object::table
            .find((id, object))
            .select(data_object::added)
            .first(conn)
            .optional()?;
        // As many as there were before this sync, those left out that are known to be gone.
        let known = record::count_live(conn, id, object)? - added.unwrap_or_default() - confirmed;
        settle.guard.holds(alone, known.max(0))
    };
    Ok(Some(Decision {
        hold,
        confirmed_us,
        alone,
    }))
}

/// Ends the settling after all marks were processed.
fn conclude(
    conn: &mut Conn,
    id: IntegrationId,
    settle: &Settle,
    decision: Decision,
) -> Result<Settled, Error> {
    let Decision { hold, alone, .. } = decision;
    if !hold {
        return Ok(Settled::default());
    }
    let object = settle.object.as_str();
    diesel::update(data_object::table.find((id, object)))
        .set((
            data_object::held.eq(alone),
            data_object::error_reason.eq("REMOVAL_HELD_BACK"),
            data_object::error_message.eq(format!(
                "the CRM's listing of {object} lacks {alone} records that are known, so many that none of them was \
                 removed: look at them in the CRM; if they are gone there, SyncIntegration with \
                 confirm_removals_of, or a later sync that finds the same, removes them"
            )),
        ))
        .execute(conn)?;
    Ok(Settled {
        held: alone,
        ..Settled::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_have_to_be_passed() {
        let guard = RemovalGuard {
            rows: 100,
            percent: 20,
            again_us: 0,
        };
        for (rows, of, held) in [
            (100, 100, false),
            (101, 101, true),
            (101, 505, false),
            (101, 504, true),
            (4_884, 4_884, true),
            (1_000_000, 5_000_000, false),
            (i64::MAX, i64::MAX, false),
        ] {
            assert_eq!(guard.holds(rows, of), held, "{rows} of {of}");
        }
        let off = RemovalGuard {
            percent: 100,
            ..guard
        };
        assert!(!off.holds(5_000, 5_000));
    }
}
