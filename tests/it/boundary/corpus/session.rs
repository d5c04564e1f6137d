//! The session with each library of the corpus, and the observed behaviour.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tether::connectors::proto::{
    CountRecordsRequest, FieldType, ListFieldsRequest, ObjectSelection, ReadMode, ReadRequest, RevokeRequest,
    SelectedField, stream_event::Event,
};
use tether::connectors::{Connector, ConnectorOptions, Error, Options, Registry, Status};
use tokio::time::{Instant, timeout};

use super::libraries::Broken;

/// A deadline that is exceeded only by calls that hang.
const LONG: Duration = Duration::from_secs(20);
/// The deadline of calls that are known to hang.
const SHORT: Duration = Duration::from_secs(1);
/// A process that is asked to close is killed after five seconds.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);

/// Libraries that answer and fail a moment later.
const AFTERWARDS: &[&str] = &["says-failed"];

/// The memory limit of a child process: low, because some libraries allocate without end.
const MEMORY: u64 = 512 << 20;

/// The observed behaviour of a library: a row of docs/broken.md.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its state in ListConnectors after it was found.
    pub(super) listed: String,
    /// The result of a call, made twice.
    pub(super) call: String,
    /// Its state in ListConnectors after the calls.
    pub(super) then: String,
    /// The result of a stream.
    pub(super) stream: String,
    /// Its state in ListConnectors after one more call, and the call's result if it is an error.
    pub(super) afterwards: String,
}

/// The libraries that do not answer, by what they do not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hang {
    pub(super) calls: &'static [&'static str],
    pub(super) pulls: &'static [&'static str],
    pub(super) last: &'static [&'static str],
}

/// Loads the library, calls it, cancels a call, reads a stream, and closes it.
pub(super) async fn run(broken: &Broken, trusted: bool, hang: &Hang) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let before = processes(&broken.name);
    let registry = registry(broken, folder.path(), trusted).await;
    let clean = |text: String| clean(broken, folder.path(), &text);
    let listed = clean(status(&registry));
    let mut seen = Seen {
        listed,
        call: String::new(),
        then: String::new(),
        stream: String::new(),
        afterwards: String::new(),
    };
    let mut first = processes(&broken.name);
    first.retain(|pid| !before.contains(pid));
    if let Ok(connector) = registry.get(&broken.name) {
        // If it runs in the server, the child process that tried it may not have ended yet.
        assert!(trusted || first.len() == 1, "{}: {first:?}", broken.name);
        let patience = |hang: &[&str]| {
            if hang.contains(&&*broken.name) {
                SHORT
            } else {
                LONG
            }
        };
        let once = list_fields(&connector, patience(hang.calls)).await;
        let twice = list_fields(&connector, patience(hang.calls)).await;
        seen.call = if once == twice {
            once
        } else {
            format!("{once}; then {twice}")
        };
        seen.call = clean(seen.call);
        if AFTERWARDS.contains(&&*broken.name) {
            fails(&registry).await;
        }
        seen.then = clean(status(&registry));
        dropped_call(&connector).await;
        seen.stream = clean(stream(&connector, patience(hang.pulls)).await);
        // It is executed after all earlier requests, including the end of the stream.
        let last =
            patiently(|| connector.revoke(RevokeRequest::default(), Instant::now() + patience(hang.last)))
                .await;
        let last = last
            .err()
            .map_or_else(String::new, |error| format!("{}; ", said(&error)));
        seen.afterwards = clean(last + &status(&registry));
    }
    drop(registry);
    gone(broken, &before, &first).await;
    seen
}

/// A registry with this library only.
pub(super) async fn registry(broken: &Broken, folder: &Path, trusted: bool) -> Registry {
    broken.lay_out(folder);
    let options = ConnectorOptions {
        trusted,
        ..ConnectorOptions::default()
    };
    Options {
        folders: vec![folder.to_owned()],
        connectors: BTreeMap::from([(broken.name.clone(), options)]),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_tether"))),
        most_child_memory: MEMORY,
        ..Options::default()
    }
    .build()
    .await
}

fn status(registry: &Registry) -> String {
    let listed = registry.list().pop().expect("it is listed");
    match listed.status {
        Status::Ready => "ready".to_owned(),
        Status::Failed { reason } => format!("failed: {reason}"),
        Status::Restarting { failures, reason } => format!("restarting, failure {failures}: {reason}"),
        Status::Quarantined { failures, reason } => format!("quarantined, failure {failures}: {reason}"),
    }
}

