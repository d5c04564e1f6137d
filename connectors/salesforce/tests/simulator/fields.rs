//! Visible fields and numbers of records.

use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn fields_of_five_objects_in_one_call() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    sim.forget().await;
    let listed = list_fields(&connector, &connection).await;
    assert_eq!(listed.api_usage.unwrap().calls, 1);
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
