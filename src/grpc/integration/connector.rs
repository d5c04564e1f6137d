//! The connectors, and which of them a group has enabled.

use super::answer::{Answer, after};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::Error;
use crate::grpc::page_token::{self, Pages};
use crate::grpc::{convert, gate, page, validate};
use crate::proto::v1;
use crate::service::{self, Services};
use tonic::{Request, Response};

/// The group of an optional `parent`; if it is empty, the caller's own.
async fn parent(services: &Services, caller: &Caller, parent: &str) -> Result<Option<GroupId>, Error> {
    if parent.is_empty() {
        return caller
            .group
            .as_deref()
            .map(|group| group.parse().map_err(Error::internal))
            .transpose();
    }
    let parent = validate::group("parent", parent)?;
    services.reader(caller.clone(), &parent).await?;
    Ok(Some(parent))
}

pub(super) async fn list_connectors(
    services: &Services,
    request: Request<v1::ListConnectorsRequest>,
) -> Answer<v1::ListConnectorsResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    let parent = parent(services, &caller, &request.parent).await?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(
        services.sealer(),
        "ListConnectors",
        caller.group.as_deref(),
        &request,
    );
    let from = page_token::offset(pages.after(&token)?)?;
    let all = services.connector_list(parent.as_ref()).await?;
    let (connectors, more) = page::fill(size, all.into_iter().skip(from), convert::connector);
    Ok(Response::new(v1::ListConnectorsResponse {
        next_page_token: pages.next(after(from, &connectors, more))?,
        connectors,
    }))
}

pub(super) async fn get_connector(
    services: &Services,
    request: Request<v1::GetConnectorRequest>,
) -> Answer<v1::Connector> {
    let caller = gate::caller(&request)?;
    let request = request.into_inner();
    let id = validate::connector("name", &request.name)?;
    let parent = parent(services, &caller, &request.parent).await?;
    Ok(Response::new(convert::connector(
        services.connector_get(parent.as_ref(), &id).await?,
    )))
}

pub(super) async fn enable_connector(
    services: &Services,
    request: Request<v1::EnableConnectorRequest>,
) -> Answer<v1::Connector> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    service::require_own_group(&author, &validate::group("parent", &request.parent)?)?;
    let id = validate::connector("connector", &request.connector)?;
    let enabled = services.connector_enable(&author, &id, true).await?;
    Ok(Response::new(convert::connector(enabled)))
}

pub(super) async fn disable_connector(
    services: &Services,
    request: Request<v1::DisableConnectorRequest>,
) -> Answer<v1::Connector> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    service::require_own_group(&author, &validate::group("parent", &request.parent)?)?;
    let id = validate::connector("connector", &request.connector)?;
    let disabled = services.connector_enable(&author, &id, false).await?;
    Ok(Response::new(convert::connector(disabled)))
}
