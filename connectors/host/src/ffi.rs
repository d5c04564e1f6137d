//! Loads libraries and calls them: the only unsafe code of the server.
//!
//! This module keeps the rules of the C ABI for hosts: the size of tables is checked, a library is never unloaded,
//! the library gets numbers instead of pointers, and no panic unwinds into the library.

#![expect(unsafe_code, reason = "this is the host's side of the C ABI")]

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tether_connector_abi as abi;
use tether_connector_abi::{Buffer, ConnectorApi, Entry, HostApi, Slice};

use super::call_table::CallTable;
use super::lines::{self, Line, Lines};
use super::numbers::Numbers;
use super::private_copy::{PrivateCopy, verify};
use super::upstream::Upstream;
use super::{LoadError, proto, texts};

/// All calls and pulls of this process that wait for an answer.
pub(super) static CALLS: LazyLock<Arc<CallTable>> = LazyLock::new(Arc::default);

static INSTANCES: RwLock<Vec<(u64, Weak<Instance>)>> = RwLock::new(Vec::new());
static NUMBERS: LazyLock<Numbers> = LazyLock::new(Numbers::default);

/// Log limit for lines with an unknown instance.
static NOBODYS_LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

/// Number of answers for unknown or completed calls.
pub(super) static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// In a child process: where messages of the library are sent, and the least important level of log lines.
static UPSTREAM: OnceLock<(&'static Upstream, u32)> = OnceLock::new();

/// From now on, messages of libraries are sent to the server that started this process.
pub(super) fn pass_on(upstream: &'static Upstream, max_log_level: u32) {
    // A child process has only one connector.
    let _ = UPSTREAM.set((upstream, max_log_level));
}

/// The state of an open instance, used by callbacks of its library.
#[derive(Debug)]
pub(super) struct Instance {
    /// The name of the connector.
    pub(super) name: String,
    poisoned: AtomicBool,
    failure: Mutex<Option<String>>,
    lines: Lines,
}

impl Instance {
    /// Registers an instance and gives it a number.
    pub(super) fn register(name: &str) -> (u64, Arc<Self>) {
        let number = NUMBERS.next();
        let instance = Arc::new(Self {
            name: name.to_owned(),
            poisoned: AtomicBool::new(false),
            failure: Mutex::default(),
            lines: Lines::default(),
        });
        let mut instances = INSTANCES.write();
        instances.retain(|(_, instance)| instance.strong_count() > 0);
        instances.push((number, Arc::downgrade(&instance)));
        (number, instance)
    }

    fn find(number: u64) -> Option<Arc<Self>> {
        let instances = INSTANCES.read();
        instances
            .iter()
            .find(|(other, _)| *other == number)
            .and_then(|(_, instance)| instance.upgrade())
    }

    /// Marks the instance as failed: it no longer answers, or did not answer in time. The first reason is kept.
    pub(super) fn fail(&self, why: &str) {
        self.failure.lock().get_or_insert_with(|| why.to_owned());
        self.poisoned.store(true, Ordering::Release);
    }

    /// Why it must be reopened.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Whether it must be reopened.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }
}

/// A loaded library. It is never unloaded: its threads may run and its functions may be called until the process
/// ends.
#[derive(Debug)]
pub(super) struct Library {
    slots: Slots,
    _library: ManuallyDrop<libloading::Library>,
}

/// The functions of a checked table.
#[derive(Clone, Copy, Debug)]
struct Slots {
    open: unsafe extern "C" fn(u64, Slice, *mut u64, *mut Buffer) -> i32,
    call: unsafe extern "C" fn(u64, u64, Slice),
    cancel: unsafe extern "C" fn(u64, u64),
    stream_next: unsafe extern "C" fn(u64, u64, u64, Slice),
    stream_close: unsafe extern "C" fn(u64, u64),
    close: unsafe extern "C" fn(u64),
}

impl Library {
    /// Loads a library if its hash matches, and runs the handshake. Blocks.
    pub(super) fn load(path: &Path, sha256: &str) -> Result<Self, LoadError> {
        let copy = PrivateCopy::of(path, sha256)?;
        Self::load_copy(copy.as_ref().map(PrivateCopy::path), path, sha256)
    }

    /// Loads a library from a private copy that is verified already. Without a copy, or if code cannot be run from
    /// its folder (a temporary folder may be mounted with `noexec`), loads the original file. Blocks.
    pub(super) fn load_copy(copy: Option<&Path>, path: &Path, sha256: &str) -> Result<Self, LoadError> {
        if let Some(Ok(library)) = copy.map(Self::load_verified) {
            return Ok(library);
        }
        // An error of the library itself is reported again here, with its own path.
        verify(path, sha256)?;
        Self::load_verified(path)
    }

    fn load_verified(path: &Path) -> Result<Self, LoadError> {
        let wrong = |reason: String| LoadError::Library {
            path: path.to_owned(),
            reason,
        };
        // SAFETY: loading runs the library's initializers. The operator installed it, its hash is that of the
        // manifest, and connectors without this trust run in a child process.
        let library = unsafe { open_library(path) }.map_err(|error| wrong(error.to_string()))?;
        let library = ManuallyDrop::new(library);
        // SAFETY: a symbol of this name has this type, because the major version is part of the name.
        let entry = unsafe { library.get::<Entry>(abi::ENTRY_SYMBOL) };
        let entry = entry.map(|symbol| *symbol).map_err(|_| {
            let symbol = String::from_utf8_lossy(&abi::ENTRY_SYMBOL[..abi::ENTRY_SYMBOL.len() - 1]);
            wrong(format!(
                "it does not export {symbol}: not a connector, or one for another version of tether"
            ))
        })?;
        let slots = handshake(entry).map_err(wrong)?;
        Ok(Self {
            slots,
            _library: library,
        })
    }

    /// Opens an instance and returns the library's number for it. Blocks.
    pub(super) fn open(&self, host_instance: u64, request: &[u8]) -> Result<u64, proto::Error> {
        let (mut number, mut error) = (0, Buffer::empty());
        // SAFETY: the request and both output places live until it returns.
        let status =
            unsafe { (self.slots.open)(host_instance, Slice::new(request), &mut number, &mut error) };
        match (status, number) {
            (abi::status::OK, 1..) => Ok(number),
            (abi::status::OK, 0) => Err(proto::Error::bug("it opened without a number")),
            _ => Err(read_error(&error)),
        }
    }

    /// Starts a call.
    pub(super) fn call(&self, instance: u64, call: u64, request: &[u8]) {
        // SAFETY: the request lives until it returns; any number is allowed.
        unsafe { (self.slots.call)(instance, call, Slice::new(request)) }
    }

    /// Asks for an early answer.
    pub(super) fn cancel(&self, instance: u64, call: u64) {
        // SAFETY: any number is allowed.
        unsafe { (self.slots.cancel)(instance, call) }
    }

    /// Requests the next event of a stream.
    pub(super) fn stream_next(&self, instance: u64, call: u64, stream: u64, request: &[u8]) {
        // SAFETY: the request lives until it returns; any number is allowed.
        unsafe { (self.slots.stream_next)(instance, call, stream, Slice::new(request)) }
    }

    /// Ends a stream.
    pub(super) fn stream_close(&self, instance: u64, stream: u64) {
        // SAFETY: any number is allowed.
        unsafe { (self.slots.stream_close)(instance, stream) }
    }

    /// Closes an instance. Blocks.
    pub(super) fn close(&self, instance: u64) {
        // SAFETY: any number is allowed.
        unsafe { (self.slots.close)(instance) }
    }
}

/// # Safety
///
/// The same as for [`libloading::Library::new`]: the library's initializers run.
unsafe fn open_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // All symbols are resolved now, so that a missing one is an error here and not a crash later. The library's
        // symbols are not visible to other libraries.
        // SAFETY: guaranteed by the caller.
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
    }
    #[cfg(not(unix))]
    // SAFETY: guaranteed by the caller.
    unsafe {
        libloading::Library::new(path)
    }
}

