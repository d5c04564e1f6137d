//! Accepts connections: limits their number and duration, and handles a lack of file descriptors.
//!
//! All three listeners use it. Each connection is in a table with its number of open requests. When the table is
//! full, or when `accept` fails because the process has no descriptors left, the connection that has been without an
//! open request for the longest time is closed. So clients that open connections and send nothing lose their own
//! connections, and clients with requests keep theirs. If each connection has an open request, the one without a byte
//! read or written for the longest time is closed, if that time is longer than [`Limits::stalled`]. So requests that
//! never end do not block other clients.
//!
//! The accept loops of tonic and axum are not used: both end or spin when `accept` fails for lack of
//! descriptors, and neither limits connections or the time of a handshake. Closing the longest idle
//! connection, instead of refusing the newest, prevents silent connections from locking everybody else out.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future::Future, pin::Pin};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use crate::telemetry::Throttle;

/// Maximum pause after `accept` failed because of a lack of descriptors or memory.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection may take to close after it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Maximum number of bytes per HTTP/2 stream that are buffered for a slow client.
const SEND_BUFFER: usize = 128 << 10;
/// Length of the HTTP/2 preface. Until this many bytes have arrived, the protocol of a connection is not known.
const PREFACE: usize = 24;

/// Limits of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The listener, for logs and metrics: `grpc`, `callback` or `admin`.
    pub name: &'static str,
    /// Maximum number of open connections.
    pub connections: usize,
    /// Timeout of the TLS handshake, then of the first bytes, then of the header of each HTTP/1 request.
    pub header: Duration,
    /// How long a connection may stay open without an open request.
    pub idle: Duration,
    /// After this time without a byte read or written, a connection with an open request may be closed to make room.
    pub stalled: Duration,
    /// Maximum duration of a connection. None: no limit.
    pub lifetime: Option<Duration>,
    /// HTTP/2 in addition to HTTP/1.
    pub http2: Option<Http2>,
}

/// Limits of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Http2 {
    /// Maximum number of open streams per connection.
    pub streams: u32,
    /// Maximum size of the header list in bytes, as HTTP/2 counts it.
    pub header_list: u32,
    /// A ping is sent after this time without traffic.
    pub ping_after: Duration,
    /// A connection that does not answer a ping within this time is closed.
    pub ping_timeout: Duration,
}

/// The limit on file descriptors of the process, and its division between connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Maximum number of descriptors of the process.
    pub limit: usize,
    /// Maximum number of connections of the gRPC listener.
    pub grpc: usize,
    /// Maximum number of connections of the callback listener.
    pub callback: usize,
    /// Maximum number of connections of the admin listener.
    pub admin: usize,
}

impl Descriptors {
    /// More than any server needs. With a limit of a billion, programs that iterate over all descriptors become slow.
    const ENOUGH: u64 = 65_536;

    /// Raises the soft limit of the process to the hard limit, and divides it.
    #[must_use]
    pub fn raise() -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let now = getrlimit(Resource::Nofile);
        let soft = now.current.unwrap_or(Self::ENOUGH);
        let wanted = now.maximum.unwrap_or(Self::ENOUGH).min(Self::ENOUGH).max(soft);
        let raised = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        let limit = match wanted > soft && setrlimit(Resource::Nofile, raised).is_ok() {
            true => wanted,
            false => soft,
        };
        Self::divide(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// At least half of the descriptors are left for the database, the index and the connectors.
    fn divide(limit: usize) -> Self {
        Self {
            limit,
            grpc: (limit / 8 * 3).clamp(8, 10_000),
            callback: (limit / 16).clamp(4, 512),
            admin: 16,
        }
    }
}

/// An open connection in the table.
struct Connection {
    state: Mutex<State>,
    /// Cancelled when the connection has to make room.
    evicted: CancellationToken,
    /// Bytes read so far, after TLS.
    read: AtomicUsize,
    /// When bytes were last read or written, in milliseconds since [`START`].
    progress: AtomicU64,
}

/// The origin of progress times.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since [`START`].
fn milliseconds() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

struct State {
    /// Requests whose response has not ended.
    open: usize,
    /// Since when there is no open request.
    idle_since: Instant,
    /// Whether there was a request.
    served: bool,
}

impl Connection {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: 0,
                idle_since: Instant::now(),
                served: false,
            }),
            evicted: CancellationToken::new(),
            read: AtomicUsize::new(0),
            progress: AtomicU64::new(milliseconds()),
        }
    }

    /// Records that bytes were read or written.
    fn went_on(&self, bytes: usize) {
        if bytes > 0 {
            self.progress.store(milliseconds(), Ordering::Relaxed);
        }
    }

    /// Counts an open request until the returned guard is dropped.
    fn open(self: &Arc<Self>) -> OpenRequest {
        let mut state = self.state.lock();
        state.open += 1;
        state.served = true;
        OpenRequest(Arc::clone(self))
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.open == 0).then_some(state.idle_since)
    }

    /// When to check the connection again; `None` if its time is over.
    fn next_look(&self, accepted: Instant, limits: &Limits, now: Instant) -> Option<Instant> {
        let (open, idle_since, served) = {
            let state = self.state.lock();
            (state.open, state.idle_since, state.served)
        };
        let end = if !served && self.read.load(Ordering::Relaxed) < PREFACE {
            accepted + limits.header
        } else if open == 0 {
            idle_since + limits.idle
        } else {
            now + limits.idle
        };
        let end = match limits.lifetime {
            Some(lifetime) => end.min(accepted + lifetime),
            None => end,
        };
        (end > now).then_some(end)
    }
}

