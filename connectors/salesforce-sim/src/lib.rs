//! A Salesforce that runs on loopback.
#![recursion_limit = "256"] // a field has more keys than json! can take by default

mod app;
mod control;
mod edge;
mod errors;
mod faults;
mod ids;
mod journal;
mod oauth;
mod org;
mod rest;
mod schema;
mod server;
mod soql;
mod value;

pub use app::{Options, related};
pub use org::Counts;
pub use server::{Error, Sim};
