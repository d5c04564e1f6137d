//! Request ids, the outbox, logins, and an integration that is created and deleted with its rows.

use super::*;

/// The id of a request; what changes lock.
pub(super) async fn requests(w: &mut World, r: &Round<'_>) {
    let Round { group_id, of, .. } = *r;
    let request = request(group_id, "1");
    ask!(w, 1, request_begin(&request, NOW));
    ask!(w, 1, request_end(&request, "result"));
    ask!(w, 1, request_get(&request));
    ask!(w, 1, field_count(of.id));
    ask!(w, 1, integration_lock(of.id));
}

/// The outbox.
pub(super) async fn outbox(w: &mut World) {
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
}

/// A draft, and a login in progress.
pub(super) async fn authorization(w: &mut World, r: &Round<'_>) -> Integration {
    let Round { group_id, .. } = *r;
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
    draft
}

/// The draft's credential: stored, found, leased, refreshed and revoked.
pub(super) async fn credential(w: &mut World, draft: &Integration) {
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
}

/// The draft saved and filled, then deleted with its rows; and one that is abandoned.
pub(super) async fn purge(w: &mut World, r: &Round<'_>, draft: IntegrationId) {
    let Round { group_id, n, .. } = *r;
    let (passing, _) = ask!(w, 1, integration_activate(activate(draft)));
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
}
