//! A connector from its CRM's parts: the login, the fields, the live read and the full read.
//!
//! | a connector for | implements |
//! |---|---|
//! | a CRM with an HTTP API whose objects are lists of records | [`Api`](crate::session::Api), [`Login`], [`Objects`], [`Crm`] |
//! | one that answers for several objects at once, or is read in another way | [`Api`](crate::session::Api), [`Login`], [`Calls`] itself, with [`Objects`] where it fits |
//! | anything else, such as files | [`Connector`] |
//!
//! [`CrmConnector`] implements [`Connector`] for the first two: it makes the [`Session`] of each call and completes the
//! answers. What it does for a [`Crm`]:
//!
//! | call | from |
//! |---|---|
//! | ListFields, CountRecords | [`Objects::fields`], [`Objects::count`] for each object |
//! | FetchCompany | [`Crm::one`], [`Crm::related`]: several companies at once, the limit, deleted companies, fields that are missing, objects that cannot be read |
//! | Read | [`Crm::page`]: [`crate::reading`], and the ranges that are listed completely, the order of ids, cursors that the CRM no longer knows; with [`Crm::CHANGES`] what changed, and records by id |

mod live;
mod login;
mod objects;
mod paged;
mod rows;
#[cfg(test)]
mod tests;

use std::future::{Future, ready};
use std::sync::Arc;

pub use self::login::{API_KEY, Login, api_key, browser};
pub use self::objects::{
    Count, CrmObject, Fields, Objects, PlainObject, chosen, count_records, describe, hidden, list_fields,
    named, offered,
};
pub use self::paged::{Pages, Place, Plan};
pub use self::rows::Rows;
use crate::proto::{
    BeginAuthorizationRequest, BeginAuthorizationResponse, Connection, CountRecordsRequest,
    CountRecordsResponse, DescribeResponse, Error, ExchangeCodeRequest, FetchCompanyRequest,
    FetchCompanyResponse, Identity, ListFieldsRequest, ListFieldsResponse, LogInRequest, LoggedIn,
    ObjectCount, ObjectFields, ObjectResult, OpenRequest, ReadRequest, Record, RefreshRequest,
    RefreshResponse, RevokeRequest, RevokeResponse,
};
use crate::reading::{self, Source};
use crate::session::{Memory, Session, Urgency};
use crate::{CallContext, Connector, Host, ReadStream};

/// The order of an object's lists. It is checked while they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By the bytes of the ids.
    Bytes,
    /// By the ids as decimal numbers: 999 before 1000.
    Numbers,
    /// Another one. Then no records are concluded to be deleted from their absence in a list.
    Unknown,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Its records, deleted ones too if the CRM lists them.
    pub records: Vec<Record>,
    /// With what the next page is asked for: the CRM's cursor, or the last id; None at the end. Not a URL, because a
    /// checkpoint has it.
    pub next: Option<String>,
    /// The number of records in all pages, if the CRM reports it.
    pub total: Option<u64>,
    /// The CRM's time of the reply, as [`Session::ask`] returns it.
    pub read_time_us: i64,
}

/// A CRM whose objects are lists of records. The messages of `connector.proto` define each call.
pub trait Crm: Objects {
    /// The order of its lists.
    const ORDER: Order;

    /// The CRM can be asked for what changed and for records by id: [`Crm::changed`] and [`Crm::named`] are implemented. The feature
    /// `changes` is added to those of the connector.
    const CHANGES: bool = false;
    /// See [`Source::LATE_US`].
    const LATE_US: i64 = 10 * 60 * 1_000_000;
    /// See [`Source::KEPT_US`].
    const KEPT_US: i64 = 14 * 24 * 3_600 * 1_000_000;

    /// Whether all of an object is read when something of all its records is due, because [`Crm::changed`] does not return everything
    /// that changes: records whose links to others are stored apart from them. See [`Source::in_full`].
    fn in_full(object: &'static Self::Object) -> bool {
        let _ = object;
        false
    }

    /// Starts the connector. Must not use the network. An invalid operator setting is CONFIGURATION.
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error>;

    /// Name, version and features of the connector. Must be constant. The objects are added.
    fn describe() -> DescribeResponse;

    /// A page of the list of an object, from `cursor` on: empty, or [`Listed::next`] of another page. If the CRM does
    /// not know the cursor any more, the error is CURSOR_GONE, and the list begins again.
    fn page(
        session: &Session<Self>,
        rows: &mut Rows<Self::Object>,
        cursor: &str,
    ) -> impl Future<Output = Result<Listed, Error>> + Send;

