//! The server's edge: requests that are refused before an RPC receives them, deadlines, TLS.

use bytes::Bytes;
use http::request::Builder;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::json;
use tether::caller::Role;
use tether::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::server::{Database, World, http};

/// A response as it is on the wire.
#[derive(Debug)]
pub(crate) struct Raw {
    http: u16,
    headers: http::HeaderMap,
    pub(crate) status: Option<Status>,
}

impl Raw {
    fn reason(&self) -> (Code, String) {
        let status = self
            .status
            .as_ref()
            .unwrap_or_else(|| panic!("no grpc-status: {self:?}"));
        let info = status
            .get_details_error_info()
            .unwrap_or_else(|| panic!("no ErrorInfo: {self:?}"));
        assert_eq!(info.domain, "tether");
        (status.code(), info.reason)
    }
}

/// Sends a request over HTTP/2 unchanged.
pub(crate) async fn send(world: &World, request: http::Request<Bytes>) -> Raw {
    let stream = TcpStream::connect(&world.grpc).await.unwrap();
    send_over(stream, world, request).await
}

async fn send_over(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    world: &World,
    request: http::Request<Bytes>,
) -> Raw {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().to_string();
    parts.uri = format!("http://{}{path}", world.grpc).parse().unwrap();
    let answer = sender
        .send_request(http::Request::from_parts(parts, Full::new(body)))
        .await
        .unwrap();
    let (parts, body) = answer.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    connection.abort();
    let status = Status::from_header_map(&parts.headers)
        .or_else(|| Status::from_header_map(&trailers.unwrap_or_default()));
    Raw {
        http: parts.status.as_u16(),
        headers: parts.headers,
        status,
    }
}

const LIST: &str = "/tether.v1.IntegrationService/ListConnectors";

pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes.into()
}

