//! What tests of connectors against a simulator share: the simulator's process and control interface, logins and
//! other calls as a host makes them, and a host that stores what a stream reads.
//!
//! A connector's tests add what only its CRM has: the connector's settings, the form of the simulator's expected
//! rows, and the requests that a connector may send.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "used by tests only: a test that cannot go on fails"
)]

mod calls;
mod currency;
mod host;
mod payload;
mod simulator;

pub use calls::{
    REDIRECT, authorize_url, begin, connection, exchange, fetch, list_fields, log_in, open, refresh, revoke,
    select, select_all,
};
pub use currency::with_currency;
pub use host::{Outcome, Reading, Store, failures, read_all, read_into};
pub use payload::{assert_fields, moment_us};
pub use simulator::Simulator;
