//! The life of rows: recycle bin, merges, late commits, formulas, sharing, the clock.

use serde_json::{Value, json};

use crate::world::{ADMIN, Api, RESTRICTED, V, World};

const NOON: &str = "2026-06-01T12:00:00Z";

impl Api<'_> {
    /// The ids that a query finds.
    async fn ids(&self, kind: &str, soql: &str) -> Vec<String> {
        let (status, body) = self.try_query(kind, soql).await;
        assert_eq!(status, 200, "{soql}: {body}");
        let records = body["records"].as_array().unwrap();
        records
            .iter()
            .map(|row| row["Id"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn cell(&self, id: &str, object: &str, field: &str) -> Value {
        let soql = format!("SELECT {field} FROM {object} WHERE Id = '{id}'");
        self.try_query("queryAll", &soql).await.1["records"][0][field].clone()
    }
}

#[tokio::test]
async fn a_late_commit_shows_rows_older_than_the_newest() {
    let world = World::start(100, 0).await;
    let api = world.as_user(ADMIN).await;
    let since = format!("SELECT Id FROM Account WHERE SystemModstamp >= {NOON} ORDER BY SystemModstamp, Id");
    let rows = api.ids("query", "SELECT Id FROM Account LIMIT 3").await;
    let act = async |route: &str, body: Value| world.control(route, body).await;
    act("/clock", json!({ "at": NOON })).await;
    let slow = json!({ "id": rows[0], "fields": { "Name": "Slow" }, "transaction": "t" });
    act("/records/update", slow).await;
    let created = json!({ "object": "Account", "fields": { "Name": "New" }, "transaction": "t" });
    let new = act("/records/create", created).await["id"].clone();
    act("/records/delete", json!({ "id": rows[1], "transaction": "t" })).await;
    act("/clock", json!({ "advanceSeconds": 300 })).await;
    act("/records/touch", json!({ "id": rows[2] })).await;
    assert_eq!(
        api.ids("queryAll", &since).await,
        [rows[2].clone()],
        "only the fast one"
    );
    assert_eq!(world.seen("/transactions").await["open"]["t"], 3);
    act("/transactions/commit", json!({ "transaction": "t" })).await;
    let new = new.as_str().unwrap();
    let all = api.ids("queryAll", &since).await;
    assert!(all[0] == rows[0] && all.contains(&new.to_owned()) && all.last() == Some(&rows[2]));
    for id in [&rows[0], &rows[1], new] {
        let stamp = api.cell(id, "Account", "SystemModstamp").await;
        assert_eq!(stamp, "2026-06-01T12:00:00.000+0000");
    }
    assert_eq!(
        api.cell(new, "Account", "CreatedDate").await,
        "2026-06-01T12:00:00.000+0000"
    );
    // The time of creation stays.
    act("/records/touch", json!({ "id": new })).await;
    assert_eq!(
        api.cell(new, "Account", "CreatedDate").await,
        "2026-06-01T12:00:00.000+0000"
    );
    let lost = json!({ "id": rows[0], "fields": { "Name": "Lost" }, "transaction": "u" });
    act("/records/update", lost).await;
    act("/transactions/rollback", json!({ "transaction": "u" })).await;
    assert_eq!(api.cell(&rows[0], "Account", "Name").await, "Slow");
}

#[tokio::test]
async fn the_recycle_bin_loses_rows_after_days_or_at_once() {
    let world = World::start(300, 0).await;
    let api = world.as_user(ADMIN).await;
    let act = async |route: &str, body: Value| world.control(route, body).await;
    let gone = async || {
        api.try_query("queryAll", "SELECT COUNT() FROM Account WHERE IsDeleted = true")
            .await
            .1["totalSize"]
            .as_u64()
            .unwrap()
    };
    let rows = api.ids("query", "SELECT Id FROM Account LIMIT 4").await;
    let old = gone().await;
    act("/clock", json!({ "at": NOON })).await;
    assert_eq!(
        act("/bin", json!({ "object": "Account", "olderThanDays": 15 })).await["purged"],
        old
    );
    act("/records/delete", json!({ "id": rows[0] })).await;
    act("/bin", json!({ "expireDays": 15 })).await;
    act("/clock", json!({ "advanceSeconds": 10 * 86_400 })).await;
    act("/records/delete", json!({ "id": rows[1] })).await;
    assert_eq!(gone().await, 2);
    act("/clock", json!({ "advanceSeconds": 6 * 86_400 })).await;
    assert_eq!(gone().await, 1, "the first one after sixteen days");
    act("/records/purge", json!({ "id": rows[2] })).await;
    act("/bin", json!({ "empty": true })).await;
    assert_eq!(gone().await, 0);
    // The log of deletions still has those of fifteen days.
    let window = "start=2026-06-05T00:00:00Z&end=2026-06-30T00:00:00Z";
    let (_, log) = api.get(&format!("{V}/sobjects/Account/deleted?{window}")).await;
    let ids: Vec<&Value> = log["deletedRecords"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["id"])
        .collect();
    assert_eq!(ids, [&json!(rows[1]), &json!(rows[2])]);
    let restored = world
        .http
        .post(format!("{}/records/undelete", world.sim.control))
        .json(&json!({ "id": rows[1] }))
        .send()
        .await
        .unwrap();
    assert_eq!(restored.status(), 400, "it is gone");
}

#[tokio::test]
async fn merges_chain_and_children_keep_their_stamps_if_asked() {
    let world = World::start(200, 0).await;
    let api = world.as_user(ADMIN).await;
    let act = async |route: &str, body: Value| world.control(route, body).await;
    let rows = api
        .ids(
            "query",
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact) LIMIT 3",
        )
        .await;
    let children = format!("SELECT Id FROM Contact WHERE AccountId = '{}'", rows[0]);
    let children = api.ids("query", &children).await;
    assert!(!children.is_empty());
    let before = api.cell(&children[0], "Contact", "SystemModstamp").await;
    let merge = json!({ "winner": rows[1], "loser": rows[0], "childStamps": false });
    act("/records/merge", merge).await;
    assert_eq!(
        api.cell(&children[0], "Contact", "AccountId").await,
        json!(rows[1])
    );
    assert_eq!(api.cell(&children[0], "Contact", "SystemModstamp").await, before);
    act("/records/merge", json!({ "winner": rows[2], "loser": rows[1] })).await;
    assert_eq!(
        api.cell(&children[0], "Contact", "AccountId").await,
        json!(rows[2])
    );
    assert_ne!(api.cell(&children[0], "Contact", "SystemModstamp").await, before);
    assert_eq!(
        api.cell(&rows[0], "Account", "MasterRecordId").await,
        json!(rows[1])
    );
    // A restored loser is an ordinary row.
    act("/records/undelete", json!({ "id": rows[0] })).await;
    assert_eq!(api.cell(&rows[0], "Account", "MasterRecordId").await, Value::Null);
    assert_eq!(api.cell(&rows[0], "Account", "IsDeleted").await, false);
    // A contact that was deleted before its account is not restored with it.
    let own = format!(
        "SELECT Id FROM Contact WHERE AccountId = '{}' ORDER BY Id",
        rows[2]
    );
    let own = api.ids("query", &own).await;
    assert!(own.len() > 1);
    act("/records/delete", json!({ "id": own[0] })).await;
    act("/records/delete", json!({ "id": rows[2], "childStamps": false })).await;
    assert_eq!(api.cell(&own[1], "Contact", "IsDeleted").await, true);
    act("/records/undelete", json!({ "id": rows[2] })).await;
    assert_eq!(api.cell(&own[0], "Contact", "IsDeleted").await, true);
    assert_eq!(api.cell(&own[1], "Contact", "IsDeleted").await, false);
}

#[tokio::test]
async fn formulas_change_in_all_rows_without_a_stamp() {
    let world = World::start(100, 0).await;
    let api = world.as_user(ADMIN).await;
    let read = async || {
        api.query("SELECT Id, SystemModstamp, Revenue_per_Employee__c FROM Account")
            .await["records"]
            .clone()
    };
    let before = read().await;
    let formula = json!({ "object": "Account", "field": "Revenue_per_Employee__c" });
    world.control("/fields/recalculate", formula).await;
    let (after, mut changed) = (read().await, 0);
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!(before["SystemModstamp"], after["SystemModstamp"]);
        changed += usize::from(before["Revenue_per_Employee__c"] != after["Revenue_per_Employee__c"]);
    }
    assert!(changed > 50);
}

