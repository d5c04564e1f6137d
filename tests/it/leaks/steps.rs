//! The random steps: each does something in the server and in the model, and answers whom it may show to.

use crate::support::server::{Person, World, ok, refused};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use tether::proto::v1;

use super::model::*;
use super::same;

/// One group's people.
pub(super) struct People {
    pub(super) admin: Person,
    pub(super) member: Person,
}

pub(super) struct Hunt {
    pub(super) world: World,
    pub(super) people: Vec<People>,
    pub(super) platform: Person,
    pub(super) model: Model,
    pub(super) dice: StdRng,
    pub(super) next: usize,
    pub(super) comparisons: u64,
    /// What each group read after the last step.
    pub(super) read: Vec<String>,
}

impl Hunt {
    pub(super) fn admin(&self, group: Group) -> Person {
        self.people[group].admin.clone()
    }

    pub(super) fn pick_fields(&mut self, of: &[&'static str]) -> Fields {
        of.iter()
            .copied()
            .filter(|_| self.dice.random_bool(0.5))
            .collect()
    }

    /// An integration that is there, at random.
    pub(super) fn pick(&mut self, keep: impl Fn(&Integration) -> bool) -> Option<String> {
        let there: Vec<&String> = self
            .model
            .integrations
            .iter()
            .filter(|(_, of)| !of.deleted && keep(of))
            .map(|(name, _)| name)
            .collect();
        there.choose(&mut self.dice).map(|name| (*name).clone())
    }

    pub(super) async fn enable(&mut self, group: Group, enabled: bool) {
        let (parent, connector) = (format!("groups/{}", GROUPS[group]), "connectors/dummy".to_owned());
        let mut admin = self.admin(group);
        if enabled {
            ok(admin
                .integrations
                .enable_connector(v1::EnableConnectorRequest { parent, connector }))
            .await;
        } else {
            ok(admin
                .integrations
                .disable_connector(v1::DisableConnectorRequest { parent, connector }))
            .await;
        }
        self.model.enabled.insert(group, enabled);
    }

    /// Does something at random; answers what, and which groups it may show to.
    pub(super) async fn step(&mut self) -> (String, BTreeSet<Group>) {
        for _ in 0..100 {
            let done = match self.dice.random_range(0..16) {
                0 | 1 => self.create().await,
                2 | 3 => self.connect_groups().await,
                4..=6 => self.share().await,
                7 => self.unshare().await,
                8 | 9 => self.decide().await,
                10 => self.connect().await,
                11 => self.toggle_connector().await,
                12 => self.edit().await,
                13 => self.delete().await,
                14 => self.track().await,
                _ => self.delete_group().await,
            };
            if let Some(done) = done {
                return done;
            }
        }
        ("nothing".to_owned(), BTreeSet::new())
    }

    pub(super) async fn create(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let owner = self.dice.random_range(0..GROUPS.len());
        let there = self.model.integrations.values().filter(|of| !of.deleted).count();
        if there >= MOST || !self.model.enabled(owner) {
            return None;
        }
        self.next += 1;
        let (number, companies) = (self.next, self.dice.random_range(1..6));
        let display_name = format!("Integration {number}");
        let mut selected = self.pick_fields(&FIELDS);
        selected.insert("Company.Industry");
        self.world.script(&json!({"companies": companies.to_string()}));
        let mut admin = self.admin(owner);
        let name = admin.create("dummy", &display_name).await;
        // Accounts of their own, so that no place runs out.
        admin.log_in_with_key(&name, &format!("user{number}")).await;
        let fields: Vec<&str> = selected.iter().copied().collect();
        admin.select(&name, &fields).await;
        let mut of = Integration {
            owner,
            display_name,
            saved: false,
            deleted: false,
            selected,
            passive: Fields::new(),
            connected: true,
            shares: BTreeMap::new(),
            companies,
        };
        // Some are shared while they are drafts.
        if self.dice.random_bool(0.5) {
            let others: Vec<Group> = (0..GROUPS.len())
                .filter(|other| self.model.connections.contains(&pair(owner, *other)))
                .collect();
            if let Some(&other) = others.choose(&mut self.dice) {
                admin.share(&name, GROUPS[other], &[]).await;
                let share = Share {
                    connected: true,
                    ..Share::default()
                };
                of.shares.insert(other, share);
            }
        }
        if self.dice.random_bool(0.8) {
            let sync = admin.activate(&name).await;
            admin.succeeds(&sync).await;
            of.saved = true;
        }
        self.model.integrations.insert(name.clone(), of);
        let audience = self.model.audience(&name);
        Some((format!("create {number} by {}", GROUPS[owner]), audience))
    }

    pub(super) async fn connect_groups(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let (a, b) = (
            self.dice.random_range(0..GROUPS.len()),
            self.dice.random_range(0..GROUPS.len()),
        );
        if a == b {
            return None;
        }
        let (group, other_group) = (format!("groups/{}", GROUPS[a]), format!("groups/{}", GROUPS[b]));
        if self.dice.random_bool(0.75) {
            ok(self
                .platform
                .groups
                .connect_groups(v1::ConnectGroupsRequest { group, other_group }))
            .await;
            self.model.connections.insert(pair(a, b));
            return Some((format!("connect {} {}", GROUPS[a], GROUPS[b]), [a, b].into()));
        }
        ok(self
            .platform
            .groups
            .disconnect_groups(v1::DisconnectGroupsRequest { group, other_group }))
        .await;
        self.model.connections.remove(&pair(a, b));
        for of in self.model.integrations.values_mut().filter(|of| of.saved) {
            if of.owner == a {
                of.shares.remove(&b);
            }
            if of.owner == b {
                of.shares.remove(&a);
            }
        }
        Some((format!("disconnect {} {}", GROUPS[a], GROUPS[b]), [a, b].into()))
    }

    pub(super) async fn share(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let name = self.pick(|_| true)?;
        let other = self.dice.random_range(0..GROUPS.len());
        let of = self.model.integrations[&name].clone();
        if other == of.owner {
            return None;
        }
        let all = self.dice.random_bool(0.4);
        let active: Vec<&'static str> = of
            .selected
            .iter()
            .copied()
            .filter(|field| !of.passive.contains(field))
            .collect();
        let fields = self.pick_fields(&active);
        if !all && fields.is_empty() {
            return None;
        }
        let listed: Vec<&str> = if all {
            Vec::new()
        } else {
            fields.iter().copied().collect()
        };
        let mut admin = self.admin(of.owner);
        let step = format!("share {} with {}", of.display_name, GROUPS[other]);
        if !self.model.connections.contains(&pair(of.owner, other)) {
            let share = v1::Share {
                name: format!("{name}/shares/{}", GROUPS[other]),
                all_active_fields: all,
                fields: listed.iter().map(|field| (*field).to_owned()).collect(),
                ..Default::default()
            };
            let set = v1::SetShareRequest { share: Some(share) };
            same!(
                self,
                step,
                "of groups that are not connected",
                refused(admin.integrations.set_share(set)).await.reason,
                "NOT_FOUND"
            );
            return Some((step, BTreeSet::new()));
        }
        admin.share(&name, GROUPS[other], &listed).await;
        let of = self.model.integrations.get_mut(&name)?;
        let share = of.shares.entry(other).or_insert(Share {
            connected: true,
            ..Share::default()
        });
        share.fields = (!all).then_some(fields);
        Some((step, [of.owner, other].into()))
    }

    pub(super) async fn unshare(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let name = self.pick(|of| !of.shares.is_empty())?;
        let of = self.model.integrations.get_mut(&name)?;
        let others: Vec<Group> = of.shares.keys().copied().collect();
        let other = *others.choose(&mut self.dice)?;
        of.shares.remove(&other);
        let owner = of.owner;
        let mut admin = self.admin(owner);
        let name = format!("{name}/shares/{}", GROUPS[other]);
        ok(admin.integrations.remove_share(v1::RemoveShareRequest { name })).await;
        Some((format!("unshare with {}", GROUPS[other]), [owner, other].into()))
    }

    pub(super) async fn decide(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let name = self.pick(|_| true)?;
        let group = self.dice.random_range(0..GROUPS.len());
        let fields = self.model.integrations[&name].fields(group)?;
        let seen: Vec<&'static str> = fields.keys().copied().collect();
        let active = self.pick_fields(&seen);
        let passive: Fields = self.pick_fields(&seen).difference(&active).copied().collect();
        if active.is_empty() && passive.is_empty() {
            return None;
        }
        let mut admin = self.admin(group);
        let list = |of: &Fields| of.iter().copied().collect::<Vec<_>>();
        admin.decide(&name, &list(&active), &list(&passive)).await;
        let of = self.model.integrations.get_mut(&name)?;
        if group == of.owner {
            of.passive.retain(|field| !active.contains(field));
            of.passive.extend(passive);
            let audience = self.model.audience(&name);
            return Some((format!("{} decides for its own", GROUPS[group]), audience));
        }
        let share = of.shares.get_mut(&group)?;
        share.active.retain(|field| !passive.contains(field));
        share.active.extend(active);
        Some((format!("{} decides for received", GROUPS[group]), [group].into()))
    }

    pub(super) async fn connect(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let name = self.pick(|_| true)?;
        let group = self.dice.random_range(0..GROUPS.len());
        self.model.integrations[&name].fields(group)?;
        let connected = self.dice.random_bool(0.6);
        let mut admin = self.admin(group);
        let (id, step) = (name.clone(), format!("{} connects: {connected}", GROUPS[group]));
        if connected {
            ok(admin
                .integrations
                .connect_integration(v1::ConnectIntegrationRequest { name: id }))
            .await;
        } else {
            ok(admin
                .integrations
                .disconnect_integration(v1::DisconnectIntegrationRequest { name: id }))
            .await;
        }
        let of = self.model.integrations.get_mut(&name)?;
        if group == of.owner {
            of.connected = connected;
            return Some((step, [group].into()));
        }
        of.shares.get_mut(&group)?.connected = connected;
        // Its owner sees in the share whether it is used.
        Some((step, [group, of.owner].into()))
    }

    pub(super) async fn toggle_connector(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let group = self.dice.random_range(0..GROUPS.len());
        let enabled = self.dice.random_bool(0.7);
        self.enable(group, enabled).await;
        let touched = self.model.neighbours(group);
        Some((format!("{} enables: {enabled}", GROUPS[group]), touched))
    }

    /// Another name, another selection, other shares, in one update.
    pub(super) async fn edit(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let name = self.pick(|_| true)?;
        let before = self.model.audience(&name);
        let of = self.model.integrations[&name].clone();
        if !self.model.enabled(of.owner) {
            return None;
        }
        let mut selected = self.pick_fields(&FIELDS);
        selected.insert("Company.Industry");
        let mut shares: BTreeMap<Group, Option<Fields>> = BTreeMap::new();
        let active: Vec<&'static str> = selected
            .iter()
            .copied()
            .filter(|field| !of.passive.contains(field))
            .collect();
        for other in 0..GROUPS.len() {
            if self.model.connections.contains(&pair(of.owner, other))
                && other != of.owner
                && self.dice.random_bool(0.5)
            {
                let fields = self.pick_fields(&active);
                shares.insert(other, (!fields.is_empty()).then_some(fields));
            }
        }
        self.next += 1;
        let display_name = format!("Integration {}", self.next);
        let owned = |fields: &Fields| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        let integration = v1::Integration {
            name: name.clone(),
            display_name: display_name.clone(),
            selected_fields: owned(&selected),
            shares: shares
                .iter()
                .map(|(other, fields)| v1::Share {
                    group: format!("groups/{}", GROUPS[*other]),
                    all_active_fields: fields.is_none(),
                    fields: fields.as_ref().map(owned).unwrap_or_default(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        self.world.script(&json!({"companies": of.companies.to_string()}));
        let mut admin = self.admin(of.owner);
        let paths = ["display_name", "selected_fields", "shares"]
            .map(str::to_owned)
            .to_vec();
        let update = v1::UpdateIntegrationRequest {
            integration: Some(integration),
            update_mask: Some(prost_types::FieldMask { paths }),
            ..Default::default()
        };
        ok(admin.integrations.update_integration(update)).await;
        if of.saved {
            let list = v1::ListSyncsRequest {
                parent: name.clone(),
                ..Default::default()
            };
            let last = ok(admin.integrations.list_syncs(list)).await.syncs[0]
                .name
                .clone();
            admin.succeeds(&last).await;
        }
        let of = self.model.integrations.get_mut(&name)?;
        of.display_name = display_name;
        of.selected = selected;
        of.shares.retain(|other, _| shares.contains_key(other));
        for (other, fields) in shares {
            let share = of.shares.entry(other).or_insert(Share {
                connected: true,
                ..Share::default()
            });
            share.fields = fields;
        }
        let touched = before.union(&self.model.audience(&name)).copied().collect();
        Some((format!("edit {name}"), touched))
    }

    pub(super) async fn delete(&mut self) -> Option<(String, BTreeSet<Group>)> {
        if self.dice.random_bool(0.4) {
            return None;
        }
        let name = self.pick(|_| true)?;
        let touched = self.model.audience(&name);
        let of = self.model.integrations.get_mut(&name)?;
        of.deleted = true;
        let mut admin = self.people[of.owner].admin.clone();
        admin.delete(&name).await;
        Some((format!("delete {name}"), touched))
    }

    pub(super) async fn track(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let group = self.dice.random_range(0..GROUPS.len());
        let number = self.dice.random_range(1..6);
        let mut member = self.people[group].member.clone();
        let (parent, name) = (member.parent.clone(), company(number));
        if self.dice.random_bool(0.5) {
            let names = vec![name];
            ok(member
                .companies
                .untrack_companies(v1::UntrackCompaniesRequest { parent, names }))
            .await;
            self.model.tracked.entry(group).or_default().remove(&number);
        } else {
            let sources = self.model.integrations.values();
            let most = sources
                .filter(|of| self.model.is_source(of, group))
                .map(|of| of.companies)
                .max();
            if most.unwrap_or_default() < number {
                return None;
            }
            let companies = vec![v1::CompanyToTrack {
                company: Some(v1::company_to_track::Company::Name(name)),
            }];
            ok(member
                .companies
                .track_companies(v1::TrackCompaniesRequest { parent, companies }))
            .await;
            self.model.tracked.entry(group).or_default().insert(number);
        }
        Some((format!("{} tracks", GROUPS[group]), [group].into()))
    }

    /// A group goes, and comes back with nothing.
    pub(super) async fn delete_group(&mut self) -> Option<(String, BTreeSet<Group>)> {
        if self.dice.random_bool(0.7) {
            return None;
        }
        let group = self.dice.random_range(0..GROUPS.len());
        let mut touched = self.model.neighbours(group);
        let name = format!("groups/{}", GROUPS[group]);
        ok(self
            .platform
            .groups
            .delete_group(v1::DeleteGroupRequest { name: name.clone() }))
        .await;
        let of = v1::Group {
            name,
            display_name: GROUPS[group].to_owned(),
            ..Default::default()
        };
        ok(self
            .platform
            .groups
            .upsert_group(v1::UpsertGroupRequest { group: Some(of) }))
        .await;
        for of in self.model.integrations.values_mut() {
            if of.owner == group {
                of.deleted = true;
            } else if of.shares.remove(&group).is_some() {
                touched.insert(of.owner);
            }
        }
        // Who was connected with it finds it no more.
        touched
            .extend((0..GROUPS.len()).filter(|other| self.model.connections.contains(&pair(group, *other))));
        self.model.connections.retain(|(a, b)| *a != group && *b != group);
        self.model.enabled.remove(&group);
        self.model.tracked.remove(&group);
        Some((format!("{} is deleted", GROUPS[group]), touched))
    }
}
