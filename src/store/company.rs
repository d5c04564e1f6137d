//! Companies as a group sees them: those of its sources and those it tracks, each once and under one name.
//!
//! A list by name reads each source in the order (name, id) from an index, merges the sources, and shows each
//! company once, under its name in the oldest source that has it. So a page costs its length times the number
//! of sources.
//!
//! Tracking locks the group's row: two callers that track the same companies in different orders would
//! otherwise wait for each other, and a deleted group must not track anything.

use std::collections::{BTreeSet, HashMap};

use diesel::{prelude::*, sql_types};

use super::{
    Error, Store,
    conn::Conn,
    record::{self, Held},
    schema::tracked_company,
};
use crate::domain::{CompanyId, GroupId, IntegrationId, Micros};

mod count;
mod track;

pub use track::Track;

/// A company as a group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// Its id.
    pub company_id: CompanyId,
    /// Its name in the first source that holds it (several records there: the first by name and id), the group's own
    /// row last.
    pub name: String,
    /// What it is sorted by.
    pub name_key: String,
    /// The texts that may be the homepage, one a line, of the record that gives the name.
    pub homepage: Option<String>,
    /// The sources that hold it, in the order that was asked with.
    pub sources: Vec<IntegrationId>,
    /// Whether the group tracks it.
    pub tracked: bool,
}

/// Where a page of companies ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompanyKey {
    /// The last one's sort key.
    pub name_key: String,
    /// The last one's id.
    pub company_id: CompanyId,
}

impl Company {
    /// Where a page that ends with this company ended.
    pub fn key(&self) -> CompanyKey {
        CompanyKey {
            name_key: self.name_key.clone(),
            company_id: self.company_id,
        }
    }
}

#[derive(Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = tracked_company, treat_none_as_default_value = false)]
struct Tracked {
    group_id: GroupId,
    company_id: CompanyId,
    name: String,
    name_key: String,
    homepage: String,
    create_us: Micros,
    create_by: String,
}

impl Store {
    /// All Companies: those of the sources, which are in order of precedence, and the tracked ones, by name, after
    /// this key.
    pub async fn company_list_all(
        &self,
        group_id: &GroupId,
        sources: Vec<IntegrationId>,
        after: Option<CompanyKey>,
        limit: usize,
    ) -> Result<Vec<Company>, Error> {
        self.list_all(group_id, &sources, after, limit).await
    }

    /// Tracked Companies, by the name the group's own row has, after this key. That name is shown, too.
    pub async fn company_list_tracked(
        &self,
        group_id: &GroupId,
        sources: Vec<IntegrationId>,
        after: Option<CompanyKey>,
        limit: usize,
    ) -> Result<Vec<Company>, Error> {
        let group = group_id.clone();
        let keys = self
            .read(move |conn| tracked_keys(conn, &group, after.as_ref(), limit))
            .await?;
        let ids: Vec<CompanyId> = keys.iter().map(|k| k.company_id).collect();
        let mut views = self.tracked_views(group_id, &sources, &ids).await?;
        Ok(ids.iter().filter_map(|id| views.remove(id)).collect())
    }

    /// The group's own list, all of it.
    pub async fn company_tracked(&self, group_id: &GroupId) -> Result<Vec<(Track, String)>, Error> {
        let group_id = group_id.clone();
        self.read(move |conn| {
            let rows: Vec<Tracked> = tracked_company::table
                .filter(tracked_company::group_id.eq(&group_id))
                .select(Tracked::as_select())
                .load(conn)?;
            let of = |row: Tracked| {
                let track = Track {
                    company_id: row.company_id,
                    name: row.name,
                    homepage: row.homepage,
                };
                (track, row.name_key)
            };
            Ok(rows.into_iter().map(of).collect())
        })
        .await
    }

    /// Those of the companies that are tracked, under the names of the group's own rows.
    pub async fn company_get_tracked(
        &self,
        group_id: &GroupId,
        sources: Vec<IntegrationId>,
        company_ids: Vec<CompanyId>,
    ) -> Result<HashMap<CompanyId, Company>, Error> {
        self.tracked_views(group_id, &sources, &company_ids).await
    }

    /// One company, if a source or the group's own list holds it.
    pub async fn company_get(
        &self,
        group_id: &GroupId,
        sources: Vec<IntegrationId>,
        company_id: CompanyId,
    ) -> Result<Option<Company>, Error> {
        Ok(self
            .views(group_id, &sources, &[company_id])
            .await?
            .remove(&company_id))
    }

    /// Those of the companies that a source or the group's own list holds.
    pub async fn company_get_many(
        &self,
        group_id: &GroupId,
        sources: Vec<IntegrationId>,
        company_ids: Vec<CompanyId>,
    ) -> Result<HashMap<CompanyId, Company>, Error> {
        self.views(group_id, &sources, &company_ids).await
    }

