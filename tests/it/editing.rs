//! An edit of an integration, over gRPC with the simulated Salesforce.

use tether::proto::v1::{self, sync};
use tonic::Code;

use crate::sharing::{FIELDS, keys, shown};
use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(an_edit_is_reviewed_and_takes_effect_at_once);

/// What UpdateIntegration is asked: all that is set.
fn update(integration: v1::Integration) -> v1::UpdateIntegrationRequest {
    v1::UpdateIntegrationRequest {
        integration: Some(integration),
        ..Default::default()
    }
}

async fn an_edit_is_reviewed_and_takes_effect_at_once(database: Database) {
    let world = World::start(database, 30).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (world.ann().await, world.gil().await);
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", FIELDS).await;
    ann.share(&name, "globex", &[]).await;
    let company = ann.all_companies(1).await[0].name.clone();
    let proposal = a_proposal_is_reviewed(&mut ann, &name).await;

    // Saved in one step. Removed fields are gone at once; added ones arrive with the sync that was queued.
    let edited = ok(ann.integrations.update_integration(update(proposal.clone()))).await;
    assert_eq!(
        (edited.display_name.as_str(), edited.label.as_str()),
        ("Acme EMEA", "acme_sales")
    );
    assert_eq!(gil.fields(&name).await, keys(&[("Account.Phone", false)]));
    let columns = shown(&ann.open(&company).await);
    assert!(
        columns
            .iter()
            .all(|(key, _)| key != "Account.AnnualRevenue" && key != "Case.Subject"),
        "{columns:?}"
    );
    let syncs = ann.syncs(&name).await;
    assert_eq!(syncs[0].trigger(), sync::Trigger::FieldsChanged);
    ann.succeeds(&syncs[0].name).await;
    a_new_field_is_filled(&mut ann).await;
    some_edits_are_refused(&mut ann, proposal).await;

    // An edit without new fields queues no sync.
    let fewer = v1::Integration {
        name: name.clone(),
        selected_fields: vec!["Account.Name".to_owned()],
        ..Default::default()
    };
    ok(ann.integrations.update_integration(update(fewer))).await;
    assert_eq!(ann.syncs(&name).await.len(), syncs.len());
}

/// Another name, one more field, two fewer, a smaller share. The review counts and stores nothing.
async fn a_proposal_is_reviewed(ann: &mut Person, name: &str) -> v1::Integration {
    let before = ann.get(name).await;
    let proposal = v1::Integration {
        name: name.to_owned(),
        display_name: "Acme EMEA".to_owned(),
        selected_fields: [
            "Account.Name",
            "Account.Industry",
            "Account.Phone",
            "Contact.Name",
            "Contact.Email",
        ]
        .map(str::to_owned)
        .to_vec(),
        shares: vec![v1::Share {
            group: "groups/globex".to_owned(),
            fields: vec!["Account.Phone".to_owned()],
            ..Default::default()
        }],
        etag: before.etag.clone(),
        ..Default::default()
    };
    let review = v1::ReviewIntegrationRequest {
        name: name.to_owned(),
        proposal: Some(proposal.clone()),
        update_mask: None,
    };
    let reviewed = ok(ann.integrations.review_integration(review)).await;
    assert_eq!(
        (reviewed.display_name.as_str(), reviewed.losing_group_count),
        ("Acme EMEA", 1)
    );
    assert_eq!(reviewed.field_counts.unwrap().selected, 5);
    let groups: Vec<_> = reviewed
        .groups_with_access
        .iter()
        .map(|one| (one.group.as_str(), one.field_count))
        .collect();
    assert_eq!(groups, [("groups/acme", 5), ("groups/globex", 1)]);
    // Only the calls of the review were added.
    let after = v1::Integration {
        api_usage: before.api_usage,
        ..ann.get(name).await
    };
    assert_eq!(after, before);
    proposal
}

/// Some company has a phone number.
async fn a_new_field_is_filled(ann: &mut Person) {
    let mut phones = 0;
    for company in ann.all_companies(500).await {
        let stored = ann.stored(&company.name).await;
        let table = stored.cards[0].company_records.as_ref().unwrap();
        let phone = table
            .columns
            .iter()
            .position(|column| column.key == "Phone")
            .unwrap();
        phones += table
            .records
            .iter()
            .filter(|record| record.values[phone].kind.is_some())
            .count();
    }
    assert!(phones > 0, "the new field was not filled");
}

/// Edits that change nothing, of the integration as it is saved.
async fn some_edits_are_refused(ann: &mut Person, proposal: v1::Integration) {
    let name = proposal.name.clone();
    // A concurrent edit of another user is not overwritten.
    let late = refused(ann.integrations.update_integration(update(proposal))).await;
    assert_eq!(
        (late.code, late.reason.as_str()),
        (Code::Aborted, "ETAG_MISMATCH")
    );
    ann.create("salesforce", "Other").await;
    // All or nothing: with an invalid share, the name is not changed either.
    // A name is unique in the group, regardless of case.
    let nothing = v1::Integration {
        name: name.clone(),
        display_name: "Nothing of it".to_owned(),
        shares: vec![v1::Share {
            group: "groups/stranger".to_owned(),
            all_active_fields: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    let taken = v1::Integration {
        name: name.clone(),
        display_name: "OTHER".to_owned(),
        ..Default::default()
    };
    for (edit, reason) in [(nothing, "NOT_FOUND"), (taken, "NAME_TAKEN")] {
        let no = refused(ann.integrations.update_integration(update(edit))).await;
        assert_eq!(no.reason, reason);
        assert_eq!(ann.get(&name).await.display_name, "Acme EMEA", "{reason}");
    }
}
