//! The C side of a library: the functions that [`export_connector!`](crate::export_connector) exports.
//!
//! Every function catches panics, looks up its instance by number, and does nothing if the number is unknown.

#![expect(unsafe_code, reason = "this is the library's side of the C ABI")]

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prost::Message;
pub use tether_connector_abi::{Buffer, ConnectorApi, HostApi, Slice};
use tether_connector_abi::{CONNECTOR_API_SIZE_0, HOST_API_SIZE_0, MINOR, event, level, status};

use crate::instance::{Asked, Instance, Outlet};
use crate::log::{Bridge, set_instance};
use crate::proto::{Error, OpenRequest};
use crate::{Connector, Host};

/// A library with one connector. The macro stores it in a static.
pub struct Library<C> {
    target: &'static str,
    host: OnceLock<HostApi>,
    instances: OnceLock<Mutex<HashMap<u64, Arc<Instance<C>>>>>,
    next: AtomicU64,
}

/// The callbacks of an instance to the host.
struct ToHost {
    host: HostApi,
    host_instance: u64,
}

impl Outlet for ToHost {
    fn complete(&self, call: u64, answer: Vec<u8>) {
        complete(&self.host, call, answer);
    }

    fn poisoned(&self) {
        if let Some(notify) = self.host.notify {
            // SAFETY: the host's functions are good for as long as the process.
            unsafe { notify(self.host_instance, event::POISONED) }
        }
    }
}

/// The part of a function table that both sides know; the rest has its default, null.
///
/// # Safety
///
/// `table` points to the first `size` bytes of a table.
unsafe fn read_table<T: Copy + Default>(table: *const T, size: u32) -> T {
    let mut known = T::default();
    let bytes = size_of::<T>().min(size as usize);
    // SAFETY: the source has `size` bytes, the target at least as many; they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(table.cast::<u8>(), (&raw mut known).cast::<u8>(), bytes) };
    known
}

/// Writes as much of a table as fits into `room`.
///
/// # Safety
///
/// `out` has at least `room` bytes.
unsafe fn fill_table<T: Copy>(out: *mut T, room: u32, table: &T) {
    let bytes = size_of::<T>().min(room as usize);
    // SAFETY: as above.
    unsafe { std::ptr::copy_nonoverlapping(std::ptr::from_ref(table).cast::<u8>(), out.cast::<u8>(), bytes) };
}

impl<C: Connector> Library<C> {
    /// For the connector's crate, `module_path!()`.
    #[must_use]
    pub const fn new(target: &'static str) -> Self {
        Self {
            target,
            host: OnceLock::new(),
            instances: OnceLock::new(),
            next: AtomicU64::new(1),
        }
    }

    /// The handshake.
    ///
    /// # Safety
    ///
    /// The pointers are those of `tether_connector_v1`, as the ABI says.
    pub unsafe fn handshake(
        &'static self,
        host: *const HostApi,
        out: *mut ConnectorApi,
        err: *mut Buffer,
        api: ConnectorApi,
    ) -> i32 {
        let done = catch_unwind(AssertUnwindSafe(|| {
            if host.is_null() || out.is_null() {
                return Err(Error::bug("the host gave no tables"));
            }
            // SAFETY: not null; each table begins with its size and has at least that size.
            let (host_size, room) = unsafe { ((*host).struct_size, (*out).struct_size) };
            if host_size < HOST_API_SIZE_0 || room < CONNECTOR_API_SIZE_0 {
                return Err(Error::bug(format!(
                    "the host's tables have {host_size} and {room} bytes, this library needs {HOST_API_SIZE_0} and \
                     {CONNECTOR_API_SIZE_0}"
                )));
            }
            // SAFETY: the host's table has the size that it states; the remaining functions are zero, that is,
            // absent.
            let host = unsafe { read_table(host, host_size) };
            if host.complete.is_none() || host.log.is_none() || host.now_us.is_none() || host.notify.is_none()
            {
                return Err(Error::bug("the host's table has gaps"));
            }
            // A second handshake comes from the same process, so the functions of the first remain valid.
            if self.host.set(host).is_ok() {
                self.take_over_logging(host);
            }
            // An older host has no room for functions that it does not know, and does not call them.
            let filled = room.min(size_of::<ConnectorApi>() as u32);
            let api = ConnectorApi {
                struct_size: filled,
                minor: MINOR,
                ..api
            };
            // SAFETY: the host's table has the room that it states.
            unsafe { fill_table(out, filled, &api) };
            Ok(())
        }));
        // SAFETY: `err` is the handshake's.
        unsafe { answer(done, err) }
    }

