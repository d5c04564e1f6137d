//! A database stored with version 1 of the identity rules, moved to the current version. Ids and domains are
//! hand-written.

use super::*;
use tether::reidentify::{self, company_of};
use tether::{identity, server};

const V1: &str = "1:psl-2.1.247";

/// A record as version 1 stored it.
fn old(id: &str, homepage: Option<&str>, company: CompanyId) -> RecordRow {
    RecordRow {
        company_id: Some(company),
        homepage: homepage.map(str::to_owned),
        ..row(id, 1, 1)
    }
}

fn domain(domain: &str) -> CompanyId {
    CompanyId::of_domain(domain)
}

/// The company of a record by its id; `log_in` of these tests has the organization "00D".
fn itself(id: &str) -> CompanyId {
    CompanyId::of_record("salesforce", "00D", id)
}

/// The company of each record in version 1, and the right one.
fn records() -> Vec<(RecordRow, CompanyId)> {
    vec![
        (
            old(
                "1",
                Some("stone-one.com;shared-agency.com"),
                domain("com;shared-agency.com"),
            ),
            domain("stone-one.com"),
        ),
        (
            old(
                "2",
                Some("stone-two.com;shared-agency.com"),
                domain("com;shared-agency.com"),
            ),
            domain("stone-two.com"),
        ),
        (
            old(
                "3",
                Some("https://stone-three.com/about"),
                domain("stone-three.com"),
            ),
            domain("stone-three.com"),
        ),
        (
            old("4", Some("\"stone-four.com\""), itself("4")),
            domain("stone-four.com"),
        ),
        (
            old("5", Some("https://www.facebook.com/stone-five"), itself("5")),
            itself("5"),
        ),
        (
            old(
                "6",
                Some("https://www.google.com/maps/place/stone"),
                domain("google.com"),
            ),
            itself("6"),
        ),
        (
            old("7", Some("https://www.google.com"), domain("google.com")),
            domain("google.com"),
        ),
        (
            old(
                "8",
                Some("https://stone-eight.wordpress.com"),
                domain("wordpress.com"),
            ),
            domain("stone-eight.wordpress.com"),
        ),
        (old("9", None, itself("9")), itself("9")),
    ]
}

async fn of_version_1(url: &str, store: &Store) -> (GroupId, Integration) {
    raw::set_meta(url, "identity", V1);
    let g = group(store, "g").await;
    let of = active(store, &g, "Stones").await;
    let sync = store
        .sync_lease_next(&worker("w"), NOW, NOW + MINUTE)
        .await
        .unwrap()
        .unwrap();
    let rows = records().into_iter().map(|(row, _)| row).collect();
    let related = vec![row("c1", 1, 1)];
    store
        .sync_commit(commit(
            &sync,
            vec![batch("Account", NOW, rows), batch("Contact", NOW, related)],
        ))
        .await
        .unwrap();
    (g, store.integration_get(of.id).await.unwrap())
}

async fn company_ids(store: &Store, id: IntegrationId) -> Vec<(String, CompanyId)> {
    let mut ids: Vec<_> = feed(store, id, 0)
        .await
        .into_iter()
        .filter_map(|change| Some((change.record.external_id, change.record.company_id?)))
        .collect();
    ids.sort();
    ids
}

fn right() -> Vec<(String, CompanyId)> {
    records()
        .into_iter()
        .map(|(row, right)| (row.external_id, right))
        .collect()
}

