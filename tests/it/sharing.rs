//! Shares, active and passive fields, edits, deletions and the limit of five per account, over gRPC with the
//! simulated Salesforce.

use serde_json::json;
use tether::caller::Role;
use tether::proto::v1::delete_integration_response::Access;
use tether::proto::v1::integration::{Relation, State};
use tether::proto::v1::{self, sync};
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused, until};

on_all_databases!(
    a_share_is_received_used_and_lost,
    an_edit_is_reviewed_and_takes_effect_at_once,
    a_deleted_integration_is_gone_everywhere,
    five_per_account,
    logging_in_again_as_another_user_moves_it,
    a_group_goes_with_all_that_is_its_own,
);

const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Industry",
    "Account.AnnualRevenue",
    "Contact.Name",
    "Contact.Email",
    "Case.Subject",
];

fn keys(of: &[(&str, bool)]) -> Vec<(String, bool)> {
    of.iter()
        .map(|(key, active)| ((*key).to_owned(), *active))
        .collect()
}

/// The columns of each table of a card, with whether they are active.
fn shown(profile: &v1::CompanyProfile) -> Vec<(String, bool)> {
    let card = &profile.cards[0];
    let tables = card.company_records.iter().chain(&card.related);
    tables
        .flat_map(|table| {
            let column =
                |column: &v1::RecordColumn| (format!("{}.{}", table.object, column.key), column.active);
            table.columns.iter().map(column).collect::<Vec<_>>()
        })
        .collect()
}

async fn connect(person: &mut Person, name: &str, connected: bool) -> v1::Integration {
    let name = name.to_owned();
    if connected {
        ok(person
            .integrations
            .connect_integration(v1::ConnectIntegrationRequest { name }))
        .await
    } else {
        ok(person
            .integrations
            .disconnect_integration(v1::DisconnectIntegrationRequest { name }))
        .await
    }
}