/// Waits until it is no longer ready.
async fn fails(registry: &Registry) {
    let end = Instant::now() + LONG;
    while status(registry) == "ready" && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Repeats a call until the pause after a failure is over.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(mut call: impl FnMut() -> F) -> Result<T, Error> {
    loop {
        match call().await {
            Err(Error::Poisoned { retry_after, .. }) => tokio::time::sleep(retry_after).await,
            other => return other,
        }
    }
}

fn said(error: &Error) -> String {
    format!("{:?}: {error}", error.kind())
}

async fn list_fields(connector: &Connector, patience: Duration) -> String {
    let never = |_| panic!("{}: a call did not end", connector.name());
    let answer = patiently(|| async {
        let request = ListFieldsRequest::default();
        let call = connector.list_fields(request, Instant::now() + patience);
        timeout(2 * LONG, call).await.unwrap_or_else(never)
    })
    .await;
    match answer {
        Ok(answer) => format!(
            "{} fields",
            answer
                .objects
                .iter()
                .map(|object| object.fields.len())
                .sum::<usize>()
        ),
        Err(error) => said(&error),
    }
}

/// Begins a call and drops it.
async fn dropped_call(connector: &Connector) {
    let request = CountRecordsRequest::default();
    let mut call = std::pin::pin!(connector.count_records(request, Instant::now() + LONG));
    tokio::select! {
        biased;
        _ = &mut call => {}
        () = tokio::time::sleep(Duration::from_millis(20)) => {}
    }
}

async fn stream(connector: &Connector, patience: Duration) -> String {
    let selection = ObjectSelection {
        object: "Company".to_owned(),
        fields: vec![SelectedField {
            key: "Name".to_owned(),
            r#type: FieldType::Text.into(),
            ..SelectedField::default()
        }],
        ..ObjectSelection::default()
    };
    let request = || ReadRequest {
        selection: vec![selection.clone()],
        mode: ReadMode::Full.into(),
        ..ReadRequest::default()
    };
    let mut stream = match patiently(|| connector.read(request(), None)).await {
        Ok(stream) => stream,
        Err(error) => return format!("not opened: {}", said(&error)),
    };
    let (mut rows, mut checkpoints) = (0, 0);
    for _ in 0..40 {
        let so_far = format!("{rows} rows, {checkpoints} checkpoints");
        match timeout(patience, stream.next(checkpoints)).await {
            Err(_) => return format!("{so_far}, then silence"),
            Ok(Ok(Event::Batch(batch))) => rows += batch.records.len(),
            Ok(Ok(Event::Checkpoint(_))) => checkpoints += 1,
            Ok(Ok(Event::ObjectStatus(_))) => {}
            Ok(Ok(Event::End(_))) => {
                let after = stream.next(checkpoints).await.map(|_| ());
                assert!(after.is_err(), "{}: something follows the end", connector.name());
                return format!("{so_far}, the end");
            }
            Ok(Ok(other)) => return format!("{so_far}, then {other:?}"),
            Ok(Err(error)) => return format!("{so_far}, then {}", said(&error)),
        }
    }
    format!("more than {rows} rows")
}

/// Removes what differs between runs.
fn clean(broken: &Broken, folder: &Path, text: &str) -> String {
    let mut text = text.replace(&folder.display().to_string(), "…");
    let temporary = format!("{}/tether-", std::env::temp_dir().display());
    while let Some(at) = text.find(&temporary) {
        let end = text[at..].find("/lib.so").map_or(text.len(), |end| at + end);
        text.replace_range(at..end, &format!("…/{}", broken.name));
    }
    let hash = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split([' ', ',', ';']).filter(hash).map(str::to_owned);
    for word in words.collect::<Vec<_>>() {
        text = text.replace(&word, "…");
    }
    // The stack guard may or may not be hit.
    if broken.name == "call-stack-overflow" {
        for signal in ["signal 6 (SIGABRT)", "signal 11 (SIGSEGV)"] {
            text = text.replace(signal, "a signal");
        }
    }
    text.replace('\n', " ").replace('|', "\\|")
}

/// The process ids of children of this process that carry a connector with this name.
pub(super) fn processes(name: &str) -> Vec<u32> {
    let is = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(format!("\0connector-host\0{name}\0").as_bytes())
            && stat(*pid, 1) == Some(std::process::id())
    };
    numbers().filter(is).collect()
}

fn numbers() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A field of /proc/pid/stat after the state: 1 is the parent, 2 the group.
fn stat(pid: u32, at: usize) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let behind = text.rsplit_once(") ")?.1;
    let mut words = behind.split(' ');
    if matches!(words.next()?, "Z" | "X") {
        return None;
    }
    words.nth(at - 1)?.parse().ok()
}

/// Waits until nothing of it is left: its processes, and the processes that they started in their groups.
async fn gone(broken: &Broken, before: &[u32], first: &[u32]) {
    let end = Instant::now() + CLOSED_WITHIN;
    loop {
        let mut left = processes(&broken.name);
        left.retain(|pid| !before.contains(pid));
        left.extend(numbers().filter(|pid| stat(*pid, 2).is_some_and(|group| first.contains(&group))));
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{}: still there: {left:?}", broken.name);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
