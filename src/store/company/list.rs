//! Lists of companies by name: a merge of index ranges, one of each source and one of the group's own list.
//!
//! Where all sources are in the database of control, one snapshot answers; else each database is asked for its part.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use diesel::{prelude::*, sql_types};

use super::view::{self, Place, tracked_rows, tracked_views, views};
use super::{Company, CompanyKey};
use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::store::{Error, Store, conn::Conn, data::Database, record};

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
        let merge = Merge::new(sources, after, limit);
        match self.place(&merge.sources).await? {
            Place::Control(held) => {
                let group = group_id.clone();
                self.snapshot(move |conn| list_all(conn, &group, &held, merge))
                    .await
            }
            Place::Several(databases) => self.list_several(group_id, &databases, merge).await,
        }
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
        let place = self.place(&sources).await?;
        let here = match &place {
            Place::Control(here) => here.clone(),
            Place::Several(_) => Vec::new(),
        };
        let (ids, mut held, own) = self
            .snapshot(move |conn| {
                let keys = tracked_keys(conn, &group, after.as_ref(), limit)?;
                let ids = ids(&keys);
                let held = record::held(conn, &here, &ids)?;
                let own = tracked_rows(conn, &group, &ids)?;
                Ok((ids, held, own))
            })
            .await?;
        if let Place::Several(databases) = place {
            held = view::held(databases, &ids).await?;
        }
        let mut views = tracked_views(&sources, held, own);
        Ok(ids.iter().filter_map(|id| views.remove(id)).collect())
    }

    /// [`list_all`] where sources are in further databases.
    async fn list_several(
        &self,
        group_id: &GroupId,
        databases: &[(Arc<Database>, Vec<IntegrationId>)],
        mut merge: Merge,
    ) -> Result<Vec<Company>, Error> {
        while let Some(chunk) = merge.chunk() {
            let ranges = self.next_keys(group_id, databases, &merge.after, chunk).await?;
            for part in merge.add(ranges, chunk) {
                if merge.is_full() {
                    break;
                }
                let ids = ids(&part);
                let held = view::held(databases.to_vec(), &ids).await?;
                let group = group_id.clone();
                let own = self.read(move |conn| tracked_rows(conn, &group, &ids)).await?;
                let views = views(&merge.sources, held, &own);
                merge.fill(part, views);
            }
        }
        Ok(merge.page)
    }

    /// The next keys of each source and of the group's own list.
    async fn next_keys(
        &self,
        group_id: &GroupId,
        databases: &[(Arc<Database>, Vec<IntegrationId>)],
        after: &Option<CompanyKey>,
        limit: usize,
    ) -> Result<Vec<Vec<CompanyKey>>, Error> {
        let (group, from) = (group_id.clone(), after.clone());
        let own = self
            .read(move |conn| tracked_keys(conn, &group, from.as_ref(), limit))
            .await?;
        let mut ranges = vec![own];
        for (database, sources) in databases {
            let (sources, from) = (sources.clone(), after.clone());
            ranges.extend(
                database
                    .read(move |conn| keys_of(conn, &sources, from.as_ref(), limit))
                    .await?,
            );
        }
        Ok(ranges)
    }
}

/// All Companies, where all sources are in the database of control.
fn list_all(
    conn: &mut Conn,
    group_id: &GroupId,
    held: &[IntegrationId],
    mut merge: Merge,
) -> Result<Vec<Company>, Error> {
    while let Some(chunk) = merge.chunk() {
        let mut ranges = keys_of(conn, held, merge.after.as_ref(), chunk)?;
        ranges.push(tracked_keys(conn, group_id, merge.after.as_ref(), chunk)?);
        for part in merge.add(ranges, chunk) {
            if merge.is_full() {
                break;
            }
            let ids = ids(&part);
            let held = record::held(conn, held, &ids)?;
            let views = views(&merge.sources, held, &tracked_rows(conn, group_id, &ids)?);
            merge.fill(part, views);
        }
    }
    Ok(merge.page)
}

fn ids(keys: &[CompanyKey]) -> Vec<CompanyId> {
    keys.iter().map(|key| key.company_id).collect()
}

/// A page that is merged from index ranges. An entry counts only where it is the one that names its company, so that
/// each company comes once; that is looked up for a page's worth of entries at a time.
struct Merge {
    /// In order of precedence.
    sources: Vec<IntegrationId>,
    limit: usize,
    page: Vec<Company>,
    /// After which key the next ranges begin.
    after: Option<CompanyKey>,
    is_at_end: bool,
}

impl Merge {
    fn new(sources: Vec<IntegrationId>, after: Option<CompanyKey>, limit: usize) -> Self {
        Self {
            sources,
            limit,
            page: Vec::with_capacity(limit),
            after,
            is_at_end: false,
        }
    }

    fn is_full(&self) -> bool {
        self.page.len() >= self.limit
    }

    /// How many keys of each range are wanted next; `None` when the page is complete.
    fn chunk(&self) -> Option<usize> {
        // One more round costs more than a few entries more.
        let chunk = || (self.limit - self.page.len()).max(32) + 8;
        (!self.is_full() && !self.is_at_end).then(chunk)
    }

    /// Merges the next ranges, of at most `chunk` keys each. Returns the keys to look up, in parts: not all at once,
    /// with many sources there are many times more than the page needs.
    fn add(&mut self, ranges: Vec<Vec<CompanyKey>>, chunk: usize) -> Vec<Vec<CompanyKey>> {
        // Beyond the end of a range that was cut, other entries of that source may come.
        let cut = ranges.iter().filter(|keys| keys.len() == chunk);
        let end = cut.filter_map(|keys| keys.last()).min().cloned();
        let keys: BTreeSet<CompanyKey> = ranges.into_iter().flatten().collect();
        let reached = |key: &CompanyKey| end.as_ref().is_none_or(|end| key <= end);
        let keys: Vec<CompanyKey> = keys.into_iter().take_while(reached).collect();
        self.is_at_end = end.is_none();
        self.after = end;
        keys.chunks(chunk).map(<[CompanyKey]>::to_vec).collect()
    }

    /// Adds those of a part that name their company.
    fn fill(&mut self, part: Vec<CompanyKey>, mut views: HashMap<CompanyId, Company>) {
        for key in part {
            if self.is_full() {
                return;
            }
            if views
                .get(&key.company_id)
                .is_some_and(|v| v.name_key == key.name_key)
            {
                self.page.extend(views.remove(&key.company_id));
            }
        }
    }
}

/// The next keys of sources of one database.
fn keys_of(
    conn: &mut Conn,
    sources: &[IntegrationId],
    after: Option<&CompanyKey>,
    limit: usize,
) -> Result<Vec<Vec<CompanyKey>>, Error> {
    let of = |source: &IntegrationId| source_keys(conn, *source, after, limit);
    sources.iter().map(of).collect()
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

/// The next keys of one source, a range of its companies by name.
fn source_keys(
    conn: &mut Conn,
    source: IntegrationId,
    after: Option<&CompanyKey>,
    limit: usize,
) -> Result<Vec<CompanyKey>, Error> {
    let (name_key, company_id) = bounds(after);
    let rows: Vec<KeyRow> = diesel::sql_query(
        "SELECT name_key, company_id FROM company_name WHERE integration_id = (SELECT $1) \
         AND (name_key, company_id) > ($2, $3) ORDER BY name_key, company_id LIMIT (SELECT $4)",
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
