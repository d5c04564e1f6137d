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
    /// Whether it changes the stamps of the rows that are deleted, restored or moved with a row.
    pub(crate) moves_children: bool,
}

impl Moment {
    pub(crate) fn at(at: i64) -> Moment {
        Moment {
            at,
            moves_stamp: true,
            moves_children: true,
        }
    }

    /// The same, for related rows.
    fn of_children(self) -> Moment {
        Moment {
            moves_stamp: self.moves_stamp && self.moves_children,
            ..self
        }
    }
}

impl Org {
    /// A new row, which nobody sees before it is filled: with the commit of its transaction.
    pub(crate) fn reserve(
        &mut self,
        table: usize,
        fields: &Map<String, Json>,
        moment: Moment,
    ) -> Result<Row, String> {
        self.check_fields(table, fields)?;
        let row = self.tables[table].append();
        let change = self.tables[table].change_mut(row);
        (change.stamp, change.created_at) = (Some(moment.at), Some(moment.at));
        change.purged = true;
        Ok(Row { table, row })
    }

    /// Makes a reserved row visible, with its fields.
    pub(crate) fn fill(&mut self, at: Row, fields: &Map<String, Json>, moment: Moment) -> Result<(), String> {
        self.tables[at.table].change_mut(at.row).purged = false;
        self.update(at, fields, moment)
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
        self.set_deleted(at, None, moment);
        if cascade && at.table == ACCOUNT {
            for child in self.related(at.row) {
                if self.tables[child.table].live(child.row) {
                    self.set_deleted(child, Some(at.row), moment.of_children());
                }
            }
        }
    }

    /// Restores a row from the recycle bin, with the related rows that were deleted with it. A merged row becomes an
    /// ordinary one, without the rows that it had.
    pub(crate) fn undelete(&mut self, at: Row, moment: Moment) {
        self.restore(at, moment);
        if at.table == ACCOUNT {
            for child in self.related(at.row) {
                let table = &self.tables[child.table];
                if table.deleted(child.row)
                    && table.change(child.row).and_then(|c| c.deleted_with) == Some(at.row)
                {
                    self.restore(child, moment.of_children());
                }
            }
        }
    }

    /// Deletes a row permanently: queryAll does not return it either.
    pub(crate) fn purge(&mut self, at: Row, moment: Moment) {
        let change = self.tables[at.table].change_mut(at.row);
        change.purged = true;
        change.deleted_at.get_or_insert(moment.at);
    }

    /// Empties the recycle bin of an object, or of all; with a time, only of the rows that were deleted before it.
    /// Returns the number of rows.
    pub(crate) fn empty_bin(&mut self, table: Option<usize>, before: Option<i64>) -> usize {
        let tables = table.map_or(0..self.tables.len(), |table| table..table + 1);
        let expired: Vec<Row> = tables
            .flat_map(|table| {
                let rows = &self.tables[table];
                rows.range()
                    .filter(|row| rows.exists(*row) && rows.deleted(*row))
                    .map(move |row| Row { table, row })
            })
            .filter(|at| before.is_none_or(|before| self.deleted_at(*at) < before))
            .collect();
        for at in &expired {
            self.tables[at.table].change_mut(at.row).purged = true;
        }
        expired.len()
    }

    /// The time when a row was deleted.
    pub(crate) fn deleted_at(&self, at: Row) -> i64 {
        let own = self.tables[at.table].change(at.row).and_then(|c| c.deleted_at);
        own.unwrap_or_else(|| match self.cell_named(at, "SystemModstamp") {
            Value::Instant(stamp) => stamp,
            _ => 0,
        })
    }

    /// Moves the loser to the recycle bin with a reference to the winner, and moves its related rows to the winner.
    pub(crate) fn merge(&mut self, winner: Row, loser: Row, moment: Moment) {
        self.set_deleted(loser, None, moment);
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
                self.touch(child, moment.of_children());
            }
        }
        self.touch(winner, moment);
    }

    fn set_deleted(&mut self, at: Row, with: Option<u32>, moment: Moment) {
        let change = self.tables[at.table].change_mut(at.row);
        change.deleted = Some(true);
        (change.deleted_at, change.deleted_with) = (Some(moment.at), with);
        self.touch(at, moment);
    }

    fn restore(&mut self, at: Row, moment: Moment) {
        let merged = !self.cell_named(at, "MasterRecordId").is_null();
        let change = self.tables[at.table].change_mut(at.row);
        change.deleted = Some(false);
        (change.deleted_at, change.deleted_with) = (None, None);
        if merged {
            change.values.insert("masterrecordid".to_owned(), Value::Null);
        }
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
