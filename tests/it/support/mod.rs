//! Shared code of the tests.

pub(crate) mod alone;
pub(crate) mod companies;
pub(crate) mod connectors;
pub(crate) mod logs;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod server;