    /// Opens an instance.
    ///
    /// # Safety
    ///
    /// The arguments are those of the slot `open`, as the ABI says.
    pub unsafe fn open(&self, host_instance: u64, request: Slice, out: *mut u64, err: *mut Buffer) -> i32 {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let &host = self
                .host
                .get()
                .ok_or_else(|| Error::bug("open before the handshake"))?;
            // SAFETY: the request is lent until this function returns.
            let request = OpenRequest::decode(unsafe { request.bytes() })
                .map_err(|_| Error::bug("the open request is not a message"))?;
            let clock = move || match host.now_us {
                // SAFETY: the host's functions are good for as long as the process.
                Some(now_us) => unsafe { now_us() },
                None => 0,
            };
            // Log lines of `open` belong to the instance too.
            set_instance(host_instance);
            let handle = Host::new(clock, request.http.clone().unwrap_or_default());
            let outlet = Box::new(ToHost { host, host_instance });
            let opened = Instance::open(handle, request, outlet, move || set_instance(host_instance));
            set_instance(0);
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            self.instances().insert(number, Arc::new(opened?));
            if !out.is_null() {
                // SAFETY: `out` points to a number and is valid until this function returns.
                unsafe { out.write(number) };
            }
            Ok(())
        }));
        // SAFETY: `err` is the slot's.
        unsafe { answer(done, err) }
    }

    /// Starts a call.
    ///
    /// # Safety
    ///
    /// The arguments are those of the slot `call`, as the ABI says.
    pub unsafe fn call(&self, instance: u64, call: u64, request: Slice) {
        // SAFETY: the request is lent until this function returns.
        let request = unsafe { request.bytes() };
        self.with(instance, Some((Asked::Call, call)), |instance| {
            instance.call(call, request)
        });
    }

    /// Asks for an early answer.
    pub fn cancel(&self, instance: u64, call: u64) {
        self.with(instance, None, |instance| instance.cancel(call));
    }

    /// Pulls a stream.
    ///
    /// # Safety
    ///
    /// The arguments are those of the slot `stream_next`, as the ABI says.
    pub unsafe fn stream_next(&self, instance: u64, call: u64, stream: u64, request: Slice) {
        // SAFETY: the request is lent until this function returns.
        let request = unsafe { request.bytes() };
        self.with(instance, Some((Asked::Pull, call)), |instance| {
            instance.stream_next(call, stream, request)
        });
    }

    /// Ends a stream.
    pub fn stream_close(&self, instance: u64, stream: u64) {
        self.with(instance, None, |instance| instance.stream_close(stream));
    }

    /// Closes an instance.
    pub fn close(&self, instance: u64) {
        let closing = self.instances().remove(&instance);
        if let Some(instance) = closing {
            // If the connector's drop panics, the instance is removed nevertheless.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                instance.close();
                drop(instance);
            }));
        }
    }

    /// Runs a function on an instance. If the instance is unknown or the function panics, the call is answered with
    /// an error; the host ignores a second answer.
    fn with(&self, instance: u64, call: Option<(Asked, u64)>, entry: impl FnOnce(&Instance<C>)) {
        let found = self.instances().get(&instance).cloned();
        let done = catch_unwind(AssertUnwindSafe(|| found.map(|instance| entry(&instance))));
        let error = match done {
            Ok(Some(())) => return,
            Ok(None) => Error::cancelled("the connector is not open"),
            Err(_) => panicked(),
        };
        if let (Some((asked, call)), Some(host)) = (call, self.host.get()) {
            complete(host, call, asked.failed(error));
        }
    }

    fn instances(&self) -> MutexGuard<'_, HashMap<u64, Arc<Instance<C>>>> {
        let instances = self.instances.get_or_init(Mutex::default);
        instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over_logging(&'static self, host: HostApi) {
        // There may already be a subscriber when the library is linked into a test.
        let _ = tracing::subscriber::set_global_default(Bridge {
            host,
            target: self.target,
        });
        std::panic::set_hook(Box::new(move |info| {
            // Only the location: the message may contain data.
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            Bridge::line(&host, level::ERROR, self.target, &format!("panic at {place}"));
        }));
    }
}