    /// A page of the records of an object that were added, changed, deleted, merged or restored at `since_us` (unix microseconds by
    /// the CRM's clock) or later, like [`Crm::page`]. A record that changes while the pages are read must not move others from a page
    /// that is not read yet to one that was: pages by id do that, pages by time with an offset do not. If deleted records are in
    /// a list of their own, the cursor can say which of the two is next. `rows` has the fields as they were selected; if the CRM refuses
    /// unknown ones, the error is FIELD_GONE. If it no longer knows the time or the cursor, the error is CURSOR_GONE, and the object is
    /// read in full after one repetition.
    fn changed(
        session: &Session<Self>,
        rows: &mut Rows<Self::Object>,
        since_us: i64,
        cursor: &str,
    ) -> impl Future<Output = Result<Listed, Error>> + Send {
        let _ = (session, rows, since_us, cursor);
        ready(Err(Error::unsupported("what changed cannot be asked for")))
    }

    /// The records of an object with these ids, at most 100, as far as the CRM has them; with `deleted` where the CRM has one as
    /// deleted. `next` is not used. Of a CRM that can only be asked for one at a time, several requests.
    fn named(
        session: &Session<Self>,
        rows: &mut Rows<Self::Object>,
        ids: &[String],
    ) -> impl Future<Output = Result<Listed, Error>> + Send {
        let _ = (session, rows, ids);
        ready(Err(Error::unsupported("records cannot be asked for by id")))
    }

    /// A company, and the CRM's time of the reply. None if the CRM does not have it; with `deleted` if the CRM has it as
    /// deleted.
    fn one(
        session: &Session<Self>,
        rows: &mut Rows<Self::Object>,
        id: &str,
    ) -> impl Future<Output = Result<(Option<Record>, i64), Error>> + Send;

    /// A page of the records of an object that belong to a company, like [`Crm::page`].
    fn related(
        session: &Session<Self>,
        rows: &mut Rows<Self::Object>,
        company: &str,
        cursor: &str,
    ) -> impl Future<Output = Result<Listed, Error>> + Send;
}

/// The calls of a connector. Every [`Crm`] has them; see also [`Connector`].
pub trait Calls: Login {
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

impl<C: Crm> Calls for C {
    type Reader = Pages<C>;

    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        <C as Crm>::open(host, request)
    }

    fn describe() -> DescribeResponse {
        let mut described = <C as Crm>::describe();
        if C::CHANGES {
            described.features.push("changes".to_owned());
        }
        DescribeResponse {
            objects: offered(C::objects()),
            ..described
        }
    }

    async fn list_fields(session: &Session<C>, objects: &[String]) -> Result<Vec<ObjectFields>, Error> {
        list_fields(session, objects).await
    }

    async fn count_records(session: &Session<C>, objects: &[String]) -> Result<Vec<ObjectCount>, Error> {
        count_records(session, objects).await
    }

    async fn fetch_company(
        session: &Session<C>,
        request: FetchCompanyRequest,
    ) -> Result<(Vec<ObjectResult>, i64), Error> {
        live::fetch(session, request).await
    }

    fn reader(session: Session<C>) -> Pages<C> {
        Pages::new(session)
    }
}

/// A connector for a [`Crm`], or for other [`Calls`].
pub struct CrmConnector<C: Calls> {
    crm: Arc<C>,
    memory: Arc<Memory>,
}

impl<C: Calls> CrmConnector<C> {
    fn session(
        &self,
        call: &CallContext,
        connection: Option<&Connection>,
        urgency: Urgency,
    ) -> Result<Session<C>, Error> {
        let session = Session::new(&self.crm, call, connection)?;
        Ok(session.with_urgency(urgency).with_memory(&self.memory))
    }

    /// After a login the account may see more, or less.
    fn forget(&self, login: Result<LoggedIn, Error>) -> Result<LoggedIn, Error> {
        let login = login?;
        let identity = login.identity.as_ref();
        if let Some(whose) = identity.and_then(|identity: &Identity| self.memory.whose(identity, "", "")) {
            self.memory.forget(whose);
        }
        Ok(login)
    }
}

fn given(connection: Option<Connection>) -> Result<Connection, Error> {
    connection.ok_or_else(|| Error::bug("a call without a connection"))
}

impl<C: Calls> Connector for CrmConnector<C> {
    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let crm = Arc::new(C::open(host, request)?);
        let memory = Arc::default();
        Ok(Self { crm, memory })
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
        self.forget(self.crm.exchange_code(&call, &request).await)
    }

    async fn log_in(&self, call: CallContext, request: LogInRequest) -> Result<LoggedIn, Error> {
        self.forget(self.crm.log_in(&call, &request).await)
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
            read_time_us: call.comparable(read_time_us, self.crm.host().now_us()),
        })
    }

    async fn read(&self, call: CallContext, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
        let now_us = self.crm.host().now_us();
        reading::read(&call, request, out, now_us, |connection| {
            Ok(C::reader(self.session(&call, connection, Urgency::Background)?))
        })
        .await
    }
}