fn handshake(entry: Entry) -> Result<Slots, String> {
    let host = HostApi {
        struct_size: size_of::<HostApi>() as u32,
        minor: abi::MINOR,
        max_log_level: max_log_level(),
        reserved: 0,
        complete: Some(complete),
        log: Some(log),
        now_us: Some(now_us),
        notify: Some(notify),
    };
    let room = size_of::<ConnectorApi>() as u32;
    let mut api = ConnectorApi {
        struct_size: room,
        ..ConnectorApi::default()
    };
    let mut error = Buffer::empty();
    // SAFETY: the three arguments live until it returns, and the symbol name guarantees the type of the function.
    let status = unsafe { entry(&host, &mut api, &mut error) };
    if status != abi::status::OK {
        return Err(format!("it refused this host: {}", read_error(&error)));
    }
    check(&api, room)
}

fn check(api: &ConnectorApi, room: u32) -> Result<Slots, String> {
    let size = api.struct_size;
    if size < abi::CONNECTOR_API_SIZE_0 || size > room {
        let least = abi::CONNECTOR_API_SIZE_0;
        return Err(format!(
            "its table has {size} bytes; this host reads {least} to {room}"
        ));
    }
    let gap = |slot: &str| format!("its table has no {slot}");
    Ok(Slots {
        open: api.open.ok_or_else(|| gap("open"))?,
        call: api.call.ok_or_else(|| gap("call"))?,
        cancel: api.cancel.ok_or_else(|| gap("cancel"))?,
        stream_next: api.stream_next.ok_or_else(|| gap("stream_next"))?,
        stream_close: api.stream_close.ok_or_else(|| gap("stream_close"))?,
        close: api.close.ok_or_else(|| gap("close"))?,
    })
}

