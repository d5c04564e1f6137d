//! The business rules, one file per noun. The gRPC layer has checked the caller's role and the form of the
//! request; services check whether the resource belongs to the caller's group and whether the step is
//! possible.
//!
//! An RPC that the policy table marks as changing something runs in a task that goes on if the caller
//! disconnects. Its handler passes `gate::author` to the service, and the service makes the change with
//! `Inner::change`: the rows, the audit entry and what the request id led to are one transaction. A separate
//! entry, written by the gate, would need a second commit. A test (tests/it/house.rs) finds handlers and
//! services without an entry.
//!
//! The service identity reads as a member of the group that it names: there is one rule of visibility, and no
//! service has to know a caller that sees everything. Other callers must name the group of their token.

mod account_limit;
mod audit;
mod cells;
mod company;
mod connector;
mod draft;
mod edit;
mod errors;
mod event;
mod feed;
mod field;
mod graph;
mod group;
mod integration;
mod limits;
mod listing;
mod login;
mod profile;
mod reader;
mod refreshes;
mod request_key;
mod review;
mod search;
mod services;
mod share;
mod source;
mod standing;
mod sync;
mod view;

// The nouns of the store that callers of the services see.
pub use crate::definition::Definition;
pub use crate::index::Position;
pub use crate::query::{Calendar, Unit, WidthOrUnit};
pub use crate::query::{Place, query_key};
pub use crate::store::{
    AuditEntry, AuditFilter, CompanyKey, Event, FieldRef, Group, NewShare, Relation, SeenField, Share, Source,
};
pub use account_limit::ACCOUNT_LIMIT;
pub use audit::{AuditChange, Author};
pub use cells::Cell;
pub use company::{CompanyView, Scope, ToName, ToTrack};
pub use connector::ConnectorView;
pub use draft::Draft;
pub use edit::Edit;
pub use event::Watched;
pub use field::{Activated, Available, AvailableObject, MOST_FIELDS};
pub use graph::{GraphAsk, GraphRow, GroupAsk, Key as GraphKey, MOST_ROWS as MOST_GRAPH_ROWS};
pub use integration::{Access, Removed};
pub use limits::{LimitOptions, Limits, Place as LimitPlace};
pub use login::{AuthorizationStarted, ConfirmationPrompt, LoginOutcome, ReturnTo};
pub use profile::{Card, Column, Freshness, Profile, RefreshPolicy, RelatedRecord, Table};
pub use reader::require_own_group;
pub use request_key::RequestKey;
pub use review::{Review, ReviewedGroup, ReviewedObject, SelectedField, Verdict};
pub use search::{CompanyAsk, CompanyWalk, Cursor};
pub use services::{Inner, Options, Services};
pub use share::{MOST_SHARES, Shareable};
pub use source::{IndexState, SourceObject, SourcePage, SourceView};
pub use standing::{Standing, Why};
pub use sync::SyncView;
pub use tether_columns::Function;
pub use view::{DraftStep, IntegrationView};
