//! What tests share.

pub mod connectors;
pub mod logs;
