//! The HubSpot connector: companies, with their contacts, deals and tickets.
//!
//! | module | content |
//! |---|---|
//! | `options` | the operator's settings |
//! | `auth`, `token`, `identity` | login, refresh, revocation; the meaning of refusals; the account of a login |
//! | `rest`, `errors`, `limits` | one request: sending, retries, error classification, API usage |
//! | `bodies` | the bodies of POST requests, and the check that no others are sent |
//! | `objects`, `properties`, `fields` | the four objects, and their fields that the user can see |
//! | `plan` | the plan for reading an object |
//! | `page`, `values`, `ids` | conversion of replies to canonical records |
//! | `associations` | the companies of a record |
//! | `batch` | records by their ids, each accounted for |
//! | `read` | the full read, resumable |
//! | `fetch` | the live read of one company, normally in at most seven calls |
//!
//! Operator settings:
//!
//! | setting | meaning |
//! |---|---|
//! | `client_id`, `client_secret` | the public app |
//! | `oauth_api` | default `2026-03`; `v1` until HubSpot ends it on 16 February 2027 |
//! | `scopes`, `optional_scopes` | the requested scopes, if the app is not configured as in docs/hubspot.md |
//! | `address_override` | an address that replaces HubSpot's hosts, for simulators. The HTTP policy must allow it |
//! | `back_off_ms` | the first pause after a transient failure; default 1,000 |
//! | `address_budget` | largest size of a URL in bytes; default 7,000 |
//! | `searches_per_second` | searches per second and account; default 4 |
//! | `checkpoint_pages` | pages of a hundred records between two checkpoints; default 10 |

mod associations;
mod auth;
mod batch;
mod bodies;
mod errors;
mod fetch;
mod fields;
mod identity;
mod ids;
mod limits;
mod objects;
mod options;
mod page;
mod plan;
mod properties;
mod read;
mod rest;
mod token;
mod values;

use std::sync::Arc;

use tether_connector_sdk::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CountRecordsRequest, CountRecordsResponse,
    DescribeResponse, ExchangeCodeRequest, FetchCompanyRequest, FetchCompanyResponse, ListFieldsRequest,
    ListFieldsResponse, LogInRequest, LoggedIn, Object, OpenRequest, ReadRequest, RefreshRequest,
    RefreshResponse, RevokeRequest, RevokeResponse,
};
use tether_connector_sdk::{CallContext, Connector, Error, Host, ReadStream};

use objects::{CrmObject, OBJECTS};
use rest::{App, Session};

tether_connector_sdk::export_connector!(HubSpot);

/// The connector.
pub struct HubSpot {
    app: Arc<App>,
}

impl Connector for HubSpot {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let options = options::Options::new(&request.settings)?;
        let http = host.http(rest::read_set())?;
        Ok(Self {
            app: Arc::new(App {
                host,
                http,
                searches: limits::Turns::new(options.searches),
                links_a_request: associations::A_REQUEST.into(),
                options,
            }),
        })
    }

    fn describe(&self) -> DescribeResponse {
        let object = |object: &CrmObject| Object {
            key: object.key.to_owned(),
            label: object.label.to_owned(),
            role: object.role.into(),
        };
        DescribeResponse {
            connector: "hubspot".to_owned(),
            display_name: "HubSpot".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: OBJECTS.iter().map(object).collect(),
            auth_methods: auth::methods(),
            settings: Vec::new(),
            operator_settings: options::operator_settings(),
            features: Vec::new(),
        }
    }

    async fn begin_authorization(
        &self,
        _call: CallContext,
        request: BeginAuthorizationRequest,
    ) -> Result<BeginAuthorizationResponse, Error> {
        Ok(BeginAuthorizationResponse {
            url: self.app.authorization_url(&request)?,
        })
    }

    async fn exchange_code(
        &self,
        call: CallContext,
        request: ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        self.app.exchange_code(&call, &request).await
    }

    async fn log_in(&self, call: CallContext, request: LogInRequest) -> Result<LoggedIn, Error> {
        self.app.log_in(&call, &request).await
    }

    async fn refresh(&self, call: CallContext, request: RefreshRequest) -> Result<RefreshResponse, Error> {
        self.app.refresh(&call, request).await
    }

    async fn revoke(&self, call: CallContext, request: RevokeRequest) -> Result<RevokeResponse, Error> {
        self.app.revoke(&call, request).await
    }

    async fn list_fields(
        &self,
        call: CallContext,
        request: ListFieldsRequest,
    ) -> Result<ListFieldsResponse, Error> {
        let objects = chosen(&request.objects);
        let session = Session::new(&self.app, &call, request.connection.as_ref())?;
        let objects = fields::list(&session, &objects).await?;
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
        let objects = chosen(&request.objects);
        let session = Session::new(&self.app, &call, request.connection.as_ref())?;
        let counts = fields::count(&session, &objects).await?;
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
        fetch::fetch(&self.app, &call, request).await
    }

    async fn read(&self, call: CallContext, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
        read::read(&self.app, &call, request, out).await
    }
}

/// The objects with these keys, in the order of Describe; all objects if none is named. Unknown keys are omitted.
fn chosen(keys: &[String]) -> Vec<&'static CrmObject> {
    OBJECTS
        .iter()
        .filter(|object| keys.is_empty() || keys.iter().any(|key| key == object.key))
        .collect()
}
