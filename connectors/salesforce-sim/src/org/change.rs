//! Changes of rows by the control routes.

use serde_json::{Map, Value as Json};

use super::make::Maker;
use super::{ACCOUNT, Org, Row};
use crate::value::{Value, from_json};

/// The time of a change, and whether it changes the row's stamp.
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
    /// Creates a row with these fields.
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

    /// Changes the stamp of a row. Without a stamp to set, a change record is created nevertheless.
    pub(crate) fn touch(&mut self, at: Row, moment: Moment) {
        let change = self.tables[at.table].change_mut(at.row);
        if moment.moves_stamp {
            change.stamp = Some(moment.at);
        }
    }

    /// Moves a row to the recycle bin, an account together with its related rows (Salesforce refuses while there are
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

    /// Restores a row from the recycle bin, with the related rows that were deleted at the same time.
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

    /// Deletes a row permanently: queryAll does not return it either.
    pub(crate) fn purge(&mut self, at: Row) {
        self.tables[at.table].change_mut(at.row).purged = true;
    }

    /// Moves the loser to the recycle bin with a reference to the winner, and moves its related rows to the winner.
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
