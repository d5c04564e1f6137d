//! The faults of the bench `faults`: in the simulated Salesforce, its network or the processes of the host.

use serde_json::{Value as Json, json};

/// Paths of the simulator.
const QUERY: &str = "/services/data/v62.0/query";
const DESCRIBE: &str = "/services/data/v62.0/sobjects";
const ANY_DATA: &str = "/services/data/";
const TOKEN: &str = "/services/oauth2/token";

const GATEWAY_PAGE: &str =
    "<html><head><title>Error</title></head><body><h1>The page cannot be displayed</h1></body></html>";

/// An event during the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL of the server; it is started again on its data.
    ServerKilled,
    /// SIGKILL of the connector's process.
    ConnectorKilled,
    /// SIGSTOP of the server for longer than its lease, then SIGCONT.
    ServerFrozen,
    /// The connector is disabled for the group, and enabled again.
    ConnectorDisabled,
}

/// One fault.
pub(crate) struct Fault {
    pub(crate) name: String,
    /// Calls of the simulator's control API before the sync: path and body.
    pub(crate) before: Vec<(&'static str, Json)>,
    /// Calls that end the fault, besides clearing the simulator's faults.
    pub(crate) after: Vec<(&'static str, Json)>,
    /// The event that happens once rows are read.
    pub(crate) blow: Option<Blow>,
    /// The user whose credential is lost: the integration logs in again before the next sync.
    pub(crate) log_in: bool,
}

impl Fault {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            before: Vec::new(),
            after: Vec::new(),
            blow: None,
            log_in: false,
        }
    }

    fn order(mut self, fault: Json) -> Self {
        self.before.push(("/faults", fault));
        self
    }

    fn control(mut self, path: &'static str, body: Json) -> Self {
        self.before.push((path, body));
        self
    }

    fn undo(mut self, path: &'static str, body: Json) -> Self {
        self.after.push((path, body));
        self
    }

    fn blow(mut self, blow: Blow) -> Self {
        // Slow answers, so that the event happens while pages are read.
        self.blow = Some(blow);
        self.order(json!({ "path": QUERY, "kind": "delay", "delayMs": 150, "times": 100_000 }))
    }
}

/// A gateway's page instead of an answer.
fn page(status: u16, path: &str, skip: u32, times: u32) -> Json {
    json!({
        "path": path, "skip": skip, "times": times, "kind": "status", "status": status, "body": GATEWAY_PAGE,
        "contentType": "text/html",
    })
}

/// An error in the format of Salesforce's API.
fn api(status: u16, code: &str, message: &str, path: &str, skip: u32, times: u32) -> Json {
    json!({
        "path": path, "skip": skip, "times": times, "kind": "status", "status": status,
        "body": json!([{ "errorCode": code, "message": message }]).to_string(), "contentType": "application/json",
    })
}

fn answer(status: u16, body: &str, path: &str, skip: u32, times: u32) -> Json {
    json!({
        "path": path, "skip": skip, "times": times, "kind": "status", "status": status, "body": body,
        "contentType": "application/json",
    })
}

fn network(kind: &str, path: &str, skip: u32, times: u32) -> Json {
    json!({ "path": path, "skip": skip, "times": times, "kind": kind })
}

/// Query pages that come before the second page of Account.
const MIDDLE: u32 = 1;
/// More often than all attempts.
const LASTING: u32 = 100_000;

/// All faults.
pub(crate) fn all() -> Vec<Fault> {
    let mut all = Vec::new();
    for some in [
        gateways,
        networks,
        errors,
        results,
        permissions,
        credentials,
        processes,
    ] {
        some(&mut all);
    }
    all
}

