//! A simulated Salesforce on loopback, for the demo, tests and benches.
//!
//! A request goes through `edge` (journal, faults, limits), then to `oauth`, `rest` or `bulk`; SOQL is parsed and executed
//! by `soql` on the rows of an `org`, restricted to the part of its `schema` that the user may see. Rows are computed
//! when they are read; changes of the `control` routes are stored on top of them.
//!
//! The program prints one line of JSON (`http`, `https`, `ca`, `control`) when it listens, on loopback only. The
//! registered app is `3MVG9tether.demo` with secret `tether-demo-secret`; the users are `admin@acme.example`,
//! `restricted@acme.example` (sees no contracts and not all fields) and `admin@globex.example`.
//!
//! The README of this crate documents the control routes, under `/control`, and their parameters.
#![recursion_limit = "256"] // a field has more keys than json! can take by default

mod app;
mod bulk;
mod clock;
mod control;
mod damage;
mod edge;
mod errors;
mod gzip;
mod hosts;
mod ids;
mod journal;
mod oauth;
mod org;
mod refusals;
mod rest;
mod schema;
mod server;
mod soql;
mod transactions;
mod value;

pub use app::{Options, related};
pub use org::Counts;
pub use server::{Error, Sim};
