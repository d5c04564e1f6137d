//! Which replies are evidence that a record was deleted: only complete replies of HubSpot itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

/// An otherwise complete reply with errors for these records.
fn failed(category: &str, ids: &[&str]) -> String {
    json!({"status": "COMPLETE", "results": [], "numErrors": 1, "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:00Z",
        "errors": [{"status": "error", "category": category, "message": "You have reached your secondly limit.", "context": {"ids": ids}}]})
    .to_string()
}

#[tokio::test]
async fn a_batch_that_failed_at_a_record_does_not_say_that_it_is_gone() {
    let (sim, connector, connection, selection, store) = stored_world(120).await;
    let id = store.company_with("companies", &RELATED, 1).to_owned();
    let contacts = store.children("contacts", &id);
    let ids: Vec<&str> = contacts
        .iter()
        .map(|contact| contact.external_id.as_str())
        .collect();
    let path = "/crm/v3/objects/contacts/batch/read";
    for category in ["RATE_LIMITS", "INTERNAL_ERROR", "VALIDATION_ERROR"] {
        // Once: the records are requested again, and all are returned.
        sim.fault(json!({"path": path, "status": 207, "body": failed(category, &ids)}))
            .await;
        let answer = fetch(&connector, &connection, &selection, &[&id], 0)
            .await
            .unwrap();
        let told = &answer.objects[1];
        assert!(told.error.is_none() && !told.more, "{category}: {told:?}");
        assert_eq!(told.records.iter().collect::<Vec<_>>(), contacts, "{category}");
        // Repeatedly: the object is not reported as read, the others are.
        sim.fault(json!({"path": path, "status": 207, "body": failed(category, &ids), "times": 100}))
            .await;
        let answer = fetch(&connector, &connection, &selection, &[&id], 0)
            .await
            .unwrap();
        let told = &answer.objects[1];
        let error = told.error.as_ref().expect("an error");
        assert!(
            told.records.is_empty() && error.what() == ErrorKind::Transient,
            "{told:?}"
        );
        assert!(error.message.contains(category), "{error}");
        assert_eq!(
            answer.objects[2].records.iter().collect::<Vec<_>>(),
            store.children("deals", &id)
        );
        sim.clear("faults").await;
    }
    // Reported by HubSpot itself: this record is deleted.
    sim.fault(json!({"path": path, "status": 207, "body": failed("OBJECT_NOT_FOUND", &ids)}))
        .await;
    let answer = fetch(&connector, &connection, &selection, &[&id], 0)
        .await
        .unwrap();
    assert!(answer.objects[1].error.is_none() && answer.objects[1].records.is_empty());
    // More errors counted than listed, or no status: the records are requested again.
    for short in [
        json!({"status": "COMPLETE", "results": [], "numErrors": 1}),
        json!({"results": []}),
    ] {
        sim.fault(json!({"path": path, "status": 207, "body": short.to_string()}))
            .await;
        let answer = fetch(&connector, &connection, &selection, &[&id], 0)
            .await
            .unwrap();
        assert_eq!(
            answer.objects[1].records.iter().collect::<Vec<_>>(),
            contacts,
            "{short}"
        );
    }
    // An existing record that the reply omits: nothing is concluded about it.
    let silent = json!({"status": "COMPLETE", "results": []}).to_string();
    sim.fault(json!({"path": path, "status": 200, "body": silent, "times": 100}))
        .await;
    let answer = fetch(&connector, &connection, &selection, &[&id], 0)
        .await
        .unwrap();
    assert!(answer.objects[1].error.is_some(), "{:?}", answer.objects[1]);
    assert_only_read(&sim).await;
}

