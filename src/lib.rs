//! tether: the CRM integration service. ARCHITECTURE.md shows the way through.

pub mod caller;
pub mod config;
pub mod error;
pub mod grants;
pub mod identity;
pub mod policy;
pub mod tokens;
