//! The two tables of functions and the handshake that exchanges them. Comments here are the header's too: no links.

use crate::buffer::{Buffer, Slice};

/// What the host offers. Copied by the library during the handshake; its functions are good until the process ends.
#[derive(Clone, Copy, Debug, Default)]
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
    /// Answers a call with an encoded CallResponse, a pull with an encoded StreamEvent. The buffer is the host's from
    /// here on.
    pub complete: Option<unsafe extern "C" fn(call: u64, answer: Buffer)>,
    /// Logs a line of UTF-8 without secrets. instance is the number that the host gave at open, 0 for none.
    pub log: Option<unsafe extern "C" fn(instance: u64, level: u32, target: Slice, message: Slice)>,
    /// Now, in unix microseconds.
    pub now_us: Option<unsafe extern "C" fn() -> i64>,
    /// Tells an event of an instance, by the number that the host gave at open.
    pub notify: Option<unsafe extern "C" fn(instance: u64, event: u32)>,
}

/// What a library offers. All six functions are there, and good until the process ends: a library is never unloaded.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ConnectorApi {
    /// Size of the table: in, the room there is; out, what is filled.
    pub struct_size: u32,
    /// Minor version of the library.
    pub minor: u32,
    /// Opens an instance with an encoded OpenRequest; host_instance is what the host calls it. On TETHER_OK *out is a
    /// number other than 0, on TETHER_ERROR *err is filled. Several may be open at a time.
    pub open: Option<
        unsafe extern "C" fn(host_instance: u64, request: Slice, out: *mut u64, err: *mut Buffer) -> i32,
    >,
    /// Starts a call with an encoded CallRequest. The host uses each number once in the process, for calls and pulls.
    pub call: Option<unsafe extern "C" fn(instance: u64, call: u64, request: Slice)>,
    /// Says that an answer to a call or pull is no longer wanted. It still comes, as CANCELLED where it was not ready. For
    /// any number, any number of times. A cancelled pull loses no event.
    pub cancel: Option<unsafe extern "C" fn(instance: u64, call: u64)>,
    /// Asks for the next event of a stream with an encoded StreamNext. One at a time for a stream.
    pub stream_next: Option<unsafe extern "C" fn(instance: u64, call: u64, stream: u64, request: Slice)>,
    /// Ends a stream, at whatever point; an open pull of it is answered. For any number, any number of times.
    pub stream_close: Option<unsafe extern "C" fn(instance: u64, stream: u64)>,
    /// Closes an instance: every open call is answered before it returns, none after. For any number, any number of times.
    pub close: Option<unsafe extern "C" fn(instance: u64)>,
}

/// The type of the exported function.
///
/// Copies what it keeps of host; both tables are valid until it returns. On entry out_api->struct_size is the room that
/// the host has, on return what the library has filled. May be called more than once. On anything but TETHER_OK *err is
/// filled and *out_api is not read.
pub type Entry =
    unsafe extern "C" fn(host: *const HostApi, out_api: *mut ConnectorApi, err: *mut Buffer) -> i32;

// Whoever changes a table must see that it is another one.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Slice>() == 16);
    assert!(size_of::<Buffer>() == 32);
    assert!(size_of::<HostApi>() == crate::HOST_API_SIZE_0 as usize);
    assert!(size_of::<ConnectorApi>() == crate::CONNECTOR_API_SIZE_0 as usize);
};
