//! `tether.v1.GroupService`: the platform creates, connects and deletes groups.

use super::page_token::Pages;
use super::{convert, gate, page, validate};
use crate::domain::GroupId;
use crate::error::Error;
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::proto::v1::group_service_server::GroupService;
use crate::service::Group;
use crate::service::Services;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// The service.
pub struct Groups(pub Services);

fn group((of, connections): &(Group, usize)) -> v1::Group {
    v1::Group {
        name: of.id.name(),
        display_name: of.display_name.clone(),
        connected_group_count: i32::try_from(*connections).unwrap_or(i32::MAX),
        create_time: Some(convert::timestamp(of.create_us)),
        update_time: Some(convert::timestamp(of.update_us)),
    }
}

#[tonic::async_trait]
impl GroupService for Groups {
    async fn upsert_group(&self, request: Request<v1::UpsertGroupRequest>) -> Answer<v1::Group> {
        let author = gate::author(&request)?;
        let wanted = request.into_inner().group.unwrap_or_default();
        let id = validate::group("group.name", &wanted.name)?;
        self.0.about(&author, &id)?;
        let name = validate::group_name("group.display_name", &wanted.display_name)?;
        Ok(Response::new(group(
            &self.0.group_upsert(&author, &id, &name).await?,
        )))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Answer<v1::DeleteGroupResponse> {
        let author = gate::author(&request)?;
        let id = validate::group("name", &request.into_inner().name)?;
        self.0.about(&author, &id)?;
        let gone = self.0.group_delete(&author, &id).await?;
        let deleted = v1::DeleteGroupResponse {
            deleted_integration_count: i32::try_from(gone.integrations).unwrap_or(i32::MAX),
            ended_share_count: i32::try_from(gone.shares).unwrap_or(i32::MAX),
        };
        Ok(Response::new(deleted))
    }

    async fn connect_groups(
        &self,
        request: Request<v1::ConnectGroupsRequest>,
    ) -> Answer<v1::ConnectGroupsResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let one = validate::group("group", &request.group)?;
        let other = validate::group("other_group", &request.other_group)?;
        self.0.group_connect(&author, &one, &other).await?;
        Ok(Response::new(v1::ConnectGroupsResponse {}))
    }

    async fn disconnect_groups(
        &self,
        request: Request<v1::DisconnectGroupsRequest>,
    ) -> Answer<v1::DisconnectGroupsResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let one = validate::group("group", &request.group)?;
        let other = validate::group("other_group", &request.other_group)?;
        let ended = self.0.group_disconnect(&author, &one, &other).await?;
        let done = v1::DisconnectGroupsResponse {
            ended_share_count: i32::try_from(ended).unwrap_or(i32::MAX),
        };
        Ok(Response::new(done))
    }

    async fn list_groups(&self, request: Request<v1::ListGroupsRequest>) -> Answer<v1::ListGroupsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let to = match request.connected_to.as_str() {
            "" => None,
            name => Some(validate::group("connected_to", name)?),
        };
        if let Some(to) = &to {
            self.0.about(&caller, to)?;
        }
        let size = validate::page_size(std::mem::take(&mut request.page_size), 100, 1_000)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListGroups", caller.group.as_deref(), &request);
        let after: Option<GroupId> = match pages.after(&token)?.as_deref() {
            Some([Kind::Text(id)]) => Some(
                id.parse()
                    .map_err(|_| Error::invalid("page_token", "is not of this list"))?,
            ),
            _ => None,
        };
        let groups = self.0.group_list(to.as_ref(), after.as_ref(), size + 1).await?;
        let (page, more) = page::fill(size, &groups, group);
        let last = page.len().checked_sub(1).filter(|_| more);
        let next = last.map(|last| vec![Kind::Text(groups[last].0.id.to_string())]);
        Ok(Response::new(v1::ListGroupsResponse {
            next_page_token: pages.next(next)?,
            groups: page,
        }))
    }
}
