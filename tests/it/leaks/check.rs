//! Every read of a group, held against the model.

use crate::support::server::{Person, Refused, ok, refused};
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use tether::proto::v1::get_company_profile_request::Refresh;
use tether::proto::v1::integration::{Relation, State};
use tether::proto::v1::{self, CompanyScope};

use super::model::*;
use super::same;
use super::steps::Hunt;

impl Hunt {
    /// Holds all that a group reads against the model; answers what it read.
    pub(super) async fn check(&mut self, step: &str, group: Group) -> String {
        let mut read = String::new();
        let parent = format!("groups/{}", GROUPS[group]);
        let all: Vec<(String, Integration)> = self
            .model
            .integrations
            .iter()
            .map(|(name, of)| (name.clone(), of.clone()))
            .collect();
        for admin in [true, false] {
            let who = &self.people[group];
            let mut person = if admin {
                who.admin.clone()
            } else {
                who.member.clone()
            };
            let role = format!(
                "{} ({})",
                GROUPS[group],
                if admin { "administrator" } else { "member" }
            );
            // The integrations.
            let states = [
                State::Draft,
                State::Active,
                State::NeedsReauthorization,
                State::Paused,
                State::Disabled,
            ];
            let list = v1::ListIntegrationsRequest {
                parent: parent.clone(),
                page_size: 200,
                states: states.map(|state| state as i32).to_vec(),
                ..Default::default()
            };
            let listed = ok(person.integrations.list_integrations(list)).await;
            read += &format!("{listed:?}");
            let told: BTreeMap<String, _> = listed
                .integrations
                .iter()
                .map(|one| {
                    let counts = one.field_counts.unwrap();
                    let seen = (counts.selected as usize, counts.active as usize);
                    (
                        one.name.clone(),
                        (
                            one.display_name.clone(),
                            one.relation() as i32,
                            one.connected.unwrap(),
                            seen,
                            one.state() as i32,
                        ),
                    )
                })
                .collect();
            let meant: BTreeMap<String, _> = all
                .iter()
                .filter(|(_, of)| of.saved || admin)
                .filter_map(|(name, of)| {
                    let fields = of.fields(group)?;
                    let seen = (fields.len(), fields.values().filter(|active| **active).count());
                    let relation = if of.owner == group {
                        Relation::Owned
                    } else {
                        Relation::Received
                    };
                    let state = match (of.saved, self.model.enabled(of.owner)) {
                        (false, _) => State::Draft,
                        (true, false) => State::Disabled,
                        (true, true) => State::Active,
                    };
                    Some((
                        name.clone(),
                        (
                            of.display_name.clone(),
                            relation as i32,
                            of.connected(group),
                            seen,
                            state as i32,
                        ),
                    ))
                })
                .collect();
            same!(self, step, format!("the integrations of {role}"), told, meant);
            // Each that ever was, whoever's.
            for (name, of) in &all {
                let fields = of
                    .fields(group)
                    .filter(|_| of.saved || (admin && of.owner == group));
                read += &self
                    .check_one(
                        step,
                        &role,
                        &mut person,
                        name,
                        of,
                        fields,
                        of.owner == group,
                        admin,
                    )
                    .await;
            }
            read += &self.check_companies(step, &role, &mut person, group, &all).await;
        }
        read
    }

