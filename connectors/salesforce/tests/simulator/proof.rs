//! Which replies are evidence: only complete replies of Salesforce itself mark an object as read or a record as
//! deleted.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tether_connector_salesforce::Salesforce;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;

use crate::harness::*;

/// Three pages of accounts.
const ACCOUNTS: [&str; 2] = ["--accounts", "4300"];
const QUERY: &str = "/services/data/v62.0/query";

/// Some fields of Account and Contact.
fn some(fields: &ListFieldsResponse) -> Vec<ObjectSelection> {
    select(
        fields,
        &[
            ("Account", &["Name", "Industry", "Website", "OwnerId"]),
            ("Contact", &["LastName", "Email"]),
        ],
    )
}

/// A simulator, a logged-in connector, its selection, and the truth.
struct World {
    sim: Sim,
    connector: Native<Salesforce>,
    connection: Connection,
    selection: Vec<ObjectSelection>,
}

impl World {
    async fn start(arguments: &[&str]) -> Self {
        let sim = Sim::start(arguments);
        let connector = sim.connector();
        let connection = log_in(&sim, &connector, ADMIN).await;
        let selection = some(&list_fields(&connector, &connection).await);
        Self {
            sim,
            connector,
            connection,
            selection,
        }
    }

    /// A read into a store that already has rows.
    async fn read_into(&self, store: Store) -> (Store, Outcome, Connection) {
        Reading::start(&self.connector, &self.connection, &self.selection, &[], store)
            .await
            .finish()
            .await
    }

    async fn read(&self) -> (Store, Outcome) {
        read_all(&self.connector, &self.connection, &self.selection).await
    }

    async fn fetch(&self, id: &str) -> Result<FetchCompanyResponse, Error> {
        fetch(&self.connector, &self.connection, &self.selection, &[id], 0).await
    }
}

#[tokio::test]
async fn a_gateway_s_reply_in_the_middle_of_an_object_is_asked_again() {
    let world = World::start(&ACCOUNTS).await;
    let (whole, calm) = world.read().await;
    let refusal = |code: &str| format!("[{{\"errorCode\":\"{code}\",\"message\":\"x\"}}]");
    let mut faults: Vec<Json> = [400, 403, 404, 405, 410, 415]
        .map(|status| json!({"path": QUERY, "skip": 1, "kind": "html", "status": status}))
        .into();
    faults.extend([
        json!({"path": QUERY, "skip": 1, "status": 404}),
        json!({"path": QUERY, "skip": 1, "status": 404, "body": "{\"message\":\"Not Found\"}"}),
        json!({"path": QUERY, "skip": 1, "status": 403, "body": "<Error><Code>AccessDenied</Code></Error>", "contentType": "application/xml"}),
        json!({"path": QUERY, "skip": 1, "status": 404, "body": refusal("NOT_FOUND")[..20]}),
        json!({"path": QUERY, "skip": 1, "status": 400, "body": refusal("INVALID_TYPE"), "contentType": "text/html"}),
        json!({"path": QUERY, "skip": 1, "status": 200, "body": "{\"totalSize\":0,\"done\":true}"}),
        json!({"path": QUERY, "skip": 1, "status": 200, "body": "{\"records\":[],\"done\":true}"}),
        json!({"path": QUERY, "skip": 1, "status": 200, "body": "{}"}),
        json!({"path": QUERY, "skip": 1, "status": 200, "body": ""}),
        // In the describes, too.
        json!({"path": "/services/data/v62.0/composite", "kind": "html", "status": 404}),
        json!({"path": "/services/data/v62.0/sobjects/Account/describe", "inner": true, "kind": "html", "status": 404}),
        json!({"path": "/services/data/v62.0/sobjects/Contact/describe", "inner": true, "status": 403, "body": "{\"message\":\"no\"}"}),
    ]);
    for fault in faults {
        world.sim.fault(fault.clone()).await;
        world.sim.forget().await;
        let (store, outcome, _) = world.read_into(whole.clone()).await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{fault}: {:?}", outcome.end);
        assert_eq!(outcome.rows, calm.rows, "{fault}");
        assert!(store == whole, "{fault}");
        assert_eq!(failures(&outcome), [], "{fault}");
        assert!(
            outcome.changes.is_empty() && outcome.credentials_asked == 0,
            "{fault}"
        );
        world.sim.assert_faults_used(&fault).await;
    }
}

