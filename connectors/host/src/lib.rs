//! The host side of the connector boundary.
//!
//! [`Options`] has the folders of connectors and what the operator allows them. [`Options::build`] finds, checks and
//! opens the connectors into a [`Registry`]. [`Registry::get`] returns a [`Connector`], the typed handle for the rest
//! of the server. Its messages are those of `tether.connector.v1`; this crate knows no specific CRM, and neither the
//! store nor the public API.
//!
//! The modules, from the inside out: [`manifest`] and [`discovery`] decide what may be loaded; `ffi` has the only
//! unsafe code of the server; `call_table` matches answers with waiting calls; `in_process` runs a library inside the
//! server, `child` in a separate process ([`child_process`] is the code of that process, `frame` the protocol on the
//! socket); `transport` gives both the same interface; [`Connector`] adds deadlines, metrics, and reopening after a
//! failure.
//!
//! A connector runs in a separate process, unless its manifest permits the server's process and the operator
//! trusts it: an operator can be stricter than the manifest, not more permissive. A crash of a separate
//! process ends an attempt of a sync, not the server. This is a crate of its own because the conformance kit
//! is a host, too, and must not depend on a database.

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
mod status;
mod stream;
mod texts;
mod transport;
mod upstream;
mod watch;

pub use child::ARGUMENT;
pub use connector::Connector;
pub use error::{Error, LoadError};
pub use options::{ConnectorOptions, HttpOptions, Options};
pub use registry::{Listed, Registry};
pub use status::Status;
pub use stream::RecordStream;
pub use tether_connector_proto as proto;
pub use watch::Watch;
