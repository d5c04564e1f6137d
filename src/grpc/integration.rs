//! `tether.v1.IntegrationService`.

use super::audit;
use super::edit::{edit, field_keys, has_no_schedule, new_share, revision};
use super::page::{self, Page};
use super::page_token::{self, Pages};
use super::watch::{self, Messages};
use super::{call, convert, gate, request_id, validate};
use crate::caller::{Caller, Role};
use crate::domain::{AuthKind, GroupId, IntegrationId, IntegrationState, SyncState};
use crate::error::{Detail, Error, Reason, echo};
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1::integration_service_server::IntegrationService;
use crate::proto::v1::{self, begin_authorization_request, delete_integration_response};
use crate::service::{self, Edit, ReturnTo, Services, Standing, SyncView};
use crate::store::{FieldRef, Relation, Source};
use std::time::Duration;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// How often a watched sync is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// The service.
pub struct Integrations(pub Services);

impl Integrations {
    /// A sync with what stands around it.
    async fn sync(&self, view: &SyncView) -> Result<v1::Sync, Error> {
        let labels = self.0.object_labels(view.sync.integration_id).await?;
        Ok(convert::sync(view, |object| {
            let known = labels.iter().find(|(key, _)| key == object);
            known.map_or(object, |(_, label)| label.as_str()).to_owned()
        }))
    }

    /// The group of an optional `parent`; the caller's own where none is given.
    fn parent(&self, caller: &Caller, parent: &str) -> Result<Option<GroupId>, Error> {
        if parent.is_empty() {
            return caller
                .group
                .as_deref()
                .map(|group| group.parse().map_err(Error::internal))
                .transpose();
        }
        let parent = validate::group("parent", parent)?;
        if caller.role != Role::Service {
            service::viewpoint(caller, &parent)?;
        }
        self.0.about(caller, &parent)?;
        Ok(Some(parent))
    }
}

/// Where the page after this one begins, in a list that is walked by offsets.
fn after<T>(from: usize, page: &[T], more: bool) -> Option<Vec<Kind>> {
    more.then(|| vec![Kind::Integer((from + page.len()) as i64)])
}

/// Marks a watched sync as done with, after an error.
fn ended(mut view: SyncView) -> SyncView {
    view.sync.state = SyncState::Failed;
    view
}

fn landed(of: service::Landed) -> (Option<v1::Integration>, bool) {
    (Some(convert::integration(&of.integration)), of.account_changed)
}

