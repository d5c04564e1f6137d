//! Changes of rows and links by the control routes.

use std::collections::BTreeMap;

use super::schema::Object;
use super::{Changed, Portal};
use crate::app::now_ms;

impl Portal {
    /// Records a change of a row and returns the state to modify.
    fn touch(&mut self, object: Object, row: u32, moves_stamp: bool) -> &mut Changed {
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
        if moves_stamp {
            change.updated_ms = Some(now);
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
        moves: bool,
    ) {
        self.touch(object, row, moves).fields.extend(fields);
    }

    pub(crate) fn archive(&mut self, object: Object, row: u32) {
        self.touch(object, row, true).archived_ms = Some(now_ms());
    }

    pub(crate) fn restore(&mut self, object: Object, row: u32) {
        let change = self.touch(object, row, true);
        (change.archived_ms, change.merged_into) = (None, None);
    }

    /// Permanently deleted: in no list.
    pub(crate) fn purge(&mut self, object: Object, row: u32) {
        let change = self.touch(object, row, true);
        (change.archived_ms, change.purged) = (Some(now_ms()), true);
    }

    /// Archives the loser and moves its links; its id resolves to the winner. With `mint` both are merged into a new
    /// row, as with companies, deals and tickets in HubSpot since 2025; returns the winner.
    pub(crate) fn merge(&mut self, object: Object, winner: u32, loser: u32, mint: bool) -> u32 {
        let (winner, losers) = if mint {
            let fields = self.properties[object.index()]
                .iter()
                .filter(|p| !matches!(p.maker.as_str(), "id" | "created" | "updated" | "merged"))
                .map(|p| (p.name.clone(), self.value(object, winner, p)))
                .collect();
            (self.create(object, fields), vec![winner, loser])
        } else {
            (winner, vec![loser])
        };
        for loser in losers {
            let inherited = self.losers(object, loser);
            let lost = self.touch(object, loser, true);
            (lost.archived_ms, lost.merged_into) = (Some(now_ms()), Some(winner));
            for row in &inherited {
                self.touch(object, *row, false).merged_into = Some(winner);
            }
            let won = self.touch(object, winner, true);
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

    /// Associates a contact, deal or ticket with a company. No time stamp changes: associations are not properties.
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
