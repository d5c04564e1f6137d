//! The proof of the read model: random filters, words and orders over random records, answered by it and by a slow,
//! obvious evaluator that knows nothing but the records; both must give the same companies in the same order.
//!
//! The bench `filters` runs it at length, the tests a few hundred of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value as Json, json};
use tether::domain::*;
use tether::index::text::{fold, plain, words};
use tether::index::{self, Index};
use tether::query::{Engine, Field, Plan, Question, Source, Text, Tracked};
use tether::store::{self, Store};
use tokio_util::sync::CancellationToken;

use crate::support::alone::Alone as _;

const NOW: Micros = 1_790_000_123_456_789;

/// A field of the random sources.
#[derive(Clone, Copy)]
struct Def {
    object: &'static str,
    key: &'static str,
    kind: FieldType,
    long: bool,
}

const fn def(object: &'static str, key: &'static str, kind: FieldType) -> Def {
    Def {
        object,
        key,
        kind,
        long: false,
    }
}

const FIELDS: &[Def] = &[
    def("Account", "Industry", FieldType::Picklist),
    def("Account", "Motto", FieldType::Text),
    Def {
        long: true,
        ..def("Account", "Story", FieldType::Text)
    },
    def("Account", "Page", FieldType::Html),
    def("Account", "Tags", FieldType::MultiPicklist),
    def("Account", "Staff", FieldType::Integer),
    def("Account", "Revenue", FieldType::Currency),
    def("Account", "Ratio", FieldType::Decimal),
    def("Account", "Open", FieldType::Boolean),
    def("Account", "Founded", FieldType::Date),
    def("Account", "Seen", FieldType::Timestamp),
    def("Account", "Bell", FieldType::Time),
    def("Account", "Owner", FieldType::Reference),
    def("Account", "Seat", FieldType::Address),
    def("Account", "Place", FieldType::Location),
    def("Opportunity", "Stage", FieldType::Picklist),
    def("Opportunity", "Amount", FieldType::Currency),
    def("Opportunity", "Close", FieldType::Date),
    def("Contact", "Last Name", FieldType::Text),
    def("Contact", "NOT", FieldType::Text),
];

const TEXTS: &[&str] = &[
    "Banking",
    "BANKING",
    "banking & more",
    "Straße",
    "STRASSE",
    "Société",
    "Societe",
    "a*b",
    "*",
    "Closed Won",
    "closed lost",
    "Won",
    "x\"y'z\\",
    "Ünïcode",
    "ünïcode",
    "日本",
    "ﬁne",
    "fine",
    "10",
    "2026-01-31",
    "today",
    "e\u{301}tat",
    "état",
    "zebra",
    "Zebra crossing",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "1.5",
    "-1.5",
    "1000000",
    "999999999999",
    "1000000000000",
    "-1000000000000",
    "0.000001",
    "0.0000001",
    "-0.0000001",
    "12345678901234567890",
    "-12345678901234567890",
    "1.0000001",
    "1.0000002",
    "7",
    "42",
    "100.25",
    "0.1234567891",
];
const DATES: &[&str] = &[
    "2026-09-21",
    "2026-09-20",
    "2025-09-21",
    "2026-08-31",
    "2024-02-29",
    "1999-12-31",
    "1969-07-20",
];
const MOMENTS: &[&str] = &[
    "2026-09-21T00:00:00Z",
    "2026-09-21T23:59:59.999Z",
    "2026-09-20T23:59:59.999Z",
    "2026-09-21T14:15:23.456789Z",
    "2025-09-21T12:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "2026-09-21T01:30:00+02:00",
];
const TIMES: &[&str] = &["00:00:00", "09:30:00", "09:30:00.5", "23:59:59"];
const NAMES: &[&str] = &[
    "Acme Corp",
    "ACME",
    "Acme",
    "Market Makers",
    "Markets Ltd",
    "Narket",
    "Société Générale",
    "Societe",
    "Zoo",
    "Crème Brûlée",
    "",
    "Acme  Holding",
    "makret",
];

/// A record, as the evaluator sees it.
#[derive(Clone)]
struct Rec {
    object: &'static str,
    id: String,
    company: Option<CompanyId>,
    parents: Vec<String>,
    name: String,
    homepage: String,
    domain: String,
    payload: Map<String, Json>,
}

fn pick<'a>(rng: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(rng).copied().unwrap_or_default()
}

