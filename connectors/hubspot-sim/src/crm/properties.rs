//! The properties of an object.

use serde_json::{Value as Json, json};

use super::{Answer, Call};
use crate::portal::Portal;
use crate::portal::schema::Object;

/// `GET /crm/v3/properties/{object}`: all of them, in one answer.
pub(crate) fn list(portal: &Portal, call: &Call<'_>, object: Object) -> Answer {
    call.needs(&[object])?;
    let results: Vec<Json> = portal.properties[object.index()]
        .iter()
        .map(|p| p.json())
        .collect();
    Ok((200, json!({ "results": results })))
}