fn read_error(buffer: &Buffer) -> proto::Error {
    match texts::decode::<proto::Error>(Bytes::copy_from_slice(buffer.as_ref())) {
        Ok(error) if !buffer.as_ref().is_empty() => error,
        _ => proto::Error::bug("it failed and did not say why"),
    }
}

unsafe extern "C" fn complete(call: u64, answer: Buffer) {
    // A panic must not unwind into the library; without this it would abort the process.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let answer = Bytes::from_owner(answer);
        match UPSTREAM.get() {
            Some((upstream, _)) => upstream.complete(call, answer),
            None if CALLS.complete(call, answer) => {}
            None => drop(UNEXPECTED.fetch_add(1, Ordering::Relaxed)),
        }
    }));
}

unsafe extern "C" fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

unsafe extern "C" fn notify(instance: u64, event: u32) {
    let _ = catch_unwind(|| {
        if let Some((upstream, _)) = UPSTREAM.get() {
            upstream.notify(event);
        } else if event == abi::event::POISONED
            && let Some(instance) = Instance::find(instance)
        {
            instance.fail("it reported that it has failed");
        }
    });
}

unsafe extern "C" fn log(instance: u64, level: u32, target: Slice, message: Slice) {
    let _ = catch_unwind(|| {
        // SAFETY: both slices are valid until this function returns.
        let (target, message) = unsafe { (target.bytes(), message.bytes()) };
        if let Some((upstream, _)) = UPSTREAM.get() {
            return upstream.log(level, target, message);
        }
        let instance = Instance::find(instance);
        let connector = instance.as_ref().map_or("", |instance| instance.name.as_str());
        let lines = instance
            .as_ref()
            .map_or(&*NOBODYS_LINES, |instance| &instance.lines);
        if let Line::Logged { dropped } = lines.one() {
            if dropped > 0 {
                log_line(
                    connector,
                    abi::level::WARN,
                    target,
                    lines::lost(dropped).as_bytes(),
                );
            }
            log_line(connector, level, target, message);
        }
    });
}

/// Writes a log line of a connector to the server's log.
pub(super) fn log_line(connector: &str, level: u32, target: &[u8], message: &[u8]) {
    let (target, message) = (String::from_utf8_lossy(target), String::from_utf8_lossy(message));
    macro_rules! line {
        ($level:ident) => {
            tracing::event!(target: "tether::connector", tracing::Level::$level, connector, from = %target, "{message}")
        };
    }
    match level {
        abi::level::ERROR => line!(ERROR),
        abi::level::WARN => line!(WARN),
        abi::level::INFO => line!(INFO),
        abi::level::DEBUG => line!(DEBUG),
        _ => line!(TRACE),
    }
}

/// The least important level of log lines that is kept.
pub(super) fn max_log_level() -> u32 {
    if let Some((_, level)) = UPSTREAM.get() {
        return *level;
    }
    use tracing::level_filters::LevelFilter;
    match LevelFilter::current() {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => abi::level::ERROR,
        LevelFilter::WARN => abi::level::WARN,
        LevelFilter::INFO => abi::level::INFO,
        LevelFilter::DEBUG => abi::level::DEBUG,
        LevelFilter::TRACE => abi::level::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    unsafe extern "C" fn refuses(_: *const HostApi, _: *mut ConnectorApi, err: *mut Buffer) -> i32 {
        let error = proto::Error::configuration("too old");
        // SAFETY: `err` points to writable memory for a buffer.
        unsafe { err.write(Buffer::from(error.encode_to_vec())) };
        abi::status::ERROR
    }

    unsafe extern "C" fn fills_nothing(_: *const HostApi, _: *mut ConnectorApi, _: *mut Buffer) -> i32 {
        abi::status::OK
    }

    unsafe extern "C" fn fills_little(_: *const HostApi, out: *mut ConnectorApi, _: *mut Buffer) -> i32 {
        // SAFETY: `out` points to the host's table.
        unsafe { (*out).struct_size = 16 };
        abi::status::OK
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        assert!(handshake(refuses).unwrap_err().contains("too old"));
        assert!(handshake(fills_nothing).unwrap_err().contains("no open"));
        assert!(handshake(fills_little).unwrap_err().contains("16 bytes"));
    }
}
