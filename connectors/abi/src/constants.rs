//! The constants of the boundary with their names in C. Modules of this crate re-export them with shorter names.

/// The minor version of this header. A newer minor version only adds members at the end of the tables.
pub const TETHER_CONNECTOR_MINOR: u32 = 0;

/// The size of tether_host_api in minor version 0, in bytes: the smallest size of any host.
pub const TETHER_HOST_API_SIZE_0: u32 = 48;
/// The size of tether_connector_api in minor version 0, in bytes: the smallest size of any library.
pub const TETHER_CONNECTOR_API_SIZE_0: u32 = 56;

/// A result of open and tether_connector_v1: success.
pub const TETHER_OK: i32 = 0;
/// A result of open and tether_connector_v1: failure; the buffer has an encoded tether.connector.v1.Error.
pub const TETHER_ERROR: i32 = 1;

/// A log level: an unexpected failure.
pub const TETHER_LOG_ERROR: u32 = 1;
/// A log level: an unusual condition.
pub const TETHER_LOG_WARN: u32 = 2;
/// A log level: an ordinary event.
pub const TETHER_LOG_INFO: u32 = 3;
/// A log level: details for debugging.
pub const TETHER_LOG_DEBUG: u32 = 4;
/// A log level: everything.
pub const TETHER_LOG_TRACE: u32 = 5;

/// An event for notify: the instance caught a panic and processes no more calls. The host closes it and may open
/// another one.
pub const TETHER_EVENT_POISONED: u32 = 1;
