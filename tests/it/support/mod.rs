//! What tests share.

pub(crate) mod connectors;
pub(crate) mod logs;
