//! The limits of a listener.

use std::time::Duration;

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
