//! The gate every request passes: a request id, who calls, whether the role may, and how it went; and, for what changes
//! something, the entry in the audit log before the answer leaves.
//!
//! Denies by default: a path that the policy table lacks is answered UNIMPLEMENTED before anything else sees it.

use crate::caller::{Caller, Role};
use crate::error::{Detail, Error, Reason};
use crate::policy::{self, Effect, Who};
use crate::service::{Made, Services};
use crate::tokens::Verifier;
use arc_swap::ArcSwap;
use futures_util::future::{Either, Ready, ready};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

/// The header a caller may give its own request id in, and gets it back in.
pub const REQUEST_ID: &str = "x-request-id";

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
    services: Services,
    changes: TaskTracker,
}

/// What is told to those who have to go elsewhere.
#[must_use]
pub fn shutting_down() -> Error {
    Error::new(
        Reason::ShuttingDown,
        "this server is about to stop: try again, another one answers",
    )
    .detail(Detail::RetryAfter(Duration::from_secs(1)))
}

impl GateLayer {
    /// A gate that asks this verifier, which may be swapped while the server runs. Calls that change something run among
    /// `changes`, to be waited for at the end.
    #[must_use]
    pub fn new(verifier: Arc<ArcSwap<Verifier>>, services: Services, changes: TaskTracker) -> Self {
        Self {
            verifier,
            services,
            changes,
        }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            gate: self.clone(),
        }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    gate: GateLayer,
}

/// Who calls, if the policy lets them, and whether that changes anything.
fn admit(
    verifier: &Verifier,
    path: &str,
    authorization: Option<&str>,
) -> Result<(Option<Caller>, Effect), Status> {
    let (roles, effect) = match policy::row(path) {
        None => return Err(Status::unimplemented(format!("{path} is not served here"))),
        Some((_, Who::Anyone, effect)) => return Ok((None, *effect)),
        Some((_, Who::Roles(roles), effect)) => (roles, *effect),
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
    Ok((Some(caller), effect))
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
        let draining = self.gate.services.draining();
        let admitted =
            admit(&self.gate.verifier.load(), &path, header("authorization")).and_then(|admitted| {
                // Probes are answered to the end.
                match admitted.0.is_some() && draining.is_cancelled() {
                    true => Err(shutting_down().into()),
                    false => Ok(admitted),
                }
            });
        let (caller, effect) = match admitted {
            Ok(admitted) => admitted,
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
        let author = caller.clone().filter(|_| effect == Effect::Changes);
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let answered = self.inner.call(request);
        let call = Call {
            rpc: path.trim_start_matches('/').to_owned(),
            request_id: request_id.clone(),
        };
        let answered = CALL.scope(call, answered);
        let GateLayer {
            services, changes, ..
        } = self.gate.clone();
        Either::Right(Box::pin(
            async move {
                let response = match author {
                    None => answered.await?,
                    Some(author) => {
                        // A task of its own: a caller that goes away stops neither the change nor its entry.
                        let (path, request_id) = (path.clone(), request_id.clone());
                        let change = async move {
                            let response = answered.await?;
                            Ok(written(&services, &author, &path, &request_id, response).await)
                        };
                        match changes.spawn(change.in_current_span()).await {
                            Ok(response) => response?,
                            Err(error) => Status::from(Error::internal(error)).into_http(),
                        }
                    }
                };
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

/// Writes what was changed into the audit log. Without the entry there is no good answer.
async fn written(
    services: &Services,
    author: &Caller,
    path: &str,
    request_id: &str,
    mut response: http::Response<Body>,
) -> http::Response<Body> {
    // An answer that is refused says so in its headers; one that is not has its status at its end.
    let refused = response
        .headers()
        .get("grpc-status")
        .is_some_and(|code| code != "0");
    if refused {
        return response;
    }
    let method = path.rsplit('/').next().unwrap_or(path);
    let made = response.extensions_mut().remove::<Made>().unwrap_or_else(|| {
        tracing::error!("{method} does not say what it changed: its audit entry names no resource");
        Made::default()
    });
    match services.audit(author, request_id, method, made).await {
        Ok(()) => response,
        Err(error) => Status::from(error).into_http(),
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
        .map(|(rpc, _, _)| *rpc)
        .find(|rpc| path.strip_prefix('/') == Some(rpc));
    let rpc = rpc.unwrap_or("unknown");
    metrics::counter!("tether_rpc_total", "rpc" => rpc, "code" => code.to_string()).increment(1);
    metrics::histogram!("tether_rpc_seconds", "rpc" => rpc).record(started.elapsed().as_secs_f64());
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
