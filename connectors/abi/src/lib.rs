//! The C ABI between the tether host and a connector library.
//!
//! It is small on purpose: one exported symbol, two tables of functions, six slots. What is said through it are the
//! protobuf messages of `tether.connector.v1`; new abilities are new messages, never new slots. `tether_connector.h`
//! beside this crate says the same to C and is held equal by a test; it is the longer read, and the specification.
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

pub use buffer::{Buffer, Slice};

/// The symbol a library exports, as the loader takes it.
pub const ENTRY_SYMBOL: &[u8] = b"tether_connector_v1\0";

/// The minor version of this description. A newer minor only adds at the end of the tables.
pub const MINOR: u32 = 0;

/// The sizes of the tables at minor 0: no peer has less.
pub const HOST_API_SIZE_0: u32 = 48;
/// As [`HOST_API_SIZE_0`].
pub const CONNECTOR_API_SIZE_0: u32 = 56;

/// What the functions that answer at once return.
pub mod status {
    /// Done.
    pub const OK: i32 = 0;
    /// Failed; the buffer has an encoded `tether.connector.v1.Error`.
    pub const ERROR: i32 = 1;
}

/// Levels of log lines.
pub mod level {
    /// Something failed that should not.
    pub const ERROR: u32 = 1;
    /// Something is odd.
    pub const WARN: u32 = 2;
    /// Something happened.
    pub const INFO: u32 = 3;
    /// For whoever looks into it.
    pub const DEBUG: u32 = 4;
    /// Everything.
    pub const TRACE: u32 = 5;
}

/// What a library tells about an instance unasked.
pub mod event {
    /// The connector panicked: the instance answers no more calls. The host closes it and may open another.
    pub const POISONED: u32 = 1;
}

/// The type of the exported symbol.
///
/// Copies what it keeps of `host`; both pointers are valid until it returns. On entry `out_api.struct_size` is what the
/// host has room for; on return it is what the library has filled. May be called more than once. On anything but
/// [`status::OK`] `err` is filled and `out_api` is not to be read.
pub type Entry =
    unsafe extern "C" fn(host: *const HostApi, out_api: *mut ConnectorApi, err: *mut Buffer) -> i32;

/// What the host offers. Its functions are good for as long as the process.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct HostApi {
    /// Size of the table as the host knows it.
    pub struct_size: u32,
    /// Minor version of the host.
    pub minor: u32,
    /// The least important level that the host keeps; what is below need not be sent.
    pub max_log_level: u32,
    /// Zero.
    pub reserved: u32,
    /// Answers a call: an encoded `CallResponse`, or `StreamEvent` for a pull. The buffer is the host's from here on.
    pub complete: Option<unsafe extern "C" fn(call: u64, answer: Buffer)>,
    /// Logs a line of UTF-8. `instance` is the number the host gave at `open`, 0 for none.
    pub log: Option<unsafe extern "C" fn(instance: u64, level: u32, target: Slice, message: Slice)>,
    /// Now, in unix microseconds.
    pub now_us: Option<unsafe extern "C" fn() -> i64>,
    /// Tells an [`event`] of an instance, by the number the host gave at `open`.
    pub notify: Option<unsafe extern "C" fn(instance: u64, event: u32)>,
}

/// What a library offers. Its functions are good for as long as the process: a library is never unloaded.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ConnectorApi {
    /// Size of the table: in, the room there is; out, what is filled.
    pub struct_size: u32,
    /// Minor version of the library.
    pub minor: u32,
    /// Opens an instance with an encoded `OpenRequest`; `host_instance` is what the host calls it. Answers a number,
    /// never 0, or [`status::ERROR`]. Several may be open at a time.
    pub open: Option<
        unsafe extern "C" fn(host_instance: u64, request: Slice, out: *mut u64, err: *mut Buffer) -> i32,
    >,
    /// Starts a call with an encoded `CallRequest`. `call` is a number that the host uses once in the process.
    pub call: Option<unsafe extern "C" fn(instance: u64, call: u64, request: Slice)>,
    /// Says that an answer is no longer wanted. It still comes, as CANCELLED where the call was not done. For any number,
    /// any number of times.
    pub cancel: Option<unsafe extern "C" fn(instance: u64, call: u64)>,
    /// Asks for the next event of a stream, with an encoded `StreamNext`. One at a time for a stream. A cancelled pull
    /// loses no event.
    pub stream_next: Option<unsafe extern "C" fn(instance: u64, call: u64, stream: u64, request: Slice)>,
    /// Ends a stream, at whatever point. For any number, any number of times.
    pub stream_close: Option<unsafe extern "C" fn(instance: u64, stream: u64)>,
    /// Closes an instance: every open call is answered before it returns, none after. For any number, any number of times.
    pub close: Option<unsafe extern "C" fn(instance: u64)>,
}

// Whoever changes a table must see that it is another one.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Slice>() == 16);
    assert!(size_of::<Buffer>() == 32);
    assert!(size_of::<HostApi>() == HOST_API_SIZE_0 as usize);
    assert!(size_of::<ConnectorApi>() == CONNECTOR_API_SIZE_0 as usize);
};

#[cfg(test)]
mod header;
