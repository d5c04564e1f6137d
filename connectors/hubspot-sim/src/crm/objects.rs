//! Lists of records, single records, and batches by id.

use serde_json::{Map, Value as Json, json};

use super::{Answer, Call};
use crate::app::iso;
use crate::portal::Portal;
use crate::portal::schema::{Object, Property};
use crate::refusal::Refusal;

/// Records per page.
const MOST: usize = 100;
/// Associations per record in a list.
const INLINE: usize = 100;

/// A record with these properties. Unknown names are silently omitted, as at HubSpot.
pub(crate) fn record(portal: &Portal, object: Object, row: u32, names: &[String]) -> Json {
    let value = |property: &Property| portal.value(object, row, property);
    let updated_ms = portal.updated_ms(object, row);
    record_of(portal, object, row, names, (value, updated_ms))
}

/// A record with the values that `view` has, and its time of change.
pub(crate) fn record_of(
    portal: &Portal,
    object: Object,
    row: u32,
    names: &[String],
    view: (impl Fn(&Property) -> Option<String>, i64),
) -> Json {
    let (value, updated_ms) = view;
    let mut properties = Map::new();
    let mut put = |name: &str| {
        if let Some(property) = portal.property(object, name) {
            let value = value(property);
            properties.insert(name.to_owned(), value.map_or(Json::Null, Json::from));
        }
    };
    for name in names {
        put(name);
    }
    if names.is_empty() {
        object.defaults().iter().for_each(|name| put(name));
    }
    for name in ["createdate", object.stamp(), "hs_object_id"] {
        put(name);
    }
    let archived = portal.archived_ms(object, row);
    let mut json = json!({
        "id": object.id(row).to_string(), "properties": properties,
        "createdAt": iso(portal.created_ms(object, row)), "updatedAt": iso(updated_ms),
        "archived": archived.is_some(),
        "url": format!("https://app.hubspot.com/contacts/{}/record/{}/{}", portal.id, object.kind(), object.id(row)),
    });
    if let Some(at) = archived {
        json["archivedAt"] = iso(at).into();
    }
    json
}

/// The links of a record in a list: one entry for each label.
fn inline(portal: &Portal, object: Object, row: u32, to: Object) -> Json {
    let ends = portal.linked(object, row, to);
    let kind = format!("{}_to_{}", object.singular(), to.singular());
    let results: Vec<Json> = ends
        .iter()
        .take(INLINE)
        .enumerate()
        .flat_map(|(at, end)| {
            let id = to.id(*end).to_string();
            let primary = (at == 0).then(|| json!({ "id": id, "type": kind }));
            let plain = json!({ "id": id, "type": format!("{kind}_unlabeled") });
            primary.into_iter().chain([plain])
        })
        .collect();
    let mut json = json!({ "results": results });
    if let Some(next) = ends.get(INLINE) {
        json["paging"] = json!({ "next": { "after": to.id(*next).to_string(), "link": "https://api.hubapi.com/crm/v4/x" } });
    }
    json
}

fn with_associations(
    portal: &Portal,
    call: &Call<'_>,
    object: Object,
    row: u32,
    mut json: Json,
) -> Result<Json, Refusal> {
    let mut associations = Map::new();
    for name in call.list("associations") {
        let to = Object::named(&name)
            .ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {name}")))?;
        call.needs(&[to])?;
        if !portal.linked(object, row, to).is_empty() {
            associations.insert(to.plural().to_owned(), inline(portal, object, row, to));
        }
    }
    if !associations.is_empty() {
        json["associations"] = Json::Object(associations);
    }
    Ok(json)
}