    /// One integration, as somebody reads it.
    #[expect(clippy::too_many_arguments, reason = "what there is to know")]
    pub(super) async fn check_one(
        &mut self,
        step: &str,
        role: &str,
        person: &mut Person,
        name: &str,
        of: &Integration,
        fields: Option<BTreeMap<&'static str, bool>>,
        owned: bool,
        admin: bool,
    ) -> String {
        let get = v1::GetIntegrationRequest {
            name: name.to_owned(),
        };
        let list = v1::ListFieldsRequest {
            parent: name.to_owned(),
            ..Default::default()
        };
        let syncs = v1::ListSyncsRequest {
            parent: name.to_owned(),
            ..Default::default()
        };
        let shares = v1::ListSharesRequest {
            parent: name.to_owned(),
            page_size: 500,
            ..Default::default()
        };
        let Some(fields) = fields else {
            for reason in [
                refused(person.integrations.get_integration(get)).await.reason,
                refused(person.integrations.list_fields(list)).await.reason,
                refused(person.integrations.list_syncs(syncs)).await.reason,
            ] {
                same!(
                    self,
                    step,
                    format!("{name} for {role}"),
                    reason.as_str(),
                    "NOT_FOUND"
                );
            }
            return String::new();
        };
        let got = ok(person.integrations.get_integration(get)).await;
        let selected: BTreeSet<&str> = got.selected_fields.iter().map(String::as_str).collect();
        same!(
            self,
            step,
            format!("the fields of {name} for {role}"),
            selected,
            fields.keys().copied().collect()
        );
        let told: BTreeMap<String, bool> = person.fields(name).await.into_iter().collect();
        let meant: BTreeMap<String, bool> = fields
            .iter()
            .map(|(field, active)| ((*field).to_owned(), *active))
            .collect();
        same!(
            self,
            step,
            format!("active and passive of {name} for {role}"),
            &told,
            &meant
        );
        let receivers: BTreeSet<String> = if owned {
            of.shares
                .keys()
                .map(|other| format!("groups/{}", GROUPS[*other]))
                .collect()
        } else {
            BTreeSet::new()
        };
        let shown: BTreeSet<String> = got.shares.iter().map(|share| share.group.clone()).collect();
        same!(
            self,
            step,
            format!("the shares of {name} for {role}"),
            shown,
            receivers.clone()
        );
        if admin && owned {
            let listed = ok(person.integrations.list_shares(shares)).await;
            for share in &listed.shares {
                let other = GROUPS
                    .iter()
                    .position(|group| share.group.ends_with(group))
                    .unwrap();
                // What the receiver would see; of a draft, what it will.
                let effective = Integration {
                    saved: true,
                    ..of.clone()
                };
                let meant = effective.fields(other).unwrap().len();
                same!(
                    self,
                    step,
                    format!("{} for {role}", share.name),
                    share.shared_field_count as usize,
                    meant
                );
            }
            same!(
                self,
                step,
                format!("the list of shares of {name}"),
                listed.shares.len(),
                receivers.len()
            );
        } else if admin {
            same!(
                self,
                step,
                format!("the shares of {name} for {role}"),
                refused(person.integrations.list_shares(shares))
                    .await
                    .reason
                    .as_str(),
                "NOT_OWNER"
            );
        }
        let runs = ok(person.integrations.list_syncs(syncs)).await;
        for run in &runs.syncs {
            let objects: BTreeSet<&str> = run.objects.iter().map(|one| one.object.as_str()).collect();
            let seen: BTreeSet<&str> = fields
                .keys()
                .filter_map(|key| key.split('.').next())
                .chain(["Company"])
                .collect();
            // An older sync may have read what is no longer selected; a receiver never hears of it.
            same!(
                self,
                step,
                format!("{} for {role}", run.name),
                owned || objects.is_subset(&seen),
                true
            );
        }
        // Names and times of what others do are not in it: all of it may be compared.
        format!(
            "{got:?}{told:?}{}",
            if owned { String::new() } else { format!("{runs:?}") }
        )
    }

