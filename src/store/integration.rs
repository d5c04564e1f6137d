//! Integrations: rows, drafts and edits, and their life from the login to the deletion.

mod edit;
mod lifecycle;
mod row;

pub use edit::{IntegrationUpdate, NewIntegration};
pub(super) use lifecycle::delete;
pub use lifecycle::{Activate, AttachCredential, Attached, Deleted};
pub use row::Integration;
pub(super) use row::{get, lock, touch};
