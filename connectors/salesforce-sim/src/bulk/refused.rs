//! What SOQL cannot ask in a job, and the columns of what it can. Texts marked (?) are unconfirmed.

use super::script::Settings;
use crate::errors::Error;
use crate::org::{Org, Row};
use crate::schema::Field;
use crate::soql::ast::{Query, Select};
use crate::soql::plan::{Access, Item, Node};
use crate::value::Value;

/// One column of a result.
#[derive(Clone)]
pub(crate) struct Column {
    /// `Owner.Name`
    pub(crate) name: String,
    access: Access,
    label: bool,
}

impl Column {
    pub(crate) fn read(&self, org: &Org, at: Row) -> Value {
        let value = if self.access.hops.is_empty() {
            org.cell(at, &self.access.field)
        } else {
            self.access.read(org, at)
        };
        match value {
            Value::Text(text) if self.label => {
                let labels = text.split(';').map(|v| self.access.field.label_of(v));
                Value::text(labels.collect::<Vec<_>>().join(";"))
            }
            other => other,
        }
    }
}

/// Checks a query before its names are resolved.
pub(crate) fn check(query: &Query, settings: &Settings) -> Result<(), Error> {
    let object = query.from.parts.join(".");
    let refuse = |what: &str| {
        let message = format!("{what} not supported in Bulk V2 Query with CSV content type");
        Err(Error::new(400, "FEATURENOTENABLED", message))
    };
    if unsupported(&object, settings) {
        let message = format!("Entity '{object}' is not supported by the Bulk API.");
        return Err(Error::new(400, "INVALIDENTITY", message));
    }
    for select in &query.select {
        match select {
            Select::Children(_) => return refuse("Aggregate Relationships"),
            Select::Count | Select::Aggregate { .. } => return refuse("Aggregate Functions"), // (?)
            Select::Fields { .. } => return refuse("FIELDS function"),                        // (?)
            Select::Field(_) | Select::Shown { .. } => {}
        }
    }
    if !query.group.is_empty() {
        return refuse("Group By"); // (?)
    }
    if query.offset.is_some() {
        return refuse("Offset"); // (?)
    }
    Ok(())
}

/// Objects that exist in real orgs, but not in Bulk.
fn unsupported(object: &str, settings: &Settings) -> bool {
    const NAMES: [&str; 11] = [
        "acceptedeventrelation",
        "casestatus",
        "contractstatus",
        "declinedeventrelation",
        "orderstatus",
        "partnerrole",
        "recentlyviewed",
        "solutionstatus",
        "taskpriority",
        "taskstatus",
        "undecidedeventrelation",
    ];
    let name = object.to_ascii_lowercase();
    NAMES.contains(&name.as_str())
        || ["feed", "share", "__x"].iter().any(|end| name.ends_with(end))
        || settings
            .unsupported
            .iter()
            .any(|other| other.eq_ignore_ascii_case(object))
}

/// The columns of a planned query.
pub(crate) fn columns(node: &Node) -> Result<Vec<Column>, Error> {
    let mut columns = Vec::new();
    collect(node, "", &[], &mut columns)?;
    Ok(columns)
}

fn collect(node: &Node, before: &str, hops: &[Field], columns: &mut Vec<Column>) -> Result<(), Error> {
    for (name, item) in &node.items {
        let (field, label) = match item {
            Item::Cell(field) => (field, false),
            Item::Label(field) => (field, true),
            Item::Parent { reference, node, .. } => {
                let hops: Vec<Field> = hops.iter().chain([reference]).cloned().collect();
                collect(node, &format!("{before}{name}."), &hops, columns)?;
                continue;
            }
            Item::Children(_) => continue,
        };
        if matches!(field.kind, "address" | "location") {
            let message = "Selecting compound data not supported in Bulk Query";
            return Err(Error::new(400, "INVALID_FIELD", message)); // (?)
        }
        columns.push(Column {
            name: format!("{before}{name}"),
            access: Access {
                hops: hops.to_vec(),
                field: field.clone(),
                polymorphic: hops.last().is_some_and(|hop| hop.refers_to.len() > 1),
            },
            label,
        });
    }
    Ok(())
}
