//! The server's edge: requests that are refused before an RPC receives them, silent connections, logs and
//! files.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use bytes::Bytes;
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

use crate::policy::signed;
use crate::support::server::{Database, Refused, World, http, ok, refused, until};

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

#[tokio::test]
async fn every_malformed_request_is_refused_with_a_reason() {
    let world = World::start(Database::Sqlite, 1).await;
    let token = world.token("ann", Some("acme"), Role::Administrator);
    let post = |path: &str| {
        http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {token}"))
    };
    let list = || post(LIST);
    let good = list().body(framed(b"")).unwrap();
    assert_eq!(send(&world, good).await.status.unwrap().code(), Code::Ok);

    let malformed = (Code::InvalidArgument, "REQUEST_MALFORMED");
    let unknown = (Code::Unimplemented, "RPC_UNKNOWN");
    let large = (Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    let plain = |kind: &str| {
        http::Request::post(LIST)
            .header("content-type", kind)
            .header("authorization", format!("Bearer {token}"))
            .body(framed(b""))
            .unwrap()
    };
    let huge = "x".repeat(40 << 10);
    type Case = (&'static str, http::Request<Bytes>, u16, (Code, &'static str));
    let cases: Vec<Case> = vec![
        ("no body", list().body(Bytes::new()).unwrap(), 200, malformed),
        (
            "half a prefix",
            list().body(Bytes::from_static(b"\0\0")).unwrap(),
            200,
            malformed,
        ),
        (
            "half a message",
            list().body(Bytes::from_static(b"\0\0\0\0\x05ab")).unwrap(),
            200,
            malformed,
        ),
        (
            "another flag",
            list().body(Bytes::from_static(b"\x09\0\0\0\0")).unwrap(),
            200,
            malformed,
        ),
        (
            "compressed without a word",
            list().body(Bytes::from_static(b"\x01\0\0\0\0")).unwrap(),
            200,
            malformed,
        ),
        (
            "two messages",
            list().body([framed(b""), framed(b"")].concat().into()).unwrap(),
            200,
            malformed,
        ),
        (
            "no protobuf",
            list().body(framed(b"\xff\xff\xff")).unwrap(),
            200,
            malformed,
        ),
        (
            "a text that is not UTF-8",
            list().body(framed(b"\x0a\x02\xff\xfe")).unwrap(),
            200,
            malformed,
        ),
        (
            "a length beyond the limit",
            list().body(Bytes::from_static(b"\0\xff\xff\xff\xff")).unwrap(),
            200,
            large,
        ),
        (
            "5 MiB",
            list().body(framed(&vec![0; 5 << 20])).unwrap(),
            200,
            large,
        ),
        (
            "40 kB of headers",
            list().header("x-much", &huge).body(framed(b"")).unwrap(),
            200,
            large,
        ),
        (
            "compressed",
            list()
                .header("grpc-encoding", "gzip")
                .body(Bytes::from_static(b"\x01\0\0\0\x02ab"))
                .unwrap(),
            200,
            (Code::Unimplemented, "ENCODING_UNSUPPORTED"),
        ),
        (
            "a time-out that is none",
            list().header("grpc-timeout", "soon").body(framed(b"")).unwrap(),
            200,
            malformed,
        ),
        ("no content type", plain(""), 415, malformed),
        ("JSON", plain("application/json"), 415, malformed),
        ("gRPC with JSON", plain("application/grpc+json"), 415, malformed),
        (
            "GET",
            http::Request::get(LIST).body(Bytes::new()).unwrap(),
            405,
            malformed,
        ),
        (
            "an unknown method",
            post("/tether.v1.IntegrationService/Surprise")
                .body(framed(b""))
                .unwrap(),
            200,
            unknown,
        ),
        (
            "an unknown service",
            post("/tether.v2.IntegrationService/ListConnectors")
                .body(framed(b""))
                .unwrap(),
            200,
            unknown,
        ),
        ("the root", post("/").body(framed(b"")).unwrap(), 200, unknown),
        (
            "no token",
            http::Request::post(LIST)
                .header("content-type", "application/grpc")
                .body(framed(b""))
                .unwrap(),
            200,
            (Code::Unauthenticated, "TOKEN_MISSING"),
        ),
        (
            "health of an unknown service",
            post("/grpc.health.v1.Health/Check")
                .body(framed(b"\x0a\x04none"))
                .unwrap(),
            200,
            (Code::NotFound, "NOT_FOUND"),
        ),
        (
            "gRPC-Web without a body",
            http::Request::post(LIST)
                .header("content-type", "application/grpc-web+proto")
                .header("authorization", format!("Bearer {token}"))
                .body(Bytes::new())
                .unwrap(),
            200,
            malformed,
        ),
    ];
    for (what, request, http, (code, reason)) in cases {
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

#[tokio::test]
async fn half_written_requests_do_not_starve_anybody() {
    // This process needs the same number of descriptors.
    let _ = tether::listener::Descriptors::raise();
    let world = World::start_limited(1_024).await;
    assert!(world.log().contains("1024 file descriptors"), "{}", world.log());
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let companies = ann.all_companies(100).await;

    let before = world.log().len();
    let mut silent = Vec::new();
    for at in 0..1_100 {
        let address = [&world.callback, &world.callback, &world.callback, &world.admin][at % 4];
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Connections that were evicted are closed already.
        let _ = stream
            .write_all(b"GET /oauth/callback?state=x HTTP/1.1\r\nhost: here\r\nx: ")
            .await;
        silent.push(stream);
        if at % 100 == 0 {
            ann.get(&name).await;
        }
    }
    // Meanwhile all others are served: gRPC on open and on new connections, the page, the metrics, syncs,
    // searches.
    let mut max = world.person("max", "acme", Role::Member).await;
    assert_eq!(max.all_companies(100).await, companies);
    let sync = ann.sync(&name).await;
    ann.succeeds(&sync).await;
    let page = http(&world.callback, "GET", "/oauth/callback", "", "").await;
    assert_eq!(page.status, 400);
    let metrics = http(&world.admin, "GET", "/metrics", "", "").await;
    assert_eq!(metrics.status, 200);
    let shed = metrics
        .body
        .lines()
        .any(|line| line.starts_with("tether_connections_shed_total{listener=\"callback\""));
    assert!(shed, "{}", metrics.body);

    // The server closes all of them.
    for mut stream in silent {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let lines = world.log().matches("listener has").count();
    assert!(lines < 100, "{lines} lines about it");
    assert!(
        !world.log()[before..].contains("is made again"),
        "an index was given up"
    );
}

#[tokio::test]
async fn callers_without_a_token_cannot_fill_the_log() {
    let world = World::start(Database::Sqlite, 1).await;
    let before = world.log().len();
    let stream = TcpStream::connect(&world.grpc).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let path = format!(
        "http://{}/tether.v1.IntegrationService/{}",
        world.grpc,
        "x".repeat(8_000)
    );
    for _ in 0..2_000 {
        let request = http::Request::post(&path)
            .header("content-type", "application/grpc")
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "12");
    }
    connection.abort();
    let log = world.log();
    let added = &log[before..];
    let lines: Vec<&str> = added.lines().filter(|line| line.contains("refused")).collect();
    assert!((1..1_000).contains(&lines.len()), "{} lines", lines.len());
    assert!(added.lines().all(|line| line.len() < 1_000));
    let metrics = http(&world.admin, "GET", "/metrics", "", "").await.body;
    let suppressed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tether_log_suppressed_total "))
        .unwrap();
    let suppressed: usize = suppressed.parse().unwrap();
    assert_eq!(suppressed + lines.len(), 2_000);
}

#[tokio::test]
async fn the_claim_at_fault_is_named_and_logged_and_the_token_is_not() {
    let world = World::start(Database::Sqlite, 1).await;
    let now = tether::time::now_us() / 1_000_000;
    let list = v1::ListConnectorsRequest::default();
    for (claims, claim, reason) in [
        (json!({"nbf": now + 3_600}), "nbf", "TOKEN_EXPIRED"),
        (json!({"sub": "a\u{0}b"}), "sub", "TOKEN_INVALID"),
        (json!({"group": "CANARY\u{0}"}), "group", "TOKEN_INVALID"),
        (json!({"role": "CANARY"}), "role", "TOKEN_INVALID"),
        (json!({"aud": ["CANARY"]}), "aud", "TOKEN_INVALID"),
    ] {
        let token = signed(&world, claims);
        let mut stranger = world.bearer("acme", &token).await;
        let told = refused(stranger.integrations.list_connectors(list.clone())).await;
        assert_eq!(told.reason, reason);
        assert_eq!(told.details.error_info().unwrap().metadata["claim"], claim);
        assert!(!world.log().contains(&token));
    }
    let fraction = signed(
        &world,
        json!({"exp": now as f64 + 3_600.5, "nbf": now as f64 - 0.5}),
    );
    let mut ann = world.bearer("acme", &fraction).await;
    ok(ann.integrations.list_connectors(list)).await;
    let log = world.log();
    for claim in ["nbf", "sub", "group", "role", "aud"] {
        assert!(log.contains(&format!("claim=\"{claim}\"")), "{claim}: {log}");
    }
    assert!(!log.contains("CANARY"), "{log}");
}

fn files(folder: &Path, found: &mut Vec<(String, u32)>) {
    // The index removes merged files meanwhile.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(of) = path.symlink_metadata() else {
            continue;
        };
        found.push((path.display().to_string(), of.permissions().mode() & 0o777));
        if of.is_dir() {
            files(&path, found);
        }
    }
}

