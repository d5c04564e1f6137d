//! Shared code of the tests.

pub(crate) mod alone;
pub(crate) mod answers;
pub(crate) mod companies;
pub(crate) mod connectors;
pub(crate) mod crm;
pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod logs;
pub(crate) mod person;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod reads;
pub(crate) mod server;
