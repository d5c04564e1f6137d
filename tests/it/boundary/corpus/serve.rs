//! One running server: the whole corpus is copied into its folder, and some libraries are used like any
//! connector, while other callers use a healthy one.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tether::proto::v1::{self, connector::State, sync};
use tokio::task::JoinSet;

use super::{hold_table, libraries};
use crate::support::connectors;
use crate::support::server::{Database, Person, World, ok};

/// Callers of the healthy connector.
const CALLERS: usize = 4;

/// Libraries that are used through the server: those that only the server can refuse, and one for each way to
/// fail during its work.
const USED: &[&str] = &[
    "answers-others",
    "batch-huge",
    "call-crash",
    "call-exit",
    "checkpoint-back",
    "checkpoint-large",
    "closes-descriptors",
    "error-without-kind",
    "event-unknown",
    "forks-and-ends",
    "healthy",
    "logs-without-measure",
    "no-checkpoint",
    "no-end",
    "object-unknown",
    "payload-empty",
    "payload-not-json",
    "payload-not-object",
    "payload-not-utf8",
    "prints-megabytes",
    "read-crash",
    "rows-after-end",
    "stream-close-crash",
    "stream-next-crash",
    "stream-next-hang",
    "stream-next-never",
    "threads-outlive-close",
];

