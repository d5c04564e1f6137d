//! The hunt for leaks: random worlds of groups, connections, shares, activations, disables and deletions. After each step
//! every read of every group is held against a slow and obvious model of who may see what; and what a step has nothing to
//! do with a group must not change one byte of what that group reads.
//!
//! `TETHER_LEAK_STEPS=2000 TETHER_LEAK_SEED=7 cargo test --release --test it leaks:: -- --nocapture` makes it a long one (about a
//! second a step and database; nextest would end it after five minutes); it prints the number of comparisons.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::get_company_profile_request::Refresh;
use tether::proto::v1::integration::{Relation, State};
use tether::proto::v1::{self, CompanyScope};

use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases, refused};

on_both_databases!(nobody_sees_what_is_not_theirs);

const GROUPS: [&str; 5] = ["acme", "globex", "hooli", "initech", "umbrella"];
const FIELDS: [&str; 6] = [
    "Company.Employees",
    "Company.Industry",
    "Company.Name",
    "Deal.Amount",
    "Deal.Stage",
    "Person.Email",
];
/// Most integrations at a time.
const MOST: usize = 7;

type Group = usize;
type Fields = BTreeSet<&'static str>;

/// A share of the model.
#[derive(Clone, Debug, Default)]
struct Share {
    /// `None` for all active ones.
    fields: Option<Fields>,
    connected: bool,
    active: Fields,
}

/// An integration of the model.
#[derive(Clone, Debug)]
struct Integration {
    owner: Group,
    display_name: String,
    saved: bool,
    deleted: bool,
    selected: Fields,
    /// What the owner made passive; a decision outlives the selection.
    passive: Fields,
    connected: bool,
    shares: BTreeMap<Group, Share>,
    /// Its companies are 1 to this.
    companies: usize,
}

impl Integration {
    /// The fields a group sees, with whether they are active; `None` if it does not see the integration at all.
    fn fields(&self, group: Group) -> Option<BTreeMap<&'static str, bool>> {
        if self.deleted {
            return None;
        }
        let owned = |field: &&'static str| (*field, !self.passive.contains(field));
        if group == self.owner {
            return Some(self.selected.iter().map(owned).collect());
        }
        let share = self.shares.get(&group).filter(|_| self.saved)?;
        let gets = |field: &&&'static str| {
            !self.passive.contains(**field)
                && share
                    .fields
                    .as_ref()
                    .is_none_or(|listed| listed.contains(**field))
        };
        let fields = self.selected.iter().filter(gets);
        Some(
            fields
                .map(|field| (*field, share.active.contains(field)))
                .collect(),
        )
    }

    fn connected(&self, group: Group) -> bool {
        if group == self.owner {
            self.connected
        } else {
            self.shares.get(&group).is_some_and(|share| share.connected)
        }
    }
}

/// Who may see what, kept in the simplest way.
#[derive(Default)]
struct Model {
    integrations: BTreeMap<String, Integration>,
    connections: BTreeSet<(Group, Group)>,
    /// What was last said of the connector.
    enabled: BTreeMap<Group, bool>,
    tracked: BTreeMap<Group, BTreeSet<usize>>,
}

fn pair(a: Group, b: Group) -> (Group, Group) {
    (a.min(b), a.max(b))
}

impl Model {
    fn enabled(&self, group: Group) -> bool {
        self.enabled.get(&group).copied().unwrap_or(false)
    }

    /// Whether a group's companies come from it.
    fn is_source(&self, of: &Integration, group: Group) -> bool {
        of.saved
            && of.fields(group).is_some()
            && of.connected(group)
            && self.enabled(of.owner)
            && self.enabled.get(&group).copied().unwrap_or(group != of.owner)
    }

    /// The groups that a change of an integration may show to.
    fn audience(&self, name: &str) -> BTreeSet<Group> {
        self.integrations
            .get(name)
            .map(|of| of.shares.keys().copied().chain([of.owner]).collect())
            .unwrap_or_default()
    }

    /// The groups that anything of a group's may show to.
    fn neighbours(&self, group: Group) -> BTreeSet<Group> {
        let own = self
            .integrations
            .iter()
            .filter(|(_, of)| !of.deleted && of.owner == group);
        own.flat_map(|(name, _)| self.audience(name))
            .chain([group])
            .collect()
    }
}

/// One group's people.
struct People {
    admin: Person,
    member: Person,
}

