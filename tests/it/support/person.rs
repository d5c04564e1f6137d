//! People who call the server, and what tests have them do.

use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tether::proto::v1::company_service_client::CompanyServiceClient;
use tether::proto::v1::group_service_client::GroupServiceClient;
use tether::proto::v1::integration_service_client::IntegrationServiceClient;
use tether::proto::v1::{self, sync};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::{InterceptedService, Interceptor};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::answers::{PATIENCE, ok};
use super::http::{encoded, http};

/// Puts a token on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Intercepted = InterceptedService<Channel, Bearer>;

/// Somebody who calls, with a token. Clones share a connection.
#[derive(Clone)]
pub(crate) struct Person {
    /// Their group, `groups/{group}`.
    pub(crate) parent: String,
    pub(crate) integrations: IntegrationServiceClient<Intercepted>,
    pub(crate) companies: CompanyServiceClient<Intercepted>,
    pub(crate) groups: GroupServiceClient<Intercepted>,
    pub(super) crm: String,
}

impl Person {
    /// Somebody with this token at a server, without a simulated CRM.
    pub(crate) async fn connect(grpc: &str, group: &str, token: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap();
        Self::over(channel.connect().await.unwrap(), group, token)
    }

    /// The same over a connection that takes at most 64 KiB that were not read yet.
    pub(crate) async fn connect_narrowly(grpc: &str, group: &str, token: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap();
        let channel = channel
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
        Self::over(channel.connect().await.unwrap(), group, token)
    }

    fn over(channel: Channel, group: &str, token: &str) -> Self {
        let token = Bearer(format!("Bearer {token}").parse().unwrap());
        Self {
            parent: format!("groups/{group}"),
            crm: String::new(),
            integrations: IntegrationServiceClient::with_interceptor(channel.clone(), token.clone()),
            companies: CompanyServiceClient::with_interceptor(channel.clone(), token.clone()),
            groups: GroupServiceClient::with_interceptor(channel, token),
        }
    }

    pub(crate) async fn enable(&mut self, connector: &str) -> v1::Connector {
        let request = v1::EnableConnectorRequest {
            parent: self.parent.clone(),
            connector: format!("connectors/{connector}"),
        };
        ok(self.integrations.enable_connector(request)).await
    }

    /// The connectors that there are, by their names.
    pub(crate) async fn connector(&mut self, name: &str) -> Option<v1::Connector> {
        let request = v1::ListConnectorsRequest {
            parent: self.parent.clone(),
            ..Default::default()
        };
        let listed = ok(self.integrations.list_connectors(request)).await.connectors;
        listed
            .into_iter()
            .find(|one| one.name.ends_with(&format!("connectors/{name}")))
    }

