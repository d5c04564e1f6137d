//! The corpus of broken libraries (tests/broken): one defect each. The host survives all of them.
//!
//! The observed behaviour of each library is in docs/broken.md. These tests compare it with the behaviour
//! that they see; with TETHER_BLESS=1 they write the file. A changed row is a changed behaviour: review it
//! before you bless it.

mod libraries;
mod serve;
mod session;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tether::connectors::proto::ListFieldsRequest;
use tether::connectors::{Connector, Error, Status};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use libraries::Broken;
use session::Seen;

use crate::support::logs;

/// Concurrent sessions.
const AT_A_TIME: usize = 16;

/// Libraries that do not answer a call, a pull, or the last call: these have a short deadline, all others a
/// long one.
const HANG: session::Hang = session::Hang {
    calls: &[
        "call-closes-itself",
        "call-hang",
        "call-loop",
        "free-hang",
        "never-answers",
        "open-hangs-again",
        "takes-signals",
    ],
    pulls: &["stream-next-hang", "stream-next-never"],
    last: &["open-hangs-again", "stream-next-hang"],
};

/// Libraries that end or change the process that they run in: tested as a child only. In the server, the
/// operator's setting `trusted` states that a library does not do this.
const CHILD_ONLY: &[&str] = &[
    "call-abort",
    "call-allocates",
    "call-crash",
    "call-exit",
    "call-stack-overflow",
    "cancel-crash",
    "changes-the-process",
    "close-crash",
    "closes-descriptors",
    "forks-a-daemon",
    "forks-and-ends",
    "free-crash",
    "free-hang",
    "frees-twice",
    "prints-megabytes",
    "read-crash",
    "reads-stdin",
    "stream-close-crash",
    "stream-next-crash",
    "takes-signals",
    "writes-into-descriptors",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_processes_of_their_own() {
    let all = libraries::all();
    assert!(all.len() > 80, "{}", all.len());
    let seen = beside_a_healthy_one(all, false).await;
    what_floods_the_log_is_cut();
    hold("child", &seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_server() {
    let mut some = libraries::all();
    some.retain(|broken| !CHILD_ONLY.contains(&&*broken.name));
    let seen = beside_a_healthy_one(some, true).await;
    what_floods_the_log_is_cut();
    hold("in-process", &seen);
}

/// The log keeps a thousand lines a second of each source, and states the number of dropped lines.
fn what_floods_the_log_is_cut() {
    let text = logs::text();
    for flood in ["logs-without-measure", "prints-megabytes"] {
        let of = format!("connector=\"{flood}\"");
        let lines = text.lines().filter(|line| line.contains(&of)).count();
        assert!(lines < 100_000, "{flood} has {lines} lines");
    }
}

/// Runs the sessions while a healthy connector in the same place is called continuously; it must answer each
/// call.
async fn beside_a_healthy_one(libraries: Vec<Broken>, trusted: bool) -> Vec<(Broken, Seen)> {
    logs::capture();
    let healthy = libraries.iter().find(|broken| broken.name == "healthy");
    let healthy = Sibling::start(healthy.expect("the base itself"), trusted).await;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut sessions = JoinSet::new();
    // The slow ones are first; the last one leaves threads in the server that loop until the process ends.
    let mut libraries = libraries;
    libraries.sort_by_key(|broken| (broken.name == "call-loop", !broken.name.ends_with("-hang")));
    for broken in libraries {
        let places = Arc::clone(&places);
        sessions.spawn(async move {
            let _place = places.acquire_owned().await;
            let seen = session::run(&broken, trusted, &HANG).await;
            (broken, seen)
        });
    }
    let mut seen = sessions.join_all().await;
    seen.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let answers = healthy.stop().await;
    println!(
        "{} libraries; {answers} calls of a healthy one answered meanwhile",
        seen.len()
    );
    assert!(answers > 100, "{answers}");
    seen
}

/// A healthy connector that is called continuously. It must answer every call.
struct Sibling {
    connector: Connector,
    stop: Arc<AtomicBool>,
    calls: JoinHandle<u64>,
    _folder: tempfile::TempDir,
}

impl Sibling {
    async fn start(healthy: &Broken, trusted: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = session::registry(healthy, folder.path(), trusted).await;
        let connector = registry.get(&healthy.name).expect("it is ready");
        let stop = Arc::new(AtomicBool::new(false));
        let (called, until) = (connector.clone(), Arc::clone(&stop));
        let calls = tokio::spawn(async move {
            let mut answers = 0;
            while !until.load(Ordering::Relaxed) {
                let deadline = Instant::now() + Duration::from_secs(20);
                let answer = called.list_fields(ListFieldsRequest::default(), deadline).await;
                assert_eq!(answer.expect("it answers").objects.len(), 1);
                answers += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answers
        });
        Self {
            connector,
            stop,
            calls,
            _folder: folder,
        }
    }

    /// The number of calls it has answered.
    async fn stop(self) -> u64 {
        assert_eq!(self.connector.status(), Status::Ready);
        self.stop.store(true, Ordering::Relaxed);
        self.calls.await.expect("every call was answered")
    }
}

/// Compares a table of docs/broken.md with the observed behaviour.
fn hold(place: &str, seen: &[(Broken, Seen)]) {
    let head = "| library | defect | listed | a call, and again | listed then | a stream | listed after that |\n\
                |---|---|---|---|---|---|---|";
    let rows = seen.iter().map(|(broken, seen)| {
        let (Broken { name, defect, .. }, Seen { listed, call, .. }) = (broken, seen);
        let Seen {
            then,
            stream,
            afterwards,
            ..
        } = seen;
        format!("| {name} | {defect} | {listed} | {call} | {then} | {stream} | {afterwards} |")
    });
    hold_table(place, head, rows);
}

fn hold_table(place: &str, head: &str, rows: impl Iterator<Item = String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/broken.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {place}: begin -->\n"),
        format!("<!-- {place}: end -->\n"),
    );
    let from = text.find(&begin).expect("the table begins") + begin.len();
    let to = text.find(&end).expect("the table ends");
    let rows: Vec<String> = rows.collect();
    let table = format!("\n{head}\n{}\n\n", rows.join("\n"));
    if std::env::var_os("TETHER_BLESS").is_some() {
        let whole = [&text[..from], &table, &text[to..]].concat();
        return fs::write(path, whole).unwrap();
    }
    let differs = |(line, other): &(&str, &str)| line != other;
    let first = table.lines().zip(text[from..to].lines()).find(differs);
    assert!(
        table == text[from..to],
        "docs/broken.md says otherwise; if what is seen is right, write it with TETHER_BLESS=1. The first difference, seen \
         and said: {first:#?}"
    );
}

/// After six failures in a row, a connector is tried once a minute; the list shows the cause, the call shows
/// the pause.
#[tokio::test]
async fn what_keeps_failing_is_quarantined() {
    let all = libraries::all();
    for (name, trusted, reason) in [
        ("call-crash", false, "it was ended by signal 11 (SIGSEGV)"),
        ("says-failed", true, "it reported that it has failed"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let broken = all.iter().find(|broken| broken.name == name).unwrap();
        let registry = session::registry(broken, folder.path(), trusted).await;
        let connector = registry.get(name).unwrap();
        let pause = loop {
            let deadline = Instant::now() + Duration::from_secs(20);
            match connector
                .list_fields(ListFieldsRequest::default(), deadline)
                .await
            {
                Err(Error::Poisoned { retry_after, .. }) if retry_after > Duration::from_secs(20) => {
                    break retry_after;
                }
                Err(Error::Poisoned { retry_after, .. }) => tokio::time::sleep(retry_after).await,
                // Each of these ends an instance.
                Ok(_) | Err(_) => {}
            }
        };
        assert!(pause <= Duration::from_secs(60));
        let Status::Quarantined {
            failures,
            reason: found,
        } = connector.status()
        else {
            panic!("{name}: {:?}", connector.status())
        };
        assert_eq!((failures, &*found), (6, reason), "{name}");
    }
}

/// Repeated opening and closing leaves nothing behind. (`cargo bench --bench boundary -- --cycles 1000`
/// measures it; nextest runs this test in a process of its own.)
#[tokio::test]
async fn nothing_grows_with_opening_and_closing() {
    const CYCLES: usize = 30;
    let healthy = libraries::all()
        .into_iter()
        .find(|broken| broken.name == "healthy")
        .unwrap();
    for trusted in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let registry = session::registry(&healthy, folder.path(), trusted).await;
        let connector = registry.get(&healthy.name).unwrap();
        let cycle = async || {
            connector.reopen().await.expect("it opens");
            let deadline = Instant::now() + Duration::from_secs(20);
            connector
                .list_fields(ListFieldsRequest::default(), deadline)
                .await
                .expect("it answers");
        };
        cycle().await;
        let before = at_rest(None).await;
        for _ in 0..CYCLES {
            cycle().await;
        }
        let after = at_rest(Some(before)).await;
        assert_eq!(
            before, after,
            "(threads, descriptors, processes), trusted: {trusted}"
        );
    }
}

/// Threads, descriptors and children of this process, once they are stable for a while or equal `wanted`.
async fn at_rest(wanted: Option<(usize, usize, usize)>) -> (usize, usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    let held = || {
        (
            count("/proc/self/task"),
            count("/proc/self/fd"),
            session::processes("healthy").len(),
        )
    };
    let (mut last, mut same) = (held(), 0);
    for _ in 0..400 {
        if wanted == Some(last) || (wanted.is_none() && same > 20) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = held();
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// The libraries of the corpus that use memory in unusual ways and survive: `tests/valgrind.sh` runs them
/// under valgrind.
#[tokio::test]
async fn memory_is_freed_once_by_who_made_it() {
    const ODD: &[&str] = &[
        "answer-empty",
        "answer-not-protobuf",
        "answers-after-close",
        "answers-from-ten-threads",
        "answers-others",
        "answers-twice",
        "entry-error-without-text",
        "healthy",
        "logs-not-utf8",
        "open-error-without-text",
        "rows-after-end",
    ];
    let all = libraries::all();
    for name in ODD {
        let broken = all.iter().find(|broken| broken.name == *name).unwrap();
        let seen = session::run(broken, true, &HANG).await;
        assert_eq!(
            seen.listed.starts_with("failed"),
            name.contains("without-text"),
            "{name}: {seen:?}"
        );
        assert!(
            seen.listed != "ready" || seen.afterwards == "ready",
            "{name}: {seen:?}"
        );
    }
}
