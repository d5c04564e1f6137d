//! Connections and callers without a valid token cost others nothing, and are logged in few lines.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tether::caller::Role;
use tether::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::policy::signed;
use crate::support::server::{Database, World, http, ok, refused};

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
