//! Long results, stored for their next page.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::app::UserKey;
use crate::ids;
use crate::soql::plan::Plan;

/// One open result.
#[derive(Clone)]
pub(crate) struct Cursor {
    pub(crate) id: String,
    pub(crate) owner: UserKey,
    /// The session that opened it: the cursor ends with the session.
    session: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) rows: Arc<Vec<u32>>,
    pub(crate) all: bool,
    pub(crate) batch: usize,
    /// The last page has been read.
    finished: bool,
    opened: i64,
}

/// A result can be read for two days.
const LASTS: i64 = 2 * 86_400;

/// A user may have ten open results; the eleventh replaces the first.
const OPEN: usize = 10;
/// Finished results are kept for a while, because a client may request a page again.
const FINISHED: usize = 10;

#[derive(Default)]
pub(crate) struct Cursors {
    list: VecDeque<Cursor>,
    opened: u32,
}

impl Cursors {
    /// Opens a cursor, or finds the one with these rows.
    pub(crate) fn open(
        &mut self,
        (owner, session): (UserKey, u64),
        plan: &Arc<Plan>,
        rows: &Arc<Vec<u32>>,
        all: bool,
        batch: usize,
        now: i64,
    ) -> String {
        if let Some(known) = self.list.iter().find(|c| Arc::ptr_eq(&c.rows, rows)) {
            return known.id.clone();
        }
        self.opened += 1;
        let id = ids::text("0r8", self.opened);
        let (plan, rows) = (plan.clone(), rows.clone());
        self.list.push_back(Cursor {
            id: id.clone(),
            owner,
            session,
            plan,
            rows,
            all,
            batch,
            finished: false,
            opened: now,
        });
        self.drop_oldest(owner, false, OPEN);
        self.drop_oldest(owner, true, FINISHED);
        id
    }

    fn drop_oldest(&mut self, owner: UserKey, finished: bool, keep: usize) {
        let same = |c: &Cursor| c.owner == owner && c.finished == finished;
        if self.list.iter().filter(|c| same(c)).count() > keep
            && let Some(oldest) = self.list.iter().position(same)
        {
            self.list.remove(oldest);
        }
    }

    pub(crate) fn find(&self, id: &str, (owner, session): (UserKey, u64), now: i64) -> Option<Cursor> {
        let asked = id.get(..15).unwrap_or("");
        self.list
            .iter()
            .filter(|c| c.owner == owner && c.session == session && now - c.opened <= LASTS)
            .find(|c| c.id[..15] == *asked)
            .cloned()
    }

    pub(crate) fn finish(&mut self, id: &str) {
        self.list
            .iter_mut()
            .filter(|c| c.id == id)
            .for_each(|c| c.finished = true);
    }

    /// Drops every open result, as a restart of an instance does.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }
}
