//! The listeners.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sim_kit::wire::Wire;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::app::{App, Options};
use crate::edge::{self, Scheme};
use crate::{control, oauth};

/// Why a simulator did not start.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A running simulator; it stops when dropped.
pub struct Sim {
    /// `http://127.0.0.1:1234`
    pub http: String,
    /// `https://localhost:1235`, if asked for.
    pub https: Option<String>,
    /// The certificate authority of the TLS listener.
    pub ca: Option<PathBuf>,
    /// `http://127.0.0.1:1234/control`
    pub control: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Sim {
    /// Starts listening, on loopback only.
    pub async fn start(options: &Options) -> Result<Sim, Error> {
        let app = App::new(options);
        let router = router(app);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let http = format!("http://{}", listener.local_addr()?);
        let mut sim = Sim {
            control: format!("{http}/control"),
            http,
            https: None,
            ca: None,
            tasks: Vec::new(),
        };
        let plain = router.clone().layer(Extension(Scheme("http")));
        sim.tasks.push(tokio::spawn(serve(listener, None, plain)));
        if let Some(port) = options.tls_port {
            let dir = match &options.tls_dir {
                Some(dir) => dir.clone(),
                None => std::env::temp_dir().join(format!("salesforce-sim-{}", std::process::id())),
            };
            let (acceptor, ca) = certificates(&dir)?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            sim.https = Some(format!("https://localhost:{}", listener.local_addr()?.port()));
            sim.ca = Some(ca);
            let secure = router.layer(Extension(Scheme("https")));
            sim.tasks
                .push(tokio::spawn(serve(listener, Some(acceptor), secure)));
        }
        Ok(sim)
    }
}

fn router(app: Arc<App>) -> Router {
    let salesforce = Router::new()
        .route(
            "/services/oauth2/authorize",
            get(oauth::authorize::page).post(oauth::authorize::decide),
        )
        .route("/services/oauth2/token", post(oauth::token::token))
        .route(
            "/services/oauth2/revoke",
            get(oauth::token::revoke).post(oauth::token::revoke),
        )
        .route("/services/oauth2/introspect", post(oauth::token::introspect))
        .route(
            "/services/oauth2/userinfo",
            get(oauth::identity::userinfo).post(oauth::identity::userinfo),
        )
        .route("/id/{org}/{user}", get(oauth::identity::identity))
        .fallback(edge::data)
        .layer(middleware::from_fn_with_state(app.clone(), edge::around));
    Router::new()
        .nest("/control", control::router())
        .merge(salesforce)
        .with_state(app)
}

/// Accepts connections until aborted, which ends them.
async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        _ = stream.set_nodelay(true);
        let stream = Wire::new(stream);
        let (tls, router) = (tls.clone(), router.clone().layer(Extension(stream.line())));
        connections.spawn(async move {
            match tls {
                None => converse(stream, router).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, router).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    // Salesforce writes `Content-Type`, and some clients do not find `content-type`.
    let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .http1_only()
        .title_case_headers(true);
    server.http1().timer(TokioTimer::new());
    // The client handles broken connections.
    _ = server
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
}

/// Creates a certificate authority, written to a file for clients, and a certificate for `localhost` signed by it.
fn certificates(dir: &Path) -> Result<(TlsAcceptor, PathBuf), Error> {
    std::fs::create_dir_all(dir)?;
    let ca_key = KeyPair::generate()?;
    let mut ca_params = CertificateParams::new(Vec::new())?;
    ca_params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "salesforce-sim");
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca_params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let ca_cert = ca_params.self_signed(&ca_key)?;
    let path = dir.join("ca.pem");
    std::fs::write(&path, ca_cert.pem())?;
    let issuer = Issuer::new(ca_params, ca_key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let cert = params.signed_by(&key, &issuer)?;
    let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone(), ca_cert.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), path))
}
