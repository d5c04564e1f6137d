//! Reading.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Api, RESTRICTED, V, World};

#[tokio::test]
async fn a_keyset_read_finds_the_truth() {
    let world = World::start(2500, 0).await;
    for user in [ADMIN, RESTRICTED] {
        let api = world.as_user(user).await;
        for object in ["Account", "Contact", "Opportunity", "Contract", "Case"] {
            let (status, describe) = api.get(&format!("{V}/sobjects/{object}/describe")).await;
            if user == RESTRICTED && object == "Contract" {
                assert_eq!(status, 404);
                assert_eq!(
                    api.try_query("query", "SELECT Id FROM Contract").await.1[0]["errorCode"],
                    "INVALID_TYPE"
                );
                continue;
            }
            let names: Vec<&str> = describe["fields"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["name"].as_str().unwrap())
                .collect();
            let read = api.read(object, &names.join(",")).await;
            let truth = format!(
                "{}/truth?object={object}&user={user}&form=wire",
                world.sim.control
            );
            let truth = world.http.get(truth).send().await.unwrap().text().await.unwrap();
            let mut lines = 0;
            for (mut record, line) in read.into_iter().zip(truth.lines()) {
                record.as_object_mut().unwrap().remove("attributes");
                assert_eq!(record, serde_json::from_str::<Value>(line).unwrap());
                lines += 1;
            }
            let expected = if matches!(object, "Contract" | "Case") {
                1250
            } else {
                2500
            };
            assert_eq!((lines, truth.lines().count()), (expected, expected), "{object}");
        }
    }
}

#[tokio::test]
async fn long_results_come_in_pages_and_cursors_end() {
    let world = World::start(700, 2500).await;
    let api = world.as_user(ADMIN).await;
    let page = world
        .http
        .get(format!("{}{V}/query?q=SELECT+Id+FROM+Account", world.sim.http))
        .bearer_auth(&api.token)
        .header("Sforce-Query-Options", "batchSize=200");
    let first: Value = page
        .try_clone()
        .unwrap()
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (
            first["totalSize"].as_u64(),
            first["records"].as_array().unwrap().len()
        ),
        (Some(700), 200)
    );
    let next = first["nextRecordsUrl"].as_str().unwrap();
    assert!(next.ends_with("-200"));
    assert_eq!(api.get(next).await.0, 200);
    // Ten more, and the first is dropped; other users could not see it.
    assert_eq!(
        world.as_user(RESTRICTED).await.get(next).await.1[0]["errorCode"],
        "INVALID_QUERY_LOCATOR"
    );
    for _ in 0..10 {
        page.try_clone().unwrap().send().await.unwrap();
    }
    assert_eq!(api.get(next).await.1[0]["errorCode"], "INVALID_QUERY_LOCATOR");

    let with_children = api
        .query("SELECT Id, (SELECT Id FROM Contacts) FROM Account LIMIT 2")
        .await;
    let contacts = &with_children["records"][0]["Contacts"];
    assert_eq!(
        (
            contacts["done"].clone(),
            contacts["records"].as_array().unwrap().len()
        ),
        (json!(false), 2000)
    );
    let rest = api.get(contacts["nextRecordsUrl"].as_str().unwrap()).await.1;
    assert_eq!(
        rest["records"].as_array().unwrap().len() as u64 + 2000,
        contacts["totalSize"].as_u64().unwrap()
    );
    // Child rows count towards the page.
    assert_eq!(
        (
            with_children["done"].clone(),
            with_children["records"].as_array().unwrap().len()
        ),
        (json!(false), 1)
    );
}

