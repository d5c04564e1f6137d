//! The gRPC listener: services, reflection and health behind one stack of layers, listed from the outside in.

use super::answers::AnswerLayer;
use super::call;
use super::company::Companies;
use super::form::{FormLayer, LARGEST_HEADERS};
use super::gate::GateLayer;
use super::group::Groups;
use super::integration::Integrations;
use super::outcome::OutcomeLayer;
use crate::config;
use crate::listener::{self, Http2, Limits};
use crate::proto;
use crate::proto::v1::company_service_server::CompanyServiceServer;
use crate::proto::v1::group_service_server::GroupServiceServer;
use crate::proto::v1::integration_service_server::IntegrationServiceServer;
use crate::service::Services;
use crate::tokens::Verifier;
use arc_swap::ArcSwap;
use hyper::body::Incoming;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_web::GrpcWebLayer;
use tower::util::option_layer;
use tower::{ServiceBuilder, ServiceExt as _};

/// Concurrent requests; further ones are refused with RetryInfo.
const MOST_REQUESTS: usize = 1_024;

/// The service names that health probes may use.
const PROBED: [&str; 4] = [
    "",
    "tether.v1.IntegrationService",
    "tether.v1.CompanyService",
    "tether.v1.GroupService",
];

/// The health service.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            reporter: HealthReporter::new(),
        }
    }
}

impl Health {
    /// Sets whether probes get SERVING.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for service in PROBED {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Ends the streams of watching probes, which have received NOT_SERVING and would keep their connections
    /// open.
    pub async fn end(&self) {
        for service in PROBED {
            self.reporter.clone().clear_service_status(service).await;
        }
    }
}

/// Limits of the gRPC listener.
#[must_use]
pub fn limits(connections: usize) -> Limits {
    Limits {
        name: "grpc",
        connections,
        header: Duration::from_secs(10),
        // Clients keep idle connections and reconnect when the server closes them.
        idle: Duration::from_secs(15 * 60),
        // As long as a profile may wait for the CRM.
        stalled: Duration::from_secs(30),
        lifetime: None,
        http2: Some(Http2 {
            streams: 256,
            // More than `form` accepts: header lists between the two limits are refused with an error that
            // explains it.
            header_list: 2 * LARGEST_HEADERS as u32,
            ping_after: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(20),
        }),
    }
}

/// The TLS acceptor of the gRPC listener.
///
/// # Errors
/// The certificate or its key cannot be read or used.
fn acceptor(tls: &config::Tls) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let chain = config::read_file("tls.certificate", &tls.certificate)?;
    let key = config::read_file("tls.key", &tls.key)?;
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("tls.certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("tls.key: {error}"))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("tls.certificate, tls.key: {error}"))?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop` is cancelled, then waits for requests in progress. [`Services::drain`] must be called
/// first: it ends streams, and new requests on open connections get SHUTTING_DOWN.
///
/// # Errors
/// The certificate cannot be used.
pub async fn serve(
    (listener, limits): (TcpListener, Limits),
    services: Services,
    verifier: Arc<ArcSwap<Verifier>>,
    health: Health,
    (tls, web): (Option<config::Tls>, config::Web),
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tls = tls.as_ref().map(acceptor).transpose()?;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // With this, grpcurl decodes the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let changes = TaskTracker::new();
    let routes = Routes::new(HealthServer::new(HealthService::from_health_reporter(
        health.reporter,
    )))
    .add_service(reflection().build_v1()?)
    .add_service(reflection().build_v1alpha()?)
    .add_service(
        IntegrationServiceServer::new(Integrations(services.clone()))
            .max_decoding_message_size(call::LARGEST_REQUEST),
    )
    .add_service(
        CompanyServiceServer::new(Companies(services.clone()))
            .max_decoding_message_size(call::LARGEST_REQUEST),
    )
    .add_service(
        GroupServiceServer::new(Groups(services.clone())).max_decoding_message_size(call::LARGEST_REQUEST),
    )
    .prepare();
    let stack = ServiceBuilder::new()
        // Without allowed origins there is no CORS layer and no additional header.
        .layer(option_layer(super::web::cors(&web.allowed_origins)))
        .layer(FormLayer)
        .layer(GrpcWebLayer::new())
        .layer(OutcomeLayer {
            largest_request: call::LARGEST_REQUEST,
        })
        .layer(AnswerLayer::new(services.limits().clone()))
        .layer(GateLayer::new(verifier, services.clone(), changes.clone()))
        .layer(super::load::LoadLimit::new(
            MOST_REQUESTS,
            services.limits().clone(),
        ))
        .service(routes)
        .map_request(|request: http::Request<Incoming>| request.map(Body::new));
    listener::serve(listener, limits, tls, stack, stop).await;
    changes.close();
    changes.wait().await;
    Ok(())
}
