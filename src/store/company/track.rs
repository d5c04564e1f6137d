//! The companies that a group tracks: its own list.

use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, Text},
};

use super::Tracked;
use crate::domain::{CompanyId, GroupId, Micros, name_key};
use crate::store::{
    Error, Tx,
    conn::{Conn, each},
    schema::tracked_company,
    source,
};

/// A company to be tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Its id.
    pub company_id: CompanyId,
    /// The name the group gives it.
    pub name: String,
    /// Its homepage, or empty.
    pub homepage: String,
}

impl Tx<'_> {
    /// Tracks companies, or gives tracked ones another name and homepage.
    pub fn company_track(
        &mut self,
        group_id: &GroupId,
        companies: Vec<Track>,
        by: &str,
        now_us: Micros,
    ) -> Result<(), Error> {
        let conn = &mut *self.conn;
        // Two that track the same companies in another order would wait for each other.
        source::lock_group(conn, group_id)?;
        for company in companies {
            let row = Tracked {
                group_id: group_id.clone(),
                company_id: company.company_id,
                name_key: name_key(&company.name),
                name: company.name,
                homepage: company.homepage,
                create_us: now_us,
                create_by: by.to_owned(),
            };
            each!(conn, c => diesel::insert_into(tracked_company::table)
                .values(&row)
                .on_conflict((tracked_company::group_id, tracked_company::company_id))
                .do_update()
                .set((
                    tracked_company::name.eq(&row.name),
                    tracked_company::name_key.eq(&row.name_key),
                    tracked_company::homepage.eq(&row.homepage),
                ))
                .execute(c))?;
        }
        Ok(())
    }

    /// Ends the tracking of companies; returns how many were tracked.
    pub fn company_untrack(&mut self, group_id: &GroupId, company_ids: &[CompanyId]) -> Result<usize, Error> {
        let conn = &mut *self.conn;
        match source::lock_group(conn, group_id) {
            Err(error) if error.is_not_found() => return Ok(0),
            other => other?,
        }
        match conn {
            Conn::Sqlite(c) => {
                let rows = tracked_company::table
                    .filter(tracked_company::group_id.eq(group_id))
                    .filter(tracked_company::company_id.eq_any(company_ids));
                Ok(diesel::delete(rows).execute(c)?)
            }
            // Keys are looked up as in `record::postgres::read`.
            Conn::Postgres(c) => Ok(sql_query(
                "DELETE FROM tracked_company t USING unnest($2::text[]) u (id) \
                 CROSS JOIN LATERAL (SELECT company_id FROM tracked_company WHERE group_id = (SELECT $1) \
                 AND company_id = u.id COLLATE \"C\" LIMIT 1) s \
                 WHERE t.group_id = (SELECT $1) AND t.company_id = s.company_id",
            )
            .bind::<Text, _>(group_id)
            .bind::<Array<Text>, _>(company_ids)
            .execute(c)?),
        }
    }
}
