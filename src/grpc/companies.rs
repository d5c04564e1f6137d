//! Arguments that several lists of companies have.

use super::validate;
use crate::domain::IntegrationId;
use crate::error::Error;
use crate::proto::v1::{self, CompanyScope};
use crate::service::Scope;

/// The maximum length of a column's name, in characters.
const MOST_COLUMN: usize = 600;

/// The integrations of these names.
pub fn sources(names: &[String]) -> Result<Vec<IntegrationId>, Error> {
    validate::list("sources", names, 100)?;
    names
        .iter()
        .enumerate()
        .map(|(at, name)| validate::integration(&format!("sources[{at}]"), name))
        .collect()
}

/// The scope of a request.
pub fn scope(of: CompanyScope) -> Scope {
    match of {
        CompanyScope::Unspecified | CompanyScope::All => Scope::All,
        CompanyScope::Tracked => Scope::Tracked,
    }
}

/// The columns of a request.
pub fn columns(columns: &[String]) -> Result<Vec<String>, Error> {
    validate::list("columns", columns, 100)?;
    for (at, column) in columns.iter().enumerate() {
        validate::text(&format!("columns[{at}]"), column, MOST_COLUMN)?;
    }
    Ok(columns.to_vec())
}

/// The positions that the search must have reached.
pub fn positions(at_least: &[v1::SourcePosition]) -> Result<Vec<(IntegrationId, i64)>, Error> {
    validate::list("at_least", at_least, 100)?;
    let position = |(at, one): (usize, &v1::SourcePosition)| {
        let id = validate::integration(&format!("at_least[{at}].integration"), &one.integration)?;
        Ok((id, one.change_number))
    };
    at_least.iter().enumerate().map(position).collect()
}
