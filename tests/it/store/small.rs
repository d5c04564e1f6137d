//! Groups, enablements, request ids, the outbox, logins and credentials.

use super::*;

both! {
    async fn groups_connect_with_each_other(store) {
        let [a, b, c] = ["a", "b", "c"].map(group_id);
        for id in [&a, &b, &c] {
            store.group_upsert(id, "old", NOW).await.unwrap();
        }
        let renamed = store.group_upsert(&b, "new", NOW + 1).await.unwrap();
        assert_eq!((renamed.display_name.as_str(), renamed.create_us, renamed.update_us), ("new", NOW, NOW + 1));
        assert!(store.group_connect(&b, &a, NOW).await.unwrap());
        assert!(!store.group_connect(&a, &b, NOW).await.unwrap());
        assert!(store.group_connect(&b, &c, NOW).await.unwrap());
        let ids: Vec<_> = store.group_connections(&a).await.unwrap().into_iter().map(|g| g.id).collect();
        assert_eq!(ids, std::slice::from_ref(&b));
        let ids: Vec<_> = store.group_connections(&b).await.unwrap().into_iter().map(|g| g.id).collect();
        assert_eq!(ids, [a.clone(), c.clone()]);
        assert_eq!(store.group_disconnect(&a, &b, NOW).await.unwrap(), 0);
        assert!(store.group_connections(&a).await.unwrap().is_empty());
        assert!(store.group_connect(&a, &group_id("nobody"), NOW).await.unwrap_err().is_not_found());
        assert!(store.group_connect(&a, &a, NOW).await.unwrap_err().is_conflict(Conflict::State));
        let page = store.group_list(Some(&a), 1).await.unwrap();
        assert_eq!(page[0].id, b);
        assert_eq!(store.group_get_many(vec![a.clone(), c, group_id("x")]).await.unwrap().len(), 2);
        store.group_delete(&b, NOW).await.unwrap();
        assert!(store.group_get(&b).await.unwrap_err().is_not_found());
        assert!(store.group_delete(&b, NOW).await.unwrap_err().is_not_found());
        assert_eq!(store.group_connections(&a).await.unwrap(), []);
    }

    async fn connectors_are_enabled_per_group(store) {
        let g = group(store, "g").await;
        assert!(store.enablement_get(&g, "salesforce").await.unwrap().unwrap().enabled);
        store.enablement_set(enablement(&g, false)).await.unwrap();
        assert_eq!(store.enablement_list(&g).await.unwrap(), [enablement(&g, false)]);
        assert_eq!(store.enablement_get(&g, "hubspot").await.unwrap(), None);
        assert!(store.enablement_set(enablement(&group_id("none"), true)).await.unwrap_err().is_not_found());
    }

    async fn a_request_id_stands_for_one_request(store) {
        let of = |method: &str, id: &str, print: &str| Request {
            method: method.to_owned(),
            fingerprint: print.to_owned(),
            ..request(&group_id("g"), id)
        };
        let say = |id: &'static str, print: &'static str, result: &'static str| {
            let of = of("Create", id, print);
            async move {
                let earlier = store.request_begin(&of, NOW).await?;
                if earlier.is_none() {
                    store.request_end(&of, result).await?;
                }
                Ok::<_, Error>(earlier)
            }
        };
        let before = Some("integrations/x".to_owned());
        assert_eq!(say("1", "p", "integrations/x").await.unwrap(), None);
        assert_eq!(say("1", "p", "integrations/y").await.unwrap(), before);
        assert!(matches!(say("1", "q", "integrations/y").await.unwrap_err(), Error::RequestReused(id) if id == "1"));
        assert_eq!(store.request_get(&of("Create", "1", "p")).await.unwrap(), before);
        assert_eq!(store.request_get(&of("Sync", "1", "p")).await.unwrap(), None);
        // A row of an earlier version has no fingerprint to compare: its id alone identifies the request.
        assert_eq!(say("1", "blake3:aa", "integrations/z").await.unwrap(), before);
        assert_eq!(say("2", "blake3:aa", "integrations/y").await.unwrap(), None);
        assert!(matches!(say("2", "blake3:bb", "integrations/y").await.unwrap_err(), Error::RequestReused(id) if id == "2"));
        assert_eq!(store.request_purge(NOW, 9).await.unwrap(), 0);
        assert_eq!(store.request_purge(NOW + 1, 1).await.unwrap(), 1);
        assert_eq!(store.request_purge(NOW + 1, 9).await.unwrap(), 1);
    }

    async fn a_transaction_stores_all_or_nothing(store) {
        #[derive(Debug, PartialEq)]
        struct Refused;
        let id = group_id("whole");
        let of = request(&id, "1");
        let upsert = |refuse: bool| {
            let (id, of) = (id.clone(), of.clone());
            move |tx: &mut Tx<'_>| {
                let earlier = tx.request_begin(&of, NOW)?;
                let group = tx.group_upsert(&id, "Whole", NOW)?;
                tx.request_end(&of, "groups/whole")?;
                match refuse {
                    true => Err(Rollback::By(Refused)),
                    false => Ok((earlier, group.display_name)),
                }
            }
        };
        let unknown = || async { store.group_get(&id).await.unwrap_err().is_not_found() };
        let refused = store.transaction(upsert(true)).await.unwrap_err();
        assert!(matches!(refused, Rollback::By(Refused)));
        assert!(unknown().await);
        assert_eq!(store.request_get(&of).await.unwrap(), None);
        // A rehearsal returns the result and stores nothing.
        let whole = (None, "Whole".to_owned());
        assert_eq!(store.rehearse(upsert(false)).await.unwrap(), whole);
        assert!(unknown().await);
        // The store's own errors roll back too, and are returned unchanged.
        let failed = store.transaction::<(), Refused, _>({
            let id = id.clone();
            move |tx| {
                tx.group_upsert(&id, "Whole", NOW)?;
                tx.integration_lock(IntegrationId::new())?;
                Ok(())
            }
        });
        assert!(matches!(failed.await.unwrap_err(), Rollback::Store(error) if error.is_not_found()));
        assert!(unknown().await);
        assert_eq!(store.transaction(upsert(false)).await.unwrap(), whole);
        assert_eq!(store.group_get(&id).await.unwrap().display_name, "Whole");
        assert_eq!(store.request_get(&of).await.unwrap().as_deref(), Some("groups/whole"));
    }

    async fn the_outbox_keeps_what_was_not_told(store) {
        let new = NewOutbox {
            kind: OutboxKind::Revoke,
            subject: "credential".to_owned(),
            detail: "{}".to_owned(),
            sealed: b"secret".to_vec(),
            key_id: "k1".to_owned(),
        };
        let id = store.outbox_add(new, NOW).await.unwrap();
        assert!(store.outbox_lease_due("w1", NOW - 1, NOW).await.unwrap().is_none());
        let taken = store.outbox_lease_due("w1", NOW, NOW + MINUTE).await.unwrap().unwrap();
        assert_eq!((taken.id, taken.attempt, taken.sealed.as_slice()), (id, 1, b"secret".as_slice()));
        assert!(store.outbox_lease_due("w2", NOW + 1, NOW + MINUTE).await.unwrap().is_none());
        // Its lease ends: another worker takes it, and the first can no longer change it.
        let again = store.outbox_lease_due("w2", NOW + MINUTE, NOW + 2 * MINUTE).await.unwrap().unwrap();
        assert_eq!(again.attempt, 2);
        assert!(!store.outbox_done(id, "w1", Revocation::Done, NOW).await.unwrap());
        assert!(store.outbox_retry(id, "w2", NOW + 9 * MINUTE, "no answer").await.unwrap());
        assert!(store.outbox_lease_due("w2", NOW + 8 * MINUTE, NOW).await.unwrap().is_none());
        store.outbox_lease_due("w2", NOW + 9 * MINUTE, NOW + 10 * MINUTE).await.unwrap().unwrap();
        assert_eq!(store.outbox_outcome(id).await.unwrap(), Revocation::Pending);
        assert!(store.outbox_done(id, "w2", Revocation::Impossible, NOW + 9 * MINUTE).await.unwrap());
        assert_eq!(store.outbox_outcome(id).await.unwrap(), Revocation::Impossible);
        // The secret is deleted at once, the row later.
        assert_eq!(raw::count(&store.url, "outbox", "length(sealed) = 0 AND done_us IS NOT NULL"), 1);
        assert_eq!(store.outbox_purge(NOW + 10 * MINUTE, 9).await.unwrap(), 1);
        assert_eq!(store.outbox_outcome(id).await.unwrap(), Revocation::Done);
    }

    async fn a_login_is_used_once(store) {
        let g = group(store, "g").await;
        let draft = store.integration_create(new_integration(&g, "One")).await.unwrap();
        let hash: AuthorizationHash = "ab".repeat(32).parse().unwrap();
        let new = NewAuthorization {
            state_hash: hash.clone(),
            integration_id: draft.id,
            group_id: g,
            create_by: "ada".to_owned(),
            sealed: b"verifier".to_vec(),
            key_id: "k1".to_owned(),
            redirect_uri: "https://x/callback".to_owned(),
            landing: Landing::Tether,
            create_us: NOW,
            expire_us: NOW + 10 * MINUTE,
        };
        store.authorization_create(new.clone()).await.unwrap();
        assert!(store.authorization_use(&hash, NOW + 10 * MINUTE).await.unwrap_err().is_not_found());
        let kept = store.authorization_callback(&hash, b"code".to_vec(), NOW).await.unwrap();
        assert_eq!(kept.callback.as_deref(), Some(b"code".as_slice()));
        assert!(store.authorization_callback(&hash, b"other".to_vec(), NOW).await.unwrap_err().is_not_found());
        // Many concurrent uses: one succeeds.
        let uses = futures(20, |_| {
            let (store, hash) = (Store::clone(store), hash.clone());
            async move { store.authorization_use(&hash, NOW).await }
        })
        .await;
        let won: Vec<_> = uses.into_iter().filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1);
        assert_eq!(won[0].sealed, b"verifier");
        assert_eq!(won[0].callback.as_deref(), Some(b"code".as_slice()));
        assert!(store.authorization_get(&hash, NOW).await.unwrap_err().is_not_found());
        // A new login leaves earlier ones valid, at most five in total; the oldest ends.
        let begin = async |n: i64| {
            let hash: AuthorizationHash = format!("{n:064}").parse().unwrap();
            let new = NewAuthorization { state_hash: hash.clone(), create_us: NOW + n, ..new.clone() };
            store.authorization_create(new).await.unwrap();
            hash
        };
        let mut begun = Vec::new();
        for n in 1..=6 {
            begun.push(begin(n).await);
        }
        assert!(store.authorization_get(&begun[0], NOW).await.unwrap_err().is_not_found());
        for hash in &begun[1..] {
            store.authorization_get(hash, NOW).await.unwrap();
        }
        // After one has succeeded the others are invalid.
        log_in(store, draft.id, "u").await;
        for hash in &begun[1..] {
            assert!(store.authorization_get(hash, NOW).await.unwrap_err().is_not_found());
        }
        assert_eq!(store.authorization_purge(NOW + 11 * MINUTE, 9).await.unwrap(), 1);
    }

    async fn a_new_login_replaces_the_token_of_the_same_account(store) {
        let first = store.credential_put(new_credential("00D", "u", b"t1"), NOW).await.unwrap();
        assert!(first.stored && first.replaced.is_none());
        let second = store.credential_put(new_credential("00D", "u", b"t2"), NOW).await.unwrap();
        assert_eq!((second.credential.id, second.credential.generation), (first.credential.id, 2));
        assert_eq!(second.replaced, Some((b"t1".to_vec(), "k1".to_owned())));
        // A credential without a refresh token never replaces a live one with.
        let poor = NewCredential { refreshable: false, ..new_credential("00D", "u", b"t3") };
        let kept = store.credential_put(poor.clone(), NOW).await.unwrap();
        assert!(!kept.stored);
        assert_eq!(store.credential_get(first.credential.id).await.unwrap().sealed, b"t2");
        store.credential_revoked(first.credential.id, 2, "REVOKED", "gone", NOW).await.unwrap();
        let revived = store.credential_put(poor, NOW).await.unwrap();
        assert!(revived.stored && revived.replaced.is_none());
        assert_eq!(revived.credential.state, CredentialState::Live);
        assert_eq!(store.credential_get(first.credential.id).await.unwrap(), revived.credential);
        // Another client of the same user is another credential.
        let other = NewCredential { client_id: "other".to_owned(), ..new_credential("00D", "u", b"t4") };
        assert_ne!(store.credential_put(other, NOW).await.unwrap().credential.id, first.credential.id);
    }

    async fn a_login_that_nothing_uses_is_given_back(store) {
        let g = group(store, "g").await;
        let used = active(store, &g, "One").await.credential_id.unwrap();
        let lost = store.credential_put(new_credential("00D", "lost", b"token"), NOW).await.unwrap().credential;
        // Not while its login may still be in progress.
        assert_eq!(store.credential_release_unused(NOW, NOW).await.unwrap(), 0);
        assert_eq!(store.credential_release_unused(NOW + MINUTE, NOW + MINUTE).await.unwrap(), 1);
        assert_eq!(store.credential_get(lost.id).await.unwrap().state, CredentialState::Revoked);
        let told = store.outbox_lease_due("w", NOW + MINUTE, NOW + 2 * MINUTE).await.unwrap().unwrap();
        assert_eq!(told.subject, lost.id.to_string());
        assert_ne!(store.credential_get(used).await.unwrap().state, CredentialState::Revoked);
        assert_eq!(store.credential_release_unused(NOW + MINUTE, NOW + MINUTE).await.unwrap(), 0);
    }

    async fn one_at_a_time_refreshes(store) {
        let id = store.credential_put(new_credential("00D", "u", b"t1"), NOW).await.unwrap().credential.id;
        let leases = futures(10, |i| {
            let store = Store::clone(store);
            async move { store.credential_lease(id, &format!("w{i}"), NOW, NOW + MINUTE).await.unwrap() }
        })
        .await;
        let won: Vec<Credential> = leases.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let owner = won[0].lease_owner.clone().unwrap();
        let put = |owner: String, generation: i64| async move {
            store.credential_store(id, generation, &owner, b"t2".to_vec(), "k2", "https://y", "", NOW).await
        };
        assert!(put("thief".to_owned(), 1).await.unwrap_err().is_conflict(Conflict::Generation));
        assert!(put(owner.clone(), 0).await.unwrap_err().is_conflict(Conflict::Generation));
        assert_eq!(put(owner.clone(), 1).await.unwrap().generation, 2);
        assert!(put(owner, 2).await.unwrap_err().is_conflict(Conflict::Generation));
        // A new login during a refresh wins.
        store.credential_lease(id, "w", NOW, NOW + MINUTE).await.unwrap().unwrap();
        store.credential_put(new_credential("00D", "u", b"t3"), NOW).await.unwrap();
        assert!(put("w".to_owned(), 2).await.unwrap_err().is_conflict(Conflict::Generation));
        assert!(!store.credential_revoked(id, 2, "REVOKED", "gone", NOW).await.unwrap().revoked);
        assert_eq!(store.credential_get(id).await.unwrap().sealed, b"t3");
        // A lease that has expired, or was released, can be taken by another worker.
        store.credential_lease(id, "w1", NOW, NOW + MINUTE).await.unwrap().unwrap();
        assert!(store.credential_lease(id, "w2", NOW, NOW + MINUTE).await.unwrap().is_none());
        store.credential_lease(id, "w2", NOW + MINUTE, NOW + 2 * MINUTE).await.unwrap().unwrap();
        store.credential_release(id, "w1").await.unwrap();
        assert!(store.credential_lease(id, "w3", NOW, NOW + MINUTE).await.unwrap().is_none());
        store.credential_release(id, "w2").await.unwrap();
        store.credential_lease(id, "w3", NOW, NOW + MINUTE).await.unwrap().unwrap();
        assert!(store.credential_reseal(id, 3, b"r".to_vec(), "k3").await.unwrap());
        assert!(!store.credential_reseal(id, 2, b"r".to_vec(), "k3").await.unwrap());
    }
}