fn random_value(rng: &mut StdRng, kind: FieldType) -> Option<Json> {
    if rng.random_ratio(1, 4) {
        return None;
    }
    use FieldType as T;
    if rng.random_ratio(1, 25) && !matches!(kind, T::Text | T::Picklist | T::Html) {
        return Some(json!({"raw": "odd"}));
    }
    Some(match kind {
        T::Text | T::Picklist | T::Url | T::Email | T::Phone => {
            let one = pick(rng, TEXTS).to_owned();
            if rng.random_ratio(1, 5) {
                json!(format!("{one} {}", pick(rng, TEXTS)))
            } else {
                json!(one)
            }
        }
        T::Html => json!(format!(
            "<p class='won'>{}</p><b>{}</b>",
            pick(rng, TEXTS),
            pick(rng, TEXTS)
        )),
        T::MultiPicklist => json!(
            (0..rng.random_range(0..4))
                .map(|_| pick(rng, TEXTS))
                .collect::<Vec<_>>()
        ),
        T::Integer => json!(*[0_i64, 1, -1, 7, 42, i64::MAX, i64::MIN, 1_000_000_000_000].choose(rng)?),
        T::Decimal | T::Currency | T::Percent => json!(pick(rng, NUMBERS)),
        T::Boolean => json!(rng.random_bool(0.5)),
        T::Date => json!(pick(rng, DATES)),
        T::Timestamp => json!(pick(rng, MOMENTS)),
        T::Time => json!(pick(rng, TIMES)),
        T::Reference => {
            if rng.random_bool(0.3) {
                json!({"id": pick(rng, &["A1", "a1", "B2"])})
            } else {
                json!({"id": pick(rng, &["A1", "a1", "B2"]), "label": pick(rng, TEXTS)})
            }
        }
        T::Address => json!({"city": pick(rng, TEXTS), "country_code": pick(rng, &["DE", "FR", ""])}),
        T::Location => json!({"latitude": pick(rng, NUMBERS), "longitude": pick(rng, NUMBERS)}),
    })
}

