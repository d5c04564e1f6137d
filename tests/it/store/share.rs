//! Shares, and what each group sees through them.

use super::*;

fn of(key: &str) -> FieldRef {
    FieldRef {
        object: "Account".to_owned(),
        key: key.to_owned(),
    }
}

/// An active integration of `g` with the fields A, B and C; `h` and `k` are connected with `g`.
async fn world(store: &Store) -> (Integration, GroupId, GroupId, GroupId) {
    let [g, h, k] = [
        group(store, "g").await,
        group(store, "h").await,
        group(store, "k").await,
    ];
    for other in [&h, &k] {
        store.group_connect(&g, other, NOW).await.unwrap();
    }
    let one = active(store, &g, "One").await;
    let fields = ["A", "B", "C"].map(|key| field("Account", key)).to_vec();
    let one = store
        .integration_update(IntegrationUpdate {
            fields: Some(fields),
            ..no_edit(one.id)
        })
        .await
        .unwrap();
    (one, g, h, k)
}

async fn seen(store: &Store, group: &GroupId, id: IntegrationId) -> Vec<(String, bool)> {
    let mut seen = store.field_list_seen(group, vec![id]).await.unwrap();
    seen.remove(&id)
        .unwrap_or_default()
        .into_iter()
        .map(|one| (one.field.key, one.active))
        .collect()
}

fn keys(of: &[(&str, bool)]) -> Vec<(String, bool)> {
    of.iter()
        .map(|(key, active)| ((*key).to_owned(), *active))
        .collect()
}

fn all(group_id: &GroupId) -> NewShare {
    NewShare {
        group_id: group_id.clone(),
        fields: None,
    }
}

