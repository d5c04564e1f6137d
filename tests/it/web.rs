//! gRPC-Web as a page in a browser sends it: hand-made frames over HTTP/1, and CORS preflight requests.

use base64::Engine as _;
use prost::Message;
use serde_json::json;
use tether::caller::Role;
use tether::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic_types::pb;

use crate::support::server::{Database, Person, World};

const ORIGIN: &str = "https://app.example.com";

/// A response as it is on the wire.
struct Wire {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Wire {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The messages, and the trailers that the last frame holds.
    fn frames<M: Message + Default>(&self) -> (Vec<M>, Vec<(String, String)>) {
        let (mut messages, mut trailers, mut rest) = (Vec::new(), Vec::new(), &self.body[..]);
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            let (flag, frame) = (rest[0], &rest[5..5 + length]);
            rest = &rest[5 + length..];
            if flag & 0x80 == 0 {
                assert!(trailers.is_empty(), "a message after the trailers");
                messages.push(M::decode(frame).unwrap());
            } else {
                trailers = pairs(std::str::from_utf8(frame).unwrap());
            }
        }
        (messages, trailers)
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_lowercase(), value.trim().to_owned()))
        .collect()
}

/// The reason in `grpc-status-details-bin`.
fn reason(of: &[(String, String)]) -> String {
    let (_, details) = of
        .iter()
        .find(|(key, _)| key == "grpc-status-details-bin")
        .unwrap();
    let details = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(details.trim_end_matches('='))
        .unwrap();
    let status = pb::Status::decode(&details[..]).unwrap();
    let info = status
        .details
        .iter()
        .find(|one| one.type_url.ends_with("google.rpc.ErrorInfo"));
    pb::ErrorInfo::decode(&info.unwrap().value[..]).unwrap().reason
}

async fn send(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Wire {
    let mut stream = tokio::net::TcpStream::connect(&world.grpc).await.unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
        world.grpc
    );
    for (key, value) in headers {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = pairs(head.split_once("\r\n").unwrap().1);
    let mut body = bytes[end + 4..].to_vec();
    if headers
        .iter()
        .any(|(key, value)| key == "transfer-encoding" && value == "chunked")
    {
        body = unchunked(&body);
    }
    Wire {
        status,
        headers,
        body,
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 2 + length + 2..];
    }
}

/// Calls an rpc of IntegrationService from a page.
async fn call(world: &World, rpc: &str, token: Option<&str>, message: &impl Message) -> Wire {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let bearer = token.map(|token| format!("Bearer {token}")).unwrap_or_default();
    let mut headers = vec![
        ("content-type", "application/grpc-web+proto"),
        ("x-grpc-web", "1"),
        ("origin", ORIGIN),
        ("x-request-id", "from-the-page"),
    ];
    if token.is_some() {
        headers.push(("authorization", &bearer));
    }
    let path = format!("/tether.v1.IntegrationService/{rpc}");
    send(world, "POST", &path, &headers, &body).await
}

#[tokio::test]
async fn a_page_calls_as_everyone_else() {
    let origins = format!("web.allowed_origins={ORIGIN}");
    let mut world = World::start_with(Database::Sqlite, 1, &[&origins]).await;
    let token = world.token("ann", Some("acme"), Role::Administrator);

    an_answer_is_one_response(&world, &token).await;
    errors_have_their_details(&world, &token).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    a_stream_ends_with_trailers(&world, &token, &mut ann, &name).await;
    a_stream_ends_with_an_error(&mut world, &token, &mut ann, &name).await;
}

