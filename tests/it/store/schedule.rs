//! Scheduled syncs, by a clock that the tests own.

use super::*;

/// A kind of refusal that only a use of the account can end.
const CURED_BY_USE: &str = "EXPIRED";
const HOUR: Micros = 60 * MINUTE;
/// The longest delay of an integration.
const DELAY: Micros = 5 * MINUTE;

async fn due(store: &Store, now_us: Micros) -> Option<Scheduled> {
    store.sync_enqueue_due(now_us, CURED_BY_USE).await.unwrap()
}

async fn set(store: &Store, id: IntegrationId, schedule: Schedule, now_us: Micros) -> Integration {
    let edit = IntegrationUpdate {
        schedule: Some(schedule),
        now_us,
        ..no_edit(id)
    };
    store.integration_update(edit).await.unwrap()
}

async fn next(store: &Store, id: IntegrationId) -> Option<Micros> {
    store.integration_get(id).await.unwrap().next_sync_us
}

/// A worker takes the queued sync and ends it.
async fn run(store: &Store, begin_us: Micros, end_us: Micros) -> Sync {
    let leased = store
        .sync_lease_next(&worker("w"), begin_us, end_us + MINUTE)
        .await;
    let sync = leased.unwrap().unwrap();
    let end = SyncEnd {
        sync_id: sync.id,
        fence: sync.fence,
        state: SyncState::Failed,
        error_reason: "CRM_UNAVAILABLE".to_owned(),
        error_message: String::new(),
        note: String::new(),
        company_records: None,
        now_us: end_us,
    };
    store.sync_finish(end).await.unwrap()
}

/// A saved integration whose first sync has ended at NOW.
async fn synced(store: &Store, group_id: &GroupId, name: &str) -> Integration {
    let one = active(store, group_id, name).await;
    run(store, NOW, NOW).await;
    store.integration_get(one.id).await.unwrap()
}

async fn by_schedule(store: &Store, id: IntegrationId) -> usize {
    let all = store.sync_list(id, None, 1_000).await.unwrap();
    all.iter()
        .filter(|one| one.trigger == SyncTrigger::Schedule)
        .count()
}

/// The account's refusals as the CRM gave one of this kind.
async fn refuse_temporarily(store: &Store, of: &Integration, kind: &str) {
    let new = refusal(store, of, kind, NOW).await;
    store.credential_refused(new, HOUR, |_| 3 * HOUR).await.unwrap();
}

async fn refusal(store: &Store, of: &Integration, kind: &str, now_us: Micros) -> NewRefusal {
    let id = of.credential_id.unwrap();
    NewRefusal {
        id,
        used_generation: store.credential_get(id).await.unwrap().generation,
        kind: kind.to_owned(),
        code: String::new(),
        message: String::new(),
        now_us,
    }
}

