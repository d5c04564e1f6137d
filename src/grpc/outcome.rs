//! Rules for every answer: it begins within the call's deadline, a refusal has an `ErrorInfo`, a panic is an
//! error of its call only, and the metrics count the call by its final code.
//!
//! This layer also checks the framing of the request before the gRPC library does, because the library
//! answers malformed requests with INTERNAL.

use super::call::{self, Call};
use super::form;
use super::status::{self, malformed, too_large};
use crate::error::{Detail, Error, Reason};
use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// The deadline of a call without a timeout of its caller: the answer must begin within this time.
const LONGEST_CALL: Duration = Duration::from_secs(300);
/// How long the message of a request may take to arrive.
const LONGEST_ARRIVAL: Duration = Duration::from_secs(30);
/// The length of a message's prefix: a flag and four bytes of length.
const PREFIX: usize = 5;

/// Puts the layer before a service.
#[derive(Clone)]
pub struct OutcomeLayer {
    /// The largest message of a request, in bytes.
    pub largest_request: usize,
}

impl<S> Layer<S> for OutcomeLayer {
    type Service = Outcome<S>;

    fn layer(&self, inner: S) -> Outcome<S> {
        Outcome {
            inner,
            largest_request: self.largest_request,
        }
    }
}

/// A service behind the layer.
#[derive(Clone)]
pub struct Outcome<S> {
    inner: S,
    largest_request: usize,
}

impl<S> Service<Request<Body>> for Outcome<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let began = Instant::now();
        let rpc = call::label(request.uri().path());
        let asked = request.headers().get("grpc-timeout").and_then(form::timeout);
        let deadline = asked.and_then(|timeout| began.checked_add(timeout));
        let mut counted = Counted { rpc, ended: false };
        // The messages of a reflection stream may arrive at any time.
        let arrival = (!rpc.starts_with("grpc.reflection.")).then_some(LONGEST_ARRIVAL);
        let request = request.map(|body| Body::new(Framed::new(body, self.largest_request, arrival)));
        let answered = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let end = deadline.unwrap_or(began + LONGEST_CALL);
            let response = match tokio::time::timeout_at(end, answered).await {
                Ok(Ok(response)) => response?,
                Ok(Err(_panic)) => Status::from(Error::internal(format!("{rpc} panicked"))).into_http(),
                Err(_) => Status::from(late()).into_http(),
            };
            metrics::histogram!("tether_rpc_seconds", "rpc" => rpc).record(began.elapsed().as_secs_f64());
            let (mut parts, body) = response.into_parts();
            if let Some(status) = Status::from_header_map(&parts.headers) {
                counted.end(replace(&mut parts.headers, status));
                return Ok(Response::from_parts(parts, body));
            }
            let body = Ended {
                inner: body,
                counted,
                call: call::current(),
                deadline: deadline.map(|end| Box::pin(sleep_until(end))),
            };
            Ok(Response::from_parts(parts, Body::new(body)))
        })
    }
}

/// The error of a call that missed its deadline.
fn late() -> Error {
    Error::new(
        Reason::DeadlineExceeded,
        "the call's deadline passed before the answer was there; a change may or may not have been made",
    )
}

/// Completes the status in these headers or trailers; returns its code.
fn replace(headers: &mut HeaderMap, status: Status) -> Code {
    if status.code() == Code::Ok {
        return Code::Ok;
    }
    let complete = status::complete(status);
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        headers.remove(name);
    }
    // This fails if the message is not a valid header; the code and the details are set by then.
    let _ = complete.add_header(headers);
    complete.code()
}

/// Counts a call once, by its final code; as CANCELLED if the answer is dropped before its end.
struct Counted {
    rpc: &'static str,
    ended: bool,
}

impl Counted {
    fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            call::count(self.rpc, code);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The body of an answer, with the status in its trailers.
struct Ended {
    inner: Body,
    counted: Counted,
    call: Option<Call>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Ended {
    fn trailers(&mut self, mut trailers: HeaderMap, status: Status) -> HeaderMap {
        let code = match &self.call {
            Some(call) => call::sync_within(call, || replace(&mut trailers, status)),
            None => replace(&mut trailers, status),
        };
        self.counted.end(code);
        trailers
    }
}

impl HttpBody for Ended {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.counted.ended {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            let trailers = self.trailers(HeaderMap::new(), late().into());
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_trailers() {
                Err(frame) => frame,
                Ok(trailers) => {
                    let status = Status::from_header_map(&trailers);
                    let status = status.unwrap_or_else(|| Status::new(Code::Ok, ""));
                    Frame::trailers(self.trailers(trailers, status))
                }
            }))),
            Some(Err(status)) => {
                let trailers = self.trailers(HeaderMap::new(), status);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            None => {
                self.counted.end(Code::Ok);
                Poll::Ready(None)
            }
        }
    }
}

/// The body of a request with checked framing: each message has a prefix of five bytes with its length.
struct Framed {
    inner: Body,
    largest: usize,
    /// Whether the body must be exactly one message.
    one: bool,
    arrival: Option<Pin<Box<Sleep>>>,
    prefix: Vec<u8>,
    /// The missing bytes of the current message.
    missing: usize,
    messages: usize,
}

