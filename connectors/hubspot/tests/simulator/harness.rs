//! The HubSpot simulator, and a connector configured for it.

use std::ops::Deref;

use serde_json::{Value as Json, json};
use tether_connector_hubspot::HubSpot;
use tether_connector_sdk::payload::decimal;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;
pub(crate) use tether_connector_testkit::*;

pub(crate) const PRIVATE_APP: &str = "pat-na1-11111111-2222-4333-8444-555555555555";
pub(crate) const ADMIN: &str = "admin@acme.example";
pub(crate) const RELATED: [&str; 3] = ["contacts", "deals", "tickets"];

/// A simulator that ends with the test.
pub(crate) struct Sim(Simulator);

impl Deref for Sim {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        &self.0
    }
}

impl Sim {
    pub(crate) fn start(companies: u32) -> Self {
        let arguments = ["--companies", &companies.to_string()];
        Self(Simulator::start("hubspot-sim", &arguments))
    }

    /// Raises the limit of searches, for tests of other features.
    pub(crate) async fn unlimited(&self) {
        self.control("/limits", json!({"searches": 1_000})).await;
    }

    /// The expected result of a complete read of an object, archived rows included.
    pub(crate) async fn truth(&self, object: &str) -> Vec<Json> {
        self.0.truth(&format!("object={object}")).await
    }

    /// The ids of live rows of an object.
    pub(crate) async fn ids(&self, object: &str) -> Vec<String> {
        let truth = self.truth(object).await.into_iter();
        let live = truth.filter(|row| row["archived"] == false);
        live.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn connector(&self) -> Native<HubSpot> {
        self.connector_with(&[])
    }

    pub(crate) fn connector_with(&self, settings: &[(&str, &str)]) -> Native<HubSpot> {
        let here = [
            ("client_id", "tether-demo-app"),
            ("client_secret", "tether-demo-secret"),
            ("address_override", &self.base),
            ("back_off_ms", "1"),
            ("searches_per_second", "1000"),
        ];
        let hubspot = ["app.hubspot.com", "api.hubapi.com"];
        open(&[&here, settings], &hubspot, &[self.host()])
    }
}

/// A simulator with a login, and a selection of all fields.
pub(crate) async fn world(
    companies: u32,
    settings: &[(&str, &str)],
) -> (Sim, Native<HubSpot>, Connection, Vec<ObjectSelection>) {
    let sim = Sim::start(companies);
    sim.unlimited().await;
    let connector = sim.connector_with(settings);
    let connection = log_in(&sim, &connector, ADMIN).await;
    let selection = select_all(&list_fields(&connector, &connection).await);
    (sim, connector, connection, selection)
}

/// As [`world`], with everything read once.
pub(crate) async fn stored_world(
    companies: u32,
) -> (Sim, Native<HubSpot>, Connection, Vec<ObjectSelection>, Store) {
    let (sim, connector, connection, selection) = world(companies, &[]).await;
    let (store, _) = read_all(&connector, &connection, &selection).await;
    sim.forget().await;
    (sim, connector, connection, selection, store)
}

/// Logs in with the token of a private app.
pub(crate) async fn log_in_with_key(connector: &Native<HubSpot>, key: &str) -> Result<LoggedIn, Error> {
    let request = LogInRequest {
        auth_kind: AuthKind::ApiKey.into(),
        parameters: [("api_key".to_owned(), key.to_owned())].into(),
        ..LogInRequest::default()
    };
    connector.log_in(request).await
}

/// The ids of a record's companies, in numeric order.
pub(crate) fn parents<'a>(store: &'a Store, object: &str, id: &str) -> Vec<&'a str> {
    let record = store.get(object, id).unwrap();
    let mut ids: Vec<&str> = record.parents.iter().map(|p| p.external_id.as_str()).collect();
    assert!(record.parents.iter().all(|parent| parent.object == "companies"));
    ids.sort_by_key(|id| id.parse::<u64>().unwrap());
    ids
}

/// The payload's form of a value from the simulator.
pub(crate) fn canonical(kind: FieldType, truth: &Json) -> Option<Json> {
    let text = truth.as_str().filter(|text| !text.is_empty())?;
    Some(match kind {
        FieldType::Boolean => (text == "true").into(),
        FieldType::Decimal | FieldType::Currency => decimal(text).unwrap().into(),
        FieldType::Percent => decimal(&format!("{text}E2")).unwrap().into(),
        FieldType::MultiPicklist => text.split(';').collect::<Vec<_>>().into(),
        FieldType::Reference => json!({"id": text}),
        FieldType::Timestamp => moment_us(truth).into(),
        _ => text.into(),
    })
}

/// Compares the store with the simulator: every live row of every object, every selected field, every company
/// of a record.
pub(crate) async fn assert_true(sim: &Sim, selection: &[ObjectSelection], store: &Store) {
    for ObjectSelection { object, fields, .. } in selection {
        let truth = sim.truth(object).await;
        let live: Vec<&Json> = truth.iter().filter(|row| row["archived"] == false).collect();
        assert_eq!(store.live(object).count(), live.len(), "rows of {object}");
        for row in &truth {
            let id = row["id"].as_str().unwrap();
            let Some(winner) = row["mergedInto"].as_str() else {
                continue;
            };
            let lost = store.get(object, id).unwrap();
            assert!(lost.deleted && lost.merged_into == winner, "{object} {id}");
        }
        for row in live {
            let id = row["id"].as_str().unwrap();
            let record = store.get(object, id).unwrap();
            assert!(!record.deleted, "{object} {id}");
            assert_eq!(record.modified_us, moment_us(&row["updatedAt"]));
            let companies = row["companies"].as_array().cloned().unwrap_or_default();
            assert_eq!(parents(store, object, id), companies, "{object} {id}");
            let expected = |field: &SelectedField| {
                let value = canonical(field.r#type(), &row[&field.key])?;
                Some(with_currency(field, row, value))
            };
            assert_fields(
                &format!("{object} {id}"),
                store.payload(object, id),
                fields,
                expected,
            );
        }
    }
}

/// Checks that the journal has only allowed requests.
pub(crate) async fn assert_only_read(sim: &Sim) {
    let journal = sim.journal().await;
    assert_eq!(journal["writes"], 0, "{}", journal["writeRequests"]);
    let posted = [
        "authorize",
        "token",
        "introspect",
        "revoke",
        "private_app",
        "batch_read",
        "search",
        "associations",
    ];
    for request in journal["requests"].as_array().unwrap() {
        let kind = request["kind"].as_str().unwrap();
        let fine = match request["method"].as_str().unwrap() {
            "GET" => true,
            "POST" => posted.contains(&kind),
            "DELETE" => kind == "revoke",
            _ => false,
        };
        assert!(fine, "{request}");
        assert!(request["addressBytes"].as_u64().unwrap() < 8_192, "{request}");
    }
}