/// A message, then the trailers as a frame.
async fn an_answer_is_one_response(world: &World, token: &str) {
    let list = v1::ListConnectorsRequest::default();
    let answer = call(world, "ListConnectors", Some(token), &list).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/grpc-web+proto"));
    assert_eq!(answer.header("x-request-id"), Some("from-the-page"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for header in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "x-request-id",
    ] {
        assert!(exposed.contains(header), "{exposed}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let (messages, trailers) = answer.frames::<v1::ListConnectorsResponse>();
    assert!(
        messages[0]
            .connectors
            .iter()
            .any(|one| one.name == "connectors/dummy")
    );
    assert!(
        trailers.contains(&("grpc-status".to_owned(), "0".to_owned())),
        "{trailers:?}"
    );
}

/// The gate and the services return errors with the same details.
async fn errors_have_their_details(world: &World, token: &str) {
    let list = v1::ListConnectorsRequest::default();
    let member = world.token("max", Some("acme"), Role::Member);
    let create = v1::CreateIntegrationRequest::default();
    let absent = v1::GetIntegrationRequest {
        name: "integrations/0198c0de-0000-7000-8000-000000000000".to_owned(),
    };
    for (refused, status, expected) in [
        (
            call(world, "ListConnectors", None, &list).await,
            "16",
            "TOKEN_MISSING",
        ),
        (
            call(world, "CreateIntegration", Some(&member), &create).await,
            "7",
            "ROLE_NOT_ALLOWED",
        ),
        (
            call(world, "GetIntegration", Some(token), &absent).await,
            "5",
            "NOT_FOUND",
        ),
    ] {
        assert_eq!(
            (refused.header("grpc-status"), reason(&refused.headers).as_str()),
            (Some(status), expected)
        );
        assert_eq!(refused.header("access-control-allow-origin"), Some(ORIGIN));
    }
}

/// Messages as they are sent, then the trailers.
async fn a_stream_ends_with_trailers(world: &World, token: &str, ann: &mut Person, name: &str) {
    let sync = ann.sync(name).await;
    let watched = call(
        world,
        "WatchSync",
        Some(token),
        &v1::WatchSyncRequest { name: sync },
    )
    .await;
    let (messages, trailers) = watched.frames::<v1::WatchSyncResponse>();
    let last = messages.last().unwrap().sync.as_ref().unwrap();
    assert_eq!(last.state(), v1::sync::State::Succeeded);
    assert!(
        trailers.contains(&("grpc-status".to_owned(), "0".to_owned())),
        "{trailers:?}"
    );
}

/// It has its details in the trailers' frame.
async fn a_stream_ends_with_an_error(world: &mut World, token: &str, ann: &mut Person, name: &str) {
    world.script(&json!({"script.read": "hang"}));
    let sync = ann.sync(name).await;
    let request = v1::WatchSyncRequest { name: sync };
    let (watched, ()) = {
        let watching = async { call(world, "WatchSync", Some(token), &request).await };
        tokio::pin!(watching);
        // Long enough to be in progress; otherwise it would be refused with the same message.
        assert!(
            tokio::time::timeout(std::time::Duration::from_secs(1), &mut watching)
                .await
                .is_err()
        );
        let stopping = async {
            let pid = world.pid().to_string();
            tokio::process::Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .await
                .unwrap();
        };
        tokio::join!(watching, stopping)
    };
    let (messages, trailers) = watched.frames::<v1::WatchSyncResponse>();
    assert!(!messages.is_empty());
    assert!(
        trailers.contains(&("grpc-status".to_owned(), "14".to_owned())),
        "{trailers:?}"
    );
    assert_eq!(reason(&trailers), "SHUTTING_DOWN");
    assert!(world.ended().await.success());
}

/// The CORS preflight request of a browser.
async fn preflight(world: &World, origin: &str) -> Wire {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type,x-grpc-web,x-user-agent,grpc-timeout",
        ),
    ];
    let path = "/tether.v1.IntegrationService/ListConnectors";
    send(world, "OPTIONS", path, &headers, b"").await
}

#[tokio::test]
async fn only_pages_of_named_origins_may_call() {
    let none = World::start(Database::Sqlite, 1).await;
    assert_eq!(
        preflight(&none, ORIGIN)
            .await
            .header("access-control-allow-origin"),
        None
    );

    let origins = format!("web.allowed_origins={ORIGIN},http://localhost:3000");
    let some = World::start_with(Database::Sqlite, 1, &[&origins]).await;
    for origin in [ORIGIN, "http://localhost:3000"] {
        let allowed = preflight(&some, origin).await;
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.header("access-control-allow-origin"), Some(origin));
        assert_eq!(allowed.header("access-control-allow-methods"), Some("POST"));
        let headers = allowed.header("access-control-allow-headers").unwrap();
        for header in [
            "authorization",
            "content-type",
            "x-grpc-web",
            "x-user-agent",
            "grpc-timeout",
            "x-request-id",
        ] {
            assert!(headers.contains(header), "{headers}");
        }
    }
    for origin in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "null",
    ] {
        assert_eq!(
            preflight(&some, origin)
                .await
                .header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    // HTTP/1 is for gRPC-Web only.
    let path = "/tether.v1.IntegrationService/ListConnectors";
    let plain = send(&some, "POST", path, &[("content-type", "application/grpc")], b"").await;
    assert_eq!(
        (plain.status, reason(&plain.headers).as_str()),
        (415, "REQUEST_MALFORMED")
    );
    let page = send(&some, "GET", "/", &[], b"").await;
    assert_eq!(
        (page.status, reason(&page.headers).as_str()),
        (405, "REQUEST_MALFORMED")
    );
}