struct Hunt {
    world: World,
    people: Vec<People>,
    platform: Person,
    model: Model,
    dice: StdRng,
    next: usize,
    comparisons: u64,
    /// What each group read after the last step.
    read: Vec<String>,
}

macro_rules! same {
    ($hunt:expr, $step:expr, $what:expr, $left:expr, $right:expr) => {{
        $hunt.comparisons += 1;
        match ($left, $right) {
            (left, right) => assert!(
                left == right,
                "after {}: {}: the server says {left:?}, the model {right:?}",
                $step,
                $what
            ),
        }
    }};
}

async fn nobody_sees_what_is_not_theirs(database: Database) {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (steps, seed) = (number("TETHER_LEAK_STEPS", 12), number("TETHER_LEAK_SEED", 1));
    let world = World::start(database, 1).await;
    let mut platform = world.person("platform", "", Role::Service).await;
    let mut people = Vec::new();
    for group in GROUPS {
        let of = v1::Group {
            name: format!("groups/{group}"),
            display_name: group.to_owned(),
            ..Default::default()
        };
        ok(platform
            .groups
            .upsert_group(v1::UpsertGroupRequest { group: Some(of) }))
        .await;
        people.push(People {
            admin: world.person("admin", group, Role::Administrator).await,
            member: world.person("member", group, Role::Member).await,
        });
    }
    let mut hunt = Hunt {
        world,
        people,
        platform,
        model: Model::default(),
        dice: StdRng::seed_from_u64(seed),
        next: 0,
        comparisons: 0,
        read: vec![String::new(); GROUPS.len()],
    };
    for group in 0..GROUPS.len() {
        hunt.enable(group, true).await;
        hunt.read[group] = hunt.check("the beginning", group).await;
    }
    for number in 0..steps {
        let (step, touched) = hunt.step().await;
        let step = format!("step {number} of seed {seed} ({step})");
        for (group, name) in GROUPS.iter().enumerate() {
            let now = hunt.check(&step, group).await;
            if !touched.contains(&group) {
                same!(
                    hunt,
                    step,
                    format!("{name} has nothing to do with it"),
                    &now,
                    &hunt.read[group].clone()
                );
            }
            hunt.read[group] = now;
        }
        // A long hunt may be cut off: what it has shown until then counts.
        if (number + 1) % 100 == 0 || number + 1 == steps {
            println!(
                "{database:?}: {} steps of seed {seed}, {} comparisons, differences = 0",
                number + 1,
                hunt.comparisons
            );
        }
    }
}

impl Hunt {
    fn admin(&self, group: Group) -> Person {
        self.people[group].admin.clone()
    }

    fn pick_fields(&mut self, of: &[&'static str]) -> Fields {
        of.iter()
            .copied()
            .filter(|_| self.dice.random_bool(0.5))
            .collect()
    }

    /// An integration that is there, at random.
    fn pick(&mut self, keep: impl Fn(&Integration) -> bool) -> Option<String> {
        let there: Vec<&String> = self
            .model
            .integrations
            .iter()
            .filter(|(_, of)| !of.deleted && keep(of))
            .map(|(name, _)| name)
            .collect();
        there.choose(&mut self.dice).map(|name| (*name).clone())
    }

    async fn enable(&mut self, group: Group, enabled: bool) {
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
    async fn step(&mut self) -> (String, BTreeSet<Group>) {
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

    async fn create(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn connect_groups(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn share(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn unshare(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn decide(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn connect(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn toggle_connector(&mut self) -> Option<(String, BTreeSet<Group>)> {
        let group = self.dice.random_range(0..GROUPS.len());
        let enabled = self.dice.random_bool(0.7);
        self.enable(group, enabled).await;
        let touched = self.model.neighbours(group);
        Some((format!("{} enables: {enabled}", GROUPS[group]), touched))
    }

    /// Another name, another selection, other shares, in one update.
    async fn edit(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn delete(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    async fn track(&mut self) -> Option<(String, BTreeSet<Group>)> {
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
    async fn delete_group(&mut self) -> Option<(String, BTreeSet<Group>)> {
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

    /// Holds all that a group reads against the model; answers what it read.
    async fn check(&mut self, step: &str, group: Group) -> String {
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
    async fn check_one(
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
    async fn check_companies(
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

fn company(number: usize) -> String {
    // `.example` is no public suffix: the dummy's companies are records.
    crate::support::companies::of_record("dummy", "org-acme", &format!("C{number:08}"))
}
