//! Load shedding: beyond a number of concurrent requests, per group and in total, further ones are refused at
//! once. A queue would delay all of them.
//!
//! tower's `load_shed` answers without a gRPC status, so this layer is our own.

use crate::caller::Caller;
use crate::fair::{self, CallFlow};
use crate::service::Limits;
use futures_util::future::{Either, Ready, ready};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tower::{Layer, Service};

/// Limits concurrent requests.
#[derive(Clone)]
pub struct LoadLimit {
    places: Arc<Semaphore>,
    most: usize,
    limits: Limits,
}

impl LoadLimit {
    /// At most `most` requests at a time; per group, the limit of calls.
    pub fn new(most: usize, limits: Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            limits,
        }
    }
}

impl<S> Layer<S> for LoadLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            inner,
            places: Arc::clone(&self.places),
            most: self.most,
            limits: self.limits.clone(),
        }
    }
}

/// A service with a limit of concurrent requests.
#[derive(Clone)]
pub struct Limited<S> {
    inner: S,
    places: Arc<Semaphore>,
    most: usize,
    limits: Limits,
}

impl<S> Service<http::Request<Body>> for Limited<S>
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

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Health probes have no token and need no permit. Otherwise callers without a token could hold all
        // permits with requests whose messages never arrive.
        if request.extensions().get::<Caller>().is_none() {
            return Either::Right(Box::pin(self.inner.call(request)));
        }
        // The permit is held until the response's headers are sent: a stream would hold it for hours.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Either::Left(ready(Ok(super::outcome::overloaded(self.most).into_http())));
        };
        let call = fair::call().unwrap_or_default();
        match self.limits.enter_call(&call.flow()) {
            Ok(of_flow) => call.hold(of_flow),
            Err(error) => return Either::Left(ready(Ok(tonic::Status::from(error).into_http()))),
        }
        let held = Held { call, _place: place };
        let answered = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let response = answered.await;
            drop(held);
            response
        }))
    }
}

/// The permits of a call. The permit of its flow is stored in the call, because the call's flow may change.
struct Held {
    call: CallFlow,
    _place: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.call.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::LimitOptions;

    #[tokio::test]
    async fn the_one_too_many_is_refused_at_once() {
        let (release, wait) = tokio::sync::watch::channel(());
        let inner = tower::service_fn(move |_: http::Request<Body>| {
            let mut wait = wait.clone();
            async move {
                let _ = wait.changed().await;
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
            }
        });
        let mut service = LoadLimit::new(1, Limits::new(&LimitOptions::default())).layer(inner);
        let ask = || {
            let mut request = http::Request::new(Body::empty());
            request.extensions_mut().insert(Caller {
                subject: "ann".to_owned(),
                group: Some("acme".to_owned()),
                role: crate::caller::Role::Member,
            });
            request
        };
        let first = service.call(ask());
        let refused = service.call(ask()).await.unwrap();
        assert_eq!(refused.headers()["grpc-status"], "14");
        let _ = release.send(());
        assert!(first.await.unwrap().headers().get("grpc-status").is_none());
        assert!(service.places.available_permits() == 1);
    }
}
