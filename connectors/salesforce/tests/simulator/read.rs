//! Full reads: complete, resumable at any point, and with faults.

use serde_json::{Value as Json, json};
use tether_connector_sdk::proto::*;

use crate::harness::*;

/// Small enough to be fast, large enough for two pages of an object.
const ACCOUNTS: [&str; 2] = ["--accounts", "2300"];

fn some(fields: &ListFieldsResponse) -> Vec<ObjectSelection> {
    select(
        fields,
        &[
            (
                "Account",
                &[
                    "Name",
                    "Industry",
                    "AnnualRevenue",
                    "OwnerId",
                    "Description",
                    "Website",
                ],
            ),
            ("Contact", &["LastName", "Email", "AccountId", "MailingAddress"]),
            ("Case", &["Status", "Subject"]),
        ],
    )
}

fn statuses(outcome: &Outcome) -> Vec<(&str, bool)> {
    outcome
        .statuses
        .iter()
        .map(|status| (status.object.as_str(), status.complete))
        .collect()
}

#[tokio::test]
async fn everything_is_read_and_nothing_else_is_done() {
    let sim = Sim::start(&ACCOUNTS);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let fields = list_fields(&connector, &connection).await;
    let selection = select_all(&fields);
    sim.forget().await;
    let (store, outcome) = read_all(&connector, &connection, &selection).await;
    assert_true(&sim, ADMIN, &selection, &store).await;
    let all = ["Account", "Contact", "Opportunity", "Contract", "Case"].map(|object| (object, true));
    assert_eq!(statuses(&outcome), all);
    assert!(outcome.changes.is_empty() && outcome.credentials_asked == 0);
    for object in all.map(|(object, _)| object) {
        let last = outcome
            .progress
            .iter()
            .rfind(|progress| progress.object == object)
            .unwrap();
        assert_eq!(last.expected as usize, store.of(object).count(), "{object}");
    }
    let account = store.of("Account").find(|account| !account.deleted).unwrap();
    let payload = store.payload("Account", &account.external_id);
    assert_eq!(payload["Name"], account.display_name.as_str());
    assert!(
        payload["OwnerId"]["label"]
            .as_str()
            .is_some_and(|name| !name.is_empty()),
        "{payload}"
    );
    // One call for all describes, then only pages.
    assert_eq!(sim.requests("composite").await.len(), 1);
    let pages = sim.requests("query_all").await.len() + sim.requests("query_more").await.len();
    assert_eq!(outcome.usage.calls as usize, pages + 1);
    assert!(outcome.usage.used > 0 && outcome.usage.limit > 0);
    assert_only_read(&sim).await;
}

#[tokio::test]
async fn it_goes_on_from_every_checkpoint() {
    let sim = Sim::start(&ACCOUNTS);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    let (whole, outcome) = read_all(&connector, &connection, &selection).await;
    assert!(outcome.checkpoints.len() > 4);
    for (at, checkpoint) in outcome.checkpoints.iter().enumerate() {
        let text = String::from_utf8_lossy(checkpoint);
        assert!(
            !text.contains("http") && !text.contains('!'),
            "no address, no token: {text}"
        );
        // Another process resumes.
        let connector = sim.connector();
        let store = outcome.stores[at].clone();
        let reading = Reading::start(&connector, &connection, &selection, checkpoint, store).await;
        let (store, resumed, _) = reading.finish().await;
        assert!(matches!(resumed.end, Some(Ok(()))));
        assert_eq!(store, whole, "after checkpoint {at}");
        assert!(
            resumed.rows + rows_until(&outcome, at) <= outcome.rows,
            "nothing is read twice"
        );
    }
    // Killed at a checkpoint, and nothing more was stored.
    let mut reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
    reading.checkpoint().await;
    let checkpoint = reading.outcome.checkpoints[0].clone();
    let store = reading.kill();
    let reading = Reading::start(&connector, &connection, &selection, &checkpoint, store).await;
    assert_eq!(reading.finish().await.0, whole);
}

fn rows_until(outcome: &Outcome, checkpoint: usize) -> u64 {
    outcome.stores[checkpoint].rows.len() as u64
}

