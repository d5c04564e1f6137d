//! Full reads have the right result, also with faults.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn a_read_finds_the_truth() {
    let (sim, connector, connection, selection) = world(1_030, &[]).await;
    sim.forget().await;
    let (store, outcome) = read_all(&connector, &connection, &selection).await;
    assert_true(&sim, &selection, &store).await;
    assert!(
        outcome.changes.is_empty()
            && outcome.statuses.len() == 4
            && outcome.statuses.iter().all(|s| s.complete)
    );
    let expected: Vec<_> = outcome
        .progress
        .iter()
        .map(|p| (p.object.as_str(), p.expected))
        .collect();
    assert_eq!(
        expected,
        [
            ("companies", 1_030),
            ("contacts", 1_030),
            ("deals", 1_030),
            ("tickets", 515)
        ]
    );
    assert_eq!(
        outcome.batches, outcome.covering,
        "every batch is a complete listing"
    );
    // Companies with a website, or only a domain; contacts with several companies, and without.
    assert!(
        store
            .live("companies")
            .any(|c| c.homepage.starts_with("https://"))
    );
    assert!(store.live("companies").any(|c| c.homepage.ends_with("-site.com")));
    let parents = |n: usize| store.live("contacts").filter(|c| c.parents.len() == n).count();
    assert!(parents(0) > 0 && parents(1) > 500 && parents(2) > 50 && parents(3) > 5);
    // API usage: one list request per hundred records, and one request for links per thousand.
    assert_eq!(sim.requests("list").await.len(), 11 + 11 + 11 + 6);
    assert_eq!(sim.requests("associations").await.len(), 2 + 2 + 1);
    assert_eq!(outcome.usage.calls, 39 + 5 + 4 + 4);
    assert_only_read(&sim).await;
}

#[tokio::test]
async fn what_happens_meanwhile_arrives_with_the_next_read() {
    let (sim, connector, connection, selection) = world(260, &[("checkpoint_pages", "1")]).await;
    let (store, _) = read_all(&connector, &connection, &selection).await;
    let (companies, contacts) = (sim.ids("companies").await, sim.ids("contacts").await);
    let record = |object: &str, id: &str| json!({"object": object, "id": id});
    sim.control("/records/delete", record("companies", &companies[3]))
        .await;
    sim.control("/records/purge", record("companies", &companies[140]))
        .await;
    let ticket = sim.ids("tickets").await.swap_remove(7);
    sim.control("/records/delete", record("tickets", &ticket)).await;
    let merge = |winner: usize, loser: usize, mint: bool| json!({"object": "companies", "winner": companies[winner], "loser": companies[loser], "mint": mint});
    sim.control("/records/merge", merge(60, 20, false)).await;
    let minted = sim.control("/records/merge", merge(80, 81, true)).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    sim.control(
        "/records/update",
        json!({"object": "companies", "id": companies[5], "fields": {"industry": "RETAIL", "tier": null}}),
    )
    .await;
    sim.control("/records/update", json!({"object": "deals", "id": sim.ids("deals").await[5], "moveStamp": false, "fields": {"hs_is_closed": "true"}})).await;
    let born = sim
        .control(
            "/records/create",
            json!({"object": "contacts", "fields": {"firstname": "New"}, "company": companies[9]}),
        )
        .await;
    // A change of a link changes no time stamp.
    let free = contacts
        .iter()
        .find(|id| parents(&store, "contacts", id).is_empty())
        .unwrap();
    let held = contacts
        .iter()
        .find(|id| parents(&store, "contacts", id).len() == 1)
        .unwrap();
    let old = parents(&store, "contacts", held)[0].to_owned();
    sim.control(
        "/associations/add",
        json!({"object": "contacts", "id": free, "company": companies[1]}),
    )
    .await;
    sim.control(
        "/associations/remove",
        json!({"object": "contacts", "id": held, "company": old}),
    )
    .await;
    let mut gone = sim.truth("companies").await.into_iter();
    let back = gone
        .rfind(|row| row["archived"] == true && row["mergedInto"].is_null())
        .unwrap();
    sim.control(
        "/records/undelete",
        record("companies", back["id"].as_str().unwrap()),
    )
    .await;

    let (store, outcome) = read_into(&connector, &connection, &selection, store).await;
    assert_true(&sim, &selection, &store).await;
    // The loser of the other merge came with its winner, on the same page.
    let unlisted = [
        &companies[3],
        &companies[80],
        &companies[81],
        &companies[140],
        &ticket,
    ];
    assert_eq!(store.unlisted, unlisted.into_iter().cloned().collect());
    assert_eq!(
        store.get("companies", &companies[80]).unwrap().merged_into,
        minted
    );
    assert!(store.get("companies", &companies[140]).is_none());
    assert_eq!(
        parents(&store, "contacts", born["id"].as_str().unwrap()),
        [companies[9].as_str()]
    );
    assert_eq!(outcome.batches, outcome.covering);
}

