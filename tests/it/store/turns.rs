//! Which sync starts next, where several groups use several organizations, some of them the same.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Pseudo-random numbers of a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).unwrap()
    }
}

/// A saved integration of a group with an account of its own in an organization.
async fn of_organization(store: &Store, group: &GroupId, name: &str, organization: &str) -> IntegrationId {
    let draft = store
        .integration_create(new_integration(group, name))
        .await
        .unwrap();
    let login = new_credential(organization, &slug(name), b"token");
    let credential = store.credential_put(login, NOW).await.unwrap().credential;
    attach(store, draft.id, credential.id).await.unwrap();
    store.integration_activate(activate(draft.id)).await.unwrap();
    draft.id
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    group: String,
    organization: String,
}

/// What is known of the queue, and how often others went first.
#[derive(Default)]
struct Model {
    flows: BTreeMap<IntegrationId, Flow>,
    /// Integrations with a sync that waits to start.
    ready: BTreeSet<IntegrationId>,
    running: Vec<(Flow, Sync)>,
    /// How many syncs another group started for the organization, since a flow is ready.
    passed: BTreeMap<(Flow, String), usize>,
    /// How many syncs another group started, since a group could start one without a break.
    group_passed: BTreeMap<(String, String), usize>,
}

impl Model {
    fn has_place(&self, organization: &str) -> bool {
        !self
            .running
            .iter()
            .any(|(flow, _)| flow.organization == organization)
    }

    fn ready_flows(&self) -> BTreeSet<Flow> {
        self.ready.iter().map(|id| self.flows[id].clone()).collect()
    }

    /// A sync has started.
    fn start(&mut self, sync: Sync) {
        let id = sync.integration_id;
        let flow = self.flows[&id].clone();
        assert!(self.has_place(&flow.organization), "two syncs of {flow:?}");
        for other in self.ready_flows() {
            if other.organization == flow.organization && other.group != flow.group {
                let passed = self
                    .passed
                    .entry((other.clone(), flow.group.clone()))
                    .or_default();
                *passed += 1;
                assert!(
                    *passed <= 1,
                    "{other:?} waits for a second sync of {}",
                    flow.group
                );
            }
        }
        let groups: BTreeSet<String> = self.flows.values().map(|flow| flow.group.clone()).collect();
        for group in groups.into_iter().filter(|group| *group != flow.group) {
            // An organization that no other group uses.
            let can_start = self.ready_flows().iter().any(|one| {
                one.group == group && one.organization != "shared" && self.has_place(&one.organization)
            });
            if !can_start {
                self.group_passed.retain(|(waits, _), _| *waits != group);
                continue;
            }
            let passed = self
                .group_passed
                .entry((group.clone(), flow.group.clone()))
                .or_default();
            *passed += 1;
            assert!(*passed <= 1, "{group} waits for a second sync of {}", flow.group);
        }
        self.ready.remove(&id);
        self.passed.retain(|(waits, _), _| *waits != flow);
        self.group_passed.retain(|(waits, _), _| *waits != flow.group);
        self.running.push((flow, sync));
    }

    /// No sync could start.
    fn none(&self) {
        let could = self
            .ready_flows()
            .into_iter()
            .find(|flow| self.has_place(&flow.organization));
        assert_eq!(could, None);
    }
}

/// Three groups: one with many organizations, two with one each, and one that all of them use.
async fn queue(store: &Store) -> Model {
    let mut model = Model::default();
    for (name, own) in [("many", 4), ("few", 1), ("one", 1)] {
        let group = group(store, name).await;
        let own = (0..own).map(|n| format!("{name}{n}"));
        for organization in own.chain(["shared".to_owned()]) {
            for n in 0..2 {
                let id = of_organization(
                    store,
                    &group,
                    &format!("{name} {organization} {n}"),
                    &organization,
                )
                .await;
                let flow = Flow {
                    group: name.to_owned(),
                    organization: organization.clone(),
                };
                model.flows.insert(id, flow);
                model.ready.insert(id);
            }
        }
    }
    model
}

async fn fairly(store: &Store, seed: u64) {
    let mut chance = Chance(seed);
    let mut model = queue(store).await;
    let worker = Worker {
        per_organization: 1,
        ..worker("w")
    };
    for step in 0..240 {
        let now = NOW + step;
        let ids: Vec<IntegrationId> = model.flows.keys().copied().collect();
        match chance.below(4) {
            0 => {
                let id = ids[chance.below(ids.len())];
                let new = NewSync {
                    integration_id: id,
                    trigger: SyncTrigger::Manual,
                    create_by: "ada".to_owned(),
                    due_us: now,
                    confirms: None,
                    mode: SyncMode::Auto,
                    now_us: now,
                };
                if let Enqueued::New(_) = store.sync_enqueue(new).await.unwrap() {
                    model.ready.insert(id);
                }
            }
            1 if !model.running.is_empty() => {
                let (_, sync) = model.running.remove(chance.below(model.running.len()));
                let end = SyncEnd {
                    sync_id: sync.id,
                    fence: sync.fence,
                    state: SyncState::Failed,
                    error_reason: String::new(),
                    error_message: String::new(),
                    note: String::new(),
                    company_records: None,
                    now_us: now,
                };
                store.sync_finish(end).await.unwrap();
            }
            // There are two workers.
            _ if model.running.len() < 2 => {
                match store
                    .sync_lease_next(&worker, now, now + 1_000 * MINUTE)
                    .await
                    .unwrap()
                {
                    Some(sync) => model.start(sync),
                    None => model.none(),
                }
            }
            _ => {}
        }
    }
}

both! {
    async fn no_group_waits_for_two_syncs_of_another_one(store) {
        fairly(store, 1).await;
    }

    async fn a_new_group_does_not_wait_for_a_backlog(store) {
        let many = group(store, "many").await;
        // The first organization has one place, so a late sync of the second one starts before its backlog.
        for n in 0..6 {
            of_organization(store, &many, &format!("First {n}"), "00A").await;
        }
        let late = of_organization(store, &many, "Late", "00B").await;
        let worker = Worker { per_organization: 1, ..worker("w") };
        let next = async |at| store.sync_lease_next(&worker, at, at + 1_000 * MINUTE).await.unwrap();
        let first = next(NOW).await.unwrap();
        assert_eq!(next(NOW).await.unwrap().integration_id, late);
        assert_eq!(next(NOW).await, None);
        let new = group(store, "new").await;
        let id = of_organization(store, &new, "New", "00C").await;
        let end = SyncEnd {
            sync_id: first.id,
            fence: first.fence,
            state: SyncState::Failed,
            error_reason: String::new(),
            error_message: String::new(),
            note: String::new(),
            company_records: None,
            now_us: NOW,
        };
        store.sync_finish(end).await.unwrap();
        assert_eq!(next(NOW).await.unwrap().integration_id, id);
    }

    async fn turns_of_erased_groups_are_forgotten(store) {
        let g = group(store, "g").await;
        of_organization(store, &g, "One", "00A").await;
        store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await.unwrap().unwrap();
        assert_eq!(store.count("sync_turn", "group_id = 'g'"), 2);
        store.group_erase(&g, "ada", NOW).await.unwrap();
        assert_eq!(store.count("sync_turn", "group_id = 'g'"), 0);
    }
}
