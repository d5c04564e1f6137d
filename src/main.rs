//! tether: the CRM integration service.
fn main() {}
