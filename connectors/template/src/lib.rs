//! A tether connector for Template.
//!
//! The host calls [`TemplateConnector`], and each method delegates to a module. The requirements are documented at
//! the messages in `connector.proto`, and numbered in `connectors/SPEC.md`.

mod api;
mod auth;
mod fetch;
mod fields;
mod options;
mod read;
mod rows;

use std::sync::Arc;

use tether_connector_sdk::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CountRecordsRequest, CountRecordsResponse,
    DescribeResponse, ExchangeCodeRequest, FetchCompanyRequest, FetchCompanyResponse, ListFieldsRequest,
    ListFieldsResponse, LogInRequest, LoggedIn, OpenRequest, ReadRequest, RefreshRequest, RefreshResponse,
    RevokeRequest, RevokeResponse,
};
use tether_connector_sdk::{CallContext, Connector, Error, Host, ReadStream, export_connector};

use crate::api::{App, Session};
use crate::options::Options;

/// The connector.
pub struct TemplateConnector {
    app: Arc<App>,
}

export_connector!(TemplateConnector);

impl Connector for TemplateConnector {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let http = host.http(api::read_set())?;
        let options = Options::new(request.settings);
        Ok(Self {
            app: Arc::new(App { host, http, options }),
        })
    }

    fn describe(&self) -> DescribeResponse {
        fields::describe()
    }

    async fn begin_authorization(
        &self,
        _: CallContext,
        request: BeginAuthorizationRequest,
    ) -> Result<BeginAuthorizationResponse, Error> {
        auth::begin(&self.app, &request)
    }

    async fn exchange_code(
        &self,
        call: CallContext,
        request: ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        auth::exchange(&self.app, &call, &request).await
    }

    async fn log_in(&self, call: CallContext, request: LogInRequest) -> Result<LoggedIn, Error> {
        auth::log_in(&self.app, &call, &request).await
    }

    async fn refresh(&self, call: CallContext, request: RefreshRequest) -> Result<RefreshResponse, Error> {
        auth::refresh(&self.app, &call, request.connection.unwrap_or_default()).await
    }

    async fn revoke(&self, call: CallContext, request: RevokeRequest) -> Result<RevokeResponse, Error> {
        auth::revoke(&self.app, &call, request.connection.unwrap_or_default()).await
    }

    async fn list_fields(
        &self,
        call: CallContext,
        request: ListFieldsRequest,
    ) -> Result<ListFieldsResponse, Error> {
        let session = Session::new(&self.app, &call, request.connection.as_ref());
        let objects = fields::list(&session, &request.objects).await?;
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
        let session = Session::new(&self.app, &call, request.connection.as_ref());
        let counts = fields::count(&session, &request.objects).await?;
        Ok(CountRecordsResponse {
            counts,
            api_usage: Some(call.usage()),
        })
    }

    async fn fetch_company(
        &self,
        call: CallContext,
        request: FetchCompanyRequest,
    ) -> Result<FetchCompanyResponse, Error> {
        let session = Session::new(&self.app, &call, request.connection.as_ref());
        let objects = fetch::company(&session, &request).await?;
        Ok(FetchCompanyResponse {
            objects,
            api_usage: Some(call.usage()),
            // The CRM's time of the read, if its replies have it (`Date`), here and in each batch of a read.
            read_time_us: 0,
        })
    }

    async fn read(&self, call: CallContext, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
        let session = Session::new(&self.app, &call, request.connection.as_ref());
        read::read(session, request, out).await
    }
}