/// Malformed queries: the error's code and a part of its message.
const REFUSALS: &[(&str, &str, &str)] = &[
    (
        "SELECT Id FROM Account WHERE Description = 'x'",
        "INVALID_FIELD",
        "field 'Description' can not be filtered in a query call",
    ),
    (
        "SELECT Id FROM Account ORDER BY BillingAddress",
        "INVALID_FIELD",
        "field 'BillingAddress' can not be sorted in a query call",
    ),
    (
        "SELECT Id FROM Account WHERE CreatedDate > '2020-01-01'",
        "INVALID_FIELD",
        "value of filter criterion for field 'CreatedDate' must be of type dateTime and should not be enclosed in quotes",
    ),
    (
        "SELECT Id FROM Account WHERE Renewal_Date__c = 2024-01-01T00:00:00Z",
        "INVALID_FIELD",
        "must be of type date and should not be enclosed in quotes",
    ),
    (
        "SELECT Id FROM Account WHERE Id = '123'",
        "INVALID_QUERY_FILTER_OPERATOR",
        "invalid ID field: 123",
    ),
    (
        "SELECT Id FROM Xyzzy",
        "INVALID_TYPE",
        "sObject type 'Xyzzy' is not supported",
    ),
    (
        "SELECT Owner.Email2 FROM Account",
        "INVALID_FIELD",
        "No such column 'Email2' on entity 'User'",
    ),
    (
        "SELECT Owner.Department FROM Case",
        "INVALID_FIELD",
        "No such column 'Department' on entity 'Name'",
    ),
    (
        "SELECT Nobody.Name FROM Account",
        "INVALID_FIELD",
        "Didn't understand relationship 'Nobody' in field path",
    ),
    (
        "SELECT Id, (SELECT Id FROM Nothings) FROM Account",
        "INVALID_TYPE",
        "Didn't understand relationship 'Nothings' in FROM part",
    ),
    (
        "SELECT FROM Account",
        "MALFORMED_QUERY",
        "unexpected token: 'FROM'",
    ),
    (
        "SELECT FIELDS(ALL) FROM Account",
        "MALFORMED_QUERY",
        "LIMIT of at most 200",
    ),
    (
        "SELECT Id FROM Account LIMIT 1 OFFSET 2001",
        "NUMBER_OUTSIDE_VALID_RANGE",
        "Maximum SOQL offset allowed is 2000",
    ),
];

#[tokio::test]
async fn queries_mean_what_they_mean_in_salesforce() {
    let world = World::start(3000, 0).await;
    let api = world.as_user(ADMIN).await;
    conditions_count(&api).await;
    let id = names_are_in_any_case(&api).await;
    ids_differ_by_case(&api, &id).await;
    deleted_rows_are_read(&api).await;
    groups_and_order(&api).await;
    for (soql, code, message) in REFUSALS {
        let (status, body) = api.try_query("query", soql).await;
        assert_eq!(
            (status, &body[0]["errorCode"]),
            (400, &json!(code)),
            "{soql}: {body}"
        );
        assert!(
            body[0]["message"].as_str().unwrap().contains(message),
            "{soql}: {body}"
        );
    }
}

async fn conditions_count(api: &Api<'_>) {
    let all = api.count("SELECT COUNT() FROM Account").await;
    assert_eq!(all, 3000);
    let tech = api
        .count("SELECT COUNT() FROM Account WHERE industry = 'TECHNOLOGY'")
        .await;
    let not_tech = api
        .count("SELECT COUNT() FROM Account WHERE Industry != 'technology'")
        .await;
    let null = api
        .count("SELECT COUNT() FROM Account WHERE Industry = null")
        .await;
    assert!(tech > 0 && null > 0);
    assert_eq!(tech + not_tech, all, "everything that is not it, null included");
}

/// Answers the id of a record.
async fn names_are_in_any_case(api: &Api<'_>) -> String {
    let page = api.query("SELECT id, industry, Owner.name, toLabel(Segment__c) FROM account WHERE Segment__c = 'mid' LIMIT 1").await;
    let record = page["records"][0].as_object().unwrap();
    assert_eq!(record["Segment__c"], "Mid-Market");
    assert!(
        record.contains_key("Id") && record.contains_key("Industry") && record["Owner"]["Name"].is_string()
    );
    record["Id"].as_str().unwrap().to_owned()
}

