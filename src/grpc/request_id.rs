//! Request ids, each with the hash of its request.

use super::validate;
use crate::error::Result;
use crate::proto::v1;
use crate::service::RequestKey;
use std::collections::BTreeMap;

/// The key of a request without maps; `None` if the request has no id.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn of(method: &'static str, id: &str, request: &impl prost::Message) -> Result<Option<RequestKey>> {
    let id = validate::request_id(id)?;
    Ok(id.map(|id| RequestKey::new(method, id, request, &BTreeMap::new())))
}

/// The key of a CreateIntegration, whose settings are a map.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn of_create(request: &v1::CreateIntegrationRequest) -> Result<Option<RequestKey>> {
    let id = validate::request_id(&request.request_id)?;
    Ok(id.map(|id| {
        let mut bare = request.clone();
        let settings = bare
            .integration
            .as_mut()
            .map(|of| std::mem::take(&mut of.settings));
        let settings = settings.unwrap_or_default().into_iter().collect();
        RequestKey::new("CreateIntegration", id, &bare, &settings)
    }))
}
