//! Where a connector runs. Code above this module uses encoded messages and does not depend on it.

use std::sync::Arc;

use bytes::Bytes;

use super::child::{self, Child, Launch};
use super::ffi::Library;
use super::in_process::{self, InProcess};
use super::{Error, LoadError};

/// Where instances of a connector are opened.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Inside this process.
    InProcess(Arc<Library>),
    /// In separate processes, one per instance.
    Child(Launch),
}

/// An open instance, in either place.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    InProcess(Arc<InProcess>),
    Child(Arc<Child>),
}

/// An answer that has not arrived yet.
#[derive(Debug)]
pub(super) enum Answer {
    InProcess(in_process::Ask),
    Child(child::Ask),
}

impl Place {
    /// Opens an instance with an encoded `OpenRequest`.
    pub(super) async fn open(&self, name: &str, request: Bytes) -> Result<Transport, LoadError> {
        match self {
            Self::InProcess(library) => {
                let instance = InProcess::open(name, library, request).await?;
                Ok(Transport::InProcess(Arc::new(instance)))
            }
            Self::Child(launch) => {
                let child = Child::open(name, launch, request).await?;
                Ok(Transport::Child(Arc::new(child)))
            }
        }
    }
}

impl Transport {
    /// Starts a call with an encoded `CallRequest`.
    pub(super) fn call(&self, request: &[u8]) -> Answer {
        match self {
            Self::InProcess(instance) => Answer::InProcess(instance.call(request)),
            Self::Child(child) => Answer::Child(child.call(request)),
        }
    }

    /// Requests the next event of a stream with an encoded `StreamNext`.
    pub(super) fn stream_next(&self, stream: u64, request: &[u8]) -> Answer {
        match self {
            Self::InProcess(instance) => Answer::InProcess(instance.stream_next(stream, request)),
            Self::Child(child) => Answer::Child(child.stream_next(stream, request)),
        }
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, stream: u64) {
        match self {
            Self::InProcess(instance) => instance.stream_close(stream),
            Self::Child(child) => child.stream_close(stream),
        }
    }

    /// Whether it must be reopened.
    pub(super) fn is_poisoned(&self) -> bool {
        match self {
            Self::InProcess(instance) => instance.is_poisoned(),
            Self::Child(child) => child.is_poisoned(),
        }
    }

    /// Why it must be reopened.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::InProcess(instance) => instance.failure(),
            Self::Child(child) => child.failure(),
        }
    }

    /// Abandons the instance: the next call opens a new one.
    pub(super) fn give_up(&self, why: &str) {
        match self {
            Self::InProcess(instance) => instance.give_up(why),
            Self::Child(child) => child.give_up(why.to_owned()),
        }
    }
}

impl Answer {
    /// The encoded answer. The future may be dropped and the method called again; dropping `self` cancels the call.
    pub(super) async fn wait(&mut self) -> Result<Bytes, Error> {
        match self {
            Self::InProcess(ask) => ask.answer().await,
            Self::Child(ask) => ask.answer().await,
        }
    }
}
