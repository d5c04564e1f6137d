//! Inserts of many rows that are texts alone.

use std::marker::PhantomData;

use diesel::{
    prelude::*,
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::Text,
    sqlite::Sqlite,
};

use crate::store::Error;

/// A table and its columns.
pub(super) trait Insert: 'static {
    /// The statement, up to the rows.
    const SQL: &'static str;
}

/// An insert of exactly `N` rows: one text, so one prepared statement.
struct Rows<'a, T, const COLUMNS: usize, const N: usize> {
    rows: &'a [[&'a str; COLUMNS]],
    table: PhantomData<T>,
}

impl<T: Insert, const COLUMNS: usize, const N: usize> QueryId for Rows<'_, T, COLUMNS, N> {
    type QueryId = Rows<'static, T, COLUMNS, N>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T: Insert, const COLUMNS: usize, const N: usize> RunQueryDsl<SqliteConnection>
    for Rows<'_, T, COLUMNS, N>
{
}

impl<T: Insert, const COLUMNS: usize, const N: usize> QueryFragment<Sqlite> for Rows<'_, T, COLUMNS, N> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(T::SQL);
        for (i, row) in self.rows.iter().enumerate() {
            out.push_sql(if i == 0 { "(" } else { ", (" });
            for (at, text) in row.iter().enumerate() {
                if at > 0 {
                    out.push_sql(", ");
                }
                out.push_bind_param::<Text, str>(text)?;
            }
            out.push_sql(")");
        }
        out.push_sql(" ON CONFLICT DO NOTHING");
        Ok(())
    }
}

/// Inserts rows; those that exist are left out.
pub(super) fn insert<T: Insert, const COLUMNS: usize>(
    c: &mut SqliteConnection,
    rows: &[[&str; COLUMNS]],
) -> Result<(), Error> {
    let table = PhantomData::<T>;
    let (many, rest) = rows.as_chunks::<64>();
    for rows in many {
        Rows::<T, COLUMNS, 64> { rows, table }.execute(c)?;
    }
    let (some, rest) = rest.as_chunks::<8>();
    for rows in some {
        Rows::<T, COLUMNS, 8> { rows, table }.execute(c)?;
    }
    for row in rest {
        let rows = std::slice::from_ref(row);
        Rows::<T, COLUMNS, 1> { rows, table }.execute(c)?;
    }
    Ok(())
}