#[tokio::test]
async fn a_full_read_in_batches_removes_no_company_that_is_alive() {
    let sim = Sim::start(150);
    sim.unlimited().await;
    let many = json!({"object": "companies", "field": "a_rather_long_custom_property_name", "count": 350});
    sim.control("/fields/add", many).await;
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    let companies = &selection[..1];
    let (store, _) = read_all(&connector, &connection, companies).await;
    let ids: Vec<&str> = store
        .live("companies")
        .map(|company| company.external_id.as_str())
        .collect();
    let path = "/crm/v3/objects/companies/batch/read";
    sim.fault(json!({"path": path, "status": 207, "body": failed("RATE_LIMITS", &ids[..5])}))
        .await;
    let (again, _) = read_into(&connector, &connection, companies, store.clone()).await;
    assert_eq!(again, store);
    assert_true(&sim, companies, &again).await;
    // Permanently: the read ends with an error, and stored rows are kept.
    sim.fault(json!({"path": path, "status": 207, "body": failed("RATE_LIMITS", &ids[..5]), "times": 1_000}))
        .await;
    let reading = Reading::start(&connector, &connection, companies, &[], store.clone()).await;
    let (again, outcome, _) = reading.finish().await;
    let error = outcome.end.unwrap().unwrap_err();
    assert_eq!(error.what(), ErrorKind::Transient, "{error}");
    assert_eq!(again, store);
}

#[tokio::test]
async fn links_that_were_not_told_are_not_taken_for_none() {
    let (sim, connector, connection, selection, store) = stored_world(120).await;
    let null = |id: &str| {
        json!({"status": "COMPLETE", "results": [{"from": {"id": id}, "to": [{"toObjectId": null, "associationTypes": []}]}]}).to_string()
    };
    let refused = json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [{"status": "error", "category": "RATE_LIMITS",
        "message": "x", "context": {}}]})
    .to_string();
    let first = store.live("contacts").next().unwrap().external_id.clone();
    let path = "/crm/v4/associations/contacts/companies/batch/read";
    for body in [
        null(&first),
        refused,
        json!({"status": "PENDING", "results": []}).to_string(),
        // No status, more errors counted than listed, and no list of links.
        json!({"results": []}).to_string(),
        json!({"status": "COMPLETE", "results": [], "numErrors": 2}).to_string(),
        json!({"status": "COMPLETE", "results": [{"from": {"id": first}}]}).to_string(),
    ] {
        // Once: requested again, with the right result.
        sim.fault(json!({"path": path, "status": 207, "body": body}))
            .await;
        let (again, _) = read_into(&connector, &connection, &selection, store.clone()).await;
        assert_eq!(again, store, "{body}");
        // Permanently: no contact loses its company.
        sim.fault(json!({"path": path, "status": 207, "body": body, "times": 1_000}))
            .await;
        let reading = Reading::start(&connector, &connection, &selection, &[], store.clone()).await;
        let (again, outcome, _) = reading.finish().await;
        assert!(outcome.end.unwrap().is_err(), "{body}");
        assert!(
            outcome
                .statuses
                .iter()
                .all(|status| status.object != "contacts" || !status.complete)
        );
        assert_eq!(again, store, "{body}");
        sim.clear("faults").await;
    }
    // The same for a company's record with links: the missing ones are queried.
    let id = store.company_with("companies", &RELATED, 1).to_owned();
    let path = format!("/crm/v3/objects/companies/{id}");
    let record = json!({"id": id, "properties": {"name": "A", "domain": null}, "createdAt": "2020-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z", "archived": false, "url": "https://app.hubspot.com/contacts/1/company/2",
        "associations": {"contacts": {"results": [{"id": null, "type": "company_to_contact"}]}}});
    sim.fault(json!({"path": path, "status": 200, "body": record.to_string()}))
        .await;
    let answer = fetch(&connector, &connection, &selection, &[&id], 0)
        .await
        .unwrap();
    let told: Vec<&Record> = answer.objects[1].records.iter().collect();
    assert_eq!(told, store.children("contacts", &id));
}

#[tokio::test]
async fn an_account_that_refuses_many_records_at_once_is_asked_for_fewer() {
    let sim = Sim::start(200);
    sim.unlimited().await;
    sim.control("/settings", json!({"associationInputs": 100})).await;
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    let (store, _) = read_all(&connector, &connection, &selection).await;
    assert_true(&sim, &selection, &store).await;
    // It is refused once, not for every page.
    let refused =
        |requests: &[serde_json::Value]| requests.iter().filter(|request| request["status"] == 400).count();
    assert!(refused(&sim.requests("").await) <= 1);
}

