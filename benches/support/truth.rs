//! Compares the data of a simulated Salesforce with a server's: record by record, and as a hash.
#![allow(dead_code, reason = "each bench uses a part")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use tether::proto::v1::{self, get_company_profile_request::Refresh, value::Kind};

use super::world::{Api, GROUP, Sim, http, http_json};

const CALLERS: usize = 32;
const RELATED_LIMIT: i32 = 200;

/// The fields that are read, and the expected kind of each value.
#[rustfmt::skip]
pub(crate) const FIELDS: &[(&str, &[(&str, Is)])] = &[
    ("Account", &[
        ("Name", Is::Text), ("Website", Is::Text), ("Industry", Is::Text), ("Type", Is::Text),
        ("Phone", Is::Text), ("AnnualRevenue", Is::Money), ("NumberOfEmployees", Is::Integer),
        ("BillingAddress", Is::Address), ("CreatedDate", Is::Instant), ("OwnerId", Is::Reference),
        ("Products_Used__c", Is::Many), ("Discount__c", Is::Number), ("Health_Score__c", Is::Number),
        ("Renewal_Date__c", Is::Date), ("Strategic__c", Is::Boolean), ("Description", Is::Text),
        ("Billing_Email__c", Is::Text), ("ARR__c", Is::Money), ("Last_QBR__c", Is::Instant),
        ("Profile_Html__c", Is::Html), ("Opens_At__c", Is::Time), ("HQ__c", Is::Place),
    ]),
    ("Contact", &[
        ("Name", Is::Text), ("Email", Is::Text), ("MobilePhone", Is::Text), ("Title", Is::Text),
        ("Birthdate", Is::Date), ("Languages__c", Is::Many), ("Opt_In__c", Is::Boolean),
        ("AccountId", Is::Reference), ("MailingAddress", Is::Address),
    ]),
    ("Opportunity", &[
        ("Name", Is::Text), ("StageName", Is::Text), ("Amount", Is::Money), ("Probability", Is::Number),
        ("CloseDate", Is::Date), ("IsWon", Is::Boolean), ("Description", Is::Text),
    ]),
    ("Contract", &[
        ("ContractNumber", Is::Text), ("Status", Is::Text), ("StartDate", Is::Date),
        ("ContractTerm", Is::Integer), ("Annual_Value__c", Is::Money), ("ActivatedDate", Is::Instant),
    ]),
    ("Case", &[
        ("Subject", Is::Text), ("Priority", Is::Text), ("Status", Is::Text), ("IsEscalated", Is::Boolean),
        ("ClosedDate", Is::Instant), ("SuppliedEmail", Is::Text), ("Severity__c", Is::Number),
    ]),
];

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Text,
    Html,
    Boolean,
    Integer,
    Number,
    Money,
    Date,
    Instant,
    Time,
    Many,
    Address,
    Place,
    Reference,
}

impl Is {
    /// The prefix of a value in its line, so that two kinds are never equal.
    fn tag(self) -> char {
        match self {
            Self::Text => 't',
            Self::Html => 'h',
            Self::Boolean => 'b',
            Self::Integer => 'i',
            Self::Number => 'n',
            Self::Money => 'm',
            Self::Date => 'd',
            Self::Instant => 'I',
            Self::Time => 'T',
            Self::Many => 'l',
            Self::Address => 'a',
            Self::Place => 'p',
            Self::Reference => 'r',
        }
    }
}

// The canonical line -------------------------------------------------------------------------------------------------

/// `object\x1fid` and `\x1ffield=tag value` for each field that is set, by name.
fn line(object: &str, id: &str, mut cells: Vec<(String, String)>) -> String {
    cells.sort();
    let mut line = format!("{object}\u{1f}{id}");
    for (field, text) in cells {
        let _ = write!(line, "\u{1f}{field}={text}");
    }
    line
}

const ADDRESS: [&str; 7] = [
    "street",
    "city",
    "postalCode",
    "state",
    "stateCode",
    "country",
    "countryCode",
];