#[tokio::test]
async fn what_lasts_is_told_and_what_is_stored_stays() {
    let world = World::start(&["--accounts", "300"]).await;
    let (whole, _) = world.read().await;
    // Every object is refused by Salesforce itself.
    world.sim.control("/answers", json!({"forbidden": true})).await;
    let (store, outcome, _) = world.read_into(whole.clone()).await;
    assert_eq!(
        failures(&outcome),
        [
            ("Account", ErrorKind::Forbidden),
            ("Contact", ErrorKind::Forbidden)
        ]
    );
    assert!(store == whole && outcome.statuses.iter().all(|status| !status.complete));
    world.sim.clear("answers").await;
    // The object of companies is hidden.
    world
        .sim
        .control("/fields/hide", json!({"object": "Account"}))
        .await;
    let (store, outcome, _) = world.read_into(whole.clone()).await;
    assert_eq!(failures(&outcome), [("Account", ErrorKind::ObjectGone)]);
    assert!(store == whole);
    world
        .sim
        .control("/fields/show", json!({"object": "Account"}))
        .await;
    // A gateway that fails permanently: nothing is reported about any object.
    world
        .sim
        .fault(json!({"path": QUERY, "skip": 1, "times": 99, "kind": "html", "status": 403}))
        .await;
    let (store, outcome, _) = world.read_into(whole.clone()).await;
    let error = outcome.end.unwrap().unwrap_err();
    assert_eq!(error.what(), ErrorKind::Transient, "{error}");
    assert!(store == whole && outcome.statuses.iter().all(|status| status.error.is_none()));
}

#[tokio::test]
async fn an_object_is_read_without_its_describe() {
    let world = World::start(&["--accounts", "300"]).await;
    let (whole, _) = world.read().await;
    let fault = json!({"path": "/services/data/v62.0/sobjects/Account/describe", "inner": true, "times": 99, "kind": "html", "status": 404});
    world.sim.fault(fault).await;
    let (store, outcome) = world.read().await;
    assert!(store == whole && failures(&outcome).is_empty() && outcome.changes.is_empty());
}

#[tokio::test]
async fn rows_that_cannot_be_used_cost_no_other_and_prove_nothing() {
    let world = World::start(&["--accounts", "300"]).await;
    let (whole, calm) = world.read().await;
    let id = whole.of("Account").nth(100).unwrap().external_id.clone();
    let rows = |cells: Json| json!({"object": "Account", "rows": {(id.as_str()): cells}});
    for cells in [
        json!({"Id": null}),
        json!({"Id": "no id"}),
        json!({"Id": {"x": 1}}),
    ] {
        world.sim.control("/answers", rows(cells.clone())).await;
        let (store, outcome, _) = world.read_into(whole.clone()).await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{cells}: {:?}", outcome.end);
        assert!(store == whole, "{cells}: nothing is taken for gone");
        assert_eq!(failures(&outcome), [("Account", ErrorKind::Bug)], "{cells}");
        assert_eq!(outcome.rows, calm.rows - 1, "{cells}");
        assert_eq!(outcome.covering, 1, "only contacts: {cells}");
    }
    // A record without a name is a normal record.
    world.sim.control("/answers", rows(json!({"Name": null}))).await;
    let (store, outcome) = world.read().await;
    assert!(failures(&outcome).is_empty());
    let key = ("Account".to_owned(), id.clone());
    assert_eq!(
        (store.rows.len(), store.rows[&key].display_name.as_str()),
        (whole.rows.len(), "")
    );
    // A contact with an invalid parent: the parent is unknown, so the contact is not listed as without a parent.
    let contact = whole
        .of("Contact")
        .find(|c| !c.parents.is_empty())
        .unwrap()
        .external_id
        .clone();
    world.sim.clear("answers").await;
    world
        .sim
        .control(
            "/answers",
            json!({"object": "Contact", "rows": {(contact.as_str()): {"AccountId": 17}}}),
        )
        .await;
    let (store, outcome, _) = world.read_into(whole.clone()).await;
    assert!(store == whole);
    assert_eq!(failures(&outcome), [("Contact", ErrorKind::Bug)]);
}

