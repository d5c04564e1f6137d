//! The platform's own companies.
//!
//! They are indexed as those of an integration are: the feed of changes has them under [`IntegrationId::platform`], as company
//! records with nothing but a name and a homepage. Each has the number of its last change. A company whose platform id was
//! given to another one stays as a tombstone.

use diesel::{prelude::*, sql_types};

use super::{
    Error, Store, Tx,
    conn::{Conn, each, first_locked},
    schema::{meta, platform_company},
};
use crate::domain::{CompanyId, Micros};

/// The row of `meta` with the number of the last change.
const HEAD: &str = "platform companies";

/// A company as the platform knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformCompany {
    /// Its id.
    pub company_id: CompanyId,
    /// The platform's id of it.
    pub platform_id: String,
    /// Its name.
    pub name: String,
    /// Its homepage, or empty.
    pub homepage: String,
}

/// A row, live or a tombstone.
#[derive(Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = platform_company, treat_none_as_default_value = false)]
pub(super) struct Row {
    pub(super) company_id: CompanyId,
    pub(super) platform_id: String,
    pub(super) name: String,
    pub(super) homepage: String,
    pub(super) change_no: i64,
    pub(super) update_us: Micros,
    pub(super) delete_us: Option<Micros>,
}

impl Row {
    fn is(&self, company: &PlatformCompany) -> bool {
        let PlatformCompany {
            company_id,
            platform_id,
            name,
            homepage,
        } = company;
        (&self.company_id, &self.platform_id, &self.name, &self.homepage)
            == (company_id, platform_id, name, homepage)
    }
}

impl From<Row> for PlatformCompany {
    fn from(row: Row) -> Self {
        Self {
            company_id: row.company_id,
            platform_id: row.platform_id,
            name: row.name,
            homepage: row.homepage,
        }
    }
}

impl Tx<'_> {
    /// Stores companies; the same company and the same platform id are replaced, by later ones of the list too. Returns how
    /// many have changed.
    pub fn platform_upsert(&mut self, companies: &[PlatformCompany], now_us: Micros) -> Result<usize, Error> {
        upsert(self.conn, companies, now_us)
    }
}

impl Store {
    /// The number of the last change; 0 if the platform has no companies.
    pub async fn platform_head(&self) -> Result<i64, Error> {
        self.read(head).await
    }

    /// Those of the companies that the platform knows.
    pub async fn platform_get_many(&self, ids: Vec<CompanyId>) -> Result<Vec<PlatformCompany>, Error> {
        self.read(move |conn| of(conn, &ids)).await
    }
}

pub(super) fn head(conn: &mut Conn) -> Result<i64, Error> {
    number(meta::table.find(HEAD).select(meta::value).first(conn)?)
}

/// The companies that changed after this number, in the order of their changes, with tombstones.
pub(super) fn changes(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<Row>, Error> {
    Ok(platform_company::table
        .filter(platform_company::change_no.gt(after))
        .order(platform_company::change_no)
        .limit(limit)
        .select(Row::as_select())
        .load(conn)?)
}

/// Those of the companies that the platform knows.
pub(super) fn of(conn: &mut Conn, ids: &[CompanyId]) -> Result<Vec<PlatformCompany>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = match conn {
        Conn::Sqlite(c) => platform_company::table
            .filter(platform_company::company_id.eq_any(ids))
            .filter(platform_company::delete_us.is_null())
            .select(Row::as_select())
            .load(c)?,
        // Keys are looked up as in `record::postgres::read`.
        Conn::Postgres(c) => diesel::sql_query(
            "SELECT p.* FROM unnest($1::text[]) u (id) CROSS JOIN LATERAL (SELECT * FROM platform_company \
             WHERE company_id = u.id COLLATE \"C\" AND delete_us IS NULL LIMIT 1) p",
        )
        .bind::<sql_types::Array<sql_types::Text>, _>(ids)
        .load(c)?,
    };
    Ok(rows.into_iter().map(PlatformCompany::from).collect())
}

/// Companies after this one, by id.
pub(super) fn page(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Row>, Error> {
    Ok(platform_company::table
        .filter(platform_company::company_id.gt(after.to_owned()))
        .filter(platform_company::delete_us.is_null())
        .order(platform_company::company_id)
        .limit(limit)
        .select(Row::as_select())
        .load(conn)?)
}

/// Stores companies, as [`Tx::platform_upsert`].
pub(super) fn upsert(conn: &mut Conn, companies: &[PlatformCompany], now_us: Micros) -> Result<usize, Error> {
    let before = number(first_locked!(conn, meta::table.find(HEAD).select(meta::value))?)?;
    let (mut change_no, mut changed) = (before, 0);
    for company in companies {
        let same_id: Option<Row> = platform_company::table
            .filter(platform_company::platform_id.eq(&company.platform_id))
            .filter(platform_company::delete_us.is_null())
            .select(Row::as_select())
            .first(conn)
            .optional()?;
        match same_id {
            Some(row) if row.is(company) => continue,
            Some(row) if row.company_id != company.company_id => {
                change_no += 1;
                diesel::update(platform_company::table.find(row.company_id))
                    .set((
                        platform_company::change_no.eq(change_no),
                        platform_company::delete_us.eq(Some(now_us)),
                    ))
                    .execute(conn)?;
            }
            _ => {}
        }
        change_no += 1;
        changed += 1;
        put(conn, company, change_no, now_us)?;
    }
    if change_no > before {
        diesel::update(meta::table.find(HEAD))
            .set(meta::value.eq(change_no.to_string()))
            .execute(conn)?;
    }
    Ok(changed)
}

fn put(conn: &mut Conn, company: &PlatformCompany, change_no: i64, now_us: Micros) -> Result<(), Error> {
    let row = Row {
        company_id: company.company_id,
        platform_id: company.platform_id.clone(),
        name: company.name.clone(),
        homepage: company.homepage.clone(),
        change_no,
        update_us: now_us,
        delete_us: None,
    };
    each!(conn, c => diesel::insert_into(platform_company::table)
        .values(&row)
        .on_conflict(platform_company::company_id)
        .do_update()
        .set((
            platform_company::platform_id.eq(&row.platform_id),
            platform_company::name.eq(&row.name),
            platform_company::homepage.eq(&row.homepage),
            platform_company::change_no.eq(change_no),
            platform_company::update_us.eq(now_us),
            platform_company::delete_us.eq(None::<Micros>),
        ))
        .execute(c))?;
    Ok(())
}

fn number(text: String) -> Result<i64, Error> {
    text.parse()
        .map_err(|_| Error::Corrupt(format!("the meta row {HEAD:?} is no number")))
}
