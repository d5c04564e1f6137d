//! The clients of the demo: gRPC with a token, and plain HTTP for the simulated CRM.

use crate::server::Failure;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// The group that the demo acts for; `--dev` creates it.
pub(super) const GROUP: &str = "groups/acme";

/// A channel that adds the token to each call.
pub(super) type Authorized = InterceptedService<Channel, Token>;

/// Adds a token to each call.
#[derive(Clone)]
pub(super) struct Token(pub(super) tonic::metadata::MetadataValue<tonic::metadata::Ascii>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(super) fn http_client() -> Result<reqwest::Client, Failure> {
    // Only plain http to loopback is used, but the client requires a TLS provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}
