//! The connector against the simulator, over HTTP, through the SDK, from the host's point of view.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bulk;
mod bulk_crash;
mod bulk_faults;
mod fetch;
mod fields;
mod harness;
mod login;
mod proof;
mod read;
