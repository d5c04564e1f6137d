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
//! | `read` | the read of an object's list, of what changed, and of records by id; resumable |
//! | `changes` | the search for what changed; records by id, also archived and merged ones |
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
mod changes;
mod currency;
mod errors;
mod fetch;
mod fields;
mod identity;
mod ids;
mod limits;
mod objects;
mod options;
mod outcome;
mod page;
mod plan;
mod properties;
mod read;
mod rest;
mod token;
mod values;

use tether_connector_sdk::crm::{Calls, CrmConnector, count_records, list_fields, offered};
use tether_connector_sdk::proto::{
    DescribeResponse, FetchCompanyRequest, ObjectCount, ObjectFields, ObjectResult, OpenRequest,
};
use tether_connector_sdk::{Error, Host};

use objects::OBJECTS;
use read::Reader;
pub use rest::App;
use rest::Session;

tether_connector_sdk::export_connector!(HubSpot);

/// The connector.
pub type HubSpot = CrmConnector<App>;

impl Calls for App {
    type Reader = Reader;

    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let options = options::Options::new(&request.settings)?;
        let http = host.http(rest::read_set())?;
        Ok(Self {
            host,
            http,
            searches: limits::Turns::new(options.searches),
            links_a_request: associations::A_REQUEST.into(),
            options,
        })
    }

    fn describe() -> DescribeResponse {
        DescribeResponse {
            connector: "hubspot".to_owned(),
            display_name: "HubSpot".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            objects: offered(&OBJECTS),
            auth_methods: auth::methods(),
            settings: Vec::new(),
            operator_settings: options::operator_settings(),
            features: vec!["changes".to_owned()],
        }
    }

    async fn list_fields(session: &Session, objects: &[String]) -> Result<Vec<ObjectFields>, Error> {
        let mut listed = list_fields(session, objects).await?;
        currency::add(session, &mut listed).await?;
        Ok(listed)
    }

    async fn count_records(session: &Session, objects: &[String]) -> Result<Vec<ObjectCount>, Error> {
        count_records(session, objects).await
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
