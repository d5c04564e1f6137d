//! `tracing` inside a library: events are sent to the host.
//!
//! Statics are per library, so this subscriber sees the events of this library only. Only lines of the connector and
//! of the SDK are sent: lines of HTTP and TLS libraries may contain addresses and headers.

use std::cell::Cell;
use std::fmt::Write;

use tether_connector_abi::{HostApi, level};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

thread_local! {
    /// The instance that this thread belongs to, by the host's number; 0 for none.
    static INSTANCE: Cell<u64> = const { Cell::new(0) };
}

/// Assigns this thread to an instance.
pub(crate) fn set_instance(host_instance: u64) {
    INSTANCE.set(host_instance);
}

/// Sends events to the host.
pub(crate) struct Bridge {
    pub(crate) host: HostApi,
    /// The connector's crate.
    pub(crate) target: &'static str,
}

impl Bridge {
    /// Logs a line; may be called from any thread.
    pub(crate) fn line(host: &HostApi, level: u32, target: &str, message: &str) {
        crate::export::log(host, INSTANCE.get(), level, target, message);
    }
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let ours = [self.target, "tether_connector_sdk"].iter().any(|own| {
            target
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        ours && number(*metadata.level()) <= self.host.max_log_level
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Spans are not sent to the host; events contain what is needed.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        Self::line(
            &self.host,
            number(*metadata.level()),
            metadata.target(),
            &line.finish(),
        );
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

fn number(of: Level) -> u32 {
    match of {
        Level::ERROR => level::ERROR,
        Level::WARN => level::WARN,
        Level::INFO => level::INFO,
        Level::DEBUG => level::DEBUG,
        Level::TRACE => level::TRACE,
    }
}
