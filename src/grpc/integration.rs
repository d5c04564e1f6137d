//! `tether.v1.IntegrationService`.

use super::audit::{self, answer};
use super::page_token::{self, Pages};
use super::watch::{self, Messages};
use super::{convert, gate, validate};
use crate::caller::{Caller, Role};
use crate::domain::{AuthKind, GroupId, IntegrationId, IntegrationState, SyncState};
use crate::error::{Detail, Error, Reason};
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1::integration_service_server::IntegrationService;
use crate::proto::v1::{self, begin_authorization_request, delete_integration_response};
use crate::service::{self, Edit, IntegrationView, Made, ReturnTo, Services, SyncView};
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
        let (missing, change_number) = self.0.sync_surroundings(view.sync.integration_id).await?;
        Ok(convert::sync(view, missing, change_number))
    }

    /// The group of an optional `parent`; the caller's own where none is given.
    fn parent(caller: &Caller, parent: &str) -> Result<Option<GroupId>, Error> {
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
        Ok(Some(parent))
    }
}

/// The revision an etag stands for; `None` without one.
fn revision(etag: &str) -> Result<Option<i64>, Error> {
    if etag.is_empty() {
        return Ok(None);
    }
    let revision = etag.strip_prefix('r').and_then(|number| number.parse().ok());
    // One that was never given out cannot be the present one.
    Ok(Some(revision.unwrap_or(-1)))
}

fn field_keys(path: &str, keys: &[String]) -> Result<Vec<(String, String)>, Error> {
    validate::list(path, keys, service::MOST_FIELDS)?;
    let mut seen = std::collections::HashSet::new();
    keys.iter()
        .enumerate()
        .filter(|(_, key)| seen.insert(key.as_str()))
        .map(|(at, key)| validate::field_key(&format!("{path}[{at}]"), key))
        .collect()
}

/// What an update asks for, by its mask; without one, by what is filled in.
fn edit(wanted: &v1::Integration, mask: Option<&prost_types::FieldMask>) -> Result<Edit, Error> {
    const KNOWN: &[&str] = &[
        "display_name",
        "label",
        "settings",
        "selected_fields",
        "schedule",
        "shares",
        "connected",
        "*",
    ];
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    validate::update_mask(paths, KNOWN)?;
    for later in ["schedule", "shares", "connected"] {
        if paths.iter().any(|path| path == later) {
            return Err(Error::not_yet(&format!("changing {later}")));
        }
    }
    let all = paths.iter().any(|path| path == "*");
    let has = |path: &str, filled: bool| {
        all || if paths.is_empty() {
            filled
        } else {
            paths.iter().any(|p| p == path)
        }
    };
    let mut edit = Edit {
        revision: revision(&wanted.etag)?,
        ..Edit::default()
    };
    if has("display_name", !wanted.display_name.is_empty()) {
        edit.display_name = Some(validate::display_name(
            "integration.display_name",
            &wanted.display_name,
        )?);
    }
    if has("label", !wanted.label.is_empty()) && !(all && wanted.label.is_empty()) {
        edit.label = Some(validate::label("integration.label", &wanted.label)?);
    }
    if has("settings", !wanted.settings.is_empty()) && !(all && wanted.settings.is_empty()) {
        validate::map("integration.settings", &wanted.settings, 50, 1_000)?;
        edit.settings = Some(wanted.settings.clone().into_iter().collect());
    }
    if has("selected_fields", !wanted.selected_fields.is_empty()) {
        edit.fields = Some(field_keys(
            "integration.selected_fields",
            &wanted.selected_fields,
        )?);
    }
    Ok(edit)
}

/// What the audit log hears of an edit: names as they are now, the rest counted, of settings the keys.
fn edited(id: IntegrationId, edit: &Edit) -> Made {
    let mut made = Made::of(id.name());
    if let Some(name) = &edit.display_name {
        made = made.with("display_name", name);
    }
    if let Some(label) = &edit.label {
        made = made.with("label", label);
    }
    if let Some(settings) = &edit.settings {
        made = made.with("settings", audit::keys(settings.keys()));
    }
    if let Some(fields) = &edit.fields {
        made = made.with("selected_fields", fields.len());
    }
    made
}

