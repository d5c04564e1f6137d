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

mod conversation;
mod descriptors;
mod limits;
mod table;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::telemetry::Throttle;
pub use descriptors::Descriptors;
pub use limits::{Http2, Limits};

use conversation::connection;
use table::Table;

/// Maximum pause after `accept` failed because of a lack of descriptors or memory.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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

#[cfg(test)]
mod tests;
