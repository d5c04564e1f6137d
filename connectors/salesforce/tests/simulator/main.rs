//! The connector against the simulator, over HTTP, through the SDK: what a host would see.

mod fetch;
mod fields;
mod harness;
mod login;
mod read;