#[tokio::test]
async fn a_list_in_another_order_proves_nothing_and_loses_nothing() {
    let (sim, connector, connection, selection) = world(260, &[("checkpoint_pages", "1")]).await;
    let (store, _) = read_all(&connector, &connection, &selection).await;
    sim.control("/settings", json!({"scrambled": true})).await;
    let companies = sim.ids("companies").await;
    sim.control(
        "/records/delete",
        json!({"object": "companies", "id": companies[3]}),
    )
    .await;
    sim.control(
        "/records/merge",
        json!({"object": "companies", "winner": companies[9], "loser": companies[20]}),
    )
    .await;
    sim.forget().await;
    let (store, outcome) = read_into(&connector, &connection, &selection, store).await;
    // Deleted records were reported by id, from the list of archived records and from the winner.
    assert_true(&sim, &selection, &store).await;
    assert!(
        outcome.covering == 0 && store.unlisted.is_empty(),
        "{} {:?}",
        outcome.covering,
        store.unlisted
    );
    let archived = sim
        .requests("list")
        .await
        .into_iter()
        .filter(|r| r["query"].as_str().unwrap().contains("archived=true"));
    assert!(archived.count() >= 4);
}

#[tokio::test]
async fn a_list_that_is_cut_off_is_no_proof() {
    let (sim, connector, connection, selection) = world(300, &[]).await;
    let companies = &selection[..1];
    let (store, _) = read_all(&connector, &connection, companies).await;
    // The first page claims to be the last one.
    let cut = json!({"path": "/crm/v3/objects/companies", "method": "GET", "status": 200, "body": "{\"results\":[]}"});
    sim.fault(cut).await;
    let (store, outcome) = read_into(&connector, &connection, companies, store).await;
    assert_eq!((store.live("companies").count(), outcome.covering), (300, 0));
}

