//! Visible fields and numbers of records.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn fields_of_five_objects_in_one_call_and_one_for_the_currency() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    sim.forget().await;
    let listed = list_fields(&connector, &connection).await;
    assert_eq!(listed.api_usage.unwrap().calls, 2);
    let keys: Vec<&str> = listed.objects.iter().map(|o| o.object.as_str()).collect();
    assert_eq!(keys, ["Account", "Contact", "Opportunity", "Contract", "Case"]);
    assert!(
        listed
            .objects
            .iter()
            .all(|object| object.visible && object.fields.len() > 10)
    );
    let field = |object: usize, key: &str| {
        let found = listed.objects[object]
            .fields
            .iter()
            .find(|field| field.key == key);
        found.unwrap_or_else(|| panic!("{key} is missing"))
    };
    assert_eq!(field(0, "Name").r#type(), FieldType::Text);
    assert_eq!(field(0, "BillingAddress").r#type(), FieldType::Address);
    assert_eq!(field(0, "AnnualRevenue").r#type(), FieldType::Currency);
    let dollars = AmountCurrency {
        field: String::new(),
        code: "USD".to_owned(),
    };
    assert_eq!(field(0, "AnnualRevenue").currency, Some(dollars));
    assert_eq!(field(0, "NumberOfEmployees").currency, None);
    assert!(!field(0, "Industry").picklist_values.is_empty());
    assert!(field(0, "Description").long_text);
    assert_eq!(field(4, "OwnerId").reference_to.len(), 2);
    assert!(
        listed
            .objects
            .iter()
            .flat_map(|o| &o.fields)
            .all(|f| f.native_type != "base64")
    );
}

#[tokio::test]
async fn objects_that_are_not_offered_are_left_out() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    for (objects, expected) in [(vec!["Contact", "Lead"], vec!["Contact"]), (vec!["Lead"], vec![])] {
        let objects: Vec<String> = objects.into_iter().map(str::to_owned).collect();
        let connection = Some(connection.clone());
        let request = ListFieldsRequest {
            connection: connection.clone(),
            objects: objects.clone(),
        };
        let listed: Result<ListFieldsResponse, Error> = connector.list_fields(request).await;
        let listed: Vec<_> = listed
            .unwrap()
            .objects
            .into_iter()
            .map(|object| object.object)
            .collect();
        assert_eq!(listed, expected);
        let counted: Result<CountRecordsResponse, Error> = connector
            .count_records(CountRecordsRequest { connection, objects })
            .await;
        let counted: Vec<_> = counted
            .unwrap()
            .counts
            .into_iter()
            .map(|count| count.object)
            .collect();
        assert_eq!(counted, expected);
    }
}

#[tokio::test]
async fn a_restricted_user_sees_less() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "restricted@acme.example").await;
    let listed = list_fields(&connector, &connection).await;
    let contract = listed
        .objects
        .iter()
        .find(|object| object.object == "Contract")
        .unwrap();
    assert!(!contract.visible && contract.fields.is_empty());
    let account = listed
        .objects
        .iter()
        .find(|object| object.object == "Account")
        .unwrap();
    assert!(account.fields.iter().all(|field| field.key != "AnnualRevenue"));

    let request = CountRecordsRequest {
        connection: Some(connection),
        objects: ["Account", "Contract", "Case"].map(str::to_owned).into(),
    };
    let counted: Result<CountRecordsResponse, Error> = connector.count_records(request).await;
    let counted = counted.unwrap();
    let keys: Vec<&str> = counted.counts.iter().map(|count| count.object.as_str()).collect();
    assert_eq!(keys, ["Account", "Case"]);
}