#[tokio::test]
async fn short_ids_are_the_same_ids() {
    let world = World::start(&["--accounts", "2300"]).await;
    let (whole, _) = world.read().await;
    world.sim.control("/answers", json!({"shortIds": true})).await;
    let (store, outcome, _) = world.read_into(whole.clone()).await;
    assert!(store == whole && failures(&outcome).is_empty());
}

#[tokio::test]
async fn an_odd_describe_is_read() {
    let world = World::start(&["--accounts", "10"]).await;
    let odd = json!({"object": "Account", "describe": {
        "Website": {"scale": 0.0, "length": -1, "label": null}, "Industry": {"picklistValues": null, "scale": "x"}}});
    world.sim.control("/answers", odd).await;
    let fields = list_fields(&world.connector, &world.connection).await;
    let account = fields.objects.iter().find(|o| o.object == "Account").unwrap();
    let website = account.fields.iter().find(|f| f.key == "Website").unwrap();
    assert_eq!(
        (website.scale, website.length, website.label.as_str()),
        (0, 0, "Website")
    );
    assert!(account.fields.iter().any(|f| f.key == "Industry"));
}

#[tokio::test]
async fn a_part_of_a_composite_that_is_not_salesforce_s_proves_nothing() {
    let world = World::start(&["--accounts", "100"]).await;
    let (whole, _) = world.read().await;
    let id = whole
        .of("Contact")
        .find(|contact| !contact.deleted && !contact.parents.is_empty())
        .unwrap()
        .parents[0]
        .external_id
        .clone();
    let right = world.fetch(&id).await.unwrap();
    assert!(!right.objects[0].records[0].deleted && !right.objects[1].records.is_empty());
    let inner = |more: Json| {
        let mut fault = json!({"path": QUERY, "inner": true});
        fault
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fault
    };
    let empty = "{\"records\":[],\"done\":true}";
    for fault in [
        inner(json!({"kind": "html", "status": 404})),
        inner(json!({"kind": "html", "status": 403, "skip": 1})),
        inner(json!({"status": 404, "body": "null"})),
        inner(json!({"status": 404, "body": "{\"message\":\"Not Found\"}"})),
        inner(json!({"status": 200, "body": empty})),
        inner(json!({"status": 200, "body": "null", "skip": 1})),
        json!({"path": "/services/data/v62.0/composite", "status": 200, "body": "{\"compositeResponse\":[]}"}),
        json!({"path": "/services/data/v62.0/composite", "kind": "html", "status": 404}),
    ] {
        world.sim.fault(fault.clone()).await;
        let fetched = world.fetch(&id).await.unwrap();
        assert_eq!(fetched.objects, right.objects, "{fault}");
        world.sim.assert_faults_used(&fault).await;
    }
    // A permanent failure is the object's error, and no record is removed.
    for body in ["null", empty] {
        let status = if body == empty { 200 } else { 404 };
        world
            .sim
            .fault(inner(json!({"status": status, "body": body, "times": 99})))
            .await;
        let fetched = world.fetch(&id).await.unwrap();
        for result in &fetched.objects {
            assert_eq!(result.error.as_ref().unwrap().what(), ErrorKind::Transient);
            assert!(result.records.is_empty());
        }
        world.sim.clear("faults").await;
    }
    // A row without an id does not mean that the account was deleted.
    let rows = json!({"object": "Account", "rows": {(id.as_str()): {"Id": null}}});
    world.sim.control("/answers", rows).await;
    let account = &world.fetch(&id).await.unwrap().objects[0];
    assert!(account.error.is_some() && account.records.is_empty());
}

