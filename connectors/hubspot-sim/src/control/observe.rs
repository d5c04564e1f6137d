//! Faults to order, the journal, what there is, and what a perfect read would find.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Answer, Given, No, object, portal};
use crate::app::App;
use crate::faults::Fault;
use crate::portal::schema::{OBJECTS, Object};

/// `GET /control`: the portals, their users, and how many live rows they have.
pub(crate) async fn info(State(app): State<Arc<App>>) -> Answer {
    let portals: Vec<Value> = app
        .portals
        .lock()
        .iter()
        .map(|p| {
            let live = |o: Object| p.rows(o).filter(|row| p.is_live(o, *row)).count();
            let rows: Map<String, Value> = OBJECTS
                .iter()
                .map(|o| (o.plural().to_owned(), live(*o).into()))
                .collect();
            let users: Vec<&str> = p.users.iter().map(|u| u.email.as_str()).collect();
            json!({ "domain": p.domain, "id": p.id.to_string(), "seed": p.seed, "users": users, "rows": rows })
        })
        .collect();
    Ok(Json(json!({ "portals": portals })))
}

pub(crate) async fn faults(State(app): State<Arc<App>>) -> Answer {
    Ok(Json(json!({ "faults": *app.faults.lock() })))
}

pub(crate) async fn add_fault(State(app): State<Arc<App>>, Given(fault): Given<Fault>) -> Answer {
    let mut faults = app.faults.lock();
    faults.push(fault);
    Ok(Json(json!({ "ordered": faults.len() })))
}

pub(crate) async fn clear_faults(State(app): State<Arc<App>>) -> Answer {
    app.faults.lock().clear();
    Ok(Json(json!({ "ordered": 0 })))
}

/// `GET /control/requests?kind=list`.
pub(crate) async fn requests(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    let journal = app.journal.lock();
    let kind = asked.get("kind");
    let requests: Vec<_> = journal
        .entries
        .iter()
        .filter(|e| kind.is_none_or(|k| *k == e.kind))
        .collect();
    Ok(Json(json!({
        "total": journal.counts.values().sum::<u64>(),
        "counts": journal.counts,
        "writes": journal.writes,
        "writeRequests": journal.entries.iter().filter(|e| e.write).collect::<Vec<_>>(),
        "requests": requests,
    })))
}

pub(crate) async fn clear_requests(State(app): State<Arc<App>>) -> Answer {
    app.journal.lock().clear();
    super::done()
}

/// `GET /control/truth?object=companies&fields=name,domain&deleted=true`: one JSON object a line, in the order of ids:
/// `id`, `archived`, `updatedAt`, `mergedInto`, `companies` (the ids it hangs under), and the fields, as HubSpot spells them.
pub(crate) async fn truth(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Result<Response, No> {
    let mut portals = app.portals.lock();
    let of = portal(&mut portals, asked.get("portal").map(String::as_str))?;
    let object = object(asked.get("object").map_or("companies", String::as_str))?;
    let all = asked.get("deleted").is_some_and(|d| d == "true");
    let names: Vec<String> = match asked.get("fields") {
        None => of.properties[object.index()]
            .iter()
            .map(|p| p.name.clone())
            .collect(),
        Some(names) => names.split(',').map(str::to_owned).collect(),
    };
    let mut out = String::new();
    for row in of.rows(object) {
        let gone = of.archived_ms(object, row).is_some();
        if of.find(object, &object.id(row).to_string()).is_none() || gone && !all {
            continue;
        }
        let mut line = json!({
            "id": object.id(row).to_string(), "archived": gone,
            "updatedAt": crate::app::iso(of.updated_ms(object, row)),
        });
        if let Some(winner) = of.merged_into(object, row) {
            line["mergedInto"] = object.id(winner).to_string().into();
        }
        if object != Object::Companies {
            let companies = of.linked(object, row, Object::Companies);
            line["companies"] = companies
                .iter()
                .map(|c| Object::Companies.id(*c).to_string())
                .collect();
        }
        for name in &names {
            let property = of
                .property(object, name)
                .ok_or_else(|| No(format!("{} have no property {name}", object.plural())))?;
            line[name] = of.value(object, row, property).into();
        }
        _ = writeln!(out, "{line}");
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], out).into_response())
}
