//! A random world: two sources with their fields and records, in a store and in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Map, Value as Json, json};
use tether::domain::*;
use tether::index::{self, Index};
use tether::picklist::LazyPicklist;
use tether::query::{Engine, Field, Source, Tracked};
use tether::store::{self, Store};
use tokio_util::sync::CancellationToken;

use super::values::*;
use crate::support::alone::Alone as _;

pub(super) const NOW: Micros = 1_790_000_123_456_789;

/// A record, as the evaluator sees it.
#[derive(Clone)]
pub(super) struct Rec {
    pub(super) object: &'static str,
    pub(super) id: String,
    pub(super) company: Option<CompanyId>,
    pub(super) parents: Vec<String>,
    pub(super) name: String,
    pub(super) homepage: String,
    pub(super) domain: String,
    pub(super) payload: Map<String, Json>,
}

pub(super) fn random_record(rng: &mut StdRng, object: &'static str, id: usize, accounts: usize) -> Rec {
    let company_record = object == "Account";
    let (homepage, domain) = match rng.random_range(0..5) {
        0 => (String::new(), String::new()),
        1 => {
            let domain = format!("market{}.co.uk", rng.random_range(0..9));
            (format!("https://{domain}/"), domain)
        }
        _ => {
            let domain = format!("acme{}.com", rng.random_range(0..accounts / 2));
            (format!("http://www.{domain}/x"), domain)
        }
    };
    let id = format!("{}{id:05}", &object[..1]);
    let mut payload = Map::new();
    for def in FIELDS.iter().filter(|def| def.object == object) {
        if let Some(value) = random_value(rng, def.kind) {
            payload.insert(def.key.to_owned(), value);
        }
    }
    let parents = (0..if company_record { 0 } else { rng.random_range(0..3) })
        .map(|_| format!("A{:05}", rng.random_range(0..accounts + 2)))
        .collect::<BTreeSet<_>>();
    Rec {
        object,
        company: company_record.then(|| match domain.as_str() {
            "" => CompanyId::of_record("dummy", "org", &id),
            domain => CompanyId::of_domain(domain),
        }),
        domain,
        id,
        parents: parents.into_iter().collect(),
        name: if rng.random_bool(0.5) {
            format!("{} {}", pick(rng, NAMES), rng.random_range(0..20))
        } else {
            pick(rng, NAMES).to_owned()
        },
        homepage: if company_record { homepage } else { String::new() },
        payload,
    }
}

pub(super) fn row(rec: &Rec, hash: i64, deleted: bool) -> store::RecordRow {
    store::RecordRow {
        external_id: rec.id.clone(),
        company_id: rec.company,
        name: rec.name.clone(),
        homepage: Some(rec.homepage.clone()).filter(|homepage| !homepage.is_empty()),
        payload: serde_json::to_string(&rec.payload).unwrap(),
        hash,
        modified_us: hash,
        read_us: hash,
        deleted,
        merged_into: None,
        parents: rec
            .parents
            .iter()
            .map(|id| store::Parent {
                object: "Account".to_owned(),
                external_id: id.clone(),
            })
            .collect(),
    }
}

