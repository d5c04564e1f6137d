//! Visible fields and numbers of records.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn the_fields_of_four_objects() {
    let sim = Sim::start(3);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let fields = list_fields(&connector, &connection).await;
    let objects: Vec<_> = fields
        .objects
        .iter()
        .map(|o| (o.object.as_str(), o.visible))
        .collect();
    assert_eq!(
        objects,
        [
            ("companies", true),
            ("contacts", true),
            ("deals", true),
            ("tickets", true)
        ]
    );
    let field = |object: usize, key: &str| {
        let found = fields.objects[object]
            .fields
            .iter()
            .find(|field| field.key == key);
        found.unwrap_or_else(|| panic!("no {key}"))
    };
    for (object, key, kind) in [
        (0, "name", FieldType::Text),
        (0, "website", FieldType::Url),
        (0, "phone", FieldType::Phone),
        (0, "annualrevenue", FieldType::Currency),
        (0, "numberofemployees", FieldType::Decimal),
        (0, "health_score", FieldType::Percent),
        (0, "industry", FieldType::Picklist),
        (0, "sectors", FieldType::MultiPicklist),
        (0, "is_public", FieldType::Boolean),
        (0, "next_review", FieldType::Date),
        (0, "notes_last_contacted", FieldType::Timestamp),
        (0, "hubspot_owner_id", FieldType::Reference),
        (0, "contract_text", FieldType::Html),
        (1, "email", FieldType::Email),
        (3, "content", FieldType::Text),
    ] {
        assert_eq!(field(object, key).r#type(), kind, "{key}");
    }
    assert!(field(0, "about_us").long_text && !field(0, "name").long_text);
    assert!(
        field(0, "weighted_arr").calculated && field(0, "weighted_arr").custom && !field(0, "name").custom
    );
    let industry = field(0, "industry");
    assert_eq!(
        (industry.label.as_str(), industry.native_type.as_str()),
        ("Industry", "enumeration/select")
    );
    let tobacco = industry
        .picklist_values
        .iter()
        .find(|value| value.value == "TOBACCO")
        .unwrap();
    assert!(tobacco.label == "Tobacco" && !tobacco.active);
    // Properties that HubSpot does not display are not offered.
    assert!(
        !fields.objects[0]
            .fields
            .iter()
            .any(|field| field.key == "hs_analytics_source_data_1")
    );
    assert_eq!(
        list_fields(&connector, &connection).await.objects,
        fields.objects,
        "always the same"
    );
    assert!(fields.api_usage.unwrap().calls >= 4);
}

#[tokio::test]
async fn what_is_not_granted_is_out_of_sight() {
    let sim = Sim::start(20);
    sim.unlimited().await;
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "restricted@acme.example").await;
    let fields = list_fields(&connector, &connection).await;
    let visible: Vec<bool> = fields.objects.iter().map(|object| object.visible).collect();
    assert_eq!(visible, [true, true, true, false]);
    let request = CountRecordsRequest {
        connection: Some(connection.clone()),
        objects: Vec::new(),
    };
    let counted: Result<CountRecordsResponse, Error> = connector.count_records(request).await;
    let counts: Vec<_> = counted.unwrap().counts;
    let seen: Vec<_> = counts
        .iter()
        .map(|one| (one.object.as_str(), one.count, one.exact))
        .collect();
    assert_eq!(
        seen,
        [
            ("companies", 20, false),
            ("contacts", 20, false),
            ("deals", 20, false)
        ]
    );

    // A read reports the missing scope, and continues with the other objects.
    let mut selection = select(&fields, &[("companies", &["name"])]);
    selection.push(ObjectSelection {
        object: "tickets".to_owned(),
        fields: Vec::new(),
        ..ObjectSelection::default()
    });
    selection.extend(select(&fields, &[("deals", &["dealname"])]));
    let (store, outcome) = read_all(&connector, &connection, &selection).await;
    assert_eq!(
        (store.live("companies").count(), store.live("deals").count()),
        (20, 20)
    );
    let refused = outcome
        .statuses
        .iter()
        .find(|status| status.object == "tickets")
        .unwrap();
    let error = refused.error.as_ref().unwrap();
    assert_eq!(error.what(), ErrorKind::ObjectGone);
    assert!(
        !refused.complete && error.message.contains("scope tickets"),
        "{error}"
    );
}

