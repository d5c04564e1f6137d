//! The Salesforce simulator, and a connector configured for it.

use std::ops::Deref;

use serde_json::{Value as Json, json};
use tether_connector_salesforce::Salesforce;
use tether_connector_sdk::payload::decimal;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;
pub(crate) use tether_connector_testkit::*;

pub(crate) const ADMIN: &str = "admin@acme.example";
pub(crate) const RELATED: [&str; 4] = ["Contact", "Opportunity", "Contract", "Case"];

/// A simulator that ends with the test.
pub(crate) struct Sim(Simulator);

impl Deref for Sim {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        &self.0
    }
}

impl Sim {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self(Simulator::start("salesforce-sim", arguments))
    }

    /// The expected result of a complete read of an object for `user`, deleted rows included.
    pub(crate) async fn truth(&self, object: &str, user: &str) -> Vec<Json> {
        let query = format!("object={object}&user={user}&form=canonical");
        self.0.truth(&query).await
    }

    pub(crate) fn connector(&self) -> Native<Salesforce> {
        self.connector_with(&[])
    }

    pub(crate) fn connector_with(&self, settings: &[(&str, &str)]) -> Native<Salesforce> {
        let here = [
            ("client_id", "3MVG9tether.demo"),
            ("client_secret", "tether-demo-secret"),
            ("login_host_override", &self.base),
            ("back_off_ms", "1"),
        ];
        // The simulator answers both names: an organization can move from one to the other.
        let moved = self.host().replace("127.0.0.1", "localhost");
        let salesforce = ["login.salesforce.com", "*.my.salesforce.com"];
        open(&[&here, settings], &salesforce, &[self.host(), &moved])
    }
}

/// The form of a value of the truth in a payload.
pub(crate) fn canonical(kind: FieldType, truth: &Json) -> Option<Json> {
    let text = match truth {
        Json::Null => return None,
        Json::String(text) if text.is_empty() => return None,
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(match kind {
        FieldType::Boolean | FieldType::Integer => truth.clone(),
        FieldType::Decimal | FieldType::Currency | FieldType::Percent => decimal(&text).unwrap().into(),
        FieldType::MultiPicklist => text.split(';').collect::<Vec<_>>().into(),
        FieldType::Reference => json!({"id": text}),
        FieldType::Timestamp => moment_us(truth).into(),
        FieldType::Time => text.trim_end_matches('Z').into(),
        FieldType::Address => {
            let names = [
                ("city", "city"),
                ("country", "country"),
                ("countryCode", "country_code"),
                ("postalCode", "postal_code"),
                ("state", "state"),
                ("stateCode", "state_code"),
                ("street", "street"),
            ];
            let set = names.iter().filter(|(theirs, _)| truth[theirs].is_string());
            let parts: serde_json::Map<_, _> = set
                .map(|(theirs, ours)| ((*ours).to_owned(), truth[theirs].clone()))
                .collect();
            return (!parts.is_empty()).then_some(Json::Object(parts));
        }
        FieldType::Location => {
            let part = |name: &str| decimal(&truth[name].to_string()).unwrap();
            json!({"latitude": part("latitude"), "longitude": part("longitude")})
        }
        _ => text.into(),
    })
}

/// Compares the store with the truth: every row of every object, every selected field.
pub(crate) async fn assert_true(sim: &Sim, user: &str, selection: &[ObjectSelection], store: &Store) {
    for ObjectSelection { object, fields, .. } in selection {
        let truth = sim.truth(object, user).await;
        assert_eq!(store.of(object).count(), truth.len(), "rows of {object}");
        for row in truth {
            let id = row["Id"].as_str().unwrap();
            let record = store.get(object, id).unwrap();
            assert_eq!(record.deleted, row["IsDeleted"] == true, "{object} {id}");
            let master = row.get("MasterRecordId").and_then(Json::as_str).unwrap_or("");
            assert_eq!(record.merged_into, master, "{object} {id}");
            let parents: Vec<&str> = record.parents.iter().map(|p| p.external_id.as_str()).collect();
            let parent = row.get("AccountId").and_then(Json::as_str);
            assert_eq!(parents, parent.as_slice(), "{object} {id}");
            assert_eq!(record.modified_us, moment_us(&row["SystemModstamp"]));
            let expected = |field: &SelectedField| {
                let value = canonical(field.r#type(), &row[&field.key])?;
                Some(with_currency(field, &row, value))
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

/// Checks the journal against the read set: the token endpoint, GETs, composites of GETs, and query jobs.
pub(crate) async fn assert_only_read(sim: &Sim) {
    let journal = sim.journal().await;
    assert_eq!(journal["writes"], 0);
    for request in journal["requests"].as_array().unwrap() {
        let part = |name: &str| request[name].as_str().unwrap();
        let (method, path) = (part("method"), part("path"));
        let fine = match path {
            "/services/oauth2/token" | "/services/oauth2/revoke" => method == "POST",
            // The browser.
            "/services/oauth2/authorize" => true,
            path if path.starts_with("/control") => true,
            path if path.ends_with("/composite") => {
                let inner = request["inner"].as_array().unwrap();
                method == "POST" && !inner.is_empty() && inner.iter().all(|part| part["method"] == "GET")
            }
            path if path.ends_with("/jobs/query") => matches!(method, "GET" | "POST"),
            path if path.contains("/jobs/query/") && !path.ends_with("/results") => {
                matches!(method, "GET" | "PATCH" | "DELETE")
            }
            _ => method == "GET",
        };
        assert!(fine, "{method} {path}");
    }
}
