//! Adding, removing, renaming and hiding fields.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Given, refuse};
use crate::app::App;
use crate::org::Org;
use crate::org::make::Maker;
use crate::schema::{Field, Pick};
use crate::value::now;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    org: Option<String>,
    object: String,
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    /// `255`, or precision and scale: `18.2`.
    #[serde(default)]
    size: Option<String>,
    /// Picklist values; a leading `!` makes one inactive, `value=label` gives it a label.
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    to: Option<String>,
    /// The affected user; all users of the org by default.
    #[serde(default)]
    user: Option<String>,
}

fn done(org: &mut Org) -> Answer {
    // `If-Modified-Since` must detect both of two changes within a second.
    org.schema_changed = now().max(org.schema_changed + 1);
    Ok(Json(json!({ "ok": true })))
}

/// Adds a field (with generated values in every row), or changes the type of one.
pub(crate) async fn add(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let Some(name) = &change.field else {
        return refuse("name the field");
    };
    let Some((table, _)) = org.schema.find(&change.object) else {
        return refuse("there is no such object");
    };
    let label = change.label.as_deref().unwrap_or(name);
    let kind = change.kind.as_deref().unwrap_or("string");
    let size = change.size.as_deref().unwrap_or(match kind {
        "double" | "currency" | "percent" => "18.2",
        "boolean" | "date" | "datetime" | "time" => "0",
        _ => "255",
    });
    let mut field = Field::new(name, label, kind, size);
    // A field lives as long as the program, so its values can be static references.
    field.picks = change
        .values
        .iter()
        .map(|v| Pick::read(String::leak(v.clone())))
        .collect();
    Arc::make_mut(&mut org.schema).objects[table].put_field(field);
    done(&mut org)
}

pub(crate) async fn remove(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let name = change.field.as_deref().unwrap_or("");
    let Some((table, _)) = org.schema.find(&change.object) else {
        return refuse("there is no such object");
    };
    if Arc::make_mut(&mut org.schema).objects[table]
        .remove_field(name)
        .is_none()
    {
        return refuse(format!("{} has no field {name}", change.object));
    }
    done(&mut org)
}

/// Sets a new API name for the same column: its data is kept.
pub(crate) async fn rename(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let (name, Some(to)) = (change.field.as_deref().unwrap_or(""), &change.to) else {
        return refuse("say what it is to be called");
    };
    let Some((table, _)) = org.schema.find(&change.object) else {
        return refuse("there is no such object");
    };
    let Some(mut field) = Arc::make_mut(&mut org.schema).objects[table].remove_field(name) else {
        return refuse(format!("{} has no field {name}", change.object));
    };
    field.name.clone_from(to);
    if let Some(label) = &change.label {
        field.label.clone_from(label);
    }
    Arc::make_mut(&mut org.schema).objects[table].put_field(field);
    done(&mut org)
}

/// Changes the formula of a field: its values change in all rows, the stamps of the rows do not.
pub(crate) async fn recalculate(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let name = change.field.as_deref().unwrap_or("");
    let Some((table, object)) = org.schema.find(&change.object) else {
        return refuse("there is no such object");
    };
    let Some(mut field) = object.field(name).cloned() else {
        return refuse(format!("{} has no field {name}", change.object));
    };
    if !matches!(field.maker, Maker::Formula(_)) {
        return refuse(format!("{name} is not calculated"));
    }
    field.revision += 1;
    Arc::make_mut(&mut org.schema).objects[table].put_field(field);
    super::done()
}

/// Hides a field, or without one the whole object, from users.
pub(crate) async fn hide(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    sight(&app, &change, true)
}

pub(crate) async fn show(State(app): State<Arc<App>>, Given(change): Given<Change>) -> Answer {
    sight(&app, &change, false)
}

/// Permissions do not change the schema's date, because they do not do so reliably in Salesforce: a 304 may hide
/// them.
fn sight(app: &App, change: &Change, hide: bool) -> Answer {
    let mut org = app.named_org(change.org.as_deref())?.write();
    let object = change.object.to_ascii_lowercase();
    let mut touched = 0;
    for user in &mut org.users {
        if change
            .user
            .as_ref()
            .is_some_and(|u| !u.eq_ignore_ascii_case(&user.username))
        {
            continue;
        }
        touched += 1;
        let hidden = &mut user.hidden;
        match &change.field {
            Some(field) if hide => {
                _ = hidden
                    .fields
                    .entry(object.clone())
                    .or_default()
                    .insert(field.to_ascii_lowercase())
            }
            Some(field) => {
                _ = hidden
                    .fields
                    .entry(object.clone())
                    .or_default()
                    .remove(&field.to_ascii_lowercase())
            }
            None if hide => _ = hidden.objects.insert(object.clone()),
            None => _ = hidden.objects.remove(&object),
        }
    }
    if touched == 0 {
        refuse("there is no such user in this org")
    } else {
        Ok(Json(json!({ "users": touched })))
    }
}
