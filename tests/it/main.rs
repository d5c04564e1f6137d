//! The server's integration tests, in one binary, because linking takes longer than running.
#![warn(clippy::too_many_lines)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may fail, and says so"
)]

mod accounts;
mod allowance;
mod audit;
mod boundary;
mod bounds;
mod bulk;
mod changes;
mod conformance;
mod credentials;
mod crm;
mod csv;
mod damage;
mod deleting;
mod drafts;
mod edge;
mod editing;
mod errors;
mod export;
mod fairness;
mod filters;
mod graphs;
mod guides;
mod house;
mod hubspot;
mod identity;
mod leaks;
mod lost_database;
mod manual;
mod named;
mod operations;
mod platform;
mod policy;
mod privacy;
mod proof;
mod refusals;
mod schedules;
mod sealing;
mod search;
mod secrets;
mod setup;
mod sharing;
mod store;
mod storing;
mod strangers;
mod support;
mod takeover;
mod template;
mod texts;
mod truth;
mod values;
mod watch;
mod web;