#[tokio::test]
async fn killed_anywhere_it_goes_on_and_ends_the_same() {
    let (sim, connector, connection, selection) = world(250, &[("checkpoint_pages", "1")]).await;
    let (whole, outcome) = read_all(&connector, &connection, &selection).await;
    assert!(outcome.checkpoints.len() >= 10);
    for (checkpoint, store) in outcome.checkpoints.iter().zip(&outcome.stores) {
        let text = String::from_utf8(checkpoint.clone()).unwrap();
        assert!(!text.contains("http") && text.len() < 1_000);
        // In another process, which has only the checkpoint.
        let other = sim.connector_with(&[("checkpoint_pages", "1")]);
        let reading = Reading::start(&other, &connection, &selection, checkpoint, store.clone()).await;
        let (resumed, outcome, _) = reading.finish().await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
        assert_eq!(resumed, whole, "after {text}");
    }
    // HubSpot no longer knows the cursor: the object is restarted, and no record is lost.
    let text = String::from_utf8(outcome.checkpoints[1].clone()).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
    state["after"] = "no such place".into();
    let reading = Reading::start(
        &connector,
        &connection,
        &selection,
        state.to_string().as_bytes(),
        outcome.stores[1].clone(),
    )
    .await;
    let (resumed, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_eq!(resumed.rows, whole.rows);
}

#[tokio::test]
async fn tokens_that_end_on_the_way_are_renewed() {
    let (sim, connector, connection, selection) = world(250, &[("checkpoint_pages", "1")]).await;
    let mut reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
    for _ in 0..3 {
        assert!(reading.checkpoint().await);
        sim.control("/sessions/expire", json!({})).await;
    }
    let (store, outcome, _) = reading.finish().await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert!(outcome.credentials_asked >= 1);
    assert_true(&sim, &selection, &store).await;

    // The login was revoked during the read: the stream ends with that error.
    let mut reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
    assert!(reading.checkpoint().await);
    sim.control("/grants/revoke", json!({"user": ADMIN})).await;
    let (_, outcome, _) = reading.finish().await;
    let error = outcome.end.unwrap().unwrap_err();
    assert_eq!(error.what(), ErrorKind::CredentialsRevoked, "{error}");
}

#[tokio::test]
async fn trouble_on_the_way_is_survived_or_told() {
    let (sim, connector, connection, selection) = world(250, &[]).await;
    let list = "/crm/v3/objects/contacts";
    for fault in [
        json!({"path": list, "status": 503, "body": "<html>", "times": 2}),
        json!({"path": list, "kind": "cut"}),
        json!({"path": list, "kind": "garbage"}),
        json!({"path": list, "kind": "html"}),
        json!({"path": list, "kind": "lost"}),
        json!({"path": list, "status": 403, "body": "<html>Cloudflare"}),
        json!({"path": list, "status": 477, "body": "{}"}),
        json!({"path": "/crm/v4/associations", "kind": "cut"}),
        json!({"path": "/crm/v4/associations", "status": 207, "body":
            "{\"results\":[],\"errors\":[{\"category\":\"INTERNAL_ERROR\",\"message\":\"x\"}]}"}),
    ] {
        sim.fault(fault.clone()).await;
        let reading = Reading::start(&connector, &connection, &selection, &[], Store::default()).await;
        let (store, outcome, _) = reading.finish().await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{fault}: {:?}", outcome.end);
        assert_true(&sim, &selection, &store).await;
    }
    // One object is refused, the others are read.
    let refused = json!({"status": "error", "message": "no", "category": "MISSING_SCOPES",
        "errors": [{"message": "x", "context": {"requiredGranularScopes": ["crm.objects.deals.sensitive.read"]}}]});
    sim.fault(
        json!({"path": "/crm/v3/objects/deals", "method": "GET", "status": 403, "body": refused.to_string()}),
    )
    .await;
    let (store, outcome) = read_all(&connector, &connection, &selection).await;
    let deals = outcome
        .statuses
        .iter()
        .find(|status| status.object == "deals")
        .unwrap();
    let error = deals.error.as_ref().unwrap();
    assert!(
        error.is(ErrorKind::Forbidden) && error.message.contains("crm.objects.deals.sensitive.read"),
        "{error}"
    );
    assert_eq!(
        (store.live("deals").count(), store.live("tickets").count()),
        (0, 125)
    );
}

#[tokio::test]
async fn fields_that_went_or_changed_are_told() {
    let (sim, connector, connection, selection) = world(30, &[]).await;
    sim.control("/fields/remove", json!({"object": "companies", "field": "tier"}))
        .await;
    sim.control("/fields/add", json!({"object": "companies", "field": "founded_year", "type": "number", "fieldType": "number", "values": "whole"})).await;
    let (store, outcome) = read_all(&connector, &connection, &selection).await;
    let mut changes: Vec<_> = outcome
        .changes
        .iter()
        .map(|c| (c.object.as_str(), c.field.as_str(), c.kind(), c.r#type()))
        .collect();
    changes.sort_by_key(|change| change.1);
    let expected = [
        (
            "companies",
            "founded_year",
            FieldChangeKind::TypeChanged,
            FieldType::Decimal,
        ),
        (
            "companies",
            "tier",
            FieldChangeKind::Missing,
            FieldType::Unspecified,
        ),
    ];
    assert_eq!(changes, expected);
    let fresh = select_all(&list_fields(&connector, &connection).await);
    assert_true(&sim, &fresh, &store).await;
}

#[tokio::test]
async fn a_selection_of_hundreds_fits_and_links_come_in_pages() {
    let sim = Sim::start(150);
    sim.unlimited().await;
    sim.control(
        "/fields/add",
        json!({"object": "companies", "field": "a_rather_long_custom_property_name", "count": 350}),
    )
    .await;
    sim.control(
        "/fields/add",
        json!({"object": "tickets", "field": "another_long_custom_property_name", "count": 250}),
    )
    .await;
    sim.control("/settings", json!({"associationsAPage": 1})).await;
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    let (store, _) = read_all(&connector, &connection, &selection).await;
    assert_true(&sim, &selection, &store).await;
    assert!(sim.requests("batch_read").await.len() >= 3);
    // HubSpot's edge refuses a URL that the connector considered short enough.
    let bold = sim.connector_with(&[("address_budget", "1000000")]);
    let (store, _) = read_all(&bold, &connection, &selection).await;
    assert_true(&sim, &selection, &store).await;
    assert!(
        sim.requests("list")
            .await
            .iter()
            .any(|request| request["status"] == 414)
    );
}
