//! `tether.v1.IntegrationService`: the handlers are in one file for each noun; the trait's methods call them.

mod answer;
mod connector;
mod field;
mod login;
mod resource;
mod share;
mod sync;

use super::watch::{self, Messages};
use super::{audit, gate, validate};
use crate::caller::Role;
use crate::proto::v1;
use crate::proto::v1::integration_service_server::IntegrationService;
use crate::service::{self, Services};
use answer::Answer;
use tonic::{Request, Response};

/// The service.
pub struct Integrations(pub Services);

#[tonic::async_trait]
impl IntegrationService for Integrations {
    async fn list_connectors(
        &self,
        request: Request<v1::ListConnectorsRequest>,
    ) -> Answer<v1::ListConnectorsResponse> {
        connector::list_connectors(&self.0, request).await
    }

    async fn get_connector(&self, request: Request<v1::GetConnectorRequest>) -> Answer<v1::Connector> {
        connector::get_connector(&self.0, request).await
    }

    async fn enable_connector(&self, request: Request<v1::EnableConnectorRequest>) -> Answer<v1::Connector> {
        connector::enable_connector(&self.0, request).await
    }

    async fn disable_connector(
        &self,
        request: Request<v1::DisableConnectorRequest>,
    ) -> Answer<v1::Connector> {
        connector::disable_connector(&self.0, request).await
    }

    async fn create_integration(
        &self,
        request: Request<v1::CreateIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        resource::create_integration(&self.0, request).await
    }

    async fn get_integration(&self, request: Request<v1::GetIntegrationRequest>) -> Answer<v1::Integration> {
        resource::get_integration(&self.0, request).await
    }

    async fn list_integrations(
        &self,
        request: Request<v1::ListIntegrationsRequest>,
    ) -> Answer<v1::ListIntegrationsResponse> {
        resource::list_integrations(&self.0, request).await
    }

    async fn update_integration(
        &self,
        request: Request<v1::UpdateIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        resource::update_integration(&self.0, request).await
    }

    async fn delete_integration(
        &self,
        request: Request<v1::DeleteIntegrationRequest>,
    ) -> Answer<v1::DeleteIntegrationResponse> {
        resource::delete_integration(&self.0, request).await
    }

    async fn begin_authorization(
        &self,
        request: Request<v1::BeginAuthorizationRequest>,
    ) -> Answer<v1::BeginAuthorizationResponse> {
        login::begin_authorization(&self.0, request).await
    }

    async fn complete_authorization(
        &self,
        request: Request<v1::CompleteAuthorizationRequest>,
    ) -> Answer<v1::CompleteAuthorizationResponse> {
        login::complete_authorization(&self.0, request).await
    }

    async fn authorize_with_credentials(
        &self,
        request: Request<v1::AuthorizeWithCredentialsRequest>,
    ) -> Answer<v1::AuthorizeWithCredentialsResponse> {
        login::authorize_with_credentials(&self.0, request).await
    }

    async fn list_available_fields(
        &self,
        request: Request<v1::ListAvailableFieldsRequest>,
    ) -> Answer<v1::ListAvailableFieldsResponse> {
        field::list_available_fields(&self.0, request).await
    }

    async fn search_shareable_groups(
        &self,
        request: Request<v1::SearchShareableGroupsRequest>,
    ) -> Answer<v1::SearchShareableGroupsResponse> {
        share::search_shareable_groups(&self.0, request).await
    }

    async fn review_integration(
        &self,
        request: Request<v1::ReviewIntegrationRequest>,
    ) -> Answer<v1::ReviewIntegrationResponse> {
        resource::review_integration(&self.0, request).await
    }

    async fn activate_integration(
        &self,
        request: Request<v1::ActivateIntegrationRequest>,
    ) -> Answer<v1::ActivateIntegrationResponse> {
        resource::activate_integration(&self.0, request).await
    }

    async fn list_fields(&self, request: Request<v1::ListFieldsRequest>) -> Answer<v1::ListFieldsResponse> {
        field::list_fields(&self.0, request).await
    }

    async fn batch_update_field_activation(
        &self,
        request: Request<v1::BatchUpdateFieldActivationRequest>,
    ) -> Answer<v1::BatchUpdateFieldActivationResponse> {
        field::batch_update_field_activation(&self.0, request).await
    }

    async fn set_share(&self, request: Request<v1::SetShareRequest>) -> Answer<v1::Share> {
        share::set_share(&self.0, request).await
    }

    async fn remove_share(
        &self,
        request: Request<v1::RemoveShareRequest>,
    ) -> Answer<v1::RemoveShareResponse> {
        share::remove_share(&self.0, request).await
    }

    async fn list_shares(&self, request: Request<v1::ListSharesRequest>) -> Answer<v1::ListSharesResponse> {
        share::list_shares(&self.0, request).await
    }

    async fn connect_integration(
        &self,
        request: Request<v1::ConnectIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        resource::connect_integration(&self.0, request).await
    }

    async fn disconnect_integration(
        &self,
        request: Request<v1::DisconnectIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        resource::disconnect_integration(&self.0, request).await
    }

    async fn sync_integration(&self, request: Request<v1::SyncIntegrationRequest>) -> Answer<v1::Sync> {
        sync::sync_integration(&self.0, request).await
    }

    async fn get_sync(&self, request: Request<v1::GetSyncRequest>) -> Answer<v1::Sync> {
        sync::get_sync(&self.0, request).await
    }

    async fn list_syncs(&self, request: Request<v1::ListSyncsRequest>) -> Answer<v1::ListSyncsResponse> {
        sync::list_syncs(&self.0, request).await
    }

    type WatchSyncStream = Messages<v1::WatchSyncResponse>;

    async fn watch_sync(&self, request: Request<v1::WatchSyncRequest>) -> Answer<Self::WatchSyncStream> {
        sync::watch_sync(&self.0, request).await
    }

    async fn cancel_sync(&self, request: Request<v1::CancelSyncRequest>) -> Answer<v1::Sync> {
        sync::cancel_sync(&self.0, request).await
    }

    type WatchGroupStream = Messages<v1::WatchGroupResponse>;

    async fn watch_group(&self, request: Request<v1::WatchGroupRequest>) -> Answer<Self::WatchGroupStream> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let group = validate::group("parent", &request.parent)?;
        if caller.role != Role::Service {
            service::require_own_group(&caller, &group)?;
        }
        Ok(Response::new(
            watch::group(&self.0, caller, group, request).await?,
        ))
    }

    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Answer<v1::ListAuditEntriesResponse> {
        let caller = gate::caller(&request)?;
        Ok(Response::new(
            audit::list(&self.0, &caller, request.into_inner()).await?,
        ))
    }
}
