//! The listener and the routes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::{App, Options};
use crate::{control, crm, edge, oauth};

/// Why a simulator did not start.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A running simulator; it stops when dropped.
pub struct Sim {
    /// `http://127.0.0.1:1234`: replaces both app.hubspot.com and api.hubapi.com.
    pub http: String,
    /// `http://127.0.0.1:1234/control`
    pub control: String,
    task: JoinHandle<()>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sim {
    /// Starts listening, on loopback only.
    pub async fn start(options: &Options) -> Result<Sim, Error> {
        let router = router(App::new(options));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let http = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            // It ends with the task.
            _ = axum::serve(listener, router).await;
        });
        Ok(Sim {
            control: format!("{http}/control"),
            http,
            task,
        })
    }
}

fn router(app: Arc<App>) -> Router {
    let tokens = |version: &str| {
        Router::new()
            .route(&format!("/oauth/{version}/token"), post(oauth::token::token))
            .route(
                &format!("/oauth/{version}/token/introspect"),
                post(oauth::token::introspect),
            )
            .route(
                &format!("/oauth/{version}/token/revoke"),
                post(oauth::token::revoke),
            )
    };
    let hubspot = Router::new()
        .route(
            "/oauth/authorize",
            get(oauth::authorize::page).post(oauth::authorize::decide),
        )
        .route("/oauth/v1/token", post(oauth::token::token))
        .route("/oauth/v1/access-tokens/{token}", get(oauth::token::access_token))
        .route("/oauth/v1/refresh-tokens/{token}", delete(oauth::token::forget))
        .merge(tokens("v3"))
        .merge(tokens("2026-03"))
        .route(
            "/oauth/v2/private-apps/get/access-token-info",
            post(oauth::token::private_app),
        )
        .fallback(crm::serve)
        .layer(middleware::from_fn_with_state(app.clone(), edge::around));
    Router::new()
        .nest("/control", control::router())
        .merge(hubspot)
        .with_state(app)
}