    /// How many companies a group tracks.
    pub async fn company_count_tracked(&self, group_id: &GroupId) -> Result<i64, Error> {
        let group_id = group_id.clone();
        self.read(move |conn| {
            Ok(tracked_company::table
                .filter(tracked_company::group_id.eq(&group_id))
                .count()
                .get_result(conn)?)
        })
        .await
    }

    /// The company records of these companies in these sources.
    async fn held(&self, sources: &[IntegrationId], company_ids: &[CompanyId]) -> Result<Vec<Held>, Error> {
        let mut held = Vec::new();
        if company_ids.is_empty() {
            return Ok(held);
        }
        for (database, sources) in self.data_databases(sources).await? {
            let company_ids = company_ids.to_vec();
            held.extend(
                database
                    .read(move |conn| record::held(conn, &sources, &company_ids))
                    .await?,
            );
        }
        Ok(held)
    }

    /// These companies as the group sees them; those that nothing holds are not in it.
    async fn views(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        ids: &[CompanyId],
    ) -> Result<HashMap<CompanyId, Company>, Error> {
        let held = self.held(sources, ids).await?;
        Ok(views(sources, held, &self.tracked_rows(group_id, ids).await?))
    }

    /// These companies under the names of the group's own rows; those it does not track are not in it.
    async fn tracked_views(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        ids: &[CompanyId],
    ) -> Result<HashMap<CompanyId, Company>, Error> {
        let own = self.tracked_rows(group_id, ids).await?;
        let mut views = views(sources, self.held(sources, ids).await?, &own);
        Ok(own
            .into_iter()
            .filter_map(|own| {
                let view = views.remove(&own.company_id)?;
                let company = Company {
                    name: own.name,
                    name_key: own.name_key,
                    homepage: Some(own.homepage).filter(|h| !h.is_empty()).or(view.homepage),
                    ..view
                };
                Some((own.company_id, company))
            })
            .collect())
    }

    async fn tracked_rows(&self, group_id: &GroupId, ids: &[CompanyId]) -> Result<Vec<Tracked>, Error> {
        let (group_id, ids) = (group_id.clone(), ids.to_vec());
        self.read(move |conn| tracked_rows(conn, &group_id, &ids)).await
    }

    /// The next keys of each source and of the group's own list.
    async fn next_keys(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        after: Option<&CompanyKey>,
        limit: usize,
    ) -> Result<Vec<Vec<CompanyKey>>, Error> {
        let (group, from) = (group_id.clone(), after.cloned());
        let own = self
            .read(move |conn| tracked_keys(conn, &group, from.as_ref(), limit))
            .await?;
        let mut ranges = vec![own];
        for (database, sources) in self.data_databases(sources).await? {
            let from = after.cloned();
            ranges.extend(
                database
                    .read(move |conn| {
                        sources
                            .iter()
                            .map(|source| source_keys(conn, *source, from.as_ref(), limit))
                            .collect::<Result<Vec<_>, _>>()
                    })
                    .await?,
            );
        }
        Ok(ranges)
    }

    /// A merge of index ranges. An entry counts only where it is the one that names its company, so that each company
    /// comes once; that is looked up for a page's worth of entries at a time.
    async fn list_all(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        mut after: Option<CompanyKey>,
        limit: usize,
    ) -> Result<Vec<Company>, Error> {
        let mut page = Vec::with_capacity(limit);
        while page.len() < limit {
            // One more round costs more than a few entries more.
            let chunk = (limit - page.len()).max(32) + 8;
            let mut candidates = BTreeSet::new();
            // Beyond the end of a range that was cut, other entries of that source may come.
            let mut end: Option<CompanyKey> = None;
            for keys in self.next_keys(group_id, sources, after.as_ref(), chunk).await? {
                if keys.len() == chunk
                    && let Some(last) = keys.last()
                    && end.as_ref().is_none_or(|end| last < end)
                {
                    end = Some(last.clone());
                }
                candidates.extend(keys);
            }
            let reached = |key: &CompanyKey| end.as_ref().is_none_or(|end| key <= end);
            let keys: Vec<CompanyKey> = candidates.into_iter().take_while(reached).collect();
            // Not all at once: with many sources there are many times more than the page needs.
            for part in keys.chunks(chunk) {
                let ids: Vec<CompanyId> = part.iter().map(|k| k.company_id).collect();
                let mut views = self.views(group_id, sources, &ids).await?;
                for key in part {
                    if page.len() == limit {
                        break;
                    }
                    if views
                        .get(&key.company_id)
                        .is_some_and(|v| v.name_key == key.name_key)
                    {
                        page.extend(views.remove(&key.company_id));
                    }
                }
                if page.len() == limit {
                    break;
                }
            }
            match end {
                Some(end) => after = Some(end),
                None => break,
            }
        }
        Ok(page)
    }
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = sql_types::Text)]
    name_key: String,
    #[diesel(sql_type = sql_types::Text)]
    company_id: CompanyId,
}