/// What the audit log hears of a login.
fn logged_in(of: &service::Landed) -> Made {
    let account = of.integration.grant.as_ref();
    let username = account.map(|grant| grant.username.as_str()).unwrap_or_default();
    Made::of(of.integration.row.id.name())
        .with("account_changed", of.account_changed)
        .with("username", username)
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
        let parent = Self::parent(&caller, &request.parent)?;
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
        let next = (from + size < all.len()).then(|| vec![Kind::Integer((from + size) as i64)]);
        let connectors = all
            .into_iter()
            .skip(from)
            .take(size)
            .map(convert::connector)
            .collect();
        Ok(Response::new(v1::ListConnectorsResponse {
            connectors,
            next_page_token: pages.next(next)?,
        }))
    }

    async fn get_connector(&self, request: Request<v1::GetConnectorRequest>) -> Answer<v1::Connector> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::connector("name", &request.name)?;
        let parent = Self::parent(&caller, &request.parent)?;
        Ok(Response::new(convert::connector(
            self.0.connector_get(parent.as_ref(), &id).await?,
        )))
    }

    async fn enable_connector(&self, request: Request<v1::EnableConnectorRequest>) -> Answer<v1::Connector> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        service::viewpoint(&caller, &validate::group("parent", &request.parent)?)?;
        let id = validate::connector("connector", &request.connector)?;
        let enabled = self.0.connector_enable(&caller, &id, true).await?;
        Ok(answer(convert::connector(enabled), Made::of(request.connector)))
    }

    async fn disable_connector(
        &self,
        request: Request<v1::DisableConnectorRequest>,
    ) -> Answer<v1::Connector> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        service::viewpoint(&caller, &validate::group("parent", &request.parent)?)?;
        let id = validate::connector("connector", &request.connector)?;
        let disabled = self.0.connector_enable(&caller, &id, false).await?;
        Ok(answer(convert::connector(disabled), Made::of(request.connector)))
    }

    async fn create_integration(
        &self,
        request: Request<v1::CreateIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        service::viewpoint(&caller, &validate::group("parent", &request.parent)?)?;
        let wanted = request.integration.unwrap_or_default();
        let connector = validate::connector("integration.connector", &wanted.connector)?;
        let name = validate::display_name("integration.display_name", &wanted.display_name)?;
        validate::map("integration.settings", &wanted.settings, 50, 1_000)?;
        if !wanted.selected_fields.is_empty() || !wanted.shares.is_empty() {
            return Err(Error::invalid(
                "integration",
                "fields and shares come after the login, with UpdateIntegration",
            )
            .into());
        }
        let id = validate::request_id(&request.request_id)?;
        let settings = wanted.settings.into_iter().collect();
        let create = self.0.integration_create(
            &caller,
            &connector,
            &name,
            settings,
            id.as_deref(),
            request.validate_only,
        );
        let created = convert::integration(&create.await?);
        let made = match request.validate_only {
            true => Made::nothing(),
            false => Made::of(&created.name)
                .with("connector", &created.connector)
                .with("display_name", &created.display_name),
        };
        Ok(answer(created, made))
    }

    async fn get_integration(&self, request: Request<v1::GetIntegrationRequest>) -> Answer<v1::Integration> {
        let caller = gate::caller(&request)?;
        let id = validate::integration("name", &request.into_inner().name)?;
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
        service::viewpoint(&caller, &parent)?;
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
        let wanted = |view: &crate::store::Integration| {
            let state = match view.state {
                IntegrationState::Draft => v1::integration::State::Draft,
                IntegrationState::NeedsReauthorization => v1::integration::State::NeedsReauthorization,
                IntegrationState::Active | IntegrationState::Deleting => v1::integration::State::Active,
            } as i32;
            let states = &request.states;
            // A draft is for administrators.
            (view.state != IntegrationState::Draft || caller.role != Role::Member)
                && connector
                    .as_ref()
                    .is_none_or(|connector| view.connector == *connector)
                && request.relation != v1::integration::Relation::Received as i32
                && if states.is_empty() {
                    view.state != IntegrationState::Draft
                } else {
                    states.contains(&state)
                }
        };
        let (mut views, total) = self.0.integration_list(&parent, wanted, after, size + 1).await?;
        let more = views.len() > size;
        views.truncate(size);
        let place = |view: &IntegrationView| {
            vec![
                Kind::Integer(view.row.create_us),
                Kind::Text(view.row.id.to_string()),
            ]
        };
        let next = views.last().filter(|_| more).map(place);
        Ok(Response::new(v1::ListIntegrationsResponse {
            integrations: views.iter().map(convert::listed_integration).collect(),
            next_page_token: pages.next(next)?,
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
        }))
    }

    async fn update_integration(
        &self,
        request: Request<v1::UpdateIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let wanted = request.integration.unwrap_or_default();
        let id = validate::integration("integration.name", &wanted.name)?;
        let edit = edit(&wanted, request.update_mask.as_ref())?;
        let made = match request.validate_only {
            true => Made::nothing(),
            false => edited(id, &edit),
        };
        let view = self
            .0
            .integration_update(&caller, id, edit, request.validate_only)
            .await?;
        Ok(answer(convert::integration(&view), made))
    }

    async fn delete_integration(
        &self,
        request: Request<v1::DeleteIntegrationRequest>,
    ) -> Answer<v1::DeleteIntegrationResponse> {
        use delete_integration_response::Access;
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let removed = self
            .0
            .integration_delete(&caller, id, revision(&request.etag)?)
            .await?;
        let access = match (removed.had_access, removed.giving_back) {
            (false, _) => Access::None,
            (true, true) => Access::RevocationPending,
            (true, false) => Access::Kept,
        };
        let deleted = v1::DeleteIntegrationResponse {
            access: access as i32,
            ..Default::default()
        };
        let what = access.as_str_name().trim_start_matches("ACCESS_");
        Ok(answer(deleted, Made::of(request.name).with("access", what)))
    }

    async fn begin_authorization(
        &self,
        request: Request<v1::BeginAuthorizationRequest>,
    ) -> Answer<v1::BeginAuthorizationResponse> {
        use begin_authorization_request::ReturnTo as Wanted;
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        validate::text("redirect_uri", &request.redirect_uri, validate::URL_BYTES)?;
        validate::text("login_hint", &request.login_hint, 320)?;
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
            .login_begin(&caller, id, return_to, &request.login_hint)
            .await?;
        let begun = v1::BeginAuthorizationResponse {
            authorization_uri: begun.url,
            state: begun.state,
            expire_time: Some(convert::timestamp(begun.expire_us)),
        };
        Ok(answer(begun, Made::of(request.name)))
    }

    async fn complete_authorization(
        &self,
        request: Request<v1::CompleteAuthorizationRequest>,
    ) -> Answer<v1::CompleteAuthorizationResponse> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        if request.state.is_empty() || request.state.len() > 512 {
            return Err(Error::invalid("state", "must have 1 to 512 bytes").into());
        }
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
            .login_complete(&caller, &request.state, request.callback_parameters)
            .await?;
        let made = logged_in(&done);
        let (integration, account_changed) = landed(done);
        let done = v1::CompleteAuthorizationResponse {
            integration,
            account_changed,
        };
        Ok(answer(done, made))
    }

    async fn authorize_with_credentials(
        &self,
        request: Request<v1::AuthorizeWithCredentialsRequest>,
    ) -> Answer<v1::AuthorizeWithCredentialsResponse> {
        let caller = gate::caller(&request)?;
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
        let parameters = audit::keys(request.parameters.keys());
        let done = self
            .0
            .login_with_credentials(&caller, id, kind, request.parameters)
            .await?;
        let made = logged_in(&done)
            .with("auth_kind", kind)
            .with("parameters", parameters);
        let (integration, account_changed) = landed(done);
        let done = v1::AuthorizeWithCredentialsResponse {
            integration,
            account_changed,
        };
        Ok(answer(done, made))
    }

    async fn list_available_fields(
        &self,
        request: Request<v1::ListAvailableFieldsRequest>,
    ) -> Answer<v1::ListAvailableFieldsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        validate::list("objects", &request.objects, 100)?;
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
            .field_list_available(&caller, id, &request.objects, !token.is_empty());
        let (objects, read_us) = listed.await?;
        let total: usize = objects.iter().map(|object| object.fields.len()).sum();
        let next = (from + size < total).then(|| vec![Kind::Integer((from + size) as i64)]);
        Ok(Response::new(v1::ListAvailableFieldsResponse {
            objects: convert::available_objects(objects, from, from + size),
            next_page_token: pages.next(next)?,
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
            read_time: Some(convert::timestamp(read_us)),
        }))
    }

    async fn search_shareable_groups(
        &self,
        _: Request<v1::SearchShareableGroupsRequest>,
    ) -> Answer<v1::SearchShareableGroupsResponse> {
        Err(Error::not_yet("sharing").into())
    }

    async fn review_integration(
        &self,
        request: Request<v1::ReviewIntegrationRequest>,
    ) -> Answer<v1::ReviewIntegrationResponse> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let edit = match &request.proposal {
            Some(proposal) => edit(proposal, request.update_mask.as_ref())?,
            None => Edit::default(),
        };
        let review = self
            .0
            .integration_review(&caller, id, edit.display_name, edit.fields)
            .await?;
        Ok(Response::new(convert::review(&review)))
    }

    async fn activate_integration(
        &self,
        request: Request<v1::ActivateIntegrationRequest>,
    ) -> Answer<v1::ActivateIntegrationResponse> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        let request_id = validate::request_id(&request.request_id)?;
        let revision = revision(&request.etag)?;
        let save = self.0.integration_activate(
            &caller,
            id,
            revision,
            request_id.as_deref(),
            request.validate_only,
        );
        let (view, sync) = save.await?;
        let sync = match &sync {
            Some(sync) => Some(self.sync(sync).await?),
            None => None,
        };
        let made = match request.validate_only {
            true => Made::nothing(),
            false => Made::of(request.name).with("selected_fields", view.fields.len()),
        };
        let activated = v1::ActivateIntegrationResponse {
            integration: Some(convert::integration(&view)),
            sync,
        };
        Ok(answer(activated, made))
    }

    async fn list_fields(&self, request: Request<v1::ListFieldsRequest>) -> Answer<v1::ListFieldsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        validate::list("objects", &request.objects, 100)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 500, 2_000)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListFields", caller.group.as_deref(), &request);
        let from = page_token::offset(pages.after(&token)?)?;
        let (label, mut fields) = self.0.field_list(&caller, id).await?;
        let passive = request.activation == v1::FieldActivation::Passive as i32;
        fields
            .retain(|one| !passive && (request.objects.is_empty() || request.objects.contains(&one.object)));
        let next = (from + size < fields.len()).then(|| vec![Kind::Integer((from + size) as i64)]);
        let page = fields
            .iter()
            .skip(from)
            .take(size)
            .map(|one| convert::field(&label, one));
        Ok(Response::new(v1::ListFieldsResponse {
            fields: page.collect(),
            next_page_token: pages.next(next)?,
            total_size: i32::try_from(fields.len()).unwrap_or(i32::MAX),
        }))
    }

    async fn batch_update_field_activation(
        &self,
        _: Request<v1::BatchUpdateFieldActivationRequest>,
    ) -> Answer<v1::BatchUpdateFieldActivationResponse> {
        Err(Error::not_yet("making fields active or passive").into())
    }

    async fn set_share(&self, _: Request<v1::SetShareRequest>) -> Answer<v1::Share> {
        Err(Error::not_yet("sharing").into())
    }

    async fn remove_share(&self, _: Request<v1::RemoveShareRequest>) -> Answer<v1::RemoveShareResponse> {
        Err(Error::not_yet("sharing").into())
    }

    async fn list_shares(&self, _: Request<v1::ListSharesRequest>) -> Answer<v1::ListSharesResponse> {
        Err(Error::not_yet("sharing").into())
    }

    async fn connect_integration(
        &self,
        _: Request<v1::ConnectIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        Err(Error::not_yet("connecting to a received integration").into())
    }

    async fn disconnect_integration(
        &self,
        _: Request<v1::DisconnectIntegrationRequest>,
    ) -> Answer<v1::Integration> {
        Err(Error::not_yet("disconnecting from a received integration").into())
    }

    async fn sync_integration(&self, request: Request<v1::SyncIntegrationRequest>) -> Answer<v1::Sync> {
        let caller = gate::caller(&request)?;
        let request = request.into_inner();
        let id = validate::integration("name", &request.name)?;
        if !matches!(request.mode(), v1::sync::Mode::Unspecified | v1::sync::Mode::Full) {
            let text = "must be FULL or unset in this version: every sync reads everything";
            return Err(Error::new(Reason::InvalidFieldValue, format!("mode: {text}"))
                .detail(Detail::Fields(vec![("mode".to_owned(), text.to_owned())]))
                .into());
        }
        let request_id = validate::request_id(&request.request_id)?;
        let view = self.0.sync_start(&caller, id, request_id.as_deref()).await?;
        let queued = self.sync(&view).await?;
        let made = Made::of(&queued.name);
        Ok(answer(queued, made))
    }

    async fn get_sync(&self, request: Request<v1::GetSyncRequest>) -> Answer<v1::Sync> {
        let caller = gate::caller(&request)?;
        let (integration, id) = validate::sync("name", &request.into_inner().name)?;
        let view = self.0.sync_get(&caller, integration, id).await?;
        Ok(Response::new(self.sync(&view).await?))
    }

    async fn list_syncs(&self, request: Request<v1::ListSyncsRequest>) -> Answer<v1::ListSyncsResponse> {
        let caller = gate::caller(&request)?;
        let mut request = request.into_inner();
        let id = validate::integration("parent", &request.parent)?;
        let size = validate::page_size(std::mem::take(&mut request.page_size), 20, 100)?;
        let token = std::mem::take(&mut request.page_token);
        let pages = Pages::new(self.0.sealer(), "ListSyncs", caller.group.as_deref(), &request);
        let before = page_token::time_and_id(pages.after(&token)?)?;
        let mut views = self.0.sync_list(&caller, id, before, size + 1).await?;
        let more = views.len() > size;
        views.truncate(size);
        let place = |view: &SyncView| {
            vec![
                Kind::Integer(view.sync.create_us),
                Kind::Text(view.sync.id.to_string()),
            ]
        };
        let next_page_token = pages.next(views.last().filter(|_| more).map(place))?;
        let mut syncs = Vec::with_capacity(views.len());
        for view in &views {
            syncs.push(self.sync(view).await?);
        }
        Ok(Response::new(v1::ListSyncsResponse {
            syncs,
            next_page_token,
        }))
    }

    type WatchSyncStream = Messages<v1::WatchSyncResponse>;

    async fn watch_sync(&self, request: Request<v1::WatchSyncRequest>) -> Answer<Self::WatchSyncStream> {
        let caller = gate::caller(&request)?;
        let (integration, id) = validate::sync("name", &request.into_inner().name)?;
        let first = self.0.sync_get(&caller, integration, id).await?;
        let watched = Integrations(self.0.clone());
        // Progress travels through rows: whichever process runs the sync, all see the same.
        let stream = futures_util::stream::unfold((Some(first), None::<SyncView>), move |(first, shown)| {
            let (watched, caller) = (Integrations(watched.0.clone()), caller.clone());
            async move {
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
            }
        });
        Ok(Response::new(watch::until_drained(stream, self.0.draining())))
    }

    async fn cancel_sync(&self, request: Request<v1::CancelSyncRequest>) -> Answer<v1::Sync> {
        let caller = gate::caller(&request)?;
        let (integration, id) = validate::sync("name", &request.into_inner().name)?;
        let view = self.0.sync_cancel(&caller, integration, id).await?;
        let cancelled = self.sync(&view).await?;
        let made = Made::of(&cancelled.name);
        Ok(answer(cancelled, made))
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