    /// The companies and cards, as somebody reads them.
    pub(super) async fn check_companies(
        &mut self,
        step: &str,
        role: &str,
        person: &mut Person,
        group: Group,
        all: &[(String, Integration)],
    ) -> String {
        let mut read = String::new();
        let sources: Vec<&(String, Integration)> = all
            .iter()
            .filter(|(_, of)| self.model.is_source(of, group))
            .collect();
        let tracked = self.model.tracked.get(&group).cloned().unwrap_or_default();
        let most = sources
            .iter()
            .map(|(_, of)| of.companies)
            .max()
            .unwrap_or_default();
        let seen: BTreeSet<usize> = (1..=most).chain(tracked.iter().copied()).collect();
        for (scope, meant) in [(CompanyScope::All, &seen), (CompanyScope::Tracked, &tracked)] {
            let list = v1::ListCompaniesRequest {
                parent: person.parent.clone(),
                scope: scope as i32,
                page_size: 100,
                show_total_size: true,
                ..Default::default()
            };
            let listed = ok(person.companies.list_companies(list)).await;
            let told: BTreeMap<String, BTreeSet<String>> = listed
                .companies
                .iter()
                .map(|one| {
                    (
                        one.name.clone(),
                        one.sources.iter().map(|of| of.integration.clone()).collect(),
                    )
                })
                .collect();
            let meant: BTreeMap<String, BTreeSet<String>> = meant
                .iter()
                .map(|number| {
                    let of = sources.iter().filter(|(_, of)| of.companies >= *number);
                    (company(*number), of.map(|(name, _)| name.clone()).collect())
                })
                .collect();
            same!(self, step, format!("{scope:?} of {role}"), &told, &meant);
            same!(
                self,
                step,
                format!("the size of {scope:?} of {role}"),
                listed.total_size,
                Some(meant.len() as i64)
            );
            read += &format!("{:?}", listed.companies);
        }
        // What it can filter by, and by which fields.
        let list = v1::ListSourcesRequest {
            parent: person.parent.clone(),
            page_size: 200,
            ..Default::default()
        };
        let listed = ok(person.companies.list_sources(list)).await.sources;
        let told: BTreeMap<String, i32> = listed
            .iter()
            .map(|one| (one.integration.clone(), one.active_field_count))
            .collect();
        let meant: BTreeMap<String, i32> = sources
            .iter()
            .map(|(name, of)| {
                let fields = of.fields(group).unwrap_or_default();
                (
                    name.clone(),
                    fields.values().filter(|active| **active).count() as i32,
                )
            })
            .collect();
        same!(self, step, format!("the sources of {role}"), &told, &meant);
        for one in &listed {
            let field = FIELDS[self.dice.random_range(0..FIELDS.len())];
            let of = &self.model.integrations[&one.integration];
            let meant = match of.fields(group).unwrap_or_default().get(field) {
                Some(true) => "",
                Some(false) => "FIELD_PASSIVE",
                None => "FIELD_UNKNOWN",
            };
            let list = v1::ListCompaniesRequest {
                parent: person.parent.clone(),
                filter: format!("{}.{field}:*", one.label),
                ..Default::default()
            };
            let told = match person.companies.list_companies(list).await {
                Ok(_) => String::new(),
                Err(status) => Refused::from(status).reason,
            };
            same!(
                self,
                step,
                format!("a filter of {role} by {field}"),
                told.as_str(),
                meant
            );
        }
        for number in [1, 5] {
            let (name, parent) = (company(number), person.parent.clone());
            let open = v1::GetCompanyProfileRequest {
                name: name.clone(),
                parent: parent.clone(),
                refresh: Refresh::Never as i32,
                ..Default::default()
            };
            if !seen.contains(&number) {
                let get = v1::GetCompanyRequest { name, parent };
                same!(
                    self,
                    step,
                    "a company",
                    refused(person.companies.get_company(get)).await.reason.as_str(),
                    "NOT_FOUND"
                );
                same!(
                    self,
                    step,
                    "a profile",
                    refused(person.companies.get_company_profile(open))
                        .await
                        .reason
                        .as_str(),
                    "NOT_FOUND"
                );
                continue;
            }
            let profile = ok(person.companies.get_company_profile(open)).await;
            let told: BTreeMap<String, BTreeMap<String, bool>> = profile
                .cards
                .iter()
                .map(|card| {
                    let tables = card.company_records.iter().chain(&card.related);
                    let columns = tables.flat_map(|table| {
                        table
                            .columns
                            .iter()
                            .map(|column| (format!("{}.{}", table.object, column.key), column.active))
                    });
                    (
                        card.source.as_ref().unwrap().integration.clone(),
                        columns.collect(),
                    )
                })
                .collect();
            let meant: BTreeMap<String, BTreeMap<String, bool>> = sources
                .iter()
                .filter(|(_, of)| of.companies >= number)
                .map(|(name, of)| {
                    let fields = of.fields(group).unwrap_or_default();
                    (
                        name.clone(),
                        fields
                            .iter()
                            .map(|(field, active)| ((*field).to_owned(), *active))
                            .collect(),
                    )
                })
                .collect();
            same!(
                self,
                step,
                format!("the profile of company {number} for {role}"),
                &told,
                &meant
            );
            read += &format!("{told:?}");
        }
        read
    }
}
