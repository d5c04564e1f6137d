//! The Salesforce connector: Accounts as companies, with their Contacts, Opportunities, Contracts and Cases.
//!
//! | module | content |
//! |---|---|
//! | `options` | the operator's settings; login hosts |
//! | `auth`, `token`, `identity` | login, refresh, revocation; the meaning of refusals; the account of a login |
//! | `rest`, `errors`, `limits`, `clock` | one request: sending, retries, error classification, API usage, Salesforce's time |
//! | `composite` | several GETs in one call |
//! | `objects`, `describe`, `fields` | the five objects, and their fields that the user can see |
//! | `soql`, `plan` | queries; splitting of wide selections |
//! | `page`, `row`, `values`, `ids`, `records` | conversion of replies to canonical records |
//! | `read`, `recover` | the read, page by page, resumable after each page |
//! | `planner` | whether pages come by REST or by Bulk |
//! | `query`, `rest_pages`, `together` | pages by REST; the first pages of several objects in one call |
//! | `bulk`, `bulk_pages`, `jobs` | jobs of Bulk 2.0 and their results; which read has which job |
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
//! | `bulk_rows` | the number of records from which Bulk is used; default 40,000; 0 never uses it |
//! | `bulk_page_bytes` | the approximate bytes of a page of a job's result; default 24 MiB |
//! | `bulk_wait_minutes` | how long a job may run without getting on; default 150 |

mod auth;
mod bulk;
mod bulk_pages;
mod clock;
mod composite;
mod currency;
mod describe;
mod errors;
mod fetch;
mod fields;
mod identity;
mod ids;
mod jobs;
mod limits;
mod objects;
mod options;
mod page;
mod plan;
mod planner;
mod query;
mod read;
mod records;
mod recover;
mod rest;
mod rest_pages;
mod row;
mod soql;
mod together;
mod token;
mod values;

use tether_connector_sdk::crm::{Calls, CrmConnector, offered};
use tether_connector_sdk::proto::{
    DescribeResponse, FetchCompanyRequest, ObjectCount, ObjectFields, ObjectResult, OpenRequest,
};
use tether_connector_sdk::{Error, Host};

use objects::OBJECTS;
use read::Reader;
pub use rest::App;
use rest::Session;

tether_connector_sdk::export_connector!(Salesforce);

/// The connector.
pub type Salesforce = CrmConnector<App>;

impl Calls for App {
    type Reader = Reader;

    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let options = options::Options::new(&request.settings)?;
        let http = host.http(rest::read_set())?;
        Ok(Self {
            clock: clock::Clock::new(host.clone()),
            jobs: jobs::Jobs::default(),
            host,
            http,
            options,
        })
    }

    fn describe() -> DescribeResponse {
        DescribeResponse {
            connector: "salesforce".to_owned(),
            display_name: "Salesforce".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: offered(&OBJECTS),
            auth_methods: auth::methods(),
            settings: options::settings(),
            operator_settings: options::operator_settings(),
            features: vec!["changes".to_owned()],
        }
    }

    async fn list_fields(session: &Session, objects: &[String]) -> Result<Vec<ObjectFields>, Error> {
        fields::list(session, objects).await
    }

    async fn count_records(session: &Session, objects: &[String]) -> Result<Vec<ObjectCount>, Error> {
        fields::count(session, objects).await
    }

    async fn fetch_company(
        session: &Session,
        request: FetchCompanyRequest,
    ) -> Result<(Vec<ObjectResult>, i64), Error> {
        fetch::fetch(session, request).await
    }

    fn reader(session: Session) -> Reader {
        Reader::new(session)
    }
}
