//! OAuth: the consent page, tokens, private apps.

pub(crate) mod authorize;
pub(crate) mod store;
pub(crate) mod token;

use axum::http::{HeaderMap, header};

/// The read scopes: the basic scope, and one for each object in its order.
pub(crate) const READ_SCOPES: [&str; 5] = [
    "oauth",
    "crm.objects.companies.read",
    "crm.objects.contacts.read",
    "crm.objects.deals.read",
    "tickets",
];

/// The token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}
