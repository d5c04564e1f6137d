//! A Salesforce that runs on loopback: the demo logs in to it, tests and benches read from it.
//!
//! A request goes through `edge` (journal, faults, limits), then to `oauth` or to `rest`; SOQL is read and
//! answered by `soql` over the rows of an `org`, as far as the user may see its `schema`. Rows are computed
//! when they are read; what the `control` plane changes lies over them.
//!
//! The program prints one line of JSON (`http`, `https`, `ca`, `control`) when it listens, on loopback only. The
//! registered app is `3MVG9tether.demo` with secret `tether-demo-secret`; the users are `admin@acme.example`,
//! `restricted@acme.example` (sees no contracts and not all fields) and `admin@globex.example`.
//!
//! Control routes, under `/control`: `GET /`; `POST /records/{create,update,touch,delete,undelete,purge,merge}`;
//! `POST /fields/{add,remove,rename,hide,show}`; `GET /oauth`, `GET /oauth/approve`,
//! `POST /oauth/{token,settings,clients}`; `POST /sessions/expire`, `/grants/revoke`, `/users`, `/limits`,
//! `/cursors/drop`, `/clock`, `/oauth/refusal`; `POST|DELETE /hosts`; `GET|POST|DELETE /answers`, `/faults`; `GET|DELETE /requests`; `GET /truth`. What they take is written in
//! the README beside this crate.
#![recursion_limit = "256"] // a field has more keys than json! can take by default

mod app;
mod control;
mod edge;
mod errors;
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
mod value;

pub use app::{Options, related};
pub use org::Counts;
pub use server::{Error, Sim};
