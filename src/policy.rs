//! Who may do what: one table, rpc × role, and whether it changes anything. An rpc that is not in the table cannot be called by anyone; a test walks every
//! rpc that the server's descriptor knows through it.
//!
//! The table says what a *role* may do at all. Whether the *thing* is the caller's group's is decided where the thing is
//! read, and answers NOT_FOUND (AIP-211).

use crate::caller::Role;

/// Who may call an rpc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anyone, without a token: health probes.
    Anyone,
    /// Callers of these roles.
    Roles(&'static [Role]),
}

/// Members and administrators read for their group; the service identity reads for any.
const READ: Who = Who::Roles(&[Role::Member, Role::Administrator, Role::Service]);
/// Every member of the group.
const MEMBERS: Who = Who::Roles(&[Role::Member, Role::Administrator]);
/// The group's administrators.
const ADMINISTRATORS: Who = Who::Roles(&[Role::Administrator]);
/// The platform.
const SERVICE: Who = Who::Roles(&[Role::Service]);

/// The group's administrators, and the platform for any group.
const AUDITORS: Who = Who::Roles(&[Role::Administrator, Role::Service]);

/// What an rpc does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing that somebody decided. Opening a profile is one: it stores what the CRM has.
    Reads,
    /// It changes or begins something: whenever it succeeds, the audit log gets an entry.
    Changes,
}

const READS: Effect = Effect::Reads;
const CHANGES: Effect = Effect::Changes;

/// One row: the rpc's path without the leading slash, who may call it, and what it does.
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

/// The row of the rpc at this path (`/package.Service/Method`); `None` for what is not served.
#[must_use]
pub fn row(path: &str) -> Option<&'static (&'static str, Who, Effect)> {
    let path = path.strip_prefix('/')?;
    TABLE.iter().find(|(rpc, _, _)| *rpc == path)
}

/// Who may call the rpc at this path; `None` for what is not served.
#[must_use]
pub fn who_may(path: &str) -> Option<Who> {
    row(path).map(|(_, who, _)| *who)
}
