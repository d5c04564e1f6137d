//! Long descriptions of fields, and errors that quote what a caller sent.

use serde_json::json;
use tether::proto::v1;
use tonic::Status;

use super::{bounded, walk};
use crate::support::server::{Database, Person, Refused, World, ok, on_both_databases};

on_both_databases!(long_descriptions_fit_into_answers);

async fn long_descriptions_fit_into_answers(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    world.script(&json!({"companies": "2", "picklists": "25", "entries": "2500"}));
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Wide").await;
    ann.log_in_with_key(&name, "ann").await;
    let keys = available_fields_are_paged(&mut ann, &name).await;
    selected_fields_are_paged(&mut ann, &name, &keys).await;
    world.script(&json!({"companies": "2"}));
    the_review_is_bounded(&mut ann, &name).await;
    world.script(&json!({"companies": "2", "picklists": "1", "entries": "20000"}));
    a_huge_field_is_cut(&mut ann, &name).await;
    updates_repeat_little(&mut ann, &name).await;
    names_and_tokens_repeat_little(&mut ann, &name).await;
    lists_repeat_little(&mut ann).await;
}

/// Each field once; answers their keys.
async fn available_fields_are_paged(ann: &mut Person, name: &str) -> Vec<String> {
    let total = std::cell::Cell::new(0);
    let (pages, available) = walk(async |page_token| {
        let request = v1::ListAvailableFieldsRequest {
            parent: name.to_owned(),
            page_size: 2_000,
            page_token,
            ..Default::default()
        };
        let page = bounded(ok(ann.clone().integrations.list_available_fields(request)).await);
        total.set(page.total_size);
        let fields = page.objects.into_iter().flat_map(|object| object.fields);
        let fields: Vec<_> = fields.map(|field| field.definition.unwrap()).collect();
        (fields, page.next_page_token)
    })
    .await;
    let total = total.get();
    assert!(pages > 1 && available.len() == total as usize, "{pages} {total}");
    let mut keys: Vec<String> = available
        .iter()
        .map(|one| format!("{}.{}", one.object, one.key))
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), available.len(), "each field once");
    let wide: Vec<&v1::FieldDefinition> = available
        .iter()
        .filter(|one| one.key.starts_with("Picklist"))
        .collect();
    assert_eq!(wide.len(), 25);
    for one in &wide {
        assert_eq!(
            (one.picklist_value_count, one.picklist_values.len()),
            (2_500, 2_500)
        );
    }
    keys
}

/// Selected fields are listed within the same bounds.
async fn selected_fields_are_paged(ann: &mut Person, name: &str, keys: &[String]) {
    let fields: Vec<&str> = keys.iter().map(String::as_str).collect();
    bounded(ann.select(name, &fields).await);
    let (pages, selected) = walk(async |page_token| {
        let request = v1::ListFieldsRequest {
            parent: name.to_owned(),
            page_size: 2_000,
            page_token,
            ..Default::default()
        };
        let page = bounded(ok(ann.clone().integrations.list_fields(request)).await);
        assert_eq!(page.total_size as usize, keys.len());
        let keys = page.fields.into_iter().map(|field| field.definition.unwrap());
        (
            keys.map(|one| format!("{}.{}", one.object, one.key)).collect(),
            page.next_page_token,
        )
    })
    .await;
    assert!(pages > 1);
    assert_eq!(selected, keys);
}

async fn the_review_is_bounded(ann: &mut Person, name: &str) {
    let review = bounded(ann.review(name).await);
    let missing = review
        .warnings
        .iter()
        .find(|one| one.fields.contains(&"Company.Picklist1".to_owned()));
    assert_eq!(missing.unwrap().fields.len(), 25);
}

/// A field that is too large for a page of its own is cut, and marked as cut.
async fn a_huge_field_is_cut(ann: &mut Person, name: &str) {
    let request = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        ..Default::default()
    };
    let page = bounded(ok(ann.integrations.list_available_fields(request)).await);
    let fields = page.objects.iter().flat_map(|object| &object.fields);
    let huge = fields
        .map(|one| one.definition.as_ref().unwrap())
        .find(|one| one.key == "Picklist1");
    let huge = huge.unwrap();
    assert_eq!(huge.picklist_value_count, 20_000);
    assert!((1_000..20_000).contains(&huge.picklist_values.len()));
}