#[tokio::test]
async fn the_data_directory_is_the_servers_own() {
    let mut world = World::start(Database::Sqlite, 1).await;
    let mut ann = world.ann().await;
    ann.dummy("Ours", "ann").await;
    assert!(!ann.all_companies(100).await.is_empty());
    let index = world.data().join("index");
    until("the index is written", async || {
        std::fs::read_dir(&index).is_ok_and(|mut entries| entries.next().is_some())
    })
    .await;
    let closed = |world: &World| {
        let mut found = vec![(
            "data_dir".to_owned(),
            std::fs::metadata(world.data()).unwrap().mode() & 0o777,
        )];
        files(&world.data(), &mut found);
        assert!(found.len() > 5, "{found:?}");
        assert!(
            found.iter().any(|(path, _)| path.contains("/index/")),
            "{found:?}"
        );
        let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
        assert!(open.is_empty(), "{open:?}");
    };
    closed(&world);
    // File permissions that an earlier version left too wide are corrected at the next start, with a log
    // line.
    for file in ["", "tether.db", "dev-signing.key"] {
        let path = world.data().join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.restart().await;
    closed(&world);
    assert!(
        world.log().contains("tether.db was open to other users"),
        "{}",
        world.log()
    );
}

#[tokio::test]
async fn what_the_command_line_says_of_folders() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let out = tokio::process::Command::new(crate::support::server::program())
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .await
            .unwrap();
        (out.status.success(), String::from_utf8(out.stderr).unwrap())
    };
    // Otherwise a token of a key that no server has would be rejected later, without an explanation.
    let (done, said) = run(&["token", "--data-dir", "nowhere"]).await;
    assert!(
        !done && said.contains("data_dir = nowhere") && said.contains("serve --dev"),
        "{said}"
    );
    assert!(!folder.path().join("nowhere").exists());

    std::fs::write(folder.path().join("file"), "").unwrap();
    let (done, said) = run(&["serve", "--dev", "--data-dir", "file/data"]).await;
    assert!(
        !done && said.contains("data_dir = file/data: tether cannot write there"),
        "{said}"
    );

    // In a checkout, `connectors` has sources.
    std::fs::create_dir_all(folder.path().join("connectors/sdk")).unwrap();
    std::fs::write(folder.path().join("connectors/sdk/Cargo.toml"), "").unwrap();
    let (done, said) = run(&["serve", "--dev", "--data-dir", "data"]).await;
    assert!(!done && said.contains("cargo xtask connectors"), "{said}");
}

