//! The entries of companies.

use diesel::prelude::*;

use super::texts::{Insert, insert};
use crate::domain::IntegrationId;
use crate::store::{
    Error,
    record::apply::Entry,
    schema::{company_name, company_record},
};

struct ByCompany;

impl Insert for ByCompany {
    const SQL: &'static str =
        "INSERT INTO company_record (integration_id, company_id, object, external_id) VALUES ";
}

struct ByName;

impl Insert for ByName {
    const SQL: &'static str =
        "INSERT INTO company_name (integration_id, name_key, company_id, object, external_id) VALUES ";
}

/// Adds entries, which are sorted by company.
pub(in crate::store::record) fn add(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    entries: &[Entry<'_>],
) -> Result<(), Error> {
    let id = integration_id.as_str();
    let rows: Vec<[&str; 4]> = entries
        .iter()
        .map(|entry| [id, entry.company_id.as_str(), object, entry.external_id])
        .collect();
    insert::<ByCompany, 4>(c, &rows)?;
    let mut rows: Vec<[&str; 5]> = entries
        .iter()
        .map(|entry| {
            [
                id,
                entry.name_key,
                entry.company_id.as_str(),
                object,
                entry.external_id,
            ]
        })
        .collect();
    rows.sort_unstable();
    insert::<ByName, 5>(c, &rows)
}

/// Removes entries.
pub(in crate::store::record) fn remove(
    c: &mut SqliteConnection,
    integration_id: IntegrationId,
    object: &str,
    entries: &[Entry<'_>],
) -> Result<(), Error> {
    for entry in entries {
        let (company_id, name_key, id) = (entry.company_id, entry.name_key, entry.external_id);
        let by_company = company_record::table.find((integration_id, company_id, object, id));
        diesel::delete(by_company).execute(c)?;
        let by_name = company_name::table.find((integration_id, name_key, company_id, object, id));
        diesel::delete(by_name).execute(c)?;
    }
    Ok(())
}
