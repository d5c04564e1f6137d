//! Bulk API 2.0 query jobs.

use std::collections::BTreeSet;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::world::{ADMIN, Api, RESTRICTED, V, World};

impl Api<'_> {
    /// Creates a job; returns status and body.
    pub(crate) async fn job(&self, operation: &str, soql: &str) -> (u16, Value) {
        let body = json!({ "operation": operation, "query": soql, "contentType": "CSV" });
        let answer = self
            .send(Method::POST, &format!("{V}/jobs/query"), Some(body))
            .await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Creates a job and looks at it until it is finished; returns its info.
    pub(crate) async fn finished(&self, operation: &str, soql: &str) -> Value {
        let (status, job) = self.job(operation, soql).await;
        assert_eq!((status, &job["state"]), (200, &json!("UploadComplete")), "{job}");
        for _ in 0..20 {
            let job = self.info(&job).await;
            if ["JobComplete", "Failed", "Aborted"].contains(&job["state"].as_str().unwrap()) {
                return job;
            }
        }
        panic!("{job} does not end");
    }

    pub(crate) async fn info(&self, job: &Value) -> Value {
        self.get(&path(job, "")).await.1
    }

    pub(crate) async fn results(&self, job: &Value, query: &str) -> Response {
        self.send(Method::GET, &path(job, &format!("/results{query}")), None)
            .await
    }

    /// Every row of a result, page by page, with the names of the columns.
    pub(crate) async fn csv(&self, job: &Value, max: usize) -> (Vec<String>, Vec<Vec<String>>) {
        let mut rows = Vec::new();
        let mut query = format!("?maxRecords={max}");
        loop {
            let answer = self.results(job, &query).await;
            assert_eq!(answer.status(), 200);
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            let (count, locator) = (header("sforce-numberofrecords"), header("sforce-locator"));
            let mut page = csv_rows(&answer.text().await.unwrap());
            let names = page.remove(0);
            assert_eq!(page.len().to_string(), count);
            rows.extend(page);
            if locator == "null" {
                return (names, rows);
            }
            query = format!("?maxRecords={max}&locator={locator}");
        }
    }
}

pub(crate) fn path(job: &Value, rest: &str) -> String {
    format!("{V}/jobs/query/{}{rest}", job["id"].as_str().unwrap())
}

/// Reads CSV in which every value is quoted.
pub(crate) fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        match (inside, c) {
            (true, '"') if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            (_, '"') => inside = !inside,
            (true, c) => cell.push(c),
            (false, ',') => row.push(std::mem::take(&mut cell)),
            (false, '\n') => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (false, c) => panic!("{c} outside of quotes"),
        }
    }
    rows
}

