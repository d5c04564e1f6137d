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
/// A value of this type belongs to the operator, not to an account: whatever a call needs comes with its request, and
/// any call may be answered by another process. Calls run concurrently. A future may be dropped at any await, when the
/// call is cancelled or its deadline passes; a panic fails its call as BUG and makes the host open the connector anew.
///
/// What each call means is said at its messages in `connector.proto`. Every error carries a kind that tells the host
/// what to do: choose it with care, the message is for people.
pub trait Connector: Send + Sync + Sized + 'static {
    /// Starts the connector. Must not use the network; what is wrong with the operator's settings is CONFIGURATION.
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error>;

    /// What the connector is and offers. Always the same.
    fn describe(&self) -> DescribeResponse;

    /// Where to send the browser. UNSUPPORTED unless implemented.
    fn begin_authorization(
        &self,
        call: CallContext,
        request: BeginAuthorizationRequest,
    ) -> impl Future<Output = Result<BeginAuthorizationResponse, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("authorization in the browser"))
    }

    /// The browser came back. UNSUPPORTED unless implemented.
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

    /// Gets new credentials. UNSUPPORTED unless implemented: right only where credentials do not end.
    fn refresh(
        &self,
        call: CallContext,
        request: RefreshRequest,
    ) -> impl Future<Output = Result<RefreshResponse, Error>> + Send {
        let _ = (call, request);
        ready(unsupported("refreshing credentials"))
    }

    /// Gives access back. UNSUPPORTED unless implemented: right only where the CRM cannot.
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

    /// How many records there are.
    fn count_records(
        &self,
        call: CallContext,
        request: CountRecordsRequest,
    ) -> impl Future<Output = Result<CountRecordsResponse, Error>> + Send;

    /// One company with its related records, live.
    fn fetch_company(
        &self,
        call: CallContext,
        request: FetchCompanyRequest,
    ) -> impl Future<Output = Result<FetchCompanyResponse, Error>> + Send;

    /// Reads records into `out`, which waits while the host is behind. Returning Ok ends the stream well, an error ends
    /// it as failed; what was checkpointed stays. Goes on from `request.checkpoint` where that is not empty.
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