#[tonic::async_trait]
impl IntegrationService for Integrations {
    async fn list_connectors(
        &self,
        request: Request<v1::ListConnectorsRequest>,
    ) -> Answer<v1::ListConnectorsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let parent = self.parent(&caller, &request.parent)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(
            self.0.sealer(),
            "ListConnectors",
            caller.group.as_deref(),
            &request,
        );
        let from = page_token::offset(pages.after(&token)?)?;
        let all = self.0.connector_list(parent.as_ref()).await?;
        let (connectors, more) = page::fill(size, all.into_iter().skip(from), convert::connector);
        Ok(Response::new(v1::ListConnectorsResponse {
            next_page_token: pages.next(after(from, &connectors, more))?,
            connectors,
        }))
    }

    async fn get_connector(&self, request: Request<v1::GetConnectorRequest>) -> Answer<v1::Connector> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::connector("name", &request.name)?;
        let parent = self.parent(&caller, &request.parent)?;
        Ok(Response::new(convert::connector(
            self.0.connector_get(parent.as_ref(), &id).await?,
        )))
    }

    async fn enable_connector(&self, request: Request<v1::EnableConnectorRequest>) -> Answer<v1::Connector> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        service::viewpoint(&author, &validate::group("parent", &request.parent)?)?;
        let id = validate::connector("connector", &request.connector)?;
        let enabled = self.0.connector_enable(&author, &id, true).await?;
        Ok(Response::new(convert::connector(enabled)))
    }

    async fn disable_connector(
        &self,
        request: Request<v1::DisableConnectorRequest>,
    ) -> Answer<v1::Connector> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        service::viewpoint(&author, &validate::group("parent", &request.parent)?)?;
        let id = validate::connector("connector", &request.connector)?;
        let disabled = self.0.connector_enable(&author, &id, false).await?;
        Ok(Response::new(convert::connector(disabled)))
    }

    async fn create_integration(
        &self,
        request: Request<v1::CreateIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        service::viewpoint(&author, &validate::group("parent", &request.parent)?)?;
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
        has_no_schedule(&wanted)?;
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
        };
        let create = self
            .0
            .integration_create(&author, draft, key.as_ref(), request.validate_only);
        let mut created = convert::integration(&create.await?);
        if request.validate_only {
            // There is no such thing.
            created.name.clear();
        }
        Ok(Response::new(created))
    }

    async fn get_integration(&self, request: Request<v1::GetIntegrationRequest>) -> Answer<v1::Integration> {
        let caller = gate::caller(&request)?;
        let id = validate::integration("name", &request.into_inner().name)?;
        let caller = self.0.reader_of(caller, id).await?;
        Ok(Response::new(convert::integration(
            &self.0.integration_get(&caller, id).await?,
        )))
    }

    async fn list_integrations(
        &self,
        request: Request<v1::ListIntegrationsRequest>,
    ) -> Answer<v1::ListIntegrationsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let parent = validate::group("parent", &request.parent)?;
        let caller = self.0.reader(caller, &parent).await?;
        validate::list("states", &request.states, 10)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(
            self.0.sealer(),
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
            // A draft is for administrators.
            (view.state != IntegrationState::Draft || caller.role != Role::Member)
                && connector
                    .as_ref()
                    .is_none_or(|connector| view.connector == *connector)
                && (request.relation == relation
                    || request.relation() == v1::integration::Relation::Unspecified)
                && if states.is_empty() {
                    view.state != IntegrationState::Draft
                } else {
                    states.contains(&state)
                }
        };
        let (sources, total) = self.0.integration_sources(&parent, wanted, after).await?;
        let (mut page, mut next) = (Page::new(size), None);
        let place = |source: &Source| {
            vec![
                Kind::Integer(source.create_us),
                Kind::Text(source.integration.id.to_string()),
            ]
        };
        // One after the other: what stands around an integration may be large.
        let mut last = None;
        for source in sources {
            let here = place(&source);
            let on_it = page.len() < size && {
                let view = self.0.integration_view(&parent, source).await?;
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

    async fn update_integration(
        &self,
        request: Request<v1::UpdateIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let wanted = request.integration.unwrap_or_default();
        let id = validate::integration("integration.name", &wanted.name)?;
        let edit = edit("integration", &wanted, request.update_mask.as_ref())?;
        let view = self
            .0
            .integration_update(&author, id, edit, request.validate_only)
            .await?;
        Ok(Response::new(convert::integration(&view)))
    }

    async fn delete_integration(
        &self,
        request: Request<v1::DeleteIntegrationRequest>,
    ) -> Answer<v1::DeleteIntegrationResponse> {
        use delete_integration_response::Access;
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let removed = self
            .0
            .integration_delete(&author, id, revision("etag", &request.etag)?)
            .await?;
        let access = match removed.access {
            service::Access::None => Access::None,
            service::Access::Revoked => Access::Revoked,
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

    async fn begin_authorization(
        &self,
        request: Request<v1::BeginAuthorizationRequest>,
    ) -> Answer<v1::BeginAuthorizationResponse> {
        use begin_authorization_request::ReturnTo as Wanted;
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        validate::text("redirect_uri", &request.redirect_uri, validate::URL_LENGTH)?;
        validate::text("login_hint", &request.login_hint, 255)?;
        let return_to = match (request.return_to(), request.redirect_uri.is_empty()) {
            (Wanted::Platform, true) => return Err(Error::invalid("redirect_uri", "is required").into()),
            (Wanted::Tether, false) => {
                return Err(Error::invalid("redirect_uri", "must be empty for TETHER").into());
            }
            (Wanted::Platform | Wanted::Unspecified, false) => ReturnTo::Platform(request.redirect_uri),
            (Wanted::Tether | Wanted::Unspecified, true) => ReturnTo::Tether,
        };
        let begun = self
            .0
            .login_begin(&author, id, return_to, &request.login_hint)
            .await?;
        let begun = v1::BeginAuthorizationResponse {
            authorization_uri: begun.url,
            state: begun.state,
            expire_time: Some(convert::timestamp(begun.expire_us)),
        };
        Ok(Response::new(begun))
    }

    async fn complete_authorization(
        &self,
        request: Request<v1::CompleteAuthorizationRequest>,
    ) -> Answer<v1::CompleteAuthorizationResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        if request.state.is_empty() {
            return Err(Error::invalid("state", "is required").into());
        }
        validate::text("state", &request.state, 512)?;
        validate::map("callback_parameters", &request.callback_parameters, 20, 8_192)?;
        if !["code", "error"]
            .iter()
            .any(|key| request.callback_parameters.contains_key(*key))
        {
            return Err(Error::invalid(
                "callback_parameters",
                "must hold what the browser brought: code, or error",
            )
            .into());
        }
        let done = self
            .0
            .login_complete(&author, &request.state, request.callback_parameters)
            .await?;
        let (integration, account_changed) = landed(done);
        let done = v1::CompleteAuthorizationResponse {
            integration,
            account_changed,
        };
        Ok(Response::new(done))
    }

    async fn authorize_with_credentials(
        &self,
        request: Request<v1::AuthorizeWithCredentialsRequest>,
    ) -> Answer<v1::AuthorizeWithCredentialsResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let kind = match request.auth_kind() {
            v1::AuthKind::ClientCredentials => AuthKind::ClientCredentials,
            v1::AuthKind::JwtBearer => AuthKind::JwtBearer,
            v1::AuthKind::ApiKey => AuthKind::ApiKey,
            v1::AuthKind::Unspecified | v1::AuthKind::AuthorizationCode => {
                return Err(
                    Error::invalid("auth_kind", "must be CLIENT_CREDENTIALS, JWT_BEARER or API_KEY").into(),
                );
            }
        };
        validate::map("parameters", &request.parameters, 20, 16_384)?;
        let done = self
            .0
            .login_with_credentials(&author, id, kind, request.parameters)
            .await?;
        let (integration, account_changed) = landed(done);
        let done = v1::AuthorizeWithCredentialsResponse {
            integration,
            account_changed,
        };
        Ok(Response::new(done))
    }

    async fn list_available_fields(
        &self,
        request: Request<v1::ListAvailableFieldsRequest>,
    ) -> Answer<v1::ListAvailableFieldsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        validate::list("objects", &request.objects, 20)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 500, 2_000)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(
            self.0.sealer(),
            "ListAvailableFields",
            caller.group.as_deref(),
            &request,
        );
        let from = page_token::offset(pages.after(&token)?)?;
        let listed = self
            .0
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

    async fn search_shareable_groups(
        &self,
        request: Request<v1::SearchShareableGroupsRequest>,
    ) -> Answer<v1::SearchShareableGroupsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        service::viewpoint(&caller, &validate::group("parent", &request.parent)?)?;
        validate::text("query", &request.query, validate::QUERY_LENGTH)?;
        let integration = match request.integration.as_str() {
            "" => None,
            name => Some(validate::integration("integration", name)?),
        };
        let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 200)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(
            self.0.sealer(),
            "SearchShareableGroups",
            caller.group.as_deref(),
            &request,
        );
        let from = page_token::offset(pages.after(&token)?)?;
        let found = self
            .0
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

    async fn review_integration(
        &self,
        request: Request<v1::ReviewIntegrationRequest>,
    ) -> Answer<v1::ReviewIntegrationResponse> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let edit = match &request.proposal {
            Some(proposal) => edit("proposal", proposal, request.update_mask.as_ref())?,
            None => Edit::default(),
        };
        let review = self.0.integration_review(&caller, id, edit).await?;
        Ok(Response::new(convert::review(&review)))
    }

    async fn activate_integration(
        &self,
        request: Request<v1::ActivateIntegrationRequest>,
    ) -> Answer<v1::ActivateIntegrationResponse> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let key = request_id::of("ActivateIntegration", &request.request_id, &request)?;
        let revision = revision("etag", &request.etag)?;
        let save = self
            .0
            .integration_activate(&author, id, revision, key.as_ref(), request.validate_only);
        let (view, sync) = save.await?;
        let sync = match &sync {
            Some(sync) => Some(self.sync(sync).await?),
            None => None,
        };
        let activated = v1::ActivateIntegrationResponse {
            integration: Some(convert::integration(&view)),
            sync,
        };
        Ok(Response::new(activated))
    }

    async fn list_fields(&self, request: Request<v1::ListFieldsRequest>) -> Answer<v1::ListFieldsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        let caller = self.0.reader_of(caller, id).await?;
        validate::list("objects", &request.objects, 20)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 500, 2_000)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListFields", caller.group.as_deref(), &request);
        let from = page_token::offset(pages.after(&token)?)?;
        let (label, mut fields, receivers) = self.0.field_list(&caller, id).await?;
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

    async fn batch_update_field_activation(
        &self,
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
        let done = self
            .0
            .field_activate(&author, id, active, passive, request.validate_only)
            .await?;
        Ok(Response::new(convert::activated(&done)))
    }

    async fn set_share(&self, request: Request<v1::SetShareRequest>) -> Answer<v1::Share> {
        let author = gate::author(&request)?;
        let share = request.into_inner().share.unwrap_or_default();
        let (id, group) = validate::share("share.name", &share.name)?;
        let new = new_share("share", group, &share)?;
        let (share, saved) = self.0.share_set(&author, id, new).await?;
        Ok(Response::new(convert::share(&share, saved)))
    }

    async fn remove_share(
        &self,
        request: Request<v1::RemoveShareRequest>,
    ) -> Answer<v1::RemoveShareResponse> {
        let author = gate::author(&request)?;
        let (id, group) = validate::share("name", &request.into_inner().name)?;
        self.0.share_remove(&author, id, &group).await?;
        Ok(Response::new(v1::RemoveShareResponse {}))
    }

    async fn list_shares(&self, request: Request<v1::ListSharesRequest>) -> Answer<v1::ListSharesResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        let caller = self.0.reader_of(caller, id).await?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 500)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListShares", caller.group.as_deref(), &request);
        let from = page_token::offset(pages.after(&token)?)?;
        let (shares, saved) = self.0.share_list(&caller, id).await?;
        let (page, more) = page::fill(size, shares.iter().skip(from), |one| convert::share(one, saved));
        Ok(Response::new(v1::ListSharesResponse {
            next_page_token: pages.next(after(from, &page, more))?,
            shares: page,
            total_size: i32::try_from(shares.len()).unwrap_or(i32::MAX),
        }))
    }

    async fn connect_integration(
        &self,
        request: Request<v1::ConnectIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        let author = gate::author(&request)?;
        let id = validate::integration("name", &request.into_inner().name)?;
        let view = self.0.integration_connect(&author, id, true).await?;
        Ok(Response::new(convert::integration(&view)))
    }

    async fn disconnect_integration(
        &self,
        request: Request<v1::DisconnectIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        let author = gate::author(&request)?;
        let id = validate::integration("name", &request.into_inner().name)?;
        let view = self.0.integration_connect(&author, id, false).await?;
        Ok(Response::new(convert::integration(&view)))
    }

    async fn sync_integration(&self, request: Request<v1::SyncIntegrationRequest>) -> Answer<v1::Sync> {
        let author = gate::author(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        if !matches!(request.mode(), v1::sync::Mode::Unspecified | v1::sync::Mode::Full) {
            let text = "must be FULL or unset in this version: every sync reads everything";
            return Err(Error::new(Reason::InvalidFieldValue, format!("mode: {text}"))
                .detail(Detail::Fields(vec![("mode".to_owned(), text.to_owned())]))
                .into());
        }
        let key = request_id::of("SyncIntegration", &request.request_id, &request)?;
        let confirms = match request.confirm_removals_of.as_str() {
            "" => None,
            name => match validate::sync("confirm_removals_of", name)? {
                (integration, sync) if integration == id => Some(sync),
                _ => {
                    let text = "must be a sync of the same integration";
                    return Err(Error::invalid("confirm_removals_of", text).into());
                }
            },
        };
        let view = self.0.sync_start(&author, id, confirms, key.as_ref()).await?;
        Ok(Response::new(self.sync(&view).await?))
    }

    async fn get_sync(&self, request: Request<v1::GetSyncRequest>) -> Answer<v1::Sync> {
        let caller = gate::caller(&request)?;
        let (integration, id) = validate::sync("name", &request.into_inner().name)?;
        let caller = self.0.reader_of(caller, integration).await?;
        let view = self.0.sync_get(&caller, integration, id).await?;
        Ok(Response::new(self.sync(&view).await?))
    }

    async fn list_syncs(&self, request: Request<v1::ListSyncsRequest>) -> Answer<v1::ListSyncsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        let caller = self.0.reader_of(caller, id).await?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 20, 100)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListSyncs", caller.group.as_deref(), &request);
        let before = page_token::time_and_id(pages.after(&token)?)?;
        let views = self.0.sync_list(&caller, id, before, size + 1).await?;
        let place = |view: &SyncView| {
            vec![
                Kind::Integer(view.sync.create_us),
                Kind::Text(view.sync.id.to_string()),
            ]
        };
        let mut page = Page::new(size);
        for view in &views {
            if page.len() == size || !page.push(self.sync(view).await?) {
                break;
            }
        }
        let last = page.len().checked_sub(1).filter(|last| last + 1 < views.len());
        Ok(Response::new(v1::ListSyncsResponse {
            next_page_token: pages.next(last.map(|last| place(&views[last])))?,
            syncs: page.into_items(),
        }))
    }

    type WatchSyncStream = Messages<v1::WatchSyncResponse>;

    async fn watch_sync(&self, request: Request<v1::WatchSyncRequest>) -> Answer<Self::WatchSyncStream> {
        let caller = gate::caller(&request)?;
        let (integration, id) = validate::sync("name", &request.into_inner().name)?;
        let caller = self.0.reader_of(caller, integration).await?;
        let first = self.0.sync_get(&caller, integration, id).await?;
        let watched = Integrations(self.0.clone());
        let call = call::current();
        // Progress travels through rows: whichever process runs the sync, all see the same.
        let watcher = caller;
        let stream = futures_util::stream::unfold((Some(first), None::<SyncView>), move |(first, shown)| {
            let (watched, caller) = (Integrations(watched.0.clone()), watcher.clone());
            call::within(call.clone(), async move {
                let mut view = match (first, &shown) {
                    (Some(first), _) => first,
                    (None, Some(shown)) if shown.sync.state.is_final() => return None,
                    (None, Some(shown)) => shown.clone(),
                    (None, None) => return None,
                };
                while shown.as_ref() == Some(&view) {
                    tokio::time::sleep(WATCH_EVERY).await;
                    match watched.0.sync_get(&caller, integration, id).await {
                        Ok(now) => view = now,
                        Err(error) => return Some((Err(error.into()), (None, Some(ended(view))))),
                    }
                }
                let item = match watched.sync(&view).await {
                    Ok(sync) => Ok(v1::WatchSyncResponse { sync: Some(sync) }),
                    Err(error) => Err(error.into()),
                };
                Some((item, (None, Some(view))))
            })
        });
        Ok(Response::new(watch::open(&self.0, stream)?))
    }

    async fn cancel_sync(&self, request: Request<v1::CancelSyncRequest>) -> Answer<v1::Sync> {
        let author = gate::author(&request)?;
        let (integration, id) = validate::sync("name", &request.into_inner().name)?;
        let view = self.0.sync_cancel(&author, integration, id).await?;
        Ok(Response::new(self.sync(&view).await?))
    }

    type WatchGroupStream = Messages<v1::WatchGroupResponse>;

    async fn watch_group(&self, request: Request<v1::WatchGroupRequest>) -> Answer<Self::WatchGroupStream> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let group = validate::group("parent", &request.parent)?;
        if caller.role != Role::Service {
            service::viewpoint(&caller, &group)?;
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