#[tokio::test]
async fn a_job_goes_through_its_states_and_its_result_equals_the_truth() {
    let world = World::start(300, 0).await;
    let api = world.as_user(ADMIN).await;
    let soql =
        "SELECT Id, Name, BillingStreet, AnnualRevenue, CreatedDate, Owner.Name, IsPartner FROM Account";
    let (status, job) = api.job("query", soql).await;
    assert_eq!((status, &job["object"]), (200, &json!("Account")));
    assert_eq!(job["apiVersion"], json!(62.0));
    assert_eq!(
        (&job["columnDelimiter"], &job["lineEnding"]),
        (&json!("COMMA"), &json!("LF"))
    );
    let early = api.results(&job, "").await;
    assert_eq!(early.status(), 400);
    let early: Value = early.json().await.unwrap();
    assert_eq!(early[0]["errorCode"], "INVALIDJOBSTATE");
    let running = api.info(&job).await;
    assert_eq!(
        (&running["state"], &running["jobType"]),
        (&json!("InProgress"), &json!("V2Query"))
    );
    let complete = api.info(&job).await;
    assert_eq!(
        (&complete["state"], &complete["numberRecordsProcessed"]),
        (&json!("JobComplete"), &json!(300))
    );
    assert_eq!(complete["isPkChunkingSupported"], true);

    let (names, rows) = api.csv(&job, 70).await;
    assert_eq!(
        names,
        "Id Name BillingStreet AnnualRevenue CreatedDate Owner.Name IsPartner"
            .split(' ')
            .collect::<Vec<_>>()
    );
    let truth = api
        .read(
            "Account",
            "Id, Name, BillingStreet, AnnualRevenue, CreatedDate, Owner.Name, IsPartner",
        )
        .await;
    assert_eq!(rows.len(), truth.len());
    for (row, truth) in rows.iter().zip(&truth) {
        for (name, cell) in names.iter().zip(row) {
            let value = name.split('.').fold(truth, |value, part| &value[part]);
            let right = match value {
                Value::Null => String::new(),
                Value::String(text) if name == "CreatedDate" => text.replace("+0000", "Z"),
                Value::String(text) => text.clone(),
                // Large numbers are written with an exponent, as in REST.
                Value::Number(_) => {
                    assert_eq!(cell.parse::<f64>().ok(), value.as_f64());
                    continue;
                }
                other => other.to_string(),
            };
            assert_eq!(*cell, right, "{name} of {truth}");
        }
    }
    assert!(
        rows.iter().any(|row| row[2].contains('\n')),
        "a street with a line break"
    );

    // The list of result pages has at most five.
    world.control("/jobs/settings", json!({ "pageRows": 40 })).await;
    let (_, pages) = api.get(&path(&job, "/resultPages")).await;
    assert_eq!(
        (pages["resultPages"].as_array().unwrap().len(), &pages["done"]),
        (5, &json!(false))
    );
    let (_, more) = api.get(pages["nextRecordsUrl"].as_str().unwrap()).await;
    assert_eq!(
        (
            more["resultPages"].as_array().unwrap().len(),
            &more["done"],
            &more["nextRecordsUrl"]
        ),
        (3, &json!(true), &Value::Null)
    );
    let listed = pages["resultPages"].as_array().unwrap().iter();
    let mut ids = BTreeSet::new();
    for page in listed.chain(more["resultPages"].as_array().unwrap()) {
        let answer = api
            .send(Method::GET, page["resultUrl"].as_str().unwrap(), None)
            .await;
        let page = csv_rows(&answer.text().await.unwrap());
        ids.extend(page.into_iter().skip(1).map(|row| row[0].clone()));
    }
    assert_eq!(ids.len(), 300);

    let delete = async || api.send(Method::DELETE, &path(&job, ""), None).await.status();
    assert_eq!(delete().await, 204);
    assert_eq!(delete().await, 404);
    assert_eq!(api.get(&path(&job, "")).await.0, 404);
    let jobs = world.seen("/jobs").await;
    assert_eq!(
        (&jobs["created"], &jobs["existing"], &jobs["unfinished"]),
        (&json!(1), &json!(0), &json!(0))
    );
    let journal = world.seen("/requests").await;
    assert_eq!(journal["writes"], 0, "a job is not a write");
    assert_eq!(journal["counts"]["bulk_create"], 1);
    assert_eq!(journal["counts"]["bulk_results"], 14);
}

#[tokio::test]
async fn a_result_does_not_change_with_its_rows() {
    let world = World::start(60, 0).await;
    let api = world.as_user(ADMIN).await;
    let job = api
        .finished("queryAll", "SELECT Id, Name, IsDeleted FROM Account")
        .await;
    let before = api.csv(&job, 1000).await;
    assert!(
        before.1.iter().any(|row| row[2] == "true"),
        "queryAll has deleted rows"
    );
    let id = &before.1[0][0];
    for (route, body) in [
        (
            "/records/update",
            json!({ "id": id, "fields": { "Name": "Other" } }),
        ),
        ("/records/delete", json!({ "id": before.1[1][0] })),
        ("/records/purge", json!({ "id": before.1[2][0] })),
        ("/fields/remove", json!({ "object": "Account", "field": "Name" })),
    ] {
        world.control(route, body).await;
    }
    assert_eq!(api.csv(&job, 1000).await, before);
    let (status, refused) = api.job("query", "SELECT Id, Name FROM Account").await;
    assert_eq!((status, &refused[0]["errorCode"]), (400, &json!("INVALID_FIELD")));
    let live = api.finished("query", "SELECT Id FROM Account").await;
    assert_eq!(live["numberRecordsProcessed"], 58);
    // A field that disappears between the creation and the start of the job.
    let (_, job) = api.job("query", "SELECT Id, Site FROM Account").await;
    world
        .control("/fields/remove", json!({ "object": "Account", "field": "Site" }))
        .await;
    let failed = api.info(&job).await;
    assert_eq!(failed["state"], "Failed");
    assert!(
        failed["errorMessage"]
            .as_str()
            .unwrap()
            .starts_with("INVALID_FIELD: SELECT Id, Site")
    );
    assert_eq!(api.results(&job, "").await.status(), 400);
}

