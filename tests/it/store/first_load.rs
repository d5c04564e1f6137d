//! A first load leaves company records and links for later; afterwards each record is found by its company and by its parents.

use super::*;

fn company(id: &str, domain: &str) -> RecordRow {
    RecordRow {
        company_id: Some(CompanyId::of_domain(domain)),
        homepage: Some(domain.to_owned()),
        ..row(id, 1, 1)
    }
}

fn parent(id: &str) -> Parent {
    Parent {
        object: "Account".to_owned(),
        external_id: id.to_owned(),
    }
}

fn contact(id: &str, account: &str) -> RecordRow {
    RecordRow {
        parents: vec![parent(account)],
        ..row(id, 1, 1)
    }
}

fn first_contacts(sync: &Sync, rows: Vec<RecordRow>) -> SyncCommit {
    SyncCommit {
        is_first_load: true,
        ..commit(sync, vec![batch("Contact", 1, rows)])
    }
}

/// Whether first loads leave links for later, too: PostgreSQL has an index of them.
fn leaves_links(store: &Fixture) -> bool {
    store.url.starts_with("sqlite:")
}

/// The contacts of the accounts a, b and c, as "account contact".
async fn contacts(store: &Store, of: &Integration) -> Vec<String> {
    let accounts = ["a", "b", "c"].map(str::to_owned).to_vec();
    let links = store
        .record_links(of.id, "Account", accounts, "Contact")
        .await
        .unwrap();
    let mut found: Vec<String> = links
        .into_iter()
        .map(|(account, id)| format!("{account} {id}"))
        .collect();
    found.sort();
    found
}

async fn lease(store: &Store, of: &Integration) -> Sync {
    let sync = store
        .sync_lease_next(&worker("w"), NOW, NOW + 5 * MINUTE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sync.integration_id, of.id);
    sync
}

fn loaded(sync: &Sync, rows: Vec<RecordRow>) -> SyncCommit {
    SyncCommit {
        is_first_load: true,
        ..commit(sync, vec![batch("Account", 1, rows)])
    }
}

/// The domains of those of these companies that are found, each in four ways.
async fn found(store: &Store, g: &GroupId, of: &Integration, domains: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for domain in domains {
        let id = CompanyId::of_domain(domain);
        let one = store.company_get(g, vec![of.id], id).await.unwrap();
        let keys = store.record_company_keys(of.id, vec![id]).await.unwrap();
        assert_eq!(one.is_some(), !keys.is_empty(), "{domain}");
        found.extend(one.map(|_| (*domain).to_owned()));
    }
    let list = store.company_list_all(g, vec![of.id], None, 100).await.unwrap();
    assert_eq!(list.len(), found.len());
    let count = store.company_count_all(g, vec![of.id]).await.unwrap();
    assert_eq!(count as usize, found.len());
    found
}

/// The rows of a table, in all databases.
fn stored_rows(store: &Fixture, table: &str) -> usize {
    let urls = store.data_urls();
    urls.iter().map(|url| raw::count(url, table, "true")).sum()
}

fn ended(sync: &Sync, state: SyncState) -> SyncEnd {
    SyncEnd {
        sync_id: sync.id,
        fence: sync.fence,
        state,
        error_reason: String::new(),
        error_message: String::new(),
        note: String::new(),
        company_records: None,
        now_us: NOW,
    }
}

