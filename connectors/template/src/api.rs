//! The CRM's API: the allowed requests, the key's form, and the meaning of errors. The SDK's session does the rest: the
//! account's address and token, retries, pauses that the CRM asks for.

use serde::Deserialize;
use tether_connector_sdk::http::{HttpClient, ReadSet, Request, Response, one_line};
use tether_connector_sdk::proto::AuthKind;
use tether_connector_sdk::session::{self, Api, Retries, Urgency};
use tether_connector_sdk::{Error, Host};

use crate::options::Options;

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

    /// Keys are sent as the user of HTTP basic authentication. For a header of the CRM's own: `Request::secret_header`.
    fn authorize(&self, request: Request, auth_kind: AuthKind, token: &str) -> Result<Request, Error> {
        match auth_kind {
            AuthKind::ApiKey => request.basic(token, ""),
            _ => request.bearer(token),
        }
    }

    /// The status of the CRM's own errors has the usual meaning (`session::by_status`). If your CRM says with codes of
    /// its own what happened, or asks for a pause in a header of its own, implement `classify` instead.
    fn refusal(&self, response: &Response) -> Option<String> {
        response.own::<Said>().map(|said| one_line(&said.error))
    }
}