#[tokio::test]
async fn wide_selections_are_split_and_put_together() {
    let sim = Sim::start(&["--accounts", "300"]);
    let connector = sim.connector_with(&[("query_budget", "600")]);
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    sim.forget().await;
    let (store, _) = read_all(&connector, &connection, &selection).await;
    assert_true(&sim, ADMIN, &selection, &store).await;
    let queries = sim.requests("query_all").await;
    assert!(queries.len() >= 10, "each object in two parts at least");

    // Rows that change between two parts are read again separately.
    let id = store
        .of("Account")
        .find(|account| !account.deleted)
        .unwrap()
        .external_id
        .clone();
    let accounts = &selection[..1];
    sim.fault(json!({"path": "/services/data/v62.0/queryAll", "skip": 1, "kind": "delay", "delayMs": 300}))
        .await;
    let reading = Reading::start(&connector, &connection, accounts, &[], Store::default()).await;
    let touch = async {
        while sim.requests("query_all").await.len() < queries.len() + 1 {
            tokio::task::yield_now().await;
        }
        sim.control(
            "/records/update",
            json!({"id": id, "fields": {"Name": "Torn no more", "Website": "torn.example"}}),
        )
        .await;
    };
    let ((store, outcome, _), ()) = tokio::join!(reading.finish(), touch);
    assert!(matches!(outcome.end, Some(Ok(()))));
    assert_true(&sim, ADMIN, accounts, &store).await;
}

