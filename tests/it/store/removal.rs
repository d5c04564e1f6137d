//! Records that listings lack: which are removed at once, which are held back, and what confirms their
//! removal.

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
        complete_range: Some(CompleteRange {
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
        mode: SyncMode::Auto,
    };
    store.sync_enqueue(new).await.unwrap();
    let sync = store
        .sync_lease_next(&worker("w"), at, at + MINUTE)
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

/// A sync whose listing has these rows: the sync, and the numbers of removed and of held-back rows.
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

/// The number of held-back rows: a complete listing lacked them, and they were neither confirmed nor listed
/// since.
fn held_rows(store: &Fixture) -> usize {
    store.count("removal", "first_us IS NOT NULL")
}

/// An integration after its first sync, with these rows.
async fn known(store: &Store, rows: usize) -> Integration {
    let of = active(store, &group(store, "g").await, "One").await;
    let (_, removed, held) = sync(store, &of, NOW, &ids(0..rows), None).await;
    assert_eq!((removed, held), (0, 0));
    of
}

async fn live(store: &Store, of: &Integration) -> i64 {
    let counts = counts(store, of.id).await;
    counts.iter().map(|(_, count)| *count as i64).sum()
}

const HOUR: Micros = 60 * MINUTE;

both! {
    async fn few_go_at_once_and_many_are_held_back(store) {
        let of = known(store, 100).await;
        // Few rows; many, but a small share; many and a large share: none of these is removed.
        assert_eq!(sync(store, &of, NOW + HOUR, &ids(10..100), None).await.1, 10);
        assert_eq!(sync(store, &of, NOW + 2 * HOUR, &ids(28..100), None).await.1, 18);
        let (held, removed, rows) = sync(store, &of, NOW + 3 * HOUR, &ids(43..100), None).await;
        assert_eq!((removed, rows, live(store, &of).await), (0, 15, 72));
        let object = &store.sync_objects(held.id).await.unwrap()[0];
        assert_eq!((object.held, object.removed, object.error_reason.as_str()), (15, 0, "REMOVAL_HELD_BACK"));
        assert!(object.error_message.contains("15 records"), "{}", object.error_message);
        assert_eq!(held_rows(store), 15);
        // The sync is not complete, and cannot be finished as complete.
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
        // All rows under new ids, and ten times as many more.
        let (_, removed, held) = sync(store, &of, NOW + HOUR, &ids(1_000..1_600), None).await;
        assert_eq!((removed, held, live(store, &of).await), (0, 50, 650));
    }

    async fn a_person_confirms_what_was_held_back_and_no_more(store) {
        let of = known(store, 100).await;
        let (held, ..) = sync(store, &of, NOW + HOUR, &ids(30..100), None).await;
        // The confirmed rows are removed; forty more that are missing now were not confirmed.
        let (next, removed, rows) = sync(store, &of, NOW + HOUR + 1, &ids(70..100), Some(&held)).await;
        assert_eq!((removed, rows, live(store, &of).await), (30, 40, 70));
        assert_eq!((next.confirms, next.confirm_us), (Some(held.id), held.end_us));
        // The CRM lists some of them again: they stay, the others are confirmed.
        let (_, removed, rows) = sync(store, &of, NOW + HOUR + 2, &ids(50..100), Some(&next)).await;
        assert_eq!((removed, rows, live(store, &of).await), (20, 0, 50));
        assert_eq!(held_rows(store), 0);
    }

    async fn a_second_listing_an_hour_later_confirms_the_same_rows(store) {
        let of = known(store, 100).await;
        let at = |minutes: i64| NOW + HOUR + minutes * MINUTE;
        assert_eq!(sync(store, &of, at(0), &ids(50..100), None).await.2, 50);
        // Too soon; the first evidence is kept over later syncs. The same number of other rows, missing for
        // the first time, is not confirmed.
        assert_eq!(sync(store, &of, at(40), &ids(50..100), None).await.2, 50);
        let others: Vec<String> = ids(0..50);
        let (_, removed, held) = sync(store, &of, at(59), &others, None).await;
        assert_eq!((removed, held), (0, 50));
        // The first rows were listed in between: their hour starts again.
        assert_eq!(sync(store, &of, at(61), &ids(50..100), None).await.2, 50);
        assert_eq!(sync(store, &of, at(121), &ids(50..100), None).await.1, 50);
        assert_eq!(live(store, &of).await, 50);
    }

    async fn a_listing_that_broke_off_is_no_evidence(store) {
        let of = known(store, 100).await;
        let broken = begin(store, &of, NOW + HOUR, None).await;
        store_listing(store, &broken, NOW + HOUR, &[]).await;
        end(store, &broken, SyncState::Failed, NOW + HOUR).await;
        assert_eq!(held_rows(store), 0);
        let (_, removed, held) = sync(store, &of, NOW + 3 * HOUR, &[], None).await;
        assert_eq!((removed, held, live(store, &of).await), (0, 100, 100));
        // Nor is a listing of another selection or account.
        let edit = IntegrationUpdate { fields: Some(vec![field("Account", "Industry")]), ..no_edit(of.id) };
        store.integration_update(edit).await.unwrap();
        let resumed = store.sync_lease_next(&worker("w"), NOW + 9 * HOUR, NOW + 10 * HOUR).await.unwrap().unwrap();
        store_listing(store, &resumed, NOW + 9 * HOUR, &[]).await;
        assert_eq!(settle(store, &resumed, "Account", GUARD, NOW + 9 * HOUR).await.held, 100);
    }

    async fn what_was_read_live_stays_and_crashes_lose_nothing(store) {
        let of = known(store, 100).await;
        let first = begin(store, &of, NOW + HOUR, None).await;
        store_listing(store, &first, NOW + HOUR, &ids(10..100)).await;
        // A profile is opened: the record exists.
        let rows = vec![row("00000", 1, 1)];
        store.record_refresh(refresh(&of, NOW + HOUR + 1, vec![batch("Account", NOW + HOUR + 1, rows)])).await.unwrap();
        // The worker is lost; the next one knows which rows were missing, the late one is refused.
        let second = store.sync_lease_next(&worker("w2"), NOW + 2 * HOUR, NOW + 3 * HOUR).await.unwrap().unwrap();
        let late = Settle { sync_id: first.id, fence: first.fence, object: "Account".to_owned(), guard: GUARD, limit: 3, settling: None, now_us: NOW };
        assert!(matches!(store.sync_settle(late.clone()).await, Err(Error::LeaseLost { why: Lost::Fence, .. })));
        let mut part = Settled::default();
        while part.removed == 0 {
            let settle = Settle { fence: second.fence, settling: part.more.take(), ..late.clone() };
            part = store.sync_settle(settle).await.unwrap();
        }
        assert_eq!((part.removed, part.more.is_some()), (3, true));
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
        assert_eq!(held_rows(store), 0);
    }

    async fn many_rows_are_held_back_a_few_at_a_time(store) {
        let of = known(store, 100).await;
        let first = begin(store, &of, NOW + HOUR, None).await;
        store_listing(store, &first, NOW + HOUR, &[]).await;
        let one = Settle { sync_id: first.id, fence: first.fence, object: "Account".to_owned(), guard: GUARD, limit: 7, settling: None, now_us: NOW + HOUR };
        // No call marks more rows than its limit, and an interrupted one is repeated by another worker.
        let mut done = Settled::default();
        for _ in 0..25 {
            let before = held_rows(store);
            done = store.sync_settle(Settle { settling: done.more.take(), ..one.clone() }).await.unwrap();
            assert!(held_rows(store) <= before + 7 && done.more.is_some());
        }
        assert!(held_rows(store) > 7 && held_rows(store) < 100);
        let second = store.sync_lease_next(&worker("w2"), NOW + 2 * HOUR, NOW + 3 * HOUR).await.unwrap().unwrap();
        let late = Settle { settling: done.more.take(), ..one };
        assert!(matches!(store.sync_settle(late).await, Err(Error::LeaseLost { why: Lost::Fence, .. })));
        assert_eq!(settle(store, &second, "Account", GUARD, NOW + 2 * HOUR).await.held, 100);
        assert_eq!((held_rows(store), live(store, &of).await), (100, 100));
        // Held-back rows between removed rows: each row is visited once.
        end(store, &second, SyncState::Partial, NOW + 2 * HOUR).await;
        let third = begin(store, &of, NOW + 2 * HOUR + 1, Some(&store.sync_get(second.id).await.unwrap())).await;
        let more: Vec<String> = ids(100..200);
        store_listing(store, &third, NOW + 2 * HOUR + 1, &more).await;
        assert_eq!(settle(store, &third, "Account", GUARD, NOW + 2 * HOUR + 1).await.removed, 100);
        assert_eq!(live(store, &of).await, 100);
    }

    async fn a_listing_that_lacks_very_many_rows_marks_them_all(store) {
        let of = active(store, &group(store, "g").await, "One").await;
        let first = begin(store, &of, NOW, None).await;
        let all = ids(0..12_500);
        store_listing(store, &first, NOW, &all).await;
        // Some at the beginning, some in the middle and one at the end are listed, in two batches of one
        // commit.
        let listed: Vec<String> = [&all[..50], &all[7_000..7_050], &all[12_499..]].concat();
        let half = |from: &str, to: &str, ids: &[String]| RecordBatch {
            complete_range: Some(CompleteRange { after: from.to_owned(), through: to.to_owned(), order: IdOrder::Bytes }),
            ..listing(NOW + 1, ids)
        };
        let batches = vec![half("", &all[6_999], &listed[..50]), half(&all[6_999], "", &listed[50..])];
        let commit = SyncCommit { checkpoint: Some(b"all".to_vec()), ..commit(&first, batches) };
        let done = store.sync_commit(commit).await.unwrap();
        assert_eq!((done.checkpoint_seq, done.counters[0].1.read, done.counters[0].1.unchanged), (2, 101, 101));
        assert_eq!(store.count("removal", "first_us IS NULL"), 12_500 - 101);
        let object = &store.sync_objects(first.id).await.unwrap()[0];
        assert_eq!(object.read, 12_500 + 101);
        assert_eq!(settle(store, &first, "Account", TRUSTING, NOW + 1).await.removed, 12_500 - 101);
        assert_eq!(live(store, &of).await, 101);
    }

    async fn numbers_that_are_lacking_are_marked_over_several_lengths(store) {
        let of = active(store, &group(store, "g").await, "One").await;
        let first = begin(store, &of, NOW, None).await;
        let all: Vec<String> = (1..=12_000).map(|n: u32| n.to_string()).collect();
        let numbers = |read_us, ids: &[String]| RecordBatch {
            complete_range: Some(CompleteRange { after: String::new(), through: String::new(), order: IdOrder::Number }),
            ..listing(read_us, ids)
        };
        store.sync_commit(commit(&first, vec![numbers(NOW, &all)])).await.unwrap();
        let some: Vec<String> = ["7", "999", "1000", "12000"].map(str::to_owned).to_vec();
        store.sync_commit(commit(&first, vec![numbers(NOW + 1, &some)])).await.unwrap();
        assert_eq!(store.count("removal", "first_us IS NULL"), 12_000 - 4);
        assert_eq!(settle(store, &first, "Account", TRUSTING, NOW + 1).await.removed, 12_000 - 4);
        assert_eq!(live(store, &of).await, 4);
    }
}
