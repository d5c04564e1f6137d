//! The company records of each company (`company_record`), and the companies by name (`company_name`); and when these tables, and
//! SQLite's of the children of each record (`by_parent`), are written.
//!
//! As indexes of `record` and `record_link` these were nine tenths of the cost of a first load: ids of companies are hashes, and the
//! parents of related records come in any order, so that each commit of some thousand rows wrote most pages of the indexes again.
//! Here a first load leaves its entries for later, and a transaction adds those of some ten thousand records at once, sorted, so that
//! it writes each page once.
//!
//! - `data_set.company_no` is the change number up to which the tables have the records. It moves in the transaction that adds
//!   them. A crash at any moment loses nothing: the next chunk begins there again.
//! - An entry ends in the transaction that removes its record, or gives it another company, name or parent. So there is no entry
//!   that `record` or `record_link` lacks, and an entry can only be missing if its record's change number is after `company_no`.
//! - All writes but those of a first load add entries themselves: after each of them its records are found.
//! - The number of changes of a chunk grows with the tables, up to a bound: few chunks, in bounded memory.

use diesel::{RunQueryDsl as _, sql_query, sql_types};

use super::{
    apply::{Changes, Entries},
    by_parent, postgres, sqlite,
};
use crate::domain::{CompanyId, IntegrationId};
use crate::store::{
    Error, Store,
    conn::Conn,
    data_set::{self, DataSet},
};

/// The fewest changes that a first load leaves for later.
const FEWEST: i64 = 32_768;
/// The most changes whose entries are added at once: a sort of some 40 MB in this process, as SQLite does it; on PostgreSQL,
/// statements that end well within the time limit of statements.
const MOST_SQLITE: i64 = 262_144;
const MOST_POSTGRES: i64 = 131_072;

fn most(conn: &Conn) -> i64 {
    match conn {
        Conn::Sqlite(_) => MOST_SQLITE,
        Conn::Postgres(_) => MOST_POSTGRES,
    }
}

/// Whether so many changes were left for later that they are worth a chunk: as many as the tables have, within bounds. Half as
/// many would write a third more, and take more processor time, because more pages are written again.
pub(in crate::store) fn is_chunk(conn: &Conn, set: &DataSet) -> bool {
    let chunk = set.company_no.clamp(FEWEST, most(conn));
    set.change_no - set.company_no >= chunk
}

