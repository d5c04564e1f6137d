//! The queue, the commits and the end of a sync.

use super::*;

/// A sync that somebody starts.
fn by_hand(of: &Integration) -> NewSync {
    NewSync {
        integration_id: of.id,
        trigger: SyncTrigger::Manual,
        create_by: "ada".to_owned(),
        due_us: NOW - MINUTE,
        confirms: None,
        now_us: NOW,
        mode: SyncMode::Auto,
    }
}

/// Enqueues a sync and leases it.
pub(super) async fn queue(w: &mut World, r: &Round<'_>) -> Sync {
    let Round { of, .. } = *r;
    let sync = match ask!(w, 1, sync_enqueue(by_hand(of))) {
        Enqueued::New(sync) | Enqueued::AlreadyRunning(sync) => sync,
    };
    let mut now = NOW;
    let sync = loop {
        assert!(now < NOW + 100 * MINUTE, "{} is never leased", sync.id);
        // None if it ended a sync that was to be cancelled, or if all are leased: by an earlier round, whose
        // leases end.
        let leased = ask!(w, 1, sync_lease_next(&worker("worker"), now, now + MINUTE));
        now += 2 * MINUTE;
        let Some(leased) = leased else {
            continue;
        };
        if leased.id == sync.id {
            break leased;
        }
    };
    let key = sync.organization();
    ask!(w, 1, organization_get(&key));
    ask!(w, 1, organization_admits(&key, Breaker::default(), NOW));
    let caller = Caller::Live("caller".to_owned());
    ask!(
        w,
        1,
        organization_probe(&key, Breaker::default(), NOW, caller.clone())
    );
    ask!(w, 1, organization_probe_end(&key, &caller));
    let answered = CallEnd {
        outcome: CallOutcome::Answered,
        live: false,
        begin_us: NOW,
        end_us: NOW,
    };
    ask!(w, 1, organization_outcome(&key, Breaker::default(), answered));
    let cost = CallCost {
        integration_id: of.id,
        organization: key.clone(),
        live: false,
        calls: 3,
        said: Some((4, 5)),
        now_us: NOW,
    };
    ask!(w, 1, api_usage_add(cost, AllowanceRules::default()));
    ask!(w, 1, api_usage_get(of.id, &key, NOW));
    ask!(w, 20, api_usage_purge(NOW - 90 * 24 * 60 * MINUTE, 20));
    ask!(
        w,
        1,
        sync_heartbeat((sync.id, sync.fence), 1_000, NOW, NOW + MINUTE)
    );
    let news = ObjectProgress {
        object: "Account".to_owned(),
        position: 0,
        state: Some(ObjectState::Reading),
        expected: Some(7),
        error: None,
        tries: None,
    };
    ask!(w, 1, sync_object_upsert(sync.id, sync.fence, vec![news]));
    sync
}

