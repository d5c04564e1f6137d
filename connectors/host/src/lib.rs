//! The host's side of the connector boundary.
//!
//! [`Options`] say where connectors are and what the operator allows them; [`Options::build`] finds, checks and opens them
//! into a [`Registry`]; [`Registry::get`] gives a [`Connector`], the typed handle that the rest of the server uses. What
//! is said through it are the messages of `tether.connector.v1`; nothing here knows any CRM, the store or the public API.
//!
//! From the inside out: [`manifest`] and [`discovery`] decide what may be loaded; `ffi` is the only unsafe code of the
//! server; `call_table` matches answers with who waits for them; `in_process` is a library that runs in the server, `child`
//! one that runs in a process of its own ([`child_process`] is that process, `frame` what crosses the socket); `transport`
//! makes them alike; [`Connector`] adds deadlines, metrics, and reopening after a failure.

mod call_table;
mod child;
pub mod child_process;
mod connector;
pub mod discovery;
mod error;
mod ffi;
mod frame;
mod in_process;
mod lines;
pub mod manifest;
mod numbers;
mod options;
mod private_copy;
#[doc(hidden)]
pub mod raw;
mod registry;
mod stream;
mod texts;
mod transport;
mod watch;

pub use child::ARGUMENT;
pub use connector::Connector;
pub use error::{Error, LoadError};
pub use options::{ConnectorOptions, HttpOptions, Options};
pub use registry::{Listed, Registry, Status};
pub use stream::RecordStream;
pub use tether_connector_proto as proto;
pub use watch::Watch;
