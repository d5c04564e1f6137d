//! Changes of rows and links by the control routes.

use std::collections::BTreeMap;

use super::schema::{OBJECTS, Object};
use super::{Changed, Portal};
use crate::app::now_ms;

impl Portal {
    /// Records a change of a row, with this time of change (None: that of the row stays), and returns the state to modify. The
    /// search index follows the time at which the change is made, whatever the row's own says.
    fn touch(&mut self, object: Object, row: u32, stamp: Option<i64>) -> &mut Changed {
        let archived_ms = self.archived_ms(object, row);
        let merged_into = self.merged_into(object, row);
        let now = now_ms();
        let known = self.changed.contains_key(&(object, row));
        let change = self.changed.entry((object, row)).or_default();
        let before = known.then(|| Box::new(change.clone()));
        change.before = before;
        change.at_ms = now;
        change.archived_ms = archived_ms;
        change.merged_into = merged_into;
        if stamp.is_some() {
            change.updated_ms = stamp;
        }
        change
    }

    pub(crate) fn create(&mut self, object: Object, fields: BTreeMap<String, Option<String>>) -> u32 {
        let row = self.rows[object.index()];
        self.rows[object.index()] += 1;
        let change = Changed {
            fields,
            made: true,
            at_ms: now_ms(),
            updated_ms: Some(now_ms()),
            ..Changed::default()
        };
        self.changed.insert((object, row), change);
        row
    }

    pub(crate) fn update(
        &mut self,
        object: Object,
        row: u32,
        fields: BTreeMap<String, Option<String>>,
        stamp: Option<i64>,
    ) {
        self.touch(object, row, stamp).fields.extend(fields);
    }

    pub(crate) fn archive(&mut self, object: Object, row: u32, at_ms: i64) {
        self.touch(object, row, Some(at_ms)).archived_ms = Some(at_ms);
    }

    /// Its links come back with it. (Whether HubSpot restores all of them, and moves the time of change, is not documented.)
    pub(crate) fn restore(&mut self, object: Object, row: u32) {
        let change = self.touch(object, row, Some(now_ms()));
        (change.archived_ms, change.merged_into) = (None, None);
    }

    /// Permanently deleted: in no list.
    pub(crate) fn purge(&mut self, object: Object, row: u32) {
        let now = now_ms();
        let change = self.touch(object, row, Some(now));
        (change.archived_ms, change.purged) = (Some(now), true);
    }

    /// Deletes the rows permanently that were archived before a time, as HubSpot does after 90 days. Returns their number.
    pub(crate) fn expire(&mut self, before_ms: i64) -> usize {
        let mut expired = Vec::new();
        for object in OBJECTS {
            let old = |row: &u32| {
                let archived = self.archived_ms(object, *row);
                self.is_archived(object, *row) && archived.is_some_and(|at| at < before_ms)
            };
            expired.extend(self.rows(object).filter(old).map(|row| (object, row)));
        }
        for (object, row) in &expired {
            self.purge(*object, *row);
        }
        expired.len()
    }

    /// Archives the loser and moves its links; its id resolves to the winner. With `mint` both are merged into a new
    /// row, as with companies, deals and tickets in HubSpot since 2025; returns the winner.
    pub(crate) fn merge(&mut self, object: Object, winner: u32, loser: u32, mint: bool) -> u32 {
        let (winner, losers) = if mint {
            let fields = self.properties[object.index()]
                .iter()
                .filter(|p| !matches!(p.maker.as_str(), "id" | "created" | "updated" | "merged" | "vids"))
                .map(|p| (p.name.clone(), self.value(object, winner, p)))
                .collect();
            (self.create(object, fields), vec![winner, loser])
        } else {
            (winner, vec![loser])
        };
        for loser in losers {
            let inherited = self.losers(object, loser);
            let now = now_ms();
            let lost = self.touch(object, loser, Some(now));
            (lost.archived_ms, lost.merged_into) = (Some(now), Some(winner));
            for row in &inherited {
                self.touch(object, *row, None).merged_into = Some(winner);
            }
            let won = self.touch(object, winner, Some(now));
            won.losers.push(loser);
            won.losers.extend(inherited);
            self.move_links(object, loser, winner);
        }
        winner
    }

    fn move_links(&mut self, object: Object, from: u32, to: u32) {
        if object == Object::Companies {
            for child in [Object::Contacts, Object::Deals, Object::Tickets] {
                for row in self.back.get(&(child, from)).cloned().unwrap_or_default() {
                    self.unlink(child, row, from);
                    self.link(child, row, to);
                }
            }
        } else {
            for company in self.links.get(&(object, from)).cloned().unwrap_or_default() {
                self.unlink(object, from, company);
                self.link(object, to, company);
            }
        }
    }

    /// Moves the time of change of a row, and nothing else.
    pub(crate) fn stamp(&mut self, object: Object, row: u32) {
        self.touch(object, row, Some(now_ms()));
    }

    /// Associates a contact, deal or ticket with a company. No time stamp changes: associations are not properties. (Not
    /// documented; other people's reports say so.)
    pub(crate) fn link(&mut self, object: Object, row: u32, company: u32) {
        self.links.entry((object, row)).or_default().insert(company);
        self.back.entry((object, company)).or_default().insert(row);
    }

    pub(crate) fn unlink(&mut self, object: Object, row: u32, company: u32) {
        if let Some(companies) = self.links.get_mut(&(object, row)) {
            companies.remove(&company);
        }
        if let Some(rows) = self.back.get_mut(&(object, company)) {
            rows.remove(&row);
        }
    }
}
