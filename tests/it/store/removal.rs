//! What listings lack: what goes at once, what is held back, and what confirms it.

use super::*;

const GUARD: RemovalGuard = RemovalGuard {
    rows: 10,
    percent: 20,
    again_us: 60 * MINUTE,
};

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:05}")).collect()
}

/// A listing of everything.
fn listing(read_us: Micros, ids: &[String]) -> RecordBatch {
    RecordBatch {
        covers: Some(Covers {
            after: String::new(),
            through: String::new(),
            order: IdOrder::Bytes,
        }),
        ..batch("Account", read_us, ids.iter().map(|id| row(id, 1, 1)).collect())
    }
}

async fn begin(store: &Store, of: &Integration, at: Micros, confirms: Option<&Sync>) -> Sync {
    let new = NewSync {
        integration_id: of.id,
        trigger: SyncTrigger::Manual,
        create_by: "ada".to_owned(),
        due_us: at,
        confirms: confirms.map(|sync| Confirmed {
            sync_id: sync.id,
            end_us: sync.end_us.unwrap(),
        }),
        now_us: at,
    };
    store.sync_enqueue(new).await.unwrap();
    let sync = store
        .sync_lease_next("w", at, at + MINUTE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(sync.integration_id, of.id);
    sync
}

async fn store_listing(store: &Store, sync: &Sync, at: Micros, ids: &[String]) {
    let object = ObjectProgress {
        object: "Account".to_owned(),
        position: 0,
        state: Some(ObjectState::Complete),
        expected: None,
        error: None,
        tries: None,
    };
    let commit = SyncCommit {
        objects: vec![object],
        now_us: at,
        lease_until_us: at + MINUTE,
        ..commit(sync, vec![listing(at, ids)])
    };
    store.sync_commit(commit).await.unwrap();
}

async fn end(store: &Store, sync: &Sync, state: SyncState, at: Micros) -> Sync {
    let end = SyncEnd {
        sync_id: sync.id,
        fence: sync.fence,
        state,
        error_reason: String::new(),
        error_message: String::new(),
        note: String::new(),
        company_records: None,
        now_us: at,
    };
    store.sync_finish(end).await.unwrap()
}

/// A sync whose listing has these rows: the sync, how many rows it removed, and how many it holds back.
async fn sync(
    store: &Store,
    of: &Integration,
    at: Micros,
    ids: &[String],
    confirms: Option<&Sync>,
) -> (Sync, i64, i64) {
    let sync = begin(store, of, at, confirms).await;
    store_listing(store, &sync, at, ids).await;
    let done = settle(store, &sync, "Account", GUARD, at).await;
    let state = match done.held {
        0 => SyncState::Succeeded,
        _ => SyncState::Partial,
    };
    (end(store, &sync, state, at).await, done.removed, done.held)
}

/// An integration that has had its first sync, with these rows.
async fn known(store: &Store, rows: usize) -> Integration {
    let of = active(store, &group(store, "g").await, "One").await;
    let (_, removed, held) = sync(store, &of, NOW, &ids(0..rows), None).await;
    assert_eq!((removed, held), (0, 0));
    of
}

async fn live(store: &Store, of: &Integration) -> i64 {
    let counts = store.record_counts(of.id).await.unwrap();
    counts.iter().map(|(_, count)| count).sum()
}

const HOUR: Micros = 60 * MINUTE;

both! {
    async fn few_go_at_once_and_many_are_held_back(store) {
        let of = known(store, 100).await;
        // Few rows; many, but a small share; many and a large share: not one of them goes.
        assert_eq!(sync(store, &of, NOW + HOUR, &ids(10..100), None).await.1, 10);
        assert_eq!(sync(store, &of, NOW + 2 * HOUR, &ids(28..100), None).await.1, 18);
        let (held, removed, rows) = sync(store, &of, NOW + 3 * HOUR, &ids(43..100), None).await;
        assert_eq!((removed, rows, live(store, &of).await), (0, 15, 72));
        let object = &store.sync_objects(held.id).await.unwrap()[0];
        assert_eq!((object.held, object.removed, object.error_reason.as_str()), (15, 0, "REMOVAL_HELD_BACK"));
        assert!(object.error_message.contains("15 records"), "{}", object.error_message);
        assert_eq!(store.removals_held(of.id).await.unwrap(), 15);
        // It is not whole, and cannot say that it is.
        let next = begin(store, &of, NOW + 3 * HOUR + 1, None).await;
        store_listing(store, &next, NOW + 3 * HOUR + 1, &[]).await;
        assert_eq!(settle(store, &next, "Account", GUARD, NOW).await.held, 72);
        let whole = SyncEnd {
            sync_id: next.id, fence: next.fence, state: SyncState::Succeeded, error_reason: String::new(),
            error_message: String::new(), note: String::new(), company_records: None, now_us: NOW,
        };
        assert!(store.sync_finish(whole).await.unwrap_err().is_conflict(Conflict::State));
    }

    async fn new_rows_do_not_make_a_removal_smaller(store) {
        let of = known(store, 50).await;
        // Every row under another id, and ten times as many more.
        let (_, removed, held) = sync(store, &of, NOW + HOUR, &ids(1_000..1_600), None).await;
        assert_eq!((removed, held, live(store, &of).await), (0, 50, 650));
    }

    async fn a_person_confirms_what_was_held_back_and_no_more(store) {
        let of = known(store, 100).await;
        let (held, ..) = sync(store, &of, NOW + HOUR, &ids(30..100), None).await;
        // The confirmed ones go; forty more that are lacking now were not seen by whoever confirmed.
        let (next, removed, rows) = sync(store, &of, NOW + HOUR + 1, &ids(70..100), Some(&held)).await;
        assert_eq!((removed, rows, live(store, &of).await), (30, 40, 70));
        assert_eq!((next.confirms, next.confirm_us), (Some(held.id), held.end_us));
        // The CRM shows some again: they stay, the rest is confirmed.
        let (_, removed, rows) = sync(store, &of, NOW + HOUR + 2, &ids(50..100), Some(&next)).await;
        assert_eq!((removed, rows, live(store, &of).await), (20, 0, 50));
        assert_eq!(store.removals_held(of.id).await.unwrap(), 0);
    }

    async fn a_second_listing_an_hour_later_confirms_the_same_rows(store) {
        let of = known(store, 100).await;
        let at = |minutes: i64| NOW + HOUR + minutes * MINUTE;
        assert_eq!(sync(store, &of, at(0), &ids(50..100), None).await.2, 50);
        // Too soon; the first evidence is kept over syncs in between. As many others, lacking for the first time, are not confirmed.
        assert_eq!(sync(store, &of, at(40), &ids(50..100), None).await.2, 50);
        let others: Vec<String> = ids(0..50);
        let (_, removed, held) = sync(store, &of, at(59), &others, None).await;
        assert_eq!((removed, held), (0, 50));
        // The first ones were there in between: their hour begins again.
        assert_eq!(sync(store, &of, at(61), &ids(50..100), None).await.2, 50);
        assert_eq!(sync(store, &of, at(121), &ids(50..100), None).await.1, 50);
        assert_eq!(live(store, &of).await, 50);
    }

    async fn a_listing_that_broke_off_is_no_evidence(store) {
        let of = known(store, 100).await;
        let broken = begin(store, &of, NOW + HOUR, None).await;
        store_listing(store, &broken, NOW + HOUR, &[]).await;
        end(store, &broken, SyncState::Failed, NOW + HOUR).await;
        assert_eq!(store.removals_held(of.id).await.unwrap(), 0);
        let (_, removed, held) = sync(store, &of, NOW + 3 * HOUR, &[], None).await;
        assert_eq!((removed, held, live(store, &of).await), (0, 100, 100));
        // Nor is what another selection or account saw.
        let edit = IntegrationUpdate { fields: Some(vec![field("Account", "Industry")]), ..no_edit(of.id) };
        store.integration_update(edit).await.unwrap();
        let resumed = store.sync_lease_next("w", NOW + 9 * HOUR, NOW + 10 * HOUR).await.unwrap().unwrap();
        store_listing(store, &resumed, NOW + 9 * HOUR, &[]).await;
        assert_eq!(settle(store, &resumed, "Account", GUARD, NOW + 9 * HOUR).await.held, 100);
    }

    async fn what_was_read_live_stays_and_crashes_lose_nothing(store) {
        let of = known(store, 100).await;
        let first = begin(store, &of, NOW + HOUR, None).await;
        store_listing(store, &first, NOW + HOUR, &ids(10..100)).await;
        // A profile is opened: it is there.
        let rows = vec![row("00000", 1, 1)];
        store.record_refresh(refresh(&of, NOW + HOUR + 1, vec![batch("Account", NOW + HOUR + 1, rows)])).await.unwrap();
        // The worker is gone; the one that goes on knows what was lacking, the late one is refused.
        let second = store.sync_lease_next("w2", NOW + 2 * HOUR, NOW + 3 * HOUR).await.unwrap().unwrap();
        let late = Settle { sync_id: first.id, fence: first.fence, object: "Account".to_owned(), guard: GUARD, limit: 3, decided: None, now_us: NOW };
        assert!(matches!(store.sync_settle(late.clone()).await, Err(Error::LeaseLost { why: Lost::Fence, .. })));
        let part = store.sync_settle(Settle { fence: second.fence, ..late.clone() }).await.unwrap();
        assert_eq!((part.removed, part.more), (3, true));
        assert_eq!(settle(store, &second, "Account", GUARD, NOW).await.removed, 6);
        assert_eq!(live(store, &of).await, 91);
        let object = &store.sync_objects(second.id).await.unwrap()[0];
        assert_eq!((object.removed, object.held), (9, 0));
        // Cancelled: nothing more is removed.
        store_listing(store, &second, NOW + 2 * HOUR, &ids(15..100)).await;
        store.sync_cancel_request(second.id, NOW + 2 * HOUR).await.unwrap();
        assert_eq!(settle(store, &second, "Account", GUARD, NOW).await, Settled::default());
        assert_eq!(live(store, &of).await, 91);
    }

    async fn a_deleted_integration_leaves_no_marks(store) {
        let of = known(store, 50).await;
        assert_eq!(sync(store, &of, NOW + HOUR, &[], None).await.2, 50);
        store.integration_delete(of.id, None, NOW + 2 * HOUR).await.unwrap();
        while !store.integration_purge(of.id, 20).await.unwrap() {}
        assert_eq!(store.removals_held(of.id).await.unwrap(), 0);
    }
}
