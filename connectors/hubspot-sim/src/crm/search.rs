//! Search: filters, one sort, and its own limits. It uses an index that is updated with a delay: rows are found, and shown, as
//! they were then. (That the values of a reply are those of the index is not documented.)

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Answer, Call, objects};
use crate::portal::schema::{Object, Property};
use crate::portal::{Portal, SearchView};
use crate::refusal::Refusal;

/// The largest number of results of a search.
const DEEPEST: usize = 10_000;
/// Records per page.
const MOST: usize = 200;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    filter_groups: Vec<Group>,
    sorts: Vec<Json>,
    query: Option<String>,
    properties: Vec<String>,
    limit: Option<Json>,
    after: Option<Json>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    filters: Vec<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    property_name: String,
    operator: String,
    value: Option<String>,
    high_value: Option<String>,
    values: Vec<String>,
}

fn number(value: Option<&Json>, otherwise: usize) -> Result<usize, Refusal> {
    match value {
        None | Some(Json::Null) => Ok(otherwise),
        Some(Json::Number(n)) => Ok(n.as_u64().unwrap_or(u64::MAX) as usize),
        Some(Json::String(text)) if text.is_empty() => Ok(otherwise),
        Some(Json::String(text)) => text
            .parse()
            .map_err(|_| Refusal::invalid(format!("invalid paging offset: {text}"))),
        Some(_) => Err(Refusal::invalid("There was a problem with the request.")),
    }
}

