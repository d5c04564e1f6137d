//! Associations of records: many to many, with labels.

use serde_json::{Value as Json, json};

use super::{Answer, Call};
use crate::app::{iso, now_ms};
use crate::portal::Portal;
use crate::portal::schema::Object;
use crate::refusal::Refusal;

fn page(
    portal: &Portal,
    from: Object,
    row: u32,
    to: Object,
    after: usize,
    limit: usize,
) -> (Vec<Json>, Option<String>) {
    let ends = portal.linked(from, row, to);
    let results = ends
        .iter()
        .enumerate()
        .skip(after)
        .take(limit)
        .map(|(at, end)| {
            let mut types = vec![json!({ "category": "HUBSPOT_DEFINED", "typeId": 279, "label": null })];
            if at == 0 {
                types.push(json!({ "category": "HUBSPOT_DEFINED", "typeId": 1, "label": "Primary" }));
            }
            if end % 11 == 3 {
                types.push(json!({ "category": "USER_DEFINED", "typeId": 37, "label": "Billing contact" }));
            }
            json!({ "toObjectId": to.id(*end), "associationTypes": types })
        })
        .collect();
    let next = (ends.len() > after + limit).then(|| (after + limit).to_string());
    (results, next)
}

fn paging(next: Option<String>) -> Option<Json> {
    next.map(|after| json!({ "next": { "after": after, "link": "https://api.hubapi.com/crm/v4/x" } }))
}

/// `POST /crm/v4/associations/{from}/{to}/batch/read`: 207 if some records have none.
pub(crate) fn batch(portal: &Portal, call: &Call<'_>, from: Object, to: Object) -> Answer {
    call.needs(&[from, to])?;
    let body = call.json()?;
    let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
    let most = portal.quirks.association_inputs;
    if inputs.is_empty() || inputs.len() > most {
        return Err(Refusal::invalid(format!(
            "The batch request may not contain more than {most} inputs, and one at least"
        )));
    }
    let limit = portal.quirks.associations_a_page;
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in &inputs {
        let id = input["id"].as_str().unwrap_or_default();
        let after = super::offset(input["after"].as_str())?;
        let row = portal.find(from, id).filter(|row| portal.is_live(from, *row));
        let (to_list, next) =
            row.map_or_else(Default::default, |row| page(portal, from, row, to, after, limit));
        if to_list.is_empty() {
            errors.push(json!({
                "status": "error", "category": "OBJECT_NOT_FOUND", "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                "message": format!("No {} is associated with {} {id}.", to.singular(), from.singular()),
                "context": { "fromObjectId": [id], "fromObjectType": [from.singular()], "toObjectType": [to.singular()] },
                "links": {}, "errors": [],
            }));
            continue;
        }
        let mut result = json!({ "from": { "id": id }, "to": to_list });
        if let Some(paging) = paging(next) {
            result["paging"] = paging;
        }
        results.push(result);
    }
    let now = iso(now_ms());
    let mut json = json!({ "status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now });
    if errors.is_empty() {
        return Ok((200, json));
    }
    json["numErrors"] = errors.len().into();
    json["errors"] = errors.into();
    Ok((207, json))
}

/// `GET /crm/v4/objects/{from}/{id}/associations/{to}`.
pub(crate) fn of(portal: &Portal, call: &Call<'_>, from: Object, id: &str, to: Object) -> Answer {
    call.needs(&[from, to])?;
    let row = portal
        .find(from, id)
        .filter(|row| portal.is_live(from, *row))
        .ok_or_else(Refusal::not_found)?;
    let after = super::offset(call.get("after"))?;
    let limit = call.get("limit").and_then(|l| l.parse().ok()).unwrap_or(500);
    let (results, next) = page(portal, from, row, to, after, limit);
    let mut json = json!({ "results": results });
    if let Some(paging) = paging(next) {
        json["paging"] = paging;
    }
    Ok((200, json))
}