/// What a request is refused with.
type Answer = (Code, &'static str);
/// A request: what is wrong with it, the status of HTTP, and the answer of gRPC.
type Case = (&'static str, http::Request<Bytes>, u16, Answer);

const MALFORMED: Answer = (Code::InvalidArgument, "REQUEST_MALFORMED");
const UNKNOWN: Answer = (Code::Unimplemented, "RPC_UNKNOWN");
const LARGE: Answer = (Code::ResourceExhausted, "REQUEST_TOO_LARGE");

/// A request of a valid token, without a body.
fn post(path: &str, kind: &str, token: &str) -> Builder {
    http::Request::post(path)
        .header("content-type", kind)
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
}

/// Malformed bodies of a request that is valid otherwise.
fn bodies(token: &str) -> Vec<Case> {
    let long = framed(&vec![0; 5 << 20]);
    let two = [framed(b""), framed(b"")].concat();
    let cases: [(&str, &[u8], Answer); 10] = [
        ("no body", b"", MALFORMED),
        ("half a prefix", b"\0\0", MALFORMED),
        ("half a message", b"\0\0\0\0\x05ab", MALFORMED),
        ("another flag", b"\x09\0\0\0\0", MALFORMED),
        ("compressed without a word", b"\x01\0\0\0\0", MALFORMED),
        ("two messages", &two, MALFORMED),
        ("no protobuf", &framed(b"\xff\xff\xff"), MALFORMED),
        (
            "a text that is not UTF-8",
            &framed(b"\x0a\x02\xff\xfe"),
            MALFORMED,
        ),
        ("a length beyond the limit", b"\0\xff\xff\xff\xff", LARGE),
        ("5 MiB", &long, LARGE),
    ];
    let sent = |body: &[u8]| {
        let body = Bytes::copy_from_slice(body);
        post(LIST, "application/grpc", token).body(body).unwrap()
    };
    cases
        .into_iter()
        .map(|(what, body, answer)| (what, sent(body), 200, answer))
        .collect()
}

/// Malformed headers of a request that is valid otherwise.
fn headers(token: &str) -> Vec<Case> {
    let huge = "x".repeat(40 << 10);
    let zipped = (Code::Unimplemented, "ENCODING_UNSUPPORTED");
    [
        ("40 kB of headers", "x-much", huge.as_str(), framed(b""), LARGE),
        (
            "compressed",
            "grpc-encoding",
            "gzip",
            Bytes::from_static(b"\x01\0\0\0\x02ab"),
            zipped,
        ),
        (
            "a time-out that is none",
            "grpc-timeout",
            "soon",
            framed(b""),
            MALFORMED,
        ),
    ]
    .into_iter()
    .map(|(what, header, value, body, answer)| {
        let request = post(LIST, "application/grpc", token).header(header, value);
        (what, request.body(body).unwrap(), 200, answer)
    })
    .collect()
}

/// Other methods, content types, paths and tokens.
fn others(token: &str) -> Vec<Case> {
    let plain = |kind: &str| {
        http::Request::post(LIST)
            .header("content-type", kind)
            .header("authorization", format!("Bearer {token}"))
    };
    let bare = |request: Builder| request.body(framed(b"")).unwrap();
    let to = |path: &str, message: &[u8]| {
        let request = post(path, "application/grpc", token);
        request.body(framed(message)).unwrap()
    };
    let get = http::Request::get(LIST).body(Bytes::new()).unwrap();
    let web = plain("application/grpc-web+proto").body(Bytes::new()).unwrap();
    let nobody = http::Request::post(LIST).header("content-type", "application/grpc");
    let surprise = to("/tether.v1.IntegrationService/Surprise", b"");
    let v2 = to("/tether.v2.IntegrationService/ListConnectors", b"");
    let health = to("/grpc.health.v1.Health/Check", b"\x0a\x04none");
    vec![
        ("no content type", bare(plain("")), 415, MALFORMED),
        ("JSON", bare(plain("application/json")), 415, MALFORMED),
        (
            "gRPC with JSON",
            bare(plain("application/grpc+json")),
            415,
            MALFORMED,
        ),
        ("GET", get, 405, MALFORMED),
        ("an unknown method", surprise, 200, UNKNOWN),
        ("an unknown service", v2, 200, UNKNOWN),
        ("the root", to("/", b""), 200, UNKNOWN),
        (
            "no token",
            bare(nobody),
            200,
            (Code::Unauthenticated, "TOKEN_MISSING"),
        ),
        (
            "health of an unknown service",
            health,
            200,
            (Code::NotFound, "NOT_FOUND"),
        ),
        ("gRPC-Web without a body", web, 200, MALFORMED),
    ]
}

#[tokio::test]
async fn every_malformed_request_is_refused_with_a_reason() {
    let world = World::start(Database::Sqlite, 1).await;
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let good = post(LIST, "application/grpc", &token).body(framed(b"")).unwrap();
    assert_eq!(send(&world, good).await.status.unwrap().code(), Code::Ok);

    for (what, request, http, (code, reason)) in [bodies(&token), headers(&token), others(&token)]
        .into_iter()
        .flatten()
    {
        let answer = send(&world, request).await;
        assert_eq!(answer.http, http, "{what}: {answer:?}");
        assert_eq!(answer.reason(), (code, reason.to_owned()), "{what}: {answer:?}");
        assert!(answer.headers.contains_key("x-request-id"), "{what}");
        let message = answer.status.unwrap().message().to_owned();
        assert!((10..400).contains(&message.len()), "{what}: {message}");
    }

    // None of these is an alarm (docs/operate.md), and each is counted by its returned code.
    let metrics = http(&world.admin, "GET", "/metrics", "", "").await.body;
    let of_code = |code: i32| {
        let label = format!("code=\"{code}\"");
        metrics
            .lines()
            .any(|line| line.starts_with("tether_rpc_total") && line.contains(&label))
    };
    for code in [0, 3, 5, 8, 12, 16] {
        assert!(of_code(code), "{code}: {metrics}");
    }
    for code in [1, 2, 11, 13, 14] {
        assert!(!of_code(code), "{code}: {metrics}");
    }
}

#[tokio::test]
async fn a_deadline_ends_calls_and_streams_with_its_own_code() {
    let world = World::start(Database::Sqlite, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    world.script(&json!({"script.list_fields": "hang"}));
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let fields = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let call = |rpc: &str, message: Vec<u8>| {
        http::Request::post(format!("/tether.v1.IntegrationService/{rpc}"))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "300m")
            .header("authorization", format!("Bearer {token}"))
            .body(framed(&message))
            .unwrap()
    };
    // As a client sees it that waits longer than its own deadline.
    let answer = send(&world, call("ListAvailableFields", fields.encode_to_vec())).await;
    let late = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(answer.reason(), late);

    // A stream has the deadline of its call, too.
    let watch = v1::WatchGroupRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    let answer = send(&world, call("WatchGroup", watch.encode_to_vec())).await;
    assert_eq!(answer.reason(), late);
}

#[tokio::test]
async fn grpc_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let settings = [
        format!("tls.certificate={}", certificate.display()),
        format!("tls.key={}", key.display()),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let world = World::start_with(Database::Sqlite, 1, &settings).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols.push(b"h2".to_vec());
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(&world.grpc).await.unwrap();
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let token = world.token("ann", Some("acme"), Role::Member);
    let request = http::Request::post(LIST)
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {token}"))
        .body(framed(b""))
        .unwrap();
    let answer = send_over(stream, &world, request).await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    // Without TLS there is no answer.
    let mut plain = TcpStream::connect(&world.grpc).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard).await;
    assert!(!heard.starts_with(b"HTTP/"), "{heard:?}");
}
