//! Companies as a group sees them: All Companies, and the group's own list.

use super::connector::company_object;
use super::field;
use super::{AuditChange, Author, Services, require_own_group};
use crate::caller::Caller;
use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::error::{Detail, Error, Reason, Result};
use crate::identity::{self, Homepage};
use crate::picklist::LazyPicklist;
use crate::query;
use crate::store::{Company, PlatformCompany, SeenField, Source, Track};
use crate::time::now_us;
use std::collections::{HashMap, HashSet};

/// The maximum number of companies that a group may track.
pub const MOST_TRACKED: i64 = 100_000;

/// Which companies of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All companies that a source of the group or its tracked list has.
    All,
    /// The group's tracked list.
    Tracked,
}

/// A company with the sources that have it.
#[derive(Debug, Clone)]
pub struct CompanyView {
    /// The company.
    pub company: Company,
    /// The sources that have it: owned ones first, then received ones, each from the oldest.
    pub sources: Vec<Source>,
}

impl CompanyView {
    pub(super) fn new(company: Company, sources: &[Source]) -> Self {
        let held = |source: &&Source| company.sources.contains(&source.integration.id);
        Self {
            sources: sources.iter().filter(held).cloned().collect(),
            company,
        }
    }
}

/// A company as the platform names it.
#[derive(Debug, Clone)]
pub struct ToName {
    /// The platform's own id.
    pub platform_id: String,
    /// The name.
    pub name: String,
    /// The homepage, or empty; a domain in it identifies the company.
    pub homepage: String,
}

/// A company to track.
#[derive(Debug, Clone)]
pub enum ToTrack {
    /// A company that the group sees, or that the platform knows.
    Known(CompanyId),
    /// A company by name and homepage.
    New {
        /// The name.
        name: String,
        /// The homepage; its domain identifies the company.
        homepage: String,
    },
}

impl Services {
    /// A group's sources as queries see them, in the order that decides a company's name, each with the
    /// fields that the group sees.
    pub(super) async fn query_sources(
        &self,
        group: &GroupId,
        sources: &[Source],
    ) -> Result<Vec<query::Source>> {
        let ids = sources.iter().map(|source| source.integration.id).collect();
        let mut fields = self.store.field_list_seen(group, ids).await?;
        let seen = |SeenField { field, active }: SeenField| query::Field {
            long_text: field::is_long_text(&field),
            object: field.object,
            key: field.key,
            alias: field.alias,
            field_type: field.field_type,
            active,
            picklist: if field.field_type.is_picklist() {
                LazyPicklist::new(field.describe)
            } else {
                LazyPicklist::default()
            },
        };
        let source = |source: &Source| {
            let describe = self
                .usable(&source.integration.connector)
                .map(|(_, describe)| describe);
            query::Source {
                integration: source.integration.id,
                label: source.label.clone(),
                // Without a loaded connector, its fields cannot be sorted by; everything else works.
                company_object: describe.map(|of| company_object(&of)).unwrap_or_default(),
                fields: fields
                    .remove(&source.integration.id)
                    .unwrap_or_default()
                    .into_iter()
                    .map(seen)
                    .collect(),
            }
        };
        Ok(sources.iter().map(source).collect())
    }

    /// A group's sources; with `only`, those of them.
    pub(super) async fn sources_among(&self, group: &GroupId, only: &[IntegrationId]) -> Result<Vec<Source>> {
        let mut sources = self.sources(group).await?;
        if let Some(unknown) = only
            .iter()
            .find(|id| !sources.iter().any(|source| source.integration.id == **id))
        {
            return Err(Error::not_found(unknown.name()));
        }
        if !only.is_empty() {
            sources.retain(|source| only.contains(&source.integration.id));
        }
        Ok(sources)
    }

    /// One company.
    ///
    /// # Errors
    /// NOT_FOUND unless a source or the tracked list of the group has the company.
    pub async fn company_get(&self, caller: &Caller, parent: &GroupId, id: CompanyId) -> Result<CompanyView> {
        require_own_group(caller, parent)?;
        let sources = self.sources(parent).await?;
        let ids = sources.iter().map(|source| source.integration.id).collect();
        let company = self.store.company_get(parent, ids, id).await?;
        let company = company.ok_or_else(|| Error::not_found(id.name()))?;
        Ok(CompanyView::new(company, &sources))
    }

