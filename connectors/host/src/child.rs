//! A connector in a process of its own, from the server's side.
//!
//! One child carries one instance. Whatever it does, crash, hang or talk garbage, costs this child alone: its calls and
//! streams fail as [`Error::Lost`](super::Error::Lost), and the next call starts another.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tether_connector_abi::{event, level};
use tokio::io::{AsyncRead, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child as Process, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::call_table::{CallTable, Pending};
use super::ffi;
use super::frame::{Frame, Kind, Open, Refused};
use super::lines::{self, Line, Lines};
use super::{Error, LoadError};

/// The argument that makes the server's binary a child.
pub const ARGUMENT: &str = "connector-host";

/// Loading and opening may take this long.
pub(super) const OPEN_TIME: Duration = Duration::from_secs(30);
/// From the wish to close to the end of the process it may take this long; then it is killed.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// After its end of the socket is closed, a process is given this long to end, so that it can be told how it ended.
const END_TIME: Duration = Duration::from_secs(1);
/// How often a child is asked whether its slots still return.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A child that has not answered for so long hangs.
const PONG_WITHIN: Duration = Duration::from_secs(30);

/// How to start a child.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The program that has [`child_process`](super::child_process) in it; none for this one.
    pub(super) program: Option<PathBuf>,
    pub(super) library: PathBuf,
    pub(super) sha256: String,
    /// The server's own copy of the library, hashed already, if there could be one.
    pub(super) copy: Option<PathBuf>,
    /// Memory that the process may have, in bytes.
    pub(super) most_memory: u64,
}

/// A running child. Dropping it asks it to close, and kills it where it does not.
#[derive(Debug)]
pub(super) struct Child {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedSender<Frame>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    process: OnceLock<u32>,
    calls: Arc<CallTable>,
    /// It takes no more calls.
    poisoned: AtomicBool,
    /// Why, as far as it is known.
    failure: Mutex<Option<String>>,
    /// Kill it now.
    kill: CancellationToken,
    /// It was asked to close.
    closing: CancellationToken,
    /// It is no more.
    ended: CancellationToken,
    /// When a ping was last answered, in milliseconds of the child's life.
    pong: AtomicU64,
    began: tokio::time::Instant,
}

