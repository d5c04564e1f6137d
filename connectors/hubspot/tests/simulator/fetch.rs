//! One company, live.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn a_company_reads_the_same_live_and_in_full() {
    let (sim, connector, connection, selection, store) = stored_world(150).await;
    let id = store.company_with("companies", &RELATED, 2);
    let answer = fetch(&connector, &connection, &selection, &[id], 0)
        .await
        .unwrap();
    let objects: Vec<&str> = answer
        .objects
        .iter()
        .map(|object| object.object.as_str())
        .collect();
    assert_eq!(objects, ["companies", "contacts", "deals", "tickets"]);
    for object in &answer.objects {
        assert!(
            !object.more && object.error.is_none() && object.missing_fields.is_empty(),
            "{object:?}"
        );
        let expected: Vec<&Record> = store
            .live(&object.object)
            .filter(|r| r.external_id == id || r.parents.iter().any(|p| p.external_id == id))
            .collect();
        assert_eq!(object.records.len(), expected.len(), "{}", object.object);
        for record in expected {
            // All companies of the record, not only this one, so that the stored record stays the same.
            assert!(
                object.records.contains(record),
                "{record:?} in {:?}",
                object.records
            );
        }
    }
    assert_eq!(answer.api_usage.unwrap().calls, 7);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64;
    assert!((now - answer.read_time_us).abs() < 60_000_000);
    // Several records at once share requests where possible.
    let two: Vec<&str> = store
        .live("companies")
        .take(2)
        .map(|record| record.external_id.as_str())
        .collect();
    let answer = fetch(&connector, &connection, &selection, &two, 0).await.unwrap();
    assert_eq!(answer.objects[0].records.len(), 2);
    assert!(answer.api_usage.unwrap().calls <= 8);
    assert_only_read(&sim).await;
}

#[tokio::test]
async fn changes_are_seen_at_once_though_search_lags() {
    let (sim, connector, connection, selection, store) = stored_world(100).await;
    sim.control("/settings", json!({"indexLagMs": 60_000})).await;
    let id = store.company_with("companies", &RELATED, 1);
    sim.control(
        "/records/update",
        json!({"object": "companies", "id": id, "fields": {"industry": "RETAIL"}}),
    )
    .await;
    let born = json!({"object": "deals", "fields": {"dealname": "Just now"}, "company": id});
    let born = sim.control("/records/create", born).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = fetch(&connector, &connection, &selection, &[id], 0)
        .await
        .unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&answer.objects[0].records[0].payload).unwrap();
    assert_eq!(payload["industry"], "RETAIL");
    let deal = answer.objects[2]
        .records
        .iter()
        .find(|record| record.external_id == born)
        .unwrap();
    assert_eq!(deal.display_name, "Just now");
}

#[tokio::test]
async fn what_is_gone_is_told() {
    let (sim, connector, connection, selection, store) = stored_world(100).await;
    let ids = sim.ids("companies").await;
    sim.control("/records/delete", json!({"object": "companies", "id": ids[3]}))
        .await;
    sim.control("/records/purge", json!({"object": "companies", "id": ids[4]}))
        .await;
    sim.control(
        "/records/merge",
        json!({"object": "companies", "winner": ids[6], "loser": ids[5]}),
    )
    .await;
    let asked: Vec<&str> = ids[3..7].iter().map(String::as_str).collect();
    let answer = fetch(&connector, &connection, &selection, &asked, 0)
        .await
        .unwrap();
    let told: Vec<_> = answer.objects[0]
        .records
        .iter()
        .map(|r| (r.external_id.as_str(), r.deleted, r.merged_into.as_str()))
        .collect();
    let expected = [
        (asked[0], true, ""),
        (asked[1], true, ""),
        (asked[2], true, asked[3]),
        (asked[3], false, ""),
    ];
    assert_eq!(told, expected);
    // Only a deleted company: it has no related records.
    let answer = fetch(&connector, &connection, &selection, &asked[..1], 0)
        .await
        .unwrap();
    assert!(
        answer.objects[0].records[0].deleted
            && answer.objects[1..]
                .iter()
                .all(|o| o.records.is_empty() && !o.more)
    );
    // An error has no time.
    assert_eq!(answer.read_time_us, 0);

    // A related record that moved to another company is not listed here any more.
    let id = store.company_with("companies", &RELATED, 2);
    let contact = store
        .live("contacts")
        .find(|r| r.parents.iter().any(|p| p.external_id == id))
        .unwrap();
    sim.control(
        "/associations/remove",
        json!({"object": "contacts", "id": contact.external_id, "company": id}),
    )
    .await;
    let answer = fetch(&connector, &connection, &selection, &[id], 0)
        .await
        .unwrap();
    assert!(
        !answer.objects[1].more
            && !answer.objects[1]
                .records
                .iter()
                .any(|r| r.external_id == contact.external_id)
    );
}