fn random_record(rng: &mut StdRng, object: &'static str, id: usize, accounts: usize) -> Rec {
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

fn row(rec: &Rec, hash: i64, deleted: bool) -> store::RecordRow {
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

/// One random world: two sources of a group, with records in a store and in memory, and an index that follows.
struct Data {
    sources: Vec<Source>,
    records: Vec<Vec<Rec>>,
    tracked: Vec<Tracked>,
    engine: Engine,
    stop: CancellationToken,
    follower: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn integration(store: &Store, group: &GroupId, name: &str) -> store::Integration {
    let draft = store
        .integration_create(store::NewIntegration {
            group_id: group.clone(),
            connector: "dummy".to_owned(),
            label: None,
            connected: true,
            display_name: name.to_owned(),
            settings: "{}".to_owned(),
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

async fn write(
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

impl Data {
    async fn make(store: &Store, rng: &mut StdRng, name: &str, size: usize) -> Self {
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
        let folder = tempfile::tempdir().unwrap();
        let mut options = index::Options::new(folder.path());
        options.poll = Duration::from_millis(20);
        options.commit = Duration::from_millis(1);
        let index = Index::new(store.clone(), options);
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
            // Then some change, some go, in several steps.
            for step in 2..5 {
                let mut rows = Vec::new();
                let mut kept = Vec::new();
                for rec in list {
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
                list = kept;
                let last = write(store, &of, rows, NOW + step).await;
                assert_eq!(index.wait(&[(of.id, last)], Duration::from_secs(60)).await, None);
            }
            sources.push(Source {
                integration: of.id,
                label: label.to_owned(),
                company_object: "Account".to_owned(),
                fields: FIELDS
                    .iter()
                    .map(|def| Field {
                        object: def.object.to_owned(),
                        key: def.key.to_owned(),
                        field_type: def.kind,
                        long_text: def.long,
                        active: true,
                    })
                    .collect(),
            });
            records.push(list);
        }
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
        Self {
            sources,
            records,
            tracked: tracked.into_values().collect(),
            engine: Engine::new(index),
            stop,
            follower,
            _folder: folder,
        }
    }
}

/// A random condition: what it says, kept apart from how it is written.
#[derive(Debug, Clone)]
enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Field {
        source: usize,
        object: &'static str,
        key: &'static str,
        part: &'static str,
        op: &'static str,
        value: Val,
    },
    Same(usize, &'static str, Box<Cond>),
    Shown(&'static str, &'static str, Val),
    Tracked(&'static str, bool),
    Fed(&'static str, usize),
}

#[derive(Debug, Clone)]
enum Val {
    Any,
    Text(bool, String, bool),
    Plain(String),
    Relative(bool, i64, char),
}

const ORDER_OPS: &[&str] = &["=", "!=", ":", "<", "<=", ">", ">="];
const SAME_OPS: &[&str] = &["=", "!=", ":"];

fn random_text(rng: &mut StdRng) -> String {
    let text = pick(rng, TEXTS);
    if rng.random_bool(0.6) {
        return text.to_owned();
    }
    let count = text.chars().count();
    let from = rng.random_range(0..count);
    let to = rng.random_range(from..count) + 1;
    text.chars().skip(from).take(to - from).collect()
}

fn random_field(rng: &mut StdRng, source: usize, def: &Def) -> Cond {
    use FieldType as T;
    let parts: &[&str] = match def.kind {
        T::Reference => &["", "id", "label"],
        T::Address => &["city", "country_code", "street"],
        T::Location => &["latitude", "longitude"],
        T::Currency => &["", "amount"],
        _ => &[""],
    };
    let mut part = pick(rng, parts);
    let any = rng.random_ratio(1, 8);
    if any && rng.random_bool(0.5) {
        part = "";
    }
    let long = def.long || def.kind == T::Html;
    let text = |rng: &mut StdRng, stars: bool| {
        let star = |rng: &mut StdRng| stars && rng.random_ratio(1, 3);
        (star(rng), random_text(rng), star(rng))
    };
    let relative = |rng: &mut StdRng, now: bool| {
        Val::Relative(
            now,
            rng.random_range(-40..40),
            *['d', 'w', 'm', 'y'].choose(rng).unwrap(),
        )
    };
    let (op, value) = match def.kind {
        _ if any => (":", Val::Any),
        T::Integer | T::Decimal | T::Currency | T::Percent | T::Location => {
            (pick(rng, ORDER_OPS), Val::Plain(pick(rng, NUMBERS).to_owned()))
        }
        T::Boolean => (
            pick(rng, SAME_OPS),
            Val::Plain(pick(rng, &["true", "false"]).to_owned()),
        ),
        T::Date => {
            let value = match rng.random_range(0..3) {
                0 => relative(rng, false),
                _ => Val::Plain(pick(rng, DATES).to_owned()),
            };
            (pick(rng, ORDER_OPS), value)
        }
        T::Timestamp => {
            let value = match rng.random_range(0..4) {
                0 => relative(rng, rng.clone().random_bool(0.5)),
                1 => Val::Plain(pick(rng, DATES).to_owned()),
                _ => Val::Plain(pick(rng, MOMENTS).to_owned()),
            };
            (pick(rng, ORDER_OPS), value)
        }
        T::Time => (pick(rng, ORDER_OPS), Val::Plain(pick(rng, TIMES).to_owned())),
        _ => {
            let op = if long || def.kind == T::MultiPicklist {
                pick(rng, SAME_OPS)
            } else {
                pick(rng, ORDER_OPS)
            };
            let (before, text, after) = text(rng, op == ":" || (SAME_OPS.contains(&op) && !long));
            let wordless = words(&fold(&text)).next().is_none();
            let op = if op == ":" && wordless && def.kind != T::MultiPicklist {
                "="
            } else {
                op
            };
            if op != ":" && long {
                (op, Val::Text(false, text, false))
            } else {
                (op, Val::Text(before, text, after))
            }
        }
    };
    Cond::Field {
        source,
        object: def.object,
        key: def.key,
        part,
        op,
        value,
    }
}

fn random_same(rng: &mut StdRng, source: usize, object: &'static str, depth: usize) -> Cond {
    let list = |rng: &mut StdRng| -> Vec<Cond> {
        (0..rng.random_range(2..4))
            .map(|_| random_same(rng, source, object, depth + 1))
            .collect()
    };
    match rng.random_range(0..if depth > 2 { 3 } else { 6 }) {
        3 => Cond::And(list(rng)),
        4 => Cond::Or(list(rng)),
        5 => Cond::Not(Box::new(random_same(rng, source, object, depth + 1))),
        _ => {
            let of: Vec<&Def> = FIELDS.iter().filter(|def| def.object == object).collect();
            let def = of.choose(rng).unwrap();
            random_field(rng, source, def)
        }
    }
}

fn random_cond(rng: &mut StdRng, depth: usize) -> Cond {
    let list = |rng: &mut StdRng| -> Vec<Cond> {
        (0..rng.random_range(2..4))
            .map(|_| random_cond(rng, depth + 1))
            .collect()
    };
    match rng.random_range(0..if depth > 3 { 8 } else { 14 }) {
        0 => {
            let object = pick(rng, &["Account", "Opportunity", "Contact"]);
            let object = FIELDS.iter().find(|def| def.object == object).unwrap().object;
            let source = rng.random_range(0..2);
            Cond::Same(source, object, Box::new(random_same(rng, source, object, 0)))
        }
        1 => {
            let what = pick(rng, &["display_name", "domain", "homepage_uri"]);
            let what = ["display_name", "domain", "homepage_uri"]
                .into_iter()
                .find(|one| *one == what)
                .unwrap();
            if rng.random_ratio(1, 6) {
                return Cond::Shown(what, ":", Val::Any);
            }
            let text = pick(
                rng,
                &[
                    "acme",
                    "acme1.com",
                    "Market",
                    "Societe",
                    "société générale",
                    "co",
                    "https://market1.co.uk/",
                    "zoo 3",
                ],
            );
            let op = ORDER_OPS.choose(rng).unwrap();
            let star = SAME_OPS.contains(op);
            let (before, after) = (star && rng.random_bool(0.4), star && rng.random_bool(0.4));
            Cond::Shown(what, op, Val::Text(before, text.to_owned(), after))
        }
        2 if rng.random_bool(0.5) => Cond::Tracked(SAME_OPS.choose(rng).unwrap(), rng.random_bool(0.5)),
        2 => Cond::Fed(SAME_OPS.choose(rng).unwrap(), rng.random_range(0..2)),
        8 | 9 => Cond::And(list(rng)),
        10 | 11 => Cond::Or(list(rng)),
        12 | 13 => Cond::Not(Box::new(random_cond(rng, depth + 1))),
        _ => {
            let source = rng.random_range(0..2);
            let def = FIELDS.choose(rng).unwrap();
            random_field(rng, source, def)
        }
    }
}

fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| {
            if matches!(c, '"' | '\\' | '*') {
                vec!['\\', c]
            } else {
                vec![c]
            }
        })
        .collect();
    format!("\"{escaped}\"")
}

fn key_text(key: &str) -> String {
    if key.contains(' ') || key == "NOT" {
        quoted(key)
    } else {
        key.to_owned()
    }
}

fn write_value(value: &Val) -> String {
    match value {
        Val::Any => "*".to_owned(),
        Val::Text(before, text, after) => {
            let star = |is: &bool| if *is { "*" } else { "" };
            let text = quoted(text);
            format!("\"{}{}{}\"", star(before), &text[1..text.len() - 1], star(after))
        }
        Val::Plain(text) => text.clone(),
        Val::Relative(now, amount, unit) => {
            let word = if *now { "now" } else { "today" };
            let sign = if *amount < 0 { '-' } else { '+' };
            format!("{word}{sign}{}{unit}", amount.abs())
        }
    }
}

/// Writes a condition as a filter. Parentheses are left out where AND and OR make them so by themselves.
fn write_cond(cond: &Cond, same: bool, inside_or: bool) -> String {
    let join = |all: &[Cond], word: &str, or: bool| {
        all.iter()
            .map(|one| write_cond(one, same, or))
            .collect::<Vec<_>>()
            .join(word)
    };
    match cond {
        Cond::And(all) => {
            format!("({})", join(all, " AND ", false))
        }
        Cond::Or(all) if inside_or => format!("({})", join(all, " OR ", true)),
        Cond::Or(all) => join(all, " OR ", true),
        Cond::Not(one) => format!("NOT ({})", write_cond(one, same, false)),
        Cond::Field {
            source,
            object,
            key,
            part,
            op,
            value,
        } => {
            let mut path = key_text(key);
            if !same {
                path = format!("{}.{object}.{path}", ["one", "two"][*source]);
            }
            if !part.is_empty() {
                path = format!("{path}.{part}");
            }
            format!("{path} {op} {}", write_value(value))
        }
        Cond::Same(source, object, one) => {
            format!(
                "{}.{object}({})",
                ["one", "two"][*source],
                write_cond(one, true, false)
            )
        }
        Cond::Shown(what, op, value) => format!("{what}{op}{}", write_value(value)),
        Cond::Tracked(op, yes) => format!("tracked {op} {yes}"),
        Cond::Fed(op, source) => format!("source{op}{}", ["one", "two"][*source]),
    }
}

/// A value, as the evaluator compares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Atom {
    Whole(i128),
    Text(String),
}

/// A decimal in billionths of a thousandth.
fn decimal(text: &str) -> i128 {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number: i128 = format!("{whole}{fraction:0<12}").parse().unwrap();
    if negative { -number } else { number }
}

fn moment(text: &str) -> i64 {
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    (at.unix_timestamp_nanos() / 1_000) as i64
}

fn clock(text: &str) -> i128 {
    decimal(&text[6..])
        + i128::from(text[3..5].parse::<i64>().unwrap() * 60 + text[..2].parse::<i64>().unwrap() * 3_600)
            * 1_000_000_000_000
}

/// A date as (year, month, day) in one number.
fn date(text: &str) -> i128 {
    text.replace('-', "").parse().unwrap()
}

fn date_of(us: i64) -> i128 {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000).unwrap();
    i128::from(at.year()) * 10_000 + i128::from(u8::from(at.month())) * 100 + i128::from(at.day())
}

/// A day some units away from today, step by step.
fn away(amount: i64, unit: char) -> time::Date {
    let today = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(NOW) * 1_000)
        .unwrap()
        .date();
    let months = match unit {
        'd' => return today + time::Duration::days(amount),
        'w' => return today + time::Duration::weeks(amount),
        'm' => amount,
        _ => amount * 12,
    };
    let (mut year, mut month) = (today.year(), i64::from(u8::from(today.month())) + months);
    while month < 1 {
        (year, month) = (year - 1, month + 12);
    }
    while month > 12 {
        (year, month) = (year + 1, month - 12);
    }
    let month = time::Month::try_from(month as u8).unwrap();
    let mut day = today.day();
    loop {
        if let Ok(date) = time::Date::from_calendar_date(year, month, day) {
            return date;
        }
        day -= 1;
    }
}

/// The values of a field, or a part, of a record: none where it is unset or does not fit.
fn atoms(rec: &Rec, key: &str, part: &str, kind: FieldType) -> Vec<Atom> {
    use FieldType as T;
    let Some(json) = rec.payload.get(key) else {
        return Vec::new();
    };
    if json.get("raw").is_some() {
        return Vec::new();
    }
    let text = |json: &Json| json.as_str().map(|text| Atom::Text(fold(text)));
    let filled = |json: Option<&Json>| {
        json.and_then(Json::as_str)
            .filter(|text| !text.is_empty())
            .map(|text| Atom::Text(fold(text)))
    };
    match kind {
        T::Text | T::Picklist | T::Url | T::Email | T::Phone => text(json).into_iter().collect(),
        T::Html => vec![Atom::Text(fold(&tether::index::text::of_html(
            json.as_str().unwrap(),
        )))],
        T::MultiPicklist => json.as_array().unwrap().iter().filter_map(text).collect(),
        T::Integer => vec![Atom::Whole(decimal(&json.to_string()))],
        T::Decimal | T::Currency | T::Percent => vec![Atom::Whole(decimal(json.as_str().unwrap()))],
        T::Boolean => vec![Atom::Whole(i128::from(json.as_bool().unwrap()))],
        T::Date => vec![Atom::Whole(date(json.as_str().unwrap()))],
        T::Timestamp => vec![Atom::Whole(i128::from(moment(json.as_str().unwrap())))],
        T::Time => vec![Atom::Whole(clock(json.as_str().unwrap()))],
        T::Reference => filled(json.get(if part == "id" { "id" } else { "label" }))
            .into_iter()
            .collect(),
        T::Address => filled(json.get(part)).into_iter().collect(),
        T::Location => json
            .get(part)
            .map(|json| Atom::Whole(decimal(json.as_str().unwrap())))
            .into_iter()
            .collect(),
    }
}

fn like(text: &str, before: bool, part: &str, after: bool) -> bool {
    match (before, after) {
        (false, false) => text == part,
        (true, false) => text.ends_with(part),
        (false, true) => text.starts_with(part),
        (true, true) => text.contains(part),
    }
}

fn by_operator(op: &str, order: std::cmp::Ordering) -> bool {
    match op {
        "=" | ":" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn text_passes(text: &str, op: &str, value: &Val, by_words: bool) -> bool {
    let Val::Text(before, part, after) = value else {
        panic!("{value:?}")
    };
    let part = &fold(part);
    match op {
        ":" if by_words => {
            let all: Vec<&str> = words(part).collect();
            let begins = *before && part.starts_with(char::is_alphanumeric);
            let ends = *after && part.ends_with(char::is_alphanumeric);
            all.iter().enumerate().all(|(at, word)| {
                words(text).any(|one| like(one, at == 0 && begins, word, at + 1 == all.len() && ends))
            })
        }
        "=" | ":" => like(text, *before, part, *after),
        "!=" => !like(text, *before, part, *after),
        _ => by_operator(op, text.cmp(part)),
    }
}

fn record_passes(rec: &Rec, key: &str, part: &str, op: &str, value: &Val) -> bool {
    use FieldType as T;
    let kind = FIELDS
        .iter()
        .find(|def| def.object == rec.object && def.key == key)
        .unwrap();
    if matches!(value, Val::Any) {
        let parts: &[&str] = match (kind.kind, part) {
            (T::Reference, "") => &["id", "label"],
            (T::Address, "") => &["city", "country_code"],
            (T::Location, "") => &["latitude"],
            (_, part) => &[part],
        };
        return parts
            .iter()
            .any(|part| !atoms(rec, key, part, kind.kind).is_empty());
    }
    let atoms = atoms(rec, key, part, kind.kind);
    let list = kind.kind == T::MultiPicklist;
    let passes = |atom: &Atom, op: &str| match (atom, value) {
        (Atom::Text(text), value) => text_passes(text, op, value, !list),
        (Atom::Whole(whole), Val::Plain(text)) => match kind.kind {
            T::Boolean => by_operator(op, whole.cmp(&i128::from(text == "true"))),
            T::Date => by_operator(op, whole.cmp(&date(text))),
            T::Time => by_operator(op, whole.cmp(&clock(text))),
            T::Timestamp if text.len() == 10 => by_operator(op, date_of(*whole as i64).cmp(&date(text))),
            T::Timestamp => by_operator(op, (*whole as i64).cmp(&moment(text))),
            _ => by_operator(op, whole.cmp(&decimal(text))),
        },
        (Atom::Whole(whole), Val::Relative(now, amount, unit)) => {
            let day = away(*amount, *unit);
            let number = date(&day.to_string());
            match (kind.kind, now) {
                (T::Date, _) => by_operator(op, whole.cmp(&number)),
                (_, false) => by_operator(op, date_of(*whole as i64).cmp(&number)),
                (_, true) => {
                    let clock = NOW.rem_euclid(86_400_000_000);
                    let at = day.midnight().assume_utc().unix_timestamp() * 1_000_000 + clock;
                    by_operator(op, (*whole as i64).cmp(&at))
                }
            }
        }
        other => panic!("{other:?}"),
    };
    if op == "!=" {
        return !atoms.is_empty() && !atoms.iter().any(|atom| passes(atom, "="));
    }
    atoms.iter().any(|atom| passes(atom, op))
}

/// What the evaluator knows of a company.
struct Firm {
    name: String,
    homepage: String,
    domain: String,
    tracked: bool,
}

/// The evaluator.
struct Truth<'a> {
    data: &'a Data,
    firms: BTreeMap<CompanyId, Firm>,
}

impl<'a> Truth<'a> {
    fn new(data: &'a Data, listed: &[usize], only_tracked: bool) -> Self {
        let mut firms: BTreeMap<CompanyId, Firm> = BTreeMap::new();
        let own = |one: &Tracked| Firm {
            name: one.name.clone(),
            homepage: one.homepage.clone(),
            domain: one.domain.clone(),
            tracked: true,
        };
        if only_tracked {
            firms.extend(data.tracked.iter().map(|one| (one.company_id, own(one))));
        } else {
            for source in listed {
                let mut list: Vec<&Rec> = data.records[*source]
                    .iter()
                    .filter(|rec| rec.company.is_some())
                    .collect();
                list.sort_by_key(|rec| (name_key(&rec.name), rec.id.clone()));
                for rec in list {
                    firms.entry(rec.company.unwrap()).or_insert_with(|| Firm {
                        name: rec.name.clone(),
                        homepage: rec.homepage.clone(),
                        domain: rec.domain.clone(),
                        tracked: false,
                    });
                }
            }
            for one in &data.tracked {
                firms.entry(one.company_id).or_insert_with(|| own(one)).tracked = true;
            }
        }
        Self { data, firms }
    }

    fn company_records(&self, source: usize, company: CompanyId) -> impl Iterator<Item = &Rec> {
        self.data.records[source]
            .iter()
            .filter(move |rec| rec.company == Some(company))
    }

    /// The records of an object that belong to a company.
    fn records(&self, source: usize, object: &str, company: CompanyId) -> Vec<&Rec> {
        if object == "Account" {
            return self.company_records(source, company).collect();
        }
        let ids: BTreeSet<&String> = self.company_records(source, company).map(|rec| &rec.id).collect();
        self.data.records[source]
            .iter()
            .filter(|rec| rec.object == object && rec.parents.iter().any(|parent| ids.contains(parent)))
            .collect()
    }

    fn same(rec: &Rec, cond: &Cond) -> bool {
        match cond {
            Cond::And(all) => all.iter().all(|one| Self::same(rec, one)),
            Cond::Or(any) => any.iter().any(|one| Self::same(rec, one)),
            Cond::Not(one) => !Self::same(rec, one),
            Cond::Field {
                key, part, op, value, ..
            } => record_passes(rec, key, part, op, value),
            other => panic!("{other:?}"),
        }
    }

    fn holds(&self, company: CompanyId, cond: &Cond) -> bool {
        match cond {
            Cond::And(all) => all.iter().all(|one| self.holds(company, one)),
            Cond::Or(any) => any.iter().any(|one| self.holds(company, one)),
            Cond::Not(one) => !self.holds(company, one),
            Cond::Field {
                source,
                object,
                key,
                part,
                op,
                value,
            } => self
                .records(*source, object, company)
                .iter()
                .any(|rec| record_passes(rec, key, part, op, value)),
            Cond::Same(source, object, one) => self
                .records(*source, object, company)
                .iter()
                .any(|rec| Self::same(rec, one)),
            Cond::Shown(what, op, value) => {
                let firm = &self.firms[&company];
                let text = match *what {
                    "display_name" => &firm.name,
                    "domain" => &firm.domain,
                    _ => &firm.homepage,
                };
                !text.is_empty() && (matches!(value, Val::Any) || text_passes(&fold(text), op, value, true))
            }
            Cond::Tracked(op, yes) => (self.firms[&company].tracked == *yes) == (*op != "!="),
            Cond::Fed(op, source) => {
                let wanted = if *op == "!=" { 1 - *source } else { *source };
                self.company_records(wanted, company).next().is_some()
            }
        }
    }

    /// How well words match: 0 is best; none where they do not.
    fn class(&self, company: CompanyId, query: &str) -> Option<i128> {
        let firm = &self.firms[&company];
        let plain_query = plain(query);
        let asked: Vec<&str> = words(&plain_query).collect();
        let name = plain(&firm.name);
        let own: Vec<&str> = words(&name).chain(words(&firm.domain)).collect();
        let found = |forgive: bool| {
            asked.iter().enumerate().all(|(at, word)| {
                let prefix = at + 1 == asked.len();
                own.iter().any(|one| {
                    let exact = if prefix {
                        one.starts_with(word)
                    } else {
                        one == word
                    };
                    exact || (forgive && word.chars().count() >= 5 && near(one, word, prefix))
                })
            })
        };
        let joined = words(&name).collect::<Vec<_>>().join(" ");
        let asked_text = asked.join(" ");
        if joined == asked_text {
            Some(0)
        } else if joined.starts_with(&asked_text) {
            Some(1)
        } else if found(false) {
            Some(2)
        } else {
            found(true).then_some(3)
        }
    }

    fn key(&self, company: CompanyId, key: &Key) -> Option<Atom> {
        let firm = &self.firms[&company];
        let text = |text: String| (!text.is_empty()).then_some(Atom::Text(text));
        match key {
            Key::Name => text(name_key(&firm.name)),
            Key::Domain => text(firm.domain.clone()),
            Key::Field {
                source,
                key,
                part,
                descending,
            } => {
                let kind = FIELDS
                    .iter()
                    .find(|def| def.object == "Account" && def.key == *key)
                    .unwrap()
                    .kind;
                let values = self
                    .company_records(*source, company)
                    .flat_map(|rec| atoms(rec, key, part, kind));
                if *descending { values.max() } else { values.min() }
            }
        }
    }
}

/// Whether two words differ in at most one letter, a swap of neighbours counting as one; of `one` maybe only a beginning.
fn near(one: &str, word: &str, prefix: bool) -> bool {
    fn distance(a: &[char], b: &[char]) -> usize {
        let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                rows[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let mut least = (rows[i - 1][j] + 1)
                        .min(rows[i][j - 1] + 1)
                        .min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        least = least.min(rows[i - 2][j - 2] + 1);
                    }
                    least
                };
            }
        }
        rows[a.len()][b.len()]
    }
    let (one, word): (Vec<char>, Vec<char>) = (one.chars().collect(), word.chars().collect());
    if prefix {
        (0..=one.len()).any(|end| distance(&one[..end], &word) <= 1)
    } else {
        distance(&one, &word) <= 1
    }
}

#[derive(Debug, Clone)]
enum Key {
    Name,
    Domain,
    Field {
        source: usize,
        key: &'static str,
        part: &'static str,
        descending: bool,
    },
}

fn random_order(rng: &mut StdRng) -> Vec<(Key, bool)> {
    const KEYS: &[(&str, &str)] = &[
        ("Industry", ""),
        ("Motto", ""),
        ("Staff", ""),
        ("Revenue", ""),
        ("Ratio", ""),
        ("Open", ""),
        ("Founded", ""),
        ("Seen", ""),
        ("Bell", ""),
        ("Owner", ""),
        ("Owner", "id"),
        ("Seat", "city"),
        ("Place", "latitude"),
    ];
    (0..rng.random_range(0..4))
        .map(|_| {
            let descending = rng.random_bool(0.5);
            let key = match rng.random_range(0..6) {
                0 => Key::Name,
                1 => Key::Domain,
                _ => {
                    let (key, part) = KEYS.choose(rng).unwrap();
                    Key::Field {
                        source: rng.random_range(0..2),
                        key,
                        part,
                        descending,
                    }
                }
            };
            (key, descending)
        })
        .collect()
}

fn write_order(order: &[(Key, bool)]) -> String {
    let keys = order.iter().map(|(key, descending)| {
        let way = if *descending { " desc" } else { "" };
        match key {
            Key::Name => format!("display_name{way}"),
            Key::Domain => format!("domain{way}"),
            Key::Field {
                source, key, part, ..
            } => {
                let dot = if part.is_empty() { "" } else { "." };
                format!("{}.Account.{key}{dot}{part}{way}", ["one", "two"][*source])
            }
        }
    });
    keys.collect::<Vec<_>>().join(", ")
}

const QUERIES: &[&str] = &[
    "acme",
    "market",
    "markt",
    "makret lim",
    "societe",
    "societé generale",
    "zoo 1",
    "corp acme",
    "acme1 com",
    "co.uk market",
    "brule",
    "narkets",
    "1",
    "creme brulex",
];

/// What a run found.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// Questions asked.
    pub questions: usize,
    /// Pages read.
    pub pages: usize,
    /// Companies that the answers had in all.
    pub companies: usize,
    /// Questions whose answer was neither empty nor everything.
    pub telling: usize,
    /// What differed, at most some.
    pub differences: Vec<String>,
}

/// Asks so many random questions about one random dataset in this store.
pub async fn run(store: &Store, seed: u64, questions: usize, size: usize) -> Found {
    let mut rng = StdRng::seed_from_u64(seed);
    let data = Data::make(store, &mut rng, &format!("proof{seed}"), size).await;
    let mut found = Found::default();
    for _ in 0..questions {
        let only_tracked = rng.random_ratio(1, 8);
        let listed: Vec<usize> = match rng.random_range(0..6) {
            0 => vec![0],
            1 => vec![1],
            _ => vec![0, 1],
        };
        let cond = rng.random_ratio(9, 10).then(|| random_cond(&mut rng, 0));
        let order = random_order(&mut rng);
        let query = if rng.random_ratio(1, 5) {
            pick(&mut rng, QUERIES)
        } else {
            ""
        };
        let limit = if rng.random_ratio(1, 3) {
            rng.random_range(3..60)
        } else {
            100_000
        };
        let filter = cond
            .as_ref()
            .map(|cond| write_cond(cond, false, false))
            .unwrap_or_default();
        let order_text = write_order(&order);
        let told = format!(
            "seed {seed}: filter {filter:?} query {query:?} order {order_text:?} {listed:?} {only_tracked} by {limit}"
        );

        let truth = Truth::new(&data, &listed, only_tracked);
        let mut expected: Vec<(Vec<Option<Atom>>, CompanyId)> = Vec::new();
        for company in truth.firms.keys() {
            let class = if query.is_empty() {
                None
            } else {
                truth.class(*company, query)
            };
            let passes = cond.as_ref().is_none_or(|cond| truth.holds(*company, cond));
            if passes && (query.is_empty() || class.is_some()) {
                let mut keys: Vec<Option<Atom>> =
                    order.iter().map(|(key, _)| truth.key(*company, key)).collect();
                if order.is_empty() {
                    keys.push(Some(Atom::Whole(class.unwrap_or(0))));
                    keys.push(truth.key(*company, &Key::Name));
                }
                expected.push((keys, *company));
            }
        }
        expected.sort_by(|(a, x), (b, y)| {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                let descending = order.get(at).is_some_and(|(_, descending)| *descending);
                let by = match (a, b) {
                    (Some(a), Some(b)) if descending => b.cmp(a),
                    (Some(a), Some(b)) => a.cmp(b),
                    (a, b) => a.is_none().cmp(&b.is_none()),
                };
                if by.is_ne() {
                    return by;
                }
            }
            x.cmp(y)
        });
        let expected: Vec<CompanyId> = expected.into_iter().map(|(_, company)| company).collect();

        let mut got: Vec<CompanyId> = Vec::new();
        let mut after = None;
        let mut wrong = None;
        loop {
            let text = Text {
                filter: &filter,
                query,
                order_by: &order_text,
                now_us: NOW,
            };
            let plan = match Plan::new(&data.sources, &text) {
                Ok(plan) => plan,
                Err(error) => {
                    wrong = Some(format!("{error:?}"));
                    break;
                }
            };
            let question = Question {
                sources: data.sources.clone(),
                listed: listed.clone(),
                tracked: data.tracked.clone(),
                only_tracked,
                only_fed: false,
                plan,
                after,
                limit,
            };
            let answer = match data.engine.run(question, ()).await {
                Ok(answer) => answer,
                Err(error) => {
                    wrong = Some(format!("{error:?}"));
                    break;
                }
            };
            found.pages += 1;
            if answer.total != expected.len() as u64 {
                wrong = Some(format!("{} in all, not {}", answer.total, expected.len()));
                break;
            }
            let next = answer.page.next();
            got.extend(answer.page.companies);
            match next {
                Some(next) if got.len() <= expected.len() => after = Some(next),
                _ => break,
            }
        }
        found.questions += 1;
        found.companies += expected.len();
        found.telling += usize::from(!expected.is_empty() && expected.len() < truth.firms.len());
        if wrong.is_none() && got != expected {
            let sets = |list: &[CompanyId]| list.iter().copied().collect::<BTreeSet<_>>();
            wrong = Some(if sets(&got) == sets(&expected) {
                "the order differs".to_owned()
            } else {
                format!("{} companies, not {}", got.len(), expected.len())
            });
        }
        if let Some(wrong) = wrong
            && found.differences.len() < 20
        {
            found.differences.push(format!("{told}: {wrong}"));
        }
    }
    data.stop.cancel();
    data.follower.await.unwrap();
    found
}