both! {
    async fn what_a_group_sees_follows_what_the_owner_does(store) {
        let (one, g, h, k) = world(store).await;
        assert_eq!(seen(store, &g, one.id).await, keys(&[("A", true), ("B", true), ("C", true)]));
        assert_eq!(seen(store, &h, one.id).await, []);
        assert!(store.source_get(&h, one.id).await.unwrap().is_none());
        store.share_set(one.id, NewShare { group_id: h.clone(), fields: Some(vec![of("A"), of("B")]) }, "ada", NOW).await.unwrap();
        store.share_set(one.id, all(&k), "ada", NOW).await.unwrap();
        let source = store.source_get(&h, one.id).await.unwrap().unwrap();
        assert_eq!((source.relation, source.label.as_str(), source.is_visible()), (Relation::Received, "one", true));
        assert_eq!(seen(store, &h, one.id).await, keys(&[("A", false), ("B", false)]));
        // Each group decides for itself.
        store.field_activate(one.id, &h, vec![of("B")], vec![]).await.unwrap();
        assert_eq!(seen(store, &h, one.id).await, keys(&[("A", false), ("B", true)]));
        // Receivers lose a field that the owner makes passive, and get it back with their own setting.
        store.field_activate(one.id, &g, vec![], vec![of("B"), of("C")]).await.unwrap();
        assert_eq!(seen(store, &g, one.id).await, keys(&[("A", true), ("B", false), ("C", false)]));
        assert_eq!(seen(store, &h, one.id).await, keys(&[("A", false)]));
        assert_eq!(seen(store, &k, one.id).await, keys(&[("A", false)]));
        store.field_activate(one.id, &g, vec![of("B"), of("C")], vec![]).await.unwrap();
        assert_eq!(seen(store, &h, one.id).await, keys(&[("A", false), ("B", true)]));
        // Deselected fields are lost at once, and a share of all fields includes fields that are selected
        // later.
        let fields = vec![field("Account", "A"), field("Account", "D")];
        store.integration_update(IntegrationUpdate { fields: Some(fields), ..no_edit(one.id) }).await.unwrap();
        assert_eq!(seen(store, &h, one.id).await, keys(&[("A", false)]));
        assert_eq!(seen(store, &k, one.id).await, keys(&[("A", false), ("D", false)]));
        let shares = store.share_list(one.id).await.unwrap();
        assert_eq!(shares.iter().map(|s| s.shared.len()).collect::<Vec<_>>(), [1, 2]);
        // Disconnecting hides the source from one group, disabling the connector from the group that does.
        assert!(store.source_connect(&h, one.id, false).await.unwrap());
        assert!(!store.source_connect(&h, one.id, false).await.unwrap());
        assert!(!store.source_get(&h, one.id).await.unwrap().unwrap().is_visible());
        store.enablement_set(enablement(&k, false)).await.unwrap();
        assert!(!store.source_get(&k, one.id).await.unwrap().unwrap().is_visible());
        assert!(store.source_get(&g, one.id).await.unwrap().unwrap().is_visible());
        store.source_connect(&h, one.id, true).await.unwrap();
        store.enablement_set(enablement(&g, false)).await.unwrap();
        assert!(!store.source_get(&h, one.id).await.unwrap().unwrap().is_visible());
    }

    async fn shares_end_with_what_they_stand_on(store) {
        let (one, g, h, k) = world(store).await;
        let stranger = group(store, "stranger").await;
        assert!(store.share_set(one.id, all(&stranger), "ada", NOW).await.unwrap_err().is_conflict(Conflict::NotConnected));
        store.integration_update(IntegrationUpdate { shares: Some(vec![all(&h), all(&k)]), ..no_edit(one.id) }).await.unwrap();
        assert_eq!(store.share_list(one.id).await.unwrap().len(), 2);
        // Nothing of an invalid edit is stored.
        let edit = IntegrationUpdate { display_name: Some("New".to_owned()), shares: Some(vec![all(&stranger)]), ..no_edit(one.id) };
        assert!(store.integration_update(edit).await.unwrap_err().is_conflict(Conflict::NotConnected));
        assert_eq!(store.integration_get(one.id).await.unwrap().display_name, "One");
        assert_eq!(store.share_list(one.id).await.unwrap().len(), 2);
        // Disconnected groups: their shares end, and a new connection does not restore them.
        assert_eq!(store.group_disconnect(&h, &g, NOW).await.unwrap(), 1);
        store.group_connect(&h, &g, NOW).await.unwrap();
        assert!(store.source_get(&h, one.id).await.unwrap().is_none());
        assert_eq!(seen(store, &h, one.id).await, []);
        assert!(store.share_remove(one.id, &k, NOW).await.unwrap() && !store.share_remove(one.id, &k, NOW).await.unwrap());
        assert!(store.source_list(&k).await.unwrap().is_empty());
        // A draft's shares take effect when it is saved, and prevent saving if the groups have been
        // disconnected.
        let draft = store.integration_create(new_integration(&g, "Draft")).await.unwrap();
        log_in(store, draft.id, "u").await;
        store.share_set(draft.id, all(&h), "ada", NOW).await.unwrap();
        assert!(store.source_list(&h).await.unwrap().is_empty());
        assert_eq!(store.group_disconnect(&h, &g, NOW).await.unwrap(), 0);
        let save = Activate { id: draft.id, revision: None, account_limit: 5, company_records: None, by: "ada".to_owned(), now_us: NOW };
        assert!(store.integration_activate(save.clone()).await.unwrap_err().is_conflict(Conflict::NotConnected));
        store.group_connect(&h, &g, NOW).await.unwrap();
        store.integration_activate(save).await.unwrap();
        assert_eq!(store.source_list(&h).await.unwrap()[0].label, "draft");
        // A deleted integration disappears for all groups at once.
        let gone = store.integration_delete(draft.id, None, NOW).await.unwrap();
        assert_eq!((gone.groups, store.source_list(&h).await.unwrap()), (2, vec![]));
    }

    async fn labels_are_unique_in_each_group(store) {
        let (one, g, h, _) = world(store).await;
        let own = store.integration_create(new_integration(&h, "One")).await.unwrap();
        store.share_set(one.id, all(&h), "ada", NOW).await.unwrap();
        assert_eq!(store.source_get(&h, one.id).await.unwrap().unwrap().label, "one_2");
        let edit = IntegrationUpdate { label: Some("one_2".to_owned()), ..no_edit(own.id) };
        assert!(store.integration_update(edit).await.unwrap_err().is_conflict(Conflict::Label));
        // Renaming does not change it; ending the share frees it.
        store.integration_update(IntegrationUpdate { display_name: Some("Other".to_owned()), ..no_edit(one.id) }).await.unwrap();
        assert_eq!(store.source_get(&g, one.id).await.unwrap().unwrap().label, "one");
        assert_eq!(store.source_get(&h, one.id).await.unwrap().unwrap().label, "one_2");
        store.share_remove(one.id, &h, NOW).await.unwrap();
        store.integration_update(IntegrationUpdate { label: Some("one_2".to_owned()), ..no_edit(own.id) }).await.unwrap();
    }

    async fn a_deleted_group_takes_its_own_with_it(store) {
        let (one, g, h, k) = world(store).await;
        let theirs = active(store, &h, "Theirs").await;
        store.share_set(one.id, all(&h), "ada", NOW).await.unwrap();
        store.share_set(theirs.id, all(&g), "ada", NOW).await.unwrap();
        assert_eq!(store.group_delete(&g, NOW).await.unwrap(), DeletedGroup { integrations: 1, shares: 1 });
        assert!(store.group_get(&g).await.unwrap_err().is_not_found());
        assert_eq!(store.group_connections(&k).await.unwrap(), []);
        assert_eq!(store.source_list(&h).await.unwrap().len(), 1);
        assert!(store.integration_create(new_integration(&g, "New")).await.unwrap_err().is_not_found());
        // Created again, it starts empty.
        let again = store.group_upsert(&g, "Again", NOW + 5).await.unwrap();
        assert_eq!((again.create_us, store.source_list(&g).await.unwrap()), (NOW + 5, vec![]));
        assert_eq!(store.enablement_list(&g).await.unwrap(), []);
        store.group_delete(&g, NOW + 6).await.unwrap();
        // The row is deleted after the last rows of what the group owned, and after its time.
        assert_eq!(store.group_purge(NOW + 7).await.unwrap(), 0);
        while !store.integration_purge(one.id, 100).await.unwrap() {}
        assert_eq!(store.group_purge(NOW + 6).await.unwrap(), 0);
        assert_eq!(store.group_purge(NOW + 7).await.unwrap(), 1);
    }

    async fn of_many_at_once_five_are_saved(store) {
        let g = group(store, "g").await;
        let mut drafts = Vec::new();
        for n in 0..20 {
            let draft = store.integration_create(new_integration(&g, &format!("Draft {n}"))).await.unwrap();
            log_in(store, draft.id, "u").await;
            drafts.push(draft.id);
        }
        let saved = futures(20, |n| {
            let (store, id) = (Store::clone(store), drafts[n]);
            async move {
                let save = Activate { id, revision: None, account_limit: 5, company_records: None, by: "ada".to_owned(), now_us: NOW };
                store.integration_activate(save).await
            }
        })
        .await;
        let full = saved.iter().filter(|one| one.as_ref().is_err_and(|e| e.is_conflict(Conflict::AccountFull))).count();
        assert_eq!((saved.iter().filter(|one| one.is_ok()).count(), full), (5, 15));
    }
}
