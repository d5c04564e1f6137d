//! The edge: authenticate → validate → call a service → convert. Only here the generated public types are touched.

mod convert;
mod gate;
mod page_token;
mod status;
mod validate;
mod company;
mod group;
mod integration;
