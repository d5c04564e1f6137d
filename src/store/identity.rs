//! Moves stored companies to other identity rules, batch by batch.
//!
//! The next batch is stored in `meta` in the transaction of the batch before it: an interrupted move resumes, and several
//! processes that move at the same time take turns under the lock of the version's row.

use std::collections::BTreeSet;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Error, Integration, Store,
    conn::{Conn, each, first_locked},
    data_set, integration,
    platform::{self, PlatformCompany},
    record::{self, Held},
    schema::{
        company_name, company_record, credentials, integration as integration_table, meta,
        record as record_table, tracked_company,
    },
    source,
};
use crate::domain::{CompanyId, CredentialId, GroupId, IntegrationId, IntegrationState, Micros};

/// The version of the rules that the stored companies follow.
const VERSION: &str = "identity";
/// How far a move to another version has come.
const PROGRESS: &str = "identity move";

/// A company record as the rules of identity see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompanyRecord {
    /// The connector's id.
    pub connector: String,
    /// The CRM's id of the organization; empty where the integration has lost its account.
    pub organization_id: String,
    /// Its id in the CRM.
    pub external_id: String,
    /// The texts that may be its homepage, one a line.
    pub homepage: String,
    /// The company it is now.
    pub company_id: CompanyId,
}

/// What one batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Records that are another company now.
    pub records: usize,
    /// Entries of groups' own lists that moved.
    pub tracked: usize,
    /// The platform's companies that moved.
    pub platform: usize,
    /// Everything follows the new rules.
    pub done: bool,
}

/// How far a move has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The version that is moved to. Progress towards another one counts for nothing.
    to: String,
    step: Step,
}

/// Groups' own lists come first: where such an entry has no usable homepage of its own, the records that are still under its
/// old id decide its new id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// Entries after this group and company.
    Tracked(String, String),
    /// The platform's companies after this one.
    Platform(String),
    /// Integrations after this one; in the one that follows, records after this company, object and id.
    Records(String, (String, String, String)),
}

impl Store {
    /// The version of the rules that the stored companies follow; `None` in a new database.
    pub async fn identity_version(&self) -> Result<Option<String>, Error> {
        self.meta_get(VERSION).await
    }

    /// Stores that all companies follow these rules: for a new database. Another process may have done so already.
    pub async fn identity_begin(&self, version: &str) -> Result<(), Error> {
        let version = version.to_owned();
        self.write(move |conn| {
            each!(conn, c => diesel::insert_into(meta::table)
                .values((meta::key.eq(VERSION), meta::value.eq(&version)))
                .on_conflict_do_nothing()
                .execute(c))?;
            Ok(())
        })
        .await
    }

    /// Moves the next `limit` companies to the rules of version `to`. `domain_of` gives the domain of a homepage, `company_of`
    /// the company of a record. Records that become another company get new change numbers.
    pub async fn identity_move(
        &self,
        to: &str,
        limit: i64,
        domain_of: fn(&str) -> Option<String>,
        company_of: fn(&CompanyRecord) -> CompanyId,
    ) -> Result<Moved, Error> {
        let step = self
            .read({
                let to = to.to_owned();
                move |conn| step_of(conn, &to)
            })
            .await?;
        let Some(step) = step else {
            return Ok(Moved {
                done: true,
                ..Moved::default()
            });
        };
        match step.clone() {
            Step::Tracked(group, company) => {
                let (changes, next) = self
                    .identity_entries((group, company), limit, domain_of, company_of)
                    .await?;
                let to = to.to_owned();
                let moved = self.write(move |conn| {
                    if step_of(conn, &to)?.as_ref() != Some(&step) {
                        return Ok(0);
                    }
                    let moved = move_tracked(conn, changes)?;
                    set_step(conn, &to, Some(next))?;
                    Ok(moved)
                });
                Ok(Moved {
                    tracked: moved.await?,
                    ..Moved::default()
                })
            }
            Step::Platform(after) => {
                let to = to.to_owned();
                let moved = self.write(move |conn| {
                    if step_of(conn, &to)?.as_ref() != Some(&step) {
                        return Ok(0);
                    }
                    let (moved, next) = move_platform(conn, &after, limit, domain_of)?;
                    set_step(conn, &to, Some(next))?;
                    Ok(moved)
                });
                Ok(Moved {
                    platform: moved.await?,
                    ..Moved::default()
                })
            }
            Step::Records(integration, after) => {
                let (next, records) = self
                    .identity_records(integration, after, limit, company_of)
                    .await?;
                let to = to.to_owned();
                let done = self.write(move |conn| {
                    if step_of(conn, &to)?.as_ref() != Some(&step) {
                        return Ok(false);
                    }
                    let done = next.is_none();
                    set_step(conn, &to, next)?;
                    Ok(done)
                });
                Ok(Moved {
                    records,
                    done: done.await?,
                    ..Moved::default()
                })
            }
        }
    }

