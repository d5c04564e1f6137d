//! What the control plane does to rows.

use serde_json::{Map, Value as Json};

use super::make::Maker;
use super::{ACCOUNT, Org, Row};
use crate::value::{Value, from_json};

/// When a change happened, and whether it shows in the row's stamp.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: i64,
    pub(crate) moves_stamp: bool,
}

impl Moment {
    pub(crate) fn at(at: i64) -> Moment {
        Moment {
            at,
            moves_stamp: true,
        }
    }
}

impl Org {
    /// A new row with these fields.
    pub(crate) fn create(
        &mut self,
        table: usize,
        fields: &Map<String, Json>,
        moment: Moment,
    ) -> Result<Row, String> {
        self.check_fields(table, fields)?;
        let row = self.tables[table].append();
        let at = Row { table, row };
        self.tables[table].change_mut(row).stamp = Some(moment.at);
        self.update(at, fields, moment)?;
        Ok(at)
    }

    /// Sets fields of a row.
    pub(crate) fn update(
        &mut self,
        at: Row,
        fields: &Map<String, Json>,
        moment: Moment,
    ) -> Result<(), String> {
        self.check_fields(at.table, fields)?;
        for (name, json) in fields {
            let Some(field) = self.schema.objects[at.table].field(name) else {
                continue;
            };
            let (key, kind) = (field.key.clone(), field.kind);
            let is_account = field.maker == Maker::Account;
            let mut value = from_json(kind, json);
            if let (true, Value::Text(id)) = (field.reference(), &value)
                && let Some(to) = self.locate(id)
            {
                value = Value::Id(self.schema.objects[to.table].prefix, to.row);
            }
            if is_account {
                let from = self.account_row(at);
                let to = if let Value::Id("001", row) = value {
                    Some(row)
                } else {
                    None
                };
                self.tables[at.table].move_to(at.row, from, to);
            }
            self.tables[at.table].change_mut(at.row).values.insert(key, value);
        }
        self.touch(at, moment);
        Ok(())
    }

    fn check_fields(&self, table: usize, fields: &Map<String, Json>) -> Result<(), String> {
        let object = &self.schema.objects[table];
        match fields.keys().find(|name| object.field(name).is_none()) {
            Some(name) => Err(format!("{} has no field {name}", object.name)),
            None => Ok(()),
        }
    }

    fn account_row(&self, at: Row) -> Option<u32> {
        let field = self.account_field(at.table)?;
        match self.cell(at, field) {
            Value::Id("001", row) => Some(row),
            _ => None,
        }
    }

    /// Moves the stamp of a row. A change record without a stamp would hide nothing, so it is made in any case.
    pub(crate) fn touch(&mut self, at: Row, moment: Moment) {
        let change = self.tables[at.table].change_mut(at.row);
        if moment.moves_stamp {
            change.stamp = Some(moment.at);
        }
    }

    /// Into the recycle bin. An account takes its related rows along (Salesforce refuses while there are
    /// contracts or cases; a test would have to delete those first, one by one).
    pub(crate) fn delete(&mut self, at: Row, cascade: bool, moment: Moment) {
        self.set_deleted(at, true, moment);
        if cascade && at.table == ACCOUNT {
            for child in self.related(at.row) {
                if self.tables[child.table].live(child.row) {
                    self.set_deleted(child, true, moment);
                }
            }
        }
    }

    /// Out of the recycle bin, with the related rows that went in at the same moment.
    pub(crate) fn undelete(&mut self, at: Row, moment: Moment) {
        let went = self.tables[at.table].change(at.row).and_then(|c| c.stamp);
        self.set_deleted(at, false, moment);
        if at.table == ACCOUNT && went.is_some() {
            for child in self.related(at.row) {
                let table = &self.tables[child.table];
                if table.deleted(child.row) && table.change(child.row).and_then(|c| c.stamp) == went {
                    self.set_deleted(child, false, moment);
                }
            }
        }
    }

    /// Gone for good: not even queryAll knows it.
    pub(crate) fn purge(&mut self, at: Row) {
        self.tables[at.table].change_mut(at.row).purged = true;
    }

    /// The loser goes to the bin and points at the winner; what hung under it hangs under the winner.
    pub(crate) fn merge(&mut self, winner: Row, loser: Row, moment: Moment) {
        self.set_deleted(loser, true, moment);
        let prefix = self.schema.objects[winner.table].prefix;
        let change = self.tables[loser.table].change_mut(loser.row);
        change
            .values
            .insert("masterrecordid".to_owned(), Value::Id(prefix, winner.row));
        if winner.table == ACCOUNT {
            for child in self.related(loser.row) {
                let table = &mut self.tables[child.table];
                table.move_to(child.row, Some(loser.row), Some(winner.row));
                let change = table.change_mut(child.row);
                change
                    .values
                    .insert("accountid".to_owned(), Value::Id("001", winner.row));
                self.touch(child, moment);
            }
        }
        self.touch(winner, moment);
    }

    fn set_deleted(&mut self, at: Row, deleted: bool, moment: Moment) {
        self.tables[at.table].change_mut(at.row).deleted = Some(deleted);
        self.touch(at, moment);
    }

    /// Every related row of an account.
    fn related(&self, account: u32) -> Vec<Row> {
        (1..self.tables.len())
            .flat_map(|table| {
                self.rows_of_account(table, account)
                    .into_iter()
                    .map(move |row| Row { table, row })
            })
            .collect()
    }
}
