//! The outermost layer: gives each request an id, and refuses what is not a gRPC or gRPC-Web request by its
//! HTTP form. This refusal has the same details as any other, so that users of other clients learn the cause,
//! too.

use super::call::{self, Call};
use super::status::{malformed, too_large};
use crate::error::{Error, Most, Reason, shortened};
use crate::fair::CallFlow;
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// The header of the request id: a caller may set it, and every response has it.
pub const REQUEST_ID: &str = "x-request-id";
/// The largest header list, as HTTP/2 counts it: 32 bytes per header besides its name and value (RFC 9113,
/// 6.5.2).
pub const LARGEST_HEADERS: usize = 32 << 10;
/// The maximum length of a path in an error, in bytes.
const LONGEST_PATH: usize = 100;

/// Puts the layer before a service.
#[derive(Clone)]
pub struct FormLayer;

impl<S> Layer<S> for FormLayer {
    type Service = Form<S>;

    fn layer(&self, inner: S) -> Form<S> {
        Form { inner }
    }
}

/// A service behind the layer.
#[derive(Clone)]
pub struct Form<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Form<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<
        Ready<Result<Self::Response, Self::Error>>,
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = request_id(request.headers());
        let path = request.uri().path();
        let call = Call {
            rpc: shortened(path.trim_start_matches('/'), Most::Bytes(LONGEST_PATH)).into_owned(),
            request_id: id.to_str().unwrap_or_default().to_owned(),
            flow: CallFlow::default(),
        };
        if let Err((http_status, error)) = check(&request) {
            let status: Status = call::sync_within(&call, || error.into());
            call::count(call::label(path), status.code());
            let mut response = refused(status, request.headers());
            *response.status_mut() = http_status;
            return Either::Left(ready(Ok(stamp(response, id))));
        }
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let answered = call::sync_within(&call, || self.inner.call(request));
        Either::Right(Box::pin(call::within(Some(call), async move {
            Ok(stamp(answered.await?, id))
        })))
    }
}

/// The caller's request id if it is valid, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    headers
        .get(REQUEST_ID)
        .filter(|id| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic))
        .cloned()
        .or_else(|| HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).ok())
        .unwrap_or(HeaderValue::from_static("none"))
}

/// Adds the request id to the response.
fn stamp(mut response: Response<Body>, id: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// An error in the caller's protocol: gRPC or gRPC-Web.
fn refused(status: Status, of: &HeaderMap) -> Response<Body> {
    let mut response: Response<Body> = status.into_http();
    let web = content_type(of).filter(|kind| is(kind, "application/grpc-web"));
    if web.is_some() {
        let kind = HeaderValue::from_static("application/grpc-web+proto");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// Whether a content type is this one, with any format and parameters.
fn is(kind: &str, of: &str) -> bool {
    match kind.strip_prefix(of) {
        Some(rest) => rest.is_empty() || rest.starts_with(['+', ';', ' ']) || rest.starts_with("-text"),
        None => false,
    }
}

type Wrong = (StatusCode, Error);

fn check<B>(request: &Request<B>) -> Result<(), Wrong> {
    let headers = request.headers();
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    if size + request.uri().path().len() > LARGEST_HEADERS {
        return Err((StatusCode::OK, too_large("a request's headers", LARGEST_HEADERS)));
    }
    if request.method() != Method::POST {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            malformed("gRPC and gRPC-Web requests are sent with POST"),
        ));
    }
    let kind = content_type(headers).unwrap_or_default();
    let (web, grpc) = (is(kind, "application/grpc-web"), is(kind, "application/grpc"));
    if !web && request.version() != Version::HTTP_2 {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            malformed(
                "over HTTP/1 gRPC-Web alone is served (content-type: application/grpc-web); gRPC needs HTTP/2",
            ),
        ));
    }
    let proto = kind
        .split([';', ' '])
        .next()
        .is_some_and(|kind| !kind.contains('+') || kind.ends_with("+proto"));
    if !(web || grpc) || !proto {
        return Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            malformed(
                "the content type is not application/grpc or application/grpc-web, with protobuf messages",
            ),
        ));
    }
    if let Some(encoding) = headers.get("grpc-encoding").filter(|one| *one != "identity") {
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        let error = Error::new(
            Reason::EncodingUnsupported,
            "messages of requests are taken uncompressed only (grpc-encoding: identity)",
        );
        let error = error.with("encoding", shortened(&encoding, Most::Bytes(LONGEST_PATH)));
        return Err((StatusCode::OK, error));
    }
    match headers.get("grpc-timeout") {
        Some(text) if timeout(text).is_none() => Err((
            StatusCode::OK,
            malformed("grpc-timeout is not of the form of at most 8 digits and one of H M S m u n"),
        )),
        _ => Ok(()),
    }
}

/// Parses `grpc-timeout`: at most 8 digits and a unit.
pub(super) fn timeout(text: &HeaderValue) -> Option<Duration> {
    let text = text.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_read_as_the_protocol_has_them() {
        let read = |text: &str| timeout(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("1S"), Some(Duration::from_secs(1)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "1", "1s", "-1S", "123456789S", "1 S", "1.5S", "S1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn content_types() {
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
        ] {
            assert!(is(good, "application/grpc"), "{good}");
        }
        for bad in ["application/grpcx", "application/json", "", "text/plain"] {
            assert!(!is(bad, "application/grpc"), "{bad}");
        }
        assert!(is("application/grpc-web-text", "application/grpc-web"));
    }
}
