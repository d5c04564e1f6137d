//! The group's own list of companies, as rows of a query.

use crate::domain::CompanyId;

/// A company of the group's own list, with the name that the group gave it.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// The company.
    pub company_id: CompanyId,
    /// Its name.
    pub name: String,
    /// The key by which the name is sorted.
    pub name_key: String,
    /// Its homepage; empty if there is none.
    pub homepage: String,
    /// The domain of the homepage; empty if there is none.
    pub domain: String,
}

/// A company of the group's own list, with its number.
pub(super) struct Row<'a> {
    pub(super) number: u32,
    pub(super) of: &'a Tracked,
}
