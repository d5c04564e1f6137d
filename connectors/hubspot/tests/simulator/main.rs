//! The connector against a simulated HubSpot on loopback.
#![warn(clippy::too_many_lines)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail, and says so"
)]

mod changes;
mod fetch;
mod fields;
mod harness;
mod login;
mod proof;
mod read;
