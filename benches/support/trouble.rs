//! The faults of the bench `faults`: in the simulated Salesforce, its network or the processes of the host.

use rand::rngs::StdRng;
use serde_json::{Value as Json, json};

use super::truth::Is;
use super::way::{DATA, Way};

#[path = "organization.rs"]
mod organization;

/// Paths of the simulator.
const DESCRIBE: &str = "/services/data/v62.0/sobjects";
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
    /// Calls that end the fault, besides clearing the simulator's faults: method, path and body.
    pub(crate) after: Vec<(&'static str, &'static str, Json)>,
    /// The event that happens once rows are read.
    pub(crate) blow: Option<Blow>,
    /// The user whose credential is lost: the integration logs in again before the next sync.
    pub(crate) log_in: bool,
    /// Records change while the sync runs: those that it has read already are due in the next one.
    pub(crate) changes: bool,
    /// Only a read of everything sees how the fault ends.
    pub(crate) everything: bool,
    /// A field that has another type as long as the fault lasts.
    pub(crate) retyped: Option<Retyped>,
}

/// A field of another type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retyped {
    /// `Object.Field`.
    pub(crate) field: &'static str,
    pub(crate) is: Is,
    /// The sync under the fault need not notice it, but the next one that reads everything.
    pub(crate) later: bool,
}