/// A value of the server; `None` if it is not set.
fn answered(value: &v1::Value) -> Option<String> {
    let (is, text) = match value.kind.as_ref()? {
        Kind::Text(text) => (Is::Text, text.clone()),
        Kind::Html(text) => (Is::Html, text.clone()),
        Kind::Boolean(b) => (Is::Boolean, b.to_string()),
        Kind::Integer(n) => (Is::Integer, n.to_string()),
        Kind::Decimal(n) => (Is::Number, n.clone()),
        Kind::Money(money) => (Is::Money, money.amount.clone()),
        Kind::Date(d) => (Is::Date, format!("{:04}-{:02}-{:02}", d.year, d.month, d.day)),
        Kind::Timestamp(t) => (Is::Instant, format!("{}.{:09}", t.seconds, t.nanos)),
        Kind::Time(t) => (
            Is::Time,
            format!(
                "{:02}:{:02}:{:02}.{:03}",
                t.hours,
                t.minutes,
                t.seconds,
                t.nanos / 1_000_000
            ),
        ),
        Kind::List(list) => (Is::Many, list.values.join(";")),
        Kind::Address(a) => {
            let parts = [
                &a.street,
                &a.city,
                &a.postal_code,
                &a.state,
                &a.state_code,
                &a.country,
                &a.country_code,
            ];
            let parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
            (Is::Address, parts.join("\u{1e}"))
        }
        Kind::Location(place) => (Is::Place, format!("{},{}", place.latitude, place.longitude)),
        Kind::Reference(reference) => (Is::Reference, reference.id.clone()),
        Kind::Raw(raw) => return Some(format!("raw {raw}")),
    };
    Some(format!("{} {text}", is.tag()))
}

/// The text of a JSON scalar; `None` for null and the empty text, which Salesforce does not distinguish. NUL
/// occurs in no text.
fn scalar(json: &RawValue) -> Option<String> {
    let json = json.get();
    let text = match json.as_bytes()[0] {
        b'n' => return None,
        b'"' => serde_json::from_str::<String>(json).unwrap().replace('\0', ""),
        _ => json.to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

/// A value of the simulator.
fn truth_of(is: Is, json: &RawValue) -> Option<String> {
    let text = match is {
        Is::Address | Is::Place if json.get() == "null" => return None,
        Is::Address => {
            let parts: HashMap<&str, &RawValue> = serde_json::from_str(json.get()).unwrap();
            let part = |name: &&str| parts.get(name).and_then(|v| scalar(v)).unwrap_or_default();
            let all: Vec<String> = ADDRESS.iter().map(part).collect();
            if all.iter().all(String::is_empty) {
                return None;
            }
            all.join("\u{1e}")
        }
        Is::Place => {
            let parts: HashMap<&str, &RawValue> = serde_json::from_str(json.get()).unwrap();
            format!("{},{}", scalar(parts["latitude"])?, scalar(parts["longitude"])?)
        }
        Is::Instant => {
            let text = scalar(json)?;
            let at = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339);
            format!("{}.{:09}", at.unwrap().unix_timestamp(), 0)
        }
        Is::Time => scalar(json)?.trim_end_matches('Z').to_owned(),
        _ => scalar(json)?,
    };
    Some(format!("{} {text}", is.tag()))
}

fn hash(line: &str) -> u128 {
    let bytes: [u8; 16] = blake3::hash(line.as_bytes()).as_bytes()[..16].try_into().unwrap();
    u128::from_le_bytes(bytes)
}

/// Records of one object: their number, and the sum of the hashes of their lines, which does not depend on
/// the order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    records: u64,
    hash: u128,
}

impl Sum {
    fn add(&mut self, hash: u128) {
        self.records += 1;
        self.hash = self.hash.wrapping_add(hash);
    }

    fn json(self) -> Json {
        json!({ "records": self.records, "hash": format!("{:032x}", self.hash) })
    }
}

// The simulator ------------------------------------------------------------------------------------------------------

impl Sim {
    /// Passes each live row of an object to `each`: id, account, canonical line.
    pub(crate) fn truth(&self, object: &str, each: impl FnMut(String, Option<String>, String)) {
        self.truth_but(object, &But::default(), each);
    }

    /// As [`truth`](Self::truth), with some differences.
    fn truth_but(&self, object: &str, but: &But, mut each: impl FnMut(String, Option<String>, String)) {
        let (_, fields) = FIELDS.iter().find(|(name, _)| *name == object).unwrap();
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let mut more = vec!["Id"];
        if object != "Account" {
            more.push("AccountId");
        }
        names.extend(
            more.iter()
                .filter(|name| !fields.iter().any(|(field, _)| field == *name)),
        );
        let url = format!(
            "{}/truth?object={object}&fields={}",
            self.control,
            names.join(",")
        );
        for text in http("GET", &url, "").lines() {
            let text = text.unwrap();
            let row: HashMap<&str, &RawValue> = serde_json::from_str(&text).unwrap();
            let id = scalar(row["Id"]).unwrap();
            let shown = fields
                .iter()
                .map(|(name, is)| (name, is, format!("{object}.{name}")))
                .filter(|(_, _, path)| !but.missing.contains(path));
            let cells = shown.filter_map(|(name, is, path)| {
                let is = but
                    .retyped
                    .filter(|(field, _)| *field == path)
                    .map_or(*is, |(_, is)| is);
                let text = truth_of(is, row[name])?;
                Some(((*name).to_owned(), text))
            });
            let line = line(object, &id, cells.collect());
            let account = row.get("AccountId").and_then(|json| scalar(json));
            each(id, account, line);
        }
    }

