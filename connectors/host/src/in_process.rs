//! An instance of a library in this process.

use std::sync::Arc;

use bytes::Bytes;

use super::call_table::Pending;
use super::ffi::{CALLS, Instance, Library};
use super::LoadError;

/// An open instance. Dropping it closes it, on a thread that may wait.
#[derive(Debug)]
pub(super) struct InProcess {
    library: Arc<Library>,
    instance: u64,
    info: Arc<Instance>,
}

impl InProcess {
    /// Opens an instance. Blocks.
    pub(super) fn open(name: &str, library: &Arc<Library>, request: &[u8]) -> Result<Self, LoadError> {
        let (number, info) = Instance::register(name);
        let instance = library.open(number, request).map_err(LoadError::Open)?;
        Ok(Self {
            library: Arc::clone(library),
            instance,
            info,
        })
    }

    /// Starts a call.
    pub(super) fn call(self: &Arc<Self>, request: &[u8]) -> Ask {
        let pending = CALLS.begin();
        self.library.call(self.instance, pending.id(), request);
        Ask {
            to: Arc::clone(self),
            pending,
            done: false,
        }
    }

    /// Starts a call on another instance than this one.
    pub(super) fn call_of(self: &Arc<Self>, instance: u64, request: &[u8]) -> Ask {
        let pending = CALLS.begin();
        self.library.call(instance, pending.id(), request);
        Ask {
            to: Arc::clone(self),
            pending,
            done: false,
        }
    }

    /// Asks for an early answer to a call.
    pub(super) fn cancel(&self, call: u64) {
        self.library.cancel(self.instance, call);
    }

    /// Closes it. Blocks. Dropping it closes it once more, which is harmless.
    pub(super) fn close(&self) {
        self.library.close(self.instance);
    }

    /// Pulls a stream.
    pub(super) fn stream_next(self: &Arc<Self>, stream: u64, request: &[u8]) -> Ask {
        let pending = CALLS.begin();
        self.library
            .stream_next(self.instance, pending.id(), stream, request);
        Ask {
            to: Arc::clone(self),
            pending,
            done: false,
        }
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, stream: u64) {
        self.library.stream_close(self.instance, stream);
    }

    /// Whether it must be opened anew.
    pub(super) fn is_poisoned(&self) -> bool {
        self.info.is_poisoned()
    }

    /// Why it must be opened anew.
    pub(super) fn failure(&self) -> Option<String> {
        self.info.failure()
    }

    /// Gives it up.
    pub(super) fn give_up(&self, why: &str) {
        self.info.fail(why);
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let (library, instance) = (Arc::clone(&self.library), self.instance);
        let close = move || library.close(instance);
        let thread = std::thread::Builder::new()
            .name("connector-close".to_owned())
            .spawn(close);
        if let Err(error) = thread {
            tracing::error!(connector = self.info.name, %error, "an instance is left open: there is no thread to close it");
        }
    }
}

/// A call or pull that is on its way. Dropping it before its answer cancels it.
#[derive(Debug)]
pub(super) struct Ask {
    to: Arc<InProcess>,
    pending: Pending,
    done: bool,
}

impl Ask {
    /// The answer. May be dropped and asked again.
    pub(super) async fn answer(&mut self) -> Result<Bytes, super::Error> {
        let answer = self.pending.answer().await;
        self.done = true;
        answer.ok_or_else(|| super::Error::Lost(self.to.info.name.clone()))
    }

    /// Asks for an early answer, and goes on waiting.
    pub(super) fn cancel(&self) {
        self.to.cancel(self.pending.id());
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.done {
            self.to.library.cancel(self.to.instance, self.pending.id());
        }
    }
}
