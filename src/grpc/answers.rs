//! Bounds answers: none is larger than 3 MiB (ANSWER_TOO_LARGE), and the bytes of answers that callers have
//! not read are limited, per group and in total.
//!
//! An answer is encoded completely, counted, and passed to the connection in pieces, each when the client's
//! window has room for it. If the caller reads nothing for a while, the answer is dropped. A task beside the
//! answer detects this, because the connection looks at an answer only when it can send.
//!
//! The answer of a change is counted but never refused: the change is made, and a caller that gets a refusal
//! would make it again. At most `limits.calls_per_group` such answers exceed the budget, because later calls
//! of the group are refused before they begin (`Limits::enter_call`).

use super::page::MOST_ANSWER_BYTES;
use crate::error::{Error, Reason};
use crate::fair;
use crate::policy::{self, Effect};
use crate::proto;
use crate::service::{LimitPlace, Limits};
use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Bytes passed to the connection at a time.
const PIECE: usize = 32 << 10;
/// The length of the gRPC prefix of a message.
const FRAME_HEAD: usize = 5;

/// Bounds the answers of a service.
#[derive(Clone)]
pub struct AnswerLayer {
    limits: Limits,
    /// The paths of RPCs with a single response message.
    unary: Arc<HashSet<String>>,
}

impl AnswerLayer {
    /// A layer that keeps answers within these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            unary: Arc::new(unary()),
        }
    }
}

/// The paths of tether's RPCs with a single response message.
fn unary() -> HashSet<String> {
    let streams = proto::server_streams();
    policy::TABLE
        .iter()
        .map(|(rpc, ..)| *rpc)
        .filter(|rpc| rpc.starts_with("tether.v1.") && !streams.contains(*rpc))
        .map(|rpc| format!("/{rpc}"))
        .collect()
}

impl<S> Layer<S> for AnswerLayer {
    type Service = Answers<S>;

    fn layer(&self, inner: S) -> Answers<S> {
        Answers {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose answers are bounded.
#[derive(Clone)]
pub struct Answers<S> {
    inner: S,
    layer: AnswerLayer,
}

impl<S> Service<http::Request<Body>> for Answers<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let unary = self.layer.unary.contains(request.uri().path());
        let path = request.uri().path().to_owned();
        let limits = self.layer.limits.clone();
        let answered = self.inner.call(request);
        Box::pin(async move {
            let response = answered.await?;
            // An error has its status in the headers, and no body.
            if !unary || response.headers().contains_key("grpc-status") {
                return Ok(response);
            }
            Ok(bounded(response, &path, &limits).await)
        })
    }
}

/// The response with a bounded body, or an error in its place.
async fn bounded(response: http::Response<Body>, path: &str, limits: &Limits) -> http::Response<Body> {
    let (head, mut body) = response.into_parts();
    let (mut pieces, mut trailers): (Vec<Bytes>, Option<HeaderMap>) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => pieces.push(data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(status) => return instead(&head, status),
        }
    }
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    if bytes > MOST_ANSWER_BYTES + FRAME_HEAD {
        tracing::error!(
            bytes,
            "the answer of {path} is larger than it may be, and was not sent"
        );
        let text = format!("the answer would have {bytes} bytes, and may have {MOST_ANSWER_BYTES}");
        let error = Error::new(Reason::AnswerTooLarge, text)
            .with("bytes", bytes)
            .with("limit", MOST_ANSWER_BYTES);
        return instead(&head, error.into());
    }
    let data = match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    };
    let flow = fair::current();
    let place = match policy::row(path) {
        Some((_, _, Effect::Changes)) => limits.answers.take_beyond(&flow, bytes),
        _ => match limits.answers.take(&flow, bytes) {
            Ok(place) => place,
            Err(error) => return instead(&head, error.into()),
        },
    };
    let body = Waiting::new(data, trailers, place, limits.slow_reader);
    http::Response::from_parts(head, Body::new(body))
}