    /// What becomes of the entries of groups' own lists after this one, and where the move goes on.
    async fn identity_entries(
        &self,
        after: (String, String),
        limit: i64,
        domain_of: fn(&str) -> Option<String>,
        company_of: fn(&CompanyRecord) -> CompanyId,
    ) -> Result<(Vec<Change>, Step), Error> {
        let rows = self.read(move |conn| tracked_page(conn, &after, limit)).await?;
        let next = match rows.last() {
            None => Step::Platform(String::new()),
            Some((group, company, ..)) => {
                Step::Tracked(group.as_str().to_owned(), company.as_str().to_owned())
            }
        };
        let mut changes = Vec::new();
        for (group, old, homepage, create_us) in rows {
            let new = match domain_of(&homepage) {
                Some(domain) => Some(CompanyId::of_domain(&domain)),
                None => self.identity_by_record(&group, old, company_of).await?,
            };
            changes.extend(
                new.filter(|new| *new != old)
                    .map(|new| (group, old, new, create_us)),
            );
        }
        Ok((changes, next))
    }

    /// Moves records of the first integration after this one; gives where the move goes on, and how many moved.
    async fn identity_records(
        &self,
        after_integration: String,
        after: Key,
        limit: i64,
        company_of: fn(&CompanyRecord) -> CompanyId,
    ) -> Result<(Option<Step>, usize), Error> {
        let from = after_integration.clone();
        let next = self.read(move |conn| next_integration(conn, &from)).await?;
        let Some((of, organization_id)) = next else {
            return Ok((None, 0));
        };
        let id = of.id;
        let work = move |conn: &mut Conn| records(conn, &of, &organization_id, &after, limit, company_of);
        let (next, moved) = self.data_write(id, work).await?;
        let step = match next {
            Some(key) => Step::Records(after_integration, key),
            None => Step::Records(id.as_str().to_owned(), Default::default()),
        };
        Ok((Some(step), moved))
    }

    /// The company that the first record under this id becomes, in the order in which the group's sources name companies.
    async fn identity_by_record(
        &self,
        group: &GroupId,
        old: CompanyId,
        company_of: fn(&CompanyRecord) -> CompanyId,
    ) -> Result<Option<CompanyId>, Error> {
        for of in self.source_list(group).await? {
            let id = of.integration.id;
            self.company_fill(id).await?;
            let held = self.data_read(id, move |conn| record::held(conn, &[id], &[old]));
            let by_name =
                |a: &Held, b: &Held| (&a.name_key, &a.external_id).cmp(&(&b.name_key, &b.external_id));
            let Some(Held {
                external_id,
                homepage,
                ..
            }) = held.await?.into_iter().min_by(by_name)
            else {
                continue;
            };
            let credential = of.integration.credential_id;
            let organization_id = self.read(move |conn| organization_of(conn, credential)).await?;
            return Ok(moved_to(
                &CompanyRecord {
                    connector: of.integration.connector,
                    organization_id,
                    external_id,
                    homepage: homepage.unwrap_or_default(),
                    company_id: old,
                },
                company_of,
            ));
        }
        Ok(None)
    }
}