#[tokio::test]
async fn more_is_honest() {
    let (sim, connector, connection, selection, store) = stored_world(100).await;
    let id = store.company_with("companies", &RELATED, 1).to_owned();
    for n in 0..130 {
        let contact = json!({"object": "contacts", "fields": {"firstname": format!("N{n}")}, "company": id});
        sim.control("/records/create", contact).await;
    }
    sim.forget().await;
    let answer = fetch(&connector, &connection, &selection, &[&id], 5)
        .await
        .unwrap();
    assert_eq!(
        (answer.objects[1].records.len(), answer.objects[1].more),
        (5, true)
    );
    // More than the record itself lists, and more than one batch.
    let answer = fetch(&connector, &connection, &selection, &[&id], 500)
        .await
        .unwrap();
    assert!(answer.objects[1].records.len() > 130 && !answer.objects[1].more);
    let answer = fetch(&connector, &connection, &selection, &[&id], 120)
        .await
        .unwrap();
    assert_eq!(
        (answer.objects[1].records.len(), answer.objects[1].more),
        (120, true)
    );
}

#[tokio::test]
async fn trouble_is_told_as_far_as_it_goes() {
    let (sim, connector, connection, selection, store) = stored_world(100).await;
    let id = store.company_with("companies", &RELATED, 1);
    // One related object fails, the others are returned.
    let down = json!({"path": "/crm/v3/objects/deals/batch/read", "status": 503, "times": 20});
    sim.fault(down).await;
    let answer = fetch(&connector, &connection, &selection, &[id], 0)
        .await
        .unwrap();
    assert_eq!(
        answer.objects[2].error.as_ref().unwrap().what(),
        ErrorKind::Transient
    );
    assert!(answer.objects[1].error.is_none() && !answer.objects[1].records.is_empty());
    sim.clear("faults").await;

    // A removed field is reported, an empty one is not.
    sim.control("/fields/remove", json!({"object": "companies", "field": "tier"}))
        .await;
    sim.control(
        "/fields/remove",
        json!({"object": "contacts", "field": "languages"}),
    )
    .await;
    let answer = fetch(&connector, &connection, &selection, &[id], 0)
        .await
        .unwrap();
    assert_eq!(answer.objects[0].missing_fields, ["tier"]);
    assert_eq!(answer.objects[1].missing_fields, ["languages"]);
    assert!(answer.objects[2].missing_fields.is_empty());

    // An invisible object does not hide the company.
    let restricted = log_in(&sim, &connector, "restricted@acme.example").await;
    let answer = fetch(&connector, &restricted, &selection, &[id], 0)
        .await
        .unwrap();
    assert!(!answer.objects[0].records[0].deleted && !answer.objects[1].records.is_empty());
    let error = answer.objects[3].error.as_ref().unwrap();
    assert!(
        error.is(ErrorKind::Forbidden) && error.message.contains("tickets"),
        "{error}"
    );

    // For the whole account.
    sim.control("/sessions/expire", json!({})).await;
    let error = fetch(&connector, &connection, &selection, &[id], 0)
        .await
        .unwrap_err();
    assert_eq!(
        (error.what(), error.code.as_str()),
        (ErrorKind::CredentialsExpired, "EXPIRED_AUTHENTICATION")
    );
    let error = fetch(&connector, &connection, &selection, &["../deals/1"], 0)
        .await
        .unwrap_err();
    assert_eq!(error.what(), ErrorKind::InvalidInput);
}
