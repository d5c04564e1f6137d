//! Fields: those a user can see in the CRM, the selected ones, and which of them a group has made active.

use super::answer::{Answer, after};
use crate::error::{Error, echo};
use crate::grpc::edit::field_keys;
use crate::grpc::page_token::{self, Pages};
use crate::grpc::{convert, gate, page, validate};
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::service::FieldRef;
use crate::service::Services;
use tonic::{Request, Response};

pub(super) async fn list_available_fields(
    services: &Services,
    request: Request<v1::ListAvailableFieldsRequest>,
) -> Answer<v1::ListAvailableFieldsResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    let id = validate::integration("parent", &request.parent)?;
    validate::list("objects", &request.objects, 20)?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 500, 2_000)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(
        services.sealer(),
        "ListAvailableFields",
        caller.group.as_deref(),
        &request,
    );
    let from = page_token::offset(pages.after(&token)?)?;
    let listed = services
        .field_list_available(&caller, id, &request.objects, !token.is_empty())
        .await?;
    let (objects, next) = convert::available_objects(&listed, from, size);
    Ok(Response::new(v1::ListAvailableFieldsResponse {
        objects,
        next_page_token: pages.next(next.map(|next| vec![Kind::Integer(next as i64)]))?,
        total_size: i32::try_from(listed.total()).unwrap_or(i32::MAX),
        read_time: Some(convert::timestamp(listed.read_us())),
    }))
}

pub(super) async fn list_fields(
    services: &Services,
    request: Request<v1::ListFieldsRequest>,
) -> Answer<v1::ListFieldsResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    let id = validate::integration("parent", &request.parent)?;
    let caller = services.reader_of(caller, id).await?;
    validate::list("objects", &request.objects, 20)?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 500, 2_000)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(services.sealer(), "ListFields", caller.group.as_deref(), &request);
    let from = page_token::offset(pages.after(&token)?)?;
    let (label, mut fields, receivers) = services.field_list(&caller, id).await?;
    fields.sort_by(|a, b| (&a.field.object, &a.field.key).cmp(&(&b.field.object, &b.field.key)));
    let activation = request.activation();
    fields.retain(|one| {
        let of_object = request.objects.is_empty() || request.objects.contains(&one.field.object);
        of_object
            && match activation {
                v1::FieldActivation::Unspecified => true,
                v1::FieldActivation::Active => one.active,
                v1::FieldActivation::Passive => !one.active,
            }
    });
    let (page, more) = page::fill(size, fields.iter().skip(from), |one| {
        let key = FieldRef {
            object: one.field.object.clone(),
            key: one.field.key.clone(),
        };
        convert::field(&label, one, receivers.get(&key).copied().unwrap_or_default())
    });
    Ok(Response::new(v1::ListFieldsResponse {
        next_page_token: pages.next(after(from, &page, more))?,
        fields: page,
        total_size: i32::try_from(fields.len()).unwrap_or(i32::MAX),
    }))
}

pub(super) async fn batch_update_field_activation(
    services: &Services,
    request: Request<v1::BatchUpdateFieldActivationRequest>,
) -> Answer<v1::BatchUpdateFieldActivationResponse> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let id = validate::integration("parent", &request.parent)?;
    let active = field_keys("active_fields", &request.active_fields)?;
    let passive = field_keys("passive_fields", &request.passive_fields)?;
    if active.is_empty() && passive.is_empty() {
        return Err(Error::invalid("active_fields", "names no field, nor does passive_fields").into());
    }
    if let Some((object, key)) = active.iter().find(|key| passive.contains(key)) {
        return Err(Error::invalid(
            "passive_fields",
            format!("{} is in both lists", echo(&format!("{object}.{key}"))),
        )
        .into());
    }
    let done = services
        .field_activate(&author, id, active, passive, request.validate_only)
        .await?;
    Ok(Response::new(convert::activated(&done)))
}