impl Fault {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            before: Vec::new(),
            after: Vec::new(),
            blow: None,
            log_in: false,
            changes: false,
            everything: false,
            retyped: None,
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
        self.after.push(("POST", path, body));
        self
    }

    /// Removes what the fault set, with all of its kind.
    fn clear(mut self, path: &'static str) -> Self {
        self.after.push(("DELETE", path, json!({})));
        self
    }

    fn blow(mut self, blow: Blow) -> Self {
        // Slow answers, so that the event happens while pages are read.
        self.blow = Some(blow);
        self.order(json!({ "path": DATA, "kind": "delay", "delayMs": 150, "times": 100_000 }))
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

/// More often than all attempts.
const LASTING: u32 = 100_000;

/// Where the faults happen.
#[derive(Clone, Copy)]
struct At {
    way: Way,
    path: &'static str,
    /// Requests before it.
    skip: u32,
}

/// All faults of a way; `dice` chooses the requests that they meet. `host` is the simulator's, with its port.
pub(crate) fn all(way: Way, dice: &mut StdRng, host: &str) -> Vec<Fault> {
    let mut all = Vec::new();
    for some in [
        gateways,
        networks,
        errors,
        results,
        pages,
        permissions,
        drift,
        credentials,
        time,
        processes,
    ] {
        let mut at = || At {
            way,
            path: way.path(),
            skip: way.skip(dice),
        };
        some(&mut all, &mut at);
    }
    if way == Way::Bulk {
        jobs(&mut all);
        organization::stuck_jobs(&mut all);
    }
    let mut at = || At {
        way,
        path: way.path(),
        skip: way.skip(dice),
    };
    organization::fields(&mut all, &mut at);
    organization::hosts(&mut all, &mut at, host);
    all
}

/// A gateway's pages: once, and permanently.
fn gateways(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    for status in [400, 403, 404, 405, 415, 500, 502, 503, 504] {
        let at = at();
        all.push(Fault::new(format!("one HTML page with {status}")).order(page(status, at.path, at.skip, 1)));
    }
    for status in [403, 404, 502] {
        let at = at();
        all.push(
            Fault::new(format!("HTML pages with {status} for good"))
                .order(page(status, at.path, at.skip, LASTING)),
        );
    }
    all.push(Fault::new("an HTML page with 404 for the describe").order(page(404, DESCRIBE, 0, 1)));
    let at = at();
    all.push(Fault::new("a login page with 200").order(network("html", at.path, at.skip, 1)));
    all.push(Fault::new("login pages with 200 for good").order(network("html", at.path, at.skip, LASTING)));
}

/// The network.
fn networks(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    for (kind, words) in [
        ("cut", "a body that is cut"),
        ("truncate", "a body that ends early as if complete"),
        ("garbage", "invalid JSON"),
        ("lost", "an answer that is not delivered"),
        ("reset", "a connection that is reset"),
        ("cutGzip", "a gzip stream that is cut"),
        ("mislabelled", "a plain body that is labelled as gzip"),
    ] {
        let at = at();
        all.push(Fault::new(words).order(network(kind, at.path, at.skip, 1)));
    }
    for kind in ["hang", "stall"] {
        let at = at();
        all.push(
            Fault::new(format!("an answer that does not come ({kind})"))
                .order(network(kind, at.path, at.skip, 1)),
        );
    }
    let slow = at();
    all.push(Fault::new("a body in small pieces").order(json!({
        "path": slow.path, "skip": slow.skip, "times": 1, "kind": "drip", "delayMs": 5, "afterBytes": 4000,
    })));
    let often = at();
    all.push(Fault::new("every third body is cut").order(json!({
        "path": often.path, "every": 3, "times": 6, "kind": "cut",
    })));
    all.push(
        Fault::new("all bodies are cut for good").order(network("cut", often.path, often.skip, LASTING)),
    );
    for (words, body) in [
        ("an empty body with 200", ""),
        ("JSON of somebody else with 200", "{\"status\":\"ok\"}"),
        ("an empty array with 200", "[]"),
    ] {
        let at = at();
        all.push(Fault::new(words).order(answer(200, body, at.path, at.skip, 1)));
    }
}

/// Statuses, codes and messages of the API, and how often.
const ERRORS: &[(u16, &str, &str, u32)] = &[
    (401, "INVALID_SESSION_ID", "Session expired or invalid", 1),
    (401, "INVALID_AUTH_HEADER", "INVALID_JWT_FORMAT", 1),
    (
        403,
        "REQUEST_LIMIT_EXCEEDED",
        "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        1,
    ),
    (400, "INVALID_QUERY_LOCATOR", "invalid query locator", 1),
    (
        400,
        "QUERY_TIMEOUT",
        "Your query request was running for too long.",
        2,
    ),
    (400, "URL_NOT_RESET", "URL No Longer Exists", 1),
    (
        500,
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId",
        2,
    ),
    (503, "SERVER_UNAVAILABLE", "The server is busy", 2),
    (
        403,
        "API_CURRENTLY_DISABLED",
        "API access is currently disabled",
        1,
    ),
    (
        403,
        "INSUFFICIENT_ACCESS",
        "insufficient access rights on object id",
        LASTING,
    ),
    (
        400,
        "NEW_UNKNOWN_CODE",
        "something nobody has seen before",
        LASTING,
    ),
    (
        401,
        "INVALID_SESSION_ID",
        "This session is not valid for use with the REST API",
        LASTING,
    ),
];

/// The API's own errors.
fn errors(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    for &(status, code, message, times) in ERRORS {
        let at = at();
        let often = if times == LASTING {
            "for good"
        } else {
            "for a while"
        };
        all.push(
            Fault::new(format!("{status} {code} ({message}) {often}"))
                .order(api(status, code, message, at.path, at.skip, times)),
        );
    }
    for status in [420, 429] {
        let at = at();
        all.push(Fault::new(format!("{status} twice")).order(page(status, at.path, at.skip, 2)));
    }
    let storm = at();
    all.push(Fault::new("503 for five seconds").order(json!({
        "path": storm.path, "skip": storm.skip, "seconds": 5, "kind": "status", "status": 503, "body": GATEWAY_PAGE,
        "contentType": "text/html",
    })));
    all.push(Fault::new("one broken describe").order(network("garbage", DESCRIBE, 0, 1)));
}

/// Empty or partial results that look complete. A read of changes cannot see that they lack something.
fn results(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    let way = at().way;
    if !way.lists() {
        return;
    }
    if way == Way::Bulk {
        for (object, keep) in [("Account", 0), ("Contact", 0), ("Case", 0), ("Account", 1)] {
            all.push(
                Fault::new(format!("a job with {keep} records, complete, for {object}"))
                    .control(
                        "/jobs/script",
                        json!({ "object": object, "keep": keep, "times": LASTING }),
                    )
                    .clear("/jobs/script"),
            );
        }
        return;
    }
    for object in ["Account", "Contact", "Case"] {
        all.push(
            Fault::new(format!("no records, complete, for {object}"))
                .control("/answers", json!({ "object": object, "keep": 0 }))
                .clear("/answers"),
        );
    }
    all.push(
        Fault::new("one record with an id of 15 characters, complete, for Account")
            .control(
                "/answers",
                json!({ "object": "Account", "keep": 1, "shortIds": true }),
            )
            .clear("/answers"),
    );
}

/// Pages of results that are not what they say.
fn pages(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    let way = at().way;
    let (api, kinds) = match way {
        Way::Bulk => (
            "bulk",
            [
                "short",
                "repeat",
                "loop",
                "early",
                "miscount",
                "uncounted",
                "headerless",
                "empty",
            ]
            .as_slice(),
        ),
        _ => ("rest", ["short", "repeat", "loop", "early"].as_slice()),
    };
    for how in kinds {
        for skip in [0, 1] {
            all.push(
                Fault::new(format!("a page that is wrong: {how}, after {skip}"))
                    .control(
                        "/pages",
                        json!({ "api": api, "how": how, "skip": skip, "times": 1, "rows": 3 }),
                    )
                    .clear("/pages"),
            );
        }
    }
}

/// Permissions of the user.
fn permissions(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    for object in ["Account", "Contact", "Opportunity"] {
        all.push(
            Fault::new(format!("{object} is hidden from everybody"))
                .control("/fields/hide", json!({ "object": object }))
                .undo("/fields/show", json!({ "object": object })),
        );
    }
    let industry = json!({ "object": "Account", "field": "Industry" });
    all.push(
        Fault::new("a field is hidden from everybody")
            .control("/fields/hide", industry.clone())
            .undo("/fields/show", industry.clone()),
    );
    all.push(
        Fault::new("a field is hidden in the middle")
            .order(act(at(), json!([{ "route": "/fields/hide", "body": industry }])))
            .undo("/fields/show", industry.clone()),
    );
    for object in ["Contract", "Case"] {
        all.push(Fault::new(format!("pages with 403 for the queries of {object}, for good")).order(json!({
            "path": at().path, "contains": format!("FROM {object}"), "times": LASTING, "kind": "status", "status": 403,
            "body": GATEWAY_PAGE, "contentType": "text/html",
        })));
    }
}

/// Fields that are added, renamed or get another type.
fn drift(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    let renamed = |from: &str, to: &str| json!({ "object": "Account", "field": from, "to": to });
    let added =
        json!({ "object": "Account", "field": "Late__c", "label": "Late", "type": "string", "size": "40" });
    all.push(
        Fault::new("a field is added in the middle")
            .order(act(at(), json!([{ "route": "/fields/add", "body": added }])))
            .undo(
                "/fields/remove",
                json!({ "object": "Account", "field": "Late__c" }),
            ),
    );
    all.push(
        Fault::new("a field is renamed")
            .control("/fields/rename", renamed("Billing_Email__c", "Payer__c"))
            .undo("/fields/rename", renamed("Payer__c", "Billing_Email__c")),
    );
    all.push(
        Fault::new("a field is renamed in the middle")
            .order(act(
                at(),
                json!([{ "route": "/fields/rename", "body": renamed("Billing_Email__c", "Payer__c") }]),
            ))
            .undo("/fields/rename", renamed("Payer__c", "Billing_Email__c")),
    );
}

/// Calls of control routes during a request, whose answer is delivered.
fn act(at: At, calls: Json) -> Json {
    json!({ "path": at.path, "skip": at.skip, "times": 1, "kind": "act", "act": calls })
}

/// Credentials, cursors, allowances, hosts and slow answers.
fn credentials(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    all.push(Fault::new("every session ends").control("/sessions/expire", json!({})));
    all.push(
        Fault::new("every session ends in the middle")
            .order(act(at(), json!([{ "route": "/sessions/expire", "body": {} }]))),
    );
    all.push(
        Fault::new("sessions end twice, and refresh tokens are replaced")
            .control(
                "/oauth/settings",
                json!({ "rotation": true, "endSessions": true }),
            )
            .control("/sessions/expire", json!({}))
            .order(act(at(), json!([{ "route": "/sessions/expire", "body": {} }])))
            .undo(
                "/oauth/settings",
                json!({ "rotation": false, "endSessions": false }),
            ),
    );
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
    let mut revoked = Fault::new("access is revoked in the middle").order(act(
        at(),
        json!([{ "route": "/grants/revoke", "body": { "user": "admin@acme.example" } }]),
    ));
    revoked.log_in = true;
    all.push(revoked);
    all.push(
        Fault::new("every cursor is forgotten in the middle")
            .order(act(at(), json!([{ "route": "/cursors/drop", "body": {} }]))),
    );
    all.push(
        Fault::new("the daily requests are used up")
            .control("/limits", json!({ "max": 100_000, "used": 100_000 }))
            .undo("/limits", json!({ "max": 100_000_000, "used": 0 })),
    );
    all.push(
        Fault::new("the daily requests are used up in the middle")
            .order(act(
                at(),
                json!([{ "route": "/limits", "body": { "max": 100_000, "used": 100_000 } }]),
            ))
            .undo("/limits", json!({ "max": 100_000_000, "used": 0 })),
    );
    all.push(Fault::new("every answer is slow").order(json!({
        "path": DATA, "kind": "delay", "delayMs": 120, "times": LASTING,
    })));
}

/// Salesforce's clock, and changes that become visible late.
fn time(all: &mut Vec<Fault>, at: &mut dyn FnMut() -> At) {
    for seconds in [-400, 400] {
        all.push(
            Fault::new(format!("the Date header is {seconds} seconds off"))
                .control("/clock", json!({ "dateSkewSeconds": seconds }))
                .undo("/clock", json!({ "dateSkewSeconds": 0 })),
        );
    }
    let mut late = Fault::new("changes are committed in the middle under earlier stamps").order(act(
        at(),
        json!([
            { "route": "/records/random", "body": { "seed": 5, "count": 20, "kinds": ["late"] } },
            { "route": "/records/random", "body": { "seed": 6, "count": 20, "kinds": ["update", "delete", "move", "merge"] } },
        ]),
    ));
    late.changes = true;
    all.push(late);
}

/// Processes.
fn processes(all: &mut Vec<Fault>, _: &mut dyn FnMut() -> At) {
    all.push(Fault::new("the server is killed").blow(Blow::ServerKilled));
    all.push(Fault::new("the connector's process is killed").blow(Blow::ConnectorKilled));
    all.push(Fault::new("the server is frozen for longer than its lease").blow(Blow::ServerFrozen));
    all.push(Fault::new("the connector is disabled in the middle").blow(Blow::ConnectorDisabled));
}

/// Jobs of Bulk.
fn jobs(all: &mut Vec<Fault>) {
    let script = |name: &str, body: Json| {
        Fault::new(name)
            .control("/jobs/script", body)
            .clear("/jobs/script")
    };
    let failed =
        |message: &str, times: u32| json!({ "then": "Failed", "errorMessage": message, "times": times });
    all.push(script("a job fails", failed("InternalServerError", 1)));
    all.push(script(
        "every job fails",
        failed("retried more than 15 times", LASTING),
    ));
    all.push(script(
        "a job is aborted by somebody",
        json!({ "then": "Aborted", "times": 1 }),
    ));
    all.push(script(
        "a result with rows twice",
        json!({ "duplicates": 7, "object": "Contact" }),
    ));
    all.push(script(
        "a job whose count is wrong",
        json!({ "miscount": 5, "times": 1 }),
    ));
    for (name, settings) in [
        ("no Bulk API", json!({ "enabled": false })),
        ("no jobs are left today", json!({ "maxJobs": 0 })),
        (
            "no storage for results is left today",
            json!({ "storageExceeded": true }),
        ),
        (
            "Bulk does not support an object",
            json!({ "unsupported": ["Contract"] }),
        ),
        ("results in another order", json!({ "chunkRows": 300 })),
        (
            "a header on the first page only, and no last locator",
            json!({ "headerOnEveryPage": false, "end": "absent" }),
        ),
        (
            "columns in another order",
            json!({ "columnsSorted": true, "end": "empty" }),
        ),
    ] {
        all.push(
            Fault::new(name)
                .control("/jobs/settings", settings)
                .undo("/jobs/settings", json!({ "reset": true })),
        );
    }
    for (name, route) in [
        ("jobs are gone in the middle", "/jobs/expire"),
        ("locators are gone in the middle", "/jobs/locators/drop"),
    ] {
        let fault = json!({
            "request": "bulk_results", "path": DATA, "skip": 0, "times": 1, "kind": "act",
            "act": [{ "route": route, "body": {} }],
        });
        all.push(Fault::new(name).order(fault));
    }
}
