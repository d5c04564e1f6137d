//! Write a tether connector.
//!
//! A connector is a type that implements [`Connector`] in a crate built as `cdylib`:
//!
//! ```ignore
//! tether_connector_sdk::export_connector!(MyCrm);
//! ```
//!
//! The SDK owns everything that is not about the CRM: the C ABI, the runtime, deadlines, cancelling, catching panics,
//! back-pressure of streams, and an HTTP client that keeps to the host's policy. Messages are those of
//! `proto/tether/connector/v1/connector.proto`, which is also the manual of what each call means; they are here as
//! [`proto`].
//!
//! | module | what it gives |
//! |---|---|
//! | [`Connector`] | the trait |
//! | [`CallContext`], [`Host`], [`ReadStream`] | what a call is handed |
//! | [`http`] | the HTTP client and the read set it is held to |
//! | [`oauth`] | authorization URLs and token endpoints |
//! | [`payload`] | records in canonical form |
//! | [`reading`] | a full read: objects in turn, checkpoints, new credentials, recovery |
//! | [`settings`] | settings as texts, and the access token of a connection |
//! | [`testing`] | a connector run without a library around it |

mod connector;
mod context;
#[doc(hidden)]
pub mod export;
mod host;
pub mod http;
mod instance;
mod log;
pub mod oauth;
pub mod payload;
pub mod reading;
pub mod settings;
pub mod stream;
pub mod testing;

pub use bytes::Bytes;
pub use connector::Connector;
pub use context::CallContext;
pub use host::Host;
pub use stream::ReadStream;
pub use tether_connector_proto as proto;
pub use tether_connector_proto::Error;
