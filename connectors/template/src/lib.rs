//! A tether connector for Template.
//!
//! [`App`] implements the SDK's traits for a CRM: `Api` in `api.rs`, `Login` in `auth.rs`, and [`Crm`] here. The requirements are
//! documented at the messages in `connector.proto`, and numbered in `connectors/SPEC.md`.

mod api;
mod auth;
mod fetch;
mod fields;
mod options;
mod read;
mod rows;

use tether_connector_sdk::crm::{Crm, CrmConnector};
use tether_connector_sdk::proto::{
    DescribeResponse, FetchCompanyRequest, ObjectCount, ObjectFields, ObjectResult, OpenRequest,
};
use tether_connector_sdk::{Error, Host, export_connector};

pub use crate::api::App;
use crate::api::Session;
use crate::options::Options;

/// The connector.
pub type TemplateConnector = CrmConnector<App>;

export_connector!(TemplateConnector);

impl Crm for App {
    type Reader = read::Reader;

    fn open(host: Host, request: OpenRequest) -> Result<Self, Error> {
        let http = host.http(api::read_set())?;
        let options = Options::new(&request.settings)?;
        Ok(Self { host, http, options })
    }

    fn describe() -> DescribeResponse {
        fields::describe()
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
        fetch::company(session, &request).await
    }

    fn reader(session: Session) -> read::Reader {
        read::Reader { session }
    }
}
