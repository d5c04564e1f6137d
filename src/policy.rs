//! The access policy: one table that says, for each RPC, which roles may call it and whether it changes anything. An
//! RPC that is missing from the table is rejected. A test checks the table against all RPCs of the server's
//! descriptor.
//!
//! The table decides what a *role* may do. Whether the *object* belongs to the caller's group is checked where the
//! object is read; if not, the error is NOT_FOUND (AIP-211).

use crate::caller::Role;

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Any caller, without a token: health probes.
    Anyone,
    /// Callers of these roles.
    Roles(&'static [Role]),
}

/// Members and administrators read for their group; the service identity reads for any group.
const READ: Who = Who::Roles(&[Role::Member, Role::Administrator, Role::Service]);
/// All members of the group.
const MEMBERS: Who = Who::Roles(&[Role::Member, Role::Administrator]);
/// Administrators of the group.
const ADMINISTRATORS: Who = Who::Roles(&[Role::Administrator]);
/// The service identity.
const SERVICE: Who = Who::Roles(&[Role::Service]);

/// Administrators of the group, and the service identity for any group.
const AUDITORS: Who = Who::Roles(&[Role::Administrator, Role::Service]);

/// Whether an RPC changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing that a user decided. Opening a profile is an example: it only stores data from the CRM.
    Reads,
    /// It changes or starts something. Each success adds an entry to the audit log.
    Changes,
}

const READS: Effect = Effect::Reads;
const CHANGES: Effect = Effect::Changes;

/// The rows: path of the RPC without the leading slash, who may call it, and its effect.
pub const TABLE: &[(&str, Who, Effect)] = &[
    ("tether.v1.IntegrationService/ListConnectors", READ, READS),
    ("tether.v1.IntegrationService/GetConnector", READ, READS),
    (
        "tether.v1.IntegrationService/EnableConnector",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/DisableConnector",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/CreateIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    ("tether.v1.IntegrationService/GetIntegration", READ, READS),
    ("tether.v1.IntegrationService/ListIntegrations", READ, READS),
    (
        "tether.v1.IntegrationService/UpdateIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/DeleteIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/BeginAuthorization",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/CompleteAuthorization",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/AuthorizeWithCredentials",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/ListAvailableFields",
        ADMINISTRATORS,
        READS,
    ),
    (
        "tether.v1.IntegrationService/SearchShareableGroups",
        ADMINISTRATORS,
        READS,
    ),
    (
        "tether.v1.IntegrationService/ReviewIntegration",
        ADMINISTRATORS,
        READS,
    ),
    (
        "tether.v1.IntegrationService/ActivateIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    ("tether.v1.IntegrationService/ListFields", READ, READS),
    (
        "tether.v1.IntegrationService/BatchUpdateFieldActivation",
        ADMINISTRATORS,
        CHANGES,
    ),
    ("tether.v1.IntegrationService/SetShare", ADMINISTRATORS, CHANGES),
    (
        "tether.v1.IntegrationService/RemoveShare",
        ADMINISTRATORS,
        CHANGES,
    ),
    ("tether.v1.IntegrationService/ListShares", READ, READS),
    (
        "tether.v1.IntegrationService/ConnectIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/DisconnectIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    (
        "tether.v1.IntegrationService/SyncIntegration",
        ADMINISTRATORS,
        CHANGES,
    ),
    ("tether.v1.IntegrationService/GetSync", READ, READS),
    ("tether.v1.IntegrationService/ListSyncs", READ, READS),
    ("tether.v1.IntegrationService/WatchSync", READ, READS),
    ("tether.v1.IntegrationService/CancelSync", ADMINISTRATORS, CHANGES),
    ("tether.v1.IntegrationService/WatchGroup", READ, READS),
    ("tether.v1.IntegrationService/ListAuditEntries", AUDITORS, READS),
    ("tether.v1.CompanyService/ListCompanies", READ, READS),
    ("tether.v1.CompanyService/GetCompany", READ, READS),
    ("tether.v1.CompanyService/GetCompanyProfile", READ, READS),
    ("tether.v1.CompanyService/ListSources", READ, READS),
    ("tether.v1.CompanyService/AggregateCompanies", READ, READS),
    ("tether.v1.CompanyService/BatchUpsertCompanies", SERVICE, CHANGES),
    ("tether.v1.CompanyService/TrackCompanies", MEMBERS, CHANGES),
    ("tether.v1.CompanyService/UntrackCompanies", MEMBERS, CHANGES),
    ("tether.v1.CompanyService/ExportCompanies", READ, READS),
    ("tether.v1.GroupService/UpsertGroup", SERVICE, CHANGES),
    ("tether.v1.GroupService/DeleteGroup", SERVICE, CHANGES),
    ("tether.v1.GroupService/ConnectGroups", SERVICE, CHANGES),
    ("tether.v1.GroupService/DisconnectGroups", SERVICE, CHANGES),
    ("tether.v1.GroupService/ListGroups", SERVICE, READS),
    ("grpc.health.v1.Health/Check", Who::Anyone, READS),
    ("grpc.health.v1.Health/Watch", Who::Anyone, READS),
    (
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        READ,
        READS,
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        READ,
        READS,
    ),
];

/// The row of the RPC at this path (`/package.Service/Method`); `None` if it is not in the table.
#[must_use]
pub fn row(path: &str) -> Option<&'static (&'static str, Who, Effect)> {
    let path = path.strip_prefix('/')?;
    TABLE.iter().find(|(rpc, _, _)| *rpc == path)
}

/// Who may call the RPC at this path; `None` if it is not in the table.
#[must_use]
pub fn who_may(path: &str) -> Option<Who> {
    row(path).map(|(_, who, _)| *who)
}
