//! The gRPC layer: authenticate → validate → call a service → convert. Only this layer uses the generated
//! public types.
//!
//! `listener` accepts the connection and limits its times. The layers of a request, from the outside in
//! (`server`):
//!
//! 1. `web`: CORS.
//! 2. `form`: the request id; refuses what is not gRPC or gRPC-Web. After it, gRPC-Web becomes gRPC.
//! 3. `outcome`: checks the framing, ends the call at its deadline, completes every refusal with an
//!    `ErrorInfo`, counts it.
//! 4. `answers`: bounds the answer.
//! 5. `gate`: policy table, token, role, whether the platform has named the caller's group.
//! 6. `load`: refuses more requests than can run at a time.
//! 7. The RPC: checks form and bounds (`validate`), calls a service, converts the result (`convert`), about
//!    15 lines.
//!
//! Services return `error::Error` (reason, sentence, detail); only `status` makes a `google.rpc.Status` of
//! it. A resource of another group and one that does not exist have the same answer, NOT_FOUND.

mod answers;
mod audit;
mod budget;
mod call;
mod companies;
mod company;
mod convert;
mod edit;
mod export;
mod form;
mod gate;
mod graph;
mod group;
mod integration;
mod load;
mod outcome;
mod page;
mod page_token;
mod profile;
mod request_id;
mod schedule;
pub mod server;
pub mod status;
pub mod texts;
mod validate;
mod watch;
mod web;
