//! The gRPC listener: services, reflection and health behind one stack that reads top to bottom.

use super::company::Companies;
use super::gate::GateLayer;
use super::group::Groups;
use super::integration::Integrations;
use crate::config;
use crate::error::{Detail, Error, Reason};
use crate::proto;
use crate::proto::v1::company_service_server::CompanyServiceServer;
use crate::proto::v1::group_service_server::GroupServiceServer;
use crate::proto::v1::integration_service_server::IntegrationServiceServer;
use crate::service::Services;
use crate::tokens::Verifier;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_web::GrpcWebLayer;
use tower::util::option_layer;

/// Largest request accepted.
const MOST_REQUEST_BYTES: usize = 4 << 20;
/// Requests under way at a time; more are refused at once, to be tried again.
const MOST_REQUESTS: usize = 1_024;

/// What probes may ask for.
const PROBED: [&str; 4] = [
    "",
    "tether.v1.IntegrationService",
    "tether.v1.CompanyService",
    "tether.v1.GroupService",
];

/// Tells probes whether requests are wanted.
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
    /// Tells probes whether requests are wanted.
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

    /// Ends the streams of those who watch: they know by now, and would keep their connections open.
    pub async fn end(&self) {
        for service in PROBED {
            self.reporter.clone().clear_service_status(service).await;
        }
    }
}

/// Serves until told to stop, then lets requests under way end. Draining comes first: streams end, and what comes over
/// open connections is sent elsewhere.
///
/// # Errors
/// The certificate cannot be used, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    verifier: Arc<ArcSwap<Verifier>>,
    health: Health,
    (tls, web): (Option<config::Tls>, config::Web),
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut server = Server::builder()
        // For gRPC-Web from pages that are not served over TLS, and for proxies; anything else is refused on it.
        .accept_http1(true)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .max_concurrent_streams(256)
        .http2_max_header_list_size(32 << 10);
    if let Some(tls) = tls {
        let certificate = config::read_file("tls.certificate", &tls.certificate)?;
        let key = config::read_file("tls.key", &tls.key)?;
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))?;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl shows the details of errors in words.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let limited = super::load::LoadLimit::new(MOST_REQUESTS);
    let changes = TaskTracker::new();
    server
        // Without pages to let in there is nothing to say to browsers, and no header more on an answer.
        .layer(option_layer(super::web::cors(&web.allowed_origins)))
        .layer(GrpcWebLayer::new())
        .layer(GateLayer::new(verifier, services.clone(), changes.clone()))
        .layer(limited)
        .add_service(HealthServer::new(HealthService::from_health_reporter(
            health.reporter,
        )))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(
            IntegrationServiceServer::new(Integrations(services.clone()))
                .max_decoding_message_size(MOST_REQUEST_BYTES),
        )
        .add_service(
            CompanyServiceServer::new(Companies(services.clone()))
                .max_decoding_message_size(MOST_REQUEST_BYTES),
        )
        .add_service(GroupServiceServer::new(Groups(services)).max_decoding_message_size(MOST_REQUEST_BYTES))
        // Without it an answer in two packets waits for the client's delayed acknowledgement: 40 ms a call.
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.cancelled_owned(),
        )
        .await?;
    changes.close();
    changes.wait().await;
    Ok(())
}

/// The answer to a request that is one too many.
pub(super) fn overloaded() -> tonic::Status {
    Error::new(
        Reason::Overloaded,
        format!("the server has {MOST_REQUESTS} requests under way, its most: try again"),
    )
    .detail(Detail::RetryAfter(Duration::from_secs(1)))
    .into()
}