impl Child {
    /// Starts a child, loads and opens the connector in it.
    pub(super) async fn open(name: &str, launch: &Launch, request: Bytes) -> Result<Self, LoadError> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            process: OnceLock::new(),
            calls: Arc::default(),
            poisoned: AtomicBool::new(false),
            failure: Mutex::default(),
            kill: CancellationToken::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            pong: AtomicU64::new(0),
            began: tokio::time::Instant::now(),
        });
        let (process, socket) = start(launch, &shared)
            .map_err(|error| LoadError::Child(format!("a process for it could not be started: {error}")))?;
        if let Some(pid) = process.id() {
            // Nobody has set it before.
            let _ = shared.process.set(pid);
        }
        let (read, write) = socket.into_split();
        let (frames, waiting) = mpsc::unbounded_channel();
        let (opened, outcome) = oneshot::channel();
        tokio::spawn(writer(Arc::clone(&shared), write, waiting));
        tokio::spawn(supervise(Arc::clone(&shared), process, read, opened));
        let child = Self { shared, frames };
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let open = Open {
            name: name.to_owned(),
            library: text(&launch.library),
            copy: launch.copy.as_ref().map(text).unwrap_or_default(),
            sha256: launch.sha256.clone(),
            max_log_level: ffi::max_log_level(),
            request,
            most_memory: launch.most_memory,
        };
        child.send(Kind::Open, 0, 0, open.encode_to_vec());
        match timeout(OPEN_TIME, outcome).await {
            Ok(Ok(Ok(()))) => {
                child.ping();
                Ok(child)
            }
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(LoadError::Child(child.failure().unwrap_or_default())),
            Err(_) => {
                child.give_up(format!("it did not open within {} seconds", OPEN_TIME.as_secs()));
                Err(LoadError::Child(child.failure().unwrap_or_default()))
            }
        }
    }

    /// Starts a call.
    pub(super) fn call(self: &Arc<Self>, request: &[u8]) -> Ask {
        let pending = self.shared.calls.begin();
        self.send(Kind::Call, pending.id(), 0, Bytes::copy_from_slice(request));
        self.ask(pending)
    }

    /// Pulls a stream.
    pub(super) fn stream_next(self: &Arc<Self>, stream: u64, request: &[u8]) -> Ask {
        let pending = self.shared.calls.begin();
        let request = Bytes::copy_from_slice(request);
        self.send(Kind::StreamNext, pending.id(), stream, request);
        self.ask(pending)
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, stream: u64) {
        self.send(Kind::StreamClose, 0, stream, Bytes::new());
    }

    /// Asks for an early answer to a call.
    pub(super) fn cancel(&self, call: u64) {
        self.send(Kind::Cancel, call, 0, Bytes::new());
    }

    /// Its process, once that runs.
    pub(super) fn process(&self) -> Option<u32> {
        self.shared.process.get().copied()
    }

    /// Asks it to close, and returns when its process is gone.
    pub(super) async fn close(&self) {
        self.shared.closing.cancel();
        self.send(Kind::Close, 0, 0, Bytes::new());
        self.ended().await;
    }

    /// Returns when its process is gone.
    pub(super) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Whether another must be started.
    pub(super) fn is_poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Acquire)
    }

    /// Why it ended, or is about to.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Kills it.
    pub(super) fn give_up(&self, why: String) {
        self.shared.fail(why);
        self.shared.kill.cancel();
    }

    fn ask(self: &Arc<Self>, pending: Pending) -> Ask {
        Ask {
            to: Arc::clone(self),
            pending,
            done: false,
        }
    }

    fn send(&self, kind: Kind, a: u64, b: u64, body: impl Into<Bytes>) {
        // The writer is gone with the child, and then the table of calls is closed.
        let _ = self.frames.send(Frame::new(kind, a, b, body));
    }

    /// Asks, every few seconds, whether slots still return.
    fn ping(&self) {
        let (shared, frames) = (Arc::clone(&self.shared), self.frames.clone().downgrade());
        tokio::spawn(async move {
            loop {
                // It is not to outlive the child by up to a whole turn: children may come and go by the hundred.
                tokio::select! {
                    () = tokio::time::sleep(PING_EVERY) => {}
                    () = shared.closing.cancelled() => return,
                    () = shared.ended.cancelled() => return,
                }
                let silent = shared.age().saturating_sub(shared.pong.load(Ordering::Acquire));
                if silent > PONG_WITHIN.as_millis() as u64 {
                    shared.fail(format!("a slot did not return within {silent} ms"));
                    return shared.kill.cancel();
                }
                let ping = Frame::new(Kind::Ping, shared.age(), 0, Bytes::new());
                match frames.upgrade() {
                    Some(frames) if frames.send(ping).is_ok() => {}
                    _ => return,
                }
            }
        });
        self.shared.pong.store(self.shared.age(), Ordering::Release);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.send(Kind::Close, 0, 0, Bytes::new());
    }
}

impl Shared {
    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// No more calls; the first reason is the one that counts.
    fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
        self.poisoned.store(true, Ordering::Release);
    }
}

/// A call or pull that is on its way. Dropping it before its answer cancels it.
#[derive(Debug)]
pub(super) struct Ask {
    to: Arc<Child>,
    pending: Pending,
    done: bool,
}

impl Ask {
    /// The answer. May be dropped and asked again.
    pub(super) async fn answer(&mut self) -> Result<Bytes, Error> {
        let answer = self.pending.answer().await;
        self.done = true;
        answer.ok_or_else(|| Error::Lost(self.to.shared.name.clone()))
    }

    /// Asks for an early answer, and goes on waiting.
    pub(super) fn cancel(&self) {
        self.to.cancel(self.pending.id());
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.done {
            self.to.send(Kind::Cancel, self.pending.id(), 0, Bytes::new());
        }
    }
}