#[tokio::test]
async fn rows_go_out_of_a_users_sight_and_come_back() {
    let world = World::start(100, 0).await;
    let (api, other) = (world.as_user(ADMIN).await, world.as_user(RESTRICTED).await);
    let id = api.ids("query", "SELECT Id FROM Account LIMIT 1").await.remove(0);
    let some = json!({ "user": RESTRICTED, "object": "Account", "every": 10, "id": id });
    world.control("/records/unshare", some).await;
    assert_eq!(api.count("SELECT COUNT() FROM Account").await, 100);
    assert_eq!(other.count("SELECT COUNT() FROM Account").await, 90);
    assert_eq!(other.get(&format!("{V}/sobjects/Account/{id}")).await.0, 404);
    let job = other
        .finished("queryAll", "SELECT Id FROM Account WHERE IsDeleted = false")
        .await;
    assert_eq!(job["numberRecordsProcessed"], 90);
    let truth = format!("{}/truth?object=Account&user={RESTRICTED}", world.sim.control);
    let truth = world.http.get(truth).send().await.unwrap().text().await.unwrap();
    assert_eq!(truth.lines().count(), 90);
    world
        .control("/records/share", json!({ "user": RESTRICTED, "id": id }))
        .await;
    assert_eq!(other.count("SELECT COUNT() FROM Account").await, 91);
}

