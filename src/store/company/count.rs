//! How many companies a group has.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use diesel::{prelude::*, sql_types};

use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::store::{Error, Store, conn::Conn, data::Database, schema::tracked_company};

/// Companies that are looked up at once.
const IDS_AT_ONCE: usize = 1_000;
/// Ids of one source that are in memory when the companies of several databases are counted.
const ID_PAGE: i64 = 10_000;

impl Store {
    /// How many companies All Companies has. Reads an entry of each: only where someone asks for it.
    pub async fn company_count_all(
        &self,
        group_id: &GroupId,
        sources: Vec<IntegrationId>,
    ) -> Result<i64, Error> {
        let databases = self.data_databases(&sources).await?;
        let held = match databases.as_slice() {
            [(database, sources)] => {
                let sources = sources.clone();
                database.read(move |conn| count_held(conn, &sources)).await?
            }
            several => count_distinct(several).await?,
        };
        Ok(held + self.count_tracked_alone(group_id, &sources).await?)
    }

    /// How many companies a group tracks that no source holds.
    async fn count_tracked_alone(&self, group_id: &GroupId, sources: &[IntegrationId]) -> Result<i64, Error> {
        let (mut alone, mut after) = (0, String::new());
        loop {
            let group = group_id.clone();
            let from = after.clone();
            let ids: Vec<CompanyId> = self
                .read(move |conn| {
                    Ok(tracked_company::table
                        .filter(tracked_company::group_id.eq(&group))
                        .filter(tracked_company::company_id.gt(from))
                        .order(tracked_company::company_id)
                        .limit(IDS_AT_ONCE as i64)
                        .select(tracked_company::company_id)
                        .load(conn)?)
                })
                .await?;
            let Some(last) = ids.last() else { return Ok(alone) };
            last.as_str().clone_into(&mut after);
            let found = self.held(sources, &ids).await?;
            let found: HashSet<CompanyId> = found.into_iter().filter_map(|row| row.company_id).collect();
            alone += (ids.len() - found.len()) as i64;
            if ids.len() < IDS_AT_ONCE {
                return Ok(alone);
            }
        }
    }
}

/// How many companies sources of one database hold.
fn count_held(conn: &mut Conn, sources: &[IntegrationId]) -> Result<i64, Error> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = sql_types::BigInt)]
        n: i64,
    }
    const SQLITE: &str = "SELECT count(DISTINCT company_id) AS n FROM company_record WHERE integration_id IN \
        (SELECT value FROM json_each('[\"' || replace($1, ',', '\",\"') || '\"]'))";
    const POSTGRES: &str = "SELECT count(*) AS n FROM (SELECT DISTINCT r.company_id FROM \
        unnest(string_to_array($1, ',')) i (id) \
        CROSS JOIN LATERAL (SELECT company_id FROM company_record WHERE integration_id = i.id COLLATE \"C\" OFFSET 0) r) c";
    let sql = match conn {
        Conn::Sqlite(_) => SQLITE,
        Conn::Postgres(_) => POSTGRES,
    };
    // One bound text on both databases; ids hold no commas.
    let list: Vec<&str> = sources.iter().map(IntegrationId::as_str).collect();
    let count: Count = diesel::sql_query(sql)
        .bind::<sql_types::Text, _>(list.join(","))
        .get_result(conn)?;
    Ok(count.n)
}

/// How many companies sources of several databases hold: their ids are read in order, a page at a time, and merged.
async fn count_distinct(databases: &[(Arc<Database>, Vec<IntegrationId>)]) -> Result<i64, Error> {
    let mut pages: Vec<CompanyIds> = Vec::new();
    for (database, sources) in databases {
        let of = |source: &IntegrationId| CompanyIds::new(Arc::clone(database), *source);
        pages.extend(sources.iter().map(of));
    }
    let mut count = 0;
    loop {
        let mut least: Option<CompanyId> = None;
        for page in &mut pages {
            let first = page.first().await?;
            least = match (least, first) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        let Some(least) = least else { return Ok(count) };
        count += 1;
        for page in &mut pages {
            page.skip(least);
        }
    }
}

/// The companies of one source, by id.
struct CompanyIds {
    database: Arc<Database>,
    source: IntegrationId,
    /// Read and not yet skipped; the last one read.
    ids: VecDeque<CompanyId>,
    after: Option<CompanyId>,
    is_last: bool,
}

impl CompanyIds {
    fn new(database: Arc<Database>, source: IntegrationId) -> Self {
        Self {
            database,
            source,
            ids: VecDeque::new(),
            after: None,
            is_last: false,
        }
    }

    async fn first(&mut self) -> Result<Option<CompanyId>, Error> {
        if self.ids.is_empty() && !self.is_last {
            let (source, after) = (self.source, self.after);
            let ids = self
                .database
                .read(move |conn| source_ids(conn, source, after, ID_PAGE))
                .await?;
            self.is_last = (ids.len() as i64) < ID_PAGE;
            self.after = ids.last().copied().or(self.after);
            self.ids = ids.into();
            self.ids.make_contiguous().sort_unstable();
        }
        Ok(self.ids.front().copied())
    }

    fn skip(&mut self, id: CompanyId) {
        while self.ids.front() == Some(&id) {
            self.ids.pop_front();
        }
    }
}

/// The next companies of one source, each once, a range of its index.
fn source_ids(
    conn: &mut Conn,
    source: IntegrationId,
    after: Option<CompanyId>,
    limit: i64,
) -> Result<Vec<CompanyId>, Error> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = sql_types::Text)]
        company_id: CompanyId,
    }
    let ids: Vec<Id> = diesel::sql_query(
        "SELECT DISTINCT company_id FROM company_record WHERE integration_id = (SELECT $1) AND company_id > $2 \
         ORDER BY company_id LIMIT (SELECT $3)",
    )
    .bind::<sql_types::Text, _>(source)
    .bind::<sql_types::Text, _>(after.map(|id| id.as_str().to_owned()).unwrap_or_default())
    .bind::<sql_types::BigInt, _>(limit)
    .load(conn)?;
    Ok(ids.into_iter().map(|row| row.company_id).collect())
}
