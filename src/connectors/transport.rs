//! Where a connector runs. What is above speaks encoded messages and does not see the difference.

use std::sync::Arc;

use bytes::Bytes;

use super::in_process::{Ask, InProcess};

/// An open connector, wherever it runs. A child process will be the second kind.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    /// In this process.
    InProcess(Arc<InProcess>),
}

/// An answer on its way.
#[derive(Debug)]
pub(super) enum Answer {
    /// From this process.
    InProcess(Ask),
}

impl Transport {
    /// Starts a call with an encoded `CallRequest`.
    pub(super) fn call(&self, request: &[u8]) -> Answer {
        match self {
            Self::InProcess(instance) => Answer::InProcess(instance.call(request)),
        }
    }

    /// Pulls a stream with an encoded `StreamNext`.
    pub(super) fn stream_next(&self, stream: u64, request: &[u8]) -> Answer {
        match self {
            Self::InProcess(instance) => Answer::InProcess(instance.stream_next(stream, request)),
        }
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, stream: u64) {
        match self {
            Self::InProcess(instance) => instance.stream_close(stream),
        }
    }

    /// Whether it must be opened anew.
    pub(super) fn is_poisoned(&self) -> bool {
        match self {
            Self::InProcess(instance) => instance.is_poisoned(),
        }
    }

    /// Gives it up: the next call opens another.
    pub(super) fn poison(&self) {
        match self {
            Self::InProcess(instance) => instance.poison(),
        }
    }
}

impl Answer {
    /// The encoded answer. May be dropped and asked again; dropping `self` cancels the call.
    pub(super) async fn wait(&mut self) -> Result<Bytes, super::Error> {
        match self {
            Self::InProcess(ask) => ask.answer().await,
        }
    }
}
