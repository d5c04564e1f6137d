//! What a child process sends to the server: answers, log lines and events, as frames in one order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tether_connector_abi::level;

use super::frame::{Frame, Kind, MOST_MESSAGE_BYTES};
use super::lines::{self, Line, Lines};
use super::proto::{self, CallResponse, StreamEvent, call_response, stream_event};

/// Maximum number of log lines that wait to be written; further lines are dropped.
const MOST_LINES_WAITING: usize = 1_000;

/// The connection to the server, used by callbacks of the library.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Frames to be written. `None` is the last entry: everything before it is written, then the writer ends.
    frames: Sender<Option<Frame>>,
    /// Calls and pulls that have no answer yet.
    open: Mutex<HashMap<u64, Asked>>,
    /// Number of log lines that wait to be written.
    waiting: AtomicUsize,
    lines: Lines,
}

/// The kind of request that an answer belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Call,
    Pull,
}

impl Upstream {
    /// `frames` are written in their order.
    pub(super) fn new(frames: Sender<Option<Frame>>) -> Self {
        Self {
            frames,
            open: Mutex::default(),
            waiting: AtomicUsize::new(0),
            lines: Lines::default(),
        }
    }

    /// A request has come that has no answer yet.
    pub(super) fn expect(&self, call: u64, asked: Asked) {
        self.open.lock().insert(call, asked);
    }

    /// A log line was written.
    pub(super) fn wrote_line(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sends an answer to the server. An answer to an unknown or completed call is dropped, and its buffer is freed.
    pub(super) fn complete(&self, call: u64, answer: Bytes) {
        let Some(asked) = self.open.lock().remove(&call) else {
            return;
        };
        let body = if answer.len() > MOST_MESSAGE_BYTES {
            too_large(asked)
        } else {
            answer
        };
        self.send(Frame::new(Kind::Answer, call, 0, body));
    }

    /// Sends a log line to the server.
    pub(super) fn log(&self, level: u32, target: &[u8], message: &[u8]) {
        let Line::Logged { dropped } = self.lines.one() else {
            return;
        };
        if dropped > 0 {
            self.line(level::WARN, target, lines::lost(dropped).as_bytes());
        }
        self.line(level, target, message);
    }

    fn line(&self, level: u32, target: &[u8], message: &[u8]) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_LINES_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let body = [target, message].concat();
        self.send(Frame::new(Kind::Log, level.into(), target.len() as u64, body));
    }

    /// Sends an event to the server.
    pub(super) fn notify(&self, event: u32) {
        self.send(Frame::new(Kind::Notify, event.into(), 0, Bytes::new()));
    }

    pub(super) fn send(&self, frame: Frame) {
        // The writer runs until the process ends, so this does not fail.
        let _ = self.frames.send(Some(frame));
    }

    /// Returns when everything sent so far is written.
    pub(super) fn finish(&self, writer: JoinHandle<()>) {
        let _ = self.frames.send(None);
        // If the writer cannot write, it ends the process.
        let _ = writer.join();
    }
}

/// The error sent instead of an answer that exceeds the maximum size of a message: only this call fails, not the
/// process.
fn too_large(asked: Asked) -> Bytes {
    let error = |what: &str| proto::Error::bug(format!("{what} is larger than 64 MiB"));
    let encoded = match asked {
        Asked::Call => CallResponse {
            result: Some(call_response::Result::Error(error("the answer"))),
        }
        .encode_to_vec(),
        Asked::Pull => StreamEvent {
            event: Some(stream_event::Event::Error(error("an event"))),
        }
        .encode_to_vec(),
    };
    encoded.into()
}
