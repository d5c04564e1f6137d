//! HubSpot's API: the allowed requests, their limits, and the meaning of failed replies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tether_connector_sdk::Host;
use tether_connector_sdk::crm::CrmObject as _;
use tether_connector_sdk::http::{HttpClient, Method, ReadSet, Request, Response};
use tether_connector_sdk::proto::{Error, ErrorKind};
use tether_connector_sdk::session::{Api, Refusal, Retries, Urgency};

use crate::limits::{self, Standing, Turns};
use crate::objects::{COMPANY, OBJECTS};
use crate::options::Options;
use crate::{bodies, errors};

/// The state shared by all calls.
pub struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
    pub(crate) searches: Turns,
    /// Records per request for links: fewer after HubSpot has refused more.
    pub(crate) links_a_request: AtomicUsize,
}

/// All requests that the connector may send to HubSpot.
pub(crate) fn read_set() -> ReadSet {
    let mut set = ReadSet::new()
        .get("/account-info/v3/details")
        .get("/oauth/v1/access-tokens/*")
        .rule(Method::DELETE, "/oauth/v1/refresh-tokens/*", None)
        .post_checked("/oauth/v1/token", bodies::check_token)
        .post_checked("/oauth/2026-03/token", bodies::check_token)
        .post_checked("/oauth/2026-03/token/introspect", bodies::check_token)
        .post_checked("/oauth/2026-03/token/revoke", bodies::check_token)
        .post_checked(PRIVATE_APP, bodies::check_private_app);
    for object in &OBJECTS {
        let records = format!("/crm/v3/objects/{}", object.key);
        set = set
            .get(&format!("/crm/v3/properties/{}", object.key))
            .get(&records)
            .get(&format!("{records}/*"))
            .post_checked(&format!("{records}/batch/read"), bodies::check_batch)
            .post_checked(&format!("{records}/search"), bodies::check_search);
        if !object.is_company() {
            for (from, to) in [(object.key, COMPANY.key), (COMPANY.key, object.key)] {
                let path = format!("/crm/v4/associations/{from}/{to}/batch/read");
                set = set.post_checked(&path, bodies::check_associations);
            }
        }
    }
    set
}

/// HubSpot's window of ten seconds, as a multiple of the first pause.
const WINDOW: u32 = 10;

/// The endpoint for the owner of a private app's token.
pub(crate) const PRIVATE_APP: &str = "/oauth/v2/private-apps/get/access-token-info";

/// One account during one call.
pub(crate) type Session = tether_connector_sdk::session::Session<App>;

impl Api for App {
    const CRM: &'static str = "HubSpot";

    fn host(&self) -> &Host {
        &self.host
    }

    fn http(&self) -> &HttpClient {
        &self.http
    }

    fn retries(&self, urgency: Urgency) -> Retries {
        Retries {
            told_attempts: limits::TOLD_ATTEMPTS,
            rate_pause: self.options.back_off,
            ..Retries::new(self.options.back_off, urgency)
        }
    }

    /// HubSpot's API has one address for all accounts today; the login names it.
    fn base_url(&self, of_account: &str) -> String {
        match of_account {
            "" => self.options.api_base.clone(),
            address => address.to_owned(),
        }
    }

    async fn send(session: &Session, request: Request) -> Result<Response, Error> {
        let (app, call) = (session.api(), session.call());
        let turn = if request.url().path().ends_with("/search") {
            let account = &session.identity().organization_id;
            Some(call.run(app.searches.next(account)).await?)
        } else {
            None
        };
        let response = app.http.send(call, request).await?;
        drop(turn);
        let standing = app.standing(&response);
        if let Some((used, limit)) = standing.daily {
            call.set_allowance(used, limit);
        }
        let leave_some = session.urgency() == Urgency::Background && standing.low;
        if response.status.is_success() && leave_some {
            call.sleep(standing.window / 10).await?;
        }
        Ok(response)
    }

    fn classify(session: &Session, response: &Response) -> Refusal {
        let app = session.api();
        // HubSpot's edge reports limits too, in any form.
        if response.status.as_u16() != 429 && !(response.is_json() && errors::is_own(&response.body)) {
            return Refusal::of(response.foreign("HubSpot"), response);
        }
        let standing = app.standing(response);
        let now_us = app.host.now_us();
        let error = errors::classify(
            response.status.as_u16(),
            &response.body,
            response.retry_after(),
            standing.window,
            now_us,
        );
        let pause = u64::try_from(error.retry_us.saturating_sub(now_us)).unwrap_or(0);
        let error = match (error.what(), standing.daily) {
            (ErrorKind::AllowanceExhausted, Some((used, limit))) => error.allowance(used, limit),
            _ => error,
        };
        Refusal::of(error, response).after(Some(Duration::from_micros(pause)))
    }
}

impl App {
    /// The limits in a reply's headers.
    fn standing(&self, response: &Response) -> Standing {
        Standing::of(&response.headers, self.options.back_off * WINDOW)
    }

    /// Records per request for links.
    pub(crate) fn links_a_request(&self) -> usize {
        self.links_a_request.load(Ordering::Relaxed)
    }

    /// Lowers it after HubSpot has refused more.
    pub(crate) fn set_links_a_request(&self, most: usize) {
        self.links_a_request.store(most, Ordering::Relaxed);
    }
}

/// Waits before the failed part of a reply is requested again; false after too many attempts.
pub(crate) async fn pause(session: &Session, attempt: u32) -> Result<bool, Error> {
    Ok(attempt < session.retries().attempts && session.pause(attempt).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tether_connector_sdk::http::Url;

    #[test]
    fn nothing_that_writes_is_in_the_read_set() {
        let url = |path: &str| {
            Url::parse(&format!("https://api.hubapi.com{path}")).unwrap_or_else(|e| panic!("{e}"))
        };
        let set = read_set();
        let batch = br#"{"inputs":[{"id":"1"}],"properties":["name"]}"#;
        let read = [
            (Method::GET, "/crm/v3/objects/companies?limit=100", &b""[..]),
            (Method::GET, "/crm/v3/objects/tickets/17", b""),
            (Method::POST, "/crm/v3/objects/deals/batch/read", batch),
            (
                Method::POST,
                "/crm/v4/associations/contacts/companies/batch/read",
                br#"{"inputs":[{"id":"1"}]}"#,
            ),
        ];
        for (method, path, body) in read {
            assert_eq!(set.check(&method, &url(path), body), Ok(()), "{method} {path}");
        }
        let written = [
            (Method::POST, "/crm/v3/objects/companies", &batch[..]),
            (Method::PATCH, "/crm/v3/objects/companies/1", b"{}"),
            (Method::DELETE, "/crm/v3/objects/companies/1", b""),
            (Method::POST, "/crm/v3/objects/companies/batch/create", batch),
            (Method::POST, "/crm/v3/objects/companies/batch/archive", batch),
            (Method::POST, "/crm/v3/objects/companies/merge", batch),
            (
                Method::POST,
                "/crm/v3/objects/companies/batch/read",
                br#"{"inputs":[{"id":"1","properties":{"name":"x"}}]}"#,
            ),
            (
                Method::POST,
                "/crm/v4/associations/contacts/companies/batch/create",
                br#"{"inputs":[{"id":"1"}]}"#,
            ),
            (Method::GET, "/crm/v3/objects/quotes", b""),
            (Method::GET, "/crm/v3/owners", b""),
        ];
        for (method, path, body) in written {
            assert!(set.check(&method, &url(path), body).is_err(), "{method} {path}");
        }
    }
}