#[tokio::test]
async fn an_odd_401_costs_one_refresh_and_is_believed_when_it_comes_again() {
    let world = World::start(&ACCOUNTS).await;
    let (whole, _) = world.read().await;
    for code in ["INVALID_AUTH_HEADER", "SOMETHING_NEW"] {
        let body = format!("[{{\"message\":\"INVALID_JWT_FORMAT\",\"errorCode\":\"{code}\"}}]");
        world
            .sim
            .fault(json!({"path": QUERY, "skip": 1, "status": 401, "body": body}))
            .await;
        let (store, outcome) = world.read().await;
        assert!(store == whole);
        assert_eq!(outcome.credentials_asked, 1, "{code}");
        world
            .sim
            .fault(json!({"path": QUERY, "skip": 1, "status": 401, "body": body, "times": 9}))
            .await;
        let (_, outcome, _) = world.read_into(Store::default()).await;
        assert_eq!(outcome.credentials_asked, 1, "{code}");
        let error = outcome.end.unwrap().unwrap_err();
        assert_eq!(error.what(), ErrorKind::AdminAction);
        assert!(
            error.message.contains(code) && error.message.contains("INVALID_JWT_FORMAT"),
            "{error}"
        );
        world.sim.clear("faults").await;
    }
    let expired = json!({"path": QUERY, "code": "INVALID_OPERATION_WITH_EXPIRED_PASSWORD"});
    world.sim.fault(expired).await;
    let error = world
        .read_into(Store::default())
        .await
        .1
        .end
        .unwrap()
        .unwrap_err();
    assert_eq!(error.what(), ErrorKind::AdminAction);
    assert!(error.message.contains("set a new one"), "{error}");
}

#[tokio::test]
async fn a_read_goes_on_where_the_organization_moved_to() {
    for how in ["notReset", "page", "redirect"] {
        let world = World::start(&ACCOUNTS).await;
        let (whole, _) = world.read().await;
        let mut reading = Reading::start(
            &world.connector,
            &world.connection,
            &world.selection,
            &[],
            Store::default(),
        )
        .await;
        assert!(reading.checkpoint().await);
        let from = world.sim.base.strip_prefix("http://").unwrap();
        let to = from.replace("127.0.0.1", "localhost");
        world
            .sim
            .control("/hosts", json!({"from": from, "to": to, "how": how}))
            .await;
        let (store, outcome, connection) = reading.finish().await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{how}: {:?}", outcome.end);
        assert_eq!(
            (outcome.credentials_asked, connection.base_url),
            (1, format!("http://{to}")),
            "{how}"
        );
        assert!(store == whole && failures(&outcome).is_empty(), "{how}");
        // For a call, the host refreshes.
        let id = &whole.of("Account").next().unwrap().external_id;
        assert_eq!(
            world.fetch(id).await.unwrap_err().what(),
            ErrorKind::CredentialsExpired,
            "{how}"
        );
    }
}

#[tokio::test]
async fn a_cursor_is_not_asked_for_after_its_session() {
    let world = World::start(&[&ACCOUNTS[..], &["--rotation", "--end-sessions"]].concat()).await;
    let (whole, _) = world.read().await;
    world.sim.forget().await;
    world
        .sim
        .fault(json!({"path": QUERY, "skip": 1, "code": "INVALID_SESSION_ID"}))
        .await;
    let (store, outcome) = world.read().await;
    assert_eq!(outcome.credentials_asked, 1);
    assert!(store == whole);
    let more = world.sim.requests("query_more").await;
    assert!(more.iter().all(|request| request["status"] != 400), "{more:?}");
}

#[tokio::test]
async fn a_page_that_is_not_what_it_says_costs_no_record() {
    let world = World::start(&["--accounts", "20", "--related", "0", "--contacts", "6500"]).await;
    let (whole, _) = world.read().await;
    for how in ["short", "repeat", "loop", "early"] {
        for skip in 0..4 {
            let damage = json!({"api": "rest", "object": "Contact", "how": how, "skip": skip, "rows": 3});
            world.sim.control("/pages", damage.clone()).await;
            let (store, outcome) = world.read().await;
            assert!(matches!(outcome.end, Some(Ok(()))), "{damage}: {:?}", outcome.end);
            assert!(failures(&outcome).is_empty() && store == whole, "{damage}");
            // Nor does one stay away that is known already, whatever ranges say in between.
            world.sim.clear("pages").await;
            world.sim.control("/pages", damage.clone()).await;
            let (store, ..) = world.read_into(whole.clone()).await;
            assert!(store.rows == whole.rows, "{damage}");
            world.sim.clear("pages").await;
        }
    }
    // What stays is an error of the object, so that nothing counts as removed.
    let damage = json!({"api": "rest", "object": "Contact", "how": "short", "times": 8});
    world.sim.control("/pages", damage).await;
    let (_, outcome, _) = world.read_into(whole.clone()).await;
    assert_eq!(failures(&outcome), [("Contact", ErrorKind::Transient)]);
}