#[tokio::test]
async fn counts_are_exact_and_one_call() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    let request = CountRecordsRequest {
        connection: Some(connection),
        objects: Vec::new(),
    };
    let counted: Result<CountRecordsResponse, Error> = connector.count_records(request).await;
    let counted = counted.unwrap();
    assert_eq!(counted.api_usage.unwrap().calls, 1);
    assert!(
        counted.api_usage.unwrap().limit > 0,
        "the reply says what is left"
    );
    for count in &counted.counts {
        assert!(count.exact);
        let truth = sim.truth(&count.object, "admin@acme.example").await;
        let live = truth.iter().filter(|row| row["IsDeleted"] != true).count();
        assert_eq!(count.count as usize, live, "{}", count.object);
    }
    assert_eq!(counted.counts.len(), 5);
}

#[tokio::test]
async fn an_expired_session_is_said() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let mut connection = log_in(&sim, &connector, "admin@acme.example").await;
    connection.credentials.as_mut().unwrap().access_token = "00D000000000001!gone".into();
    let request = ListFieldsRequest {
        connection: Some(connection),
        objects: Vec::new(),
    };
    let listed: Result<ListFieldsResponse, Error> = connector.list_fields(request).await;
    let error = listed.unwrap_err();
    assert_eq!(error.what(), ErrorKind::CredentialsExpired);
    assert!(!error.message.contains("00D000000000001!gone"));
}

#[tokio::test]
async fn amounts_have_the_currency_of_the_organization_or_of_their_record() {
    let sim = Sim::start(&["--accounts", "60"]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, ADMIN).await;
    let wanted: &[(&str, &[&str])] = &[
        ("Account", &["AnnualRevenue", "Name"]),
        ("Opportunity", &["Amount"]),
    ];
    let one = select(&list_fields(&connector, &connection).await, wanted);
    let (store, _) = read_all(&connector, &connection, &one).await;
    assert_true(&sim, ADMIN, &one, &store).await;

    // The organization gets several currencies: the describe shows the field, and the organization is not asked.
    for object in ["Account", "Opportunity"] {
        let field = json!({"object": object, "field": "CurrencyIsoCode", "type": "picklist", "values": ["EUR", "JPY"]});
        sim.control("/fields/add", field).await;
    }
    sim.forget().await;
    let listed = list_fields(&connector, &connection).await;
    assert_eq!(listed.api_usage.unwrap().calls, 1);
    let several = select(&listed, wanted);
    let amount = &several[1].fields[0];
    assert_eq!(amount.currency.as_ref().unwrap().field, "CurrencyIsoCode");
    let (store, _) = read_all(&connector, &connection, &several).await;
    assert_true(&sim, ADMIN, &several, &store).await;
    let of = |record: &Record| {
        let payload: serde_json::Value = serde_json::from_slice(&record.payload).unwrap();
        payload["Amount"]["currency"].as_str().map(str::to_owned)
    };
    let live = store.of("Opportunity").filter(|record| !record.deleted);
    let currencies: std::collections::BTreeSet<String> = live.filter_map(of).collect();
    assert_eq!(currencies.into_iter().collect::<Vec<_>>(), ["EUR", "JPY"]);
    // A live read gives the same.
    let id = store.company_with("Account", &["Opportunity"], 1);
    let fetched = fetch(&connector, &connection, &several, &[id], 0).await.unwrap();
    for record in fetched.objects.iter().flat_map(|object| &object.records) {
        let object = if record.external_id == *id {
            "Account"
        } else {
            "Opportunity"
        };
        assert_eq!(Some(record), store.get(object, &record.external_id));
    }

    // A field that a query refuses is left out, and the amounts stay.
    sim.control(
        "/fields/remove",
        json!({"object": "Opportunity", "field": "CurrencyIsoCode"}),
    )
    .await;
    let (store, outcome) = read_all(&connector, &connection, &several[1..]).await;
    assert!(failures(&outcome).is_empty() && outcome.changes.is_empty());
    let mut plain = several[1..].to_vec();
    plain[0].fields[0].currency = None;
    assert_true(&sim, ADMIN, &plain, &store).await;
}
