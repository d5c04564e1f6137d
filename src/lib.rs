//! The library of the server; `main.rs` is its command line.

pub mod connectors;
