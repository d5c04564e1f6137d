//! Low-level access for tests of connectors: used by `connectors/conformance`.
//!
//! Encoded messages are passed unchanged; deadlines, message order and reopening are up to the caller. It uses the
//! same transports as [`Connector`](super::Connector), so results here also hold in the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::child::Launch;
use super::discovery;
use super::ffi;
use super::manifest::{FILE_NAME, Isolation, Manifest};
use super::options::{ConnectorOptions, HttpOptions, Options};
use super::private_copy::PrivateCopy;
use super::proto::OpenRequest;
use super::transport::{Answer, Place, Transport};
use super::{Error, LoadError};

/// A library that was found and checked, and where to run it.
#[derive(Debug)]
pub struct Library {
    manifest: Manifest,
    place: Place,
    /// The file from which child processes load the library.
    _copy: Option<PrivateCopy>,
}

impl Library {
    /// Checks the connector in a folder: manifest, library and hash. For a child process, nothing is loaded yet. In
    /// process, the library is loaded permanently, whatever isolation its manifest has. Blocks.
    pub fn find(folder: &Path, isolation: Isolation, program: Option<PathBuf>) -> Result<Self, LoadError> {
        let candidate = discovery::candidate(&folder.join(FILE_NAME))?;
        let (place, copy) = match isolation {
            Isolation::InProcess => {
                let library = ffi::Library::load(&candidate.library, &candidate.sha256)?;
                (Place::InProcess(Arc::new(library)), None)
            }
            Isolation::Child => {
                let copy = PrivateCopy::of(&candidate.library, &candidate.sha256)?;
                let launch = Launch {
                    program,
                    library: candidate.library.clone(),
                    sha256: candidate.sha256.clone(),
                    copy: copy.as_ref().map(|copy| copy.path().to_owned()),
                    most_memory: Options::default().most_child_memory(),
                };
                (Place::Child(launch), copy)
            }
        };
        Ok(Self {
            manifest: candidate.manifest,
            place,
            _copy: copy,
        })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The request with which the server would open it.
    pub fn open_request(
        &self,
        options: &ConnectorOptions,
        http: &HttpOptions,
    ) -> Result<OpenRequest, LoadError> {
        Ok(options.open_request(options.http_policy(&self.manifest, http)?))
    }

    /// Opens an instance: in this process or in a separate one.
    pub async fn open(&self, request: &OpenRequest) -> Result<Instance, LoadError> {
        let request = request.encode_to_vec().into();
        let transport = self.place.open(&self.manifest.name, request).await?;
        Ok(Instance { transport })
    }
}

/// An open instance. Dropping it closes it.
#[derive(Clone, Debug)]
pub struct Instance {
    transport: Transport,
}

impl Instance {
    /// Starts a call with any bytes.
    #[must_use]
    pub fn call(&self, request: &[u8]) -> Waiting {
        Waiting(self.transport.call(request))
    }

    /// Requests the next event of any stream, with any bytes.
    #[must_use]
    pub fn stream_next(&self, stream: u64, request: &[u8]) -> Waiting {
        Waiting(self.transport.stream_next(stream, request))
    }

    /// Ends any stream.
    pub fn stream_close(&self, stream: u64) {
        self.transport.stream_close(stream);
    }

    /// Cancels any call.
    pub fn cancel(&self, call: u64) {
        match &self.transport {
            Transport::InProcess(instance) => instance.cancel(call),
            Transport::Child(child) => child.cancel(call),
        }
    }

    /// Starts a call on an instance number that the library never returned. `None` for a child process, which has
    /// only one instance.
    #[must_use]
    pub fn call_of(&self, instance: u64, request: &[u8]) -> Option<Waiting> {
        match &self.transport {
            Transport::InProcess(ours) => Some(Waiting(Answer::InProcess(ours.call_of(instance, request)))),
            Transport::Child(_) => None,
        }
    }

    /// Why it must be reopened; `None` if it has not failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.transport.is_poisoned().then(|| {
            let failure = self.transport.failure();
            failure.unwrap_or_else(|| "it reported that it has failed".to_owned())
        })
    }

    /// The process id, if it runs in a separate process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        match &self.transport {
            Transport::InProcess(_) => None,
            Transport::Child(child) => child.process(),
        }
    }

    /// Closes it, and returns when it is closed. A process that does not end by itself is killed after 5 seconds.
    pub async fn close(&self) {
        match &self.transport {
            Transport::InProcess(instance) => instance.close().await,
            Transport::Child(child) => child.close().await,
        }
    }

    /// Kills its process like a crash. Does nothing in process.
    pub async fn kill(&self) {
        if let Transport::Child(child) = &self.transport {
            child.give_up("it was killed".to_owned());
            child.ended().await;
        }
    }
}

/// A call in progress. Dropping it cancels the call.
#[derive(Debug)]
pub struct Waiting(Answer);

impl Waiting {
    /// The unchanged answer. The future may be dropped and the method called again. An error means that no answer
    /// will come.
    pub async fn answer(&mut self) -> Result<Bytes, Error> {
        self.0.wait().await
    }

    /// Asks for an early answer, and continues to wait.
    pub fn cancel(&self) {
        match &self.0 {
            Answer::InProcess(ask) => ask.cancel(),
            Answer::Child(ask) => ask.cancel(),
        }
    }
}

/// Number of answers from libraries in this process to unknown or completed calls.
#[must_use]
pub fn unexpected_answers() -> u64 {
    ffi::UNEXPECTED.load(std::sync::atomic::Ordering::Relaxed)
}
