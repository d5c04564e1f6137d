//! The connector boundary, with the dummy connector as a real library: in this process and in a child
//! process.

/// Makes two tests of each function: with the connector in this process (`trusted`), and in a child process.
macro_rules! in_process_and_in_a_child {
    ($($name:ident),+ $(,)?) => {
        mod in_process {
            $(#[tokio::test]
            async fn $name() {
                super::$name(true).await;
            })+
        }
        mod in_a_child {
            $(#[tokio::test]
            async fn $name() {
                super::$name(false).await;
            })+
        }
    };
}
use in_process_and_in_a_child;

mod broken;
mod calls;
mod corpus;
mod frozen;
mod streams;

use std::collections::HashMap;
use std::time::Duration;

use tether::connectors::proto::{
    AuthKind, Connection, Credentials, ListFieldsRequest, ObjectSelection, ReadMode, ReadRequest,
    SelectedField,
};
use tether::connectors::{Connector, Registry};
use tether_connector_dummy::Dummy;
use tether_connector_sdk::testing::Native;
use tokio::time::Instant;

use crate::support::connectors;

/// A deadline that is exceeded only by calls that hang.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A logged-in connection whose settings script the dummy.
fn connection(settings: &[(&str, &str)]) -> Connection {
    Connection {
        settings: map(settings),
        auth_kind: AuthKind::ApiKey.into(),
        credentials: Some(Credentials {
            access_token: "access.alice.acme.0".to_owned(),
            refresh_token: "refresh.alice.acme.0".to_owned(),
            ..Credentials::default()
        }),
        ..Connection::default()
    }
}

async fn dummy(settings: &[(&str, &str)], trusted: bool) -> (Registry, Connector) {
    let registry = connectors::registry(settings, trusted).await;
    let connector = registry.get("dummy").expect("the dummy is ready");
    (registry, connector)
}

fn native(settings: &[(&str, &str)]) -> Native<Dummy> {
    let request = tether_connector_sdk::proto::OpenRequest {
        settings: map(settings),
        ..Default::default()
    };
    Native::open(request).expect("the dummy opens")
}

/// Every field of every object.
async fn everything(connector: &Connector) -> Vec<ObjectSelection> {
    let request = ListFieldsRequest {
        connection: Some(connection(&[])),
        objects: Vec::new(),
    };
    let listed = connector.list_fields(request, soon()).await.expect("fields");
    let selections = listed.objects.into_iter().map(|object| ObjectSelection {
        object: object.object,
        fields: object
            .fields
            .into_iter()
            .map(|field| SelectedField {
                key: field.key,
                r#type: field.r#type,
                currency: field.currency,
            })
            .collect(),
        ..ObjectSelection::default()
    });
    selections.collect()
}

fn read(selection: &[ObjectSelection], settings: &[(&str, &str)], checkpoint: &[u8]) -> ReadRequest {
    ReadRequest {
        connection: Some(connection(settings)),
        selection: selection.to_vec(),
        mode: ReadMode::Full.into(),
        checkpoint: checkpoint.to_vec(),
        ..ReadRequest::default()
    }
}