/// Where the move to a version goes on; `None` if it is done. Locks the version's row in a transaction that writes.
fn step_of(conn: &mut Conn, to: &str) -> Result<Option<Step>, Error> {
    let version: String = first_locked!(conn, meta::table.find(VERSION).select(meta::value))?;
    if version == to {
        return Ok(None);
    }
    let stored: Option<String> = meta::table
        .find(PROGRESS)
        .select(meta::value)
        .first(conn)
        .optional()?;
    let progress = stored
        .and_then(|text| serde_json::from_str::<Progress>(&text).ok())
        .filter(|progress| progress.to == to);
    Ok(Some(progress.map_or_else(
        || Step::Tracked(String::new(), String::new()),
        |progress| progress.step,
    )))
}

/// Stores where the move goes on; `None` ends it.
fn set_step(conn: &mut Conn, to: &str, next: Option<Step>) -> Result<(), Error> {
    let Some(step) = next else {
        set(conn, VERSION, to)?;
        diesel::delete(meta::table.find(PROGRESS)).execute(conn)?;
        return Ok(());
    };
    let to = to.to_owned();
    let text = serde_json::to_string(&Progress { to, step }).map_err(|e| Error::Corrupt(e.to_string()))?;
    set(conn, PROGRESS, &text)
}

fn set(conn: &mut Conn, key: &str, value: &str) -> Result<(), Error> {
    each!(conn, c => diesel::insert_into(meta::table)
        .values((meta::key.eq(key), meta::value.eq(value)))
        .on_conflict(meta::key)
        .do_update()
        .set(meta::value.eq(value))
        .execute(c))?;
    Ok(())
}

/// An entry of a group's own list: group, company, homepage, time of creation.
type Entry = (GroupId, CompanyId, String, Micros);

/// An entry that becomes another company: group, from, to, time of creation.
type Change = (GroupId, CompanyId, CompanyId, Micros);

/// Entries of groups' own lists after this one.
fn tracked_page(
    conn: &mut Conn,
    (group, company): &(String, String),
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    use tracked_company::dsl;
    let same_group = dsl::group_id.eq(group).and(dsl::company_id.gt(company));
    Ok(each!(conn, c => tracked_company::table
        .filter(dsl::group_id.gt(group).or(same_group))
        .order((dsl::group_id, dsl::company_id))
        .limit(limit)
        .select((dsl::group_id, dsl::company_id, dsl::homepage, dsl::create_us))
        .load(c))?)
}

/// Moves entries of groups' own lists, each (group, from, to, time of creation); returns their number. Those that were removed
/// meanwhile are left out.
fn move_tracked(conn: &mut Conn, changes: Vec<Change>) -> Result<usize, Error> {
    use tracked_company::dsl;
    let groups: BTreeSet<&GroupId> = changes.iter().map(|(group, ..)| group).collect();
    for group in groups {
        match source::lock_group(conn, group) {
            Err(error) if error.is_not_found() => {}
            other => other?,
        }
    }
    let mut moved = 0;
    for (group, old, new, create_us) in changes {
        let other: Option<Micros> = tracked_company::table
            .find((&group, new))
            .select(dsl::create_us)
            .first(conn)
            .optional()?;
        // Two entries that are one company now: the earlier one stays.
        let gone = match other {
            Some(other) if other <= create_us => Some(old),
            Some(_) => Some(new),
            None => None,
        };
        if let Some(gone) = gone {
            diesel::delete(tracked_company::table.find((&group, gone))).execute(conn)?;
        }
        if gone != Some(old) {
            diesel::update(tracked_company::table.find((&group, old)))
                .set(dsl::company_id.eq(new))
                .execute(conn)?;
        }
        moved += 1;
    }
    Ok(moved)
}

/// Moves the platform's companies after this one; returns how many moved, and where the move goes on.
fn move_platform(
    conn: &mut Conn,
    after: &str,
    limit: i64,
    domain_of: fn(&str) -> Option<String>,
) -> Result<(usize, Step), Error> {
    let rows = platform::page(conn, after, limit)?;
    let next = match rows.last() {
        None => Step::Records(String::new(), Default::default()),
        Some(last) => Step::Platform(last.company_id.to_string()),
    };
    let mut moved = 0;
    for row in rows {
        let (old, update_us) = (row.company_id, row.update_us);
        let mut company = PlatformCompany::from(row);
        company.company_id = match domain_of(&company.homepage) {
            Some(domain) => CompanyId::of_domain(&domain),
            None => CompanyId::of_platform(&company.platform_id),
        };
        if company.company_id != old {
            // The row with the same platform id becomes a tombstone.
            moved += platform::upsert(conn, &[company], update_us)?;
        }
    }
    Ok((moved, next))
}

