//! The queue, the leases and the commits of syncs.

use super::*;

fn new_sync(integration_id: IntegrationId, now_us: Micros) -> NewSync {
    NewSync {
        integration_id,
        trigger: SyncTrigger::Manual,
        create_by: "ada".to_owned(),
        due_us: now_us,
        confirms: None,
        now_us,
        mode: SyncMode::Auto,
    }
}

fn end(sync: &Sync, state: SyncState, now_us: Micros) -> SyncEnd {
    SyncEnd {
        sync_id: sync.id,
        fence: sync.fence,
        state,
        error_reason: String::new(),
        error_message: String::new(),
        note: "done".to_owned(),
        company_records: None,
        now_us,
    }
}

async fn lease(store: &Store, owner: &str, now_us: Micros) -> Option<Sync> {
    store
        .sync_lease_next(&worker(owner), now_us, now_us + MINUTE)
        .await
        .unwrap()
}

fn why(result: Result<impl std::fmt::Debug, Error>) -> Lost {
    match result {
        Err(Error::LeaseLost { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

both! {
    async fn one_sync_at_a_time(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let first = lease(store, "w", NOW).await.unwrap();
        store.sync_finish(end(&first, SyncState::Failed, NOW)).await.unwrap();
        let asked = futures(20, |_| {
            let (store, id) = (Store::clone(store), one.id);
            async move { store.sync_enqueue(new_sync(id, NOW)).await.unwrap() }
        })
        .await;
        let ids: std::collections::HashSet<SyncId> = asked
            .iter()
            .map(|a| match a {
                Enqueued::New(s) | Enqueued::AlreadyRunning(s) => s.id,
            })
            .collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(asked.iter().filter(|a| matches!(a, Enqueued::New(_))).count(), 1);
        let open: Vec<SyncId> = store.sync_list(one.id, None, 99).await.unwrap().into_iter()
            .filter(|sync| !sync.state.is_final())
            .map(|sync| sync.id)
            .collect();
        assert_eq!(open, ids.into_iter().collect::<Vec<_>>());
        let draft = store.integration_create(new_integration(&g, "Draft")).await.unwrap();
        assert!(store.sync_enqueue(new_sync(draft.id, NOW)).await.unwrap_err().is_conflict(Conflict::State));
    }

    async fn workers_never_share_a_sync(store) {
        let g = group(store, "g").await;
        for i in 0..6 {
            active(store, &g, &format!("N{i}")).await;
        }
        let taken = futures(10, |i| {
            let store = Store::clone(store);
            async move { lease(&store, &format!("w{i}"), NOW).await }
        })
        .await;
        let taken: Vec<Sync> = taken.into_iter().flatten().collect();
        let ids: std::collections::HashSet<SyncId> = taken.iter().map(|s| s.id).collect();
        assert_eq!(taken.len(), ids.len());
        // A worker that found a locked row may have got nothing; the remaining syncs are still queued.
        let mut rest = 0;
        while lease(store, "w", NOW).await.is_some() {
            rest += 1;
        }
        assert_eq!(taken.len() + rest, 6);
    }

    async fn only_allowed_syncs_are_taken(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        refuse(store, one.id, "R", NOW).await;
        assert_eq!(lease(store, "w", NOW).await, None);
        log_in(store, one.id, "one").await;
        assert_eq!(lease(store, "w", NOW - 1).await, None);
        let sync = lease(store, "w", NOW).await.unwrap();
        assert_eq!((sync.fence, sync.attempt, sync.start_us), (1, 1, Some(NOW)));
        assert_eq!(store.sync_get(sync.id).await.unwrap(), sync);
    }

    async fn disabling_a_connector_cancels_its_syncs(store) {
        let (g, other) = (group(store, "g").await, group(store, "h").await);
        let (queued, running) = (active(store, &g, "One").await, active(store, &g, "Two").await);
        let (left, elsewhere) = (active(store, &g, "Three").await, active(store, &other, "Four").await);
        let mut taken = Vec::new();
        while let Some(sync) = lease(store, "w", NOW).await {
            taken.push(sync);
        }
        let of = |id| taken.iter().find(|sync| sync.integration_id == id).unwrap();
        let waiting = of(queued.id);
        store.sync_wait(waiting.id, waiting.fence, NOW + 90 * MINUTE, "CRM_RATE_LIMITED", "m").await.unwrap();
        let before = store.sync_commit(commit(of(running.id), vec![batch("Account", 1, vec![row("a", 1, 1)])]));
        before.await.unwrap();
        store.enablement_set(enablement(&g, false)).await.unwrap();
        assert_eq!(store.sync_get(waiting.id).await.unwrap().state, SyncState::Cancelled);
        // The running one learns this with its next commit, and writes nothing.
        let late = commit(of(running.id), vec![batch("Account", 2, vec![row("b", 1, 1)])]);
        assert!(store.sync_commit(late).await.unwrap().cancel_requested);
        assert_eq!(counts(store, running.id).await, [("Account".to_owned(), 1)]);
        store.enablement_set(enablement(&g, true)).await.unwrap();
        let ended = store.sync_finish(end(of(running.id), SyncState::Partial, NOW)).await.unwrap();
        assert_eq!((ended.state, ended.attempt), (SyncState::Cancelled, 1));
        // A sync whose worker is lost ends, too, although its connector stays disabled.
        store.enablement_set(enablement(&g, false)).await.unwrap();
        while let Some(sync) = lease(store, "w", NOW + MINUTE).await {
            assert_eq!(sync.integration_id, elsewhere.id);
        }
        assert_eq!(store.sync_get(of(left.id).id).await.unwrap().state, SyncState::Cancelled);
        assert_eq!(store.sync_get(of(elsewhere.id).id).await.unwrap().state, SyncState::Running);
    }

    async fn attempts_count_all_and_tries_since_it_got_on(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        let wait = async |sync: &Sync, reason: &str| store.sync_wait(sync.id, sync.fence, NOW, reason, "m").await.unwrap();
        let sync = lease(store, "w", NOW).await.unwrap();
        wait(&sync, "CRM_UNAVAILABLE").await;
        let sync = lease(store, "w", NOW).await.unwrap();
        assert_eq!((sync.attempt, sync.tries, sync.error_reason.as_str()), (2, 2, "CRM_UNAVAILABLE"));
        // Rows without a checkpoint, or with the same one, are not progress, and the cause stays visible.
        store.sync_commit(SyncCommit { checkpoint: None, ..commit(&sync, Vec::new()) }).await.unwrap();
        assert_eq!(store.sync_get(sync.id).await.unwrap().error_reason, "CRM_UNAVAILABLE");
        store.sync_commit(commit(&sync, Vec::new())).await.unwrap();
        let now = store.sync_get(sync.id).await.unwrap();
        assert_eq!((now.attempt, now.tries, now.error_reason.as_str()), (2, 0, ""));
        wait(&sync, "CRM_UNAVAILABLE").await;
        let sync = lease(store, "w", NOW).await.unwrap();
        store.sync_commit(commit(&sync, Vec::new())).await.unwrap();
        assert_eq!(store.sync_get(sync.id).await.unwrap().tries, 1);
        // A worker that stops passes the sync on: this is not an attempt.
        wait(&sync, "SHUTTING_DOWN").await;
        let sync = lease(store, "w", NOW).await.unwrap();
        assert_eq!((sync.attempt, sync.tries), (3, 1));
        let ended = store.sync_finish(end(&sync, SyncState::Failed, NOW)).await.unwrap();
        assert_eq!(ended.attempt, 3);
    }

    async fn missing_fields_are_known_over_all_attempts(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let fields = vec![field("Account", "A"), field("Account", "B"), field("Account", "C"), field("Contact", "D")];
        let edit = IntegrationUpdate { fields: Some(fields), ..no_edit(one.id) };
        store.integration_update(edit).await.unwrap();
        let reference = |object: &str, key: &str| FieldRef { object: object.to_owned(), key: key.to_owned() };
        let all = vec![reference("Account", "A"), reference("Account", "B"), reference("Contact", "D")];
        store.field_mark_missing(one.id, all, NOW - 1).await.unwrap();
        let object = |object: &str, state| ObjectProgress { object: object.to_owned(), position: 0, state: Some(state), expected: None, error: None, tries: None };
        let sync = lease(store, "w", NOW).await.unwrap();
        store.sync_commit(SyncCommit { missing_fields: vec![reference("Account", "A")], ..commit(&sync, Vec::new()) }).await.unwrap();
        store.sync_wait(sync.id, sync.fence, NOW, "CRM_UNAVAILABLE", "m").await.unwrap();
        // Another attempt does not report it again; a live read finds one more.
        let sync = lease(store, "w", NOW + 1).await.unwrap();
        store.field_mark_missing(one.id, vec![reference("Account", "C")], NOW + 1).await.unwrap();
        let objects = vec![object("Account", ObjectState::Complete), object("Contact", ObjectState::Failed)];
        store.sync_commit(SyncCommit { objects, ..commit(&sync, Vec::new()) }).await.unwrap();
        let ended = store.sync_finish(end(&sync, SyncState::Partial, NOW + 2)).await.unwrap();
        assert_eq!(ended.missing_fields(), ["Account.A"]);
        let missing: Vec<(String, Option<Micros>)> = store.field_list(one.id).await.unwrap().into_iter().map(|f| (f.key, f.missing_us)).collect();
        let expected = [("A", Some(NOW - 1)), ("B", None), ("C", Some(NOW + 1)), ("D", Some(NOW - 1))];
        assert_eq!(missing, expected.map(|(key, since)| (key.to_owned(), since)));
        // Not complete: not a success, but the companies are counted.
        let after = store.integration_get(one.id).await.unwrap();
        assert_eq!((after.last_success_us, after.company_records), (None, Some(0)));
    }

    async fn a_lost_lease_stops_the_worker(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let old = lease(store, "w1", NOW).await.unwrap();
        store.sync_commit(commit(&old, vec![batch("Account", 1, vec![row("a", 1, 1)])])).await.unwrap();
        assert_eq!(lease(store, "w2", NOW + MINUTE - 1).await, None);
        let new = lease(store, "w2", NOW + MINUTE).await.unwrap();
        assert_eq!((new.id, new.fence, new.checkpoint_seq), (old.id, 2, 1));
        assert_eq!(new.checkpoint.as_deref(), Some(b"checkpoint".as_slice()));
        let late = commit(&old, vec![batch("Account", 2, vec![row("b", 1, 1)])]);
        assert_eq!(why(store.sync_commit(late).await), Lost::Fence);
        assert_eq!(why(store.sync_heartbeat((old.id, old.fence), 1_000, NOW, NOW).await), Lost::Fence);
        assert_eq!(why(store.sync_finish(end(&old, SyncState::Succeeded, NOW)).await), Lost::Fence);
        assert_eq!(why(store.sync_wait(old.id, old.fence, NOW, "", "").await), Lost::Fence);
        assert_eq!(why(store.sync_object_upsert(old.id, old.fence, Vec::new()).await), Lost::Fence);
        // None of it was stored.
        assert_eq!(record_of(store, one.id, "Account", "b").await, None);
        assert_eq!(store.record_change_no(one.id).await.unwrap(), 1);
        store.sync_heartbeat((new.id, new.fence), 1_000, NOW, NOW + 9 * MINUTE).await.unwrap();
        assert_eq!(lease(store, "w3", NOW + 8 * MINUTE).await, None);
    }

    async fn a_new_generation_begins_again(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let old = lease(store, "w", NOW).await.unwrap();
        store.sync_commit(commit(&old, vec![batch("Account", 1, vec![row("a", 1, 1)])])).await.unwrap();
        let fields = IntegrationUpdate { fields: Some(vec![field("Account", "Industry")]), ..no_edit(one.id) };
        let edited = store.integration_update(fields).await.unwrap();
        assert_eq!(why(store.sync_commit(commit(&old, vec![batch("Account", 2, vec![row("a", 2, 2)])])).await), Lost::Generation);
        assert_eq!(why(store.sync_finish(end(&old, SyncState::Succeeded, NOW)).await), Lost::Generation);
        assert!(store.record_refresh(refresh(&one, 1, Vec::new())).await.unwrap_err().is_conflict(Conflict::Generation));
        store.sync_wait(old.id, old.fence, NOW + 1, "SELECTION", "The fields changed.").await.unwrap();
        let new = lease(store, "w", NOW + 1).await.unwrap();
        assert_eq!((new.id, new.generation, new.checkpoint_seq), (old.id, edited.generation, 0));
        assert_eq!((new.checkpoint.as_ref(), new.start_us), (None, Some(NOW + 1)));
        assert!(store.sync_objects(new.id).await.unwrap().is_empty());
        store.sync_commit(commit(&new, vec![batch("Account", 3, vec![row("a", 3, 3)])])).await.unwrap();
    }

    async fn a_commit_stores_everything(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let fields = IntegrationUpdate { fields: Some(vec![field("Account", "Gone"), field("Account", "Typed")]), ..no_edit(one.id) };
        store.integration_update(fields).await.unwrap();
        let sync = lease(store, "w", NOW).await.unwrap();
        let company = RecordRow { company_id: Some(CompanyId::of_domain("a.com")), ..row("a", 1, 1) };
        let reference = |key: &str| FieldRef { object: "Account".to_owned(), key: key.to_owned() };
        let progress = |state, expected, error: Option<(&str, &str)>| ObjectProgress {
            object: "Account".to_owned(),
            position: 3,
            state,
            expected,
            error: error.map(|(a, b)| (a.to_owned(), b.to_owned())),
            tries: None,
        };
        let first = SyncCommit {
            objects: vec![progress(Some(ObjectState::Reading), Some(2), None)],
            missing_fields: vec![reference("Gone")],
            field_types: vec![(reference("Typed"), FieldType::Date)],
            ..commit(&sync, vec![batch("Account", 5, vec![company, row("b", 1, 1)]), batch("Contact", 5, vec![row("c", 1, 1)])])
        };
        let done = store.sync_commit(first.clone()).await.unwrap();
        assert_eq!((done.change_no, done.checkpoint_seq, done.cancel_requested), (3, 1, false));
        assert_eq!(done.counters[0], ("Account".to_owned(), Counters { read: 2, written: 2, unchanged: 0, removed: 0, added: 2 }));
        // The same commit again changes only the counters.
        let again = SyncCommit { checkpoint: None, objects: vec![progress(None, None, Some(("R", "m")))], ..first };
        let done = store.sync_commit(again).await.unwrap();
        assert_eq!((done.change_no, done.checkpoint_seq), (3, 1));
        let (now, objects) = store.sync_progress(sync.id).await.unwrap();
        assert_eq!((now.bytes, now.api_calls, now.checkpoint_seq, now.attempt, now.tries), (20, 2, 1, 1, 0));
        assert_eq!((now.change_no, now.missing_fields()), (3, vec!["Account.Gone".to_owned()]));
        assert_eq!(now.checkpoint.as_deref(), Some(b"checkpoint".as_slice()));
        let account = objects.iter().find(|o| o.object == "Account").unwrap();
        assert_eq!((account.read, account.written, account.unchanged), (4, 2, 2));
        assert_eq!((account.state, account.expected, account.position), (ObjectState::Reading, Some(2), 3));
        assert_eq!((account.error_reason.as_str(), account.error_message.as_str()), ("R", "m"));
        let fields = store.field_list(one.id).await.unwrap();
        assert_eq!((fields[0].missing_us, fields[1].field_type), (Some(NOW), FieldType::Date));
        store.sync_object_upsert(sync.id, sync.fence, vec![progress(Some(ObjectState::Complete), None, None)]).await.unwrap();
        // The contacts were not read completely: the sync cannot end as complete.
        assert!(store.sync_finish(end(&sync, SyncState::Succeeded, NOW + 5)).await.unwrap_err().is_conflict(Conflict::State));
        let contact = ObjectProgress { object: "Contact".to_owned(), ..progress(Some(ObjectState::Complete), None, None) };
        store.sync_object_upsert(sync.id, sync.fence, vec![contact]).await.unwrap();
        let ended = store.sync_finish(end(&sync, SyncState::Succeeded, NOW + 5)).await.unwrap();
        assert_eq!((ended.state, ended.end_us, ended.note.as_str()), (SyncState::Succeeded, Some(NOW + 5), "done"));
        let after = store.integration_get(one.id).await.unwrap();
        assert_eq!((after.last_success_us, after.company_records), (Some(NOW), Some(1)));
        assert_eq!(counts(store, one.id).await, [("Account".to_owned(), 2), ("Contact".to_owned(), 1)]);
        assert_eq!(why(store.sync_finish(end(&sync, SyncState::Failed, NOW)).await), Lost::State);
    }

    async fn syncs_wait_and_can_be_cancelled(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = lease(store, "w", NOW).await.unwrap();
        let waiting = store.sync_wait(sync.id, sync.fence, NOW + 5 * MINUTE, "RATE_LIMITED", "Too fast.").await.unwrap();
        assert_eq!((waiting.state, waiting.error_reason.as_str()), (SyncState::Waiting, "RATE_LIMITED"));
        assert_eq!(lease(store, "w", NOW + 5 * MINUTE - 1).await, None);
        let sync = lease(store, "w", NOW + 5 * MINUTE).await.unwrap();
        assert_eq!((sync.attempt, sync.tries, sync.start_us), (2, 2, Some(NOW)));
        assert!(!store.sync_heartbeat((sync.id, sync.fence), 1_000, NOW, NOW + 9 * MINUTE).await.unwrap().cancel_requested);
        assert_eq!(store.sync_cancel_request(sync.id, NOW).await.unwrap().state, SyncState::Running);
        assert!(store.sync_heartbeat((sync.id, sync.fence), 1_000, NOW, NOW + 9 * MINUTE).await.unwrap().cancel_requested);
        // Nothing more is written, and the sync cannot end as SUCCEEDED.
        let late = commit(&sync, vec![batch("Account", 1, vec![row("late", 1, 1)])]);
        assert!(store.sync_commit(late).await.unwrap().cancel_requested);
        assert_eq!(record_of(store, one.id, "Account", "late").await, None);
        let ended = store.sync_finish(end(&sync, SyncState::Succeeded, NOW)).await.unwrap();
        assert_eq!(ended.state, SyncState::Cancelled);
        let Enqueued::New(second) = store.sync_enqueue(new_sync(one.id, NOW + 1)).await.unwrap() else { panic!() };
        let cancelled = store.sync_cancel_request(second.id, NOW).await.unwrap();
        assert_eq!((cancelled.state, cancelled.end_us), (SyncState::Cancelled, Some(NOW)));
        // A sync whose worker is lost ends, too, although no worker can take it.
        let third = store.sync_enqueue(new_sync(one.id, NOW + 2)).await.unwrap();
        let Enqueued::New(third) = third else { panic!() };
        lease(store, "w", NOW + 2).await.unwrap();
        assert_eq!(store.sync_cancel_request(third.id, NOW + 3).await.unwrap().state, SyncState::Running);
        assert_eq!(store.sync_cancel_request(third.id, NOW + 9 * MINUTE).await.unwrap().state, SyncState::Cancelled);
        // A final sync is not changed.
        assert_eq!(store.sync_cancel_request(second.id, NOW + 7).await.unwrap(), cancelled);
        let page = store.sync_list(one.id, None, 2).await.unwrap();
        assert_eq!(page[1].id, second.id);
        let page = store.sync_list(one.id, Some((page[1].create_us, page[1].id)), 5).await.unwrap();
        assert_eq!(page.iter().map(|s| s.id).collect::<Vec<_>>(), [sync.id]);
        assert_eq!(store.sync_purge(NOW + 1, 10).await.unwrap(), 2);
        // The last sync of an integration is kept regardless of its age.
        assert_eq!(store.sync_purge(NOW + 99 * MINUTE, 10).await.unwrap(), 0);
    }
}
