//! The HTTP client of connectors.
//!
//! It refuses whatever the host's policy does not allow (hosts, plain http) and whatever lies outside the connector's
//! own [`ReadSet`], before anything is sent. It follows no redirect, bounds bodies while they stream, keeps to the call's
//! deadline, counts into the call, and says nothing of query strings, headers or bodies in logs and errors.
//!
//! [`Response::own`] tells the API's own replies from those of gateways between: only the former prove that something is gone or
//! forbidden.
//!
//! It is a guard-rail against mistakes, not a jail: code that wants to write opens a socket. Untrusted connectors run in
//! a child process.

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
pub use self::request::Request;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use url::Url;

#[cfg(test)]
mod tests;