/// Sends a log line to the host.
pub(crate) fn log(host: &HostApi, instance: u64, level: u32, target: &str, message: &str) {
    if let Some(log) = host.log {
        // SAFETY: the host's functions are good for as long as the process; both texts live until it returns.
        unsafe {
            log(
                instance,
                level,
                Slice::new(target.as_bytes()),
                Slice::new(message.as_bytes()),
            )
        }
    }
}

fn complete(host: &HostApi, call: u64, answer: Vec<u8>) {
    if let Some(complete) = host.complete {
        // SAFETY: the host's functions are good for as long as the process, and the ownership of the buffer passes to
        // the host.
        unsafe { complete(call, Buffer::from(answer)) }
    }
}

fn panicked() -> Error {
    Error::bug("the connector failed in a way it should not").code("connector.panicked")
}

/// Converts the result of a function into its status and error.
///
/// # Safety
///
/// `err` is null or valid for writing a buffer.
unsafe fn answer(done: std::thread::Result<Result<(), Error>>, err: *mut Buffer) -> i32 {
    let error = match done {
        Ok(Ok(())) => return status::OK,
        Ok(Err(error)) => error,
        Err(_) => panicked(),
    };
    if !err.is_null() {
        // SAFETY: the caller guarantees that `err` is valid; it contains nothing that has to be freed.
        unsafe { err.write(Buffer::from(error.encode_to_vec())) };
    }
    status::ERROR
}

/// Makes a crate of type `cdylib` a connector library: `export_connector!(MyCrm);`, once.
#[macro_export]
macro_rules! export_connector {
    ($connector:ty) => {
        // Each function passes on its arguments as the ABI defines them.
        #[allow(unsafe_code, clippy::undocumented_unsafe_blocks)]
        const _: () = {
            use $crate::export::{Buffer, ConnectorApi, HostApi, Library, Slice};

            static LIBRARY: Library<$connector> = Library::new(::core::module_path!());

            unsafe extern "C" fn open(
                host_instance: u64,
                request: Slice,
                out: *mut u64,
                err: *mut Buffer,
            ) -> i32 {
                unsafe { LIBRARY.open(host_instance, request, out, err) }
            }
            unsafe extern "C" fn call(instance: u64, call: u64, request: Slice) {
                unsafe { LIBRARY.call(instance, call, request) }
            }
            unsafe extern "C" fn cancel(instance: u64, call: u64) {
                LIBRARY.cancel(instance, call)
            }
            unsafe extern "C" fn stream_next(instance: u64, call: u64, stream: u64, request: Slice) {
                unsafe { LIBRARY.stream_next(instance, call, stream, request) }
            }
            unsafe extern "C" fn stream_close(instance: u64, stream: u64) {
                LIBRARY.stream_close(instance, stream)
            }
            unsafe extern "C" fn close(instance: u64) {
                LIBRARY.close(instance)
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn tether_connector_v1(
                host: *const HostApi,
                out_api: *mut ConnectorApi,
                err: *mut Buffer,
            ) -> i32 {
                let api = ConnectorApi {
                    struct_size: 0,
                    minor: 0,
                    open: Some(open),
                    call: Some(call),
                    cancel: Some(cancel),
                    stream_next: Some(stream_next),
                    stream_close: Some(stream_close),
                    close: Some(close),
                };
                unsafe { LIBRARY.handshake(host, out_api, err, api) }
            }
        };
    };
}

#[cfg(test)]
mod tests;