async fn a_share_is_received_used_and_lost(database: Database) {
    let world = World::start(database, 40).await;
    let (mut ann, mut gil) = (
        world.ann().await,
        world.person("gil", "globex", Role::Administrator).await,
    );
    let mut gus = world.person("gus", "globex", Role::Member).await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", FIELDS).await;
    let set = |group: &str, fields: &[&str]| v1::SetShareRequest {
        share: Some(v1::Share {
            name: format!("{name}/shares/{group}"),
            all_active_fields: fields.is_empty(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            ..Default::default()
        }),
    };

    // Searches find only groups that are connected with the caller's, by part of their name.
    let search = |query: &str| v1::SearchShareableGroupsRequest {
        parent: "groups/acme".to_owned(),
        query: query.to_owned(),
        integration: name.clone(),
        ..Default::default()
    };
    assert!(
        ok(ann.integrations.search_shareable_groups(search("")))
            .await
            .groups
            .is_empty()
    );
    let no = refused(ann.integrations.set_share(set("globex", &[]))).await;
    assert_eq!((no.code, no.reason.as_str()), (Code::NotFound, "NOT_FOUND"));
    let never = refused(ann.integrations.set_share(set("nobody", &[]))).await;
    assert_eq!(never.message.replace("nobody", "globex"), no.message);
    world.connect("globex", true).await;
    let found = ok(ann.integrations.search_shareable_groups(search("EX part")))
        .await
        .groups;
    assert_eq!(
        (found.len(), found[0].group.as_str(), found[0].shared),
        (1, "groups/globex", false)
    );
    assert!(
        ok(ann.integrations.search_shareable_groups(search("acme")))
            .await
            .groups
            .is_empty()
    );

    // Shared: visible at once, connected, with passive fields. The receiver can edit nothing.
    assert!(gil.integrations().await.is_empty());
    let share = ann
        .share(
            &name,
            "globex",
            &["Account.Industry", "Account.AnnualRevenue", "Contact.Name"],
        )
        .await;
    assert!(
        share.effective
            && share.connected
            && share.shared_field_count == 3
            && share.group_display_name == "Globex Partners"
    );
    let got = gus.integrations().await;
    assert_eq!(
        (got.len(), got[0].relation(), got[0].state()),
        (1, Relation::Received, State::Active)
    );
    assert_eq!(
        (got[0].connected, got[0].group_display_name.as_str()),
        (Some(true), "Acme Research")
    );
    let managed = gil.get(&name).await;
    assert_eq!(managed.selected_fields.len(), 3);
    assert!(managed.shares.is_empty() && managed.etag.is_empty() && managed.settings.is_empty());
    assert!(managed.api_usage.is_none() && managed.groups_with_access_count == 0);
    assert_eq!(managed.account.as_ref().unwrap().active_integration_count, 0);
    let passive = keys(&[
        ("Account.AnnualRevenue", false),
        ("Account.Industry", false),
        ("Contact.Name", false),
    ]);
    assert_eq!(gil.fields(&name).await, passive);
    let edit = v1::UpdateIntegrationRequest {
        integration: Some(v1::Integration {
            name: name.clone(),
            display_name: "Mine".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let delete = v1::DeleteIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let start = v1::SyncIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let shares = v1::ListSharesRequest {
        parent: name.clone(),
        ..Default::default()
    };
    for no in [
        refused(gil.integrations.update_integration(edit)).await,
        refused(gil.integrations.delete_integration(delete)).await,
        refused(gil.integrations.sync_integration(start)).await,
        refused(gil.integrations.list_shares(shares)).await,
        // Received fields cannot be shared on.
        refused(gil.integrations.set_share(set("acme", &[]))).await,
    ] {
        assert_eq!(
            (no.code, no.reason.as_str()),
            (Code::PermissionDenied, "NOT_OWNER")
        );
    }

    // The receiver sees its companies and its card: the shared fields, active or passive, and no other
    // object.
    let companies = gus.all_companies(500).await;
    let owned = ann.all_companies(500).await;
    assert_eq!(companies.len(), owned.len());
    let company = companies[0].name.clone();
    let profile = gus.open(&company).await;
    let card = &profile.cards[0];
    assert_eq!(
        (card.relation(), card.group_display_name.as_str()),
        (Relation::Received, "Acme Research")
    );
    assert!(card.freshness.as_ref().unwrap().live);
    assert_eq!(card.related.len(), 1);
    let mut columns = shown(&profile);
    columns.sort();
    assert_eq!(columns, passive);
    // The receiver's choice affects only itself.
    assert_eq!(
        gil.decide(&name, &["Account.Industry"], &[])
            .await
            .field_counts
            .unwrap()
            .active,
        1
    );
    assert!(ann.fields(&name).await.iter().all(|(_, active)| *active));
    let beyond = v1::BatchUpdateFieldActivationRequest {
        parent: name.clone(),
        active_fields: vec!["Contact.Email".to_owned()],
        ..Default::default()
    };
    let no = refused(gil.integrations.batch_update_field_activation(beyond)).await;
    assert_eq!(no.reason, "FIELD_UNKNOWN");

    // A sync as the receiver sees it: without API calls and without objects of which it has no field.
    let list = v1::ListSyncsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let synced = ok(gus.integrations.list_syncs(list)).await.syncs;
    let objects: Vec<&str> = synced[0].objects.iter().map(|one| one.object.as_str()).collect();
    assert_eq!(
        (objects, synced[0].api_calls_used),
        (vec!["Account", "Contact"], 0)
    );

    // The owner makes a field passive: receivers lose it at once, until it is active again, and the answer
    // has their number.
    let done = ann
        .decide(&name, &[], &["Account.Industry", "Case.Subject"])
        .await;
    assert_eq!(done.losing_group_count, 1);
    assert_eq!(
        gil.fields(&name).await,
        keys(&[("Account.AnnualRevenue", false), ("Contact.Name", false)])
    );
    let no = refused(ann.integrations.set_share(set("globex", &["Case.Subject"]))).await;
    assert_eq!(no.reason, "FIELD_PASSIVE");
    ann.decide(&name, &["Account.Industry"], &[]).await;
    let now = keys(&[
        ("Account.AnnualRevenue", false),
        ("Account.Industry", true),
        ("Contact.Name", false),
    ]);
    assert_eq!(gil.fields(&name).await, now);

    // Disconnect and reconnect: only the receiver loses the source, and its settings are kept.
    let off = connect(&mut gil, &name, false).await;
    assert_eq!(off.connected, Some(false));
    assert!(gus.all_companies(500).await.is_empty());
    assert_eq!(gus.integrations().await.len(), 1);
    assert_eq!(ann.all_companies(500).await.len(), owned.len());
    connect(&mut gil, &name, true).await;
    assert_eq!(gus.all_companies(500).await.len(), owned.len());
    assert_eq!(gil.fields(&name).await, now);
    // The owner's own use can be disconnected, too: the integration is then for others only.
    connect(&mut ann, &name, false).await;
    assert!(ann.all_companies(500).await.is_empty());
    assert_eq!(gus.all_companies(500).await.len(), owned.len());
    connect(&mut ann, &name, true).await;

    // If the receiver disables the connector, the source is hidden from it only. If the owner does, it is
    // hidden from all groups, and the account's places stay taken.
    let disable = |parent: &str| v1::DisableConnectorRequest {
        parent: parent.to_owned(),
        connector: "connectors/salesforce".to_owned(),
    };
    ok(gil.integrations.disable_connector(disable("groups/globex"))).await;
    assert!(gus.all_companies(500).await.is_empty());
    assert_eq!(ann.all_companies(500).await.len(), owned.len());
    gil.enable("salesforce").await;
    ok(ann.integrations.disable_connector(disable("groups/acme"))).await;
    assert!(gus.all_companies(500).await.is_empty() && ann.all_companies(500).await.is_empty());
    assert_eq!(gil.get(&name).await.state(), State::Disabled);
    assert_eq!(ann.get(&name).await.account.unwrap().active_integration_count, 1);
    ann.enable("salesforce").await;
    assert_eq!(gus.all_companies(500).await.len(), owned.len());

    // Tracked companies stay when the share ends; the others disappear. A new connection of the groups
    // restores nothing.
    let track = v1::TrackCompaniesRequest {
        parent: gus.parent.clone(),
        companies: vec![v1::CompanyToTrack {
            company: Some(v1::company_to_track::Company::Name(company.clone())),
        }],
    };
    ok(gus.companies.track_companies(track)).await;
    // A list of one source has only companies of it, tracked or not.
    let unfed = v1::TrackCompaniesRequest {
        parent: gus.parent.clone(),
        companies: vec![v1::CompanyToTrack {
            company: Some(v1::company_to_track::Company::NewCompany(v1::NewCompany {
                display_name: "Fed by nobody".to_owned(),
                homepage_uri: "https://fed-by-nobody.com".to_owned(),
            })),
        }],
    };
    let unfed = ok(gus.companies.track_companies(unfed)).await.companies[0]
        .name
        .clone();
    for (scope, sources, size) in [
        (v1::CompanyScope::All, vec![], owned.len() + 1),
        (v1::CompanyScope::All, vec![name.clone()], owned.len()),
        (v1::CompanyScope::Tracked, vec![], 2),
        (v1::CompanyScope::Tracked, vec![name.clone()], 1),
    ] {
        let list = v1::ListCompaniesRequest {
            parent: gus.parent.clone(),
            scope: scope as i32,
            sources,
            show_total_size: true,
            ..Default::default()
        };
        let listed = ok(gus.companies.list_companies(list)).await;
        assert_eq!(listed.total_size, Some(size as i64), "{scope:?}");
    }
    let names = vec![unfed];
    let parent = gus.parent.clone();
    ok(gus
        .companies
        .untrack_companies(v1::UntrackCompaniesRequest { parent, names }))
    .await;
    world.connect("globex", false).await;
    world.connect("globex", true).await;
    let left = gus.all_companies(500).await;
    assert_eq!(
        (left.len(), left[0].name.as_str(), left[0].sources.len()),
        (1, company.as_str(), 0)
    );
    let request = v1::GetIntegrationRequest { name: name.clone() };
    assert_eq!(
        refused(gil.integrations.get_integration(request)).await.reason,
        "NOT_FOUND"
    );
    assert!(gus.integrations().await.is_empty());
    // Shared again and removed.
    ann.share(&name, "globex", &[]).await;
    assert_eq!(gus.all_companies(500).await.len(), owned.len());
    // A related record's name is shared only with a field that contains it.
    ann.share(&name, "globex", &["Contact.Email"]).await;
    let (mut people, mut named) = (0, 0);
    for company in gus.all_companies(500).await {
        for record in gus
            .open(&company.name)
            .await
            .cards
            .iter()
            .flat_map(|card| &card.related)
            .flat_map(|of| &of.records)
        {
            people += 1;
            named += usize::from(!record.display_name.is_empty());
        }
    }
    assert!(people > 0 && named == 0, "{named} of {people} have a name");
    let remove = v1::RemoveShareRequest {
        name: format!("{name}/shares/globex"),
    };
    ok(ann.integrations.remove_share(remove.clone())).await;
    assert_eq!(
        refused(ann.integrations.remove_share(remove)).await.reason,
        "NOT_FOUND"
    );
    assert_eq!(gus.all_companies(500).await.len(), 1);
}

async fn an_edit_is_reviewed_and_takes_effect_at_once(database: Database) {
    let world = World::start(database, 30).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (
        world.ann().await,
        world.person("gil", "globex", Role::Administrator).await,
    );
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", FIELDS).await;
    ann.share(&name, "globex", &[]).await;
    let company = ann.all_companies(1).await[0].name.clone();
    let before = ann.get(&name).await;

    // Proposed: another name, one more field, two fewer, a smaller share. The review counts and stores
    // nothing.
    let proposal = v1::Integration {
        name: name.clone(),
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
        name: name.clone(),
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
    assert_eq!(ann.get(&name).await, before);

    // Saved in one step. Removed fields are gone at once; added ones arrive with the sync that was queued.
    let update = v1::UpdateIntegrationRequest {
        integration: Some(proposal.clone()),
        ..Default::default()
    };
    let edited = ok(ann.integrations.update_integration(update.clone())).await;
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
    let syncs = ok(ann.integrations.list_syncs(v1::ListSyncsRequest {
        parent: name.clone(),
        ..Default::default()
    }))
    .await;
    assert_eq!(syncs.syncs[0].trigger(), sync::Trigger::FieldsChanged);
    ann.succeeds(&syncs.syncs[0].name).await;
    let mut phones = 0;
    for company in ann.all_companies(500).await {
        let request = v1::GetCompanyProfileRequest {
            name: company.name,
            parent: ann.parent.clone(),
            refresh: v1::get_company_profile_request::Refresh::Never as i32,
            ..Default::default()
        };
        let stored = ok(ann.companies.get_company_profile(request)).await;
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
    // A concurrent edit of another user is not overwritten.
    let late = refused(ann.integrations.update_integration(update)).await;
    assert_eq!(
        (late.code, late.reason.as_str()),
        (Code::Aborted, "ETAG_MISMATCH")
    );
    // All or nothing: with an invalid share, the name is not changed either.
    let both = v1::Integration {
        name: name.clone(),
        display_name: "Nothing of it".to_owned(),
        shares: vec![v1::Share {
            group: "groups/stranger".to_owned(),
            all_active_fields: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    let no = v1::UpdateIntegrationRequest {
        integration: Some(both),
        ..Default::default()
    };
    assert_eq!(
        refused(ann.integrations.update_integration(no)).await.reason,
        "NOT_FOUND"
    );
    assert_eq!(ann.get(&name).await.display_name, "Acme EMEA");
    // A name is unique in the group, regardless of case.
    ann.create("salesforce", "Other").await;
    let taken = v1::Integration {
        name: name.clone(),
        display_name: "OTHER".to_owned(),
        ..Default::default()
    };
    let no = v1::UpdateIntegrationRequest {
        integration: Some(taken),
        ..Default::default()
    };
    assert_eq!(
        refused(ann.integrations.update_integration(no)).await.reason,
        "NAME_TAKEN"
    );
    // An edit without new fields queues no sync.
    let fewer = v1::Integration {
        name: name.clone(),
        selected_fields: vec!["Account.Name".to_owned()],
        ..Default::default()
    };
    let fewer = v1::UpdateIntegrationRequest {
        integration: Some(fewer),
        ..Default::default()
    };
    ok(ann.integrations.update_integration(fewer)).await;
    let now = ok(ann.integrations.list_syncs(v1::ListSyncsRequest {
        parent: name.clone(),
        ..Default::default()
    }))
    .await;
    assert_eq!(now.syncs.len(), syncs.syncs.len());
}

async fn a_deleted_integration_is_gone_everywhere(database: Database) {
    let world = World::start(database, 30).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (
        world.ann().await,
        world.person("gil", "globex", Role::Administrator).await,
    );
    ann.enable("salesforce").await;
    let (one, two) = (
        ann.salesforce("One", FIELDS).await,
        ann.salesforce("Two", FIELDS).await,
    );
    ann.share(&one, "globex", &[]).await;
    let companies = gil.all_companies(500).await;
    let tracked = companies[0].name.clone();
    let track = v1::TrackCompaniesRequest {
        parent: gil.parent.clone(),
        companies: vec![v1::CompanyToTrack {
            company: Some(v1::company_to_track::Company::Name(tracked.clone())),
        }],
    };
    ok(gil.companies.track_companies(track)).await;

    // The other integration of the account still needs the access.
    let gone = ann.delete(&one).await;
    assert_eq!((gone.access(), gone.affected_group_count), (Access::Kept, 2));
    assert_eq!(gone.company_record_count, 30);
    let left = gil.all_companies(500).await;
    assert_eq!((left.len(), left[0].name.as_str()), (1, tracked.as_str()));
    let profile = gil.open(&tracked).await;
    assert!(profile.cards.is_empty());
    assert_eq!(ann.all_companies(500).await.len(), companies.len());
    for person in [&mut ann, &mut gil] {
        let request = v1::GetIntegrationRequest { name: one.clone() };
        assert_eq!(
            refused(person.integrations.get_integration(request)).await.reason,
            "NOT_FOUND"
        );
        let request = v1::ListSyncsRequest {
            parent: one.clone(),
            ..Default::default()
        };
        assert_eq!(
            refused(person.integrations.list_syncs(request)).await.reason,
            "NOT_FOUND"
        );
    }
    // Its name, its label and its place are free again.
    assert_eq!(ann.get(&two).await.account.unwrap().active_integration_count, 1);
    let again = ann.create("salesforce", "One").await;
    assert_eq!(ann.get(&again).await.label, "one");
    ann.delete(&again).await;

    // With the last integration, the access is revoked; the answer waits for this.
    let gone = ann.delete(&two).await;
    assert_eq!((gone.access(), gone.affected_group_count), (Access::Revoked, 1));
    assert!(ann.all_companies(500).await.is_empty());
    let seen = world.control("GET", "/requests", json!(null)).await.to_string();
    assert!(seen.contains("revoke"), "{seen}");
    // The rows are removed in the background.
    until("the rows are removed", async || {
        world.log().matches("the rows of").count() >= 2
    })
    .await;
}

async fn five_per_account(database: Database) {
    let world = World::start(database, 5).await;
    let (mut ann, mut gil) = (
        world.ann().await,
        world.person("gil", "globex", Role::Administrator).await,
    );
    ann.enable("salesforce").await;
    gil.enable("salesforce").await;
    let fields = &["Account.Name"];
    // Over all groups.
    let mut names = Vec::new();
    for number in 1..=3 {
        names.push(ann.salesforce(&format!("Acme {number}"), fields).await);
    }
    for number in 1..=2 {
        names.push(gil.salesforce(&format!("Globex {number}"), fields).await);
    }
    let account = ann.get(&names[0]).await.account.unwrap();
    assert_eq!(
        (account.active_integration_count, account.active_integration_limit),
        (5, 5)
    );

    // The sixth is refused at login; only the new token is revoked, and the credential of the five is not
    // changed.
    let sixth = ann.create("salesforce", "Sixth").await;
    let no = refused(ann.try_log_in(&sixth, "admin@acme.example")).await;
    assert_eq!(
        (no.code, no.reason.as_str()),
        (Code::ResourceExhausted, "ACCOUNT_LIMIT_REACHED")
    );
    let quota = no.details.quota_failure().unwrap();
    assert!(
        quota.violations[0].description.contains('5') && no.message.contains("delete"),
        "{no:?}"
    );
    let info = no.details.error_info().unwrap();
    assert_eq!(
        (info.metadata["limit"].as_str(), info.metadata["active"].as_str()),
        ("5", "5")
    );
    assert!(
        !no.message.contains("lobex"),
        "other groups' are counted, never named: {}",
        no.message
    );
    for person in [&mut ann, &mut gil] {
        let sync = person.integrations().await[0].name.clone();
        let sync = person.sync(&sync).await;
        person.succeeds(&sync).await;
    }
    assert!(ann.get(&sixth).await.account.is_none());
    // One of the five logs in again, which needs no further place.
    let again = ann.log_in(&names[0]).await;
    assert_eq!(again.state(), State::Active);

    // Deleting one frees its place.
    gil.delete(&names[4]).await;
    ann.log_in(&sixth).await;
    ann.select(&sixth, fields).await;
    // Two drafts that logged in while a place was free: one of them gets it.
    let seventh = gil.create("salesforce", "Seventh").await;
    gil.log_in(&seventh).await;
    gil.select(&seventh, fields).await;
    let review = v1::ReviewIntegrationRequest {
        name: seventh.clone(),
        ..Default::default()
    };
    let reviewed = ok(gil.integrations.review_integration(review.clone())).await;
    assert!(
        reviewed
            .warnings
            .iter()
            .any(|one| one.kind() == v1::review_warning::Kind::LastPlace)
    );
    let sync = ann.activate(&sixth).await;
    ann.succeeds(&sync).await;
    let activate = v1::ActivateIntegrationRequest {
        name: seventh.clone(),
        ..Default::default()
    };
    let no = refused(gil.integrations.activate_integration(activate)).await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    let reviewed = ok(gil.integrations.review_integration(review)).await;
    assert_eq!(
        reviewed.warnings[0].reason(),
        v1::ErrorReason::AccountLimitReached
    );
}

async fn a_group_goes_with_all_that_is_its_own(database: Database) {
    let world = World::start(database, 10).await;
    world.connect("globex", true).await;
    let (mut ann, mut gil) = (
        world.ann().await,
        world.person("gil", "globex", Role::Administrator).await,
    );
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", FIELDS).await;
    ann.share(&name, "globex", &[]).await;
    assert!(!gil.all_companies(500).await.is_empty());
    let mut platform = world.person("platform", "", Role::Service).await;
    let delete = v1::DeleteGroupRequest {
        name: "groups/acme".to_owned(),
    };
    let gone = ok(platform.groups.delete_group(delete.clone())).await;
    assert_eq!((gone.deleted_integration_count, gone.ended_share_count), (1, 0));
    assert_eq!(
        refused(platform.groups.delete_group(delete)).await.reason,
        "NOT_FOUND"
    );
    assert!(gil.all_companies(500).await.is_empty() && gil.integrations().await.is_empty());
    let list = v1::ListIntegrationsRequest {
        parent: ann.parent.clone(),
        ..Default::default()
    };
    assert_eq!(
        refused(ann.integrations.list_integrations(list)).await.reason,
        "GROUP_UNKNOWN"
    );
    until("the rows are removed", async || {
        world.log().contains("the rows of")
    })
    .await;
    // A group that is created again starts empty.
    let group = v1::Group {
        name: "groups/acme".to_owned(),
        display_name: "Acme again".to_owned(),
        ..Default::default()
    };
    ok(platform
        .groups
        .upsert_group(v1::UpsertGroupRequest { group: Some(group) }))
    .await;
    assert!(ann.integrations().await.is_empty());
    let no = refused(
        ann.integrations
            .create_integration(ann.draft("salesforce", "New")),
    )
    .await;
    assert_eq!(no.reason, "CONNECTOR_DISABLED");
}

async fn logging_in_again_as_another_user_moves_it(database: Database) {
    let world = World::start(database, 1).await;
    let mut ann = world.ann().await;
    let (name, first) = ann.dummy("One", "user").await;
    let before = ann.get(&name).await;
    // The same user: the account and the settings stay, and a sync is started.
    let same = ok(ann
        .integrations
        .authorize_with_credentials(Person::key(&name, "user")))
    .await;
    assert!(!same.account_changed);
    let at = |integration: &v1::Integration| {
        let time = integration.account.as_ref().unwrap().log_in_time.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(at(&same.integration.unwrap()) > at(&before));
    // Another user of the organization: the integration moves to that account, counts there, and reads
    // everything again.
    let moved = ok(ann
        .integrations
        .authorize_with_credentials(Person::key(&name, "other")))
    .await;
    assert!(moved.account_changed);
    let account = moved.integration.unwrap().account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.active_integration_count),
        ("other@acme.invalid", 1)
    );
    let after = ann.get(&name).await;
    assert_eq!(
        (&after.selected_fields, &after.display_name),
        (&before.selected_fields, &before.display_name)
    );
    let list = v1::ListSyncsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let syncs = ok(ann.integrations.list_syncs(list)).await.syncs;
    assert!(
        syncs.len() > 1 && syncs[0].name != first && syncs[0].trigger() == sync::Trigger::LogIn,
        "{syncs:?}"
    );
    ann.succeeds(&syncs[0].name).await;
    // Its place at the former account is free: five more fit there.
    for number in 2..=6 {
        ann.dummy(&format!("Number {number}"), "user").await;
    }
    // If the other account is full, it stays at its own.
    for number in 7..=10 {
        ann.dummy(&format!("Number {number}"), "other").await;
    }
    let no = refused(
        ann.integrations
            .authorize_with_credentials(Person::key(&name, "user")),
    )
    .await;
    assert_eq!(no.reason, "ACCOUNT_LIMIT_REACHED");
    assert_eq!(
        ann.get(&name).await.account.unwrap().username,
        "other@acme.invalid"
    );
}