    /// Adds companies to the group's tracked list; name and homepage are copied into the group's own row.
    ///
    /// # Errors
    /// NOT_FOUND for a company that the group does not see and the platform does not know; INVALID_FIELD_VALUE for a homepage without a
    /// usable domain; LIMIT_REACHED.
    pub async fn company_track(
        &self,
        author: &Author,
        parent: &GroupId,
        companies: Vec<ToTrack>,
    ) -> Result<Vec<CompanyView>> {
        require_own_group(author, parent)?;
        let sources = self.sources(parent).await?;
        let source_ids: Vec<_> = sources.iter().map(|source| source.integration.id).collect();
        let known: Vec<CompanyId> = companies
            .iter()
            .filter_map(|one| match one {
                ToTrack::Known(id) => Some(*id),
                ToTrack::New { .. } => None,
            })
            .collect();
        let mut seen: HashMap<CompanyId, (String, String)> = HashMap::new();
        for one in self.store.platform_get_many(known.clone()).await? {
            seen.insert(one.company_id, (one.name, one.homepage));
        }
        for (id, one) in self
            .store
            .company_get_many(parent, source_ids.clone(), known)
            .await?
        {
            let homepage = one.homepage.as_deref().map(identity::uri_of).unwrap_or_default();
            seen.insert(id, (one.name, homepage));
        }
        let mut tracks = Vec::with_capacity(companies.len());
        for (position, one) in companies.into_iter().enumerate() {
            tracks.push(match one {
                ToTrack::Known(id) => {
                    let (name, homepage) = seen.get(&id).cloned().ok_or_else(|| Error::not_found(id.name()))?;
                    Track { company_id: id, name, homepage }
                }
                ToTrack::New { name, homepage } => {
                    let refused = || {
                        Error::invalid(
                            format!("companies[{position}].new_company.homepage_uri"),
                            "identifies no company: give the company's own website, not a page at a social network or a \
                             number",
                        )
                    };
                    let homepage = Homepage::read(&homepage).ok_or_else(refused)?;
                    let domain = homepage.domain.ok_or_else(refused)?;
                    Track { company_id: CompanyId::of_domain(&domain), name, homepage: homepage.uri }
                }
            });
        }
        let ids: Vec<_> = tracks.iter().map(|track| track.company_id).collect();
        self.check_tracked(parent, &ids).await?;
        let (of, by) = (parent.clone(), author.subject.clone());
        let made = AuditChange::of(parent.name()).with("companies", tracks.len());
        self.change(author, move |tx| {
            tx.company_track(&of, tracks, &by, now_us())?;
            Ok(((), Some(made)))
        })
        .await?;
        let mut now = self
            .store
            .company_get_many(parent, source_ids, ids.clone())
            .await?;
        Ok(ids
            .iter()
            .filter_map(|id| now.remove(id))
            .map(|one| CompanyView::new(one, &sources))
            .collect())
    }

    /// Stores companies of the platform, all or nothing; later ones replace earlier ones of the same company or platform id.
    /// Returns their ids.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn company_upsert(&self, author: &Author, companies: Vec<ToName>) -> Result<Vec<CompanyId>> {
        let named = companies.into_iter().map(|one| {
            let read = Homepage::read(&one.homepage);
            let domain = read.as_ref().and_then(|homepage| homepage.domain.as_deref());
            PlatformCompany {
                company_id: domain
                    .map_or_else(|| CompanyId::of_platform(&one.platform_id), CompanyId::of_domain),
                platform_id: one.platform_id,
                name: one.name,
                homepage: read.map(|homepage| homepage.uri).unwrap_or_default(),
            }
        });
        let named: Vec<PlatformCompany> = named.collect();
        let ids = named.iter().map(|one| one.company_id).collect();
        self.change(author, move |tx| {
            let changed = tx.platform_upsert(&named, now_us())?;
            let made = AuditChange::of("companies")
                .with("companies", named.len())
                .with("changed", changed);
            Ok(((), Some(made)))
        })
        .await?;
        Ok(ids)
    }

    /// Returns LIMIT_REACHED if the tracked list would become too long: each search reads all of it.
    async fn check_tracked(&self, parent: &GroupId, more: &[CompanyId]) -> Result<()> {
        let there = self.store.company_count_tracked(parent).await?;
        if there + more.len() as i64 <= MOST_TRACKED {
            return Ok(());
        }
        let known = self
            .store
            .company_get_tracked(parent, Vec::new(), more.to_vec())
            .await?;
        let new: HashSet<_> = more.iter().filter(|id| !known.contains_key(id)).collect();
        if there + new.len() as i64 <= MOST_TRACKED {
            return Ok(());
        }
        let limit =
            format!("a group may track {MOST_TRACKED} companies, and tracks {there}: untrack some first");
        Err(Error::new(Reason::LimitReached, limit.clone())
            .with("limit", MOST_TRACKED)
            .with("quota", "tracked companies")
            .detail(Detail::Quota(parent.name(), limit)))
    }

    /// Removes companies from the group's tracked list; returns how many were on it.
    ///
    /// # Errors
    /// NOT_FOUND for a group that is not the caller's.
    pub async fn company_untrack(
        &self,
        author: &Author,
        parent: &GroupId,
        ids: Vec<CompanyId>,
    ) -> Result<usize> {
        require_own_group(author, parent)?;
        let of = parent.clone();
        let untracked = self.change(author, move |tx| {
            let count = tx.company_untrack(&of, &ids)?;
            Ok((count, Some(AuditChange::of(of.name()).with("companies", count))))
        });
        Ok(untracked.await?)
    }
}
