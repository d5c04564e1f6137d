//! Credentials of accounts.
pub mod seal;