    /// The requests in the journal, without those of the control API.
    pub(crate) fn counts(&self) -> Json {
        http_json("GET", &format!("{}/requests?limit=0", self.control), "")
    }

    pub(crate) fn reads(&self) -> u64 {
        let counts = self.counts();
        let of = |kind: &str| counts["counts"][kind].as_u64().unwrap_or(0);
        of("query") + of("query_all") + of("query_more")
    }
}

// The server ---------------------------------------------------------------------------------------------------------

impl Api {
    /// All steps up to a sync.
    pub(crate) async fn activate(&self, sim: &Sim) -> v1::Sync {
        let selected = FIELDS
            .iter()
            .flat_map(|(object, fields)| fields.iter().map(move |(field, _)| format!("{object}.{field}")));
        self.connect_crm(sim, selected.collect()).await
    }

    async fn profile(&self, name: String) -> v1::CompanyProfile {
        let get = || v1::GetCompanyProfileRequest {
            name: name.clone(),
            parent: GROUP.to_owned(),
            refresh: Refresh::Never.into(),
            related_limit: RELATED_LIMIT,
            ..Default::default()
        };
        loop {
            match self.companies().get_company_profile(self.ask(get())).await {
                Ok(profile) => return profile.into_inner(),
                Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(status) => panic!("{name}: {status:?}"),
            }
        }
    }
}

// Comparing ----------------------------------------------------------------------------------------------------------

/// A row of the simulator that the server must return.
struct Due {
    object: usize,
    hash: u128,
    account: Option<String>,
}

/// Compares everything; the report says whether the data is equal.
pub(crate) async fn compare(sim: &Sim, api: &Api) -> Json {
    compare_but(sim, api, &But::default()).await
}

/// The differences of what a server has to show from [`FIELDS`].
#[derive(Debug, Clone, Default)]
pub(crate) struct But {
    /// Fields (`Object.Field`) that the CRM did not show to the sync, as the sync reported: they must be absent.
    pub(crate) missing: Vec<String>,
    /// A field (`Object.Field`) that has another type.
    pub(crate) retyped: Option<(&'static str, Is)>,
}

/// [`compare`] with some differences.
pub(crate) async fn compare_but(sim: &Sim, api: &Api, but: &But) -> Json {
    let start = Instant::now();
    let mut due: HashMap<String, Due> = HashMap::new();
    let mut unreachable: BTreeMap<&str, u64> = BTreeMap::new();
    let mut live: BTreeMap<&str, u64> = BTreeMap::new();
    for (object, (name, _)) in FIELDS.iter().enumerate() {
        let accounts = object > 0;
        sim.truth_but(name, but, |id, account, line| {
            *live.entry(name).or_default() += 1;
            // Without a company it cannot be found through companies.
            if accounts && account.as_ref().is_none_or(|account| !due.contains_key(account)) {
                *unreachable.entry(name).or_default() += 1;
                return;
            }
            let hash = hash(&line);
            due.insert(
                id,
                Due {
                    object,
                    hash,
                    account,
                },
            );
        });
    }
    let truth_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let names = api.company_names().await;
    let list_seconds = start.elapsed().as_secs_f64();
    let distinct: HashSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "a company was listed twice");
    let companies = names.len();