/// The company that a record becomes. Without its organization a record that has no usable homepage stays what it is.
fn moved_to(of: &CompanyRecord, company_of: fn(&CompanyRecord) -> CompanyId) -> Option<CompanyId> {
    let new = company_of(of);
    let itself = CompanyId::of_record(&of.connector, &of.organization_id, &of.external_id);
    (!of.organization_id.is_empty() || new != itself).then_some(new)
}

fn organization_of(conn: &mut Conn, credential: Option<CredentialId>) -> Result<String, Error> {
    let Some(credential) = credential else {
        return Ok(String::new());
    };
    let organization = credentials::table
        .find(credential)
        .select(credentials::organization_id)
        .first(conn)
        .optional()?;
    Ok(organization.unwrap_or_default())
}

type Key = (String, String, String);

/// The first integration after this one, with the CRM's id of its organization.
fn next_integration(conn: &mut Conn, after: &str) -> Result<Option<(Integration, String)>, Error> {
    let next: Option<IntegrationId> = each!(conn, c => integration_table::table
        .filter(integration_table::id.gt(after))
        .filter(integration_table::state.ne(IntegrationState::Deleting))
        .order(integration_table::id)
        .select(integration_table::id)
        .first(c)
        .optional())?;
    let Some(id) = next else { return Ok(None) };
    let of = integration::get(conn, id)?;
    let organization_id = organization_of(conn, of.credential_id)?;
    Ok(Some((of, organization_id)))
}

/// Moves records of one integration; returns where to go on, `None` at its end, and how many moved.
fn records(
    conn: &mut Conn,
    of: &Integration,
    organization_id: &str,
    after: &Key,
    limit: i64,
    company_of: fn(&CompanyRecord) -> CompanyId,
) -> Result<(Option<Key>, usize), Error> {
    use record_table::dsl;
    let id = of.id;
    let Some(set) = data_set::lock(conn, id)? else {
        return Ok((None, 0));
    };
    if !record::is_filled(&set) {
        record::fill(conn, set)?;
        return Ok((Some(after.clone()), 0));
    }
    // By company. Ids that were moved may come again, and stay.
    let (company, object, external_id) = after;
    let keys = record::page(
        conn,
        id,
        (company.as_str(), object.as_str(), external_id.as_str()),
        limit,
    )?;
    let Some((last, object, external_id)) = keys.last() else {
        return Ok((None, 0));
    };
    let next = (last.as_str().to_owned(), object.clone(), external_id.clone());
    let (mut change_no, mut moved) = (set.change_no, 0);
    for (old, object, external_id) in keys {
        let found: Option<(Option<String>, String)> = record_table::table
            .find((id, &object, &external_id))
            .filter(dsl::company_id.eq(old))
            .filter(dsl::delete_us.is_null())
            .select((dsl::homepage, dsl::name_key))
            .first(conn)
            .optional()?;
        let Some((homepage, name_key)) = found else {
            continue;
        };
        let one = CompanyRecord {
            connector: of.connector.clone(),
            organization_id: organization_id.to_owned(),
            external_id,
            homepage: homepage.unwrap_or_default(),
            company_id: old,
        };
        let Some(new) = moved_to(&one, company_of).filter(|new| *new != old) else {
            continue;
        };
        change_no += 1;
        moved += 1;
        let external_id = &one.external_id;
        diesel::update(record_table::table.find((id, &object, external_id)))
            .set((dsl::company_id.eq(new), dsl::change_no.eq(change_no)))
            .execute(conn)?;
        diesel::update(company_record::table.find((id, old, &object, external_id)))
            .set(company_record::company_id.eq(new))
            .execute(conn)?;
        diesel::update(company_name::table.find((id, name_key, old, &object, external_id)))
            .set(company_name::company_id.eq(new))
            .execute(conn)?;
    }
    data_set::set_change_no(conn, &set, change_no)?;
    Ok((Some(next), moved))
}
