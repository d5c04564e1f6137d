//! Single records: by id, by external id, by relationship, and by a list of ids.

use serde::Deserialize;

use super::{Call, Reply, query};
use crate::errors::Error;
use crate::ids;
use crate::org::Row;
use crate::soql::Viewer;
use crate::soql::ast::{Path, Query, Select};
use crate::soql::plan::{Item, Node, Plan, plan};
use crate::soql::render::{Keep, Renderer};

/// Single records have no further pages.
struct Nothing;

impl Keep for Nothing {
    fn keep(&self, _: &std::sync::Arc<Plan>, _: std::sync::Arc<Vec<u32>>, _: usize) -> String {
        String::new()
    }
}

/// `GET /sobjects/{object}/{id}?fields=a,b`.
pub(crate) fn get(call: &Call<'_>, name: &str, id: &str) -> Result<Reply, Error> {
    let org = call.org();
    let viewer = call.viewer(&org)?;
    let (table, object) = viewer.object(name).ok_or_else(Error::not_found)?;
    if ids::normalise(id).is_none() {
        // A text that is not an id is interpreted as the name of an external id field.
        let message = format!("Provided external ID field does not exist or is not accessible: {id}");
        return Err(Error::new(404, "NOT_FOUND", message));
    }
    let row = ids::decode(object.prefix, id)
        .filter(|row| org.tables[table].exists(*row) && viewer.sees(table, *row));
    let row = row.ok_or_else(Error::not_found)?;
    if org.tables[table].deleted(row) {
        return Err(Error::new(404, "ENTITY_IS_DELETED", "entity is deleted"));
    }
    let node = columns(viewer, table, call.param("fields").as_deref())?;
    Ok(Reply::ok(render(call, viewer, table, &node, row)))
}

/// `/sobjects/{object}/{id}/{relationship}` or `/sobjects/{object}/{external id field}/{value}`.
pub(crate) fn get_more(call: &Call<'_>, name: &str, id: &str, more: &str) -> Result<Reply, Error> {
    let org = call.org();
    let viewer = call.viewer(&org)?;
    let (table, object) = viewer.object(name).ok_or_else(Error::not_found)?;
    if let Some(field) = viewer.field(table, id).filter(|f| f.external) {
        let found = org.tables[table].range().find(|row| {
            org.tables[table].live(*row)
                && viewer.sees(table, *row)
                && org.cell(Row { table, row: *row }, field).as_text() == more
        });
        let node = columns(viewer, table, call.param("fields").as_deref())?;
        return Ok(Reply::ok(render(
            call,
            viewer,
            table,
            &node,
            found.ok_or_else(Error::not_found)?,
        )));
    }
    if ids::decode(object.prefix, id).is_none_or(|row| !org.tables[table].live(row)) {
        return Err(Error::not_found());
    }
    let child = object
        .children()
        .iter()
        .find(|c| c.name.is_some_and(|n| n.eq_ignore_ascii_case(more)));
    let child = child.ok_or_else(Error::not_found)?;
    let fields = call.param("fields").unwrap_or_else(|| "Id".to_owned());
    let soql = format!(
        "SELECT {fields} FROM {} WHERE {} = '{id}'",
        child.object, child.field
    );
    drop(org);
    query::run_soql(call, &soql, false)
}

#[derive(Deserialize)]
struct Collection {
    ids: Vec<String>,
    fields: Vec<String>,
}

/// `POST /composite/sobjects/{object}`: up to 2,000 records by id; null for a missing record.
pub(crate) fn collection(call: &Call<'_>, name: &str) -> Result<Reply, Error> {
    let wanted: Collection =
        serde_json::from_slice(call.body).map_err(|e| Error::new(400, "JSON_PARSER_ERROR", e.to_string()))?;
    if wanted.ids.len() > 2000 {
        return Err(Error::new(
            400,
            "EXCEEDED_ID_LIMIT",
            "record limit reached. cannot retrieve more than 2000 records",
        ));
    }
    let org = call.org();
    let viewer = call.viewer(&org)?;
    let (table, object) = viewer.object(name).ok_or_else(Error::not_found)?;
    let node = columns(viewer, table, Some(&wanted.fields.join(",")))?;
    let records: Vec<String> = wanted
        .ids
        .iter()
        .map(|id| {
            match ids::decode(object.prefix, id)
                .filter(|row| org.tables[table].live(*row) && viewer.sees(table, *row))
            {
                Some(row) => render(call, viewer, table, &node, row),
                None => "null".to_owned(),
            }
        })
        .collect();
    Ok(Reply::ok(format!("[{}]", records.join(","))))
}

fn render(call: &Call<'_>, viewer: Viewer<'_>, table: usize, node: &Node, row: u32) -> String {
    let renderer = Renderer {
        org: viewer.org,
        version: call.version(),
        batch: 2000,
        all: false,
        keep: &Nothing,
    };
    let mut out = String::new();
    renderer.record(table, node, row, &mut out);
    out
}

/// The columns: the requested fields, or all that the user may see.
pub(crate) fn columns(viewer: Viewer<'_>, table: usize, fields: Option<&str>) -> Result<Node, Error> {
    let object = &viewer.org.schema.objects[table];
    let Some(fields) = fields else {
        let cell = |f: &crate::schema::Field| (f.name.clone(), Item::Cell(f.clone()));
        return Ok(Node {
            items: viewer.fields(table).map(cell).collect(),
        });
    };
    let mut names: Vec<&str> = fields
        .split(',')
        .map(str::trim)
        .filter(|f| !f.is_empty())
        .collect();
    if !names.iter().any(|n| n.eq_ignore_ascii_case("Id")) {
        names.push("Id");
    }
    let path = |name: &str| Path {
        parts: name.split('.').map(str::to_owned).collect(),
        at: 0,
    };
    let query = |names: &[&str]| Query {
        select: names.iter().map(|n| Select::Field(path(n))).collect(),
        from: path(object.name),
        alias: None,
        filter: None,
        group: Vec::new(),
        order: Vec::new(),
        limit: None,
        offset: None,
    };
    for name in &names {
        if plan(viewer, "", &query(&[name])).is_err() {
            let message = format!("No such column '{name}' on sobject of type {}", object.name);
            return Err(Error::new(400, "INVALID_FIELD", message));
        }
    }
    Ok(plan(viewer, "", &query(&names))?.node)
}
