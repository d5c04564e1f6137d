//! Integrations: create, read, edit, save, delete, connect.

use super::answer::Answer;
use super::sync;
use crate::caller::Role;
use crate::domain::{IntegrationId, IntegrationState};
use crate::error::Error;
use crate::grpc::edit::{edit, revision};
use crate::grpc::page::Page;
use crate::grpc::page_token::{self, Pages};
use crate::grpc::{budget, convert, gate, request_id, schedule, validate};
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1::{self, delete_integration_response};
use crate::service::{self, Edit, Services, Standing};
use crate::service::{Relation, Source};
use tonic::{Request, Response};

pub(super) async fn create_integration(
    services: &Services,
    request: Request<v1::CreateIntegrationRequest>,
) -> Answer<v1::Integration> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    service::require_own_group(&author, &validate::group("parent", &request.parent)?)?;
    let wanted = request.integration.clone().unwrap_or_default();
    let connector = validate::connector("integration.connector", &wanted.connector)?;
    let name = validate::display_name("integration.display_name", &wanted.display_name)?;
    validate::map("integration.settings", &wanted.settings, 20, 2_048)?;
    for (field, given) in [
        ("integration.selected_fields", !wanted.selected_fields.is_empty()),
        ("integration.shares", !wanted.shares.is_empty()),
        ("integration.etag", !wanted.etag.is_empty()),
    ] {
        if given {
            let text = "must be empty: fields and shares come after the login, with UpdateIntegration";
            return Err(Error::invalid(field, text).into());
        }
    }
    let schedule = schedule::read("integration.schedule", wanted.schedule.as_ref())?;
    let key = request_id::of_create(&request)?;
    let label = match wanted.label.as_str() {
        "" => None,
        label => Some(validate::label("integration.label", label)?),
    };
    let draft = service::Draft {
        connector,
        display_name: name,
        label,
        connected: wanted.connected.unwrap_or(true),
        settings: wanted.settings.into_iter().collect(),
        schedule,
        budget: budget::read("integration.api_budget", wanted.api_budget.as_ref())?,
    };
    let create = services.integration_create(&author, draft, key.as_ref(), request.validate_only);
    let mut created = convert::integration(&create.await?);
    if request.validate_only {
        // It is not stored and has no name.
        created.name.clear();
    }
    Ok(Response::new(created))
}

pub(super) async fn get_integration(
    services: &Services,
    request: Request<v1::GetIntegrationRequest>,
) -> Answer<v1::Integration> {
    let caller = gate::caller(&request)?;
    let id = validate::integration("name", &request.into_inner().name)?;
    let caller = services.reader_of(caller, id).await?;
    Ok(Response::new(convert::integration(
        &services.integration_get(&caller, id).await?,
    )))
}

pub(super) async fn list_integrations(
    services: &Services,
    request: Request<v1::ListIntegrationsRequest>,
) -> Answer<v1::ListIntegrationsResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    let parent = validate::group("parent", &request.parent)?;
    let caller = services.reader(caller, &parent).await?;
    validate::list("states", &request.states, 10)?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(
        services.sealer(),
        "ListIntegrations",
        caller.group.as_deref(),
        &request,
    );
    let after = page_token::time_and_id::<IntegrationId>(pages.after(&token)?)?;
    let connector = match request.connector.as_str() {
        "" => None,
        name => Some(validate::connector("connector", name)?),
    };
    let now = crate::time::now_us();
    let wanted = |source: &Source| {
        let view = &source.integration;
        let state = convert::state(Standing::of(source, now)) as i32;
        let relation = match source.relation {
            Relation::Owned => v1::integration::Relation::Owned,
            Relation::Received => v1::integration::Relation::Received,
        } as i32;
        let states = &request.states;
        // Members do not see drafts.
        (view.state != IntegrationState::Draft || caller.role != Role::Member)
            && connector
                .as_ref()
                .is_none_or(|connector| view.connector == *connector)
            && (request.relation == relation || request.relation() == v1::integration::Relation::Unspecified)
            && if states.is_empty() {
                view.state != IntegrationState::Draft
            } else {
                states.contains(&state)
            }
    };
    let (sources, total) = services.integration_sources(&parent, wanted, after).await?;
    let (mut page, mut next) = (Page::new(size), None);
    let place = |source: &Source| {
        vec![
            Kind::Integer(source.create_us),
            Kind::Text(source.integration.id.to_string()),
        ]
    };
    // One at a time: the view of an integration may be large.
    let mut last = None;
    for source in sources {
        let here = place(&source);
        let on_it = page.len() < size && {
            let view = services.integration_view(&parent, source).await?;
            page.push(convert::listed_integration(&view))
        };
        if !on_it {
            next = last;
            break;
        }
        last = Some(here);
    }
    Ok(Response::new(v1::ListIntegrationsResponse {
        integrations: page.into_items(),
        next_page_token: pages.next(next)?,
        total_size: i32::try_from(total).unwrap_or(i32::MAX),
    }))
}

