//! The CRM's API: the allowed requests, and the meaning of its errors. The SDK's session does the rest: the account's
//! address and token, retries, pauses that the CRM asks for.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tether_connector_sdk::http::{HttpClient, ReadSet, Request, Response, Url, one_line};
use tether_connector_sdk::proto::ErrorKind;
use tether_connector_sdk::session::{self, Api, Retries, Urgency};
use tether_connector_sdk::{Error, Host};

use crate::options::Options;
use crate::rows::Item;

/// The state shared by all calls.
pub struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
}

/// One account during one call.
pub(crate) type Session = session::Session<App>;

/// All requests that this connector may send to the CRM. Other requests are refused before they are sent.
pub(crate) fn read_set() -> ReadSet {
    ReadSet::new()
        .get("/api/v1/me")
        .get("/api/v1/fields")
        .get("/api/v1/*")
        .get("/api/v1/*/*")
        .post("/oauth/token")
        .post("/oauth/revoke")
}

/// An error of the CRM: `{"error": "…"}`. The key is required: it distinguishes the CRM's JSON from a gateway's.
#[derive(Deserialize)]
struct Said {
    error: String,
}

impl Api for App {
    const CRM: &'static str = "Template";

    fn host(&self) -> &Host {
        &self.host
    }

    fn http(&self) -> &HttpClient {
        &self.http
    }

    fn retries(&self, urgency: Urgency) -> Retries {
        Retries::new(self.options.back_off, urgency)
    }

    /// An account's login, or a refresh, may name an address of its own; without one it is the operator's.
    fn base_url(&self, of_account: &str) -> String {
        match of_account {
            "" => self.options.api_url.clone(),
            address => address.to_owned(),
        }
    }

    /// The status of the CRM's own errors has the usual meaning (`session::by_status`). If your CRM says with codes of
    /// its own what happened, or asks for a pause in a header of its own, implement `classify` instead.
    fn refusal(&self, response: &Response) -> Option<String> {
        response.own::<Said>().map(|said| one_line(&said.error))
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub struct Page {
    /// Records, ordered by id.
    pub(crate) items: Vec<Item>,
    /// The total number of records.
    pub(crate) total: u64,
    /// There are further records.
    pub(crate) more: bool,
}

/// Gets a resource.
pub(crate) async fn get<T: DeserializeOwned>(
    session: &Session,
    path: &str,
    query: &[(&str, &str)],
) -> Result<T, Error> {
    let request = || {
        let request = Request::get(&session.url(&format!("/api/v1/{path}")))?;
        Ok(query
            .iter()
            .fold(request, |request, (key, value)| request.query(key, value)))
    };
    let (found, _) = session.ask(request, |text| serde_json::from_str(text)).await?;
    Ok(found)
}

/// Gets a resource; None if it does not exist.
pub(crate) async fn find<T: DeserializeOwned>(session: &Session, path: &str) -> Result<Option<T>, Error> {
    match get(session, path, &[]).await {
        Err(error) if error.is(ErrorKind::RecordGone) => Ok(None),
        found => found.map(Some),
    }
}

/// An id as a path segment.
pub(crate) fn segment(id: &str) -> String {
    let mut url = match Url::parse("http://localhost/") {
        Ok(url) => url,
        Err(_) => return String::new(),
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().push(id);
    }
    url.path().trim_start_matches('/').to_owned()
}