#[tokio::test]
async fn stamps_are_found_by_ranges_as_by_reading_everything() {
    let world = World::start(1_500, 0).await;
    let api = world.as_user(ADMIN).await;
    world
        .control("/clock", json!({ "at": "2024-05-01T00:00:00Z" }))
        .await;
    let some = json!({ "object": "Contact", "every": 7, "fields": { "Title": "x" } });
    world.control("/records/update", some).await;
    let all = api
        .try_query("queryAll", "SELECT Id, SystemModstamp FROM Contact")
        .await
        .1;
    let all = all["records"].as_array().unwrap();
    let stamp = |n: usize| all[n]["SystemModstamp"].as_str().unwrap().replace("+0000", "Z");
    for (from, to) in [(0, 5), (5, 0), (1, 1), (3, 8), (20, 11)] {
        let (from, to) = (stamp(from), stamp(to));
        for (low, high) in [(">=", "<"), (">", "<="), (">=", "<=")] {
            let soql = format!(
                "SELECT Id FROM Contact WHERE SystemModstamp {low} {from} AND SystemModstamp {high} {to}"
            );
            let expected: Vec<&str> = all
                .iter()
                .filter(|row| {
                    let at = row["SystemModstamp"].as_str().unwrap().replace("+0000", "Z");
                    let after = if low == ">" { at > from } else { at >= from };
                    after && if high == "<" { at < to } else { at <= to }
                })
                .map(|row| row["Id"].as_str().unwrap())
                .collect();
            assert_eq!(api.ids("queryAll", &soql).await, expected, "{soql}");
        }
    }
}

#[tokio::test]
async fn the_pages_of_a_query_can_be_read_for_two_days() {
    let world = World::start(2_500, 0).await;
    let api = world.as_user(ADMIN).await;
    let first = api.query("SELECT Id FROM Account").await;
    let next = first["nextRecordsUrl"].as_str().unwrap();
    let later = async |seconds: i64| {
        let advance = json!({ "advanceSeconds": seconds });
        world.control("/clock", advance).await;
        api.get(next).await
    };
    assert_eq!(later(2 * 86_400 - 60).await.0, 200);
    let (status, body) = later(120).await;
    assert_eq!(
        (status, &body[0]["errorCode"]),
        (400, &json!("INVALID_QUERY_LOCATOR"))
    );
}

#[tokio::test]
async fn the_date_header_can_differ_from_the_clock() {
    let world = World::start(10, 0).await;
    let api = world.as_user(ADMIN).await;
    world
        .control("/clock", json!({ "at": NOON, "dateSkewSeconds": -90 }))
        .await;
    let answer = api.send(reqwest::Method::GET, &format!("{V}/limits"), None).await;
    assert_eq!(answer.headers()["date"], "Mon, 01 Jun 2026 11:58:30 GMT");
    world
        .control(
            "/limits",
            json!({ "app": { "name": "tether", "used": 17, "max": 250 } }),
        )
        .await;
    let answer = api.send(reqwest::Method::GET, &format!("{V}/limits"), None).await;
    let usage = answer.headers()["sforce-limit-info"].to_str().unwrap();
    assert!(
        usage.ends_with("; per-app-api-usage=17/250(appName=tether)"),
        "{usage}"
    );
    world
        .control("/answers", json!({ "object": "Account", "count": 7 }))
        .await;
    let (_, counts) = api
        .get(&format!("{V}/limits/recordCount?sObjects=Account,Contact"))
        .await;
    assert_eq!(
        counts["sObjects"],
        json!([{ "count": 7, "name": "Account" }, { "count": 10, "name": "Contact" }])
    );
}

#[tokio::test]
async fn random_changes_are_the_same_for_a_seed() {
    let run = async || {
        let world = World::start(200, 0).await;
        world.control("/clock", json!({ "at": NOON })).await;
        let order = json!({ "seed": 7, "count": 300 });
        let changes = world.control("/records/random", order).await;
        let mut truth = String::new();
        for object in ["Account", "Contact", "Opportunity", "Contract", "Case"] {
            let url = format!("{}/truth?object={object}&deleted=true", world.sim.control);
            truth += &world.http.get(url).send().await.unwrap().text().await.unwrap();
        }
        (changes, truth)
    };
    let (changes, truth) = run().await;
    let mut kinds: Vec<&str> = changes["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 9, "every kind happens: {kinds:?}");
    let again = run().await;
    assert!(again.0 == changes && again.1 == truth);
}

#[tokio::test]
async fn random_changes_of_sight_and_of_open_transactions_are_asked_for() {
    let world = World::start(100, 0).await;
    let api = world.as_user(ADMIN).await;
    let order = async |kind: &str, count: usize| {
        let order = json!({ "seed": 3, "count": count, "objects": ["Account"], "kinds": [kind] });
        world.control("/records/random", order).await["changes"].clone()
    };
    let unshared = order("unshare", 5).await;
    assert_eq!(unshared.as_array().unwrap().len(), 5);
    assert_eq!(api.count("SELECT COUNT() FROM Account").await, 95);
    order("share", 2).await;
    assert_eq!(api.count("SELECT COUNT() FROM Account").await, 97);
    order("slow", 4).await;
    let renamed = "SELECT COUNT() FROM Account WHERE Name LIKE 'Random%'";
    assert_eq!(api.count(renamed).await, 0);
    let commit = json!({ "transaction": "random" });
    assert_eq!(
        world.control("/transactions/commit", commit).await["committed"],
        4
    );
    assert!(api.count(renamed).await > 0);
}