/// A gateway's pages: once in the middle of Account, and permanently.
fn gateways(all: &mut Vec<Fault>) {
    for status in [400, 403, 404, 405, 415, 500, 502, 503, 504] {
        all.push(
            Fault::new(format!("one HTML page with {status} in the middle of Account"))
                .order(page(status, QUERY, MIDDLE, 1)),
        );
    }
    for status in [403, 404, 502] {
        all.push(
            Fault::new(format!(
                "HTML pages with {status} from the middle of Account on, for good"
            ))
            .order(page(status, QUERY, MIDDLE, LASTING)),
        );
    }
    all.push(Fault::new("an HTML page with 404 for the describe").order(page(404, DESCRIBE, 0, 1)));
    all.push(
        Fault::new("a login page with 200 in the middle of Account").order(network("html", QUERY, MIDDLE, 1)),
    );
    all.push(Fault::new("login pages with 200 for good").order(network("html", QUERY, MIDDLE, LASTING)));
}

/// The network.
fn networks(all: &mut Vec<Fault>) {
    for (kind, words) in [
        ("cut", "a body cut in the middle of Account"),
        ("garbage", "broken JSON in the middle of Account"),
        ("lost", "an answer that never comes in the middle of Account"),
    ] {
        all.push(Fault::new(words).order(network(kind, QUERY, MIDDLE, 1)));
    }
    all.push(
        Fault::new("every third body cut")
            .order(network("cut", QUERY, 2, 1))
            .order(network("cut", QUERY, 5, 1)),
    );
    all.push(Fault::new("all bodies cut for good").order(network("cut", QUERY, MIDDLE, LASTING)));
    all.push(Fault::new("an empty body with 200").order(answer(200, "", QUERY, MIDDLE, 1)));
    all.push(Fault::new("JSON of somebody else with 200").order(answer(
        200,
        "{\"status\":\"ok\"}",
        QUERY,
        MIDDLE,
        1,
    )));
    all.push(Fault::new("an empty array with 200").order(answer(200, "[]", QUERY, MIDDLE, 1)));
}

/// Statuses, codes and messages of the API, after how many pages they come, and how often.
const ERRORS: &[(u16, &str, &str, u32, u32)] = &[
    (401, "INVALID_SESSION_ID", "Session expired or invalid", MIDDLE, 1),
    (401, "INVALID_AUTH_HEADER", "INVALID_JWT_FORMAT", MIDDLE, 1),
    (
        403,
        "REQUEST_LIMIT_EXCEEDED",
        "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        MIDDLE,
        1,
    ),
    (400, "INVALID_QUERY_LOCATOR", "invalid query locator", MIDDLE, 1),
    (
        400,
        "QUERY_TIMEOUT",
        "Your query request was running for too long.",
        MIDDLE,
        2,
    ),
    (400, "URL_NOT_RESET", "URL No Longer Exists", MIDDLE, 1),
    (
        500,
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId",
        MIDDLE,
        2,
    ),
    (503, "SERVER_UNAVAILABLE", "The server is busy", MIDDLE, 2),
    (
        403,
        "API_CURRENTLY_DISABLED",
        "API access is currently disabled",
        MIDDLE,
        1,
    ),
    (
        403,
        "INSUFFICIENT_ACCESS",
        "insufficient access rights on object id",
        0,
        LASTING,
    ),
    (
        400,
        "NEW_UNKNOWN_CODE",
        "something nobody has seen before",
        MIDDLE,
        LASTING,
    ),
    (
        401,
        "INVALID_SESSION_ID",
        "This session is not valid for use with the REST API",
        MIDDLE,
        LASTING,
    ),
];

/// The API's own errors.
fn errors(all: &mut Vec<Fault>) {
    for &(status, code, message, skip, times) in ERRORS {
        let often = if times == LASTING {
            "for good"
        } else {
            "for a while"
        };
        all.push(
            Fault::new(format!("{status} {code} ({message}) {often}"))
                .order(api(status, code, message, QUERY, skip, times)),
        );
    }
    for status in [420, 429] {
        all.push(Fault::new(format!("{status} twice")).order(page(status, QUERY, MIDDLE, 2)));
    }
    all.push(Fault::new("one broken describe").order(network("garbage", DESCRIBE, 0, 1)));
}