    let start = Instant::now();
    let mut sums = vec![Sum::default(); FIELDS.len()];
    let mut seen: HashSet<String> = HashSet::with_capacity(due.len());
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut wrong_count = 0_u64;
    // Records that a card does not show because it has too many: object, accounts, and the number that the
    // card states.
    let mut cut: Vec<(usize, HashSet<String>, i64)> = Vec::new();
    let mut currencies: BTreeMap<String, u64> = BTreeMap::new();
    let mut calls = futures_util::stream::iter(names)
        .map(|name| {
            let api = api.clone();
            tokio::spawn(async move { api.profile(name).await })
        })
        .buffer_unordered(CALLERS);
    let mut latencies_done = 0_usize;
    while let Some(profile) = calls.next().await {
        let profile = profile.unwrap();
        latencies_done += 1;
        if latencies_done.is_multiple_of(20_000) {
            eprintln!("  {latencies_done} of {companies} profiles");
        }
        for card in profile.cards {
            let own = card.company_records.unwrap_or_default();
            let accounts: HashSet<String> = own.records.iter().map(|r| r.external_id.clone()).collect();
            for table in std::iter::once(own).chain(card.related) {
                let Some(object) = FIELDS.iter().position(|(name, _)| *name == table.object) else {
                    panic!("an object that was not asked for: {}", table.object);
                };
                if table.more {
                    cut.push((object, accounts.clone(), table.total_size));
                    continue;
                }
                if table.total_size != table.records.len() as i64 {
                    wrong_count += 1;
                    let said = format!(
                        "total_size {} of {} records",
                        table.total_size,
                        table.records.len()
                    );
                    wrong.push((table.object.clone(), said));
                }
                let keys: Vec<&str> = table
                    .columns
                    .iter()
                    .map(|column| column.key.rsplit('.').next().unwrap())
                    .collect();
                for record in table.records {
                    assert_eq!(keys.len(), record.values.len(), "{}", table.object);
                    let cells = keys.iter().zip(&record.values).filter_map(|(key, value)| {
                        if let Some(Kind::Money(money)) = &value.kind {
                            *currencies.entry(money.currency_code.clone()).or_default() += 1;
                        }
                        Some(((*key).to_owned(), answered(value)?))
                    });
                    let line = line(&table.object, &record.external_id, cells.collect());
                    let hash = hash(&line);
                    let fits = due
                        .get(&record.external_id)
                        .is_some_and(|due| due.object == object && due.hash == hash);
                    if !fits {
                        wrong_count += 1;
                        if wrong.len() < 5 {
                            wrong.push((record.external_id.clone(), line));
                        }
                    }
                    if seen.insert(record.external_id) {
                        sums[object].add(hash);
                    } else {
                        wrong_count += 1;
                        wrong.push((table.object.clone(), "twice".to_owned()));
                    }
                }
            }
        }
    }
    let read_seconds = start.elapsed().as_secs_f64();

    // Records beyond the size of cards: their number must equal the stated one, and they are left out on both
    // sides.
    let mut left_out = 0_u64;
    let mut dues = vec![Sum::default(); FIELDS.len()];
    let mut lacking: Vec<String> = Vec::new();
    let mut cut_off: HashSet<String> = HashSet::new();
    for (object, accounts, total) in &cut {
        let of = |due: &Due| {
            due.object == *object
                && due
                    .account
                    .as_ref()
                    .is_some_and(|account| accounts.contains(account))
        };
        let ids: Vec<&String> = due.iter().filter(|(_, d)| of(d)).map(|(id, _)| id).collect();
        if ids.len() as i64 != *total {
            wrong_count += 1;
            wrong.push((
                FIELDS[*object].0.to_owned(),
                format!("{total} said, {} true", ids.len()),
            ));
        }
        left_out += ids.len() as u64;
        cut_off.extend(ids.into_iter().cloned());
    }
    for (id, row) in &due {
        if cut_off.contains(id) {
            continue;
        }
        dues[row.object].add(row.hash);
        if !seen.contains(id) {
            wrong_count += 1;
            if lacking.len() < 5 {
                lacking.push(id.clone());
            }
        }
    }
    let agrees = wrong_count == 0 && sums == dues;
    let mut examples = Vec::new();
    if !agrees {
        let ids: HashSet<&String> = wrong.iter().map(|(id, _)| id).chain(&lacking).collect();
        let mut lines: HashMap<String, String> = HashMap::new();
        for (name, _) in FIELDS {
            sim.truth_but(name, but, |id, _, line| {
                if ids.contains(&id) {
                    lines.insert(id, line);
                }
            });
        }
        for (id, line) in &wrong {
            examples.push(json!({ "id": id, "answered": line, "true": lines.get(id) }));
        }
        for id in &lacking {
            examples.push(json!({ "id": id, "answered": null, "true": lines.get(id) }));
        }
    }
    let objects: serde_json::Map<String, Json> = FIELDS
        .iter()
        .enumerate()
        .map(|(object, (name, fields))| {
            let of = json!({
                "fields": fields.len(), "live": live.get(name), "under_no_account": unreachable.get(name),
                "answered": sums[object].json(), "true": dues[object].json(),
                "agrees": sums[object] == dues[object],
            });
            ((*name).to_owned(), of)
        })
        .collect();
    let records: u64 = sums.iter().map(|sum| sum.records).sum();
    json!({
        "agrees": agrees, "differences": wrong_count, "examples": examples, "companies": companies,
        "records_compared": records, "records_on_cards_cut_off": left_out, "objects": objects,
        "currencies": currencies, "truth_seconds": round(truth_seconds), "list_seconds": round(list_seconds),
        "profiles_seconds": round(read_seconds),
        "profiles_per_second": (companies as f64 / read_seconds).round(),
    })
}

pub(crate) fn round(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}