/// Ids of 15 characters; ids that differ only in case are different rows.
async fn ids_differ_by_case(api: &Api<'_>, id: &str) {
    assert_eq!(
        api.count(&format!("SELECT COUNT() FROM Account WHERE Id = '{}'", &id[..15]))
            .await,
        1
    );
    let upper = api
        .count("SELECT COUNT() FROM Account WHERE Id IN ('001Hs00002pxKmA','001Hs00002pxKma')")
        .await;
    assert_eq!(upper, 2);
}

async fn deleted_rows_are_read(api: &Api<'_>) {
    let deleted = api
        .try_query(
            "queryAll",
            "SELECT Id, MasterRecordId FROM Account WHERE IsDeleted = true",
        )
        .await
        .1;
    assert!(deleted["totalSize"].as_u64().unwrap() > 20);
}

async fn groups_and_order(api: &Api<'_>) {
    let groups = api
        .query("SELECT Industry, COUNT(Id) n, MAX(AnnualRevenue) FROM Account GROUP BY Industry")
        .await;
    let sum: u64 = groups["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["n"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, api.count("SELECT COUNT() FROM Account").await);
    assert_eq!(groups["records"][0]["attributes"]["type"], "AggregateResult");

    let top = api
        .query("SELECT Name, AnnualRevenue FROM Account ORDER BY AnnualRevenue DESC NULLS LAST, Name LIMIT 3")
        .await;
    assert_eq!(top["records"][0]["AnnualRevenue"], 1e10);
}

#[tokio::test]
async fn a_composite_is_one_call_with_five_queries_at_most() {
    let world = World::start(50, 0).await;
    let api = world.as_user(RESTRICTED).await;
    let id = api.query("SELECT Id FROM Account LIMIT 1").await["records"][0]["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    let sub =
        |name: &str, url: String| json!({ "method": "GET", "referenceId": name, "url": format!("{V}{url}") });
    let query = |name: &str, object: &str| {
        sub(
            name,
            format!("/query?q=SELECT+Id+FROM+{object}+WHERE+AccountId='@{{account.Id}}'"),
        )
    };
    let mut subs = vec![
        sub(
            "account",
            format!("/sobjects/Account/{id}?fields=Name,Owner.Name"),
        ),
        query("contacts", "Contact"),
        query("opportunities", "Opportunity"),
        query("contracts", "Contract"),
        query("cases", "Case"),
    ];
    let before = world.seen("").await["orgs"][0]["apiUsed"].as_u64().unwrap();
    let send = async |subs: &Vec<Value>, all: bool| {
        let body = json!({ "allOrNone": all, "compositeRequest": subs });
        api.send(Method::POST, &format!("{V}/composite"), Some(body))
            .await
    };
    let body: Value = send(&subs, false).await.json().await.unwrap();
    let statuses: Vec<u64> = body["compositeResponse"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["httpStatusCode"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 200, 200, 400, 200], "{body}");
    assert_eq!(
        body["compositeResponse"][3]["body"][0]["errorCode"],
        "INVALID_TYPE"
    );
    assert_eq!(
        world.seen("").await["orgs"][0]["apiUsed"].as_u64().unwrap(),
        before + 1
    );
    let halted: Value = send(&subs, true).await.json().await.unwrap();
    assert_eq!(
        halted["compositeResponse"][0]["body"][0]["errorCode"],
        "PROCESSING_HALTED"
    );

    subs.push(query("more", "Contact"));
    assert_eq!(send(&subs, false).await.status(), 200, "five queries");
    subs.push(query("evenmore", "Contact"));
    assert_eq!(send(&subs, false).await.status(), 400, "six queries");
    let journal = world.seen("/requests").await;
    assert_eq!(journal["counts"]["composite"], 4);
    assert!(journal["counts"]["inner:query"].as_u64().unwrap() > 10);
}
