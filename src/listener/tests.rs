use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn limits(connections: usize) -> Limits {
    Limits {
        name: "test",
        connections,
        header: Duration::from_secs(5),
        idle: Duration::from_secs(60),
        stalled: Duration::from_secs(60),
        lifetime: Some(Duration::from_secs(30)),
        http2: None,
    }
}

async fn serving(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
    serving_over(None, limits).await
}

async fn serving_over(tls: Option<TlsAcceptor>, limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = axum::Router::new()
        .route("/", axum::routing::get(|| async { "here" }))
        // Reads the whole body.
        .route("/", axum::routing::post(|body: String| async { body }));
    tokio::spawn(serve(listener, limits, tls, router, stop.clone()));
    (address, stop)
}

async fn asks(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_full_listener_closes_the_longest_idle_connection() {
    let (address, _stop) = serving(limits(2)).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        silent.push(stream);
    }
    // The first connection is closed for the third, and the next request is served next to two idle connections.
    let mut rest = Vec::new();
    let closed = silent[0].read_to_end(&mut rest).await;
    assert!(closed.is_err() || rest.is_empty());
    assert!(asks(address).await.ends_with("here"));
}

/// A connection with a request that does not end, because less than its whole body is sent. Returns when the
/// server reads it.
async fn unfinished(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head).await.unwrap();
    // The server sends "100 Continue": the request is open.
    let mut line = [0; 25];
    stream.read_exact(&mut line).await.unwrap();
    assert!(line.starts_with(b"HTTP/1.1 100"), "{line:?}");
    stream
}

#[tokio::test]
async fn open_requests_without_progress_do_not_keep_others_out() {
    let soon = Limits {
        stalled: Duration::ZERO,
        ..limits(2)
    };
    let (address, _stop) = serving(soon).await;
    let mut stuck = unfinished(address).await;
    let mut busy = unfinished(address).await;
    // Both have an open request. The first one, without progress for longer, is closed.
    assert!(asks(address).await.ends_with("here"));
    let mut rest = Vec::new();
    let closed = stuck.read_to_end(&mut rest).await;
    assert!(closed.is_err() || rest.is_empty());
    // The other one continues.
    busy.write_all(b"abcdefghi").await.unwrap();
    let mut answer = [0; 512];
    let read = busy.read(&mut answer).await.unwrap();
    assert!(answer[..read].ends_with(b"abcdefghi"));
}

#[tokio::test]
async fn an_open_request_is_not_closed_while_it_may_still_go_on() {
    let (address, _stop) = serving(limits(1)).await;
    let mut first = unfinished(address).await;
    // One connection too many is rejected.
    let mut second = TcpStream::connect(address).await.unwrap();
    let _ = second.read_to_end(&mut Vec::new()).await;
    first.write_all(b"abcdefghi").await.unwrap();
    let mut answer = [0; 512];
    let read = first.read(&mut answer).await.unwrap();
    assert!(answer[..read].ends_with(b"abcdefghi"));
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let soon = Limits {
        header: Duration::from_millis(50),
        ..limits(16)
    };
    for http2 in [
        None,
        Some(Http2 {
            streams: 16,
            header_list: 16 << 10,
            ping_after: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(20),
        }),
    ] {
        let (address, _stop) = serving(Limits {
            http2,
            ..soon.clone()
        })
        .await;
        for sent in [
            &b""[..],
            b"GET / HT",
            b"GET / HTTP/1.1\r\nhost: here\r\nx: ",
            b"PRI * HTTP/2.0",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent).await.unwrap();
            // This ends; without a limit the read would not return.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_the_connection() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let soon = Limits {
        header: Duration::from_millis(50),
        ..limits(16)
    };
    let (address, _stop) = serving_over(Some(TlsAcceptor::from(Arc::new(config))), soon).await;
    // First no data, then the beginning of a ClientHello.
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}