#[tokio::test]
async fn limits_are_kept_and_told() {
    let sim = Sim::start(3);
    let connector = sim.connector();
    let logged_in = log_in_with_key(&connector, PRIVATE_APP).await.unwrap();
    let connection = connection(AuthKind::ApiKey, logged_in);
    // One request. Replies to searches do not tell the limits.
    let list = async || {
        let request = ListFieldsRequest {
            connection: Some(connection.clone()),
            objects: vec!["contacts".to_owned()],
        };
        let listed: Result<ListFieldsResponse, Error> = connector.list_fields(request).await;
        listed
    };
    // The connector waits for a full window: two requests pass, the third waits for the next window.
    sim.control("/limits", json!({"burst": 2, "intervalMs": 300}))
        .await;
    for _ in 0..4 {
        assert!(list().await.unwrap().objects[0].visible);
    }
    assert!(
        sim.requests("properties")
            .await
            .iter()
            .any(|request| request["status"] == 429)
    );
    // The daily allowance is reported, and when it is used up the connector does not wait until midnight.
    sim.control("/limits", json!({"burst": 1_000, "daily": 100, "dailyUsed": 40}))
        .await;
    let usage = list().await.unwrap().api_usage.unwrap();
    assert_eq!((usage.used, usage.limit), (41, 100));
    sim.control("/limits", json!({"dailyUsed": 100})).await;
    let error = list().await.unwrap_err();
    assert_eq!(
        (error.what(), error.code.as_str()),
        (ErrorKind::AllowanceExhausted, "DAILY")
    );
    // HubSpot names no end.
    assert!(error.retry_us == 0 && error.api_usage.is_some(), "{error}");
}

#[tokio::test]
async fn searches_side_by_side_take_turns() {
    let sim = Sim::start(3);
    let connector = sim.connector_with(&[("searches_per_second", "4")]);
    let logged_in = log_in_with_key(&connector, PRIVATE_APP).await.unwrap();
    let connection = connection(AuthKind::ApiKey, logged_in);
    let count = async || {
        let request = CountRecordsRequest {
            connection: Some(connection.clone()),
            objects: Vec::new(),
        };
        let counted: Result<CountRecordsResponse, Error> = connector.count_records(request).await;
        counted.unwrap().counts.len()
    };
    // Twelve searches; the simulator, like HubSpot, allows five per second and counts refused ones.
    assert_eq!(tokio::join!(count(), count(), count()), (4, 4, 4));
    let searches = sim.requests("search").await;
    assert_eq!(searches.len(), 12);
    assert!(
        searches.iter().all(|request| request["status"] == 200),
        "{searches:?}"
    );
}

#[tokio::test]
async fn amounts_have_the_currency_of_their_deal_or_of_the_account() {
    let sim = Sim::start(60);
    sim.unlimited().await;
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let wanted: &[(&str, &[&str])] = &[("companies", &["annualrevenue", "name"]), ("deals", &["amount"])];
    let listed = list_fields(&connector, &connection).await;
    let one = select(&listed, wanted);
    let dollars = |field: &str| {
        Some(AmountCurrency {
            field: field.to_owned(),
            code: "USD".to_owned(),
        })
    };
    assert!(
        one.iter()
            .all(|object| object.fields[0].key == "name" || object.fields[0].currency == dollars(""))
    );
    let (store, _) = read_all(&connector, &connection, &one).await;
    assert_true(&sim, &one, &store).await;

    // The account gets several currencies: deals have a property for it, which newer accounts name at the amount.
    let property = json!({"object": "deals", "field": "deal_currency_code", "type": "enumeration", "fieldType": "select",
        "values": "EUR=Euro, JPY=Yen"});
    sim.control("/fields/add", property).await;
    for named in [false, true] {
        if named {
            let amount = json!({"object": "deals", "field": "amount", "type": "number", "fieldType": "number",
                "values": "number currency currency:deal_currency_code"});
            sim.control("/fields/add", amount).await;
        }
        let several = select(&list_fields(&connector, &connection).await, wanted);
        let amount = several[1]
            .fields
            .iter()
            .find(|field| field.key == "amount")
            .unwrap();
        assert_eq!(amount.currency, dollars("deal_currency_code"));
        let (store, _) = read_all(&connector, &connection, &several).await;
        assert_true(&sim, &several, &store).await;
        let payloads = store
            .of("deals")
            .map(|record| String::from_utf8_lossy(&record.payload).into_owned());
        let payloads: Vec<String> = payloads.collect();
        for code in ["EUR", "JPY"] {
            assert!(
                payloads
                    .iter()
                    .any(|payload| payload.contains(&format!("\"currency\":\"{code}\"")))
            );
        }
        let id = store.company_with("companies", &["deals"], 1);
        let fetched = fetch(&connector, &connection, &several, &[id], 0).await.unwrap();
        for record in &fetched.objects[1].records {
            assert_eq!(
                record.payload,
                store.get("deals", &record.external_id).unwrap().payload
            );
        }
    }
}
