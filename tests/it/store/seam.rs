//! Control and data sets share no transaction: what a crash between the two leaves, and what heals it.

use super::*;

async fn lease(store: &Store, now_us: Micros) -> Sync {
    let leased = store
        .sync_lease_next(&worker("worker"), now_us, now_us + MINUTE)
        .await;
    leased.unwrap().unwrap()
}

fn lost(result: Result<impl std::fmt::Debug, Error>) -> Lost {
    match result {
        Err(Error::LeaseLost { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

async fn apply(store: &Store, of: &Integration, batch: RecordBatch) {
    store.record_refresh(refresh(of, 1, vec![batch])).await.unwrap();
}

fn company_row(id: &str, domain: &str) -> RecordRow {
    RecordRow {
        company_id: Some(CompanyId::of_domain(domain)),
        ..row(id, 1, 1)
    }
}

fn ids(store: &Fixture, of: &Integration) -> Vec<String> {
    let sql = format!(
        "SELECT external_id AS text FROM record WHERE integration_id = '{}' ORDER BY 1",
        of.id
    );
    store
        .data_urls()
        .iter()
        .flat_map(|url| raw::ask(url, &sql))
        .collect()
}

both! {
    async fn a_commit_that_was_not_reported_is_reported_by_the_next_worker(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let first = lease(store, NOW).await;
        let industry = FieldRef { object: "Account".to_owned(), key: "Industry".to_owned() };
        let rows = batch("Account", 1, vec![row("a", 1, 1), row("b", 1, 1)]);
        let before = store.sync_get(first.id).await.unwrap();
        store.sync_commit(SyncCommit {
            missing_fields: vec![industry.clone()],
            ..commit(&first, vec![rows])
        }).await.unwrap();
        let reported = store.sync_progress(first.id).await.unwrap();
        assert_eq!((reported.0.checkpoint_seq, reported.1.len()), (1, 1));
        // The process ended after the commit: control is as it was before.
        raw::run(&store.url, &format!(
            "DELETE FROM sync_object WHERE sync_id = '{0}'; UPDATE integration_field SET missing_us = NULL; \
             UPDATE sync SET checkpoint = NULL, checkpoint_seq = 0, bytes = 0, api_calls = 0, change_no = 0, missing = '[]', \
             due_us = {1} WHERE id = '{0}'",
            first.id, before.due_us,
        ));
        let second = lease(store, NOW + 2 * MINUTE).await;
        assert_eq!((second.id, second.fence), (first.id, first.fence + 1));
        assert_eq!(second.checkpoint.as_deref(), Some(&b"checkpoint"[..]));
        // It got on, so that this try is the first since.
        assert_eq!((second.checkpoint_seq, second.bytes, second.api_calls, second.tries), (1, 10, 1, 1));
        assert_eq!(second.change_no, reported.0.change_no);
        assert_eq!(second.missing_fields(), ["Account.Industry"]);
        assert_eq!(store.sync_progress(first.id).await.unwrap().1, reported.1);
        let again = store.sync_commit(commit(&second, vec![batch("Account", 2, vec![row("c", 1, 1)])])).await.unwrap();
        assert_eq!(again.checkpoint_seq, 2);
        assert_eq!(ids(store, &one), ["a", "b", "c"]);
    }

    async fn a_lease_that_did_not_claim_is_followed_by_one_that_does(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let first = lease(store, NOW).await;
        // Another worker leased it and ended before it claimed the data set.
        raw::run(&store.url, &format!("UPDATE sync SET fence = fence + 1 WHERE id = '{}'", first.id));
        let rows = || vec![batch("Account", 1, vec![row("a", 1, 1)])];
        assert_eq!(lost(store.sync_commit(commit(&first, rows())).await), Lost::Fence);
        // What the first one could still store is the truth, and is gone on from.
        let third = lease(store, NOW + 10 * MINUTE).await;
        assert_eq!((third.fence, third.checkpoint_seq), (first.fence + 2, 1));
        assert_eq!(lost(store.sync_commit(commit(&first, rows())).await), Lost::Fence);
        let done = store.sync_commit(commit(&third, rows())).await.unwrap();
        assert_eq!((done.counters[0].1.written, done.counters[0].1.unchanged), (0, 1));
        assert_eq!(ids(store, &one), ["a"]);
    }

    async fn the_data_set_alone_refuses_an_earlier_worker(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let first = lease(store, NOW).await;
        let second = lease(store, NOW + 2 * MINUTE).await;
        // Control says again that the first one has it: the data set knows better.
        raw::run(&store.url, &format!("UPDATE sync SET fence = {} WHERE id = '{}'", first.fence, first.id));
        let rows = vec![batch("Account", 1, vec![row("a", 1, 1)])];
        assert_eq!(lost(store.sync_commit(commit(&first, rows)).await), Lost::Fence);
        assert!(ids(store, &one).is_empty());
        assert_eq!(second.fence, first.fence + 1);
        let end = SyncEnd {
            sync_id: first.id,
            fence: first.fence,
            state: SyncState::Failed,
            error_reason: String::new(),
            error_message: String::new(),
            note: String::new(),
            company_records: None,
            now_us: NOW,
        };
        assert_eq!(lost(store.sync_finish(end).await), Lost::Fence);
    }

    async fn a_report_does_not_shorten_the_lease(store) {
        active(store, &group(store, "g").await, "One").await;
        let sync = lease(store, NOW).await;
        store.sync_heartbeat((sync.id, sync.fence), 1_000, NOW, NOW + 9 * MINUTE).await.unwrap();
        // The commit began before the heartbeat.
        store.sync_commit(commit(&sync, Vec::new())).await.unwrap();
        let next = store.sync_lease_next(&worker("other"), NOW + 8 * MINUTE, NOW + 10 * MINUTE).await.unwrap();
        assert_eq!(next, None);
    }

    async fn a_newer_generation_is_known_before_the_next_claim(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let sync = lease(store, NOW).await;
        let edited = store.integration_update(IntegrationUpdate {
            fields: Some(vec![field("Account", "Industry")]),
            ..no_edit(one.id)
        }).await.unwrap();
        assert_eq!(edited.generation, one.generation + 1);
        let rows = || vec![batch("Account", 1, vec![row("a", 1, 1)])];
        assert_eq!(lost(store.sync_commit(commit(&sync, rows())).await), Lost::Generation);
        let stale = store.record_refresh(refresh(&one, 1, rows())).await;
        assert!(stale.unwrap_err().is_conflict(Conflict::Generation));
        assert!(ids(store, &one).is_empty());
        // The sync begins again: what it stored for the earlier generation is not gone on from.
        let again = lease(store, NOW + 2 * MINUTE).await;
        assert_eq!((again.id, again.generation, again.checkpoint_seq), (sync.id, edited.generation, 0));
    }

    async fn control_of_an_older_backup_catches_up_with_the_data(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let first = lease(store, NOW).await;
        store.sync_commit(commit(&first, vec![batch("Account", 1, vec![row("a", 1, 1)])])).await.unwrap();
        for url in store.data_urls() {
            raw::run(&url, "UPDATE data_set SET fence = 100, generation = 7");
        }
        let next = lease(store, NOW + 10 * MINUTE).await;
        assert_eq!((next.id, next.fence, next.generation), (first.id, 101, 7));
        assert_eq!(store.integration_get(one.id).await.unwrap().generation, 7);
        store.sync_commit(commit(&next, vec![batch("Account", 2, vec![row("b", 1, 1)])])).await.unwrap();
        assert_eq!(ids(store, &one), ["a", "b"]);
        // A worker without the lease catches up with nothing.
        assert_eq!(lost(store.sync_commit(commit(&first, Vec::new())).await), Lost::Generation);
    }

    async fn a_data_set_without_an_integration_is_deleted(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        apply(store, &one, batch("Account", 1, vec![row("a", 1, 1)])).await;
        let gone = IntegrationId::new();
        let url = store.data_urls().pop().unwrap();
        raw::run(&url, &format!(
            "INSERT INTO data_set (integration_id, generation, change_no, forgotten_no, fence, stop_fence, checkpoint_seq, \
             bytes, api_calls, missing, field_types) VALUES ('{gone}', 1, 3, 0, 1, 0, 0, 0, 0, '[]', '[]'); \
             INSERT INTO record_link VALUES ('{gone}', 'Contact', '1', 'Account', 'a'), ('{gone}', 'Contact', '2', 'Account', 'a'), \
             ('{gone}', 'Contact', '3', 'Account', 'a')"
        ));
        let mut calls = 1;
        while !store.data_purge_orphans(2).await.unwrap() {
            calls += 1;
        }
        assert_eq!(calls, 3);
        assert_eq!((store.count("data_set", "true"), store.count("record_link", "true")), (1, 0));
        assert_eq!(ids(store, &one), ["a"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_in_the_database_of_their_integration() {
    let store = Fixture::split().await;
    let g = group(&store, "g").await;
    let mut sources = Vec::new();
    for n in 0..6 {
        let one = active(&store, &g, &format!("N{n}")).await;
        let at = batch(
            "Account",
            1,
            vec![
                company_row("a", "shared"),
                company_row(&format!("b{n}"), &format!("own{n}")),
            ],
        );
        apply(&store, &one, at).await;
        sources.push(one);
    }
    let urls = store.data_urls();
    assert_eq!(raw::count(&urls[0], "record", "true"), 0);
    for one in &sources {
        let place: usize = one.data_database.strip_prefix("data").unwrap().parse().unwrap();
        let rows = raw::count(
            &urls[place + 1],
            "record",
            &format!("integration_id = '{}'", one.id),
        );
        assert_eq!(rows, 2);
    }
    // One company is in all sources, and each has one of its own; companies of several databases are counted and listed once.
    let ids: Vec<IntegrationId> = sources.iter().map(|one| one.id).collect();
    assert_eq!(store.company_count_all(&g, ids.clone()).await.unwrap(), 7);
    let all = store.company_list_all(&g, ids.clone(), None, 100).await.unwrap();
    assert_eq!(all.len(), 7);
    let shared = all.iter().find(|one| one.sources.len() > 1).unwrap();
    assert_eq!(shared.sources, ids);

    // A server that is not told of the database says which one it lacks.
    let other = Store::open(&Options::new(&store.url)).unwrap();
    let error = other.record_change_no(ids[0]).await.unwrap_err();
    assert_eq!(
        other.integration_get(ids[0]).await.unwrap().state,
        IntegrationState::Active
    );
    let other = Store::open(&Options {
        data: [("elsewhere".to_owned(), urls[1].clone())].into(),
        ..Options::new(&store.url)
    })
    .unwrap();
    let named = other.record_change_no(ids[0]).await.unwrap_err();
    for error in [error, named] {
        assert!(
            error.is_retryable() && error.to_string().contains(&sources[0].data_database),
            "{error}"
        );
    }
}
