//! A connector to a CRM that exists in memory only. It does everything a connector can do, and, told to, everything a
//! connector should not: the tests of the host and of the server drive it. [`script`] says how.

mod auth;
mod data;
mod fields;
mod read;
pub mod script;

use tether_connector_sdk::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CountRecordsRequest, CountRecordsResponse,
    DescribeResponse, ExchangeCodeRequest, FetchCompanyRequest, FetchCompanyResponse, ListFieldsRequest,
    ListFieldsResponse, LogInRequest, LoggedIn, ObjectCount, ObjectResult, OpenRequest, ReadRequest,
    RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse,
};
use tether_connector_sdk::{CallContext, Connector, Error, Host, ReadStream, export_connector};

use crate::data::{Object, World};
use crate::script::{Script, Settings};

/// The connector.
pub struct Dummy {
    host: Host,
    settings: Settings,
}

export_connector!(Dummy);

impl Connector for Dummy {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let settings = Settings::new(request.settings);
        if let Some(action) = Script::of(&settings, "open")?.at_once() {
            action.run_blocking()?;
        }
        tracing::info!(
            companies = settings.text("companies"),
            "the dummy connector is open"
        );
        Ok(Self { host, settings })
    }

    fn describe(&self) -> DescribeResponse {
        fields::describe()
    }

    async fn begin_authorization(
        &self,
        call: CallContext,
        request: BeginAuthorizationRequest,
    ) -> Result<BeginAuthorizationResponse, Error> {
        let settings = self.settings.with(&request.settings)?;
        Script::of(&settings, "begin_authorization")?.run(&call).await?;
        auth::begin(&settings, &request)
    }

    async fn exchange_code(
        &self,
        call: CallContext,
        request: ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        let settings = self.settings.with(&request.settings)?;
        Script::of(&settings, "exchange_code")?.run(&call).await?;
        auth::exchange(&settings, &request, self.host.now_us())
    }

    async fn log_in(&self, call: CallContext, request: LogInRequest) -> Result<LoggedIn, Error> {
        let settings = self.settings.with(&request.settings)?;
        Script::of(&settings, "log_in")?.run(&call).await?;
        auth::log_in(&settings, &request, self.host.now_us())
    }

    async fn refresh(&self, call: CallContext, request: RefreshRequest) -> Result<RefreshResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "refresh")?.run(&call).await?;
        auth::refresh(&settings, &connection, self.host.now_us())
    }

    async fn revoke(&self, call: CallContext, request: RevokeRequest) -> Result<RevokeResponse, Error> {
        let settings = self
            .settings
            .with(&request.connection.unwrap_or_default().settings)?;
        Script::of(&settings, "revoke")?.run(&call).await?;
        Ok(RevokeResponse { already_gone: false })
    }

    async fn list_fields(
        &self,
        call: CallContext,
        request: ListFieldsRequest,
    ) -> Result<ListFieldsResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "list_fields")?.run(&call).await?;
        auth::check(&settings, &connection)?;
        let objects = fields::list(&settings, &request.objects);
        Ok(ListFieldsResponse {
            objects,
            api_usage: Some(call.usage()),
        })
    }

    async fn count_records(
        &self,
        call: CallContext,
        request: CountRecordsRequest,
    ) -> Result<CountRecordsResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "count_records")?.run(&call).await?;
        auth::check(&settings, &connection)?;
        let world = World::new(&settings);
        let visible = |key: &&String| !fields::is_missing(&settings, key.as_str(), None);
        let counts = request.objects.iter().filter(visible).filter_map(|key| {
            let object = Object::from_key(key)?;
            Some(ObjectCount {
                object: key.clone(),
                count: world.count(object),
                exact: true,
            })
        });
        Ok(CountRecordsResponse {
            counts: counts.collect(),
            api_usage: Some(call.usage()),
        })
    }

    async fn fetch_company(
        &self,
        call: CallContext,
        request: FetchCompanyRequest,
    ) -> Result<FetchCompanyResponse, Error> {
        let connection = request.connection.unwrap_or_default();
        let settings = self.settings.with(&connection.settings)?;
        Script::of(&settings, "fetch_company")?.run(&call).await?;
        auth::check(&settings, &connection)?;
        let world = World::new(&settings);
        let limit = if request.related_limit == 0 {
            200
        } else {
            request.related_limit as usize
        };
        let mut objects = Vec::new();
        for selection in &request.selection {
            let object = Object::from_key(&selection.object)
                .filter(|_| !fields::is_missing(&settings, &selection.object, None));
            let Some(object) = object else {
                let error = Error::object_gone(format!("{} is not visible", selection.object));
                let error = Some(error.object(selection.object.clone()));
                objects.push(ObjectResult {
                    object: selection.object.clone(),
                    error,
                    ..ObjectResult::default()
                });
                continue;
            };
            let mut rows = data::Rows::new(&world, &settings, object, &selection.fields);
            let mut records = Vec::new();
            for number in request
                .external_ids
                .iter()
                .filter_map(|id| data::company_number(id))
            {
                rows.of_company(number, &mut records);
            }
            let more = object != Object::Company && records.len() > limit;
            records.truncate(if object == Object::Company {
                usize::MAX
            } else {
                limit
            });
            let missing_fields = rows.missing().to_vec();
            objects.push(ObjectResult {
                object: selection.object.clone(),
                records,
                more,
                error: None,
                missing_fields,
            });
        }
        let read_time_us = self.host.now_us();
        Ok(FetchCompanyResponse {
            objects,
            api_usage: Some(call.usage()),
            read_time_us,
        })
    }

    async fn read(&self, call: CallContext, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
        let settings = self
            .settings
            .with(&request.connection.clone().unwrap_or_default().settings)?;
        read::read(&settings, &call, request, out).await
    }
}