/// Empty or partial results that look complete.
fn results(all: &mut Vec<Fault>) {
    let nothing = "{\"totalSize\":0,\"done\":true,\"records\":[]}";
    for object in ["Account", "Contact", "Case"] {
        all.push(Fault::new(format!("no records, complete, for {object}")).order(json!({
            "path": QUERY, "contains": format!("FROM {object}"), "times": LASTING, "kind": "status", "status": 200,
            "body": nothing, "contentType": "application/json",
        })));
    }
    all.push(
        Fault::new("one record with an id of 15 characters, complete, for Account").order(json!({
            "path": QUERY, "contains": "FROM Account", "times": LASTING, "kind": "status", "status": 200,
            "body": "{\"totalSize\":1,\"done\":true,\"records\":[{\"attributes\":{\"type\":\"Account\"},\
                     \"Id\":\"001000000000001\",\"Name\":\"One\"}]}",
            "contentType": "application/json",
        })),
    );
}

/// Permissions of the user.
fn permissions(all: &mut Vec<Fault>) {
    for object in ["Account", "Contact", "Opportunity"] {
        all.push(
            Fault::new(format!("{object} is hidden from everybody"))
                .control("/fields/hide", json!({ "object": object }))
                .undo("/fields/show", json!({ "object": object })),
        );
    }
    all.push(
        Fault::new("a field is hidden from everybody")
            .control(
                "/fields/hide",
                json!({ "object": "Account", "field": "Industry" }),
            )
            .undo(
                "/fields/show",
                json!({ "object": "Account", "field": "Industry" }),
            ),
    );
    for object in ["Contract", "Case"] {
        all.push(Fault::new(format!("pages with 403 for the queries of {object}, for good")).order(json!({
            "path": QUERY, "contains": format!("FROM {object}"), "times": LASTING, "kind": "status", "status": 403,
            "body": GATEWAY_PAGE, "contentType": "text/html",
        })));
    }
}

/// Credentials, cursors, allowances and slow answers.
fn credentials(all: &mut Vec<Fault>) {
    all.push(Fault::new("every session ends").control("/sessions/expire", json!({})));
    all.push(
        Fault::new("the refresh is refused as blocked, and allowed later")
            .control("/sessions/expire", json!({}))
            .order(answer(
                400,
                "{\"error\":\"invalid_app_access\",\"error_description\":\"blocked\"}",
                TOKEN,
                0,
                1,
            )),
    );
    all.push(
        Fault::new("the refresh meets a gateway's page")
            .control("/sessions/expire", json!({}))
            .order(page(502, TOKEN, 0, 2)),
    );
    let mut revoked =
        Fault::new("access is revoked").control("/grants/revoke", json!({ "user": "admin@acme.example" }));
    revoked.log_in = true;
    all.push(revoked);
    all.push(Fault::new("every cursor is forgotten").control("/cursors/drop", json!({})));
    all.push(
        Fault::new("the daily requests are used up")
            .control("/limits", json!({ "max": 100_000, "used": 100_000 }))
            .undo("/limits", json!({ "max": 100_000_000, "used": 0 })),
    );
    all.push(Fault::new("every answer is slow").order(json!({
        "path": ANY_DATA, "kind": "delay", "delayMs": 120, "times": LASTING,
    })));
}

/// Processes.
fn processes(all: &mut Vec<Fault>) {
    all.push(Fault::new("the server is killed").blow(Blow::ServerKilled));
    all.push(Fault::new("the connector's process is killed").blow(Blow::ConnectorKilled));
    all.push(Fault::new("the server is frozen for longer than its lease").blow(Blow::ServerFrozen));
    all.push(Fault::new("the connector is disabled in the middle").blow(Blow::ConnectorDisabled));
}
