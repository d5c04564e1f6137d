//! Every read of a group's companies, held against the model.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng as _;
use tether::proto::v1::get_company_profile_request::Refresh;
use tether::proto::v1::{self, CompanyScope};

use super::check::Reader;
use super::model::*;
use super::same;
use super::steps::Hunt;
use crate::support::server::{Refused, ok, refused};

type Sources<'a> = [&'a (String, Integration)];

impl Hunt {
    /// The companies and cards, as somebody reads them.
    pub(super) async fn check_companies(
        &mut self,
        reader: &mut Reader<'_>,
        all: &[(String, Integration)],
    ) -> String {
        let group = reader.group;
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
        let mut read = String::new();
        for (scope, meant) in [(CompanyScope::All, &seen), (CompanyScope::Tracked, &tracked)] {
            read += &self.check_scope(reader, &sources, scope, meant).await;
        }
        let listed = self.check_sources(reader, &sources).await;
        for one in &listed {
            self.check_filter(reader, one).await;
        }
        for number in [1, 5] {
            if seen.contains(&number) {
                read += &self.check_profile(reader, &sources, number).await;
            } else {
                self.check_no_company(reader, number).await;
            }
        }
        read
    }

    /// A list of companies.
    async fn check_scope(
        &mut self,
        reader: &mut Reader<'_>,
        sources: &Sources<'_>,
        scope: CompanyScope,
        meant: &BTreeSet<usize>,
    ) -> String {
        let Reader {
            step, person, role, ..
        } = reader;
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
        format!("{:?}", listed.companies)
    }

    /// What it can filter by.
    async fn check_sources(&mut self, reader: &mut Reader<'_>, sources: &Sources<'_>) -> Vec<v1::Source> {
        let group = reader.group;
        let Reader {
            step, person, role, ..
        } = reader;
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
        listed
    }

    /// A filter by some field of a source.
    async fn check_filter(&mut self, reader: &mut Reader<'_>, one: &v1::Source) {
        let group = reader.group;
        let Reader {
            step, person, role, ..
        } = reader;
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

    /// A company that is not theirs.
    async fn check_no_company(&mut self, reader: &mut Reader<'_>, number: usize) {
        let Reader { step, person, .. } = reader;
        let (name, parent) = (company(number), person.parent.clone());
        let open = v1::GetCompanyProfileRequest {
            name: name.clone(),
            parent: parent.clone(),
            refresh: Refresh::Never as i32,
            ..Default::default()
        };
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
    }

    /// A profile from the store.
    async fn check_profile(
        &mut self,
        reader: &mut Reader<'_>,
        sources: &Sources<'_>,
        number: usize,
    ) -> String {
        let group = reader.group;
        let Reader {
            step, person, role, ..
        } = reader;
        let profile = person.stored(&company(number)).await;
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
        format!("{told:?}")
    }
}