/// `POST /crm/v3/objects/{object}/search`.
pub(crate) fn search(portal: &Portal, call: &Call<'_>, object: Object) -> Answer {
    call.needs(&[object])?;
    let asked: Asked = serde_json::from_value(call.json()?)
        .map_err(|_| Refusal::invalid("Invalid input JSON: Cannot deserialize value"))?;
    let (limit, after) = (
        number(asked.limit.as_ref(), 10)?,
        number(asked.after.as_ref(), 0)?,
    );
    if limit > MOST {
        return Err(Refusal::invalid(format!(
            "Page size {limit} must be between 0 and {MOST}"
        )));
    }
    if asked.sorts.len() > 1 {
        return Err(Refusal::invalid(
            "There was a problem with the request: a search has one sort at most",
        ));
    }
    if after + limit > DEEPEST {
        return Err(Refusal::invalid(format!(
            "There was a problem with the request: the paging offset is too large, a search reaches {DEEPEST} records"
        )));
    }
    let filters: usize = asked.filter_groups.iter().map(|g| g.filters.len()).sum();
    if asked.filter_groups.len() > 5 || filters > 25 {
        return Err(Refusal::invalid(
            "There was a problem with the request: too many filters",
        ));
    }
    let mut found: Vec<(u32, SearchView<'_>)> = Vec::new();
    for row in portal.rows(object) {
        let Some(view) = portal.searched(object, row) else {
            continue;
        };
        let mut fits = asked.filter_groups.is_empty();
        for group in &asked.filter_groups {
            let mut all = true;
            for filter in &group.filters {
                all &= matches(portal, object, row, &view, filter)?;
            }
            fits |= all;
        }
        if fits && query_fits(portal, object, &view, asked.query.as_deref().unwrap_or("")) {
            found.push((row, view));
        }
    }
    sort(portal, object, &mut found, asked.sorts.first())?;
    let total = found.len();
    let results: Vec<Json> = found
        .iter()
        .skip(after)
        .take(limit)
        .map(|(row, view)| {
            let value = |property: &Property| view.value(property);
            objects::record_of(
                portal,
                object,
                *row,
                &asked.properties,
                (value, view.updated_ms()),
            )
        })
        .collect();
    let mut json = json!({ "total": total, "results": results });
    if after + results_len(&json) < total {
        json["paging"] = json!({ "next": { "after": (after + results_len(&json)).to_string() } });
    }
    Ok((200, json))
}

fn results_len(json: &Json) -> usize {
    json["results"].as_array().map_or(0, Vec::len)
}

fn query_fits(portal: &Portal, object: Object, view: &SearchView<'_>, query: &str) -> bool {
    let text: String = object
        .defaults()
        .iter()
        .filter_map(|name| view.value(portal.property(object, name)?))
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    query
        .to_lowercase()
        .split_whitespace()
        .all(|word| text.contains(word))
}

fn matches(
    portal: &Portal,
    object: Object,
    row: u32,
    view: &SearchView<'_>,
    filter: &Filter,
) -> Result<bool, Refusal> {
    let wanted = filter.value.as_deref().unwrap_or("");
    if let Some(to) = filter.property_name.strip_prefix("associations.") {
        let to =
            Object::named(to).ok_or_else(|| Refusal::invalid("There was a problem with the request."))?;
        let ends = portal.linked(object, row, to);
        return Ok(to.row(wanted).is_some_and(|end| ends.contains(&end)));
    }
    let Some(property) = portal.property(object, &filter.property_name) else {
        return Err(Refusal::invalid(format!(
            "There was a problem with the request: {} is no property of {}",
            filter.property_name,
            object.plural()
        )));
    };
    let value = view.value(property);
    let set = value.is_some();
    let value = value.unwrap_or_default();
    let against = |other: &str| compare(&property.kind, &value, other);
    Ok(match filter.operator.as_str() {
        "HAS_PROPERTY" => set,
        "NOT_HAS_PROPERTY" => !set,
        "EQ" => set && value.eq_ignore_ascii_case(wanted),
        "NEQ" => !set || !value.eq_ignore_ascii_case(wanted),
        "IN" => set && filter.values.iter().any(|v| v.eq_ignore_ascii_case(&value)),
        "NOT_IN" => set && !filter.values.iter().any(|v| v.eq_ignore_ascii_case(&value)),
        "LT" => set && against(wanted) == Ordering::Less,
        "LTE" => set && against(wanted) != Ordering::Greater,
        "GT" => set && against(wanted) == Ordering::Greater,
        "GTE" => set && against(wanted) != Ordering::Less,
        "BETWEEN" => {
            let high = filter.high_value.as_deref().unwrap_or("");
            set && against(wanted) != Ordering::Less && against(high) != Ordering::Greater
        }
        "CONTAINS_TOKEN" => {
            let word = wanted.to_lowercase();
            let word = word.trim_matches('*');
            value
                .to_lowercase()
                .split_whitespace()
                .any(|part| part.contains(word))
        }
        other => {
            return Err(Refusal::invalid(format!(
                "There was a problem with the request: unknown operator {other}"
            )));
        }
    })
}

/// Compares by the property's type. Times may be given in milliseconds.
fn compare(kind: &str, value: &str, other: &str) -> Ordering {
    match kind {
        "number" => {
            let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
            number(value).total_cmp(&number(other))
        }
        "date" | "datetime" => {
            let text = match other.parse::<i64>() {
                Ok(ms) => crate::app::iso(ms),
                Err(_) => other.to_owned(),
            };
            // Some times have a fraction and others do not.
            let plain = |text: &str| text.trim_end_matches('Z').to_owned();
            plain(value).cmp(&plain(&text))
        }
        _ => value.cmp(other),
    }
}

fn sort(
    portal: &Portal,
    object: Object,
    found: &mut Vec<(u32, SearchView<'_>)>,
    by: Option<&Json>,
) -> Result<(), Refusal> {
    let (name, descending) = match by {
        None => return Ok(()),
        Some(Json::String(text)) => (text.trim_start_matches('-'), text.starts_with('-')),
        Some(given) => (
            given["propertyName"].as_str().unwrap_or(""),
            given["direction"] == "DESCENDING",
        ),
    };
    let property = portal.property(object, name).ok_or_else(|| {
        Refusal::invalid(format!(
            "There was a problem with the request: cannot sort by {name}"
        ))
    })?;
    let keyed = std::mem::take(found).into_iter();
    let mut keyed: Vec<_> = keyed
        .map(|(row, view)| (view.value(property).unwrap_or_default(), row, view))
        .collect();
    keyed.sort_by(|(a, ..), (b, ..)| {
        let order = compare(&property.kind, a, b);
        if descending { order.reverse() } else { order }
    });
    *found = keyed.into_iter().map(|(_, row, view)| (row, view)).collect();
    Ok(())
}