#[tokio::test]
async fn a_group_that_the_platform_never_named_is_told_so_by_every_rpc() {
    let world = World::start(Database::Sqlite, 1).await;
    let mut new = world.person("new", "newcomers", Role::Administrator).await;
    let told = |told: Refused| {
        assert_eq!(
            (told.code, told.reason.as_str()),
            (Code::FailedPrecondition, "GROUP_UNKNOWN")
        );
        assert_eq!(
            told.details.error_info().unwrap().metadata["group"],
            "groups/newcomers"
        );
    };
    let parent = new.parent.clone();
    told(
        refused(
            new.integrations
                .list_connectors(v1::ListConnectorsRequest::default()),
        )
        .await,
    );
    let request = v1::ListIntegrationsRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    told(refused(new.integrations.list_integrations(request)).await);
    let request = v1::ListCompaniesRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    told(refused(new.companies.list_companies(request)).await);
    let request = v1::WatchGroupRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    told(Refused::from(
        new.integrations.watch_group(request).await.err().unwrap(),
    ));

    // The group is known as soon as it is created.
    let mut platform = world.person("platform", "", Role::Service).await;
    let group = v1::Group {
        name: parent,
        display_name: "Newcomers".to_owned(),
        ..Default::default()
    };
    ok(platform
        .groups
        .upsert_group(v1::UpsertGroupRequest { group: Some(group) }))
    .await;
    until("the group is known", async || {
        let mut new = new.clone();
        new.integrations
            .list_connectors(v1::ListConnectorsRequest::default())
            .await
            .is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_connector_without_the_operators_settings_is_not_available() {
    let unset = "connector.salesforce.settings.client_id=";
    let world = World::start_with(Database::Sqlite, 1, &[unset]).await;
    let mut ann = world.ann().await;
    // HubSpot needs no operator settings for private apps.
    for name in ["dummy", "hubspot"] {
        let here = ann.connector(name).await.unwrap();
        assert_eq!(here.state(), v1::connector::State::Available, "{name}");
    }
    let bare = ann.connector("salesforce").await.unwrap();
    assert_eq!(bare.state(), v1::connector::State::Failed);
    let why = bare.state_reason.unwrap();
    assert_eq!(why.reason(), v1::ErrorReason::ConnectorMisconfigured);
    assert!(
        why.message.contains("connector.salesforce.settings.client_id"),
        "{}",
        why.message
    );
    let enable = v1::EnableConnectorRequest {
        parent: ann.parent.clone(),
        connector: "connectors/salesforce".to_owned(),
    };
    let no = refused(ann.integrations.enable_connector(enable)).await;
    assert_eq!(no.reason, "CONNECTOR_UNAVAILABLE");
}

#[tokio::test]
async fn the_service_identity_reads_for_any_group() {
    let world = World::start(Database::Sqlite, 1).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    let (name, sync) = ann.dummy("Ours", "ann").await;
    let draft = ann.create("dummy", "Draft").await;
    ann.share(&name, "globex", &[]).await;
    let mut platform = world.person("platform", "", Role::Service).await;
    platform.parent.clone_from(&ann.parent);
    // The service identity sees what members of the owner group see.
    let mut max = world.person("max", "acme", Role::Member).await;
    assert_eq!(platform.get(&name).await, max.get(&name).await);
    assert_eq!(platform.integrations().await, max.integrations().await);
    assert_eq!(platform.fields(&name).await, max.fields(&name).await);
    assert_eq!(platform.all_companies(100).await, max.all_companies(100).await);
    let company = ann.all_companies(1).await.remove(0).name;
    assert_eq!(
        platform.open(&company).await.cards.len(),
        max.open(&company).await.cards.len()
    );
    let shares = v1::ListSharesRequest {
        parent: name.clone(),
        ..Default::default()
    };
    assert_eq!(
        ok(platform.integrations.list_shares(shares.clone())).await,
        ok(max.integrations.list_shares(shares)).await
    );
    assert_eq!(
        ok(platform
            .integrations
            .get_sync(v1::GetSyncRequest { name: sync.clone() }))
        .await,
        ok(max.integrations.get_sync(v1::GetSyncRequest { name: sync })).await
    );
    // With another group as parent it sees what that group sees.
    let mut gil = world.person("gil", "globex", Role::Member).await;
    platform.parent.clone_from(&gil.parent);
    assert_eq!(platform.integrations().await, gil.integrations().await);
    assert_eq!(platform.all_companies(100).await, gil.all_companies(100).await);
    // It does not see drafts, unknown groups are NOT_FOUND, and it can change nothing.
    let no = refused(
        platform
            .integrations
            .get_integration(v1::GetIntegrationRequest { name: draft }),
    )
    .await;
    assert_eq!(no.reason, "NOT_FOUND");
    let request = v1::ListCompaniesRequest {
        parent: "groups/nobody".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(platform.companies.list_companies(request)).await.reason,
        "NOT_FOUND"
    );
    let no = refused(
        platform
            .integrations
            .sync_integration(v1::SyncIntegrationRequest {
                name,
                ..Default::default()
            }),
    )
    .await;
    assert_eq!(no.reason, "ROLE_NOT_ALLOWED");
}
