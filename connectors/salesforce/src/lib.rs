//! The Salesforce connector: Accounts as companies, with their Contacts, Opportunities, Contracts and Cases.
//!
//! | module | content |
//! |---|---|
//! | `options` | the operator's settings; login hosts |
//! | `auth`, `token`, `identity` | login, refresh, revocation; the meaning of refusals; the account of a login |
//! | `rest`, `errors`, `limits` | one request: sending, retries, error classification, API usage |
//! | `composite` | several GETs in one call |
//! | `objects`, `describe`, `fields` | the five objects, and their fields that the user can see |
//! | `soql`, `plan` | queries; splitting of wide selections |
//! | `page`, `values`, `ids`, `records` | conversion of replies to canonical records |
//! | `query`, `read` | the full read, page by page, resumable after each page |
//! | `fetch` | the live read of one company, in one call |
//!
//! Operator settings:
//!
//! | setting | meaning |
//! |---|---|
//! | `client_id`, `client_secret` | the connected app, or external client app |
//! | `api_version` | default `v62.0` |
//! | `login_host_override` | an address that replaces every login host, for simulators. The HTTP policy must allow it
//! |
//! | `back_off_ms` | the first pause after a transient failure; default 1,000 |
//! | `query_budget` | largest size of an encoded query in bytes; default 14,000 |

mod auth;
mod composite;
mod describe;
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
mod query;
mod read;
mod records;
mod rest;
mod soql;
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

tether_connector_sdk::export_connector!(Salesforce);

/// The connector.
pub struct Salesforce {
    app: Arc<App>,
}

impl Connector for Salesforce {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let options = options::Options::new(&request.settings)?;
        let http = host.http(rest::read_set())?;
        Ok(Self {
            app: Arc::new(App { host, http, options }),
        })
    }

    fn describe(&self) -> DescribeResponse {
        let object = |object: &CrmObject| Object {
            key: object.key.to_owned(),
            label: object.label.to_owned(),
            role: object.role.into(),
        };
        DescribeResponse {
            connector: "salesforce".to_owned(),
            display_name: "Salesforce".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: OBJECTS.iter().map(object).collect(),
            auth_methods: auth::methods(),
            settings: options::settings(),
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
        let (described, _) = fields::describe(&session, &objects, false).await?;
        let objects = described
            .into_iter()
            .map(|described| described.map(|described| described.object))
            .collect::<Result<_, Error>>()?;
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

/// The objects with these keys, in the order of Describe; all objects if none is named. Unknown keys are omitted, as
/// the contract requires.
fn chosen(keys: &[String]) -> Vec<&'static CrmObject> {
    OBJECTS
        .iter()
        .filter(|object| keys.is_empty() || keys.iter().any(|key| key == object.key))
        .collect()
}
