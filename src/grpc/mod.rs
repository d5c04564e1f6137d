//! The edge: authenticate → validate → call a service → convert. Only here the generated public types are touched.

mod audit;
mod company;
mod convert;
mod edit;
mod gate;
mod group;
mod integration;
mod load;
mod page_token;
pub mod server;
pub mod status;
mod validate;
mod watch;
mod web;
