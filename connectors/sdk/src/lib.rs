//! Write a tether connector.
//!
//! A connector is a type that implements [`Connector`] in a crate built as `cdylib`:
//!
//! ```ignore
//! tether_connector_sdk::export_connector!(MyCrm);
//! ```
//!
//! The SDK implements everything that does not depend on the CRM: the C ABI, the runtime, deadlines, cancelling,
//! catching panics, back-pressure of streams, and an HTTP client that observes the host's policy. Messages are those
//! of `proto/tether/connector/v1/connector.proto`, which also documents each call; they are available as [`proto`].
//!
//! | module | content |
//! |---|---|
//! | [`Connector`] | the trait |
//! | [`crm`] | the traits for a CRM with an HTTP API, from which the SDK makes the connector |
//! | [`session`] | requests on behalf of an account: address, credentials, retries, the meaning of errors |
//! | [`CallContext`], [`Host`], [`ReadStream`] | arguments of a call |
//! | [`http`] | the HTTP client and its read set |
//! | [`oauth`] | authorization URLs and token endpoints |
//! | [`payload`] | records in canonical form |
//! | [`reading`] | a full read: objects in turn, checkpoints, new credentials, recovery |
//! | [`settings`] | settings as texts, and the access token of a connection |
//! | [`testing`] | running a connector without a library |

mod connector;
mod context;
pub mod crm;
#[doc(hidden)]
pub mod export;
mod host;
pub mod http;
mod instance;
mod log;
pub mod oauth;
pub mod payload;
pub mod reading;
pub mod session;
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
