//! Integrations from draft to deletion.

use super::*;

both! {
    async fn names_are_unique_in_a_group(store) {
        let (g, h) = (group(store, "g").await, group(store, "h").await);
        let one = store.integration_create(new_integration(&g, "Acme  EMEA")).await.unwrap();
        assert_eq!((label(store, &one).await.as_str(), one.state, one.revision), ("acme_emea", IntegrationState::Draft, 1));
        assert_eq!(store.integration_get(one.id).await.unwrap(), one);
        let taken = store.integration_create(new_integration(&g, " ACME emea")).await.unwrap_err();
        assert!(taken.is_conflict(Conflict::Name) && taken.to_string().contains("ACME emea"), "{taken}");
        store.integration_create(new_integration(&h, "acme emea")).await.unwrap();
        // Another name that gives the same label gets another label.
        let two = store.integration_create(new_integration(&g, "Acme-EMEA")).await.unwrap();
        assert_eq!(label(store, &two).await, "acme_emea_2");
        let edit = |id, name: Option<&str>, label: Option<&str>| IntegrationUpdate { display_name: name.map(str::to_owned), label: label.map(str::to_owned), ..no_edit(id) };
        assert!(store.integration_update(edit(two.id, Some("acme EMEA"), None)).await.unwrap_err().is_conflict(Conflict::Name));
        assert!(store.integration_update(edit(two.id, None, Some("acme_emea"))).await.unwrap_err().is_conflict(Conflict::Label));
        let renamed = store.integration_update(edit(one.id, Some("Other"), None)).await.unwrap();
        assert_eq!((label(store, &renamed).await.as_str(), renamed.revision), ("acme_emea", 2));
        store.integration_update(edit(two.id, Some("acme EMEA"), None)).await.unwrap();
        assert!(store.integration_create(new_integration(&group_id("none"), "x")).await.unwrap_err().is_not_found());
    }

    async fn of_many_with_one_name_one_is_made(store) {
        let g = group(store, "g").await;
        let made = futures(12, |_| {
            let (store, g) = (Store::clone(store), g.clone());
            async move { store.integration_create(new_integration(&g, "Same")).await }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for error in lost {
            let error = error.unwrap_err();
            assert!(error.is_conflict(Conflict::Name) || error.is_conflict(Conflict::Label), "{error:?}");
        }
    }

    async fn edits_are_atomic_and_guarded(store) {
        let g = group(store, "g").await;
        let one = store.integration_create(new_integration(&g, "One")).await.unwrap();
        let edit = |revision: i64, fields: Vec<Field>| IntegrationUpdate { revision: Some(revision), fields: Some(fields), ..no_edit(one.id) };
        let selected = vec![field("Contact", "Email"), field("Account", "Industry")];
        let second = store.integration_update(edit(1, selected.clone())).await.unwrap();
        assert_eq!((second.revision, second.generation), (2, 2));
        assert!(store.integration_update(edit(1, Vec::new())).await.unwrap_err().is_conflict(Conflict::Revision));
        let missing = FieldRef { object: "Account".to_owned(), key: "Industry".to_owned() };
        assert_eq!(store.field_mark_missing(one.id, vec![missing.clone()], NOW).await.unwrap(), 1);
        assert_eq!(store.field_mark_missing(one.id, vec![missing], NOW + 1).await.unwrap(), 0);
        // The same selection in another order is not a new generation, and missing fields stay missing.
        let same = selected.iter().rev().cloned().collect();
        let third = store.integration_update(edit(2, same)).await.unwrap();
        assert_eq!((third.revision, third.generation), (3, 2));
        let fields = store.field_list(one.id).await.unwrap();
        assert_eq!(fields.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["Industry", "Email"]);
        assert_eq!(fields[0].missing_us, Some(NOW));
        let retyped = Field { field_type: FieldType::Email, ..field("Contact", "Email") };
        let fourth = store.integration_update(edit(3, vec![retyped])).await.unwrap();
        assert_eq!(fourth.generation, 3);
        // All or nothing: with a taken name, the fields are not changed.
        store.integration_create(new_integration(&g, "Two")).await.unwrap();
        let both = IntegrationUpdate { display_name: Some("two".to_owned()), ..edit(4, Vec::new()) };
        assert!(store.integration_update(both).await.is_err());
        assert_eq!(store.field_list(one.id).await.unwrap().len(), 1);
    }

    async fn texts_of_fields_are_renewed_and_aliases_stay(store) {
        let g = group(store, "g").await;
        let one = store.integration_create(new_integration(&g, "One")).await.unwrap();
        let edit = |fields: Vec<Field>| IntegrationUpdate { fields: Some(fields), ..no_edit(one.id) };
        let odd = |key: &str| Field { label: "Size".to_owned(), ..field("Account", key) };
        store.integration_update(edit(vec![odd("a.b"), field("Account", "Industry")])).await.unwrap();
        let text = FieldText {
            object: "Account".to_owned(),
            key: "a.b".to_owned(),
            label: "Colour".to_owned(),
            describe: "{\"scale\":2}".to_owned(),
        };
        let gone = FieldText { key: "gone".to_owned(), ..text.clone() };
        store.field_renew(one.id, vec![text, gone]).await.unwrap();
        store.field_renew(one.id, Vec::new()).await.unwrap();
        let told = |fields: Vec<Field>| fields.into_iter().map(|f| (f.key, f.label, f.describe, f.alias)).collect::<Vec<_>>();
        let row = |key: &str, label: &str, describe: &str, alias: &str| (key.to_owned(), label.to_owned(), describe.to_owned(), alias.to_owned());
        let fields = store.field_list(one.id).await.unwrap();
        let expected = [row("a.b", "Colour", "{\"scale\":2}", "size"), row("Industry", "Industry", "{}", "")];
        assert_eq!(told(fields), expected);
        // What callers give as an alias does not count: the store has it.
        let more = vec![odd("c.d"), Field { alias: "mine".to_owned(), ..odd("a.b") }];
        store.integration_update(edit(more)).await.unwrap();
        let aliases: Vec<String> = store.field_list(one.id).await.unwrap().into_iter().map(|f| f.alias).collect();
        assert_eq!(aliases, ["size_2", "size"]);
    }

    async fn pages_have_no_gaps(store) {
        let g = group(store, "g").await;
        let mut made = Vec::new();
        for i in 0..7 {
            let new = NewIntegration { now_us: NOW + i / 3, ..new_integration(&g, &format!("N{i}")) };
            made.push(store.integration_create(new).await.unwrap());
        }
        made.sort_by_key(|i| i.id);
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store.integration_list_by_state(IntegrationState::Draft, after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page);
        }
        assert_eq!(seen, made);
    }

    async fn saving_starts_the_first_sync(store) {
        let g = group(store, "g").await;
        let draft = store.integration_create(new_integration(&g, "One")).await.unwrap();
        assert!(store.integration_activate(activate(draft.id)).await.unwrap_err().is_conflict(Conflict::State));
        log_in(store, draft.id, "u").await;
        let stale = Activate { revision: Some(1), ..activate(draft.id) };
        assert!(store.integration_activate(stale).await.unwrap_err().is_conflict(Conflict::Revision));
        let (saved, sync) = store.integration_activate(activate(draft.id)).await.unwrap();
        assert_eq!(store.integration_get(draft.id).await.unwrap(), saved);
        assert_eq!((saved.state, saved.expire_us, saved.company_records), (IntegrationState::Active, None, Some(3)));
        assert_eq!((sync.state, sync.trigger), (SyncState::Queued, SyncTrigger::Activation));
        assert_eq!(store.sync_get(sync.id).await.unwrap(), sync);
        assert!(store.integration_activate(activate(draft.id)).await.unwrap_err().is_conflict(Conflict::State));
    }

    async fn an_account_has_five_places(store) {
        let (g, h) = (group(store, "g").await, group(store, "h").await);
        // Two credentials of one account: the client differs.
        let one = store.credential_put(new_credential("00D", "u", b"1"), NOW).await.unwrap().credential;
        let two = store.credential_put(NewCredential { client_id: "c2".to_owned(), ..new_credential("00D", "u", b"2") }, NOW).await.unwrap().credential;
        let mut drafts = Vec::new();
        for i in 0..9 {
            let draft = store.integration_create(new_integration(if i % 2 == 0 { &g } else { &h }, &format!("N{i}"))).await.unwrap();
            attach(store, draft.id, if i % 3 == 0 { one.id } else { two.id }).await.unwrap();
            drafts.push(draft.id);
        }
        let saved = futures(9, |i| {
            let (store, id) = (Store::clone(store), drafts[i]);
            async move {
                loop {
                    match store.integration_activate(activate(id)).await {
                        Err(e) if e.is_retryable() => continue,
                        other => return other.map(|(i, _)| i.id),
                    }
                }
            }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = saved.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 5);
        for error in lost {
            let error = error.unwrap_err();
            assert!(error.is_conflict(Conflict::AccountFull) && error.to_string().contains('5'), "{error}");
        }
        assert_eq!(store.account_count("salesforce", "00D", "u").await.unwrap(), 5);
        let won: Vec<_> = won.into_iter().map(Result::unwrap).collect();
        // A new login of one of the five takes no place; moving another active integration to the account
        // does.
        attach(store, won[0], two.id).await.unwrap();
        let other = active(store, &g, "Other").await;
        assert!(attach(store, other.id, one.id).await.unwrap_err().is_conflict(Conflict::AccountFull));
        store.integration_delete(won[1], None, NOW).await.unwrap();
        let moved = attach(store, other.id, one.id).await.unwrap();
        assert!(moved.moved && moved.integration.generation > other.generation);
        // No other integration used its former credential.
        assert_eq!(moved.released, other.credential_id);
    }

    async fn drafts_expire_and_can_be_abandoned(store) {
        let g = group(store, "g").await;
        let old = store.integration_create(new_integration(&g, "Old")).await.unwrap();
        let credential = log_in(store, old.id, "u").await.integration.credential_id.unwrap();
        let young = NewIntegration { expire_us: NOW + 90 * 24 * 60 * MINUTE, ..new_integration(&g, "Young") };
        let young = store.integration_create(young).await.unwrap();
        let saved = active(store, &g, "Saved").await;
        let gone = store.drafts_expire(NOW + 31 * 24 * 60 * MINUTE, 100).await.unwrap();
        let told = store.outbox_lease_due("w", NOW + 32 * 24 * 60 * MINUTE, NOW).await.unwrap().unwrap();
        assert_eq!(gone, [Deleted { id: old.id, credential_id: Some(credential), released: Some(told.id), groups: 0 }]);
        assert!(store.integration_get(old.id).await.unwrap_err().is_not_found());
        assert_eq!(store.integration_get(saved.id).await.unwrap().state, IntegrationState::Active);
        store.integration_delete(young.id, None, NOW).await.unwrap();
        assert!(store.integration_get(young.id).await.unwrap_err().is_not_found());
        store.integration_create(new_integration(&g, "Old")).await.unwrap();
    }

    async fn a_dead_credential_is_shown_and_revived(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let draft = store.integration_create(new_integration(&g, "Draft")).await.unwrap();
        let credential = one.credential_id.unwrap();
        attach(store, draft.id, credential).await.unwrap();
        let generation = store.credential_get(credential).await.unwrap().generation;
        let dead = store.credential_revoked(credential, generation, "REVOKED_BY_USER", "Log in again.", NOW).await.unwrap();
        assert_eq!((dead.revoked, dead.integrations), (true, vec![one.id]));
        let shown = store.integration_get(one.id).await.unwrap();
        assert_eq!(shown.state, IntegrationState::NeedsReauthorization);
        assert_eq!((shown.state_reason.as_str(), shown.state_message.as_str()), ("REVOKED_BY_USER", "Log in again."));
        let again = log_in(store, one.id, "one").await;
        assert_eq!(again.integration.state, IntegrationState::Active);
        assert!(!again.moved && again.integration.generation == one.generation);
    }

    async fn the_last_of_a_credential_gives_it_back(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let two = store.integration_create(new_integration(&g, "Two")).await.unwrap();
        attach(store, two.id, one.credential_id.unwrap()).await.unwrap();
        store.integration_activate(activate(two.id)).await.unwrap();
        let sync = store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await.unwrap().unwrap();
        assert_eq!(sync.integration_id, one.id);
        let child = RecordRow { parents: vec![Parent { object: "Account".into(), external_id: "0".into() }], ..row("c", 1, 1) };
        let rows = (0..50).map(|i| row(&i.to_string(), 1, 1)).collect();
        store.sync_commit(commit(&sync, vec![batch("Account", 1, rows), batch("Contact", 1, vec![child])])).await.unwrap();

        let deleted = store.integration_delete(one.id, None, NOW).await.unwrap();
        assert_eq!(deleted.released, None);
        assert!(store.outbox_lease_due("w", NOW, NOW + MINUTE).await.unwrap().is_none());
        // The worker learns that it lost the lease, and the integration's place and name are free at once.
        assert!(matches!(store.sync_commit(commit(&sync, Vec::new())).await, Err(Error::LeaseLost { .. })));
        assert!(store.sync_get(sync.id).await.unwrap().cancel_requested);
        assert!(store.integration_delete(one.id, None, NOW).await.unwrap_err().is_not_found());
        store.integration_create(new_integration(&g, "One")).await.unwrap();
        assert_eq!(store.source_list(&g).await.unwrap().len(), 2);
        let mut rounds = 0;
        while !store.integration_purge(one.id, 20).await.unwrap() {
            rounds += 1;
        }
        assert_eq!(rounds, 3);
        assert!(store.integration_get(one.id).await.unwrap_err().is_not_found());
        assert!(store.sync_get(sync.id).await.unwrap_err().is_not_found());

        let released = store.integration_delete(two.id, None, NOW).await.unwrap().released;
        let told = store.outbox_lease_due("w", NOW, NOW + MINUTE).await.unwrap().unwrap();
        assert_eq!(released, Some(told.id));
        assert_eq!((told.subject, told.sealed), (one.credential_id.unwrap().to_string(), b"token".to_vec()));
        assert_eq!(store.credential_get(one.credential_id.unwrap()).await.unwrap().state, CredentialState::Revoked);
        // A pending revocation needs the credential's row.
        assert_eq!(store.credential_purge(NOW + 1).await.unwrap(), 0);
        assert!(store.outbox_done(told.id, "w", Revocation::Done, NOW).await.unwrap());
        assert_eq!(store.credential_purge(NOW + 1).await.unwrap(), 1);
    }
}