/// The description of a picklist with labels, as it is stored.
fn described() -> String {
    let entry = |(value, label): &(&str, &str)| json!({"value": value, "label": label, "active": true});
    json!({"picklist_values": LABELS.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

/// One random world: two sources of a group, with records in a store and in memory, and an index that follows.
pub(super) struct Data {
    pub(super) sources: Vec<Source>,
    pub(super) records: Vec<Vec<Rec>>,
    pub(super) tracked: Vec<Tracked>,
    pub(super) engine: Engine,
    pub(super) stop: CancellationToken,
    pub(super) follower: tokio::task::JoinHandle<()>,
    pub(super) _folder: tempfile::TempDir,
}

pub(super) async fn integration(store: &Store, group: &GroupId, name: &str) -> store::Integration {
    let draft = store
        .integration_create(store::NewIntegration {
            group_id: group.clone(),
            connector: "dummy".to_owned(),
            label: None,
            connected: true,
            display_name: name.to_owned(),
            settings: "{}".to_owned(),
            schedule: tether::domain::Schedule::manual(),
            budget: tether::domain::ApiBudget::default(),
            create_by: "ann".to_owned(),
            now_us: NOW,
            expire_us: NOW * 2,
            most_drafts: 1_000,
        })
        .await
        .unwrap();
    let credential = store::NewCredential {
        connector: "dummy".to_owned(),
        auth_kind: AuthKind::ClientCredentials,
        client_id: name.to_owned(),
        organization_id: "org".to_owned(),
        user_id: name.to_owned(),
        organization_name: String::new(),
        username: String::new(),
        user_display_name: String::new(),
        base_url: String::new(),
        sealed: vec![1],
        key_id: "k".to_owned(),
        refreshable: true,
    };
    let credential_id = store.credential_put(credential, NOW).await.unwrap().credential.id;
    let attach = store::AttachCredential {
        id: draft.id,
        credential_id,
        account_limit: 5,
        now_us: NOW,
    };
    store.integration_attach_credential(attach).await.unwrap();
    let fields = FIELDS.iter().zip(0..).map(|(def, position)| store::Field {
        integration_id: draft.id,
        object: def.object.to_owned(),
        key: def.key.to_owned(),
        label: def.key.to_owned(),
        field_type: def.kind,
        describe: json!({"long_text": def.long}).to_string(),
        position,
        missing_us: None,
        alias: String::new(),
        select_us: 0,
    });
    let update = store::IntegrationUpdate {
        id: draft.id,
        revision: None,
        display_name: None,
        label: None,
        shares: None,
        connected: None,
        by: "ada".to_owned(),
        settings: None,
        schedule: None,
        budget: None,
        fields: Some(fields.collect()),
        now_us: NOW,
    };
    store.integration_update(update).await.unwrap();
    let activate = store::Activate {
        id: draft.id,
        revision: None,
        account_limit: 5,
        company_records: None,
        by: "ann".to_owned(),
        now_us: NOW,
    };
    store.integration_activate(activate).await.unwrap().0
}

pub(super) async fn write(
    store: &Store,
    of: &store::Integration,
    rows: Vec<(&'static str, store::RecordRow)>,
    at: i64,
) -> i64 {
    let mut batches: BTreeMap<&str, Vec<store::RecordRow>> = BTreeMap::new();
    for (object, row) in rows {
        batches.entry(object).or_default().push(row);
    }
    let batches = batches.into_iter().map(|(object, rows)| store::RecordBatch {
        object: object.to_owned(),
        rows,
        complete_range: None,
        read: ReadTime::crm(at),
        partial: None,
    });
    let refresh = store::Refresh {
        integration_id: of.id,
        generation: store.integration_get(of.id).await.unwrap().generation,
        batches: batches.collect(),
        complete: Vec::new(),
        read: ReadTime::crm(at),
        now_us: at,
    };
    store.record_refresh(refresh).await.unwrap().change_no
}

/// A group that uses the connector.
async fn group(store: &Store, name: &str) -> GroupId {
    let group: GroupId = name.parse().unwrap();
    store.group_upsert(&group, name, NOW).await.unwrap();
    let enablement = store::Enablement {
        group_id: group.clone(),
        connector: "dummy".to_owned(),
        enabled: true,
        update_us: NOW,
        update_by: "ann".to_owned(),
    };
    store.enablement_set(enablement).await.unwrap();
    group
}

/// An index that follows the store soon.
fn followed(store: &Store, folder: &std::path::Path) -> Index {
    let mut options = index::Options::new(folder);
    options.poll = Duration::from_millis(20);
    options.commit = Duration::from_millis(1);
    Index::new(store.clone(), options)
}

/// Some change, some go; answers the rows of the step.
fn change(
    rng: &mut StdRng,
    list: &mut Vec<Rec>,
    size: usize,
    step: i64,
) -> Vec<(&'static str, store::RecordRow)> {
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    for rec in std::mem::take(list) {
        let number = rec.id[1..].parse().unwrap();
        match rng.random_range(0..12) {
            0 => rows.push((rec.object, row(&rec, step, true))),
            1 => {
                let new = random_record(rng, rec.object, number, size);
                rows.push((new.object, row(&new, step, false)));
                kept.push(new);
            }
            _ => kept.push(rec),
        }
    }
    *list = kept;
    rows
}

fn source(of: &store::Integration, label: &str) -> Source {
    Source {
        integration: of.id,
        label: label.to_owned(),
        company_object: "Account".to_owned(),
        fields: FIELDS
            .iter()
            .map(|def| Field {
                object: def.object.to_owned(),
                key: def.key.to_owned(),
                field_type: def.kind,
                alias: alias_of(def.key).to_owned(),
                long_text: def.long,
                active: true,
                picklist: if def.labelled {
                    LazyPicklist::new(described())
                } else {
                    LazyPicklist::default()
                },
            })
            .collect(),
    }
}

/// The group's own list.
fn tracked(rng: &mut StdRng, size: usize) -> Vec<Tracked> {
    let mut tracked: BTreeMap<CompanyId, Tracked> = BTreeMap::new();
    for at in 0..size / 4 {
        let domain = format!(
            "acme{}.com",
            if at % 3 == 0 {
                9_000 + at
            } else {
                rng.random_range(0..size / 2)
            }
        );
        let name = pick(rng, NAMES).to_owned();
        let company_id = CompanyId::of_domain(&domain);
        let one = Tracked {
            company_id,
            name_key: name_key(&name),
            name,
            homepage: format!("https://{domain}/"),
            domain,
        };
        tracked.insert(company_id, one);
    }
    tracked.into_values().collect()
}

impl Data {
    pub(super) async fn make(store: &Store, rng: &mut StdRng, name: &str, size: usize) -> Self {
        let group = group(store, name).await;
        let folder = tempfile::tempdir().unwrap();
        let index = followed(store, folder.path());
        let stop = CancellationToken::new();
        let follower = tokio::spawn({
            let (index, stop) = (index.clone(), stop.clone());
            async move { index.run(stop).await }
        });
        let (mut sources, mut records) = (Vec::new(), Vec::new());
        for label in ["one", "two"] {
            let of = integration(store, &group, &format!("{name} {label}")).await;
            let mut list = Vec::new();
            for (object, count) in [("Account", size), ("Opportunity", size * 2), ("Contact", size)] {
                list.extend((0..count).map(|id| random_record(rng, object, id, size)));
            }
            let rows = list.iter().map(|rec| (rec.object, row(rec, 1, false))).collect();
            let first = write(store, &of, rows, NOW).await;
            assert_eq!(index.wait(&[(of.id, first)], Duration::from_secs(60)).await, None);
            for step in 2..5 {
                let rows = change(rng, &mut list, size, step);
                let last = write(store, &of, rows, NOW + step).await;
                assert_eq!(index.wait(&[(of.id, last)], Duration::from_secs(60)).await, None);
            }
            sources.push(source(&of, label));
            records.push(list);
        }
        Self {
            sources,
            records,
            tracked: tracked(rng, size),
            engine: Engine::new(index),
            stop,
            follower,
            _folder: folder,
        }
    }
}