/// An error in the place of an answer, with the other headers of the answer.
fn instead(head: &http::response::Parts, status: Status) -> http::Response<Body> {
    let mut refusal: http::Response<Body> = status.into_http();
    for (name, value) in &head.headers {
        if !refusal.headers().contains_key(name) {
            refusal.headers_mut().insert(name, value.clone());
        }
    }
    refusal
}

/// The body of an answer that its caller has not read completely.
struct Waiting {
    state: Arc<Mutex<State>>,
    /// Drops the answer if nothing of it is read for a while. Ends with the body.
    _watch: AbortOnDropHandle<()>,
}

struct State {
    data: Bytes,
    trailers: Option<HeaderMap>,
    /// Its share of the budget of answers.
    place: Option<LimitPlace>,
    /// The number of pieces that the connection has taken.
    taken: u64,
    /// The error, if the answer was dropped.
    given_up: Option<Status>,
}

impl Waiting {
    fn new(data: Bytes, trailers: Option<HeaderMap>, place: LimitPlace, limit: Duration) -> Self {
        let state = Arc::new(Mutex::new(State {
            data,
            trailers,
            place: Some(place),
            taken: 0,
            given_up: None,
        }));
        let watched = Arc::clone(&state);
        let watch = tokio::spawn(async move {
            let mut seen = 0;
            loop {
                tokio::time::sleep(limit).await;
                let mut state = watched.lock();
                if state.taken == seen {
                    metrics::counter!("tether_slow_readers_total", "kind" => "answer").increment(1);
                    state.give_up(limit);
                    return;
                }
                seen = state.taken;
            }
        });
        Self {
            state,
            _watch: AbortOnDropHandle::new(watch),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // At once: the task beside it ends some time later.
        let mut state = self.state.lock();
        state.data = Bytes::new();
        state.place = None;
    }
}

/// The error of an answer or a stream that its caller did not read in time.
pub fn too_slow(limit: Duration) -> Error {
    let seconds = limit.as_secs();
    Error::new(
        Reason::ReaderTooSlow,
        format!("nothing of the answer was read for {seconds} s: it was cancelled"),
    )
    .with("seconds", seconds)
}

impl http_body::Body for Waiting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.state.lock().next())
    }

    fn is_end_stream(&self) -> bool {
        self.state.lock().is_done()
    }
}

impl State {
    /// Drops the unread rest.
    fn give_up(&mut self, limit: Duration) {
        self.data = Bytes::new();
        self.trailers = None;
        self.place = None;
        self.given_up = Some(too_slow(limit).into());
    }

