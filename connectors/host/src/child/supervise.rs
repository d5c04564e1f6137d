//! Owns a child process: starts it, writes and reads its frames, logs its output, and makes sure that it ends.
//!
//! A child starts with an empty environment, because the server's has secrets; without core files; and as the
//! first process to be killed when memory runs out.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use tether_connector_abi::{event, level};
use tokio::io::{AsyncRead, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child as Process, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::launch::{ARGUMENT, Launch};
use super::shared::Shared;
use crate::frame::{Frame, Kind, Refused};
use crate::lines::{self, Line, Lines};
use crate::{LoadError, ffi};

/// How long a process may take to end after it was asked to close; then it is killed.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long to wait for a process to end after it closed its end of the socket, so that its exit status can be
/// reported.
const END_TIME: Duration = Duration::from_secs(1);

pub(super) fn start(launch: &Launch, shared: &Arc<Shared>) -> io::Result<(Process, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let program = match &launch.program {
        Some(program) => program.clone(),
        // This also works after the file was replaced by a newer version.
        None if cfg!(target_os = "linux") => PathBuf::from("/proc/self/exe"),
        None => std::env::current_exe()?,
    };
    let mut process = Command::new(program)
        .arg(ARGUMENT)
        // The name is not read; it makes the process recognizable in `ps`.
        .arg(&shared.name)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal must only reach the server. Killing the group also kills processes that the library
        // started.
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

pub(super) async fn writer(
    shared: Arc<Shared>,
    socket: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Frame>,
) {
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
    // For a child, the end of the socket means the end of the server. Keep it open so that this child can close
    // properly.
    shared.ended.cancelled().await;
}

/// Owns the process: reads its frames, notices its end, and makes sure that it ends.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    mut process: Process,
    read: OwnedReadHalf,
    opened: oneshot::Sender<Result<(), LoadError>>,
) {
    let mut opened = Some(opened);
    let pid = process.id();
    let reason = |ended: io::Error| match ended.kind() {
        io::ErrorKind::InvalidData => Some(format!("it sent invalid data: {ended}")),
        REFUSED => Some(ended.to_string()),
        _ => None,
    };
    let (ended, status) = {
        let mut received = std::pin::pin!(receive(&shared, read, &mut opened));
        tokio::select! {
            ended = &mut received => (reason(ended), None),
            () = shared.kill.cancelled() => (Some("the host killed it".to_owned()), None),
            () = overdue(&shared) => {
                let seconds = CLOSE_TIME.as_secs();
                tracing::warn!(connector = shared.name, pid, "killing {}: it did not close within {seconds} seconds", shared.name);
                (Some(format!("it did not close within {seconds} seconds")), None)
            }
            // Processes that the child started may hold the socket open, so the end of the socket alone does not show
            // its end.
            status = process.wait() => match timeout(END_TIME, &mut received).await {
                Ok(ended) => (reason(ended), Some(status)),
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

/// Waits until the time for closing is over, after the child was asked to close.
async fn overdue(shared: &Shared) {
    shared.closing.cancelled().await;
    tokio::time::sleep(CLOSE_TIME).await;
}

/// Kills the process group, and waits for the process.
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

/// How [`receive`] reports that the connector was not opened: there is nothing to close.
const REFUSED: io::ErrorKind = io::ErrorKind::ConnectionRefused;

/// Handles frames until there are no more; returns the reason.
async fn receive(
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
                    shared.fail("it reported that it has failed".to_owned());
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

/// Logs what the library prints.
async fn printed(shared: &Shared, from: &'static str, out: impl AsyncRead + Unpin) {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
    const LONGEST: u64 = 8 * 1024;
    let mut out = BufReader::new(out);
    let lines = Lines::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line that is too long is logged in parts.
        match (&mut out).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        if let Line::Logged { dropped } = lines.one() {
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

/// Logs the rest of the output after the process has ended, for a limited time: processes that it started may hold
/// the pipe open.
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
