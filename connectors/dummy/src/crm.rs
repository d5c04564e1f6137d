//! The dummy's CRM over the network, if the setting `crm` names one: the program `dummy-crm`, or a proxy in front of
//! it. Without one, every name is accepted and no request is sent.

use serde::Deserialize;
use tether_connector_sdk::http::{HttpClient, ReadSet, Request, Response};
use tether_connector_sdk::{CallContext, Error, Host};

use crate::script::Settings;

/// The pause after a rate limit if the reply does not contain one.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(30);

/// The user of a new token.
#[derive(Deserialize)]
pub(crate) struct Granted {
    pub(crate) user: String,
    pub(crate) organization: String,
    pub(crate) generation: u64,
}

/// An error of the CRM. Its form distinguishes it from replies of gateways.
#[derive(Deserialize)]
struct Refusal {
    #[expect(dead_code, reason = "only its presence is checked")]
    refused: String,
}

/// The client.
#[derive(Clone)]
pub(crate) struct Crm {
    http: HttpClient,
}

impl Crm {
    pub(crate) fn new(host: &Host, settings: &Settings) -> Result<Self, Error> {
        let mut reads = ReadSet::new().get("/data/*").post("/token").post("/revoke");
        if settings.is_mutant("writes") {
            reads = reads.post("/data/*");
        }
        host.http(reads).map(|http| Self { http })
    }

    /// Requests data of an object. The reply is only checked: the dummy generates its rows itself.
    pub(crate) async fn ask(
        &self,
        settings: &Settings,
        call: &CallContext,
        base_url: &str,
        token: &str,
        object: &str,
    ) -> Result<(), Error> {
        let Some(crm) = settings.crm() else {
            return Ok(());
        };
        let to_setting = base_url.is_empty() || settings.is_mutant("ignores-base-url");
        let base = if to_setting { crm } else { base_url };
        if settings.is_mutant("logs-tokens") {
            tracing::debug!("sending a request with {token}");
        }
        if settings.is_mutant("writes") {
            let request = Request::post_form(&format!("{base}/data/{object}"), [("a", "b")])?;
            self.http.send(call, request.bearer(token)?).await?;
        }
        if settings.is_mutant("requests-after-cancel") {
            let (http, url) = (self.http.clone(), format!("{base}/data/{object}"));
            tokio::spawn(async move {
                for _ in 0..100 {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    if let Ok(request) = Request::get(&url) {
                        // The mutant: requests continue after the call has ended.
                        tokio::spawn({
                            let http = http.clone();
                            async move { drop(http.send(&CallContext::default(), request).await) }
                        });
                    }
                }
            });
        }
        let short_deadline = call
            .remaining()
            .is_some_and(|left| left < std::time::Duration::from_secs(1));
        if settings.is_mutant("blocks-threads") && short_deadline {
            for _ in 0..4 {
                tokio::spawn(async { std::thread::sleep(std::time::Duration::from_secs(3)) });
            }
        }
        let request = Request::get(&format!("{base}/data/{object}"))?.bearer(token)?;
        let response = self.http.send(call, request).await?;
        let expected_body = response.body.as_ref() == br#"{"ok":true}"#;
        match response.status.as_u16() {
            200 if expected_body || settings.is_mutant("accepts-any-body") => Ok(()),
            _ if settings.is_mutant("every-error-is-bug") => Err(Error::bug("the CRM failed")),
            200 => Err(Error::transient("the CRM's answer is not the expected JSON")),
            401 => Err(Error::credentials_expired("the access token has expired")),
            403 | 404 if settings.is_mutant("trusts-gateways") => {
                Err(Error::forbidden("the user may not read this").object(object))
            }
            403 if response.own::<Refusal>().is_some() => {
                Err(Error::forbidden("the user may not read this").object(object))
            }
            429 if settings.is_mutant("ignores-wait") => {
                Err(Error::rate_limited("the CRM's rate limit was reached").retry_after(PAUSE))
            }
            _ => Err(refused(&response)),
        }
    }

    /// Requests a token. None: there is no CRM.
    pub(crate) async fn token(
        &self,
        settings: &Settings,
        call: &CallContext,
        by: &str,
        what: &str,
    ) -> Result<Option<Granted>, Error> {
        let Some(base) = settings.crm() else {
            return Ok(None);
        };
        let request = Request::post_form(&format!("{base}/token"), [(by, what)])?;
        let response = self.http.send(call, request).await?;
        match response.status.as_u16() {
            200 => serde_json::from_slice(&response.body)
                .map(Some)
                .map_err(|_| Error::transient("the CRM's answer has no token")),
            400 if by == "refresh" => Err(Error::credentials_revoked(
                "the CRM does not know the refresh token",
            )
            .code("invalid_grant")),
            400 => Err(Error::invalid_input("the CRM does not know this code or key").code("invalid_grant")),
            401 => Err(Error::configuration("the CRM does not know the app")),
            403 => Err(Error::admin_action(
                "an administrator of the CRM has to allow the app",
            )),
            _ => Err(refused(&response)),
        }
    }

    /// Revokes a token. Returns whether the CRM no longer knew it; None: there is no CRM.
    pub(crate) async fn revoke(
        &self,
        settings: &Settings,
        call: &CallContext,
        token: &str,
    ) -> Result<Option<bool>, Error> {
        let Some(base) = settings.crm() else {
            return Ok(None);
        };
        let request = Request::post_form(&format!("{base}/revoke"), [("token", token)])?;
        let response = self.http.send(call, request).await?;
        match response.status.as_u16() {
            200 => Ok(Some(false)),
            404 if settings.is_mutant("repeated-revoke-fails") => Err(Error::bug("the token does not exist")),
            404 => Ok(Some(true)),
            401 | 403 => Err(Error::admin_action(
                "the CRM does not allow the app to revoke tokens",
            )),
            _ => Err(refused(&response)),
        }
    }
}

/// The errors of all endpoints.
fn refused(response: &Response) -> Error {
    let status = response.status.as_u16();
    match status {
        429 => {
            let header = |name: &str| response.headers.get(name)?.to_str().ok()?.parse().ok();
            let wait = header("retry-after").or_else(|| header("x-dummy-wait"));
            let wait = wait.map_or(PAUSE, std::time::Duration::from_secs);
            Error::rate_limited("the CRM's rate limit was reached").retry_after(wait)
        }
        _ if response.own::<Refusal>().is_some() => Error::bug(format!("the CRM answered {status}")),
        // Not a reply of the CRM's own API: it proves nothing, whatever its status.
        _ => response.foreign("the CRM"),
    }
}
