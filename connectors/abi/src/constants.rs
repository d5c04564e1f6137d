//! The numbers of the boundary under the names that C knows them by. The crate's modules name them shorter.

/// The minor version of this description. A newer minor only adds at the end of the tables.
pub const TETHER_CONNECTOR_MINOR: u32 = 0;

/// The size of tether_host_api at minor 0, in bytes: no host has less.
pub const TETHER_HOST_API_SIZE_0: u32 = 48;
/// The size of tether_connector_api at minor 0, in bytes: no library has less.
pub const TETHER_CONNECTOR_API_SIZE_0: u32 = 56;

/// What open and tether_connector_v1 return: done.
pub const TETHER_OK: i32 = 0;
/// What they return when they failed; the buffer has an encoded tether.connector.v1.Error.
pub const TETHER_ERROR: i32 = 1;

/// A log line: something failed that should not.
pub const TETHER_LOG_ERROR: u32 = 1;
/// A log line: something is odd.
pub const TETHER_LOG_WARN: u32 = 2;
/// A log line: something happened.
pub const TETHER_LOG_INFO: u32 = 3;
/// A log line: for whoever looks into it.
pub const TETHER_LOG_DEBUG: u32 = 4;
/// A log line: everything.
pub const TETHER_LOG_TRACE: u32 = 5;

/// An event told through notify: the instance caught a panic and answers no more calls. The host closes it and may open
/// another.
pub const TETHER_EVENT_POISONED: u32 = 1;
