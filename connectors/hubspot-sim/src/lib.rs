//! A HubSpot that runs on loopback: the demo logs in to it, tests read from it.
//!
//! A request goes through `edge` (journal, faults, length, rate limits), then to `oauth` or to `crm`, which answers out of a
//! `portal` as far as the token's scopes reach. Values are computed when they are read; what the `control` plane changes
//! lies over them.
//!
//! The program prints one line of JSON (`http`, `control`) when it listens, on loopback only. The registered app is
//! `tether-demo-app` with secret `tether-demo-secret`; there is one private app, whose token is [`PRIVATE_APP_TOKEN`]. The
//! users are `admin@acme.example`, `restricted@acme.example` (may not grant tickets) and `admin@globex.example`. What the
//! control routes take is written in the README beside this crate.

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
