//! The C ABI between the tether host and a connector library.
//!
//! It is deliberately small: one exported symbol, two tables of functions, six slots. The data are the protobuf
//! messages of `tether.connector.v1`; new features are new messages, never new slots. `tether_connector.h` beside
//! this crate is generated from these types (`header.rs`) and begins with a longer description; `connectors/SPEC.md`
//! has the numbered rules for both sides.
//!
//! Summary:
//!
//! - **Handshake.** The host finds [`ENTRY_SYMBOL`], passes its [`HostApi`] and receives a [`ConnectorApi`]. The major
//!   version is in the symbol's name. Each side reads the other's table only up to its `struct_size`.
//! - **Handles are numbers** which the receiving side looks up. A stale or unknown one is ignored.
//! - **Threads.** Every function of both tables may be called from any thread, concurrently with any other, and must
//!   return soon; the exceptions are `open` and `close`, which may take seconds. No call blocks on another.
//! - **Completions.** [`ConnectorApi::call`] and [`ConnectorApi::stream_next`] are answered by [`HostApi::complete`]
//!   exactly once, from any thread, possibly before they return. The host may call functions of the table inside it.
//! - **Memory.** A [`Slice`] is borrowed and valid until the function that receives it returns. A [`Buffer`] is owned by
//!   its holder, who frees it through the function in it, once, on any thread.
//! - **Unwinding** never crosses the boundary: each side catches its own panics.

// The only code with raw pointers, except for the glue of the SDK and the loader of the host.
#![expect(unsafe_code, reason = "this crate is the boundary to C")]

mod buffer;
mod constants;
mod tables;

pub use buffer::{Buffer, Slice};
pub use constants::{
    TETHER_CONNECTOR_API_SIZE_0 as CONNECTOR_API_SIZE_0, TETHER_CONNECTOR_MINOR as MINOR,
    TETHER_HOST_API_SIZE_0 as HOST_API_SIZE_0,
};
pub use tables::{ConnectorApi, Entry, HostApi};

/// The symbol a library exports, as the loader takes it.
pub const ENTRY_SYMBOL: &[u8] = b"tether_connector_v1\0";

/// Results of the functions that return at once.
pub mod status {
    pub use crate::constants::{TETHER_ERROR as ERROR, TETHER_OK as OK};
}

/// Levels of log lines.
pub mod level {
    pub use crate::constants::{
        TETHER_LOG_DEBUG as DEBUG, TETHER_LOG_ERROR as ERROR, TETHER_LOG_INFO as INFO,
        TETHER_LOG_TRACE as TRACE, TETHER_LOG_WARN as WARN,
    };
}

/// Events that a library reports about an instance.
pub mod event {
    pub use crate::constants::TETHER_EVENT_POISONED as POISONED;
}

#[cfg(test)]
mod compiler;
#[cfg(test)]
mod frozen;
#[cfg(test)]
mod header;
