<<<<<<< HEAD
//! What tests share.

pub(crate) mod connectors;
pub(crate) mod logs;
=======
//! What the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

pub(crate) mod postgres;
>>>>>>> store
