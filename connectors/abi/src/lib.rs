//! The C ABI between the tether host and a connector library.
//!
//! It is small on purpose: one exported symbol, two tables of functions, six slots. What is said through it are the
//! protobuf messages of `tether.connector.v1`; new abilities are new messages, never new slots. `tether_connector.h`
//! beside this crate is generated from these types (`header.rs`) and begins with the longer read; `connectors/SPEC.md`
//! numbers what either side must do.
//!
//! In short:
//!
//! - **Handshake.** The host finds [`ENTRY_SYMBOL`], hands in its [`HostApi`] and gets a [`ConnectorApi`]. The major
//!   version is in the symbol's name. Each side reads of the other's table only what lies below its `struct_size`.
//! - **Handles are numbers** which the receiving side looks up. A stale or made-up one is harmless.
//! - **Threads.** Every function of both tables may be called from any thread, at the same time as any other, and must
//!   return soon; the exceptions are `open` and `close`, which may take seconds. No call blocks on another.
//! - **Completions.** [`ConnectorApi::call`] and [`ConnectorApi::stream_next`] are answered by [`HostApi::complete`]
//!   exactly once, from any thread, maybe before they return. The host may call back into the table from inside of it.
//! - **Memory.** A [`Slice`] is borrowed and dies when the function it was given to returns. A [`Buffer`] is owned by
//!   whoever holds it and freed through the function it carries, once, on any thread.
//! - **Unwinding** never crosses: each side catches its own panics.

// The one place, beside the glue of the SDK and the loader of the host, where raw pointers are touched.
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

/// What the functions that answer at once return.
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

/// What a library tells about an instance unasked.
pub mod event {
    pub use crate::constants::TETHER_EVENT_POISONED as POISONED;
}

#[cfg(test)]
mod compiler;
#[cfg(test)]
mod frozen;
#[cfg(test)]
mod header;
