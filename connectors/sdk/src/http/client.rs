//! The client: checks, sends, bounds and counts requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::origin::is_json;
use super::policy::Addresses;
use super::{ReadSet, Request};
use crate::CallContext;
use crate::proto::{Error, HttpPolicy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// An HTTP client restricted to the host's policy and the connector's read set. Cheap to clone; clones share
/// connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    addresses: Addresses,
    read_set: ReadSet,
    max_body: u64,
}

/// A complete answer of any status, also errors of the CRM and redirects.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
}

/// A body that is read in parts, decompressed.
pub struct Body {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    call: CallContext,
    until: Option<Instant>,
    left: u64,
}

impl HttpClient {
    pub(crate) fn new(policy: &HttpPolicy, read_set: ReadSet) -> Result<Self, Error> {
        // Statics are per library, so the server's provider is not visible here. If one is already installed, it is
        // used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let or = |milliseconds: u32, default: Duration| match milliseconds {
            0 => default,
            given => Duration::from_millis(given.into()),
        };
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(or(policy.connect_timeout_ms, CONNECT_TIMEOUT))
            .read_timeout(or(policy.read_timeout_ms, READ_TIMEOUT))
            // Environment variables of the server must not configure connectors.
            .no_proxy();
        if !policy.proxy_url.is_empty() {
            let proxy = reqwest::Proxy::all(&policy.proxy_url)
                .map_err(|_| Error::configuration("the proxy's address is not one"))?;
            builder = builder.proxy(proxy);
        }
        if !policy.ca_pem.is_empty() {
            let anchors = reqwest::Certificate::from_pem_bundle(policy.ca_pem.as_bytes())
                .map_err(|_| Error::configuration("the additional trust anchors are not PEM certificates"))?;
            builder = builder.tls_certs_merge(anchors);
        }
        if !policy.user_agent.is_empty() {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(&policy.user_agent)
                .map_err(|_| Error::configuration("the user agent is not a header value"))?;
            headers.insert(USER_AGENT, value);
            builder = builder.default_headers(headers);
        }
        let client = builder
            .build()
            .map_err(|error| Error::configuration(format!("no HTTP client: {}", reason(&error))))?;
        let max_body = if policy.max_body_bytes == 0 {
            MAX_BODY_BYTES
        } else {
            policy.max_body_bytes
        };
        let addresses = Addresses::new(policy)?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                addresses,
                read_set,
                max_body,
            }),
        })
    }

    /// Sends a request and reads the complete answer.
    ///
    /// Fails with READ_ONLY or CONFIGURATION if the request is not allowed, TRANSIENT without a complete answer,
    /// CANCELLED or DEADLINE_EXCEEDED if the call ended, QUERY_TOO_BIG if the body is larger than the limit.
    pub async fn send(&self, call: &CallContext, request: Request) -> Result<Response, Error> {
        let mut body = self.stream(call, request).await?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        // A strict parser would reject the whole reply because of one lone surrogate.
        if is_json(&body.headers) {
            crate::proto::escapes::mend_surrogates(&mut whole);
        }
        Ok(Response {
            status: body.status,
            headers: body.headers,
            body: whole.freeze(),
        })
    }

    /// Sends a request and returns when the headers have arrived.
    pub async fn stream(&self, call: &CallContext, request: Request) -> Result<Body, Error> {
        self.check(&request)?;
        let Request {
            method,
            url,
            headers,
            body,
            max_body,
            timeout,
        } = request;
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let left = max_body.map_or(self.inner.max_body, |asked| asked.min(self.inner.max_body));
        let place = format!("{method} {}{}", url.host_str().unwrap_or("?"), url.path());
        let started = Instant::now();
        let sent = self
            .inner
            .client
            .request(method, url)
            .headers(headers)
            .body(body)
            .send();
        call.count_call();
        let response = within(call, until, sent).await?.map_err(|error| {
            tracing::debug!(%place, reason = %reason(&error), "request failed");
            transport(&error)
        })?;
        let status = response.status();
        tracing::debug!(%place, status = status.as_u16(), ms = started.elapsed().as_millis() as u64, "request");
        let headers = response.headers().clone();
        Ok(Body {
            status,
            headers,
            response,
            call: call.clone(),
            until,
            left,
        })
    }

    /// Checks whether a request is allowed.
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        self.inner.addresses.check(&request.url)?;
        if request
            .headers
            .keys()
            .any(|name| name.as_str().contains("method-override"))
        {
            return Err(Error::read_only("a header overrides the method").code("http.read_only"));
        }
        self.inner
            .read_set
            .check(&request.method, &request.url, &request.body)
            .map_err(|why| {
                Error::read_only(format!("refused before it was sent: {why}")).code("http.read_only")
            })
    }
}

impl Body {
    /// The next part of the body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = within(&self.call, self.until, self.response.chunk()).await?;
        let Some(chunk) = chunk.map_err(|error| transport(&error))? else {
            return Ok(None);
        };
        self.call.count_bytes(chunk.len());
        // Counted after decompression, so that a small compressed body cannot exceed the limit.
        self.left = self.left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            Error::query_too_big("the CRM's answer is larger than allowed").code("http.body_too_large")
        })?;
        Ok(Some(chunk))
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({})", self.status)
    }
}

async fn within<T>(
    call: &CallContext,
    until: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    match until {
        None => call.run(work).await,
        Some(until) => call
            .run(tokio::time::timeout_at(until, work))
            .await?
            .map_err(|_| Error::transient("the CRM did not answer in time").code("http.timeout")),
    }
}

fn transport(error: &reqwest::Error) -> Error {
    let reason = reason(error);
    Error::transient(format!("no whole answer from the CRM: {reason}")).code("http.transport")
}

/// The cause of the error without the URL: its query may contain a token.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "time-out".to_owned();
    }
    let mut source = std::error::Error::source(error);
    let mut innermost = None;
    while let Some(next) = source {
        innermost = Some(next.to_string());
        source = next.source();
    }
    let what = match () {
        () if error.is_connect() => "connecting failed",
        () if error.is_decode() || error.is_body() => "the body is damaged",
        () if error.is_builder() => "the request cannot be made",
        () => "sending failed",
    };
    innermost.map_or_else(|| what.to_owned(), |inner| format!("{what}: {inner}"))
}
