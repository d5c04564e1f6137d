//! A tether connector for Template.
//!
//! [`App`] implements the SDK's traits for a CRM: `Api` in `api.rs`, `Login` in `auth.rs`, `Objects` in `fields.rs`, `Crm` in
//! `read.rs`. The requirements are documented at the messages in `connector.proto`, and numbered in `connectors/SPEC.md`.

mod api;
mod auth;
mod fields;
mod options;
mod read;
mod rows;

use tether_connector_sdk::crm::CrmConnector;
use tether_connector_sdk::export_connector;

pub use crate::api::App;

/// The connector.
pub type TemplateConnector = CrmConnector<App>;

export_connector!(TemplateConnector);
