//! The statements: every method of the store, on an integration of some size.

use super::{World, *};

/// The data before a round: the number of accounts, the same number of contacts below them, and a tenth of it
/// in other tables.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) accounts: usize,
    /// Keys of a batch.
    pub(super) batch: usize,
}

pub(super) fn account(i: usize) -> String {
    format!("001{i:015}")
}

pub(super) fn contact(i: usize) -> String {
    format!("003{i:015}")
}

pub(super) fn company(i: usize) -> CompanyId {
    format!("{i:08x}-0000-5000-8000-{i:012x}").parse().unwrap()
}

pub(super) fn account_row(i: usize, version: i64, read_us: Micros) -> RecordRow {
    RecordRow {
        company_id: Some(company(i)),
        homepage: Some(format!("company{i}.com")),
        read_us,
        ..row(&account(i), (i as i64) * 100 + version, NOW + version)
    }
}

pub(super) fn contact_row(i: usize, version: i64, read_us: Micros) -> RecordRow {
    let parents = vec![Parent {
        object: "Account".to_owned(),
        external_id: account(i),
    }];
    RecordRow {
        parents,
        read_us,
        ..row(&contact(i), (i as i64) * 100 + version, NOW + version)
    }
}

/// Every method, on an integration of this size. `round` counts from 0: each round uses other rows.
pub(super) async fn round(w: &mut World, group_id: &GroupId, of: &Integration, size: Size, round: usize) {
    // The current row: the previous round may have begun another generation.
    let of = &w.store.integration_get(of.id).await.unwrap();
    let n = size.batch;
    let first = round * 4 * n;
    let version = 1 + round as i64;
    let read_us = NOW + MINUTE * version;
    let ids = |from: usize| (from..from + n).map(account).collect::<Vec<String>>();
    let companies: Vec<CompanyId> = (first..first + 50).map(company).collect();

    // The queue and the commit of a sync.
    let sync = match ask!(
        w,
        1,
        sync_enqueue(NewSync {
            integration_id: of.id,
            trigger: SyncTrigger::Manual,
            create_by: "ada".to_owned(),
            due_us: NOW - MINUTE,
            confirms: None,
            now_us: NOW,
        })
    ) {
        Enqueued::New(sync) | Enqueued::AlreadyRunning(sync) => sync,
    };
    let mut now = NOW;
    let sync = loop {
        assert!(now < NOW + 100 * MINUTE, "{} is never leased", sync.id);
        // None if it ended a sync that was to be cancelled, or if all are leased: by an earlier round, whose
        // leases end.
        let leased = ask!(w, 1, sync_lease_next("worker", now, now + MINUTE));
        now += 2 * MINUTE;
        let Some(leased) = leased else {
            continue;
        };
        if leased.id == sync.id {
            break leased;
        }
    };
    ask!(w, 1, sync_heartbeat(sync.id, sync.fence, NOW + MINUTE));
    let news = ObjectProgress {
        object: "Account".to_owned(),
        position: 0,
        state: Some(ObjectState::Reading),
        expected: Some(7),
        error: None,
        tries: None,
    };
    ask!(w, 1, sync_object_upsert(sync.id, sync.fence, vec![news]));
    let covers = |from: usize| {
        Some(CompleteRange {
            after: account(from),
            through: account(from + n),
            order: IdOrder::Bytes,
        })
    };
    // Changed; unchanged with other times; new; missing in their range; marked as deleted.
    let changed: Vec<_> = (first..first + n)
        .map(|i| account_row(i, version, read_us))
        .collect();
    let linked: Vec<_> = (first..first + n)
        .map(|i| contact_row(i, version, read_us))
        .collect();
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Account", read_us, changed.clone())]))
    );
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Contact", read_us, linked)]))
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
        sync_commit(commit(&sync, vec![batch("Account", read_us + 1, moved)]))
    );
    let listed = RecordBatch {
        complete_range: covers(first + n),
        ..batch("Account", read_us, Vec::new())
    };
    ask!(w, n, sync_commit(commit(&sync, vec![listed])));
    let gone = (first..first + n).map(|i| RecordRow {
        deleted: true,
        ..contact_row(i, version + 1, read_us + 2)
    });
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Contact", read_us + 2, gone.collect())]))
    );
    ask!(w, 1, sync_get(sync.id));
    ask!(w, 1, sync_objects(sync.id));
    ask!(w, 1, sync_progress(sync.id));
    ask!(w, 20, sync_list(of.id, None, 20));
    ask!(w, 20, sync_list(of.id, Some((NOW - 500, sync.id)), 20));
    ask!(
        w,
        1,
        sync_wait(sync.id, sync.fence, NOW, "CRM_UNAVAILABLE", "later")
    );
    ask!(w, 1, sync_cancel_request(sync.id, NOW));
    ask!(
        w,
        1,
        sync_enqueue(NewSync {
            integration_id: of.id,
            trigger: SyncTrigger::Manual,
            create_by: "ada".to_owned(),
            due_us: NOW - MINUTE,
            confirms: None,
            now_us: NOW,
        })
    );
    let sync = ask!(w, 1, sync_lease_next("worker", NOW, NOW + MINUTE)).unwrap();
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

    // Live reads.
    let live = Refresh {
        complete: vec![ChildSet {
            parent_object: "Account".to_owned(),
            parent_id: account(first + 2 * n + 1),
            child_object: "Contact".to_owned(),
        }],
        ..refresh(
            of,
            read_us + 3,
            vec![batch(
                "Account",
                read_us + 3,
                vec![account_row(first + 2 * n + 1, version, 0)],
            )],
        )
    };
    ask!(w, 2, record_refresh(live));

    // The feed.
    let head = ask!(w, 1, record_change_no(of.id));
    ask!(
        w,
        3 * n,
        record_changes(of.id, size.accounts as i64 / 2, n as i64, 1 << 30)
    );
    ask!(
        w,
        3 * n,
        record_changes(of.id, head - n as i64, n as i64, 1 << 30)
    );
    ask!(
        w,
        3 * n,
        record_changes(
            of.id,
            size.accounts as i64 + size.accounts as i64 / 2,
            n as i64,
            1 << 30
        )
    );
    ask!(w, 1, record_forgotten(of.id));
    // The rows of 2 n tombstones are read for the last number.
    ask!(w, 3 * n, record_forget(of.id, NOW + 1, 10));

    // Look-ups.
    ask!(w, 50, record_company_keys(of.id, companies.clone()));
    ask!(
        w,
        3 * n,
        record_links(of.id, "Account", ids(first + 2 * n), "Contact")
    );
    ask!(
        w,
        3 * n,
        record_related_keys(of.id, "Account", ids(first + 2 * n), "Contact")
    );
    let seen = ask!(
        w,
        3 * n,
        record_each(of.id, "Account", ids(first + 2 * n), 0_usize, |seen, _| {
            *seen += 1;
            true
        })
    );
    assert!(seen > 0);

    // Companies.
    let sources = vec![of.id];
    let after = CompanyKey {
        name_key: "name 0010000000000000".to_owned(),
        company_id: company(0),
    };
    // A page reads some more entries than it shows, and each entry's company.
    ask!(w, 200, company_list_all(group_id, sources.clone(), None, 50));
    ask!(
        w,
        200,
        company_list_all(group_id, sources.clone(), Some(after.clone()), 50)
    );
    ask!(w, 100, company_list_tracked(group_id, sources.clone(), None, 50));
    ask!(
        w,
        100,
        company_list_tracked(group_id, sources.clone(), Some(after), 50)
    );
    ask!(
        w,
        100,
        company_get_many(group_id, sources.clone(), companies.clone())
    );
    ask!(
        w,
        100,
        company_get_tracked(group_id, sources.clone(), companies.clone())
    );
    ask!(w, 2, company_get(group_id, sources.clone(), company(first)));
    ask!(w, size.accounts, company_tracked(group_id));
    ask!(w, size.accounts, company_count_tracked(group_id));
    ask!(w, 2 * size.accounts, company_count_all(group_id, sources));
    let track = |i: usize| Track {
        company_id: company(i),
        name: "Name".to_owned(),
        homepage: String::new(),
    };
    ask!(
        w,
        50,
        company_track(group_id, (0..50).map(track).collect(), "ada", NOW)
    );
    ask!(w, 50, company_untrack(group_id, companies));

    // Events and audit entries.
    ask!(w, 1, event_head(group_id));
    ask!(w, 1, event_heads(vec![group_id.clone()]));
    ask!(w, 100, event_list(group_id, 100, 100));
    ask!(w, 40, event_purge(NOW - 9_990_000 + round as i64 * 10, 20));
    let entry = AuditEntry {
        id: AuditId::new(),
        group_id: group_id.to_string(),
        create_us: NOW,
        actor: "ada".to_owned(),
        role: "ADMIN".to_owned(),
        request_id: "1".to_owned(),
        method: "SyncIntegration".to_owned(),
        resource: of.id.name(),
        detail: "{}".to_owned(),
    };
    let last = (NOW - 100, entry.id);
    ask!(w, 1, audit_append(vec![entry]));
    let of_group = AuditFilter {
        group: Some(group_id.clone()),
        ..AuditFilter::default()
    };
    let of_resource = AuditFilter {
        resource: Some("integrations/7".to_owned()),
        ..of_group.clone()
    };
    ask!(w, 50, audit_list(AuditFilter::default(), None, 50));
    ask!(w, 50, audit_list(of_group.clone(), None, 50));
    ask!(w, 50, audit_list(of_group, Some(last), 50));
    ask!(w, 50, audit_list(of_resource, None, 50));
    ask!(w, 40, audit_purge(NOW - 9_990_000 + round as i64 * 10, 20));

    // Small tables.
    let other = crate::store::group_id("other");
    ask!(w, 1, group_upsert(&other, "Other", NOW));
    ask!(w, 1, group_get(group_id));
    ask!(w, 2, group_get_many(vec![group_id.clone(), other.clone()]));
    ask!(w, 20, group_list(None, 20));
    ask!(w, 1, group_connect(group_id, &other, NOW));
    ask!(w, 1, group_connections(group_id));
    ask!(w, 1, enablement_set(enablement(&other, true)));
    ask!(w, 1, enablement_get(group_id, "salesforce"));
    ask!(w, 1, enablement_list(group_id));
    ask!(w, 1, source_list(group_id));
    ask!(w, 1, source_get(group_id, of.id));
    ask!(w, 1, source_connect(group_id, of.id, true));
    ask!(w, 1, field_list_seen(group_id, vec![of.id]));
    ask!(w, 1, integration_get(of.id));
    ask!(
        w,
        20,
        integration_list_by_state(IntegrationState::Active, None, 20)
    );
    ask!(w, 20, integration_heads());
    let industry = FieldRef {
        object: "Account".to_owned(),
        key: "Industry".to_owned(),
    };
    let edit = IntegrationUpdate {
        fields: Some(vec![field("Account", "Industry")]),
        ..no_edit(of.id)
    };
    ask!(w, 5, integration_update(edit));
    ask!(w, 1, field_list(of.id));
    ask!(w, 1, field_mark_missing(of.id, vec![industry.clone()], NOW));
    let text = FieldText {
        object: industry.object.clone(),
        key: industry.key.clone(),
        label: format!("Industry {round}"),
        describe: "{}".to_owned(),
    };
    ask!(w, 1, field_renew(of.id, vec![text]));
    ask!(w, 1, field_activate(of.id, group_id, vec![industry], vec![]));
    ask!(
        w,
        1,
        share_set(
            of.id,
            NewShare {
                group_id: other.clone(),
                fields: None
            },
            "ada",
            NOW
        )
    );
    ask!(w, 1, share_list(of.id));
    ask!(w, 1, share_remove(of.id, &other, NOW));
    ask!(w, 1, group_disconnect(group_id, &other, NOW));
    let request = request(group_id, "1");
    ask!(w, 1, request_begin(&request, NOW));
    ask!(w, 1, request_end(&request, "result"));
    ask!(w, 1, request_get(&request));
    ask!(w, 1, field_count(of.id));
    ask!(w, 1, integration_lock(of.id));
    let told = NewOutbox {
        kind: OutboxKind::Revoke,
        subject: "subject".to_owned(),
        detail: "{}".to_owned(),
        sealed: vec![1],
        key_id: "k".to_owned(),
    };
    let told = ask!(w, 1, outbox_add(told, NOW));
    ask!(w, 1, outbox_lease_due("worker", NOW, NOW + MINUTE));
    ask!(w, 1, outbox_retry(told, "worker", NOW, "later"));
    ask!(w, 1, outbox_lease_due("worker", NOW, NOW + MINUTE));
    ask!(w, 1, outbox_done(told, "worker", Revocation::Done, NOW));
    ask!(w, 1, outbox_outcome(told));

    // Logins, and an integration that is created and deleted with its rows.
    let draft = ask!(w, 1, integration_create(new_integration(group_id, "Passing")));
    let hash: AuthorizationHash = "ab".repeat(32).parse().unwrap();
    ask!(
        w,
        1,
        authorization_create(NewAuthorization {
            state_hash: hash.clone(),
            integration_id: draft.id,
            group_id: group_id.clone(),
            create_by: "ada".to_owned(),
            sealed: vec![1],
            key_id: "k".to_owned(),
            redirect_uri: "https://a.example".to_owned(),
            landing: Landing::Tether,
            create_us: NOW,
            expire_us: NOW + MINUTE,
        })
    );
    ask!(w, 1, authorization_get(&hash, NOW));
    ask!(w, 1, authorization_callback(&hash, vec![2], NOW));
    ask!(w, 1, authorization_use(&hash, NOW));
    let credential = ask!(
        w,
        1,
        credential_put(new_credential("00D", "passing", b"token"), NOW)
    )
    .credential;
    ask!(w, 1, credential_get(credential.id));
    ask!(
        w,
        1,
        credential_of_account(
            "salesforce",
            AuthKind::AuthorizationCode,
            "client",
            "00D",
            "passing"
        )
    );
    ask!(
        w,
        1,
        integration_attach_credential(AttachCredential {
            id: draft.id,
            credential_id: credential.id,
            account_limit: 5,
            now_us: NOW
        })
    );
    ask!(w, 1, account_count("salesforce", "00D", "passing"));
    ask!(w, 1, credential_lease(credential.id, "worker", NOW, NOW + MINUTE));
    ask!(
        w,
        1,
        credential_store(
            credential.id,
            credential.generation,
            "worker",
            vec![3],
            "k",
            "https://a.example",
            "",
            NOW
        )
    );
    ask!(w, 1, credential_release(credential.id, "worker"));
    ask!(
        w,
        1,
        credential_revoked(credential.id, credential.generation - 1, "REVOKED", "gone", NOW)
    );
    let (passing, _) = ask!(w, 1, integration_activate(activate(draft.id)));
    for from in 0..5 {
        let rows = (from * n..(from + 1) * n)
            .map(|i| contact_row(i, 1, NOW))
            .collect();
        ask!(
            w,
            n,
            record_refresh(refresh(&passing, NOW, vec![batch("Contact", NOW, rows)]))
        );
    }
    ask!(w, 1, integration_delete(passing.id, None, NOW));
    ask!(w, 2 * n, integration_purge(passing.id, n as i64));
    while !w.store.integration_purge(passing.id, 5 * n as i64).await.unwrap() {}
    w.done("integration_purge", 10 * n);
    let draft = ask!(w, 1, integration_create(new_integration(group_id, "Abandoned")));
    ask!(w, 1, integration_delete(draft.id, None, NOW));
    ask!(w, 5, group_delete(&other, NOW));
}
