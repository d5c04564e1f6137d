//! Companies by id: what the sources hold of them, and the group's own rows.

use std::{collections::HashMap, sync::Arc};

use diesel::{prelude::*, sql_types};

use super::{Company, Tracked};
use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::store::{
    Error, Store,
    conn::Conn,
    data::Database,
    platform::{self, PlatformCompany},
    record::{self, Held},
    schema::tracked_company,
};

/// Where the records of a group's sources are.
pub(super) enum Place {
    /// All in the database of control: one snapshot answers.
    Control(Vec<IntegrationId>),
    /// In further databases, too.
    Several(Vec<(Arc<Database>, Vec<IntegrationId>)>),
}

impl Store {
    /// Where the records of these sources are; those that do not exist are left out.
    pub(super) async fn place(&self, sources: &[IntegrationId]) -> Result<Place, Error> {
        let mut databases = self.data_databases(sources).await?;
        Ok(match databases.as_mut_slice() {
            [] => Place::Control(Vec::new()),
            [(database, sources)] if database.is_of_control() => Place::Control(std::mem::take(sources)),
            _ => Place::Several(databases),
        })
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

    /// The company records of these companies in these sources.
    pub(super) async fn held(
        &self,
        sources: &[IntegrationId],
        company_ids: &[CompanyId],
    ) -> Result<Vec<Held>, Error> {
        if company_ids.is_empty() {
            return Ok(Vec::new());
        }
        held(self.data_databases(sources).await?, company_ids).await
    }

    /// These companies as the group sees them; those that nothing holds are not in it.
    async fn views(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        ids: &[CompanyId],
    ) -> Result<HashMap<CompanyId, Company>, Error> {
        let (held, own, platform) = self.rows(group_id, sources, ids).await?;
        Ok(named(views(sources, held, &own), platform))
    }

    /// These companies under the names of the group's own rows; those it does not track are not in it.
    async fn tracked_views(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        ids: &[CompanyId],
    ) -> Result<HashMap<CompanyId, Company>, Error> {
        let (held, own, platform) = self.rows(group_id, sources, ids).await?;
        Ok(named(tracked_views(sources, held, own), platform))
    }

    /// What these sources, the group itself, and the platform have of these companies.
    async fn rows(
        &self,
        group_id: &GroupId,
        sources: &[IntegrationId],
        ids: &[CompanyId],
    ) -> Result<(Vec<Held>, Vec<Tracked>, Vec<PlatformCompany>), Error> {
        if ids.is_empty() {
            return Ok(Default::default());
        }
        let (group_id, of) = (group_id.clone(), ids.to_vec());
        match self.place(sources).await? {
            Place::Control(sources) => {
                self.snapshot(move |conn| {
                    let held = record::held(conn, &sources, &of)?;
                    let own = tracked_rows(conn, &group_id, &of)?;
                    Ok((held, own, platform::of(conn, &of)?))
                })
                .await
            }
            Place::Several(databases) => {
                let held = held(databases, ids).await?;
                let own = move |conn: &mut Conn| {
                    let own = tracked_rows(conn, &group_id, &of)?;
                    Ok((own, platform::of(conn, &of)?))
                };
                let (own, platform) = self.snapshot(own).await?;
                Ok((held, own, platform))
            }
        }
    }
}

/// The company records of these companies in several databases.
pub(super) async fn held(
    databases: Vec<(Arc<Database>, Vec<IntegrationId>)>,
    company_ids: &[CompanyId],
) -> Result<Vec<Held>, Error> {
    let mut held = Vec::new();
    for (database, sources) in databases {
        let company_ids = company_ids.to_vec();
        held.extend(
            database
                .read(move |conn| record::held(conn, &sources, &company_ids))
                .await?,
        );
    }
    Ok(held)
}

/// The group's own rows of these companies.
pub(super) fn tracked_rows(
    conn: &mut Conn,
    group_id: &GroupId,
    ids: &[CompanyId],
) -> Result<Vec<Tracked>, Error> {
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
pub(super) fn views(
    sources: &[IntegrationId],
    held: Vec<Held>,
    own: &[Tracked],
) -> HashMap<CompanyId, Company> {
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
            platform_id: String::new(),
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
                platform_id: String::new(),
            })
            .tracked = true;
    }
    found
}

/// The same companies, under the platform's names where it has given one.
fn named(
    mut views: HashMap<CompanyId, Company>,
    platform: Vec<PlatformCompany>,
) -> HashMap<CompanyId, Company> {
    for company in platform {
        if let Some(view) = views.get_mut(&company.company_id) {
            view.named_by(company);
        }
    }
    views
}

/// Those that the group tracks, under the names of its own rows.
pub(super) fn tracked_views(
    sources: &[IntegrationId],
    held: Vec<Held>,
    own: Vec<Tracked>,
) -> HashMap<CompanyId, Company> {
    let mut views = views(sources, held, &own);
    let of = |own: Tracked| {
        let view = views.remove(&own.company_id)?;
        let company = Company {
            name: own.name,
            name_key: own.name_key,
            homepage: Some(own.homepage).filter(|h| !h.is_empty()).or(view.homepage),
            ..view
        };
        Some((own.company_id, company))
    };
    own.into_iter().filter_map(of).collect()
}
