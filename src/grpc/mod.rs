//! The edge: authenticate → validate → call a service → convert. Only here the generated public types are touched.

mod answers;
mod audit;
mod call;
mod company;
mod convert;
mod edit;
mod form;
mod gate;
mod group;
mod integration;
mod load;
mod outcome;
mod page;
mod page_token;
mod profile;
mod request_id;
pub mod server;
pub mod status;
pub mod texts;
mod validate;
mod watch;
mod web;
