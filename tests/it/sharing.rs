//! A share, from the first search for a group until it ends, over gRPC with the simulated Salesforce.

use tether::caller::Role;
use tether::proto::v1;
use tether::proto::v1::company_to_track::Company;
use tether::proto::v1::integration::{Relation, State};
use tonic::Code;

use crate::support::server::{Database, Person, World, ok, on_all_databases, refused};

on_all_databases!(a_share_is_received_used_and_lost);

pub(crate) const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Industry",
    "Account.AnnualRevenue",
    "Contact.Name",
    "Contact.Email",
    "Case.Subject",
];

pub(crate) fn keys(of: &[(&str, bool)]) -> Vec<(String, bool)> {
    of.iter()
        .map(|(key, active)| ((*key).to_owned(), *active))
        .collect()
}

/// The columns of each table of a card, with whether they are active.
pub(crate) fn shown(profile: &v1::CompanyProfile) -> Vec<(String, bool)> {
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

/// The fields of the share, as the receiver sees them first.
fn passive() -> Vec<(String, bool)> {
    keys(&[
        ("Account.AnnualRevenue", false),
        ("Account.Industry", false),
        ("Contact.Name", false),
    ])
}

/// The same after the receiver has made one active.
fn one_active() -> Vec<(String, bool)> {
    keys(&[
        ("Account.AnnualRevenue", false),
        ("Account.Industry", true),
        ("Contact.Name", false),
    ])
}

/// An integration of acme, its administrator, and two members of the group that it is shared with.
struct Story {
    world: World,
    ann: Person,
    gil: Person,
    gus: Person,
    name: String,
    /// The number of companies of the integration.
    owned: usize,
    /// The first of them, as the receiver lists them.
    company: String,
}

async fn a_share_is_received_used_and_lost(database: Database) {
    let world = World::start(database, 40).await;
    let (mut ann, gil) = (world.ann().await, world.gil().await);
    let gus = world.person("gus", "globex", Role::Member).await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", FIELDS).await;
    let owned = ann.all_companies(500).await.len();
    let mut story = Story {
        company: String::new(),
        owned,
        world,
        ann,
        gil,
        gus,
        name,
    };
    story.groups_are_found_once_connected().await;
    story.a_share_is_visible_at_once().await;
    story.the_receiver_edits_nothing().await;
    story.the_receiver_sees_companies_and_a_card().await;
    story.each_group_decides_for_itself().await;
    story.a_sync_is_shown_in_part().await;
    story.a_field_is_passive_for_a_while().await;
    story.uses_end_and_begin_again().await;
    story.connectors_are_disabled().await;
    story.the_own_list_counts().await;
    story.the_share_ends_with_the_connection().await;
    story.names_need_a_field_with_them().await;
    story.the_share_is_removed().await;
}

impl Story {
    /// Searches find only groups that are connected with the caller's, by part of their name.
    async fn groups_are_found_once_connected(&mut self) {
        let Self { world, ann, name, .. } = self;
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
        let no = refused(ann.integrations.set_share(Person::sharing(name, "globex", &[]))).await;
        assert_eq!((no.code, no.reason.as_str()), (Code::NotFound, "NOT_FOUND"));
        let never = refused(ann.integrations.set_share(Person::sharing(name, "nobody", &[]))).await;
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
    }

    /// Shared: visible at once, connected, with passive fields.
    async fn a_share_is_visible_at_once(&mut self) {
        let Self {
            ann, gil, gus, name, ..
        } = self;
        assert!(gil.integrations().await.is_empty());
        let share = ann
            .share(
                name,
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
        let managed = gil.get(name).await;
        assert_eq!(managed.selected_fields.len(), 3);
        assert!(managed.shares.is_empty() && managed.etag.is_empty() && managed.settings.is_empty());
        assert!(managed.api_usage.is_none() && managed.groups_with_access_count == 0);
        assert_eq!(managed.account.as_ref().unwrap().active_integration_count, 0);
        assert_eq!(gil.fields(name).await, passive());
    }

    async fn the_receiver_edits_nothing(&mut self) {
        let Self { gil, name, .. } = self;
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
            refused(gil.integrations.set_share(Person::sharing(name, "acme", &[]))).await,
        ] {
            assert_eq!(
                (no.code, no.reason.as_str()),
                (Code::PermissionDenied, "NOT_OWNER")
            );
        }
    }

    /// Its companies and its card: the shared fields, active or passive, and no other object.
    async fn the_receiver_sees_companies_and_a_card(&mut self) {
        let Self {
            gus, owned, company, ..
        } = self;
        let companies = gus.all_companies(500).await;
        assert_eq!(companies.len(), *owned);
        *company = companies[0].name.clone();
        let profile = gus.open(company).await;
        let card = &profile.cards[0];
        assert_eq!(
            (card.relation(), card.group_display_name.as_str()),
            (Relation::Received, "Acme Research")
        );
        assert!(card.freshness.as_ref().unwrap().live);
        assert_eq!(card.related.len(), 1);
        let mut columns = shown(&profile);
        columns.sort();
        assert_eq!(columns, passive());
    }

    /// The receiver's choice affects only itself.
    async fn each_group_decides_for_itself(&mut self) {
        let Self { ann, gil, name, .. } = self;
        assert_eq!(
            gil.decide(name, &["Account.Industry"], &[])
                .await
                .field_counts
                .unwrap()
                .active,
            1
        );
        assert!(ann.fields(name).await.iter().all(|(_, active)| *active));
        let beyond = v1::BatchUpdateFieldActivationRequest {
            parent: name.clone(),
            active_fields: vec!["Contact.Email".to_owned()],
            ..Default::default()
        };
        let no = refused(gil.integrations.batch_update_field_activation(beyond)).await;
        assert_eq!(no.reason, "FIELD_UNKNOWN");
    }

    /// As the receiver sees it: without API calls and without objects of which it has no field.
    async fn a_sync_is_shown_in_part(&mut self) {
        let Self { gus, name, .. } = self;
        let synced = gus.syncs(name).await;
        let objects: Vec<&str> = synced[0].objects.iter().map(|one| one.object.as_str()).collect();
        assert_eq!(
            (objects, synced[0].api_calls_used),
            (vec!["Account", "Contact"], 0)
        );
    }

    /// The owner makes a field passive: receivers lose it at once, until it is active again, and the answer has
    /// their number.
    async fn a_field_is_passive_for_a_while(&mut self) {
        let Self { ann, gil, name, .. } = self;
        let done = ann.decide(name, &[], &["Account.Industry", "Case.Subject"]).await;
        assert_eq!(done.losing_group_count, 1);
        assert_eq!(
            gil.fields(name).await,
            keys(&[("Account.AnnualRevenue", false), ("Contact.Name", false)])
        );
        let no = refused(
            ann.integrations
                .set_share(Person::sharing(name, "globex", &["Case.Subject"])),
        )
        .await;
        assert_eq!(no.reason, "FIELD_PASSIVE");
        ann.decide(name, &["Account.Industry"], &[]).await;
        assert_eq!(gil.fields(name).await, one_active());
    }

    /// Disconnect and reconnect: only the receiver loses the source, and its settings are kept.
    async fn uses_end_and_begin_again(&mut self) {
        let Self {
            ann,
            gil,
            gus,
            name,
            owned,
            ..
        } = self;
        let off = connect(gil, name, false).await;
        assert_eq!(off.connected, Some(false));
        assert!(gus.all_companies(500).await.is_empty());
        assert_eq!(gus.integrations().await.len(), 1);
        assert_eq!(ann.all_companies(500).await.len(), *owned);
        connect(gil, name, true).await;
        assert_eq!(gus.all_companies(500).await.len(), *owned);
        assert_eq!(gil.fields(name).await, one_active());
        // The owner's own use can be disconnected, too: the integration is then for others only.
        connect(ann, name, false).await;
        assert!(ann.all_companies(500).await.is_empty());
        assert_eq!(gus.all_companies(500).await.len(), *owned);
        connect(ann, name, true).await;
    }

    /// If the receiver disables the connector, the source is hidden from it only. If the owner does, it is hidden from
    /// all groups, and the account's places stay taken.
    async fn connectors_are_disabled(&mut self) {
        let Self {
            ann,
            gil,
            gus,
            name,
            owned,
            ..
        } = self;
        gil.disable("salesforce").await;
        assert!(gus.all_companies(500).await.is_empty());
        assert_eq!(ann.all_companies(500).await.len(), *owned);
        gil.enable("salesforce").await;
        ann.disable("salesforce").await;
        assert!(gus.all_companies(500).await.is_empty() && ann.all_companies(500).await.is_empty());
        assert_eq!(gil.get(name).await.state(), State::Disabled);
        assert_eq!(ann.get(name).await.account.unwrap().active_integration_count, 1);
        ann.enable("salesforce").await;
        assert_eq!(gus.all_companies(500).await.len(), *owned);
    }

    /// A list of one source has only companies of it, tracked or not.
    async fn the_own_list_counts(&mut self) {
        let Self {
            gus,
            name,
            owned,
            company,
            ..
        } = self;
        gus.track(Company::Name(company.clone())).await;
        let unfed = Company::NewCompany(v1::NewCompany {
            display_name: "Fed by nobody".to_owned(),
            homepage_uri: "https://fed-by-nobody.com".to_owned(),
        });
        let unfed = gus.track(unfed).await.name;
        for (scope, sources, size) in [
            (v1::CompanyScope::All, vec![], *owned + 1),
            (v1::CompanyScope::All, vec![name.clone()], *owned),
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
    }

    /// Tracked companies stay when the share ends; the others disappear. A new connection of the groups restores nothing.
    async fn the_share_ends_with_the_connection(&mut self) {
        let Self {
            world,
            gil,
            gus,
            name,
            company,
            ..
        } = self;
        world.connect("globex", false).await;
        world.connect("globex", true).await;
        let left = gus.all_companies(500).await;
        assert_eq!(
            (left.len(), left[0].name.as_str(), left[0].sources.len()),
            (1, company.as_str(), 0)
        );
        assert_eq!(gil.cannot_get(name).await.reason, "NOT_FOUND");
        assert!(gus.integrations().await.is_empty());
    }

    /// A related record's name is shared only with a field that contains it.
    async fn names_need_a_field_with_them(&mut self) {
        let Self {
            ann,
            gus,
            name,
            owned,
            ..
        } = self;
        ann.share(name, "globex", &[]).await;
        assert_eq!(gus.all_companies(500).await.len(), *owned);
        ann.share(name, "globex", &["Contact.Email"]).await;
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
    }

    async fn the_share_is_removed(&mut self) {
        let Self { ann, gus, name, .. } = self;
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
}