impl Framed {
    /// A body of one message that must arrive within `arrival`; if that is `None`, of any number of messages
    /// at any time.
    fn new(inner: Body, largest: usize, arrival: Option<Duration>) -> Self {
        Self {
            inner,
            largest,
            one: arrival.is_some(),
            arrival: arrival.map(|within| Box::pin(tokio::time::sleep(within))),
            prefix: Vec::with_capacity(PREFIX),
            missing: 0,
            messages: 0,
        }
    }

    fn read(&mut self, data: &Bytes) -> Result<(), Error> {
        let mut rest = &data[..];
        while !rest.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(rest.len());
                self.missing -= taken;
                rest.advance(taken);
                continue;
            }
            let taken = (PREFIX - self.prefix.len()).min(rest.len());
            self.prefix.extend_from_slice(&rest[..taken]);
            rest.advance(taken);
            if self.prefix.len() == PREFIX {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    fn begin_message(&mut self) -> Result<(), Error> {
        let mut prefix = &std::mem::take(&mut self.prefix)[..];
        let (flag, length) = (prefix.get_u8(), prefix.get_u32() as usize);
        match flag {
            0 => {}
            1 => {
                return Err(malformed(
                    "a message says that it is compressed, and there is no grpc-encoding",
                ));
            }
            other => {
                return Err(malformed(format!(
                    "a message begins with the byte {other}: neither 0 nor 1, so this is not gRPC's framing"
                )));
            }
        }
        if length > self.largest {
            return Err(too_large("the message of a request", self.largest));
        }
        self.messages += 1;
        if self.one && self.messages > 1 {
            return Err(malformed("the request has more than one message"));
        }
        self.missing = length;
        Ok(())
    }

    /// The error of a body that ends here, if there is one.
    fn end(&self) -> Option<Error> {
        if self.missing > 0 || !self.prefix.is_empty() {
            return Some(malformed("the request ends in the middle of its message"));
        }
        (self.one && self.messages == 0).then(|| malformed("the request has no message"))
    }
}

impl HttpBody for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_pending() {
            let late = self
                .arrival
                .as_mut()
                .is_some_and(|end| end.as_mut().poll(context).is_ready());
            if !late {
                return Poll::Pending;
            }
            self.arrival = None;
            let text = "the request's message took too long to arrive";
            let error = Error::new(Reason::DeadlineExceeded, text);
            return Poll::Ready(Some(Err(error.into())));
        }
        let wrong = match ready!(polled) {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => match self.read(data) {
                    Ok(()) => return Poll::Ready(Some(Ok(frame))),
                    Err(error) => error,
                },
                None => match self.end() {
                    None => return Poll::Ready(Some(Ok(frame))),
                    Some(error) => error,
                },
            },
            // The caller has disconnected.
            Some(Err(status)) if status.code() == Code::Cancelled => return Poll::Ready(Some(Err(status))),
            Some(Err(status)) => {
                malformed(format!("the request's body cannot be read: {}", status.message()))
            }
            None => match self.end() {
                None => return Poll::Ready(None),
                Some(error) => error,
            },
        };
        // The error is returned once; the library reads no further.
        (self.one, self.missing) = (false, 0);
        self.prefix.clear();
        Poll::Ready(Some(Err(wrong.into())))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The error of a request beyond the maximum.
pub(super) fn overloaded(most: usize) -> Status {
    Error::new(
        Reason::Overloaded,
        format!("the server has {most} requests under way, its most: try again"),
    )
    .detail(Detail::RetryAfter(Duration::from_secs(1)))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn framed(bytes: &'static [u8]) -> Framed {
        Framed::new(
            Body::new(
                http_body_util::Full::new(Bytes::from_static(bytes))
                    .map_err(|never| -> Status { match never {} }),
            ),
            10,
            Some(LONGEST_ARRIVAL),
        )
    }

    async fn reason(bytes: &'static [u8]) -> Option<(Code, String)> {
        use tonic_types::StatusExt as _;
        let status = framed(bytes).collect().await.err()?;
        let info = status.get_details_error_info().unwrap();
        Some((status.code(), info.reason))
    }

    #[tokio::test]
    async fn framing_is_checked_whatever_the_pieces() {
        assert_eq!(reason(b"\0\0\0\0\x03abc").await, None);
        assert_eq!(reason(b"\0\0\0\0\0").await, None);
        let malformed = Some((Code::InvalidArgument, "REQUEST_MALFORMED".to_owned()));
        for bad in [
            &b""[..],
            b"\0\0",
            b"\0\0\0\0\x03ab",
            b"\x01\0\0\0\x03abc",
            b"\x07\0\0\0\x03abc",
            b"\0\0\0\0\x01a\0\0\0\0\x01a",
        ] {
            assert_eq!(reason(bad).await, malformed, "{bad:?}");
        }
        let large = Some((Code::ResourceExhausted, "REQUEST_TOO_LARGE".to_owned()));
        assert_eq!(reason(b"\0\xff\xff\xff\xff").await, large);

        // One byte at a time.
        let mut one = framed(b"");
        for byte in b"\0\0\0\0\x03abc" {
            one.read(&Bytes::copy_from_slice(&[*byte])).unwrap();
        }
        assert!(one.end().is_none());
    }

    #[tokio::test]
    async fn a_message_that_does_not_arrive_is_given_up() {
        let never =
            http_body_util::StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Status>>());
        let soon = Some(Duration::from_millis(10));
        let status = Framed::new(Body::new(never), 10, soon)
            .collect()
            .await
            .err()
            .unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
