//! Adding and removing properties.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use super::{Answer, Given, Refusal, done, object, portal, refuse};
use crate::app::App;
use crate::portal::schema::Property;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Change {
    portal: Option<String>,
    object: String,
    field: String,
    label: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    field_type: Option<String>,
    /// The generator of its values, and flags, as in the tables: `number currency custom`.
    values: Option<String>,
    /// The number of properties to add, with a number appended to the name.
    count: Option<u32>,
}

/// Adds properties with values in every row, or changes the type of one.
pub(crate) async fn add(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let object = object(&change.object)?;
    let names: Vec<String> = match change.count {
        Some(count) => (1..=count).map(|n| format!("{}_{n}", change.field)).collect(),
        None => vec![change.field.clone()],
    };
    for name in names {
        let line = format!(
            "{name} | {} | {} | {} | {}",
            change.label.as_deref().unwrap_or(&name),
            change.kind.as_deref().unwrap_or("string"),
            change.field_type.as_deref().unwrap_or("text"),
            change.values.as_deref().unwrap_or("words custom"),
        );
        let property = Property::read(&line).ok_or_else(|| Refusal("that is no property".to_owned()))?;
        let all = &mut of.properties[object.index()];
        all.retain(|p| p.name != name);
        all.push(property);
    }
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calculated {
    portal: Option<String>,
    object: String,
    field: String,
}

/// Calculates a property again: every row has another value, and the same time of change.
pub(crate) async fn recalculate(State(app): State<Arc<App>>, Given(asked): Given<Calculated>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, asked.portal.as_deref())?;
    let properties = &mut of.properties[object(&asked.object)?.index()];
    let mut calculated = properties
        .iter_mut()
        .filter(|property| property.name == asked.field && property.is("calculated"));
    let Some(property) = calculated.next() else {
        let (object, field) = (asked.object, asked.field);
        return refuse(format!("{object} have no calculated property {field}"));
    };
    property.round += 1;
    done()
}

pub(crate) async fn remove(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, change.portal.as_deref())?;
    let all = &mut of.properties[object(&change.object)?.index()];
    let before = all.len();
    all.retain(|p| p.name != change.field);
    if all.len() == before {
        return refuse(format!("{} have no property {}", change.object, change.field));
    }
    done()
}
