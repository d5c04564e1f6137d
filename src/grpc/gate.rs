//! The gate that every request passes: it verifies the token, checks the role against the policy table, and
//! runs a call that changes something in a task of its own, which goes on if the caller disconnects. RPCs
//! missing from the table are rejected with RPC_UNKNOWN before anything else sees them.
//!
//! While the server shuts down, streams end with SHUTTING_DOWN and new calls over open connections are
//! refused with it: a client with one connection would otherwise not notice. Known groups are cached for 30
//! seconds, because every call checks its group; a deleted group has nothing left to show.

use super::call;
use super::form::REQUEST_ID;

use crate::caller::{Caller, Role};
use crate::error::{Detail, Error, Most, Reason, shortened};
use crate::fair::{self, Flow};
use crate::policy::{self, Effect, Who};
use crate::service::{Author, Services};
use crate::telemetry::Throttle;
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

/// Puts the gate before a service.
#[derive(Clone)]
pub struct GateLayer {
    verifier: Arc<ArcSwap<Verifier>>,
    services: Services,
    changes: TaskTracker,
    /// Limits the number of logged refusals: calls without a token must not fill the disk.
    refusals: Arc<Throttle>,
}

/// The maximum length of a path in the log, in bytes.
const LONGEST_PATH: usize = 200;

/// The error of calls and streams while the server shuts down.
#[must_use]
pub fn shutting_down() -> Error {
    Error::new(
        Reason::ShuttingDown,
        "this server is about to stop: try again, another one answers",
    )
    .detail(Detail::RetryAfter(Duration::from_secs(1)))
}

impl GateLayer {
    /// A gate with this verifier, which can be replaced while the server runs. Calls that change something
    /// are tracked by `changes`, so that a shutdown can wait for them.
    #[must_use]
    pub fn new(verifier: Arc<ArcSwap<Verifier>>, services: Services, changes: TaskTracker) -> Self {
        Self {
            verifier,
            services,
            changes,
            refusals: Arc::new(Throttle::new(10, 100)),
        }
    }
}

impl GateLayer {
    /// Logs a refusal without the token, unless too many were logged recently.
    fn log(&self, error: &Error, path: &str, request_id: &str) {
        let Some(suppressed) = self.refusals.admit() else {
            return;
        };
        let claim = error.metadata.iter().find(|(key, _)| *key == "claim");
        tracing::info!(
            rpc = &*shortened(path, Most::Bytes(LONGEST_PATH)),
            reason = error.reason.as_str(),
            claim = claim.map(|(_, claim)| claim.as_str()),
            request_id,
            suppressed,
            "refused: {}",
            error.message
        );
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

/// The caller, if the policy allows it the RPC, and whether the RPC changes anything.
fn admit(
    verifier: &Verifier,
    path: &str,
    authorization: Option<&str>,
) -> Result<(Option<Caller>, Effect), Error> {
    let (roles, effect) = match policy::row(path) {
        None => {
            let rpc = shortened(path, Most::Bytes(LONGEST_PATH / 2));
            return Err(Error::new(
                Reason::RpcUnknown,
                format!("this server has no rpc {rpc}"),
            ));
        }
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
        .with("required_role", needed));
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
        let path = request.uri().path().to_owned();
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let request_id = header(REQUEST_ID).unwrap_or_default().to_owned();
        let draining = self.gate.services.draining();
        let admitted =
            admit(&self.gate.verifier.load(), &path, header("authorization")).and_then(|admitted| {
                // Health probes are answered until the server stops.
                match admitted.0.is_some() && draining.is_cancelled() {
                    true => Err(shutting_down()),
                    false => Ok(admitted),
                }
            });
        let (caller, effect) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                self.gate.log(&error, &path, &request_id);
                return Either::Left(ready(Ok(Status::from(error).into_http())));
            }
        };
        let span = tracing::info_span!(
            "rpc",
            rpc = path,
            request_id,
            subject = caller.as_ref().map(|caller| caller.subject.as_str()),
            group = caller.as_ref().and_then(|caller| caller.group.as_deref()),
        );
        let caller_of_group = caller.clone().filter(|caller| caller.group.is_some());
        if let Some(caller) = caller {
            if let (Some(call), Some(group)) = (fair::call(), &caller.group) {
                call.set(Flow::group(group));
            }
            request.extensions_mut().insert(caller);
        }
        let started = Instant::now();
        let answered = self.inner.call(request);
        let gate = self.gate.clone();
        // Reflection returns only the protos, which all callers may read.
        let of_a_group = caller_of_group.filter(|_| path.starts_with("/tether."));
        Either::Right(Box::pin(
            async move {
                if let Some(caller) = of_a_group
                    && let Err(error) = gate.services.require_known_group(&caller).await
                {
                    gate.log(&error, &path, &request_id);
                    return Ok(Status::from(error).into_http());
                }
                let changes = gate.changes;
                let response = match effect {
                    Effect::Changes => {
                        // A task of its own: the change goes on if the caller disconnects.
                        let change = call::within(call::current(), answered);
                        match changes.spawn(change.in_current_span()).await {
                            Ok(response) => response?,
                            Err(error) => Status::from(Error::internal(error)).into_http(),
                        }
                    }
                    Effect::Reads => answered.await?,
                };
                let code = response
                    .headers()
                    .get("grpc-status")
                    .and_then(|value| value.to_str().ok());
                tracing::debug!(code, micros = started.elapsed().as_micros() as u64, "answered");
                Ok(response)
            }
            .instrument(span),
        ))
    }
}

/// The verified caller.
///
/// # Errors
/// TOKEN_MISSING, if an RPC that needs a caller is reached without one.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Error::new(Reason::TokenMissing, "send a token: authorization: Bearer …").into())
}

/// The verified caller and the call of a request that changes something.
///
/// # Errors
/// As [`caller`].
pub fn author<T>(request: &tonic::Request<T>) -> Result<Author, Status> {
    let caller = caller(request)?;
    let call = call::current();
    let (rpc, request_id) = call.map_or_else(Default::default, |call| (call.rpc, call.request_id));
    Ok(Author {
        caller,
        request_id,
        method: rpc.rsplit('/').next().unwrap_or_default().to_owned(),
    })
}
