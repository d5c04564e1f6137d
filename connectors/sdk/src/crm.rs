//! A connector from its CRM's parts: the login, the fields, the live read and the full read.
//!
//! [`CrmConnector`] implements [`Connector`] for a type that implements [`Api`], [`Login`] and [`Crm`]: it makes the [`Session`] of each call
//! and completes the answers. A connector for a CRM that is not an HTTP API implements [`Connector`] itself.

use std::future::{Future, ready};
use std::sync::Arc;

use crate::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, Connection, CountRecordsRequest,
    CountRecordsResponse, DescribeResponse, Error, ExchangeCodeRequest, FetchCompanyRequest,
    FetchCompanyResponse, ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn, ObjectCount,
    ObjectFields, ObjectResult, OpenRequest, ReadRequest, RefreshRequest, RefreshResponse, RevokeRequest,
    RevokeResponse,
};
use crate::reading::{self, Source};
use crate::session::{Api, Session, Urgency};
use crate::{CallContext, Connector, Host, ReadStream};

/// How people and programs log in to a CRM. What is not implemented is UNSUPPORTED.
pub trait Login: Api {
    /// The URL for the browser login.
    fn authorization_url(&self, request: &BeginAuthorizationRequest) -> Result<String, Error> {
        let _ = request;
        unsupported("authorization in the browser")
    }

    /// Completes a browser login.
    fn exchange_code(
        self: &Arc<Self>,
        call: &CallContext,
        request: &ExchangeCodeRequest,
    ) -> impl Future<Output = Result<LoggedIn, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("authorization in the browser"))
    }

    /// Logs in without a browser.
    fn log_in(
        self: &Arc<Self>,
        call: &CallContext,
        request: &LogInRequest,
    ) -> impl Future<Output = Result<LoggedIn, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("logging in without a browser"))
    }

    /// Gets new credentials. An empty `base_url` in the answer means that it is
    /// unchanged.
    fn refresh(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> impl Future<Output = Result<RefreshResponse, Error>> + Send {
        let _ = (call, connection);
        ready(unsupported("refreshing credentials"))
    }

    /// Revokes the credentials; returns whether the CRM no longer knew them.
    fn revoke(
        self: &Arc<Self>,
        call: &CallContext,
        connection: Connection,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        let _ = (call, connection);
        ready(unsupported("revoking credentials"))
    }
}

/// A CRM. The messages of `connector.proto` define each call; see also [`Connector`].
pub trait Crm: Login {
    /// The full read.
    type Reader: Source;

    /// Starts the connector. Must not use the network. An invalid operator setting is CONFIGURATION.
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error>;

    /// Name, version and features of the connector. Must be constant.
    fn describe() -> DescribeResponse;

    /// The fields of these objects, all if none is named; see [`chosen`].
    fn list_fields(
        session: &Session<Self>,
        objects: &[String],
    ) -> impl Future<Output = Result<Vec<ObjectFields>, Error>> + Send;

    /// The numbers of records of these objects, all if none is named, without objects that the user cannot see.
    fn count_records(
        session: &Session<Self>,
        objects: &[String],
    ) -> impl Future<Output = Result<Vec<ObjectCount>, Error>> + Send;

    /// Reads companies with their related records, live. Also returns the time of the read by the CRM's clock, in unix
    /// microseconds; 0 if unknown.
    fn fetch_company(
        session: &Session<Self>,
        request: FetchCompanyRequest,
    ) -> impl Future<Output = Result<(Vec<ObjectResult>, i64), Error>> + Send;

    /// The full read on behalf of an account.
    fn reader(session: Session<Self>) -> Self::Reader;
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(Error::unsupported(format!(
        "this connector does not offer {what}"
    )))
}

/// The objects with these keys, in the order of `all`; all if none is named. Unknown keys are left out, as the contract
/// requires.
pub fn chosen<'a, O>(all: &'a [O], keys: &[String], key: impl Fn(&O) -> &str) -> Vec<&'a O> {
    all.iter()
        .filter(|object| keys.is_empty() || keys.iter().any(|one| one == key(object)))
        .collect()
}

/// A connector for a [`Crm`].
pub struct CrmConnector<C: Crm> {
    crm: Arc<C>,
}

impl<C: Crm> CrmConnector<C> {
    fn session(
        &self,
        call: &CallContext,
        connection: Option<&Connection>,
        urgency: Urgency,
    ) -> Result<Session<C>, Error> {
        Ok(Session::new(&self.crm, call, connection)?.with_urgency(urgency))
    }
}

fn given(connection: Option<Connection>) -> Result<Connection, Error> {
    connection.ok_or_else(|| Error::bug("a call without a connection"))
}

impl<C: Crm> Connector for CrmConnector<C> {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let crm = Arc::new(C::open(host, request)?);
        Ok(Self { crm })
    }

    fn describe(&self) -> DescribeResponse {
        C::describe()
    }

    async fn begin_authorization(
        &self,
        _: CallContext,
        request: BeginAuthorizationRequest,
    ) -> Result<BeginAuthorizationResponse, Error> {
        let url = self.crm.authorization_url(&request)?;
        Ok(BeginAuthorizationResponse { url })
    }

    async fn exchange_code(
        &self,
        call: CallContext,
        request: ExchangeCodeRequest,
    ) -> Result<LoggedIn, Error> {
        self.crm.exchange_code(&call, &request).await
    }

    async fn log_in(&self, call: CallContext, request: LogInRequest) -> Result<LoggedIn, Error> {
        self.crm.log_in(&call, &request).await
    }

    async fn refresh(&self, call: CallContext, request: RefreshRequest) -> Result<RefreshResponse, Error> {
        self.crm.refresh(&call, given(request.connection)?).await
    }

    async fn revoke(&self, call: CallContext, request: RevokeRequest) -> Result<RevokeResponse, Error> {
        let already_gone = self.crm.revoke(&call, given(request.connection)?).await?;
        Ok(RevokeResponse { already_gone })
    }

    async fn list_fields(
        &self,
        call: CallContext,
        request: ListFieldsRequest,
    ) -> Result<ListFieldsResponse, Error> {
        let session = self.session(&call, request.connection.as_ref(), Urgency::Usual)?;
        Ok(ListFieldsResponse {
            objects: C::list_fields(&session, &request.objects).await?,
            api_usage: Some(call.usage()),
        })
    }

    async fn count_records(
        &self,
        call: CallContext,
        request: CountRecordsRequest,
    ) -> Result<CountRecordsResponse, Error> {
        let session = self.session(&call, request.connection.as_ref(), Urgency::Usual)?;
        Ok(CountRecordsResponse {
            counts: C::count_records(&session, &request.objects).await?,
            api_usage: Some(call.usage()),
        })
    }

    async fn fetch_company(
        &self,
        call: CallContext,
        request: FetchCompanyRequest,
    ) -> Result<FetchCompanyResponse, Error> {
        let session = self.session(&call, request.connection.as_ref(), Urgency::User)?;
        let (objects, read_time_us) = C::fetch_company(&session, request).await?;
        Ok(FetchCompanyResponse {
            objects,
            api_usage: Some(call.usage()),
            read_time_us,
        })
    }

    async fn read(&self, call: CallContext, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
        reading::read(&call, request, out, |connection| {
            Ok(C::reader(self.session(&call, connection, Urgency::Background)?))
        })
        .await
    }
}
