//! The server's integration tests: one binary, since linking costs more than running.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may fail, and says so"
)]

mod boundary;
mod crm;
mod errors;
mod filters;
mod guides;
mod house;
mod policy;
mod proof;
mod search;
mod store;
mod support;
