//! A first load leaves company records for later; afterwards each is found by its company.

use super::*;

fn company(id: &str, domain: &str) -> RecordRow {
    RecordRow {
        company_id: Some(CompanyId::of_domain(domain)),
        homepage: Some(domain.to_owned()),
        ..row(id, 1, 1)
    }
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

    async fn later_writes_are_found_at_once(store) {
        const ALL: &[&str] = &["a.com", "b.com", "c.com", "d.com"];
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = lease(store, &one).await;
        store.sync_commit(loaded(&sync, vec![company("a", "a.com"), company("b", "b.com")])).await.unwrap();
        // A live read in the middle of the load is found, and hides nothing of what is left for later.
        store.record_refresh(refresh(&one, 2, vec![batch("Account", 2, vec![company("c", "c.com")])])).await.unwrap();
        assert_eq!(found(store, &g, &one, ALL).await, ["c.com"]);
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
        store.record_refresh(refresh(&one, 1, vec![batch("Account", 1, rows)])).await.unwrap();
        // As the migration leaves them.
        for url in store.data_urls() {
            raw::run(&url, "DELETE FROM company_record; DELETE FROM company_name; UPDATE data_set SET company_no = 0");
        }
        assert_eq!(store.company_count_all(&g, vec![one.id]).await.unwrap(), 0);
        store.company_fill_all().await.unwrap();
        store.company_fill_all().await.unwrap();
        assert_eq!(store.company_count_all(&g, vec![one.id]).await.unwrap(), 20);
        assert_eq!(store.company_list_all(&g, vec![one.id], None, 100).await.unwrap().len(), 20);
        // Nothing of it stays behind when the integration goes.
        store.integration_delete(one.id, None, NOW).await.unwrap();
        while !store.integration_purge(one.id, 7).await.unwrap() {}
        assert_eq!((stored_rows(store, "company_record"), stored_rows(store, "company_name")), (0, 0));
    }
}
