//! Events of groups and the audit log.

use super::*;

fn entry(group: &str, at: Micros, actor: &str, resource: &str) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(),
        group_id: group.to_owned(),
        create_us: at,
        actor: actor.to_owned(),
        role: "administrator".to_owned(),
        request_id: "r".to_owned(),
        method: "UpdateIntegration".to_owned(),
        resource: resource.to_owned(),
        detail: "{}".to_owned(),
    }
}

/// The kinds and numbers of a group's events after this one.
async fn events(store: &Store, group: &GroupId, after: i64) -> Vec<(i64, EventKind)> {
    let events = store.event_list(group, after, 100).await.unwrap();
    events.iter().map(|one| (one.event_no, one.kind)).collect()
}

fn end(sync: &Sync, state: SyncState, reason: &str) -> SyncEnd {
    SyncEnd {
        sync_id: sync.id,
        fence: sync.fence,
        state,
        error_reason: reason.to_owned(),
        error_message: "the CRM said: CANARY".to_owned(),
        note: String::new(),
        company_records: Some(1),
        now_us: NOW,
    }
}

both! {
    async fn what_happens_is_told_to_the_group_in_order(store) {
        let (a, b) = (group(store, "a").await, group(store, "b").await);
        let draft = store.integration_create(new_integration(&a, "One")).await.unwrap();
        log_in(store, draft.id, "u").await;
        store.integration_update(IntegrationUpdate {
            fields: Some(vec![field("Account", "Name"), field("Account", "Industry")]), ..no_edit(draft.id)
        }).await.unwrap();
        let (of, _) = store.integration_activate(activate(draft.id)).await.unwrap();
        // Drafts and saving create no events.
        assert_eq!(store.event_head(&a).await.unwrap(), EventHead::default());

        let sync = store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await.unwrap().unwrap();
        let missing = |key: &str| FieldRef { object: "Account".to_owned(), key: key.to_owned() };
        let with = |fields| SyncCommit { missing_fields: fields, ..commit(&sync, Vec::new()) };
        store.sync_commit(with(vec![missing("Industry"), missing("NotSelected")])).await.unwrap();
        store.sync_commit(with(vec![missing("Industry")])).await.unwrap();
        store.sync_finish(end(&sync, SyncState::Succeeded, "")).await.unwrap();
        let told = store.event_list(&a, 0, 100).await.unwrap();
        assert_eq!(told.iter().map(|one| (one.event_no, one.kind)).collect::<Vec<_>>(),
            [(1, EventKind::FieldMissing), (2, EventKind::SyncFinished)]);
        assert_eq!(told[0].subject, format!("{}/fields/Account.Industry", of.id.name()));
        assert_eq!(told[1].subject, format!("{}/syncs/{}", of.id.name(), sync.id));

        // A change that is rolled back creates no event.
        assert!(store.sync_finish(end(&sync, SyncState::Failed, "CRM_UNAVAILABLE")).await.is_err());
        assert_eq!(store.event_head(&a).await.unwrap().last_no, 2);

        let new = NewSync { integration_id: of.id, trigger: SyncTrigger::Manual, create_by: String::new(), due_us: NOW, confirms: None, now_us: NOW, mode: SyncMode::Auto, };
        let queue = || async { match store.sync_enqueue(new.clone()).await.unwrap() { Enqueued::New(sync) => sync, other => panic!("{other:?}") } };
        queue().await;
        let sync = store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await.unwrap().unwrap();
        store.sync_finish(end(&sync, SyncState::Failed, "CRM_UNAVAILABLE")).await.unwrap();
        let cancelled = queue().await;
        store.sync_cancel_request(cancelled.id, NOW).await.unwrap();
        store.sync_cancel_request(cancelled.id, NOW).await.unwrap();
        assert_eq!(refuse(store, of.id, "CREDENTIALS_REVOKED", NOW).await, [of.id]);
        assert_eq!(refuse(store, of.id, "CREDENTIALS_REVOKED", NOW).await, []);
        log_in(store, of.id, "u").await;
        assert_eq!(refuse(store, of.id, "ACCOUNT_SUSPENDED", NOW).await, [of.id]);
        store.integration_delete(of.id, None, NOW).await.unwrap();
        let told = store.event_list(&a, 2, 100).await.unwrap();
        let told: Vec<_> = told.iter().map(|one| (one.event_no, one.kind, one.reason.as_str())).collect();
        assert_eq!(told, [
            (3, EventKind::SyncFailed, "CRM_UNAVAILABLE"),
            (4, EventKind::SyncCancelled, ""),
            (5, EventKind::NeedsReauthorization, "CREDENTIALS_REVOKED"),
            (6, EventKind::NeedsReauthorization, "ACCOUNT_SUSPENDED"),
            (7, EventKind::IntegrationDeleted, ""),
        ]);
        // No other group got an event, and no text of the CRM was stored.
        assert_eq!(store.event_head(&b).await.unwrap(), EventHead::default());
        let heads = store.event_heads(vec![a.clone(), b.clone()]).await.unwrap();
        assert_eq!(heads, [(a.clone(), 7)].into());
        assert!(!format!("{:?}", store.event_list(&a, 0, 100).await.unwrap()).contains("CANARY"));
        // A page continues after a number.
        assert_eq!(store.event_list(&a, 5, 1).await.unwrap()[0].event_no, 6);
    }

    async fn numbers_have_no_gap_however_many_write(store) {
        let g = group(store, "g").await;
        let mut of = Vec::new();
        for number in 0..8 {
            of.push(active(store, &g, &format!("I {number}")).await.id);
        }
        // A concurrent reader never sees a number before the one below it.
        let (reader, g2) = (Store::clone(store), g.clone());
        let watch = tokio::spawn(async move {
            let mut seen = 0;
            while seen < 24 {
                for one in reader.event_list(&g2, seen, 100).await.unwrap() {
                    assert_eq!(one.event_no, seen + 1);
                    seen = one.event_no;
                }
                tokio::task::yield_now().await;
            }
        });
        futures(8, |at| {
            let (store, id) = (Store::clone(store), of[at]);
            async move {
                for _ in 0..3 {
                    assert_eq!(refuse(&store, id, "R", NOW).await, [id]);
                    log_in(&store, id, &slug(&format!("I {at}"))).await;
                }
            }
        }).await;
        tokio::time::timeout(Duration::from_secs(30), watch).await.unwrap().unwrap();
        assert_eq!(store.event_head(&g).await.unwrap().last_no, 24);
    }

    async fn old_events_go_and_the_head_remembers(store) {
        let g = group(store, "g").await;
        let of = active(store, &g, "One").await;
        for at in 0..4 {
            let now = NOW + at * MINUTE;
            refuse(store, of.id, "R", now).await;
            log_in(store, of.id, "one").await;
        }
        assert_eq!(store.event_purge(NOW + 2 * MINUTE, 1).await.unwrap(), 1);
        assert_eq!(store.event_head(&g).await.unwrap(), EventHead { last_no: 4, purged_no: 1 });
        assert_eq!(store.event_purge(NOW + 2 * MINUTE, 100).await.unwrap(), 1);
        assert_eq!(store.event_purge(NOW + 2 * MINUTE, 100).await.unwrap(), 0);
        assert_eq!(events(store, &g, 0).await.iter().map(|one| one.0).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(store.event_head(&g).await.unwrap(), EventHead { last_no: 4, purged_no: 2 });
    }

    async fn the_audit_log_is_read_newest_first(store) {
        let all = [
            entry("a", NOW, "ann", "integrations/1"),
            entry("a", NOW + 1, "bob", "integrations/1/syncs/2"),
            entry("a", NOW + 2, "ann", "integrations/11"),
            entry("b", NOW + 3, "ann", "integrations/3"),
            entry("", NOW + 4, "platform", ""),
        ];
        store.audit_append(all[..4].to_vec()).await.unwrap();
        store.audit_append(all[4..].to_vec()).await.unwrap();
        assert!(store.audit_append(vec![entry("a", NOW, "x", "y"), all[0].clone()]).await.is_err());
        let list = |filter: AuditFilter, before, limit| {
            let store = Store::clone(store);
            async move { store.audit_list(filter, before, limit).await.unwrap() }
        };
        let of = |id: &str| AuditFilter { group: Some(group_id(id)), ..AuditFilter::default() };
        let page = list(of("a"), None, 2).await;
        assert_eq!(page, [all[2].clone(), all[1].clone()]);
        assert_eq!(list(of("a"), Some((NOW + 1, page[1].id)), 2).await, [all[0].clone()]);
        assert_eq!(list(AuditFilter::default(), None, 9).await.len(), 5);
        let under = AuditFilter { resource: Some("integrations/1".to_owned()), ..of("a") };
        assert_eq!(list(under, None, 9).await, [all[1].clone(), all[0].clone()]);
        let by = AuditFilter { actor: Some("bob".to_owned()), ..of("a") };
        assert_eq!(list(by, None, 9).await, [all[1].clone()]);
        let span = AuditFilter { from_us: Some(NOW + 1), until_us: Some(NOW + 2), ..of("a") };
        assert_eq!(list(span, None, 9).await, [all[1].clone()]);
        assert_eq!(store.audit_purge(NOW + 2, 1).await.unwrap(), 1);
        assert_eq!(store.audit_purge(NOW + 2, 9).await.unwrap(), 1);
        assert_eq!(list(of("a"), None, 9).await, [all[2].clone()]);
    }
}
