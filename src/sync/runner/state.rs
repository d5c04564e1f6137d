//! The state of a run, and why a run ends before its stream.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::super::context::Context;
use crate::connectors;
use crate::credentials;
use crate::domain::{ApiBudget, CredentialId, FieldType, Micros, OverBudget};
use crate::ingest;
use crate::store::{self, FieldRef, ObjectProgress, ObjectRead, RecordBatch, Sync};
use crate::time::now_us;
use tether_connector_proto as proto;

/// Rows without a checkpoint are kept in memory, and those of the commit in progress. A connector that sends more than this
/// between two checkpoints violates its contract.
pub(super) const MOST_ROWS_PENDING: usize = 50_000;
/// The same limit for the size of payloads, in bytes.
pub(super) const MOST_BYTES_PENDING: usize = 256 << 20;
/// Why a run ended before its stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Credential(#[from] credentials::Error),
    #[error(transparent)]
    Connector(#[from] connectors::Error),
    #[error(transparent)]
    Rows(#[from] ingest::Error),
    #[error("the connector gave over {MOST_ROWS_PENDING} rows, or over 256 MiB, without a checkpoint")]
    NoCheckpoint,
    /// Reading of an object was interrupted and will be retried from the checkpoint.
    #[error("cannot read {object}: {}", .error.message)]
    Object {
        object: String,
        error: Box<proto::Error>,
    },
    #[error("the connector gave records in part, or a range of ids, where it was asked for records by id")]
    NotById,
    #[error("{}", .0.limit)]
    OverBudget(OverBudget),
    #[error("cancelled on request")]
    Cancelled,
    #[error("this process is shutting down")]
    Drain,
}

/// Data received since the last checkpoint.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rows: usize,
    /// Size of the payloads.
    pub(super) bytes: usize,
    pub(super) objects: Vec<ObjectProgress>,
    pub(super) missing_fields: Vec<FieldRef>,
    pub(super) field_types: Vec<(FieldRef, FieldType)>,
    /// Objects that were read to their end.
    pub(super) reads: Vec<ObjectRead>,
    /// Bytes and API calls of the stream so far; `committed` is their state at the last commit.
    pub(super) usage: (i64, i64),
    pub(super) committed: (i64, i64),
}

pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) sync: Sync,
    pub(super) connector: String,
    /// API calls that are not counted yet for the integration, and when they were last.
    pub(super) uncounted: i64,
    pub(super) count_time: Option<Instant>,
    /// What the CRM said last of its organization's calls and their limit, if it is not stored yet.
    pub(super) said: Option<(i64, i64)>,
    /// How many calls the integration may make a day.
    pub(super) budget: ApiBudget,
    /// The CRM failed or refused the last call: the next answer is to be recorded.
    pub(super) is_troubled: bool,
    /// When this attempt began.
    pub(super) begin_us: Micros,
    /// The object whose records are companies.
    pub(super) company_object: String,
    /// The objects, in the order of the connector.
    pub(super) order: Vec<String>,
    /// How often reading of each object was interrupted.
    pub(super) tries: HashMap<String, i64>,
    /// The account that the sync uses, with the generation of its credentials.
    pub(super) used: Option<(CredentialId, i64)>,
    /// What is read.
    pub(super) plan: proto::ReadRequest,
    /// What earlier syncs have read.
    pub(super) reads: Vec<ObjectRead>,
    /// Selected fields that the CRM does not have.
    pub(super) missing: HashSet<FieldRef>,
    /// Since when each field is selected, by object and key.
    pub(super) selected: HashMap<(String, String), Micros>,
    /// Fields that an earlier read saw missing, with the time since when.
    pub(super) seen_missing: HashMap<(String, String), Micros>,
    /// How often the integration was logged in as another account than before.
    pub(super) account_no: i64,
    /// The stream reads records by id.
    pub(super) is_by_id: bool,
    /// The objects whose records it read.
    pub(super) read_by_id: HashSet<String>,
    pub(super) pending: Pending,
    /// No sync of the integration has succeeded yet.
    pub(super) is_first_load: bool,
    /// Company records are stored that are not found by their company yet.
    pub(super) lacks_companies: bool,
    /// When there were last none.
    pub(super) filled: Instant,
}

impl<'a> Run<'a> {
    pub(super) fn new(context: &'a Context, sync: Sync) -> Self {
        Self {
            context,
            pending: Pending::default(),
            is_first_load: false,
            lacks_companies: false,
            filled: Instant::now(),
            connector: String::new(),
            uncounted: 0,
            count_time: None,
            said: None,
            budget: ApiBudget::default(),
            is_troubled: false,
            begin_us: now_us(),
            company_object: String::new(),
            order: Vec::new(),
            tries: HashMap::new(),
            used: None,
            plan: proto::ReadRequest::default(),
            reads: Vec::new(),
            missing: HashSet::new(),
            selected: HashMap::new(),
            seen_missing: HashMap::new(),
            account_no: 0,
            is_by_id: false,
            read_by_id: HashSet::new(),
            sync,
        }
    }
}