#[tokio::test]
async fn a_slow_database_is_given_time_and_asked_for_less() {
    let world = World::start(&ACCOUNTS).await;
    let (whole, calm) = world.read().await;
    let fault = json!({"path": QUERY, "skip": 1, "times": 7, "code": "QUERY_TIMEOUT"});
    world.sim.fault(fault.clone()).await;
    world.sim.forget().await;
    let (store, outcome) = world.read().await;
    world.sim.assert_faults_used(&fault).await;
    assert!(store == whole && failures(&outcome).is_empty());
    // The limit is raised again: contacts are read as before.
    let contacts = |requests: &[Json]| {
        let of = requests
            .iter()
            .filter(|r| r["soql"].as_str().is_some_and(|q| q.contains("FROM Contact")));
        of.filter(|r| r["status"] == 200).count()
    };
    assert_eq!(contacts(&world.sim.requests("query_all").await), 1);
    assert!(outcome.usage.calls > calm.usage.calls);
    // A permanent timeout is the object's error, and the other objects are read.
    world
        .sim
        .fault(json!({"path": QUERY, "contains": "FROM Account", "times": 99, "code": "QUERY_TIMEOUT"}))
        .await;
    let (_, outcome, _) = world.read_into(Store::default()).await;
    assert_eq!(failures(&outcome), [("Account", ErrorKind::QueryTooBig)]);
}

#[tokio::test]
async fn one_refusal_of_the_allowance_is_not_an_hour() {
    let world = World::start(&["--accounts", "100"]).await;
    let (whole, _) = world.read().await;
    let id = whole
        .of("Account")
        .find(|a| !a.deleted)
        .unwrap()
        .external_id
        .clone();
    // The header of the reply shows remaining calls.
    let fault = json!({"path": QUERY, "times": 2, "code": "REQUEST_LIMIT_EXCEEDED"});
    world.sim.fault(fault.clone()).await;
    assert!(world.read().await.0 == whole);
    world.sim.assert_faults_used(&fault).await;
    // Repeated refusals are believed, for some minutes.
    world
        .sim
        .fault(json!({"path": QUERY, "times": 99, "code": "REQUEST_LIMIT_EXCEEDED"}))
        .await;
    let error = world
        .read_into(Store::default())
        .await
        .1
        .end
        .unwrap()
        .unwrap_err();
    assert_eq!(error.what(), ErrorKind::AllowanceExhausted);
    let wait = error.retry_us - now_us();
    assert!((100_000_000..=301_000_000).contains(&wait), "{wait}");
    world.sim.clear("faults").await;
    // Exhausted, reported by a part of a composite; the totals are in the headers of the whole reply.
    world
        .sim
        .control("/limits", json!({"max": 1_000, "used": 999}))
        .await;
    world
        .sim
        .fault(json!({"path": QUERY, "inner": true, "times": 99, "code": "REQUEST_LIMIT_EXCEEDED"}))
        .await;
    let error = world.fetch(&id).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::AllowanceExhausted, "{error}");
    let usage = error.api_usage.unwrap();
    assert_eq!((usage.used, usage.limit), (1_000, 1_000));
    // Salesforce names no end.
    assert_eq!(error.retry_us, 0);
}

#[tokio::test]
async fn the_time_of_reading_is_salesforce_s() {
    let world = World::start(&["--accounts", "100"]).await;
    for (skew, is_used) in [
        (60, true),
        (-60, true),
        (400, false),
        (-400, false),
        (86_400 * 400, false),
    ] {
        world
            .sim
            .control("/clock", json!({"dateSkewSeconds": skew}))
            .await;
        let before = now_us();
        let (store, outcome) = world.read().await;
        assert!(!outcome.read_times.is_empty());
        let id = store
            .of("Account")
            .find(|a| !a.deleted)
            .unwrap()
            .external_id
            .clone();
        let live = world.fetch(&id).await.unwrap().read_time_us;
        for time in outcome.read_times.into_iter().chain([live]) {
            let ahead = time - skew * 1_000_000;
            // Dates are of whole seconds. Those of a clock that is wrong would keep other reads from being stored.
            let is_known = (before - 1_000_000..=now_us()).contains(&ahead);
            assert!(if is_used { is_known } else { time == 0 }, "{skew}: {time}");
        }
    }
}

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
