//! A simulated HubSpot on loopback, for the demo and for tests.
//!
//! A request goes through `edge` (journal, faults, length, rate limits), then to `oauth` or to `crm`, which answers
//! from a `portal` within the token's scopes. Values are computed when they are read; changes of the `control` routes
//! are stored on top of them.
//!
//! The program prints one line of JSON (`http`, `control`) when it listens, on loopback only. The registered app is
//! `tether-demo-app` with secret `tether-demo-secret`; there is one private app, whose token is
//! [`PRIVATE_APP_TOKEN`]. The users are `admin@acme.example`, `restricted@acme.example` (may not grant tickets) and
//! `admin@globex.example`. The README of this crate documents the control routes.

mod app;
mod control;
mod crm;
mod edge;
mod journal;
mod limits;
mod oauth;
mod portal;
mod refusal;
mod server;

pub use app::{Options, PRIVATE_APP_TOKEN};
pub use server::{Error, Sim};
