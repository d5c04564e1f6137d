//! Shares: which groups receive an integration.

use super::answer::{Answer, after};
use crate::grpc::edit::new_share;
use crate::grpc::page_token::{self, Pages};
use crate::grpc::{convert, gate, page, validate};
use crate::proto::v1;
use crate::service::{self, Services};
use tonic::{Request, Response};

pub(super) async fn search_shareable_groups(
    services: &Services,
    request: Request<v1::SearchShareableGroupsRequest>,
) -> Answer<v1::SearchShareableGroupsResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    service::require_own_group(&caller, &validate::group("parent", &request.parent)?)?;
    validate::text("query", &request.query, validate::QUERY_LENGTH)?;
    let integration = match request.integration.as_str() {
        "" => None,
        name => Some(validate::integration("integration", name)?),
    };
    let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(
        services.sealer(),
        "SearchShareableGroups",
        caller.group.as_deref(),
        &request,
    );
    let from = page_token::offset(pages.after(&token)?)?;
    let found = services
        .group_search_shareable(&caller, &request.query, integration)
        .await?;
    let (groups, more) = page::fill(size, found.iter().skip(from), |one| v1::ShareableGroup {
        group: one.group.id.name(),
        display_name: one.group.display_name.clone(),
        shared: one.shared,
    });
    Ok(Response::new(v1::SearchShareableGroupsResponse {
        next_page_token: pages.next(after(from, &groups, more))?,
        groups,
    }))
}

pub(super) async fn set_share(
    services: &Services,
    request: Request<v1::SetShareRequest>,
) -> Answer<v1::Share> {
    let author = gate::author(&request)?;
    let share = request.into_inner().share.unwrap_or_default();
    let (id, group) = validate::share("share.name", &share.name)?;
    let new = new_share("share", group, &share)?;
    let (share, saved) = services.share_set(&author, id, new).await?;
    Ok(Response::new(convert::share(&share, saved)))
}

pub(super) async fn remove_share(
    services: &Services,
    request: Request<v1::RemoveShareRequest>,
) -> Answer<v1::RemoveShareResponse> {
    let author = gate::author(&request)?;
    let (id, group) = validate::share("name", &request.into_inner().name)?;
    services.share_remove(&author, id, &group).await?;
    Ok(Response::new(v1::RemoveShareResponse {}))
}

pub(super) async fn list_shares(
    services: &Services,
    request: Request<v1::ListSharesRequest>,
) -> Answer<v1::ListSharesResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    let id = validate::integration("parent", &request.parent)?;
    let caller = services.reader_of(caller, id).await?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 500)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(services.sealer(), "ListShares", caller.group.as_deref(), &request);
    let from = page_token::offset(pages.after(&token)?)?;
    let (shares, saved) = services.share_list(&caller, id).await?;
    let (page, more) = page::fill(size, shares.iter().skip(from), |one| convert::share(one, saved));
    Ok(Response::new(v1::ListSharesResponse {
        next_page_token: pages.next(after(from, &page, more))?,
        shares: page,
        total_size: i32::try_from(shares.len()).unwrap_or(i32::MAX),
    }))
}