fn start(launch: &Launch, shared: &Arc<Shared>) -> io::Result<(Process, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let program = match &launch.program {
        Some(program) => program.clone(),
        // Good also after the file was replaced by a newer one.
        None if cfg!(target_os = "linux") => PathBuf::from("/proc/self/exe"),
        None => std::env::current_exe()?,
    };
    let mut process = Command::new(program)
        .arg(ARGUMENT)
        // Not read; so that `ps` tells whose it is.
        .arg(&shared.name)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A terminal's Ctrl-C is the server's to handle, and killing the group takes what the library has started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(out) = process.stdout.take() {
        tokio::spawn(printed_until_the_end(Arc::clone(shared), "stdout", out));
    }
    if let Some(out) = process.stderr.take() {
        tokio::spawn(printed_until_the_end(Arc::clone(shared), "stderr", out));
    }
    Ok((process, UnixStream::from_std(ours)?))
}

async fn writer(shared: Arc<Shared>, socket: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Frame>) {
    let mut socket = BufWriter::with_capacity(64 * 1024, socket);
    let mut waiting = Vec::new();
    while frames.recv_many(&mut waiting, 64).await > 0 {
        for frame in waiting.drain(..) {
            let header = frame.header();
            if socket.write_all(&header).await.is_err() || socket.write_all(&frame.body).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
    // The end of the socket is the end of the server to a child; this one is to close in peace.
    shared.ended.cancelled().await;
}

/// Owns the process: hears its frames, notes its end, and sees to it that it ends.
async fn supervise(
    shared: Arc<Shared>,
    mut process: Process,
    read: OwnedReadHalf,
    opened: oneshot::Sender<Result<(), LoadError>>,
) {
    let mut opened = Some(opened);
    let pid = process.id();
    let told = |ended: io::Error| match ended.kind() {
        io::ErrorKind::InvalidData => Some(format!("it sent garbage: {ended}")),
        REFUSED => Some(ended.to_string()),
        _ => None,
    };
    let (ended, status) = {
        let mut heard = std::pin::pin!(hear(&shared, read, &mut opened));
        tokio::select! {
            ended = &mut heard => (told(ended), None),
            () = shared.kill.cancelled() => (Some("it was given up".to_owned()), None),
            () = overdue(&shared) => {
                let seconds = CLOSE_TIME.as_secs();
                tracing::warn!(connector = shared.name, pid, "{} did not close within {seconds} seconds and is killed", shared.name);
                (Some(format!("it did not close within {seconds} seconds")), None)
            }
            // What it has started may still hold the socket: its end alone does not tell.
            status = process.wait() => match timeout(END_TIME, &mut heard).await {
                Ok(ended) => (told(ended), Some(status)),
                Err(_) => (None, Some(status)),
            },
        }
    };
    let status = match (&ended, status) {
        (_, Some(status)) => Some(status),
        (Some(_), None) => None,
        (None, None) => timeout(END_TIME, process.wait()).await.ok(),
    };
    let why = match (ended, status) {
        (Some(why), _) => why,
        (None, Some(Ok(status))) => describe(status),
        (None, _) => "it closed its connection".to_owned(),
    };
    let closed = shared.closing.is_cancelled();
    shared.fail(why);
    kill(pid, &mut process).await;
    let why = shared.failure.lock().clone().unwrap_or_default();
    if let Some(opened) = opened.take() {
        let _ = opened.send(Err(LoadError::Child(format!(
            "its process ended while it was loaded and opened: {why}"
        ))));
    } else if !closed {
        tracing::error!(connector = shared.name, pid, reason = %why, "the process of connector {} has ended: {why}", shared.name);
        metrics::counter!("tether_connector_process_ends_total", "connector" => shared.name.clone())
            .increment(1);
    }
    shared.calls.close();
    shared.ended.cancel();
}

/// Waits until a child that was asked to close should have.
async fn overdue(shared: &Shared) {
    shared.closing.cancelled().await;
    tokio::time::sleep(CLOSE_TIME).await;
}

/// Kills the process, and what it has started, and waits for it.
async fn kill(pid: Option<u32>, process: &mut Process) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = pid
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = process.kill().await;
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_name(signal) {
            Some(name) => format!("it was ended by signal {signal} ({name})"),
            None => format!("it was ended by signal {signal}"),
        },
        (None, Some(code)) => format!("it exited with status {code}"),
        (None, None) => "it ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// How [`hear`] tells that the connector is not open: there is nothing to close.
const REFUSED: io::ErrorKind = io::ErrorKind::ConnectionRefused;

/// Hands frames on until there are no more; answers why.
async fn hear(
    shared: &Shared,
    read: OwnedReadHalf,
    opened: &mut Option<oneshot::Sender<Result<(), LoadError>>>,
) -> io::Error {
    let mut socket = BufReader::with_capacity(64 * 1024, read);
    loop {
        let frame = match Frame::read_async(&mut socket).await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        match (frame.kind, opened.is_some()) {
            (Kind::Answer, false) => {
                shared.calls.complete(frame.a, frame.body);
            }
            (Kind::Log, _) => {
                let (target, message) = frame.body.split_at((frame.b as usize).min(frame.body.len()));
                let level = u32::try_from(frame.a).unwrap_or(level::TRACE);
                ffi::log_line(&shared.name, level, target, message);
            }
            (Kind::Notify, _) => {
                if frame.a == u64::from(event::POISONED) {
                    shared.fail("it said that it has failed".to_owned());
                }
            }
            (Kind::Pong, false) => shared.pong.store(shared.age(), Ordering::Release),
            (Kind::Opened, true) => {
                let _ = opened.take().map(|opened| opened.send(Ok(())));
            }
            (Kind::Refused, true) => {
                let refused = match Refused::decode(frame.body) {
                    Ok(Refused {
                        error: Some(error), ..
                    }) => LoadError::Open(error),
                    Ok(Refused { reason, .. }) => LoadError::Child(reason),
                    Err(_) => LoadError::Child("it did not say why it does not open".to_owned()),
                };
                let _ = opened.take().map(|opened| opened.send(Err(refused)));
                shared.closing.cancel();
                return io::Error::new(REFUSED, "it did not open");
            }
            (kind, _) => {
                let what = format!("a frame of the kind {kind:?} at the wrong time");
                return io::Error::new(io::ErrorKind::InvalidData, what);
            }
        }
    }
}

/// What the library prints goes to the log.
async fn printed(shared: &Shared, from: &'static str, out: impl AsyncRead + Unpin) {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
    const LONGEST: u64 = 8 * 1024;
    let mut out = BufReader::new(out);
    let lines = Lines::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line that is too long is told in parts.
        match (&mut out).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        if let Line::Told { dropped } = lines.one() {
            if dropped > 0 {
                ffi::log_line(
                    &shared.name,
                    level::WARN,
                    from.as_bytes(),
                    lines::lost(dropped).as_bytes(),
                );
            }
            ffi::log_line(&shared.name, level::WARN, from.as_bytes(), text);
        }
    }
}

/// What a process that is no more has left in its pipe is told; whatever it has started may hold the pipe for ever.
async fn printed_until_the_end(shared: Arc<Shared>, from: &'static str, out: impl AsyncRead + Unpin) {
    let ended = async {
        shared.ended.cancelled().await;
        tokio::time::sleep(END_TIME).await;
    };
    tokio::select! {
        () = printed(&shared, from, out) => {}
        () = ended => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        for (raw, words) in [
            (0, "it exited with status 0"),
            (3 << 8, "it exited with status 3"),
            (11, "it was ended by signal 11 (SIGSEGV)"),
            (31, "it was ended by signal 31"),
        ] {
            assert_eq!(describe(ExitStatus::from_raw(raw)), words);
        }
    }
}
