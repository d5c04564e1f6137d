//! Who may do what: one table, rpc × role. An rpc that is not in the table cannot be called by anyone; a test walks every
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

/// One row: the rpc's path without the leading slash, and who may call it.
pub const TABLE: &[(&str, Who)] = &[
    ("tether.v1.IntegrationService/ListConnectors", READ),
    ("tether.v1.IntegrationService/GetConnector", READ),
    ("tether.v1.IntegrationService/EnableConnector", ADMINISTRATORS),
    ("tether.v1.IntegrationService/DisableConnector", ADMINISTRATORS),
    ("tether.v1.IntegrationService/CreateIntegration", ADMINISTRATORS),
    ("tether.v1.IntegrationService/GetIntegration", MEMBERS),
    ("tether.v1.IntegrationService/ListIntegrations", MEMBERS),
    ("tether.v1.IntegrationService/UpdateIntegration", ADMINISTRATORS),
    ("tether.v1.IntegrationService/DeleteIntegration", ADMINISTRATORS),
    ("tether.v1.IntegrationService/BeginAuthorization", ADMINISTRATORS),
    (
        "tether.v1.IntegrationService/CompleteAuthorization",
        ADMINISTRATORS,
    ),
    (
        "tether.v1.IntegrationService/AuthorizeWithCredentials",
        ADMINISTRATORS,
    ),
    ("tether.v1.IntegrationService/ListAvailableFields", ADMINISTRATORS),
    (
        "tether.v1.IntegrationService/SearchShareableGroups",
        ADMINISTRATORS,
    ),
    ("tether.v1.IntegrationService/ReviewIntegration", ADMINISTRATORS),
    ("tether.v1.IntegrationService/ActivateIntegration", ADMINISTRATORS),
    ("tether.v1.IntegrationService/ListFields", MEMBERS),
    (
        "tether.v1.IntegrationService/BatchUpdateFieldActivation",
        ADMINISTRATORS,
    ),
    ("tether.v1.IntegrationService/SetShare", ADMINISTRATORS),
    ("tether.v1.IntegrationService/RemoveShare", ADMINISTRATORS),
    ("tether.v1.IntegrationService/ListShares", ADMINISTRATORS),
    ("tether.v1.IntegrationService/ConnectIntegration", ADMINISTRATORS),
    (
        "tether.v1.IntegrationService/DisconnectIntegration",
        ADMINISTRATORS,
    ),
    ("tether.v1.IntegrationService/SyncIntegration", ADMINISTRATORS),
    ("tether.v1.IntegrationService/GetSync", MEMBERS),
    ("tether.v1.IntegrationService/ListSyncs", MEMBERS),
    ("tether.v1.IntegrationService/WatchSync", MEMBERS),
    ("tether.v1.IntegrationService/CancelSync", ADMINISTRATORS),
    ("tether.v1.CompanyService/ListCompanies", MEMBERS),
    ("tether.v1.CompanyService/GetCompany", MEMBERS),
    ("tether.v1.CompanyService/GetCompanyProfile", MEMBERS),
    ("tether.v1.CompanyService/ListSources", MEMBERS),
    ("tether.v1.CompanyService/AggregateCompanies", MEMBERS),
    ("tether.v1.CompanyService/BatchUpsertCompanies", SERVICE),
    ("tether.v1.CompanyService/TrackCompanies", MEMBERS),
    ("tether.v1.CompanyService/UntrackCompanies", MEMBERS),
    ("tether.v1.CompanyService/ExportCompanies", MEMBERS),
    ("tether.v1.GroupService/UpsertGroup", SERVICE),
    ("tether.v1.GroupService/DeleteGroup", SERVICE),
    ("tether.v1.GroupService/ConnectGroups", SERVICE),
    ("tether.v1.GroupService/DisconnectGroups", SERVICE),
    ("tether.v1.GroupService/ListGroups", SERVICE),
    ("grpc.health.v1.Health/Check", Who::Anyone),
    ("grpc.health.v1.Health/Watch", Who::Anyone),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", READ),
    (
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        READ,
    ),
];

/// Who may call the rpc at this path (`/package.Service/Method`); `None` for what is not served.
#[must_use]
pub fn who_may(path: &str) -> Option<Who> {
    let path = path.strip_prefix('/')?;
    TABLE.iter().find(|(rpc, _)| *rpc == path).map(|(_, who)| *who)
}