pub(super) async fn update_integration(
    services: &Services,
    request: Request<v1::UpdateIntegrationRequest>,
) -> Answer<v1::Integration> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let wanted = request.integration.unwrap_or_default();
    let id = validate::integration("integration.name", &wanted.name)?;
    let edit = edit("integration", &wanted, request.update_mask.as_ref())?;
    let view = services
        .integration_update(&author, id, edit, request.validate_only)
        .await?;
    Ok(Response::new(convert::integration(&view)))
}

pub(super) async fn delete_integration(
    services: &Services,
    request: Request<v1::DeleteIntegrationRequest>,
) -> Answer<v1::DeleteIntegrationResponse> {
    use delete_integration_response::Access;
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let id = validate::integration("name", &request.name)?;
    let removed = services
        .integration_delete(&author, id, revision("etag", &request.etag)?)
        .await?;
    let access = match removed.access {
        service::Access::None => Access::None,
        service::Access::Revoked => Access::Revoked,
        service::Access::NotRevocable => Access::NotRevocable,
        service::Access::Pending => Access::RevocationPending,
        service::Access::Kept => Access::Kept,
    };
    let deleted = v1::DeleteIntegrationResponse {
        access: access as i32,
        affected_group_count: i32::try_from(removed.groups).unwrap_or(i32::MAX),
        company_record_count: removed.company_records,
    };
    Ok(Response::new(deleted))
}

pub(super) async fn review_integration(
    services: &Services,
    request: Request<v1::ReviewIntegrationRequest>,
) -> Answer<v1::ReviewIntegrationResponse> {
    let caller = gate::caller(&request)?;
    let request = request.into_inner();
    let id = validate::integration("name", &request.name)?;
    let edit = match &request.proposal {
        Some(proposal) => edit("proposal", proposal, request.update_mask.as_ref())?,
        None => Edit::default(),
    };
    let review = services.integration_review(&caller, id, edit).await?;
    Ok(Response::new(convert::review(&review)))
}

pub(super) async fn activate_integration(
    services: &Services,
    request: Request<v1::ActivateIntegrationRequest>,
) -> Answer<v1::ActivateIntegrationResponse> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let id = validate::integration("name", &request.name)?;
    let key = request_id::of("ActivateIntegration", &request.request_id, &request)?;
    let revision = revision("etag", &request.etag)?;
    let save = services.integration_activate(&author, id, revision, key.as_ref(), request.validate_only);
    let (view, sync) = save.await?;
    let sync = match &sync {
        Some(sync) => Some(sync::message(services, sync).await?),
        None => None,
    };
    let activated = v1::ActivateIntegrationResponse {
        integration: Some(convert::integration(&view)),
        sync,
    };
    Ok(Response::new(activated))
}

pub(super) async fn connect_integration(
    services: &Services,
    request: Request<v1::ConnectIntegrationRequest>,
) -> Answer<v1::Integration> {
    let author = gate::author(&request)?;
    let id = validate::integration("name", &request.into_inner().name)?;
    let view = services.integration_connect(&author, id, true).await?;
    Ok(Response::new(convert::integration(&view)))
}

pub(super) async fn disconnect_integration(
    services: &Services,
    request: Request<v1::DisconnectIntegrationRequest>,
) -> Answer<v1::Integration> {
    let author = gate::author(&request)?;
    let id = validate::integration("name", &request.into_inner().name)?;
    let view = services.integration_connect(&author, id, false).await?;
    Ok(Response::new(convert::integration(&view)))
}
