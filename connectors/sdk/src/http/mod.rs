//! The HTTP client of connectors.
//!
//! Before it sends a request, it refuses what the host's policy does not allow (hosts, plain http) and what is
//! outside the connector's own [`ReadSet`]. It follows no redirects, limits bodies while they arrive, observes the
//! call's deadline, counts the request in the call, and keeps query strings, headers and bodies out of logs and
//! errors.
//!
//! [`Response::own`] distinguishes the API's own replies from those of gateways: only the former prove that something
//! is deleted or forbidden.
//!
//! It protects against mistakes, not against malicious code, which can open sockets. Untrusted connectors run in a
//! child process.

mod client;
mod origin;
mod policy;
mod read_set;
mod reply;
mod request;

pub use self::client::{Body, HttpClient, Response};
pub use self::origin::FOREIGN;
pub use self::read_set::{BodyCheck, ReadSet};
pub use self::reply::{back_off, is_page, jitter, one_line};
pub use self::request::{Request, segment};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use url::Url;

#[cfg(test)]
mod tests;