    fn next(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        if let Some(status) = self.given_up.take() {
            return Some(Err(status));
        }
        let first = self.taken == 0;
        self.taken += 1;
        if self.data.is_empty() {
            self.place = None;
            return self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)));
        }
        if first && self.data.len() <= PIECE {
            // This is true of nearly all answers. The connection holds no more than one piece in any case.
            return Some(Ok(Frame::data(std::mem::take(&mut self.data))));
        }
        let length = PIECE.min(self.data.len());
        // A copy: a slice would keep the whole answer in memory until the connection has sent it.
        let piece = Bytes::copy_from_slice(&self.data[..length]);
        self.data.advance(length);
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
        Some(Ok(Frame::data(piece)))
    }

    fn is_done(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none() && self.given_up.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::LimitOptions;

    fn limits(megabytes: usize) -> Limits {
        Limits::new(&LimitOptions {
            answer_megabytes: megabytes,
            answer_megabytes_per_group: megabytes,
            ..LimitOptions::default()
        })
    }

    fn response(bytes: usize) -> http::Response<Body> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let body = http_body_util::Full::new(Bytes::from(vec![7; bytes]))
            .with_trailers(async { Some(Ok(trailers)) });
        let body = body.map_err(|never: std::convert::Infallible| match never {});
        http::Response::builder()
            .header("x-request-id", "r")
            .body(Body::new(body))
            .unwrap()
    }

    fn code(response: &http::Response<Body>) -> Option<&str> {
        response
            .headers()
            .get("grpc-status")
            .map(|code| code.to_str().unwrap())
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_and_gives_its_bytes_back() {
        let limits = limits(4);
        for bytes in [0, 1, PIECE, PIECE + 1, MOST_ANSWER_BYTES + FRAME_HEAD] {
            let answer = bounded(response(bytes), "/x", &limits).await;
            assert_eq!(code(&answer), None);
            assert_eq!(limits.answers.taken(), bytes);
            let collected = answer.into_body().collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
            assert_eq!(collected.to_bytes(), vec![7; bytes]);
            assert_eq!(limits.answers.taken(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_too_large_or_one_too_many_is_refused() {
        let limits = limits(4);
        let refused = bounded(response(MOST_ANSWER_BYTES + FRAME_HEAD + 1), "/x", &limits).await;
        assert_eq!(code(&refused), Some("11"));
        assert_eq!(refused.headers()["x-request-id"], "r");
        let first = bounded(response(MOST_ANSWER_BYTES), "/x", &limits).await;
        let second = bounded(response(MOST_ANSWER_BYTES), "/x", &limits).await;
        assert_eq!((code(&first), code(&second)), (None, Some("8")));
        drop(first);
        let third = bounded(response(MOST_ANSWER_BYTES), "/x", &limits).await;
        assert_eq!(code(&third), None);
    }

    #[tokio::test]
    async fn small_answers_count_like_large_ones() {
        let limits = limits(4);
        let mut held = Vec::new();
        while limits.answers.taken() + 1_000 <= 4 << 20 {
            let answer = bounded(response(1_000), "/x", &limits).await;
            assert_eq!(code(&answer), None);
            held.push(answer);
        }
        assert_eq!(code(&bounded(response(1_000), "/x", &limits).await), Some("8"));
        held.pop();
        assert_eq!(code(&bounded(response(1_000), "/x", &limits).await), None);
    }

    #[tokio::test]
    async fn a_change_that_was_made_is_answered_and_the_next_call_is_refused_before_it_begins() {
        let (limits, flow) = (limits(4), fair::Flow::Internal);
        let change = "/tether.v1.IntegrationService/CreateIntegration";
        let first = bounded(response(MOST_ANSWER_BYTES), "/x", &limits).await;
        assert!(limits.enter_call(&flow).is_ok());
        let second = bounded(response(MOST_ANSWER_BYTES), change, &limits).await;
        assert_eq!(code(&second), None);
        assert_eq!(limits.answers.taken(), 2 * MOST_ANSWER_BYTES);
        let refused = limits.enter_call(&flow).err().unwrap();
        assert_eq!(refused.reason, Reason::GroupOverloaded);
        drop((first, second));
        assert!(limits.enter_call(&flow).is_ok());
    }

    #[tokio::test]
    async fn an_answer_that_is_given_up_says_so_and_holds_nothing() {
        let limits = limits(4);
        let place = limits.answers.take(&fair::Flow::group("acme"), 100_000).unwrap();
        let data = Bytes::from(vec![7; 100_000]);
        let waiting = Waiting::new(data, None, place, limits.slow_reader);
        let state = Arc::clone(&waiting.state);
        let mut body = Body::new(waiting);
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!((state.lock().taken, limits.answers.taken()), (1, 100_000));
        state.lock().give_up(limits.slow_reader);
        assert_eq!((state.lock().data.len(), limits.answers.taken()), (0, 0));
        let status = body.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn every_rpc_of_ours_is_bounded_but_streams() {
        let unary = unary();
        assert!(unary.contains("/tether.v1.CompanyService/ListCompanies"));
        assert!(!unary.contains("/tether.v1.IntegrationService/WatchSync"));
        let rest: Vec<_> = policy::TABLE
            .iter()
            .map(|(rpc, ..)| *rpc)
            .filter(|rpc| rpc.starts_with("tether.") && !unary.contains(&format!("/{rpc}")))
            .collect();
        assert_eq!(rest.len(), 3, "{rest:?}");
    }
}
