//! tether: the CRM integration service.

pub mod domain;
pub mod store;
