//! The trait a connector implements.

use std::future::{Future, ready};

use crate::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, CountRecordsRequest, CountRecordsResponse,
    DescribeResponse, Error, ExchangeCodeRequest, FetchCompanyRequest, FetchCompanyResponse,
    ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn, OpenRequest, ReadRequest, RefreshRequest,
    RefreshResponse, RevokeRequest, RevokeResponse,
};
use crate::{CallContext, Host, ReadStream};

/// One CRM.
///
/// A value of this type belongs to the operator, not to an account: each request contains everything that the call
/// needs, and any call may be answered by another process. Calls run concurrently. A future may be dropped at any
/// await, when the call is cancelled or its deadline passes. A panic fails its call with BUG, and the host opens the
/// connector again.
///
/// The messages in `connector.proto` define each call. Choose the kind of every error with care: the host acts on the
/// kind, the message is for users.
pub trait Connector: Send + Sync + Sized + 'static {
    /// Starts the connector. Must not use the network. An invalid operator setting is CONFIGURATION.
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error>;

    /// Name, version and features of the connector. Must be constant.
    fn describe(&self) -> DescribeResponse;

    /// The URL for the browser login. UNSUPPORTED unless implemented.
    fn begin_authorization(
        &self,
        call: CallContext,
        request: BeginAuthorizationRequest,
    ) -> impl Future<Output = Result<BeginAuthorizationResponse, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("authorization in the browser"))
    }

    /// Completes a browser login. UNSUPPORTED unless implemented.
    fn exchange_code(
        &self,
        call: CallContext,
        request: ExchangeCodeRequest,
    ) -> impl Future<Output = Result<LoggedIn, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("authorization in the browser"))
    }

    /// Logs in without a browser. UNSUPPORTED unless implemented.
    fn log_in(
        &self,
        call: CallContext,
        request: LogInRequest,
    ) -> impl Future<Output = Result<LoggedIn, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("logging in without a browser"))
    }

    /// Gets new credentials. UNSUPPORTED unless implemented; a connector whose credentials do not expire need not
    /// implement it.
    fn refresh(
        &self,
        call: CallContext,
        request: RefreshRequest,
    ) -> impl Future<Output = Result<RefreshResponse, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("refreshing credentials"))
    }

    /// Revokes the credentials. UNSUPPORTED unless implemented; a connector whose CRM has no revocation need not
    /// implement it.
    fn revoke(
        &self,
        call: CallContext,
        request: RevokeRequest,
    ) -> impl Future<Output = Result<RevokeResponse, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("revoking credentials"))
    }

    /// The fields the logged-in user can see.
    fn list_fields(
        &self,
        call: CallContext,
        request: ListFieldsRequest,
    ) -> impl Future<Output = Result<ListFieldsResponse, Error>> + Send;

    /// Counts records.
    fn count_records(
        &self,
        call: CallContext,
        request: CountRecordsRequest,
    ) -> impl Future<Output = Result<CountRecordsResponse, Error>> + Send;

    /// Reads one company with its related records, live.
    fn fetch_company(
        &self,
        call: CallContext,
        request: FetchCompanyRequest,
    ) -> impl Future<Output = Result<FetchCompanyResponse, Error>> + Send;

    /// Sends records to `out`, which waits while the host is slower. Ok ends the stream successfully, an error ends
    /// it as failed; checkpoints already sent stay valid. Resumes from `request.checkpoint` if it is not empty.
    fn read(
        &self,
        call: CallContext,
        request: ReadRequest,
        out: ReadStream,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(Error::unsupported(format!(
        "this connector does not offer {what}"
    )))
}
