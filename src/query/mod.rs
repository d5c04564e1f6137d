//! Queries over companies: parse, check against the fields of the sources, run on the search index.
//!
//! [`Engine::run`] answers a [`Question`]; [`Plan::new`] checks filter, words and order.

pub mod ast;
mod check;
mod condition;
mod graph;
mod measured;
mod order;
pub mod parse;
mod place;
mod plan;
mod problem;
mod question;
mod resolve;
mod run;
mod sets;
mod sort;
mod tracked;
mod words;

pub use graph::{
    By, Calendar, Graph, GraphAnswer, GroupText, Grouped, MeasureText, Measured, Unit, WidthOrUnit,
};
pub use place::Place;
pub use plan::{Column, Plan, Text};
pub use problem::{Error, Fault, Problem};
pub use question::{Answer, Page, Question};
pub use resolve::{Field, Source, query_key};
pub use run::Engine;
pub use tracked::Tracked;
