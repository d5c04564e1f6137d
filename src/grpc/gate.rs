//! The gate every request passes: a request id, who calls, whether the role may, and how it went.
//!
//! Denies by default: a path that the policy table lacks is answered UNIMPLEMENTED before anything else sees it.

use crate::caller::{Caller, Role};
use crate::error::{Detail, Error, Reason};
use crate::policy::{self, Who};
use crate::tokens::Verifier;
use arc_swap::ArcSwap;
use futures_util::future::{Either, Ready, ready};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

/// The header a caller may give its own request id in, and gets it back in.
const REQUEST_ID: &str = "x-request-id";

/// The call being answered: what an error may have to name.
#[derive(Clone)]
pub struct Call {
    /// The rpc's path.
    pub rpc: String,
    /// Under which id the log has it.
    pub request_id: String,
}

tokio::task_local! {
    static CALL: Call;
}

/// The call that this task answers.
#[must_use]
pub fn current() -> Option<Call> {
    CALL.try_with(Call::clone).ok()
}

/// What a stream does after its call was answered is still the call's.
pub async fn within<F: Future>(call: Option<Call>, work: F) -> F::Output {
    match call {
        Some(call) => CALL.scope(call, work).await,
        None => work.await,
    }
}

/// Puts the gate before a service.
#[derive(Clone)]
pub struct GateLayer {
    verifier: Arc<ArcSwap<Verifier>>,
    draining: Draining,
}

/// Cancelled once the server is about to stop: what is under way ends, nothing begins.
#[derive(Clone)]
pub struct Draining(pub CancellationToken);

impl Draining {
    /// What is told to those who have to go elsewhere.
    #[must_use]
    pub fn error() -> Error {
        Error::new(
            Reason::ShuttingDown,
            "this server is about to stop: try again, another one answers",
        )
        .detail(Detail::RetryAfter(Duration::from_secs(1)))
    }
}

impl GateLayer {
    /// A gate that asks this verifier; it may be swapped while the server runs.
    #[must_use]
    pub fn new(verifier: Arc<ArcSwap<Verifier>>, draining: Draining) -> Self {
        Self { verifier, draining }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            verifier: Arc::clone(&self.verifier),
            draining: self.draining.clone(),
        }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    verifier: Arc<ArcSwap<Verifier>>,
    draining: Draining,
}

/// Who calls, if the policy lets them.
fn admit(verifier: &Verifier, path: &str, authorization: Option<&str>) -> Result<Option<Caller>, Status> {
    let roles = match policy::who_may(path) {
        None => return Err(Status::unimplemented(format!("{path} is not served here"))),
        Some(Who::Anyone) => return Ok(None),
        Some(Who::Roles(roles)) => roles,
    };
    let caller = verifier.verify(authorization)?;
    if !roles.contains(&caller.role) {
        let needed = roles
            .iter()
            .map(|role| Role::as_str(*role))
            .collect::<Vec<_>>()
            .join(" or ");
        let rpc = path.rsplit('/').next().unwrap_or(path);
        return Err(Error::new(
            Reason::RoleNotAllowed,
            format!(
                "{rpc} is for the role {needed}; this token's role is {}",
                caller.role
            ),
        )
        .with("rpc", path)
        .with("role", caller.role)
        .with("required_role", needed)
        .into());
    }
    Ok(Some(caller))
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<
        Ready<Result<Self::Response, Self::Error>>,
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let request_id = header(REQUEST_ID)
            .filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
            .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
        let admitted = admit(&self.verifier.load(), &path, header("authorization")).and_then(|caller| {
            // Probes are answered to the end.
            match caller.is_some() && self.draining.0.is_cancelled() {
                true => Err(Draining::error().into()),
                false => Ok(caller),
            }
        });
        let caller = match admitted {
            Ok(caller) => caller,
            Err(status) => {
                tracing::info!(rpc = path, code = ?status.code(), request_id, "refused {path}: {}", status.message());
                count(&path, status.code() as i32, started);
                return Either::Left(ready(Ok(stamp(status.into_http(), &request_id))));
            }
        };
        let span = tracing::info_span!(
            "rpc",
            rpc = path,
            request_id,
            subject = caller.as_ref().map(|caller| caller.subject.as_str()),
            group = caller.as_ref().and_then(|caller| caller.group.as_deref()),
        );
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(self.draining.clone());
        }
        let answered = self.inner.call(request);
        let call = Call {
            rpc: path.trim_start_matches('/').to_owned(),
            request_id: request_id.clone(),
        };
        Either::Right(Box::pin(
            async move {
                let response = CALL.scope(call, answered).await?;
                let code = response
                    .headers()
                    .get("grpc-status")
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                count(&path, code.unwrap_or(0), started);
                tracing::debug!(code, micros = started.elapsed().as_micros() as u64, "answered");
                Ok(stamp(response, &request_id))
            }
            .instrument(span),
        ))
    }
}

/// Gives the request id back, so that a caller can name it.
fn stamp<B>(mut response: http::Response<B>, request_id: &str) -> http::Response<B> {
    if let Ok(value) = request_id.parse() {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Only known rpcs become label values: a caller cannot make new ones.
fn count(path: &str, code: i32, started: Instant) {
    let rpc = policy::TABLE
        .iter()
        .map(|(rpc, _)| *rpc)
        .find(|rpc| path.strip_prefix('/') == Some(rpc));
    let rpc = rpc.unwrap_or("unknown");
    metrics::counter!("tether_rpc_total", "rpc" => rpc, "code" => code.to_string()).increment(1);
    metrics::histogram!("tether_rpc_seconds", "rpc" => rpc).record(started.elapsed().as_secs_f64());
}

/// Says when the server is about to stop: what could go on for hours ends then.
pub fn draining<T>(request: &tonic::Request<T>) -> CancellationToken {
    let draining = request.extensions().get::<Draining>();
    draining.map(|draining| draining.0.clone()).unwrap_or_default()
}

/// Who calls, as the gate found out.
///
/// # Errors
/// TOKEN_MISSING, should an rpc that needs a caller be reached without one.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Error::new(Reason::TokenMissing, "send a token: authorization: Bearer …").into())
}