#[tokio::test]
async fn a_field_that_goes_is_told_and_left_out() {
    // More pages of accounts than the stream reads ahead: contacts lose their fields before they are queried.
    let sim = Sim::start(&["--accounts", "14300"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    let changes = |outcome: &Outcome| -> Vec<(String, String, FieldChangeKind)> {
        outcome
            .changes
            .iter()
            .map(|c| (c.object.clone(), c.field.clone(), c.kind()))
            .collect()
    };
    // Before the read begins.
    sim.control(
        "/fields/remove",
        json!({"object": "Account", "field": "Industry"}),
    )
    .await;
    let mut reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
    assert!(reading.checkpoint().await);
    // During the read; an open query is not affected, the next one is.
    sim.control("/fields/hide", json!({"object": "Contact", "field": "Email"}))
        .await;
    sim.control(
        "/fields/hide",
        json!({"object": "Contact", "field": "MailingAddress"}),
    )
    .await;
    sim.control("/fields/hide", json!({"object": "Account", "field": "Website"}))
        .await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    let told = changes(&outcome);
    let missing = |object: &str, field: &str| (object.to_owned(), field.to_owned(), FieldChangeKind::Missing);
    for change in [
        missing("Account", "Industry"),
        missing("Contact", "Email"),
        missing("Contact", "MailingAddress"),
    ] {
        assert!(told.contains(&change), "{told:?}");
    }
    assert_eq!(
        statuses(&outcome),
        [("Account", true), ("Contact", true), ("Case", true)]
    );
    let contact = store.of("Contact").next().unwrap();
    let payload = store.payload("Contact", &contact.external_id);
    assert!(payload.get("LastName").is_some() && payload.get("Email").is_none());
}

#[tokio::test]
async fn a_type_that_changes_is_told() {
    let sim = Sim::start(&["--accounts", "20"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let mut selection = select(
        &list_fields(&connector, &connection).await,
        &[("Account", &["NumberOfEmployees"])],
    );
    selection[0].fields[0].r#type = FieldType::Text.into();
    let (store, outcome) = read_all(&connector, &connection, &selection).await;
    let [change] = &outcome.changes[..] else {
        panic!("{:?}", outcome.changes)
    };
    assert_eq!(
        (change.kind(), change.r#type()),
        (FieldChangeKind::TypeChanged, FieldType::Integer)
    );
    let account = store.of("Account").next().unwrap();
    assert!(store.payload("Account", &account.external_id)["NumberOfEmployees"].is_i64());
}

#[tokio::test]
async fn an_object_that_cannot_be_read_does_not_stop_the_others() {
    let sim = Sim::start(&["--accounts", "50"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    sim.control("/fields/hide", json!({"object": "Contract"})).await;
    let query = json!({"path": "/services/data/v62.0/queryAll", "contains": "FROM Opportunity", "status": 400, "times": 9,
        "body": "[{\"errorCode\":\"OPERATION_TOO_LARGE\",\"message\":\"exceeded 100000 distinct who/what's\"}]"});
    sim.fault(query).await;
    let (_, outcome) = read_all(&connector, &connection, &selection).await;
    let expected = [
        ("Account", true),
        ("Contact", true),
        ("Opportunity", false),
        ("Contract", false),
        ("Case", true),
    ];
    assert_eq!(statuses(&outcome), expected);
    let kinds: Vec<ErrorKind> = outcome
        .statuses
        .iter()
        .flat_map(|s| &s.error)
        .map(Error::what)
        .collect();
    assert_eq!(kinds, [ErrorKind::AdminAction, ErrorKind::ObjectGone]);
}

#[tokio::test]
async fn a_session_that_ends_is_renewed_once() {
    let sim = Sim::start(&[&ACCOUNTS[..], &["--rotation"]].concat());
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    let mut reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
    assert!(reading.checkpoint().await);
    sim.control("/sessions/expire", json!({})).await;
    let (store, outcome, renewed) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_eq!(outcome.credentials_asked, 1);
    assert_ne!(
        renewed.credentials.unwrap().refresh_token,
        connection.credentials.unwrap().refresh_token
    );
    assert_true(&sim, ADMIN, &selection, &store).await;
}

#[tokio::test]
async fn a_refusal_that_a_refresh_cannot_cure_ends_the_stream() {
    let sim = Sim::start(&["--accounts", "20"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    for (body, asked, kind) in [
        (
            "This session is not valid for use with the REST API",
            0,
            ErrorKind::AdminAction,
        ),
        ("Session expired or invalid", 1, ErrorKind::CredentialsExpired),
    ] {
        let body = format!("[{{\"errorCode\":\"INVALID_SESSION_ID\",\"message\":\"{body}\"}}]");
        sim.fault(json!({"path": "/services/data", "status": 401, "body": body, "times": 2}))
            .await;
        let reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
        let (_, outcome, _) = reading.finish().await;
        assert_eq!(outcome.credentials_asked, asked);
        assert_eq!(outcome.end.unwrap().unwrap_err().what(), kind);
        sim.clear("faults").await;
    }
}

#[tokio::test]
async fn trouble_on_the_way_changes_nothing() {
    let sim = Sim::start(&ACCOUNTS);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    let (whole, _) = read_all(&connector, &connection, &selection).await;
    let query = "/services/data/v62.0/query";
    let composite = "/services/data/v62.0/composite";
    let rest =
        |code: &str, message: &str| format!("[{{\"errorCode\":\"{code}\",\"message\":\"{message}\"}}]");
    let concurrent = rest(
        "REQUEST_LIMIT_EXCEEDED",
        "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
    );
    for fault in [
        json!({"path": query, "kind": "html"}),
        json!({"path": query, "skip": 1, "kind": "cut"}),
        json!({"path": query, "skip": 1, "kind": "garbage"}),
        json!({"path": query, "skip": 2, "kind": "lost"}),
        json!({"path": query, "times": 3, "status": 503, "body": "<html>Down</html>"}),
        json!({"path": query, "skip": 1, "times": 2, "status": 420, "body": "We are setting things up."}),
        json!({"path": query, "times": 2, "status": 403, "body": concurrent}),
        json!({"path": query, "skip": 1, "status": 400, "body": rest("INVALID_QUERY_LOCATOR", "invalid query locator")}),
        json!({"path": query, "times": 3, "status": 400, "body": rest("QUERY_TIMEOUT", "Your query request was running for too long.")}),
        json!({"path": query, "times": 1, "status": 400, "body": rest("QUERY_TOO_COMPLICATED", "Query is either selecting too many fields")}),
        json!({"path": query, "times": 1, "status": 414, "body": "<h1>URI Too Long</h1>"}),
        json!({"path": composite, "kind": "garbage"}),
        json!({"path": composite, "status": 400, "body": rest("QUERY_TIMEOUT", "Your query request was running for too long.")}),
        json!({"path": composite, "status": 413, "body": "<h1>Too Large</h1>"}),
    ] {
        sim.fault(fault.clone()).await;
        let (store, outcome) = read_all(&connector, &connection, &selection).await;
        assert!(
            store == whole,
            "{fault}: {} rows of {}",
            store.rows.len(),
            whole.rows.len()
        );
        assert!(outcome.statuses.iter().all(|status| status.complete), "{fault}");
        assert!(outcome.changes.is_empty(), "{fault}: {:?}", outcome.changes);
        sim.assert_faults_used(&fault).await;
    }
}

#[tokio::test]
async fn what_lasts_ends_the_read_and_no_time_is_invented() {
    let sim = Sim::start(&["--accounts", "20"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    let total = "[{\"errorCode\":\"REQUEST_LIMIT_EXCEEDED\",\"message\":\"TotalRequests Limit exceeded.\"}]";
    for (fault, kind) in [
        (
            json!({"path": "/services/data", "status": 403, "body": total}),
            ErrorKind::AllowanceExhausted,
        ),
        (
            json!({"path": "/services/data", "status": 503, "times": 9}),
            ErrorKind::Transient,
        ),
    ] {
        sim.fault(fault).await;
        let reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
        let (_, outcome, _) = reading.finish().await;
        let error = outcome.end.unwrap().unwrap_err();
        assert_eq!((error.what(), error.retry_us), (kind, 0), "{error}");
        sim.clear("faults").await;
    }
}

#[tokio::test]
async fn dropped_cursors_cost_a_query_and_no_row() {
    let sim = Sim::start(&["--accounts", "6500"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select(
        &list_fields(&connector, &connection).await,
        &[("Account", &["Name"])],
    );
    let mut reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
    while reading.checkpoint().await {
        sim.control("/cursors/drop", json!({})).await;
    }
    assert!(
        matches!(reading.outcome.end, Some(Ok(()))),
        "{:?}",
        reading.outcome.end
    );
    assert_true(&sim, ADMIN, &selection, &reading.store).await;
}

#[tokio::test]
async fn deleted_merged_and_purged_records_arrive() {
    let sim = Sim::start(&["--accounts", "60"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = some(&list_fields(&connector, &connection).await);
    let (store, _) = read_all(&connector, &connection, &selection).await;
    let live: Vec<String> = store
        .of("Account")
        .filter(|a| !a.deleted)
        .map(|a| a.external_id.clone())
        .collect();
    let [deleted, winner, loser, purged, ..] = &live[..] else {
        panic!("too few accounts")
    };
    sim.control("/records/delete", json!({"id": deleted, "cascade": false}))
        .await;
    sim.control("/records/merge", json!({"winner": winner, "loser": loser}))
        .await;
    sim.control("/records/purge", json!({"id": purged})).await;
    let reading = Reading::start(&connector, &connection, &selection, &[], store).await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))));
    let account = |id: &str| store.rows.get(&("Account".to_owned(), id.to_owned()));
    assert!(account(deleted).unwrap().deleted && account(deleted).unwrap().merged_into.is_empty());
    assert_eq!(account(loser).unwrap().merged_into, *winner);
    assert_eq!(account(purged), None, "a complete listing proves that it is gone");
    assert_true(&sim, ADMIN, &selection, &store).await;
}

#[tokio::test]
async fn an_empty_object_is_listed_as_such() {
    let sim = Sim::start(&["--accounts", "0"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select(
        &list_fields(&connector, &connection).await,
        &[("Case", &["Subject"])],
    );
    let mut stored = Store::default();
    let left_over = Record {
        external_id: "500000000000001AAA".into(),
        ..Record::default()
    };
    stored
        .rows
        .insert(("Case".into(), left_over.external_id.clone()), left_over);
    for case in sim.truth("Case", ADMIN).await {
        sim.control("/records/purge", json!({"id": case["Id"]})).await;
    }
    let reading = Reading::start(&connector, &connection, &selection, &[], stored).await;
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))));
    assert!(store.rows.is_empty());
    assert_eq!(outcome.rows, 0);
    assert_eq!(
        sim.get("/control").await["orgs"][0]["rows"]["Case"],
        Json::from(0)
    );
}