both! {
    async fn companies_are_found_when_the_load_has_ended(store) {
        const ALL: &[&str] = &["a.com", "b.com", "c.com", "d.com"];
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = lease(store, &one).await;
        let first = store.sync_commit(loaded(&sync, vec![company("a", "a.com"), company("b", "b.com")])).await.unwrap();
        assert_eq!(first.left, Left::Some);
        assert!(found(store, &g, &one, ALL).await.is_empty());
        // A commit without company records follows: those before it are due.
        let second = store.sync_commit(SyncCommit { is_first_load: true, ..commit(&sync, vec![batch("Contact", 1, vec![row("x", 1, 1)])]) }).await.unwrap();
        assert_eq!(second.left, Left::Chunk);
        store.company_fill(one.id).await.unwrap();
        assert_eq!(found(store, &g, &one, ALL).await, ["a.com", "b.com"]);
        // Nothing is left: commits without company records stay so.
        let third = store.sync_commit(SyncCommit { is_first_load: true, ..commit(&sync, vec![batch("Contact", 1, vec![row("y", 1, 1)])]) }).await.unwrap();
        assert_eq!(third.left, Left::Nothing);
        // One that was added moves to another company, one is removed, one is new: ends count at once, the rest later.
        let moved = RecordRow { hash: 2, ..company("a", "c.com") };
        let gone = RecordRow { deleted: true, ..row("b", 1, 1) };
        store.sync_commit(loaded(&sync, vec![moved, gone, company("d", "d.com")])).await.unwrap();
        assert!(found(store, &g, &one, ALL).await.is_empty());
        store.sync_finish(ended(&sync, SyncState::Failed)).await.unwrap();
        assert_eq!(found(store, &g, &one, ALL).await, ["c.com", "d.com"]);
        assert_eq!(stored_rows(store, "company_name"), 2);
    }

    async fn tombstones_of_records_that_were_never_stored_add_nothing(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = lease(store, &one).await;
        store.sync_commit(loaded(&sync, vec![company("a", "a.com")])).await.unwrap();
        let gone = |id: &str| RecordRow { deleted: true, ..row(id, 1, 1) };
        for (unknown, new) in [("x", "b"), ("y", "c")] {
            let rows = vec![gone(unknown), company(new, &format!("{new}.com"))];
            assert_eq!(store.sync_commit(loaded(&sync, rows)).await.unwrap().left, Left::Some);
        }
        assert_eq!(stored_rows(store, "company_record"), 0);
        store.sync_finish(ended(&sync, SyncState::Failed)).await.unwrap();
        assert_eq!(found(store, &g, &one, &["a.com", "b.com", "c.com"]).await.len(), 3);
    }

    async fn the_children_of_a_record_that_comes_and_goes_in_one_commit_are_read_again(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let sync = lease(store, &one).await;
        store.sync_commit(first_contacts(&sync, vec![contact("x", "a"), contact("y", "b")])).await.unwrap();
        let gone = RecordRow { deleted: true, ..row("a", 1, 1) };
        let both = vec![batch("Account", 1, vec![company("a", "a.com")]), batch("Account", 2, vec![gone])];
        store.sync_commit(SyncCommit { is_first_load: true, ..commit(&sync, both) }).await.unwrap();
        assert_eq!(stored_rows(store, "data_wanted"), 1);
    }

    async fn later_writes_are_found_at_once(store) {
        const ALL: &[&str] = &["a.com", "b.com", "c.com", "d.com"];
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = lease(store, &one).await;
        store.sync_commit(loaded(&sync, vec![company("a", "a.com"), company("b", "b.com")])).await.unwrap();
        // A live read in the middle of the load is found, and hides nothing of what is left for later. On SQLite it adds that, too.
        store.record_refresh(refresh(&one, 2, vec![batch("Account", 2, vec![company("c", "c.com")])])).await.unwrap();
        let now: &[&str] = if leaves_links(store) { &["a.com", "b.com", "c.com"] } else { &["c.com"] };
        assert_eq!(found(store, &g, &one, ALL).await, now);
        store.sync_finish(ended(&sync, SyncState::Failed)).await.unwrap();
        assert_eq!(found(store, &g, &one, ALL).await, ["a.com", "b.com", "c.com"]);
        let new = NewSync {
            integration_id: one.id,
            trigger: SyncTrigger::Manual,
            create_by: "ada".to_owned(),
            due_us: NOW,
            confirms: None,
            now_us: NOW,
            mode: SyncMode::Auto,
        };
        let next = store.sync_enqueue(new).await.unwrap();
        assert!(matches!(next, Enqueued::New(_)));
        let sync = lease(store, &one).await;
        let moved = RecordRow { hash: 2, ..company("a", "d.com") };
        let gone = RecordRow { deleted: true, ..row("b", 1, 1) };
        store.sync_commit(commit(&sync, vec![batch("Account", 3, vec![moved, gone])])).await.unwrap();
        assert_eq!(found(store, &g, &one, ALL).await, ["c.com", "d.com"]);
    }

    async fn databases_of_earlier_versions_are_filled(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let rows = (0..20).map(|n| company(&format!("{n:02}"), &format!("{n}.com"))).collect();
        let children = vec![contact("x", "a"), contact("y", "b")];
        store.record_refresh(refresh(&one, 1, vec![batch("Account", 1, rows), batch("Contact", 1, children)])).await.unwrap();
        // As the migration leaves them.
        for url in store.data_urls() {
            raw::run(&url, "DELETE FROM company_record; DELETE FROM company_name; UPDATE data_set SET company_no = 0");
            if leaves_links(store) {
                raw::run(&url, "DELETE FROM record_child");
                assert!(contacts(store, &one).await.is_empty());
            }
        }
        assert_eq!(store.company_count_all(&g, vec![one.id]).await.unwrap(), 0);
        store.company_fill_all().await.unwrap();
        store.company_fill_all().await.unwrap();
        assert_eq!(store.company_count_all(&g, vec![one.id]).await.unwrap(), 20);
        assert_eq!(store.company_list_all(&g, vec![one.id], None, 100).await.unwrap().len(), 20);
        assert_eq!(contacts(store, &one).await, ["a x", "b y"]);
        // Nothing of it stays behind when the integration goes.
        store.integration_delete(one.id, None, NOW).await.unwrap();
        while !store.integration_purge(one.id, 7).await.unwrap() {}
        assert_eq!((stored_rows(store, "company_record"), stored_rows(store, "company_name")), (0, 0));
        if leaves_links(store) {
            assert_eq!(stored_rows(store, "record_child"), 0);
        }
    }

    async fn children_are_found_when_the_load_has_ended(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let sync = lease(store, &one).await;
        let left = leaves_links(store);
        let first = store.sync_commit(first_contacts(&sync, vec![contact("x", "a"), contact("y", "b")])).await.unwrap();
        assert_eq!((first.left == Left::Some, first.left == Left::Nothing), (left, !left));
        assert_eq!(contacts(store, &one).await.is_empty(), left);
        store.company_fill(one.id).await.unwrap();
        assert_eq!(contacts(store, &one).await, ["a x", "b y"]);
        // One moves while others are left for later: it is under its new parent at once.
        let moved = RecordRow { hash: 2, ..contact("x", "c") };
        store.sync_commit(first_contacts(&sync, vec![moved, contact("z", "a")])).await.unwrap();
        let found = contacts(store, &one).await;
        assert_eq!(found, if left { vec!["b y", "c x"] } else { vec!["a z", "b y", "c x"] });
        store.sync_finish(ended(&sync, SyncState::Failed)).await.unwrap();
        assert_eq!(contacts(store, &one).await, ["a z", "b y", "c x"]);
    }

    async fn a_live_read_in_a_first_load_knows_all_children(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let sync = lease(store, &one).await;
        let rows = vec![contact("x", "a"), contact("y", "a"), contact("z", "b")];
        store.sync_commit(first_contacts(&sync, rows)).await.unwrap();
        // The CRM lists one of the two children, as it is stored: it is found after the read, and the other one no longer.
        let live = Refresh {
            complete: vec![ChildSet {
                parent_object: "Account".to_owned(),
                parent_id: "a".to_owned(),
                child_object: "Contact".to_owned(),
            }],
            ..refresh(&one, 2, vec![batch("Contact", 2, vec![contact("x", "a")])])
        };
        let done = store.record_refresh(live).await.unwrap();
        assert_eq!((done.unlinked, done.counters.written), (1, 0));
        assert_eq!(contacts(store, &one).await, ["a x", "b z"]);
        assert_eq!(store.sync_wanted(&sync, 10).await.unwrap(), [("Contact".to_owned(), "y".to_owned())]);
        // What is added later does not bring it back.
        store.sync_commit(first_contacts(&sync, vec![contact("w", "a")])).await.unwrap();
        store.sync_finish(ended(&sync, SyncState::Failed)).await.unwrap();
        assert_eq!(contacts(store, &one).await, ["a w", "a x", "b z"]);
    }

    async fn children_of_records_that_are_removed_in_a_first_load_are_wanted(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let sync = lease(store, &one).await;
        store.sync_commit(loaded(&sync, vec![company("a", "a.com"), company("b", "b.com")])).await.unwrap();
        store.sync_commit(first_contacts(&sync, vec![contact("x", "a"), contact("y", "b")])).await.unwrap();
        let gone = RecordRow { deleted: true, ..row("a", 1, 1) };
        store.sync_commit(loaded(&sync, vec![gone])).await.unwrap();
        assert_eq!(store.sync_wanted(&sync, 10).await.unwrap(), [("Contact".to_owned(), "x".to_owned())]);
    }
}
