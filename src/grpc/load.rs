//! Load shedding: so many requests at a time, the next one is refused at once. Queueing would only make all of them late.

use futures_util::future::{Either, Ready, ready};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::{Layer, Service};

/// Limits the requests under way.
#[derive(Clone)]
pub struct LoadLimit {
    places: Arc<Semaphore>,
    most: usize,
}

impl LoadLimit {
    /// So many at a time.
    pub fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
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
        }
    }
}

/// A service with so many places.
#[derive(Clone)]
pub struct Limited<S> {
    inner: S,
    places: Arc<Semaphore>,
    most: usize,
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
        // A place is held to the answer's headers: a watched stream would hold one for hours.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Either::Left(ready(Ok(super::outcome::overloaded(self.most).into_http())));
        };
        let answered = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let response = answered.await;
            drop(place);
            response
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut service = LoadLimit::new(1).layer(inner);
        let first = service.call(http::Request::new(Body::empty()));
        let refused = service.call(http::Request::new(Body::empty())).await.unwrap();
        assert_eq!(refused.headers()["grpc-status"], "14");
        let _ = release.send(());
        assert!(first.await.unwrap().headers().get("grpc-status").is_none());
        assert!(service.places.available_permits() == 1);
    }
}