#[tokio::test]
async fn a_gateways_page_proves_nothing() {
    let (sim, connector, connection, selection, store) = stored_world(250).await;
    let page = "<html><head><title>Not here</title></head></html>";
    for status in [400, 401, 403, 404, 405, 410, 415, 502] {
        for path in [
            "/crm/v3/objects/companies",
            "/crm/v3/properties/contacts",
            "/crm/v3/objects/deals/search",
            "/crm/v4/associations/contacts/companies/batch/read",
        ] {
            // In the middle of the list.
            let skip = u32::from(path.ends_with("companies"));
            sim.fault(json!({"path": path, "kind": "html", "status": status, "body": page, "skip": skip}))
                .await;
        }
        let (again, outcome) = read_into(&connector, &connection, &selection, store.clone()).await;
        assert_eq!(again, store, "{status}");
        assert!(
            outcome.statuses.iter().all(|status| status.complete),
            "{status}: {:?}",
            outcome.statuses
        );
        sim.clear("faults").await;
    }
    // Permanently: an error, or an object that is not complete, and stored rows are kept.
    for status in [400, 403, 404, 405, 415] {
        let page = json!({"path": "/crm/v3/objects/companies", "kind": "html", "status": status, "body": page, "times": 1_000, "skip": 1});
        sim.fault(page).await;
        let reading = Reading::start(&connector, &connection, &selection, &[], store.clone()).await;
        let (again, outcome, _) = reading.finish().await;
        assert!(outcome.end.unwrap().is_err(), "{status}");
        assert!(
            outcome
                .statuses
                .iter()
                .all(|status| status.object != "companies" || !status.complete)
        );
        assert_eq!(again, store, "{status}");
        sim.clear("faults").await;
    }
    // When opened live, the company is not reported as deleted.
    let id = store.company_with("companies", &RELATED, 1).to_owned();
    sim.fault(json!({"path": "/crm/v3/objects/companies/", "kind": "html", "status": 404, "body": page, "times": 100})).await;
    let error = fetch(&connector, &connection, &selection, &[&id], 0)
        .await
        .unwrap_err();
    assert_eq!(error.what(), ErrorKind::Transient, "{error}");
    sim.clear("faults").await;
    for gateway in [
        json!({"message": "no Route matched with those values"}),
        json!({"status": "error"}),
        json!({"status": "error", "message": "Not Found"}),
    ] {
        let body = gateway.to_string();
        sim.fault(json!({"path": "/crm/v3/objects/companies/", "status": 404, "body": body, "times": 100}))
            .await;
        let error = fetch(&connector, &connection, &selection, &[&id], 0)
            .await
            .unwrap_err();
        assert_eq!(error.what(), ErrorKind::Transient, "{error}");
        sim.clear("faults").await;
    }
}

#[tokio::test]
async fn a_login_that_sees_nothing_any_more_removes_nothing() {
    let (sim, connector, connection, selection, store) = stored_world(120).await;
    let refused = json!({"status": "error", "message": "This app hasn't been granted all required scopes", "correlationId": "x",
        "category": "MISSING_SCOPES"});
    let path = json!({"path": "/crm/", "status": 403, "body": refused.to_string(), "times": 1_000});
    sim.fault(path).await;
    let (again, outcome) = read_into(&connector, &connection, &selection, store.clone()).await;
    assert_eq!(again, store);
    assert_eq!((outcome.batches, outcome.statuses.len()), (0, 4));
    assert!(
        outcome
            .statuses
            .iter()
            .all(|status| !status.complete && status.error.is_some())
    );
    sim.clear("faults").await;
    // Companies alone.
    let path = json!({"path": "/crm/v3/objects/companies", "status": 403, "body": refused.to_string(), "times": 1_000});
    sim.fault(path).await;
    let (again, outcome) = read_into(&connector, &connection, &selection, store.clone()).await;
    assert_eq!(again, store);
    let of = |object: &str| {
        outcome
            .statuses
            .iter()
            .find(|status| status.object == object)
            .unwrap()
    };
    assert!(
        !of("companies").complete && of("deals").complete,
        "{:?}",
        outcome.statuses
    );
}