    /// What [`create`](Self::create) sends.
    pub(crate) fn draft(&self, connector: &str, display_name: &str) -> v1::CreateIntegrationRequest {
        v1::CreateIntegrationRequest {
            parent: self.parent.clone(),
            integration: Some(v1::Integration {
                display_name: display_name.to_owned(),
                connector: format!("connectors/{connector}"),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Begins a draft; answers its name.
    pub(crate) async fn create(&mut self, connector: &str, display_name: &str) -> String {
        let request = self.draft(connector, display_name);
        ok(self.integrations.create_integration(request)).await.name
    }

    pub(crate) async fn get(&mut self, name: &str) -> v1::Integration {
        ok(self.integrations.get_integration(v1::GetIntegrationRequest {
            name: name.to_owned(),
        }))
        .await
    }

    /// What the group has, by name.
    pub(crate) async fn integrations(&mut self) -> Vec<v1::Integration> {
        let request = v1::ListIntegrationsRequest {
            parent: self.parent.clone(),
            ..Default::default()
        };
        ok(self.integrations.list_integrations(request))
            .await
            .integrations
    }

    /// What [`share`](Self::share) sends.
    pub(crate) fn sharing(name: &str, group: &str, fields: &[&str]) -> v1::SetShareRequest {
        v1::SetShareRequest {
            share: Some(v1::Share {
                name: format!("{name}/shares/{group}"),
                all_active_fields: fields.is_empty(),
                fields: fields.iter().map(|field| (*field).to_owned()).collect(),
                ..Default::default()
            }),
        }
    }

    /// Shares all active fields with a group, or these.
    pub(crate) async fn share(&mut self, name: &str, group: &str, fields: &[&str]) -> v1::Share {
        ok(self.integrations.set_share(Self::sharing(name, group, fields))).await
    }

    /// Makes fields active and others passive for the group.
    pub(crate) async fn decide(
        &mut self,
        name: &str,
        active: &[&str],
        passive: &[&str],
    ) -> v1::BatchUpdateFieldActivationResponse {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let request = v1::BatchUpdateFieldActivationRequest {
            parent: name.to_owned(),
            active_fields: owned(active),
            passive_fields: owned(passive),
            ..Default::default()
        };
        ok(self.integrations.batch_update_field_activation(request)).await
    }

    /// The fields the group sees of an integration: `Object.Field` and whether it is active.
    pub(crate) async fn fields(&mut self, name: &str) -> Vec<(String, bool)> {
        let request = v1::ListFieldsRequest {
            parent: name.to_owned(),
            ..Default::default()
        };
        let listed = ok(self.integrations.list_fields(request)).await.fields;
        listed
            .into_iter()
            .map(|one| {
                let active = one.activation() == v1::FieldActivation::Active;
                let of = one.definition.unwrap();
                (format!("{}.{}", of.object, of.key), active)
            })
            .collect()
    }

    /// Deletes an integration.
    pub(crate) async fn delete(&mut self, name: &str) -> v1::DeleteIntegrationResponse {
        let request = v1::DeleteIntegrationRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        ok(self.integrations.delete_integration(request)).await
    }

    /// An integration of the simulated Salesforce, saved and synced.
    pub(crate) async fn salesforce(&mut self, display_name: &str, fields: &[&str]) -> String {
        self.synced("salesforce", display_name, fields).await
    }

    /// An integration of a simulated CRM, saved and synced.
    pub(crate) async fn synced(&mut self, connector: &str, display_name: &str, fields: &[&str]) -> String {
        let name = self.create(connector, display_name).await;
        self.log_in(&name).await;
        self.select(&name, fields).await;
        let sync = self.activate(&name).await;
        self.succeeds(&sync).await;
        name
    }

    /// Begins a login that returns to the platform.
    pub(crate) async fn begin(&mut self, name: &str) -> v1::BeginAuthorizationResponse {
        let request = v1::BeginAuthorizationRequest {
            name: name.to_owned(),
            redirect_uri: "http://127.0.0.1:9/callback".to_owned(),
            ..Default::default()
        };
        ok(self.integrations.begin_authorization(request)).await
    }

    /// Clicks at the CRM; answers where the browser goes.
    pub(crate) async fn consent(&self, authorization_uri: &str, username: &str, allow: bool) -> url::Url {
        let decision = if allow { "allow" } else { "deny" };
        let url = encoded(authorization_uri);
        let path = format!("/control/oauth/approve?url={url}&username={username}&decision={decision}");
        let answer = http(&self.crm, "GET", &path, "", "").await;
        let answer: Json = serde_json::from_str(&answer.body).unwrap();
        url::Url::parse(answer["redirectUrl"].as_str().unwrap()).unwrap()
    }

    /// What the platform passes on of the address the browser came back to.
    pub(crate) fn came_back(to: &url::Url) -> v1::CompleteAuthorizationRequest {
        let mut callback: std::collections::HashMap<String, String> = to.query_pairs().into_owned().collect();
        let state = callback.remove("state").unwrap();
        v1::CompleteAuthorizationRequest {
            state,
            callback_parameters: callback,
        }
    }

    /// Logs in with the browser; answers whatever tether says.
    pub(crate) async fn try_log_in(
        &mut self,
        name: &str,
        username: &str,
    ) -> Result<Response<v1::CompleteAuthorizationResponse>, Status> {
        let begun = self.begin(name).await;
        let to = self.consent(&begun.authorization_uri, username, true).await;
        self.integrations
            .complete_authorization(Self::came_back(&to))
            .await
    }

    /// Logs in with the browser.
    pub(crate) async fn log_in(&mut self, name: &str) -> v1::Integration {
        ok(self.try_log_in(name, "admin@acme.example"))
            .await
            .integration
            .unwrap()
    }

    /// What [`log_in_with_key`](Self::log_in_with_key) sends.
    pub(crate) fn key(name: &str, key: &str) -> v1::AuthorizeWithCredentialsRequest {
        v1::AuthorizeWithCredentialsRequest {
            name: name.to_owned(),
            auth_kind: v1::AuthKind::ApiKey as i32,
            parameters: [("api_key".to_owned(), key.to_owned())].into(),
        }
    }

    /// Logs in to the dummy.
    pub(crate) async fn log_in_with_key(&mut self, name: &str, key: &str) {
        ok(self.integrations.authorize_with_credentials(Self::key(name, key))).await;
    }

    /// What [`select`](Self::select) sends.
    pub(crate) fn selection(name: &str, fields: &[&str]) -> v1::UpdateIntegrationRequest {
        v1::UpdateIntegrationRequest {
            integration: Some(v1::Integration {
                name: name.to_owned(),
                selected_fields: fields.iter().map(|&field| field.to_owned()).collect(),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["selected_fields".to_owned()],
            }),
            ..Default::default()
        }
    }

    pub(crate) async fn select(&mut self, name: &str, fields: &[&str]) -> v1::Integration {
        ok(self
            .integrations
            .update_integration(Self::selection(name, fields)))
        .await
    }

    /// Saves; answers the first sync's name.
    pub(crate) async fn activate(&mut self, name: &str) -> String {
        let request = v1::ActivateIntegrationRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        ok(self.integrations.activate_integration(request))
            .await
            .sync
            .unwrap()
            .name
    }

    /// Syncs everything by hand; answers the sync's name.
    pub(crate) async fn sync(&mut self, name: &str) -> String {
        let request = v1::SyncIntegrationRequest {
            name: name.to_owned(),
            mode: v1::sync::Mode::Full.into(),
            ..Default::default()
        };
        ok(self.integrations.sync_integration(request)).await.name
    }

    /// Watches a sync to its end; answers all that was shown of it.
    pub(crate) async fn watch(&mut self, name: &str) -> Vec<v1::Sync> {
        let request = v1::WatchSyncRequest {
            name: name.to_owned(),
        };
        let mut stream = ok(self.integrations.watch_sync(request)).await;
        let mut shown = Vec::new();
        let end = Instant::now() + PATIENCE;
        while let Some(next) = tokio::time::timeout_at(end.into(), stream.message())
            .await
            .expect("the sync ends")
            .unwrap()
        {
            shown.push(next.sync.unwrap());
        }
        shown
    }

    /// Watches a sync until it has succeeded.
    pub(crate) async fn succeeds(&mut self, sync: &str) -> v1::Sync {
        let last = self.watch(sync).await.pop().unwrap();
        assert_eq!(last.state(), sync::State::Succeeded, "{last:?}");
        last
    }

    /// A saved integration of the dummy, synced once: (integration, sync).
    pub(crate) async fn dummy(&mut self, display_name: &str, key: &str) -> (String, String) {
        self.enable("dummy").await;
        let name = self.create("dummy", display_name).await;
        self.log_in_with_key(&name, key).await;
        self.select(&name, &["Company.Industry"]).await;
        let sync = self.activate(&name).await;
        self.succeeds(&sync).await;
        (name, sync)
    }

    /// All companies, page by page.
    pub(crate) async fn all_companies(&mut self, page_size: i32) -> Vec<v1::Company> {
        let (mut companies, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListCompaniesRequest {
                parent: self.parent.clone(),
                page_size,
                page_token,
                ..Default::default()
            };
            let page = ok(self.companies.list_companies(request)).await;
            companies.extend(page.companies);
            if page.next_page_token.is_empty() {
                return companies;
            }
            page_token = page.next_page_token;
        }
    }

    /// Opens a profile, with all the patience there is.
    pub(crate) async fn open(&mut self, company: &str) -> v1::CompanyProfile {
        self.open_within(company, Duration::from_secs(30)).await
    }

    /// Opens a profile.
    pub(crate) async fn open_within(&mut self, company: &str, patience: Duration) -> v1::CompanyProfile {
        let request = v1::GetCompanyProfileRequest {
            name: company.to_owned(),
            parent: self.parent.clone(),
            refresh_timeout: Some(patience.try_into().unwrap()),
            ..Default::default()
        };
        ok(self.companies.get_company_profile(request)).await
    }
}
