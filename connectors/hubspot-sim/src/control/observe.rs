//! The content of the portals, and the expected result of a complete read.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Answer, Refusal, object, portal};
use crate::app::App;
use crate::portal::schema::{OBJECTS, Object};

/// `GET /control`: the portals, their users, and their numbers of live rows.
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

/// `GET /control/truth?object=companies&fields=name,domain&deleted=true`: one JSON object per line, ordered by id:
/// `id`, `archived`, `updatedAt`, `mergedInto`, `companies` (the ids of its companies), and the fields in HubSpot's
/// form.
pub(crate) async fn truth(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
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
                .ok_or_else(|| Refusal(format!("{} have no property {name}", object.plural())))?;
            line[name] = of.value(object, row, property).into();
        }
        _ = writeln!(out, "{line}");
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], out).into_response())
}