/// Errors quote at most 100 characters of a caller's text: no run of one letter here is longer.
fn short<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>, reason: &str) {
    let status = answer.unwrap_err();
    let details = String::from_utf8_lossy(status.details()).into_owned();
    for text in [status.message(), &details] {
        assert!(
            !text.contains(&"x".repeat(101)),
            "{} bytes: {:.300}",
            text.len(),
            text
        );
    }
    assert!(details.len() < 12 << 10);
    assert_eq!(Refused::from(status).reason, reason);
}

fn x(count: usize) -> String {
    "x".repeat(count)
}

async fn updates_repeat_little(ann: &mut Person, name: &str) {
    let integration = |field: String| v1::Integration {
        name: name.to_owned(),
        selected_fields: vec![field],
        ..Default::default()
    };
    let update = |integration: v1::Integration, paths: &[String]| v1::UpdateIntegrationRequest {
        integration: Some(integration),
        update_mask: (!paths.is_empty()).then(|| prost_types::FieldMask {
            paths: paths.to_vec(),
        }),
        ..Default::default()
    };
    for (edit, reason) in [
        (update(integration(x(100_000)), &[]), "INVALID_FIELD_VALUE"),
        (
            update(integration(format!("Company.{}", x(240))), &[]),
            "FIELD_UNKNOWN",
        ),
        (
            update(integration(String::new()), &[x(60_000)]),
            "INVALID_UPDATE_MASK",
        ),
    ] {
        short(ann.integrations.update_integration(edit).await, reason);
    }
    let review = v1::ReviewIntegrationRequest {
        name: name.to_owned(),
        proposal: Some(v1::Integration::default()),
        update_mask: Some(prost_types::FieldMask {
            paths: vec![x(60_000)],
        }),
    };
    short(
        ann.integrations.review_integration(review).await,
        "INVALID_UPDATE_MASK",
    );
    let settings = v1::Integration {
        name: name.to_owned(),
        settings: [(x(64), x(1))].into(),
        ..Default::default()
    };
    let settings = update(settings, &["settings".to_owned()]);
    assert!(ann.integrations.update_integration(settings).await.is_err());
}

async fn names_and_tokens_repeat_little(ann: &mut Person, name: &str) {
    let api = &mut ann.integrations;
    let named = |name: String| v1::GetIntegrationRequest { name };
    short(
        api.get_integration(named(x(100_000))).await,
        "INVALID_FIELD_VALUE",
    );
    let objects = v1::ListAvailableFieldsRequest {
        parent: name.to_owned(),
        objects: vec![x(100_000)],
        ..Default::default()
    };
    short(api.list_available_fields(objects).await, "INVALID_FIELD_VALUE");
    let token = v1::ListFieldsRequest {
        parent: name.to_owned(),
        page_token: x(100_000),
        ..Default::default()
    };
    short(api.list_fields(token).await, "INVALID_PAGE_TOKEN");
    let activation = v1::BatchUpdateFieldActivationRequest {
        parent: name.to_owned(),
        active_fields: vec![format!("Company.{}", x(240))],
        ..Default::default()
    };
    short(
        api.batch_update_field_activation(activation).await,
        "FIELD_UNKNOWN",
    );
}

async fn lists_repeat_little(ann: &mut Person) {
    let list = |set: fn(&mut v1::ListCompaniesRequest, String), text: String| {
        let mut request = v1::ListCompaniesRequest {
            parent: ann.parent.clone(),
            ..Default::default()
        };
        set(&mut request, text);
        request
    };
    let filter = |text| list(|list, text| list.filter = text, text);
    let order_by = |text| list(|list, text| list.order_by = text, text);
    let column = |text| list(|list, text| list.columns = vec![text], text);
    let words = |text| list(|list, text| list.query = text, text);
    // 200 characters are allowed regardless of their number of bytes.
    let allowed = words("ü".repeat(200));
    let refused = [
        (filter(x(4_000)), "INVALID_FILTER"),
        (filter(format!("{}.Account.Name = 1", x(4_000))), "INVALID_FILTER"),
        (filter(format!("source = {}", x(4_000))), "INVALID_FILTER"),
        (filter(x(100_000)), "INVALID_FILTER"),
        (order_by(x(1_000)), "INVALID_ORDER_BY"),
        (column(x(600)), "INVALID_FIELD_VALUE"),
        (words("ü".repeat(201)), "INVALID_FIELD_VALUE"),
        (words(x(201)), "INVALID_FIELD_VALUE"),
    ];
    ok(ann.companies.list_companies(allowed)).await;
    for (request, reason) in refused {
        short(ann.companies.list_companies(request).await, reason);
    }
}
