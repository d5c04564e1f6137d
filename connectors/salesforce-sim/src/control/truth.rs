//! The expected result of a complete and correct read, row by row.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::{Refusal, refuse};
use crate::app::{App, UserKey};
use crate::org::Row;
use crate::schema::Field;
use crate::value::Form;

const CHUNK: u32 = 2000;

/// `GET /control/truth?object=Account&fields=Id,Name&user=…&deleted=false&form=canonical|wire`: one JSON object per
/// line, ordered by id, with the keys in the requested order.
pub(crate) async fn truth(
    State(app): State<Arc<App>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let user = app.named_user(asked.get("user").map(String::as_str))?;
    let name = asked.get("object").map_or("Account", String::as_str);
    let all = asked.get("deleted").is_some_and(|d| d == "true");
    let form = if asked.get("form").is_some_and(|f| f == "wire") {
        Form::Wire
    } else {
        Form::Canonical
    };
    let (table, fields, range) = {
        let org = app.orgs[user.org].read();
        let viewer = org
            .user(user.user)
            .map(|user| crate::soql::Viewer { org: &org, user });
        let viewer = viewer.ok_or_else(|| Refusal("there is no such user".to_owned()))?;
        let Some((table, _)) = viewer.object(name) else {
            return refuse(format!("the user sees no object {name}"));
        };
        let fields: Vec<Field> = match asked.get("fields") {
            None => viewer.fields(table).cloned().collect(),
            Some(names) => {
                let find = |name: &str| viewer.field(table, name.trim()).cloned();
                let found: Option<Vec<Field>> = names.split(',').map(find).collect();
                found.ok_or_else(|| Refusal("the user does not see all of these fields".to_owned()))?
            }
        };
        (table, fields, org.tables[table].range())
    };
    let plan = Arc::new((user, table, fields, all, form));
    let chunks = stream::unfold(range.start, move |from| {
        let (app, plan, end) = (app.clone(), plan.clone(), range.end);
        async move {
            if from >= end {
                return None;
            }
            let to = end.min(from + CHUNK);
            let (user, table, fields, all, form) = &*plan;
            let text = rows(&app, *user, *table, fields, *all, *form, from..to);
            Some((Ok::<_, std::io::Error>(Bytes::from(text)), to))
        }
    });
    Ok((
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(chunks),
    )
        .into_response())
}

fn rows(
    app: &App,
    user: UserKey,
    table: usize,
    fields: &[Field],
    all: bool,
    form: Form,
    range: std::ops::Range<u32>,
) -> String {
    let org = app.orgs[user.org].read();
    let unshared = org.user(user.user).map(|user| user.unshared.clone());
    let unshared = unshared.unwrap_or_default();
    let mut out = String::new();
    for row in range {
        let shown = if all {
            org.tables[table].exists(row)
        } else {
            org.tables[table].live(row)
        };
        if !shown || unshared.contains(&Row { table, row }) {
            continue;
        }
        out.push('{');
        for (n, field) in fields.iter().enumerate() {
            out.push_str(if n == 0 { "\"" } else { ",\"" });
            out.push_str(&field.name);
            out.push_str("\":");
            org.cell(Row { table, row }, field).write(&mut out, form);
        }
        out.push_str("}\n");
    }
    out
}