both! {
    async fn records_of_version_1_become_the_companies_they_are(store) {
        let (g, before) = of_version_1(&store.url, store).await;
        let change_no = store.record_change_no(before.id).await.unwrap();
        let moved = reidentify::run(store).await.unwrap();
        // Records 1, 2, 4, 6 and 8 moved; the others did not.
        assert_eq!((moved.records, moved.tracked, moved.done), (5, 0, true));
        assert_eq!(company_ids(store, before.id).await, right());
        assert_eq!(store.identity_version().await.unwrap().as_deref(), Some(identity::VERSION));
        // Moved records are at the end of the feed, each with a number of its own; others are not repeated.
        let feed = feed(store, before.id, change_no).await;
        let mut again: Vec<&str> = feed.iter().map(|change| change.record.external_id.as_str()).collect();
        again.sort_unstable();
        assert_eq!(again, ["1", "2", "4", "6", "8"]);
        assert_eq!(store.record_change_no(before.id).await.unwrap(), change_no + 5);
        // The lists of companies changed, too: shared-agency.com had joined two unrelated companies.
        let all = store.company_list_all(&g, vec![before.id], None, 100).await.unwrap();
        assert_eq!(all.len(), 9);
        // A second run changes nothing.
        assert_eq!(reidentify::run(store).await.unwrap().records, 0);
        assert_eq!(store.record_change_no(before.id).await.unwrap(), change_no + 5);
    }

    async fn tracked_companies_keep_name_and_homepage_and_move_along(store) {
        let (g, of) = of_version_1(&store.url, store).await;
        let entry = |name: &str, homepage: &str, company_id| Track { company_id, name: name.to_owned(), homepage: homepage.to_owned() };
        let entries = vec![
            entry("One", "stone-one.com;shared-agency.com", domain("com;shared-agency.com")),
            // Tracked as the record that it was.
            entry("Four", "\"stone-four.com\"", itself("4")),
            // Its homepage identifies no company any more: the record that it was tracked as identifies it.
            entry("Six", "https://www.google.com/maps/place/stone", domain("google.com")),
            entry("Three", "https://stone-three.com/about", domain("stone-three.com")),
            entry("Elsewhere", "https://elsewhere-one.com", domain("elsewhere-one.com")),
            entry("Five", "https://www.facebook.com/stone-five", itself("5")),
        ];
        store.company_track(&g, entries, "ada", NOW).await.unwrap();
        // Another group's tracked list has one company twice: under the old id, and under the right one since
        // before.
        let other = group(store, "other").await;
        store.company_track(&other, vec![entry("Right", "stone-one.com", domain("stone-one.com"))], "eve", NOW - 1).await.unwrap();
        let twice = entry("Twice", "stone-one.com; shared-agency.com", domain("com; shared-agency.com"));
        store.company_track(&other, vec![twice], "eve", NOW).await.unwrap();

        assert_eq!(reidentify::run(store).await.unwrap().tracked, 4);
        let list = |group: GroupId| async move {
            let mut list: Vec<_> = store.company_tracked(&group).await.unwrap().into_iter().map(|(track, _)| track).collect();
            list.sort_by(|a, b| a.name.cmp(&b.name));
            list
        };
        // "Six" had two records under its id; record 6 is the first by name and id.
        assert_eq!(list(g.clone()).await, [
            entry("Elsewhere", "https://elsewhere-one.com", domain("elsewhere-one.com")),
            entry("Five", "https://www.facebook.com/stone-five", itself("5")),
            entry("Four", "\"stone-four.com\"", domain("stone-four.com")),
            entry("One", "stone-one.com;shared-agency.com", domain("stone-one.com")),
            entry("Six", "https://www.google.com/maps/place/stone", itself("6")),
            entry("Three", "https://stone-three.com/about", domain("stone-three.com")),
        ]);
        assert_eq!(list(other).await, [entry("Right", "stone-one.com", domain("stone-one.com"))]);
        let views = store.company_get_tracked(&g, vec![of.id], vec![domain("stone-one.com"), itself("6")]).await.unwrap();
        assert!(views.values().all(|view| view.tracked && view.sources == [of.id]), "fed and tracked are one again: {views:?}");
    }

    async fn a_move_that_was_interrupted_goes_on_and_several_take_turns(store) {
        let (g, of) = of_version_1(&store.url, store).await;
        let entry = Track { company_id: itself("4"), name: "Four".to_owned(), homepage: "\"stone-four.com\"".to_owned() };
        store.company_track(&g, vec![entry], "ada", NOW).await.unwrap();
        let change_no = store.record_change_no(of.id).await.unwrap();
        // Batches of one; the process ends after the fourth.
        for _ in 0..4 {
            assert!(!store.identity_move(identity::VERSION, 1, identity::domain_of, company_of).await.unwrap().done);
        }
        assert_eq!(store.identity_version().await.unwrap().as_deref(), Some(V1));
        let stores: Vec<Store> = (0..3).map(|_| Store::clone(store)).collect();
        let runs = futures(3, |i| {
            let store = stores[i].clone();
            async move {
                loop {
                    if store.identity_move(identity::VERSION, 2, identity::domain_of, company_of).await.unwrap().done {
                        return;
                    }
                }
            }
        });
        runs.await;
        assert_eq!(company_ids(store, of.id).await, right());
        assert_eq!(store.record_change_no(of.id).await.unwrap(), change_no + 5);
        assert_eq!(raw::meta(&store.url, "identity move"), None);
    }

    async fn the_platforms_companies_move_too(store) {
        raw::set_meta(&store.url, "identity", V1);
        let company = |company_id, platform_id: &str, homepage: &str| PlatformCompany {
            company_id,
            platform_id: platform_id.to_owned(),
            name: platform_id.to_owned(),
            homepage: homepage.to_owned(),
        };
        let old = vec![
            company(domain("google.com"), "1", "https://www.google.com/maps/place/stone"),
            company(domain("wordpress.com"), "2", "https://stone-eight.wordpress.com/"),
            company(domain("stone-three.com"), "3", "https://stone-three.com/"),
        ];
        store.platform_upsert(old, NOW).await.unwrap();
        let moved = reidentify::run(store).await.unwrap();
        assert_eq!((moved.platform, moved.done), (2, true));
        let right = [CompanyId::of_platform("1"), domain("stone-eight.wordpress.com"), domain("stone-three.com")];
        let mut found = store.platform_get_many(right.to_vec()).await.unwrap();
        found.sort_by(|a, b| a.platform_id.cmp(&b.platform_id));
        assert_eq!(found.into_iter().map(|one| one.company_id).collect::<Vec<_>>(), right);
        assert!(store.platform_get_many(vec![domain("google.com"), domain("wordpress.com")]).await.unwrap().is_empty());
    }

    async fn progress_towards_another_version_counts_for_nothing(store) {
        let (_, of) = of_version_1(&store.url, store).await;
        let all_done = r#"{"to":"1:other","step":{"Records":["g",["f","f","f"]]}}"#;
        raw::set_meta(&store.url, "identity move", all_done);
        reidentify::run(store).await.unwrap();
        assert_eq!(company_ids(store, of.id).await, right());
    }

    async fn a_later_tethers_database_is_left_alone(store) {
        let (_, of) = of_version_1(&store.url, store).await;
        let change_no = store.record_change_no(of.id).await.unwrap();
        raw::set_meta(&store.url, "identity", "3:psl-9.9.9");
        let error = reidentify::run(store).await.unwrap_err();
        assert!(error.to_string().contains("3:psl-9.9.9"), "{error}");
        assert_eq!(company_ids(store, of.id).await.len(), 9);
        assert_eq!(store.record_change_no(of.id).await.unwrap(), change_no);
    }

    async fn a_new_database_has_the_present_version(store) {
        reidentify::run(store).await.unwrap();
        assert_eq!(store.identity_version().await.unwrap().as_deref(), Some(identity::VERSION));
    }
}

/// `tether migrate` and the start use the same code.
#[tokio::test]
async fn opening_the_database_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        ("data_dir".to_owned(), folder.path().display().to_string()),
        ("dev".to_owned(), "true".to_owned()),
    ];
    let options = tether::config::Options::load(None, &flags).unwrap();
    let store = server::open_store(&options).await.unwrap();
    let url = format!("sqlite:{}", folder.path().join("tether.db").display());
    let (_, of) = of_version_1(&url, &store).await;
    drop(store);
    let store = server::open_store(&options).await.unwrap();
    assert_eq!(company_ids(&store, of.id).await, right());
}