both! {
    async fn calls_that_are_refused_together_count_once(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        for (kind, now_us, count, next_try_us) in [
            (CURED_BY_USE, NOW, 1, NOW + MINUTE),
            // They began before the pause.
            (CURED_BY_USE, NOW + 1, 1, NOW + MINUTE),
            ("ADMIN_ACTION", NOW + 2, 1, NOW + 2 + MINUTE),
            // The next attempt, after the pause; and one that began with it.
            (CURED_BY_USE, NOW + 2 * MINUTE, 2, NOW + 4 * MINUTE),
            (CURED_BY_USE, NOW + 3 * MINUTE, 2, NOW + 4 * MINUTE),
            // Long after.
            (CURED_BY_USE, NOW + 2 * HOUR, 1, NOW + 2 * HOUR + MINUTE),
        ] {
            let new = refusal(store, &one, kind, now_us).await;
            let stored = store.credential_refused(new, HOUR, |count| count * MINUTE).await.unwrap();
            assert_eq!((stored.count, stored.next_try_us), (count, next_try_us), "{kind} at {now_us}");
        }
    }

    async fn each_day_of_a_month_has_one_sync(store) {
        let g = group(store, "g").await;
        let one = synced(store, &g, "One").await;
        // 2027-03-01 to 2027-03-31, local time: the clocks change on the 28th.
        let (begin, end) = (1_803_855_600_000_000, 1_806_530_400_000_000);
        let schedule = Schedule::cron("30 2 * * *", "Europe/Berlin").unwrap();
        set(store, one.id, schedule, begin).await;
        let mut times = Vec::new();
        let mut now = begin;
        while let Some(at) = store.sync_next_due(now).await.unwrap().filter(|at| *at < end) {
            assert_eq!(due(store, at - 1).await, None);
            let queued = due(store, at).await.unwrap();
            assert_eq!((queued.integration_id, queued.due_us), (one.id, at));
            assert_eq!(due(store, at).await, None);
            let sync = run(store, at, at + MINUTE).await;
            assert_eq!((Some(sync.id), sync.trigger), (queued.sync_id, SyncTrigger::Schedule));
            times.push(at);
            now = at + MINUTE;
        }
        assert_eq!(times.len(), 31);
        assert_eq!(by_schedule(store, one.id).await, 31);
        for at in times {
            // Minutes since midnight in UTC: half past one in winter, half past midnight in summer; the clocks skip half past
            // two on the 28th, and show three instead.
            let minute = at.rem_euclid(24 * HOUR) / MINUTE;
            let skipped = 1_806_195_600_000_000;
            let expected = match at {
                _ if at < skipped => 90,
                _ if at < skipped + HOUR => 60,
                _ => 30,
            };
            assert!((expected..=expected + 5).contains(&minute), "{at}: {minute}");
        }
    }

    async fn an_interval_counts_from_the_end(store) {
        let g = group(store, "g").await;
        let one = synced(store, &g, "One").await;
        assert_eq!(one.schedule, Schedule::hourly());
        let first = one.next_sync_us.unwrap();
        assert!((NOW + HOUR..=NOW + HOUR + DELAY).contains(&first));
        // It may run for hours: while it does, its time is reached again, and nothing is queued behind it.
        let queued = due(store, first).await.unwrap();
        let sync = store.sync_lease_next(&worker("w"), first, first + 9 * HOUR).await.unwrap().unwrap();
        assert_eq!(Some(sync.id), queued.sync_id);
        for hour in [2, 4, 6] {
            let joined = due(store, first + hour * HOUR).await.unwrap();
            assert_eq!((joined.integration_id, joined.sync_id), (one.id, None));
            assert_eq!(due(store, first + hour * HOUR).await, None);
        }
        let end_us = first + 7 * HOUR;
        let end = SyncEnd {
            sync_id: sync.id,
            fence: sync.fence,
            state: SyncState::Cancelled,
            error_reason: String::new(),
            error_message: String::new(),
            note: String::new(),
            company_records: None,
            now_us: end_us,
        };
        store.sync_finish(end).await.unwrap();
        assert_eq!(next(store, one.id).await, one.schedule.first(one.id, end_us));
        assert_eq!(by_schedule(store, one.id).await, 1);
    }

    async fn of_many_that_look_one_queues(store) {
        let g = group(store, "g").await;
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(synced(store, &g, &format!("N{n}")).await.id);
        }
        let later = NOW + 2 * HOUR;
        let looked = futures(20, |_| {
            let store = Store::clone(store);
            async move {
                let mut mine = Vec::new();
                while let Some(one) = due(&store, later).await {
                    mine.push(one);
                }
                mine
            }
        })
        .await;
        let mut queued: Vec<IntegrationId> = looked.into_iter().flatten().map(|one| {
            assert!(one.sync_id.is_some() && one.next_us.is_some_and(|next| next > later), "{one:?}");
            one.integration_id
        }).collect();
        queued.sort();
        ids.sort();
        assert_eq!(queued, ids);
        for id in ids {
            assert_eq!(by_schedule(store, id).await, 1);
        }
    }

    async fn what_was_missed_runs_once(store) {
        let g = group(store, "g").await;
        let one = synced(store, &g, "One").await;
        for schedule in [Schedule::every(300, 0).unwrap(), Schedule::cron("*/5 * * * *", "UTC").unwrap()] {
            let before = by_schedule(store, one.id).await;
            set(store, one.id, schedule, NOW).await;
            let later = NOW + 1_000 * HOUR;
            assert!(due(store, later).await.unwrap().sync_id.is_some());
            assert_eq!(due(store, later).await, None);
            run(store, later, later).await;
            assert_eq!(due(store, later).await, None);
            assert_eq!(by_schedule(store, one.id).await, before + 1);
            assert!(next(store, one.id).await.unwrap() > later);
        }
    }

    async fn only_integrations_that_may_sync_are_due(store) {
        let (g, later) = (group(store, "g").await, NOW + 2 * HOUR);
        let one = synced(store, &g, "One").await;
        let draft = store.integration_create(new_integration(&g, "Draft")).await.unwrap();
        assert_eq!((draft.next_sync_us, next(store, draft.id).await), (None, None));

        store.enablement_set(enablement(&g, false)).await.unwrap();
        assert_eq!(due(store, later).await, None);
        store.enablement_set(enablement(&g, true)).await.unwrap();

        // The CRM refuses the account: as long as it does, or until the pause is over if only a sync can find out.
        refuse_temporarily(store, &one, "ADMIN_ACTION").await;
        assert_eq!(due(store, NOW + 9 * HOUR).await, None);
        store.credential_accepted(one.credential_id.unwrap(), 1).await.unwrap();
        refuse_temporarily(store, &one, CURED_BY_USE).await;
        assert_eq!(due(store, NOW + 3 * HOUR - 1).await, None);
        store.credential_accepted(one.credential_id.unwrap(), 1).await.unwrap();

        refuse(store, one.id, "CREDENTIALS_REVOKED", NOW).await;
        assert_eq!(due(store, later).await, None);
        assert_eq!(store.sync_next_due(NOW).await.unwrap(), None);
        log_in(store, one.id, "one").await;

        // All that was missed is one sync.
        assert_eq!(due(store, later).await.unwrap().integration_id, one.id);
        assert_eq!(due(store, later).await, None);
        run(store, later, later).await;
        store.integration_delete(one.id, None, later).await.unwrap();
        assert_eq!(due(store, NOW + 99 * HOUR).await, None);
    }

    async fn a_changed_schedule_counts_from_the_change(store) {
        let g = group(store, "g").await;
        let one = synced(store, &g, "One").await;
        let before = one.next_sync_us;
        // Neither another edit nor the same schedule moves it.
        let same = set(store, one.id, Schedule::hourly(), NOW + 30 * MINUTE).await;
        assert_eq!((same.next_sync_us, same.revision), (before, one.revision + 1));
        let edit = IntegrationUpdate { display_name: Some("Other".to_owned()), ..no_edit(one.id) };
        assert_eq!(store.integration_update(edit).await.unwrap().next_sync_us, before);

        let often = Schedule::every(300, 0).unwrap();
        let changed = set(store, one.id, often.clone(), NOW + 30 * MINUTE).await;
        assert_eq!(changed.next_sync_us, often.first(one.id, NOW + 30 * MINUTE));
        assert_eq!(store.integration_get(one.id).await.unwrap(), changed);

        let manual = set(store, one.id, Schedule::manual(), NOW).await;
        assert_eq!((manual.next_sync_us, manual.schedule), (None, Schedule::manual()));
        assert_eq!(due(store, NOW + 99 * HOUR).await, None);
        store.sync_enqueue(NewSync {
            integration_id: one.id,
            trigger: SyncTrigger::Manual,
            create_by: "ada".to_owned(),
            due_us: NOW,
            confirms: None,
            now_us: NOW, mode: SyncMode::Auto,
        }).await.unwrap();
        run(store, NOW, NOW + HOUR).await;
        assert_eq!(next(store, one.id).await, None);
    }

    async fn a_schedule_that_cannot_be_read_stops_alone(store) {
        let g = group(store, "g").await;
        let (one, two) = (synced(store, &g, "One").await, synced(store, &g, "Two").await);
        raw::run(&store.url, &format!(
            "UPDATE integration SET schedule = 'CRON Mars/Olympus 0 6 * * *', next_sync_us = 1 WHERE id = '{}'", one.id
        ));
        let stopped = due(store, NOW + 2 * HOUR).await.unwrap();
        assert_eq!((stopped.integration_id, stopped.next_us), (one.id, None));
        assert_eq!(due(store, NOW + 2 * HOUR).await.unwrap().integration_id, two.id);
        assert_eq!(due(store, NOW + 2 * HOUR).await, None);
        // A version that can read it goes on with it after the next sync.
        raw::run(&store.url, &format!("UPDATE integration SET schedule = 'CRON UTC 0 6 * * *' WHERE id = '{}'", one.id));
        assert_eq!(due(store, NOW + 99 * HOUR).await.unwrap().integration_id, two.id);
        for _ in 0..2 {
            run(store, NOW + 2 * HOUR, NOW + 3 * HOUR).await;
        }
        assert!(next(store, one.id).await.unwrap() > NOW + 3 * HOUR);
    }

    async fn integrations_of_earlier_versions_sync_on_request(store) {
        let g = group(store, "g").await;
        let one = synced(store, &g, "One").await;
        // As an earlier version wrote it.
        let (old, id) = (one.id, IntegrationId::from_uuid(uuid::Uuid::max()));
        let same = "group_id, connector, state, state_reason, state_message, state_us, settings, credential_id, generation, \
            revision, create_us, create_by, update_us, activate_us, expire_us, company_records, last_success_us, data_database";
        raw::run(&store.url, &format!(
            "INSERT INTO integration (id, display_name, name_key, {same}) \
             SELECT '{id}', 'Old', 'old', {same} FROM integration WHERE id = '{old}'"
        ));
        let kept = store.integration_get(id).await.unwrap();
        assert_eq!((kept.schedule, kept.next_sync_us), (Schedule::manual(), None));
        assert_eq!(due(store, NOW + 99 * HOUR).await.unwrap().integration_id, one.id);
        assert_eq!(due(store, NOW + 99 * HOUR).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_integration_delays_no_other() {
    use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};
    let store = Fixture::postgres().await;
    let g = group(&store, "g").await;
    let (one, two) = (synced(&store, &g, "One").await, synced(&store, &g, "Two").await);
    raw::run(
        &store.url,
        &format!("UPDATE integration SET next_sync_us = 1 WHERE id = '{}'", one.id),
    );
    let mut holder = PgConnection::establish(&store.url).unwrap();
    holder
        .batch_execute(&format!(
            "BEGIN; SELECT 1 FROM integration WHERE id = '{}' FOR UPDATE",
            one.id
        ))
        .unwrap();
    let later = NOW + 2 * HOUR;
    assert_eq!(due(&store, later).await.unwrap().integration_id, two.id);
    assert_eq!(due(&store, later).await, None);
    holder.batch_execute("ROLLBACK").unwrap();
    assert_eq!(due(&store, later).await.unwrap().integration_id, one.id);
}
