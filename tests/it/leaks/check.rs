//! Every read of a group's integrations, held against the model.

use std::collections::{BTreeMap, BTreeSet};

use tether::proto::v1;
use tether::proto::v1::integration::{Relation, State};

use super::model::*;
use super::same;
use super::steps::Hunt;
use crate::support::server::{Person, ok, refused};

/// Somebody who reads after a step.
pub(super) struct Reader<'a> {
    pub(super) step: &'a str,
    pub(super) person: Person,
    pub(super) group: Group,
    /// An administrator, or a member.
    admin: bool,
    pub(super) role: String,
}

impl Hunt {
    /// Holds all that a group reads against the model; answers what it read.
    pub(super) async fn check(&mut self, step: &str, group: Group) -> String {
        let mut read = String::new();
        let all: Vec<(String, Integration)> = self
            .model
            .integrations
            .iter()
            .map(|(name, of)| (name.clone(), of.clone()))
            .collect();
        for admin in [true, false] {
            let who = &self.people[group];
            let mut reader = Reader {
                step,
                group,
                admin,
                person: if admin {
                    who.admin.clone()
                } else {
                    who.member.clone()
                },
                role: format!(
                    "{} ({})",
                    GROUPS[group],
                    if admin { "administrator" } else { "member" }
                ),
            };
            read += &self.check_list(&mut reader, &all).await;
            // Each that ever was, whoever's.
            for (name, of) in &all {
                read += &self.check_one(&mut reader, name, of).await;
            }
            read += &self.check_companies(&mut reader, &all).await;
        }
        read
    }

    /// The list of integrations, as somebody reads it.
    async fn check_list(&mut self, reader: &mut Reader<'_>, all: &[(String, Integration)]) -> String {
        let (group, admin) = (reader.group, reader.admin);
        let Reader {
            step, person, role, ..
        } = reader;
        let states = [
            State::Draft,
            State::Active,
            State::NeedsReauthorization,
            State::Paused,
            State::Disabled,
        ];
        let list = v1::ListIntegrationsRequest {
            parent: person.parent.clone(),
            page_size: 200,
            states: states.map(|state| state as i32).to_vec(),
            ..Default::default()
        };
        let listed = ok(person.integrations.list_integrations(list)).await;
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
        format!("{listed:?}")
    }

    /// One integration, as somebody reads it.
    async fn check_one(&mut self, reader: &mut Reader<'_>, name: &str, of: &Integration) -> String {
        let (group, admin) = (reader.group, reader.admin);
        let owned = of.owner == group;
        let fields = of.fields(group).filter(|_| of.saved || (admin && owned));
        let Some(fields) = fields else {
            self.check_hidden(reader, name).await;
            return String::new();
        };
        let Reader {
            step, person, role, ..
        } = &mut *reader;
        let got = person.get(name).await;
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
        self.check_shares(reader, &got, of).await;
        let runs = self.check_syncs(reader, name, owned, &fields).await;
        // Names and times of what others do are not in it: all of it may be compared.
        format!(
            "{got:?}{told:?}{}",
            if owned { String::new() } else { format!("{runs:?}") }
        )
    }

    /// An integration that is not theirs.
    async fn check_hidden(&mut self, reader: &mut Reader<'_>, name: &str) {
        let Reader {
            step, person, role, ..
        } = reader;
        let list = v1::ListFieldsRequest {
            parent: name.to_owned(),
            ..Default::default()
        };
        for reason in [
            person.cannot_get(name).await.reason,
            refused(person.integrations.list_fields(list)).await.reason,
            refused(person.integrations.list_syncs(Person::history(name)))
                .await
                .reason,
        ] {
            same!(
                self,
                step,
                format!("{name} for {role}"),
                reason.as_str(),
                "NOT_FOUND"
            );
        }
    }

    /// The shares of an integration, as somebody reads them.
    async fn check_shares(&mut self, reader: &mut Reader<'_>, got: &v1::Integration, of: &Integration) {
        let (admin, owned) = (reader.admin, of.owner == reader.group);
        let Reader {
            step, person, role, ..
        } = &mut *reader;
        let name = &got.name;
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
        let shares = v1::ListSharesRequest {
            parent: name.clone(),
            page_size: 500,
            ..Default::default()
        };
        if admin && owned {
            let listed = ok(person.integrations.list_shares(shares)).await;
            for share in &listed.shares {
                self.check_share(step, role, share, of);
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
    }

    /// One of them: what the receiver would see; of a draft, what it will.
    fn check_share(&mut self, step: &str, role: &str, share: &v1::Share, of: &Integration) {
        let other = GROUPS
            .iter()
            .position(|group| share.group.ends_with(group))
            .unwrap();
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

    /// The history of an integration, as somebody reads it.
    async fn check_syncs(
        &mut self,
        reader: &mut Reader<'_>,
        name: &str,
        owned: bool,
        fields: &BTreeMap<&'static str, bool>,
    ) -> v1::ListSyncsResponse {
        let Reader {
            step, person, role, ..
        } = reader;
        let runs = ok(person.integrations.list_syncs(Person::history(name))).await;
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
        runs
    }
}