/// `GET /crm/v3/objects/{object}`: ordered by id, unless changed by a control route.
pub(crate) fn list(portal: &Portal, call: &Call<'_>, object: Object) -> Answer {
    call.needs(&[object])?;
    let limit: usize = call
        .get("limit")
        .map_or(Ok(10), str::parse)
        .map_err(|_| Refusal::invalid("limit is no number"))?;
    if limit == 0 || limit > MOST {
        let message = format!("Page size {limit} must be between 1 and {MOST}");
        return Err(Refusal::invalid(message));
    }
    let archived = call.get("archived") == Some("true");
    let shown = |row: &u32| {
        if archived {
            portal.is_archived(object, *row)
        } else {
            portal.is_live(object, *row)
        }
    };
    let from = super::offset(call.get("after"))? as u64;
    let mut rows: Vec<u32> = portal.rows(object).filter(shown).collect();
    if portal.quirks.scrambled {
        // An order other than that of the ids; the cursor is an index in it.
        rows.sort_by_key(|row| (row % 7, *row));
        rows = rows.split_off((from as usize).min(rows.len()));
    } else {
        rows.retain(|row| object.id(*row) >= from);
    }
    let rest = rows.len().saturating_sub(limit);
    let next = match rows.get(limit) {
        Some(_) if portal.quirks.scrambled => Some(from + limit as u64),
        Some(row) => Some(object.id(*row)),
        None => None,
    };
    rows.truncate(limit);
    let names = call.list("properties");
    let results = rows
        .iter()
        .map(|row| with_associations(portal, call, object, *row, record(portal, object, *row, &names)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut json = json!({ "results": results });
    if let Some(next) = next.filter(|_| rest > 0) {
        let link = format!(
            "https://api.hubapi.com/crm/v3/objects/{}?limit={limit}&after={next}",
            object.plural()
        );
        json["paging"] = json!({ "next": { "after": next.to_string(), "link": link } });
    }
    Ok((200, json))
}

/// The row of an id; for a merged row, its winner.
fn resolve(portal: &Portal, object: Object, id: &str) -> Option<u32> {
    let mut row = portal.find(object, id)?;
    while let Some(winner) = portal.merged_into(object, row) {
        row = winner;
    }
    Some(row)
}

/// `GET /crm/v3/objects/{object}/{id}`.
pub(crate) fn get(portal: &Portal, call: &Call<'_>, object: Object, id: &str) -> Answer {
    call.needs(&[object])?;
    let archived = call.get("archived") == Some("true");
    let row = resolve(portal, object, id)
        .filter(|row| portal.archived_ms(object, *row).is_some() == archived)
        .ok_or_else(Refusal::not_found)?;
    let json = record(portal, object, row, &call.list("properties"));
    Ok((200, with_associations(portal, call, object, row, json)?))
}

/// `POST /crm/v3/objects/{object}/batch/read`: 207 if some do not exist.
pub(crate) fn batch(portal: &Portal, call: &Call<'_>, object: Object) -> Answer {
    call.needs(&[object])?;
    let body = call.json()?;
    let texts = |value: &Json, key: Option<&str>| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .filter_map(|one| key.map_or(one, |key| &one[key]).as_str().map(str::to_owned))
            .collect()
    };
    let (ids, names) = (
        texts(&body["inputs"], Some("id")),
        texts(&body["properties"], None),
    );
    if ids.is_empty() || ids.len() > MOST {
        return Err(Refusal::invalid(format!(
            "The batch request may not contain more than {MOST} inputs, and one at least"
        )));
    }
    let archived = call.get("archived") == Some("true");
    let (mut results, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        match resolve(portal, object, &id)
            .filter(|row| portal.archived_ms(object, *row).is_some() == archived)
        {
            Some(row) => results.push(record(portal, object, row, &names)),
            None => missing.push(id),
        }
    }
    let now = iso(crate::app::now_ms());
    let mut json = json!({ "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now });
    if missing.is_empty() {
        return Ok((200, json));
    }
    json["numErrors"] = 1.into();
    json["errors"] = json!([{
        "status": "error", "category": "OBJECT_NOT_FOUND", "context": { "ids": missing }, "links": {}, "errors": [],
        "message": format!("Could not get some {} objects, they may be deleted or not exist. Check that ids are valid.",
            object.singular().to_uppercase()),
    }]);
    Ok((207, json))
}