impl Store {
    /// Adds the entries that first loads have left for later to the tables of companies and of children, in chunks of a transaction
    /// each. Afterwards every record that was stored before the call is found by its company and by its parents.
    pub async fn company_fill(&self, integration_id: IntegrationId) -> Result<(), Error> {
        loop {
            let done = self.data_write_large(integration_id, move |conn| {
                Ok(match data_set::lock(conn, integration_id)? {
                    Some(set) => is_filled(&fill(conn, set)?),
                    None => true,
                })
            });
            match done.await {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                // Deleted meanwhile.
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// [`company_fill`](Self::company_fill) for all data sets: after a migration, and after a load that ended early. Databases
    /// that do not answer are left out.
    pub async fn company_fill_all(&self) -> Result<(), Error> {
        for database in self.data.all() {
            let lacking = match database.read(data_set::lacking_entries).await {
                Err(Error::Unavailable(_)) => continue,
                other => other?,
            };
            for id in lacking {
                self.company_fill(id).await?;
            }
        }
        Ok(())
    }
}

/// Whether nothing is left to add. Of a data set that is being deleted (`data_purge`), nothing is added.
pub(in crate::store) fn is_filled(set: &DataSet) -> bool {
    set.has_all_entries() || set.generation == i64::MAX
}

/// Whether children of records are left to add. On PostgreSQL none ever are.
pub(in crate::store) fn leaves_children(conn: &Conn, set: &DataSet) -> bool {
    matches!(conn, Conn::Sqlite(_)) && !is_filled(set)
}

/// Adds all that is left, for a transaction that looks for the children of records. That is a chunk at most: what earlier
/// versions left is added at the start. The head is locked.
pub(in crate::store) fn fill_children(conn: &mut Conn, mut set: DataSet) -> Result<DataSet, Error> {
    while leaves_children(conn, &set) {
        set = fill(conn, set)?;
    }
    Ok(set)
}

/// Adds one chunk. The head is locked.
pub(in crate::store) fn fill(conn: &mut Conn, set: DataSet) -> Result<DataSet, Error> {
    if is_filled(&set) {
        return Ok(set);
    }
    const BY_COMPANY: &str = "INTO company_record (integration_id, company_id, object, external_id) \
        SELECT integration_id, company_id, object, external_id FROM record WHERE integration_id = (SELECT $1) \
        AND change_no > $2 AND change_no <= $3 AND company_id IS NOT NULL AND delete_us IS NULL \
        ORDER BY company_id, object, external_id";
    const BY_NAME: &str = "INTO company_name (integration_id, name_key, company_id, object, external_id) \
        SELECT integration_id, name_key, company_id, object, external_id FROM record WHERE integration_id = (SELECT $1) \
        AND change_no > $2 AND change_no <= $3 AND company_id IS NOT NULL AND delete_us IS NULL \
        ORDER BY name_key, company_id, object, external_id";
    let through = set.change_no.min(set.company_no + most(conn));
    for sql in [BY_COMPANY, BY_NAME] {
        let sql = match conn {
            // For `ON CONFLICT` SQLite keeps a copy of each page that the statement changes, in memory.
            Conn::Sqlite(_) => format!("INSERT OR IGNORE {sql}"),
            Conn::Postgres(_) => format!("INSERT {sql} ON CONFLICT DO NOTHING"),
        };
        sql_query(sql)
            .bind::<sql_types::Text, _>(set.integration_id)
            .bind::<sql_types::BigInt, _>(set.company_no)
            .bind::<sql_types::BigInt, _>(through)
            .execute(conn)?;
    }
    by_parent::fill(conn, &set, through)?;
    let mut filled = set.clone();
    filled.company_no = through;
    data_set::store_numbers(conn, &set, &filled)?;
    Ok(filled)
}

/// Writes the entries that the changes of an object end, and those that they begin, if not later.
pub(super) fn write(
    conn: &mut Conn,
    integration_id: IntegrationId,
    object: &str,
    changes: &Changes<'_>,
    when: Entries,
) -> Result<(), Error> {
    let (ended, mut new) = (changes.ended_entries(), Vec::new());
    if when == Entries::Now {
        new = changes.new_entries();
    }
    match conn {
        Conn::Sqlite(c) => {
            sqlite::companies::remove(c, integration_id, object, &ended)?;
            sqlite::companies::add(c, integration_id, object, &new)
        }
        Conn::Postgres(c) => {
            postgres::companies::remove(c, integration_id, object, &ended)?;
            postgres::companies::add(c, integration_id, object, &new)
        }
    }
}

/// The company records after this one, by company: (company, object, id). The first one is after three empty texts.
pub(in crate::store) fn page(
    conn: &mut Conn,
    integration_id: IntegrationId,
    (company_id, object, external_id): (&str, &str, &str),
    limit: i64,
) -> Result<Vec<(CompanyId, String, String)>, Error> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = sql_types::Text)]
        company_id: CompanyId,
        #[diesel(sql_type = sql_types::Text)]
        object: String,
        #[diesel(sql_type = sql_types::Text)]
        external_id: String,
    }
    let rows: Vec<Row> = sql_query(
        "SELECT company_id, object, external_id FROM company_record WHERE integration_id = (SELECT $1) \
         AND (company_id, object, external_id) > ($2, $3, $4) ORDER BY company_id, object, external_id LIMIT (SELECT $5)",
    )
    .bind::<sql_types::Text, _>(integration_id)
    .bind::<sql_types::Text, _>(company_id)
    .bind::<sql_types::Text, _>(object)
    .bind::<sql_types::Text, _>(external_id)
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?;
    let key = |row: Row| (row.company_id, row.object, row.external_id);
    Ok(rows.into_iter().map(key).collect())
}