/// Rows that are changed; unchanged with other times; new; missing in their range; marked as deleted.
pub(super) async fn commit_rows(w: &mut World, r: &Round<'_>, sync: &Sync) {
    let Round {
        n,
        first,
        version,
        read_us,
        ..
    } = *r;
    let covers = |from: usize| {
        Some(CompleteRange {
            after: account(from),
            through: account(from + n),
            order: IdOrder::Bytes,
        })
    };
    let changed: Vec<_> = (first..first + n)
        .map(|i| account_row(i, version, read_us))
        .collect();
    let linked: Vec<_> = (first..first + n)
        .map(|i| contact_row(i, version, read_us))
        .collect();
    ask!(
        w,
        n,
        sync_commit(commit(sync, vec![batch("Account", read_us, changed.clone())]))
    );
    ask!(
        w,
        n,
        sync_commit(commit(sync, vec![batch("Contact", read_us, linked)]))
    );
    let moved = changed
        .iter()
        .map(|row| RecordRow {
            modified_us: row.modified_us + 1,
            ..row.clone()
        })
        .collect();
    ask!(
        w,
        n,
        sync_commit(commit(sync, vec![batch("Account", read_us + 1, moved)]))
    );
    let listed = RecordBatch {
        complete_range: covers(first + n),
        ..batch("Account", read_us, Vec::new())
    };
    ask!(w, n, sync_commit(commit(sync, vec![listed])));
    let existing = RecordBatch {
        partial: Some(vec!["Rating".to_owned()]),
        ..batch(
            "Account",
            read_us + 3,
            changed
                .iter()
                .map(|row| RecordRow {
                    payload: format!(r#"{{"Rating":"{version}"}}"#),
                    // Half of them have to be read by id.
                    modified_us: row.modified_us
                        + i64::from(row.external_id.ends_with(['1', '3', '5', '7', '9'])) * MINUTE,
                    ..row.clone()
                })
                .collect(),
        )
    };
    ask!(w, n, sync_commit(commit(sync, vec![existing])));
    // New ones, of a first load: they are found by their company later.
    let new = (0..n).map(|i| account_row(r.size.accounts + r.round * n + i, version, read_us));
    let new = SyncCommit {
        is_first_load: true,
        ..commit(sync, vec![batch("Account", read_us, new.collect())])
    };
    ask!(w, n, sync_commit(new));
    ask!(w, 2 * n, company_fill(r.of.id));
    let gone = (first..first + n).map(|i| RecordRow {
        deleted: true,
        ..contact_row(i, version + 1, read_us + 2)
    });
    ask!(
        w,
        n,
        sync_commit(commit(sync, vec![batch("Contact", read_us + 2, gone.collect())]))
    );
}

/// What was read before, and what has to be read by id.
pub(super) async fn plan(w: &mut World, r: &Round<'_>, sync: &Sync) {
    let Round { n, size, .. } = *r;
    ask!(w, 10, sync_read_before(sync));
    let plan = NewPlan {
        plan: vec![1],
        mode: SyncMode::Incremental,
        account: "of Ada".to_owned(),
        afresh: false,
    };
    ask!(w, 1, sync_plan(sync, plan));
    let wanted = ask!(w, n, sync_wanted(sync, n as i64));
    ask!(w, n, sync_wanted_done(sync, wanted));
    ask!(w, n, sync_has_marks(sync, "Account"));
    let left = ObjectRead {
        object: "Account".to_owned(),
        fields: "{}".to_owned(),
        calculated_us: NOW,
        sweep_us: NOW,
    };
    // Goes through all records of the object.
    let dropped = vec!["Rating".to_owned()];
    ask!(w, size.accounts, sync_drop_fields(sync, left, dropped, NOW));
}

/// What is shown of syncs.
pub(super) async fn lists(w: &mut World, r: &Round<'_>, sync: &Sync) {
    let Round { of, .. } = *r;
    ask!(w, 1, sync_get(sync.id));
    ask!(w, 1, sync_objects(sync.id));
    ask!(w, 1, sync_progress(sync.id));
    ask!(w, 20, sync_list(of.id, None, 20));
    ask!(w, 20, sync_list(of.id, Some((NOW - 500, sync.id)), 20));
}

/// A sync that waits and is cancelled, and the end of the next one.
pub(super) async fn end(w: &mut World, r: &Round<'_>, sync: &Sync) {
    let Round { of, size, .. } = *r;
    ask!(
        w,
        1,
        sync_wait(sync.id, sync.fence, NOW, "CRM_UNAVAILABLE", "later")
    );
    ask!(w, 1, sync_hasten(of.id, "CRM_UNAVAILABLE", NOW - 1));
    ask!(w, 1, sync_resume(NOW));
    ask!(w, 1, sync_cancel_request(sync.id, NOW));
    ask!(w, 1, sync_enqueue(by_hand(of)));
    // Of later times, which no worker of this round takes.
    ask!(w, 20, sync_next_due(NOW));
    ask!(w, 20, sync_enqueue_due(NOW + 90 * MINUTE, "EXPIRED"));
    let sync = ask!(w, 1, sync_lease_next(&worker("worker"), NOW, NOW + MINUTE)).unwrap();
    // Counts all companies of the integration.
    ask!(
        w,
        size.accounts,
        sync_finish(SyncEnd {
            sync_id: sync.id,
            fence: sync.fence,
            state: SyncState::Succeeded,
            error_reason: String::new(),
            error_message: String::new(),
            note: String::new(),
            company_records: None,
            now_us: NOW,
        })
    );
    ask!(w, 20, sync_purge(NOW - 9_000_000, 20));
}
