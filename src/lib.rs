//! tether: the CRM integration service. ARCHITECTURE.md has the picture, the terms and the decisions; the modules have the
//! details.

pub mod address;
pub mod admin;
pub mod caller;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod data_dir;
pub mod definition;
pub mod domain;
pub mod error;
pub mod fair;
pub mod grpc;
pub mod identity;
pub mod index;
pub mod ingest;
pub mod listener;
pub mod memory;
pub mod oauth_callback;
pub mod picklist;
pub mod policy;
pub mod proto;
pub mod query;
pub mod reidentify;
pub mod server;
pub mod service;
pub mod store;
pub mod sync;
pub mod tasks;
pub mod telemetry;
pub mod time;
pub mod tokens;
pub mod value;

/// The host side of the connector boundary. It is a separate crate because the conformance kit is also a host.
pub use tether_connector_host as connectors;
