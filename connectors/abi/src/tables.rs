//! The two tables of functions and the handshake that exchanges them. Comments here are the header's too: no links.

use crate::buffer::{Buffer, Slice};

/// The functions of the host. The library copies the table during the handshake; the functions stay valid until the
/// process ends.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct HostApi {
    /// The size of the table in the host's version.
    pub struct_size: u32,
    /// The minor version of the host.
    pub minor: u32,
    /// The least important level that the host logs; less important lines need not be sent.
    pub max_log_level: u32,
    /// Zero.
    pub reserved: u32,
    /// Answers a call with an encoded CallResponse, a pull with an encoded StreamEvent. The buffer then belongs to the
    /// host.
    pub complete: Option<unsafe extern "C" fn(call: u64, answer: Buffer)>,
    /// Logs a line of UTF-8 without secrets. instance is the host_instance of open, or 0 for none.
    pub log: Option<unsafe extern "C" fn(instance: u64, level: u32, target: Slice, message: Slice)>,
    /// The current time, in unix microseconds.
    pub now_us: Option<unsafe extern "C" fn() -> i64>,
    /// Reports an event of an instance, by the host_instance of open.
    pub notify: Option<unsafe extern "C" fn(instance: u64, event: u32)>,
}

/// The functions of a library. All six must be set, and stay valid until the process ends: a library is never
/// unloaded.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ConnectorApi {
    /// The size of the table: on entry the available size, on return the filled size.
    pub struct_size: u32,
    /// The minor version of the library.
    pub minor: u32,
    /// Opens an instance with an encoded OpenRequest; host_instance is the host's number for it. On TETHER_OK *out is a
    /// number other than 0, on TETHER_ERROR *err is filled. Several instances may be open at a time.
    pub open: Option<
        unsafe extern "C" fn(host_instance: u64, request: Slice, out: *mut u64, err: *mut Buffer) -> i32,
    >,
    /// Starts a call with an encoded CallRequest. The host uses each number only once per process, for calls and pulls
    /// together.
    pub call: Option<unsafe extern "C" fn(instance: u64, call: u64, request: Slice)>,
    /// Cancels a call or pull. It is still answered, with CANCELLED if the answer was not ready. May be called for any
    /// number, any number of times. A cancelled pull loses no event.
    pub cancel: Option<unsafe extern "C" fn(instance: u64, call: u64)>,
    /// Requests the next event of a stream with an encoded StreamNext. One pull per stream at a time.
    pub stream_next: Option<unsafe extern "C" fn(instance: u64, call: u64, stream: u64, request: Slice)>,
    /// Closes a stream at any point; its open pull is answered. May be called for any number, any number of times.
    pub stream_close: Option<unsafe extern "C" fn(instance: u64, stream: u64)>,
    /// Closes an instance: every open call is answered before this function returns, none afterwards. May be called for
    /// any number, any number of times.
    pub close: Option<unsafe extern "C" fn(instance: u64)>,
}

/// The type of the exported function.
///
/// The library copies what it needs of host; both tables are valid until the function returns. On entry
/// out_api->struct_size is the available size, on return the size that the library has filled. It may be called
/// more than once. On any result except TETHER_OK *err is filled and *out_api is not read.
pub type Entry =
    unsafe extern "C" fn(host: *const HostApi, out_api: *mut ConnectorApi, err: *mut Buffer) -> i32;

// A changed size shows that a table was changed.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Slice>() == 16);
    assert!(size_of::<Buffer>() == 32);
    assert!(size_of::<HostApi>() == crate::HOST_API_SIZE_0 as usize);
    assert!(size_of::<ConnectorApi>() == crate::CONNECTOR_API_SIZE_0 as usize);
};