/// Libraries whose syncs do not end: they are cancelled.
const ENDLESS: &[&str] = &["no-end", "stream-next-hang", "stream-next-never"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_serves_on_beside_all_of_it() {
    let broken = tempfile::tempdir().unwrap();
    let folders = format!(
        "connectors.dir={}:{}",
        connectors::folder().display(),
        broken.path().display()
    );
    let world = World::start_with(Database::Sqlite, 1, &[&folders, "sync.workers=8"]).await;
    let server = world.pid();
    let mut ann = world.ann().await;
    let (integration, _) = ann.dummy("Beside", "alice").await;

    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (ann, integration) = (world.ann().await, integration.clone());
        callers.spawn(call(ann, integration, Arc::clone(&stop), Arc::clone(&calls)));
    }

    let all = libraries::all();
    let known = |name: &&str| all.iter().any(|one| one.name == **name);
    assert!(USED.iter().all(known));
    let staged = tempfile::tempdir_in(broken.path().parent().unwrap()).unwrap();
    for one in &all {
        one.lay_out(staged.path());
    }
    let dropped = Instant::now();
    for one in &all {
        fs::rename(staged.path().join(&one.name), broken.path().join(&one.name)).unwrap();
    }
    // Libraries that hang are listed after half a minute.
    let ours = |one: &v1::Connector| {
        all.iter()
            .any(|library| one.name == format!("connectors/{}", library.name))
    };
    while listed(&mut ann).await.iter().filter(|one| ours(one)).count() < all.len() {
        assert!(dropped.elapsed() < Duration::from_secs(150), "not all are listed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{} libraries listed after {:.1?}", all.len(), dropped.elapsed());

    let mut uses = JoinSet::new();
    let places = Arc::new(tokio::sync::Semaphore::new(8));
    for name in USED {
        let (mut ann, places) = (world.ann().await, Arc::clone(&places));
        uses.spawn(async move {
            let _place = places.acquire_owned().await;
            (*name, used(&mut ann, name).await)
        });
    }
    let mut seen = uses.join_all().await;
    seen.sort();

    stop.store(true, Ordering::Relaxed);
    // Each caller panics if a call fails.
    callers.join_all().await;
    let calls = calls.load(Ordering::Relaxed);
    println!("{calls} calls of the healthy connector meanwhile, 0 errors; pid {server} then and now");
    assert!(calls > 100, "{calls}");
    assert_eq!(world.pid(), server);
    let healthy = listed(&mut ann).await;
    let healthy = healthy.iter().find(|one| one.name == "connectors/dummy");
    assert_eq!(healthy.unwrap().state(), State::Available);
    for one in listed(&mut ann).await {
        let name = one.name.trim_start_matches("connectors/");
        assert_eq!(one.state() == State::Failed, one.state_reason.is_some(), "{name}");
    }
    let rows = seen
        .into_iter()
        .map(|(name, seen)| format!("| {name} | {seen} |"));
    hold_table(
        "served",
        "| library | what came of an integration of it |\n|---|---|",
        rows,
    );
}

async fn listed(ann: &mut Person) -> Vec<v1::Connector> {
    let request = v1::ListConnectorsRequest {
        page_size: 200,
        ..Default::default()
    };
    ok(ann.integrations.list_connectors(request)).await.connectors
}

/// Uses the healthy connector in every way, continuously.
async fn call(mut ann: Person, integration: String, stop: Arc<AtomicBool>, calls: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let fields = v1::ListAvailableFieldsRequest {
            parent: integration.clone(),
            ..Default::default()
        };
        let fields = ok(ann.integrations.list_available_fields(fields)).await;
        assert!(!fields.objects.is_empty());
        let companies = ann.all_companies(1_000).await;
        assert!(!companies.is_empty());
        let profile = ann.open(&companies[0].name).await;
        assert!(!profile.cards.is_empty());
        assert!(!listed(&mut ann).await.is_empty());
        calls.fetch_add(4, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All steps up to the end of the first sync; returns how far it got.
async fn used(ann: &mut Person, name: &str) -> String {
    let described = |what: &str, status: &tonic::Status| {
        format!("{what} refused, {:?}: {}", status.code(), status.message())
    };
    ann.enable(name).await;
    let integration = ann.create(name, name).await;
    let key = Person::key(&integration, "key");
    if let Err(status) = ann.integrations.authorize_with_credentials(key).await {
        return described("login", &status);
    }
    let selection = Person::selection(&integration, &["Company.Name"]);
    if let Err(status) = ann.integrations.update_integration(selection).await {
        return described("selection", &status);
    }
    let request = v1::ActivateIntegrationRequest {
        name: integration.clone(),
        ..Default::default()
    };
    let sync = match ann.integrations.activate_integration(request).await {
        Ok(activated) => activated.into_inner().sync.unwrap().name,
        Err(status) => return described("activation", &status),
    };
    let last = settled(ann, name, &sync).await;
    let rows = last.totals.map_or(0, |totals| totals.written);
    let said = match &last.error {
        Some(cause) => format!(" {}: {}", cause.reason().as_str_name(), cause.message),
        None => String::new(),
    };
    let rows = if ENDLESS.contains(&name) {
        String::new()
    } else {
        format!(", {rows} rows kept")
    };
    let state = last
        .state()
        .as_str_name()
        .trim_start_matches("STATE_")
        .to_lowercase();
    format!("sync {state}{said}{rows}").replace('\n', " ")
}

/// Waits until a sync has ended or waits for its next attempt, which is then cancelled; a sync without an end
/// is cancelled, too.
async fn settled(ann: &mut Person, name: &str, sync: &str) -> v1::Sync {
    let endless = ENDLESS.contains(&name);
    let request = || v1::GetSyncRequest {
        name: sync.to_owned(),
    };
    let end = Instant::now() + Duration::from_secs(120);
    let begun = Instant::now();
    loop {
        let now = ok(ann.integrations.get_sync(request())).await;
        match now.state() {
            sync::State::Succeeded | sync::State::Partial | sync::State::Failed | sync::State::Cancelled => {
                return now;
            }
            sync::State::Waiting => {
                cancel(ann, sync).await;
                return now;
            }
            _ if endless
                && now.state() == sync::State::Running
                && begun.elapsed() > Duration::from_secs(2) =>
            {
                cancel(ann, sync).await;
            }
            _ => {}
        }
        assert!(Instant::now() < end, "{name}: {now:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn cancel(ann: &mut Person, sync: &str) {
    let request = v1::CancelSyncRequest {
        name: sync.to_owned(),
    };
    // It may have ended at this moment.
    let _ = ann.integrations.cancel_sync(request).await;
}