/// An open request of a connection.
struct OpenRequest(Arc<Connection>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.open -= 1;
        state.idle_since = Instant::now();
    }
}

/// The open connections of one listener.
#[derive(Default)]
struct Table {
    connections: Mutex<(u64, HashMap<u64, Arc<Connection>>)>,
}

impl Table {
    fn len(&self) -> usize {
        self.connections.lock().1.len()
    }

    fn add(self: &Arc<Self>) -> Place {
        let connection = Arc::new(Connection::new());
        let mut connections = self.connections.lock();
        connections.0 += 1;
        let number = connections.0;
        connections.1.insert(number, Arc::clone(&connection));
        Place {
            table: Arc::clone(self),
            number,
            connection,
        }
    }

    /// Closes the connection that has been without an open request for the longest time. If all have one, closes the
    /// one without progress for the longest time, if that time is at least `stalled`. False if there is none.
    fn evict(&self, stalled: Duration) -> bool {
        let mut connections = self.connections.lock();
        let all = || connections.1.iter();
        let idle = all()
            .filter_map(|(number, connection)| Some((connection.idle_since()?, *number)))
            .min();
        let number = match idle {
            Some((_, number)) => Some(number),
            None => {
                let since = |connection: &Connection| connection.progress.load(Ordering::Relaxed);
                let longest = all()
                    .map(|(number, connection)| (since(connection), *number))
                    .min();
                let silent = |at: u64| Duration::from_millis(milliseconds().saturating_sub(at));
                longest.and_then(|(at, number)| (silent(at) >= stalled).then_some(number))
            }
        };
        let Some(connection) = number.and_then(|number| connections.1.remove(&number)) else {
            return false;
        };
        connection.evicted.cancel();
        true
    }
}

/// The entry of a connection in the table; removed when dropped.
struct Place {
    table: Arc<Table>,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.connections.lock().1.remove(&self.number);
    }
}

/// Serves until `stop`, then waits until open requests have ended.
pub async fn serve<S, B>(
    listener: TcpListener,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    service: S,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (limits, table) = (Arc::new(limits), Arc::new(Table::default()));
    let open = metrics::gauge!("tether_connections", "listener" => limits.name);
    let mut tasks = JoinSet::new();
    let log = Throttle::new(1, 5);
    let mut pause = Duration::from_millis(10);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!("a connection of the {} listener failed: {error}", limits.name);
                }
                open.set(table.len() as f64);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                pause = Duration::from_millis(10);
                if table.len() >= limits.connections {
                    shed(limits.name, "full");
                    if let Some(suppressed) = log.admit() {
                        tracing::warn!(
                            suppressed,
                            "the {} listener has its maximum of {} connections: closing the one that is idle for longest",
                            limits.name,
                            limits.connections
                        );
                    }
                    if !table.evict(limits.stalled) {
                        continue;
                    }
                }
                // Without this, a response in two packets waits for the client's delayed acknowledgement: 40 ms per
                // call.
                let _ = socket.set_nodelay(true);
                tasks.spawn(connection(
                    socket,
                    table.add(),
                    Arc::clone(&limits),
                    tls.clone(),
                    service.clone(),
                    stop.clone(),
                ));
                open.set(table.len() as f64);
            }
            Err(error) if of_the_client(&error) => {}
            Err(error) => {
                // No descriptors or no memory: pausing is better than ending the listener.
                table.evict(limits.stalled);
                shed(limits.name, "accept");
                if let Some(suppressed) = log.admit() {
                    tracing::error!(
                        suppressed,
                        "the {} listener cannot accept connections: {error}",
                        limits.name
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    open.set(0.0);
}

fn shed(listener: &'static str, why: &'static str) {
    metrics::counter!("tether_connections_shed_total", "listener" => listener, "reason" => why).increment(1);
}

/// Errors of `accept` for a single connection, caused by its client.
fn of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::Interrupted | K::WouldBlock | K::TimedOut
    )
}

