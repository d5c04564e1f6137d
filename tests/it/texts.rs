//! NUL in texts: rejected in requests, removed from data of a CRM.

use serde_json::json;
use tether::proto::v1;

use crate::support::server::{Database, Refused, World, ok, on_both_databases, refused, until};

on_both_databases!(nul_is_refused_with_its_field, nul_of_a_connector_is_left_out);

async fn nul_is_refused_with_its_field(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let is = |told: Refused, field: &str| {
        assert_eq!(told.reason, "INVALID_FIELD_VALUE", "{told:?}");
        let named: Vec<_> = told
            .details
            .bad_request()
            .iter()
            .flat_map(|bad| &bad.field_violations)
            .map(|bad| bad.field.clone())
            .collect();
        assert_eq!(named, [field], "{told:?}");
    };
    let audit = v1::ListAuditEntriesRequest {
        parent: ann.parent.clone(),
        resource: "integrations/\0".to_owned(),
        ..Default::default()
    };
    is(
        refused(ann.integrations.list_audit_entries(audit)).await,
        "resource",
    );
    let new = v1::NewCompany {
        homepage_uri: "https://acme\0.com".to_owned(),
        ..Default::default()
    };
    let track = v1::TrackCompaniesRequest {
        parent: ann.parent.clone(),
        companies: vec![v1::CompanyToTrack {
            company: Some(v1::company_to_track::Company::NewCompany(new)),
        }],
    };
    is(
        refused(ann.companies.track_companies(track)).await,
        "companies[0].new_company.homepage_uri",
    );
    let list = v1::ListCompaniesRequest {
        parent: ann.parent.clone(),
        query: "acme\0".to_owned(),
        ..Default::default()
    };
    is(refused(ann.companies.list_companies(list)).await, "query");
    let create = ann.draft("dummy", "Acme\0Dummy");
    is(
        refused(ann.integrations.create_integration(create)).await,
        "integration.display_name",
    );
    let watch = v1::WatchGroupRequest {
        parent: "groups/a\0".to_owned(),
        ..Default::default()
    };
    is(refused(ann.integrations.watch_group(watch)).await, "parent");
}

async fn nul_of_a_connector_is_left_out(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Acme Dummy", "ann").await;
    // The dummy's error quotes the text that it could not read.
    world.script(&json!({"script.read": "bad\0news"}));
    let sync = ann.sync(&name).await;
    let (integrations, sync) = (&ann.integrations, &sync);
    until("the sync says what the connector said", || {
        let (mut integrations, name) = (integrations.clone(), sync.clone());
        async move {
            let got = ok(integrations.get_sync(v1::GetSyncRequest { name })).await;
            format!("{got:?}").contains("not a step of a script: badnews")
        }
    })
    .await;
}
