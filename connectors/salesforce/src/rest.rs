//! The REST API: the allowed requests, their paths, and the meaning of failed replies.

use std::time::Duration;

use serde::Deserialize;
use tether_connector_sdk::Host;
use tether_connector_sdk::http::{HttpClient, Method, ReadSet, Request, Response, jitter};
use tether_connector_sdk::proto::Error;
use tether_connector_sdk::session::{Api, Refusal, Retries, Urgency};

use crate::clock::Clock;
use crate::composite::{self, Answer};
use crate::errors::Failed;
use crate::jobs::Jobs;
use crate::options::Options;
use crate::page::{self, Page};
use crate::plan::Column;
use crate::{bulk, errors, limits, soql};

/// The longest sum of the pauses for one request.
const LONGEST: Duration = Duration::from_secs(75);

/// The state shared by all calls.
pub struct App {
    pub(crate) host: Host,
    pub(crate) http: HttpClient,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    /// Jobs of Bulk that reads of this process have.
    pub(crate) jobs: Jobs,
}

/// All requests that the connector may send to Salesforce.
pub(crate) fn read_set() -> ReadSet {
    ReadSet::new()
        .get("/services/data")
        .get("/services/data/**")
        .get("/services/oauth2/userinfo")
        .get("/id/*/*")
        .post("/services/oauth2/token")
        .post("/services/oauth2/revoke")
        .post_checked("/services/data/v*/composite", composite::check)
        .post_checked("/services/data/v*/jobs/query", bulk::api::check_create)
        .rule(
            Method::PATCH,
            "/services/data/v*/jobs/query/*",
            Some(bulk::api::check_abort),
        )
        .rule(Method::DELETE, "/services/data/v*/jobs/query/*", None)
}

/// One account during one call.
pub(crate) type Session = tether_connector_sdk::session::Session<App>;

impl App {
    /// The path of a query; `all` includes deleted rows.
    pub(crate) fn query_path(&self, soql: &str, all: bool) -> String {
        let resource = if all { "queryAll" } else { "query" };
        self.path(&format!("{resource}?q={}", soql::encode(soql)))
    }

    /// The path of any other resource.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/services/data/{}/{rest}", self.options.api_version)
    }
}

impl Api for App {
    const CRM: &'static str = "Salesforce";

    fn host(&self) -> &Host {
        &self.host
    }

    fn http(&self) -> &HttpClient {
        &self.http
    }

    fn retries(&self, urgency: Urgency) -> Retries {
        Retries {
            longest: LONGEST,
            ..Retries::new(self.options.back_off, urgency)
        }
    }

    async fn send(session: &Session, request: Request) -> Result<Response, Error> {
        let response = session.api().http.send(session.call(), request).await?;
        if let Some((used, limit)) = limits::of(&response) {
            session.call().set_allowance(used, limit);
        }
        if let Some(made_us) = response.made_us() {
            session.api().clock.note(made_us);
        }
        Ok(response)
    }

    fn classify(session: &Session, response: &Response) -> Refusal {
        let now_us = session.api().host.now_us();
        let failed = Failed::new(response, limits::of(response), now_us);
        Refusal::of(errors::classify(failed), response)
    }

    /// A single page comes from a gateway; a second one may come from the old host of a moved organization.
    async fn doubt(session: &Session, refusal: &Refusal) -> Result<bool, Error> {
        if !errors::may_be_left(&refusal.error, refusal.status) {
            return Ok(false);
        }
        if is_salesforce(session).await {
            Ok(true)
        } else {
            Err(errors::host_left(refusal.status))
        }
    }

    fn gave_up(&self, error: Error) -> Error {
        errors::exhausted(error, self.host.now_us())
    }
}

/// A page of records.
pub(crate) async fn page(session: &Session, path: &str, columns: &[Column]) -> Result<Page, Error> {
    let (mut page, read_us) = session.get(path, |text| page::read(text, columns)).await?;
    page.read_us = read_us;
    Ok(page)
}

/// Sends several GETs in one call and reads each answer with `read`, which receives its index. Answers that are
/// no evidence are requested again. Also returns the earliest time of the replies by Salesforce's clock; 0 if
/// unknown.
pub(crate) async fn parts<T>(
    session: &Session,
    paths: &[String],
    read: impl Fn(usize, &str) -> Result<T, serde_json::Error>,
) -> Result<(Vec<Result<T, Error>>, i64), Error> {
    let (path, retries) = (session.api().path("composite"), session.retries());
    let mut results: Vec<Result<T, Error>> = Vec::with_capacity(paths.len());
    let mut open: Vec<usize> = (0..paths.len()).collect();
    let (mut attempt, mut read_us) = (0, 0);
    loop {
        attempt += 1;
        let asked: Vec<String> = open.iter().map(|&index| paths[index].clone()).collect();
        let asked = session
            .post(&path, &composite::body(&asked), composite::read)
            .await;
        let (answers, at) = match asked {
            Ok(answered) => answered,
            // Earlier answers stay valid.
            Err(_) if attempt > 1 => break,
            Err(error) => return Err(error),
        };
        read_us = earlier(read_us, at);
        let mut longest: Option<Duration> = None;
        let mut left = Vec::new();
        for (place, &index) in open.iter().enumerate() {
            let answer = answers.iter().find(|answer| answer.index == place);
            let result = match answer {
                Some(answer) if answer.status == 200 => read(index, &answer.body).map_err(|_| {
                    Error::transient("a part of Salesforce's answer cannot be read").code("http.unreadable")
                }),
                Some(answer) => Err(classify(session, answer)),
                None => Err(Error::transient(
                    "Salesforce left a part of a composite call unanswered",
                )),
            };
            if let Err(error) = &result
                && let Some(wait) = retries.wait(attempt, &Refusal::from(error.clone()), jitter())
            {
                longest = longest.max(Some(wait));
                left.push(index);
            }
            match results.get_mut(index) {
                Some(before) => *before = result,
                None => results.push(result),
            }
        }
        open = left;
        match longest {
            Some(wait) if session.has(wait) => session.call().sleep(wait).await?,
            _ => break,
        }
    }
    let results = results
        .into_iter()
        .map(|result| result.map_err(|error| session.api().gave_up(error)));
    Ok((results.collect(), read_us))
}

/// Classifies a failed part of a composite. The allowance is in the headers of the whole reply.
fn classify(session: &Session, answer: &Answer) -> Error {
    let usage = session.call().usage();
    errors::classify(Failed {
        status: answer.status,
        body: answer.body.as_bytes(),
        readable: true,
        retry_after_us: None,
        usage: (usage.limit > 0).then_some((usage.used, usage.limit)),
        now_us: session.api().host.now_us(),
    })
}

/// Whether the account's host answers as Salesforce: the list of versions needs no login and is not counted. True if it
/// cannot be determined.
async fn is_salesforce(session: &Session) -> bool {
    #[derive(Deserialize)]
    struct Version {
        #[expect(
            dead_code,
            reason = "that it is there tells Salesforce's list from other JSON"
        )]
        version: String,
    }
    let Ok(request) = Request::get(&session.url("/services/data")) else {
        return true;
    };
    let request = request.accept("application/json");
    match session.api().http.send(session.call(), request).await {
        Ok(response) if response.status.is_server_error() => true,
        Ok(response) => response
            .own::<Vec<Version>>()
            .is_some_and(|list| !list.is_empty()),
        Err(_) => true,
    }
}

/// The earlier of two times; 0 means unknown.
pub(crate) fn earlier(a: i64, b: i64) -> i64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}
