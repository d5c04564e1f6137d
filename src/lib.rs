//! tether: the CRM integration service.
pub mod proto;
