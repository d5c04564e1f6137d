//! A reverse proxy on loopback between connector and fixture. It sees every request and injects faults, so that
//! authors need no fault injection in their fixtures.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::fault::{self, Fault};

type Body = BoxBody<Bytes, io::Error>;

/// A running proxy. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    address: SocketAddr,
    /// The fixture: `127.0.0.1:1234`.
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    seen: Mutex<Vec<ProxiedRequest>>,
    active: Mutex<Option<ActiveFault>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({} for {})", self.address, self.upstream)
    }
}

/// One request. No Debug, because it contains tokens.
#[derive(Clone)]
pub(crate) struct ProxiedRequest {
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: String,
    /// The time of its arrival.
    pub(crate) at: Instant,
    /// The whole content: path, query, headers, body.
    text: Arc<str>,
}

impl ProxiedRequest {
    /// Whether the request contains a text, anywhere, plain or percent-encoded.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.text.contains(text) || self.text.contains(&crate::secrets::percent(text))
    }

    /// For reports: without query and body.
    pub(crate) fn method_and_path(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The requests that a fault applies to.
#[derive(Clone)]
pub(crate) enum Which {
    /// From this one on, counted from 1 since the fault was set.
    From(usize),
    /// Only this one.
    Once(usize),
    /// Requests that contain a text: an access token.
    Containing(String),
}

/// A refusal in the CRM's own form.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

struct ActiveFault {
    fault: Fault,
    /// For [`Fault::Refusal`].
    refusal: Option<Reply>,
    which: Which,
    seen: usize,
    faulted: usize,
}

impl Proxy {
    /// Starts the proxy in front of the fixture.
    pub(crate) async fn start(upstream: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            seen: Mutex::default(),
            active: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Another proxy in front of the same fixture: another address of the CRM.
    pub(crate) async fn beside(&self) -> io::Result<Self> {
        Self::start(&self.shared.upstream).await
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        self.shared.address.to_string()
    }

    /// The number of requests so far, as an argument of [`Proxy::since`].
    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().len()
    }

    /// The requests after the first `requests_before`.
    pub(crate) fn since(&self, requests_before: usize) -> Vec<ProxiedRequest> {
        self.shared
            .seen
            .lock()
            .get(requests_before..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Injects a fault until [`Proxy::clear`].
    pub(crate) fn inject(&self, fault: Fault, which: Which) {
        self.set(fault, None, which);
    }

    /// Answers with a refusal in the CRM's own form until [`Proxy::clear`].
    pub(crate) fn refuse(&self, reply: Reply, which: Which) {
        self.set(Fault::Refusal(reply.status), Some(reply), which);
    }

    fn set(&self, fault: Fault, refusal: Option<Reply>, which: Which) {
        *self.shared.active.lock() = Some(ActiveFault {
            fault,
            refusal,
            which,
            seen: 0,
            faulted: 0,
        });
    }

    /// Ends the fault. Returns the number of affected requests.
    pub(crate) fn clear(&self) -> usize {
        self.shared
            .active
            .lock()
            .take()
            .map_or(0, |active| active.faulted)
    }

    /// Waits until no request has come for `quiet`, at most `limit`. Returns whether that succeeded.
    pub(crate) async fn quiet(&self, quiet: Duration, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let begun = Instant::now();
        loop {
            let last = self
                .shared
                .seen
                .lock()
                .last()
                .map_or(begun, |seen| seen.at.max(begun));
            if last.elapsed() >= quiet {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A GET of the kit itself, without the proxy. JSON only.
    pub(crate) async fn get(&self, url: &str) -> Result<serde_json::Value, String> {
        let body = self.send(Method::GET, url, Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(|_| format!("GET {}: the answer is not JSON", path_of(url)))
    }

    /// A POST of JSON to the fixture's control address, without the proxy.
    pub(crate) async fn post(&self, url: &str, body: String) -> Result<(), String> {
        self.send(Method::POST, url, body.into()).await.map(|_| ())
    }

    async fn send(&self, method: Method, url: &str, body: Bytes) -> Result<Bytes, String> {
        let name = format!("{method} {}", path_of(url));
        let wrong = |what: String| format!("{name}: {what}");
        let uri: Uri = url.parse().map_err(|_| wrong("not an address".to_owned()))?;
        let mut request = Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| wrong(error.to_string()))?;
        let response = self.shared.client.request(request).await;
        let response = response.map_err(|error| wrong(error.to_string()))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| wrong(error.to_string()))?
            .to_bytes();
        if !status.is_success() {
            return Err(wrong(format!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        Ok(body)
    }
}

/// An address without its query.
fn path_of(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections until aborted, which ends them.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // The delay of Nagle's algorithm must not be part of the measurement.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new();
            // Some checks break connections on purpose.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers a request. An error ends the connection.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let seen = ProxiedRequest {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        at: Instant::now(),
        text: text(&parts.uri, &parts.headers, &body).into(),
    };
    let fault = shared.apply(&seen);
    shared.seen.lock().push(seen);
    let forward = || shared.forward(&parts.method, &parts.uri, &parts.headers, body.clone());
    match fault {
        None => forward().await,
        Some(Fault::Delayed(wait)) => {
            tokio::time::sleep(wait).await;
            forward().await
        }
        Some(Fault::Refusal(_)) => Ok(refusal_response(shared.refusal())),
        Some(Fault::Status(status)) => Ok(status_response(status, None)),
        Some(Fault::RetryAfter) => Ok(status_response(429, Some(fault::RETRY_AFTER))),
        Some(Fault::RandomBytes) => Ok(complete(
            StatusCode::OK,
            Bytes::from_static(b"\x00\xff{]<no JSON"),
        )),
        Some(Fault::Page(status)) => Ok(typed_response(status, "text/html", PAGE)),
        Some(Fault::Empty(status)) => Ok(typed_response(status, "text/plain", "")),
        Some(Fault::OtherJson(status)) => Ok(typed_response(status, "application/json", OTHER_JSON)),
        Some(Fault::CutBefore) => Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::CutMiddle) => cut(forward().await?).await,
        Some(Fault::NoAnswer) => std::future::pending().await,
    }
}

impl Shared {
    fn apply(&self, seen: &ProxiedRequest) -> Option<Fault> {
        let mut active = self.active.lock();
        let active = active.as_mut()?;
        active.seen += 1;
        let applies = match &active.which {
            Which::From(first) => active.seen >= *first,
            Which::Once(number) => active.seen == *number,
            Which::Containing(text) => seen.contains(text),
        };
        active.faulted += usize::from(applies);
        applies.then_some(active.fault)
    }

    fn refusal(&self) -> Option<Reply> {
        self.active
            .lock()
            .as_ref()
            .and_then(|active| active.refusal.clone())
    }

    async fn forward(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> io::Result<Response<Body>> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.upstream));
        for (name, value) in headers {
            // The fixture receives the proxy's address as its own, so that the addresses it generates and the
            // requests it signs stay valid. Compression is disabled, so that every body can be inspected.
            if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, ACCEPT_ENCODING].contains(name) {
                request = request.header(name, value);
            }
        }
        if !headers.contains_key(HOST) {
            request = request.header(HOST, self.address.to_string());
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        let response = self.client.request(request).await.map_err(io::Error::other)?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let mut answer = Response::builder().status(parts.status);
        for (name, value) in &parts.headers {
            if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
                answer = answer.header(name, self.ours(value.as_bytes()).as_ref());
            }
        }
        answer.body(full(self.ours(&body))).map_err(io::Error::other)
    }

    /// Replaces the fixture's own address by that of the proxy.
    fn ours(&self, text: &[u8]) -> Bytes {
        let (_, port) = self.upstream.rsplit_once(':').unwrap_or_default();
        let ours = self.address.to_string();
        let names = [
            self.upstream.clone(),
            format!("localhost:{port}"),
            format!("127.0.0.1:{port}"),
        ];
        let mut text = Bytes::copy_from_slice(text);
        for name in names {
            text = replaced(&text, name.as_bytes(), ours.as_bytes());
        }
        text
    }
}

fn replaced(text: &Bytes, old: &[u8], new: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while at + old.len() <= text.len() {
        // Not followed by further digits of a port.
        let ends = text.get(at + old.len()).is_none_or(|next| !next.is_ascii_digit());
        if text[at..].starts_with(old) && ends {
            out.extend_from_slice(&text[from..at]);
            out.extend_from_slice(new);
            at += old.len();
            from = at;
        } else {
            at += 1;
        }
    }
    if from == 0 {
        return text.clone();
    }
    out.extend_from_slice(&text[from..]);
    out.into()
}

fn text(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> String {
    let mut text = uri.to_string();
    for (name, value) in headers {
        text.push_str(&format!(
            "\n{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(body));
    text
}

fn status_response(status: u16, retry_after: Option<Duration>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = complete(status, Bytes::from_static(b"fault of the conformance kit"));
    if let Some(wait) = retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

fn refusal_response(reply: Option<Reply>) -> Response<Body> {
    let Some(reply) = reply else {
        return status_response(500, None);
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = complete(status, reply.body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

/// The page of a gateway that answers instead of the CRM.
const PAGE: &str =
    "<html>\r\n<head><title>Gateway</title></head>\r\n<body><h1>Gateway</h1></body>\r\n</html>\r\n";
const OTHER_JSON: &str = r#"{"message":"no Route matched with those values"}"#;

fn typed_response(status: u16, media: &'static str, body: &'static str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = complete(status, Bytes::from_static(body.as_bytes()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn complete(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}

fn full(body: Bytes) -> Body {
    Full::new(body)
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// The first half of the body, then the end of the connection.
async fn cut(response: Response<Body>) -> io::Result<Response<Body>> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let half = body.slice(..body.len() / 2);
    let first = stream::once(async move { Ok(Frame::data(half)) });
    let end = stream::once(async {
        // Data written at the same time would be lost with the connection.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::ErrorKind::ConnectionReset.into())
    });
    Ok(Response::from_parts(
        parts,
        BoxBody::new(StreamBody::new(first.chain(end))),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixture that returns its own address.
    async fn fixture() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service_fn(move |_| async move {
                    let body =
                        format!("{{\"next\":\"http://{address}/2\",\"other\":\"http://{address}0/\"}}");
                    Ok::<_, Infallible>(complete(StatusCode::OK, body.into()))
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    async fn ask(proxy: &Proxy) -> Result<(u16, String, bool), String> {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let uri: Uri = format!("http://{}/1?token=s3cret", proxy.authority())
            .parse()
            .unwrap();
        let response = client.get(uri).await.map_err(|error| error.to_string())?;
        let (status, has_retry_after) = (
            response.status().as_u16(),
            response.headers().contains_key(RETRY_AFTER),
        );
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok((
            status,
            String::from_utf8_lossy(&body).into_owned(),
            has_retry_after,
        ))
    }

    #[tokio::test]
    async fn it_forwards_as_itself_and_injects_faults() {
        let address = fixture().await;
        let proxy = Proxy::start(&address.to_string()).await.unwrap();
        let (status, body, _) = ask(&proxy).await.unwrap();
        let ours = proxy.authority();
        assert_eq!(
            (status, body),
            (
                200,
                format!("{{\"next\":\"http://{ours}/2\",\"other\":\"http://{address}0/\"}}")
            )
        );
        let seen = proxy.since(0);
        assert!(
            seen[0].method_and_path() == "GET /1" && seen[0].contains("s3cret") && !seen[0].contains("other")
        );

        proxy.inject(Fault::RetryAfter, Which::From(2));
        assert_eq!(ask(&proxy).await.unwrap().0, 200);
        assert!(matches!(ask(&proxy).await, Ok((429, _, true))));
        assert_eq!(proxy.clear(), 1);
        proxy.inject(Fault::Status(401), Which::Containing("s3cret".to_owned()));
        assert_eq!(ask(&proxy).await.unwrap().0, 401);
        for fault in [Fault::CutBefore, Fault::CutMiddle] {
            proxy.inject(fault, Which::From(1));
            assert!(ask(&proxy).await.is_err(), "{fault}");
        }
        let reply = Reply {
            status: 429,
            headers: vec![("retry-after".to_owned(), "7".to_owned())],
            body: "wait".to_owned(),
        };
        proxy.refuse(reply, Which::Containing("s3cret".to_owned()));
        assert_eq!(ask(&proxy).await.unwrap(), (429, "wait".to_owned(), true));
        let second = proxy.beside().await.unwrap();
        assert_eq!(
            ask(&second).await.unwrap().0,
            200,
            "an address of its own, with its own faults"
        );
        proxy.inject(Fault::RandomBytes, Which::From(1));
        assert!(matches!(ask(&proxy).await, Ok((200, body, _)) if body.contains("no JSON")));
        proxy.inject(Fault::Page(404), Which::Once(2));
        let answers = [
            ask(&proxy).await.unwrap().0,
            ask(&proxy).await.unwrap().0,
            ask(&proxy).await.unwrap().0,
        ];
        assert_eq!(answers, [200, 404, 200]);
        proxy.inject(Fault::NoAnswer, Which::From(1));
        assert!(
            tokio::time::timeout(Duration::from_millis(50), ask(&proxy))
                .await
                .is_err()
        );
        proxy.clear();
        assert!(
            proxy
                .quiet(Duration::from_millis(30), Duration::from_secs(5))
                .await
        );
    }
}