async fn connection<S, B>(
    socket: TcpStream,
    place: Place,
    limits: Arc<Limits>,
    tls: Option<TlsAcceptor>,
    service: S,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match tls {
        None => converse(socket, &place.connection, &limits, service, stop).await,
        Some(tls) => {
            let secured = tokio::select! {
                () = place.connection.evicted.cancelled() => return,
                () = stop.cancelled() => return,
                secured = tokio::time::timeout(limits.header, tls.accept(socket)) => secured,
            };
            match secured {
                Ok(Ok(socket)) => converse(socket, &place.connection, &limits, service, stop).await,
                Ok(Err(error)) => tracing::debug!("TLS handshake: {error}"),
                Err(_) => tracing::debug!("TLS handshake: took longer than {:?}", limits.header),
            }
        }
    }
}

/// Serves HTTP until the connection ends or its time is over.
async fn converse<S, B>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: &Arc<Connection>,
    limits: &Limits,
    service: S,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header);
    let builder = match limits.http2 {
        None => builder.http1_only(),
        Some(http2) => {
            builder
                .http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(http2.streams)
                .max_header_list_size(http2.header_list)
                .max_send_buf_size(SEND_BUFFER)
                .keep_alive_interval(http2.ping_after)
                .keep_alive_timeout(http2.ping_timeout);
            builder
        }
    };
    let counted = Arc::clone(connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let open = counted.open();
        let answered = service.clone().oneshot(request);
        async move {
            let response = answered.await?;
            // The request is open until its response has ended or was dropped.
            Ok::<_, S::Error>(response.map(|body| {
                body.map_frame(move |frame| {
                    let _held = &open;
                    frame
                })
            }))
        }
    });
    let socket = TokioIo::new(Counted {
        inner: socket,
        connection: Arc::clone(connection),
    });
    let mut conversation = std::pin::pin!(builder.serve_connection(socket, service));
    let accepted = Instant::now();
    let mut ending: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let look = match ending {
            Some(end) => end,
            None => match connection.next_look(accepted, limits, now) {
                Some(look) => look,
                None => {
                    conversation.as_mut().graceful_shutdown();
                    let end = now + GRACE.min(limits.header);
                    ending = Some(end);
                    end
                }
            },
        };
        tokio::select! {
            ended = conversation.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("the {} listener: {error}", limits.name);
                }
                return;
            }
            () = connection.evicted.cancelled() => return,
            () = stop.cancelled() => {
                conversation.as_mut().graceful_shutdown();
                // Waits for open requests without a limit; the caller of `serve` sets one.
                return finish(conversation, connection).await;
            }
            () = tokio::time::sleep_until(look) => {
                if ending.is_some() {
                    return;
                }
            }
        }
    }
}

/// Waits for the end of a connection that was asked to close.
async fn finish<F: Future>(conversation: Pin<&mut F>, connection: &Connection) {
    tokio::select! {
        _ = conversation => {}
        () = connection.evicted.cancelled() => {}
    }
}

/// A socket that counts the bytes read, and records when bytes are read or written.
struct Counted<S> {
    inner: S,
    connection: Arc<Connection>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.connection.read.fetch_add(read, Ordering::Relaxed);
        self.connection.went_on(read);
        polled
    }
}

impl<S> Counted<S> {
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.connection.went_on(bytes);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn half_of_the_descriptors_is_left_to_the_rest() {
        for limit in [64, 256, 1_024, 4_096, 65_536, 1_000_000] {
            let of = Descriptors::divide(limit);
            assert!(of.grpc + of.callback + of.admin <= limit / 2 + 16, "{of:?}");
        }
    }

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

    async fn serving_over(
        tls: Option<TlsAcceptor>,
        limits: Limits,
    ) -> (std::net::SocketAddr, CancellationToken) {
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
}
