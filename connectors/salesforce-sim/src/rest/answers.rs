//! Overrides of replies to queries and describes: complete but false results, short ids, undocumented values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::Call;
use crate::errors::Error;

/// The overrides by organization and by the object's name in lower case; an empty name applies to every object.
pub(crate) type Answers = BTreeMap<(usize, String), Answer>;

/// The overrides for one object's queries and describe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Answer {
    /// The organization, by name or id; the first one by default.
    pub(crate) org: Option<String>,
    /// The object; every object by default.
    pub(crate) object: String,
    /// Queries are refused with 403 INSUFFICIENT_ACCESS; describes are not.
    pub(crate) forbidden: bool,
    /// Results end after this many rows, as if there were no others.
    pub(crate) keep: Option<usize>,
    /// Ids with 15 characters.
    pub(crate) short_ids: bool,
    /// Values to put into rows, by their ids.
    pub(crate) rows: BTreeMap<String, Map<String, Json>>,
    /// The number of rows that `limits/recordCount` shows: an outdated one.
    pub(crate) count: Option<u64>,
    /// Values to put into the describe, by field.
    pub(crate) describe: BTreeMap<String, Map<String, Json>>,
}

fn ordered(call: &Call<'_>, object: &str) -> Option<Answer> {
    let answers = call.app.answers.lock();
    let find = |object: &str| answers.get(&(call.user.org, object.to_ascii_lowercase()));
    find(object).or_else(|| find("")).cloned()
}

/// The number of rows to show, if it is overridden.
pub(crate) fn count(call: &Call<'_>, object: &str) -> Option<u64> {
    ordered(call, object)?.count
}

/// Truncates or refuses a result.
pub(crate) fn rows(call: &Call<'_>, object: &str, rows: &mut Vec<u32>) -> Result<(), Error> {
    let Some(answer) = ordered(call, object) else {
        return Ok(());
    };
    if answer.forbidden {
        let message = "insufficient access rights on object id";
        return Err(Error::new(403, "INSUFFICIENT_ACCESS", message));
    }
    rows.truncate(answer.keep.unwrap_or(usize::MAX));
    Ok(())
}

/// Changes the rows of a page.
pub(crate) fn page(call: &Call<'_>, object: &str, page: String) -> String {
    let Some(answer) = ordered(call, object).filter(|answer| answer.short_ids || !answer.rows.is_empty())
    else {
        return page;
    };
    let Ok(mut json) = serde_json::from_str::<Json>(&page) else {
        return page;
    };
    for row in json["records"].as_array_mut().into_iter().flatten() {
        let change = row["Id"].as_str().and_then(|id| answer.rows.get(id)).cloned();
        let Some(cells) = row.as_object_mut() else {
            continue;
        };
        if answer.short_ids {
            for (_, value) in cells.iter_mut().filter(|(name, _)| name.ends_with("Id")) {
                if let Some(short) = value.as_str().and_then(|id| id.get(..15)) {
                    *value = short.into();
                }
            }
        }
        cells.extend(change.into_iter().flatten());
    }
    json.to_string()
}

/// Changes the fields of a describe.
pub(crate) fn describe(call: &Call<'_>, object: &str, json: &mut Json) {
    let Some(answer) = ordered(call, object) else {
        return;
    };
    for field in json["fields"].as_array_mut().into_iter().flatten() {
        let change = field["name"]
            .as_str()
            .and_then(|name| answer.describe.get(name))
            .cloned();
        if let Some(keys) = field.as_object_mut() {
            keys.extend(change.into_iter().flatten());
        }
    }
}
