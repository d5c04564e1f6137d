//! tether: the CRM integration service. ARCHITECTURE.md shows the way through.

pub mod admin;
pub mod caller;
pub mod config;
pub mod error;
pub mod grants;
pub mod identity;
pub mod policy;
pub mod proto;
pub mod telemetry;
pub mod tokens;
pub mod value;