#[tokio::test]
async fn the_candidates_of_a_homepage_come_in_order_and_unchanged() {
    let (sim, connector, connection, selection, store) = stored_world(60).await;
    let ids: Vec<String> = store
        .live("companies")
        .map(|company| company.external_id.clone())
        .collect();
    let page = "https://www.facebook.com/social-one";
    for (id, domain, website, right) in [
        (&ids[0], "social-one.com", page, vec!["social-one.com", page]),
        (
            &ids[1],
            page,
            "https://social-one.com",
            vec![page, "https://social-one.com"],
        ),
        (&ids[2], "social-one.com", "n/a", vec!["social-one.com", "n/a"]),
        (&ids[3], "", " ", vec![" "]),
        (&ids[4], "", "", vec![]),
    ] {
        let fields = json!({"domain": domain, "website": website});
        sim.control(
            "/records/update",
            json!({"object": "companies", "id": id, "fields": fields}),
        )
        .await;
        let answer = fetch(&connector, &connection, &selection, &[id], 0)
            .await
            .unwrap();
        let record = &answer.objects[0].records[0];
        assert_eq!(record.homepages, right);
        assert_eq!(record.homepage, right.first().copied().unwrap_or_default());
    }
}

#[tokio::test]
async fn what_other_versions_of_the_api_write_is_read() {
    let (sim, connector, connection, selection, store) = stored_world(60).await;
    let id = store.company_with("companies", &RELATED, 1).to_owned();
    // A lone surrogate of a truncated text; a blank number; a time with a zero fraction; a numeric id.
    let record = format!(
        r#"{{"id":"{id}","properties":{{"name":"Half \ud83d","domain":"half.com","annualrevenue":" ","founded_year":"1999"}},
            "createdAt":"2020-01-01T00:00:00Z","updatedAt":"1633996800000.0","archived":false,"url":"https://app.hubspot.com/x"}}"#
    );
    sim.fault(json!({"path": format!("/crm/v3/objects/companies/{id}"), "status": 200, "body": record}))
        .await;
    let answer = fetch(&connector, &connection, &selection, &[&id], 0)
        .await
        .unwrap();
    let told = &answer.objects[0].records[0];
    assert_eq!(told.display_name, "Half \u{fffd}");
    assert_eq!(told.modified_us, 1_633_996_800_000_000);
    let payload: serde_json::Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!(
        (&payload["name"], payload.get("annualrevenue")),
        (&json!("Half \u{fffd}"), None)
    );
}

#[tokio::test]
async fn each_batch_says_when_hubspot_answered() {
    let (sim, connector, connection, selection, _) = stored_world(60).await;
    // Dates are of whole seconds. A clock that is minutes off says nothing.
    for (seconds_ago, is_known) in [(60, true), (400, false)] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = now.as_secs() - seconds_ago;
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at));
        let headers = json!([["date", date]]);
        sim.fault(json!({
            "path": "/crm/v3/objects/companies", "method": "GET", "kind": "delay", "headers": headers,
        }))
        .await;
        let request = ReadRequest {
            connection: Some(connection.clone()),
            selection: selection.clone(),
            mode: ReadMode::Full.into(),
            checkpoint: Vec::new(),
            ..ReadRequest::default()
        };
        let stream = connector.read(request).await.unwrap();
        let batch = loop {
            match connector.next(stream, 0).await.unwrap().event.unwrap() {
                stream_event::Event::Batch(batch) => break batch,
                stream_event::Event::End(_) | stream_event::Event::Error(_) => panic!("no batch"),
                _ => {}
            }
        };
        let told = if is_known { at as i64 * 1_000_000 } else { 0 };
        assert_eq!(batch.read_time_us, told);
        sim.clear("faults").await;
    }
}
