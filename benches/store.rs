//! The speed of storing rows: `cargo bench --bench store`, with TETHER_BENCH_ROWS rows (200000) and
//! TETHER_BENCH_BATCH rows per commit (2000).
//!
//! Rows of 420 bytes, one writer. New rows, the same rows again (plain, and as a complete listing), all rows
//! changed, and pages of All Companies over two sources. PostgreSQL is the tests' throw-away cluster (without
//! fsync) unless TETHER_BENCH_POSTGRES is the address of an empty database. Prints JSON.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "../tests/it/support/alone.rs"]
mod alone;
#[path = "../tests/it/support/postgres.rs"]
mod postgres;

use std::time::Instant;

use alone::Alone as _;
use tether::{domain::*, store::*};

const NOW: Micros = 1_800_000_000_000_000;

fn asked(name: &str, usual: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(usual)
}

/// Megabytes written and milliseconds of processor time used by this process: figures that do not depend on
/// the load of the machine.
fn spent() -> (u64, u64) {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes: u64 = io
        .lines()
        .find_map(|l| l.strip_prefix("wchar: "))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    (bytes >> 20, (ticks(11) + ticks(12)) * 10)
}

fn row(i: usize, version: i64) -> RecordRow {
    let name = format!("{:04x} Company {i}", (i * 40_503) % 65_536);
    let head = format!(r#"{{"Industry":"Banking","Name":"{name}","Version":{version},"Description":""#);
    RecordRow {
        external_id: format!("001{i:015}"),
        company_id: Some(CompanyId::of_domain(&format!("company{i}.com"))),
        payload: format!("{head}{}\"}}", "x".repeat(418usize.saturating_sub(head.len()))),
        homepage: Some(format!("https://www.company{i}.com")),
        name,
        hash: (i as i64).wrapping_mul(7_919) + version,
        modified_us: NOW + version,
        read_us: 0,
        deleted: false,
        merged_into: None,
        parents: Vec::new(),
    }
}

fn id(i: usize) -> String {
    format!("001{i:015}")
}

async fn integration(store: &Store, group_id: &GroupId, name: &str) -> Sync {
    let new = NewIntegration {
        group_id: group_id.clone(),
        connector: "salesforce".to_owned(),
        display_name: name.to_owned(),
        label: None,
        connected: true,
        settings: "{}".to_owned(),
        schedule: tether::domain::Schedule::manual(),
        budget: ApiBudget::default(),
        create_by: "bench".to_owned(),
        now_us: NOW,
        expire_us: NOW,
        most_drafts: 1_000,
    };
    let draft = store.integration_create(new).await.unwrap();
    let credential = NewCredential {
        connector: "salesforce".to_owned(),
        auth_kind: AuthKind::ClientCredentials,
        client_id: name.to_owned(),
        organization_id: name.to_owned(),
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
    let attach = AttachCredential {
        id: draft.id,
        credential_id,
        account_limit: 5,
        now_us: NOW,
    };
    store.integration_attach_credential(attach).await.unwrap();
    let activate = Activate {
        id: draft.id,
        revision: None,
        account_limit: 5,
        company_records: None,
        by: "bench".to_owned(),
        now_us: NOW,
    };
    store.integration_activate(activate).await.unwrap();
    let worker = Worker {
        owner: "bench".to_owned(),
        per_organization: 1,
        breaker: Breaker::default(),
    };
    store
        .sync_lease_next(&worker, NOW, NOW * 2)
        .await
        .unwrap()
        .unwrap()
}

/// Rows per second, without the creation of the rows.
async fn pass(store: &Store, sync: &Sync, rows: usize, version: i64, covers: bool) -> String {
    let size = asked("TETHER_BENCH_BATCH", 2_000);
    let mut seconds = 0.0;
    let before = spent();
    for first in (0..rows).step_by(size) {
        let last = (first + size).min(rows) - 1;
        let batch = RecordBatch {
            object: "Account".to_owned(),
            rows: (first..=last).map(|i| row(i, version)).collect(),
            complete_range: covers.then(|| CompleteRange {
                after: first.checked_sub(1).map(id).unwrap_or_default(),
                through: id(last),
                order: IdOrder::Bytes,
            }),
            read: tether::domain::ReadTime::crm(NOW + version),
            partial: None,
        };
        let commit = SyncCommit {
            sync_id: sync.id,
            fence: sync.fence,
            integration_id: sync.integration_id,
            generation: sync.generation,
            batches: vec![batch],
            checkpoint: Some(vec![0; 64]),
            objects: Vec::new(),
            bytes: 1,
            api_calls: 1,
            missing_fields: Vec::new(),
            field_types: Vec::new(),
            now_us: NOW,
            reads: Vec::new(),
            is_first_load: false,
        };
        let start = Instant::now();
        store.sync_commit(commit).await.unwrap();
        seconds += start.elapsed().as_secs_f64();
    }
    let after = spent();
    format!(
        r#""commit":{size},"per_second":{:.0},"written_mb":{},"cpu_ms_with_making":{}"#,
        rows as f64 / seconds,
        after.0 - before.0,
        after.1 - before.1,
    )
}

async fn bench(store: &Store, rows: usize) {
    store.migrate().await.unwrap();
    let group_id: GroupId = "bench".parse().unwrap();
    store.group_upsert(&group_id, "Bench", NOW).await.unwrap();
    let enablement = Enablement {
        group_id: group_id.clone(),
        connector: "salesforce".to_owned(),
        enabled: true,
        update_us: NOW,
        update_by: "bench".to_owned(),
    };
    store.enablement_set(enablement).await.unwrap();
    let one = integration(store, &group_id, "one").await;
    let backend = store.backend();
    let say = |what: &str, figures: String| {
        println!(r#"{{"bench":"store","backend":"{backend}","rows":{rows},"what":"{what}",{figures}}}"#);
    };
    say("new", pass(store, &one, rows, 1, false).await);
    say("unchanged", pass(store, &one, rows, 1, false).await);
    say(
        "unchanged, complete listing",
        pass(store, &one, rows, 1, true).await,
    );
    say("changed", pass(store, &one, rows, 2, false).await);
    say(
        "changed, complete listing",
        pass(store, &one, rows, 3, true).await,
    );
    let two = integration(store, &group_id, "two").await;
    say(
        "new, second source, complete listing",
        pass(store, &two, rows / 2, 1, true).await,
    );

    let sources = vec![one.integration_id, two.integration_id];
    let mut times = Vec::new();
    for i in 0..200 {
        let after = CompanyKey {
            name_key: format!("{:04x}", (i * 331) % 65_536),
            company_id: CompanyId::from_uuid(uuid::Uuid::nil()),
        };
        let start = Instant::now();
        let page = store
            .company_list_all(&group_id, sources.clone(), Some(after), 50)
            .await
            .unwrap();
        times.push(start.elapsed().as_micros());
        assert_eq!(page.len(), 50);
    }
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        r#"{{"bench":"store","backend":"{backend}","rows":{rows},"what":"page of 50, two sources","p50_us":{p50},"p99_us":{p99}}}"#
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let rows = asked("TETHER_BENCH_ROWS", 200_000);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("bench.db").display());
    let store = Store::open(&Options::new(url)).unwrap();
    runtime.block_on(bench(&store, rows));
    drop(store);

    let given = std::env::var("TETHER_BENCH_POSTGRES").ok();
    let made = given.is_none().then(postgres::database);
    let url = given.or(made.as_ref().map(|d| d.url.clone())).unwrap_or_default();
    let store = Store::open(&Options::new(url)).unwrap();
    runtime.block_on(bench(&store, rows / 2));
    drop(store);
}