#[tokio::test]
async fn jobs_are_refused_as_salesforce_refuses_them() {
    let world = World::start(20, 0).await;
    let api = world.as_user(ADMIN).await;
    for (soql, code) in [
        ("SELECT COUNT() FROM Account", "FEATURENOTENABLED"),
        (
            "SELECT Industry, COUNT(Id) FROM Account GROUP BY Industry",
            "FEATURENOTENABLED",
        ),
        ("SELECT Id FROM Account LIMIT 5 OFFSET 3", "FEATURENOTENABLED"),
        ("SELECT FIELDS(ALL) FROM Account LIMIT 200", "FEATURENOTENABLED"),
        (
            "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
            "FEATURENOTENABLED",
        ),
        ("SELECT Id, BillingAddress FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM CaseStatus", "INVALIDENTITY"),
        ("SELECT Id FROM AccountFeed", "INVALIDENTITY"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Id, No__c FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
    ] {
        let (status, body) = api.job("query", soql).await;
        assert_eq!(
            (status, &body[0]["errorCode"]),
            (400, &json!(code)),
            "{soql}: {body}"
        );
    }
    let set = async |settings: Value| world.control("/jobs/settings", settings).await;
    let refused = async || api.job("query", "SELECT Id FROM Account").await.1[0].clone();
    set(json!({ "enabled": false })).await;
    assert_eq!(
        refused().await,
        json!({ "errorCode": "FEATURENOTENABLED", "message": "Async API not enabled" })
    );
    set(json!({ "reset": true, "maxJobs": 0 })).await;
    assert_eq!(
        refused().await["message"],
        "Max bulk v2 query jobs (0) per 24 hrs has been reached"
    );
    assert_eq!(
        api.get(&format!("{V}/limits")).await.1["DailyBulkV2QueryJobs"],
        json!({ "Max": 0, "Remaining": 0 })
    );
    set(json!({ "reset": true, "storageExceeded": true })).await;
    assert!(
        refused().await["message"]
            .as_str()
            .unwrap()
            .contains("size stored")
    );
    set(json!({ "reset": true, "unsupported": ["Account"] })).await;
    assert_eq!(
        refused().await["message"],
        "Entity 'Account' is not supported by the Bulk API."
    );
    set(json!({ "reset": true })).await;
    let odd = json!({ "operation": "query", "query": "SELECT Id FROM Account", "columnDelimiter": "SPACE" });
    let answer = api
        .send(Method::POST, &format!("{V}/jobs/query"), Some(odd))
        .await;
    assert_eq!(answer.status(), 400);

    // Restricted users do not see the jobs of others; results need the version of the job.
    let job = api.finished("query", "SELECT Id FROM Account").await;
    let other = world.as_user(RESTRICTED).await;
    assert_eq!(other.get(&path(&job, "")).await.0, 404);
    let old = path(&job, "/results").replace("v62.0", "v61.0");
    assert_eq!(api.send(Method::GET, &old, None).await.status(), 409);
    // The end of a job.
    let patch = async |job: &Value| {
        let body = Some(json!({ "state": "Aborted" }));
        api.send(Method::PATCH, &path(job, ""), body).await.status()
    };
    assert_eq!(patch(&job).await, 400, "it is finished");
    let (_, open) = api.job("query", "SELECT Id FROM Contact").await;
    assert_eq!(
        api.send(Method::DELETE, &path(&open, ""), None).await.status(),
        400
    );
    assert_eq!(patch(&open).await, 200);
    assert_eq!(api.info(&open).await["state"], "Aborted");
    // Lists have filters and pages.
    set(json!({ "jobsListed": 1 })).await;
    let list = async |query: &str| api.get(&format!("{V}/jobs/query{query}")).await.1;
    let first = list("").await;
    assert_eq!(
        (&first["done"], &first["records"][0]["id"]),
        (&json!(false), &job["id"])
    );
    let (_, second) = api.get(first["nextRecordsUrl"].as_str().unwrap()).await;
    assert_eq!(
        (&second["done"], &second["records"][0]["id"]),
        (&json!(true), &open["id"])
    );
    assert_eq!(list("?jobType=Classic").await["records"], json!([]));
    // Seven days later there are none.
    world
        .control("/clock", json!({ "skewSeconds": 8 * 86_400 }))
        .await;
    assert_eq!(list("").await["records"], json!([]));
    assert_eq!(api.get(&path(&job, "")).await.0, 404);
}

#[tokio::test]
async fn a_result_has_bytes_that_are_no_text() {
    let world = World::start(50, 0).await;
    let api = world.as_user(ADMIN).await;
    let ids = api.query("SELECT Id FROM Account ORDER BY Id LIMIT 4").await;
    for (n, name) in ["nul \0", "bad \u{e0ff}", "NA", ""].into_iter().enumerate() {
        let id = &ids["records"][n]["Id"];
        let fields = json!({ "Site": name });
        world
            .control("/records/update", json!({ "id": id, "fields": fields }))
            .await;
    }
    let soql = "SELECT Site FROM Account ORDER BY Id LIMIT 4";
    let job = api.finished("query", soql).await;
    assert_eq!(job["object"], "Account");
    let bytes = api.results(&job, "").await.bytes().await.unwrap();
    assert_eq!(
        bytes.as_ref(),
        b"\"Site\"\n\"nul \0\"\n\"bad \xff\"\n\"NA\"\n\"\"\n"
    );
    let rest = api.query(soql).await;
    let rest: Vec<&Value> = (0..4).map(|n| &rest["records"][n]["Site"]).collect();
    assert_eq!(
        rest,
        [
            &json!("nul \0"),
            &json!("bad \u{fffd}"),
            &json!("NA"),
            &Value::Null
        ]
    );
    let log = world.seen("/requests?kind=bulk_create").await;
    assert_eq!(log["requests"][0]["soql"], soql);
    // Other layouts.
    let body = json!({ "operation": "query", "query": "SELECT Id, Site FROM Account WHERE Site = 'NA'",
        "columnDelimiter": "TAB", "lineEnding": "CRLF" });
    let answer = api
        .send(Method::POST, &format!("{V}/jobs/query"), Some(body))
        .await;
    let job: Value = answer.json().await.unwrap();
    while api.info(&job).await["state"] != "JobComplete" {}
    let text = api.results(&job, "").await.text().await.unwrap();
    assert_eq!(
        text,
        format!("\"Id\"\t\"Site\"\r\n{}\t\"NA\"\r\n", ids["records"][2]["Id"])
    );
    // A result without rows is a header.
    let none = api
        .finished("query", "SELECT Id FROM Account WHERE Name = 'no such'")
        .await;
    assert_eq!(api.csv(&none, 10).await.1.len(), 0);
    let (_, pages) = api.get(&path(&none, "/resultPages")).await;
    assert_eq!(
        (pages["resultPages"].as_array().unwrap().len(), &pages["done"]),
        (1, &json!(true))
    );
}

#[tokio::test]
async fn results_are_compressed_while_they_are_sent() {
    let world = World::start(3_000, 0).await;
    let api = world.as_user(ADMIN).await;
    let job = api.finished("query", "SELECT Id, Name, Site FROM Account").await;
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let url = format!("{}{}", world.sim.http, path(&job, "/results"));
    let ask = async |encoding: &str| {
        let request = plain.get(&url).header("accept-encoding", encoding);
        request.bearer_auth(&api.token).send().await.unwrap()
    };
    let whole = ask("identity").await.bytes().await.unwrap();
    let answer = ask("gzip").await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(answer.headers()["content-type"], "text/csv");
    let usage = answer.headers()["sforce-limit-info"].to_str().unwrap().to_owned();
    let packed = answer.bytes().await.unwrap();
    assert!(packed.len() < whole.len() / 2);
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
    assert!(unpacked == whole);
    // Every call is counted: the creation, two looks, two pages.
    assert_eq!(usage, "api-usage=5/100000");
    assert_eq!(world.seen("").await["orgs"][0]["apiUsed"], 5);
}