impl From<KeyRow> for CompanyKey {
    fn from(row: KeyRow) -> Self {
        Self {
            name_key: row.name_key,
            company_id: row.company_id,
        }
    }
}

/// Every text is greater than the empty one, so this comes before all keys.
fn bounds(after: Option<&CompanyKey>) -> (&str, &str) {
    after.map_or(("", ""), |k| (k.name_key.as_str(), k.company_id.as_str()))
}

/// The next keys of one source, a range of its index.
fn source_keys(
    conn: &mut Conn,
    source: IntegrationId,
    after: Option<&CompanyKey>,
    limit: usize,
) -> Result<Vec<CompanyKey>, Error> {
    let (name_key, company_id) = bounds(after);
    let rows: Vec<KeyRow> = diesel::sql_query(
        "SELECT name_key, company_id FROM record WHERE integration_id = (SELECT $1) AND company_id IS NOT NULL \
         AND delete_us IS NULL AND (name_key, company_id) > ($2, $3) ORDER BY name_key, company_id LIMIT (SELECT $4)",
    )
    .bind::<sql_types::Text, _>(source)
    .bind::<sql_types::Text, _>(name_key)
    .bind::<sql_types::Text, _>(company_id)
    .bind::<sql_types::BigInt, _>(limit as i64)
    .load(conn)?;
    Ok(rows.into_iter().map(CompanyKey::from).collect())
}

/// The next keys of the group's own list.
fn tracked_keys(
    conn: &mut Conn,
    group_id: &GroupId,
    after: Option<&CompanyKey>,
    limit: usize,
) -> Result<Vec<CompanyKey>, Error> {
    let (name_key, company_id) = bounds(after);
    let rows: Vec<KeyRow> = diesel::sql_query(
        "SELECT name_key, company_id FROM tracked_company WHERE group_id = (SELECT $1) \
         AND (name_key, company_id) > ($2, $3) ORDER BY name_key, company_id LIMIT (SELECT $4)",
    )
    .bind::<sql_types::Text, _>(group_id.as_str())
    .bind::<sql_types::Text, _>(name_key)
    .bind::<sql_types::Text, _>(company_id)
    .bind::<sql_types::BigInt, _>(limit as i64)
    .load(conn)?;
    Ok(rows.into_iter().map(CompanyKey::from).collect())
}

fn tracked_rows(conn: &mut Conn, group_id: &GroupId, ids: &[CompanyId]) -> Result<Vec<Tracked>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    match conn {
        Conn::Sqlite(c) => Ok(tracked_company::table
            .filter(tracked_company::group_id.eq(group_id))
            .filter(tracked_company::company_id.eq_any(ids))
            .select(Tracked::as_select())
            .load(c)?),
        // Keys are looked up as in `record::postgres::read`.
        Conn::Postgres(c) => Ok(diesel::sql_query(
            "SELECT t.* FROM unnest($2::text[]) u (id) CROSS JOIN LATERAL (SELECT * FROM tracked_company \
             WHERE group_id = (SELECT $1) AND company_id = u.id COLLATE \"C\" LIMIT 1) t",
        )
        .bind::<sql_types::Text, _>(group_id)
        .bind::<sql_types::Array<sql_types::Text>, _>(ids)
        .load(c)?),
    }
}

/// These companies as the group sees them; those that nothing holds are not in it.
fn views(sources: &[IntegrationId], held: Vec<Held>, own: &[Tracked]) -> HashMap<CompanyId, Company> {
    let rank: HashMap<IntegrationId, usize> =
        sources.iter().enumerate().rev().map(|(i, s)| (*s, i)).collect();
    let mut held: Vec<(usize, Held)> = held
        .into_iter()
        .filter_map(|row| Some((*rank.get(&row.integration_id)?, row)))
        .collect();
    // By precedence, then by name and id within one source: the first of a company names it.
    held.sort_unstable_by(|(ra, a), (rb, b)| {
        (ra, &a.name_key, &a.external_id).cmp(&(rb, &b.name_key, &b.external_id))
    });
    let mut found: HashMap<CompanyId, Company> = HashMap::new();
    for (_, row) in held {
        let source = row.integration_id;
        let Some(company_id) = row.company_id else {
            continue;
        };
        let company = found.entry(company_id).or_insert_with(|| Company {
            company_id,
            name: row.name,
            name_key: row.name_key,
            homepage: row.homepage,
            sources: Vec::new(),
            tracked: false,
        });
        if company.sources.last() != Some(&source) {
            company.sources.push(source);
        }
    }
    for own in own {
        found
            .entry(own.company_id)
            .or_insert_with(|| Company {
                company_id: own.company_id,
                name: own.name.clone(),
                name_key: own.name_key.clone(),
                homepage: Some(own.homepage.clone()).filter(|h| !h.is_empty()),
                sources: Vec::new(),
                tracked: true,
            })
            .tracked = true;
    }
    found
}
