//! One connection, from the handshake to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future::Future, pin::Pin};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::limits::Limits;
use super::table::{Connection, Entry};

/// How long a connection may take to close after it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Maximum number of bytes per HTTP/2 stream that are buffered for a slow client.
const SEND_BUFFER: usize = 128 << 10;

/// Serves one connection: the TLS handshake if there is TLS, then HTTP.
pub(super) async fn connection<S, B>(
    socket: TcpStream,
    entry: Entry,
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
        None => converse(socket, &entry.connection, &limits, service, stop).await,
        Some(tls) => {
            let secured = tokio::select! {
                () = entry.connection.evicted.cancelled() => return,
                () = stop.cancelled() => return,
                secured = tokio::time::timeout(limits.header, tls.accept(socket)) => secured,
            };
            match secured {
                Ok(Ok(socket)) => converse(socket, &entry.connection, &limits, service, stop).await,
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
