//! The lock order of transactions (module `store`), on PostgreSQL. A call is stopped at a row that another
//! transaction has locked; all later rows of the order must then be free.

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};

use super::{
    limits::{FOREVER, waiting},
    *,
};

/// A connection that holds locks.
struct Holder(PgConnection);

impl Holder {
    fn of(store: &Fixture, sql: &str) -> Self {
        let mut conn = PgConnection::establish(&store.url).unwrap();
        conn.batch_execute(&format!("BEGIN; {sql}")).unwrap();
        Self(conn)
    }

    fn end(mut self, how: &str) {
        self.0.batch_execute(how).unwrap();
    }
}

fn lock(rows: &str) -> String {
    format!("SELECT 1 FROM {rows} FOR UPDATE")
}

/// Waits until a call waits for a lock.
async fn stopped(store: &Fixture) {
    let mut watcher = PgConnection::establish(&store.url).unwrap();
    tokio::time::timeout(FOREVER, waiting(&mut watcher))
        .await
        .expect("the call waits for the row");
}

/// Makes a call while another transaction holds the rows `held`: while the call waits for them, the rows
/// `free` must not be locked.
async fn comes_before<T: Send + 'static>(
    store: &Fixture,
    held: &str,
    free: &str,
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> T {
    let holder = Holder::of(store, &lock(held));
    let call = tokio::spawn(call);
    stopped(store).await;
    let mut other = PgConnection::establish(&store.url).unwrap();
    if let Err(error) = other.batch_execute(&format!("BEGIN; {} NOWAIT; ROLLBACK", lock(free))) {
        panic!("it holds {free} while it waits for {held}: {error}");
    }
    holder.end("ROLLBACK");
    call.await.unwrap().unwrap()
}

const HEADS: &str = "group_event_head";

/// An owner with two receivers, all of which have events, and two integrations, in order.
struct World {
    store: Fixture,
    owner: GroupId,
    ids: [IntegrationId; 2],
}

fn shares() -> Vec<NewShare> {
    ["b", "c"]
        .map(|receiver| NewShare {
            group_id: group_id(receiver),
            fields: None,
        })
        .to_vec()
}

impl World {
    async fn new() -> Self {
        let store = Fixture::postgres().await;
        let owner = group(&store, "a").await;
        let mut ids = [
            active(&store, &owner, "One").await.id,
            active(&store, &owner, "Two").await.id,
        ];
        ids.sort();
        for receiver in ["b", "c"] {
            let receiver = group(&store, receiver).await;
            store.group_connect(&owner, &receiver, NOW).await.unwrap();
        }
        for id in ids {
            let edit = IntegrationUpdate {
                shares: Some(shares()),
                ..no_edit(id)
            };
            store.integration_update(edit).await.unwrap();
        }
        Holder::of(
            &store,
            "INSERT INTO group_event_head (group_id, last_no, purged_no) SELECT id, 0, 0 FROM groups \
             ON CONFLICT DO NOTHING",
        )
        .end("COMMIT");
        Self { store, owner, ids }
    }

    fn store(&self) -> Store {
        Store::clone(&self.store)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_is_disabled_before_anyone_is_told() {
    let w = World::new().await;
    let (store, off) = (w.store(), enablement(&w.owner, false));
    let held = format!("sync WHERE integration_id = '{}'", w.ids[1]);
    let call = async move { store.enablement_set(off).await };
    comes_before(&w.store, &held, HEADS, call).await;
    let told = w.store.event_list(&group_id("c"), 0, 100).await.unwrap();
    let cancelled = told.iter().filter(|one| one.kind == EventKind::SyncCancelled);
    assert_eq!(cancelled.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_disable_their_connectors_at_once() {
    // Both calls add events for the same groups, for several integrations each, in any order.
    let store = Fixture::postgres().await;
    let mut owners = Vec::new();
    for owner in ["m", "n", "o"] {
        owners.push(group(&store, owner).await);
    }
    for owner in &owners {
        for receiver in &owners {
            if owner < receiver {
                store.group_connect(owner, receiver, NOW).await.unwrap();
            }
        }
    }
    for owner in &owners {
        for n in 0..4 {
            let of = active(&store, owner, &format!("{owner} {n}")).await;
            let receiver = owners.iter().filter(|other| *other != owner).nth(n % 2).unwrap();
            let share = NewShare {
                group_id: receiver.clone(),
                fields: None,
            };
            store.share_set(of.id, share, "ada", NOW).await.unwrap();
        }
    }
    let done = futures(3, |at| {
        let (store, owner) = (Store::clone(&store), owners[at].clone());
        async move { store.enablement_set(enablement(&owner, false)).await }
    });
    assert!(done.await.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_end_and_begin_before_anyone_is_told() {
    let w = World::new().await;
    let [one, two] = w.ids;
    // The share is extended for both.
    let store = w.store();
    let edit = IntegrationUpdate {
        shares: Some(shares()),
        ..no_edit(one)
    };
    let call = async move { store.integration_update(edit).await };
    comes_before(&w.store, "groups WHERE id = 'c'", HEADS, call).await;
    // A draft that is saved.
    let draft = w
        .store
        .integration_create(new_integration(&w.owner, "Three"))
        .await
        .unwrap();
    log_in(&w.store, draft.id, "three").await;
    let edit = IntegrationUpdate {
        shares: Some(shares()),
        ..no_edit(draft.id)
    };
    w.store.integration_update(edit).await.unwrap();
    let store = w.store();
    let call = async move { store.integration_activate(activate(draft.id)).await };
    comes_before(&w.store, "groups WHERE id = 'c'", HEADS, call).await;
    // Groups are disconnected.
    let (store, owner) = (w.store(), w.owner.clone());
    let call = async move { store.group_disconnect(&owner, &group_id("b"), NOW).await };
    let held = format!("share WHERE integration_id = '{two}' AND group_id = 'b'");
    assert_eq!(comes_before(&w.store, &held, HEADS, call).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrations_and_groups_are_deleted_before_anyone_is_told() {
    let w = World::new().await;
    let [one, two] = w.ids;
    let store = w.store();
    let call = async move { store.integration_delete(one, None, NOW).await };
    let held = format!("source WHERE integration_id = '{one}' AND group_id = 'c'");
    assert_eq!(comes_before(&w.store, &held, HEADS, call).await.groups, 3);
    // All accounts are locked before the group, and both before the event heads.
    let draft = w
        .store
        .integration_create(new_integration(&w.owner, "Three"))
        .await
        .unwrap();
    log_in(&w.store, draft.id, "three").await;
    let last = w
        .store
        .integration_get(two.max(draft.id))
        .await
        .unwrap()
        .credential_id
        .unwrap();
    let (store, owner) = (w.store(), w.owner.clone());
    let call = async move { store.group_delete(&owner, NOW).await };
    let holder = Holder::of(&w.store, &lock("connector_enablement WHERE group_id = 'a'"));
    let held = format!("credentials WHERE id = '{last}'");
    let gone = tokio::spawn(async move {
        let gone = call.await;
        gone.unwrap()
    });
    stopped(&w.store).await;
    let mut other = PgConnection::establish(&w.store.url).unwrap();
    other
        .batch_execute(&format!("BEGIN; {} NOWAIT; ROLLBACK", lock(HEADS)))
        .expect("nobody has been told yet");
    other
        .batch_execute(&format!("BEGIN; {} NOWAIT; ROLLBACK", lock(&held)))
        .expect_err("the accounts come before");
    holder.end("ROLLBACK");
    assert_eq!(gone.await.unwrap().integrations, 2);
    assert!(w.store.event_list(&w.owner, 0, 100).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_added_before_the_locks_are_had_is_not_left_out() {
    let w = World::new().await;
    // The CRM refuses the account while another integration is attached to it.
    let credential = w
        .store
        .integration_get(w.ids[0])
        .await
        .unwrap()
        .credential_id
        .unwrap();
    let holder = Holder::of(&w.store, &lock(&format!("integration WHERE id = '{}'", w.ids[0])));
    let store = w.store();
    let call = tokio::spawn(async move { store.credential_revoked(credential, 1, "R", "m", NOW).await });
    stopped(&w.store).await;
    let late = w
        .store
        .integration_create(new_integration(&w.owner, "Late"))
        .await
        .unwrap();
    attach(&w.store, late.id, credential).await.unwrap();
    w.store.integration_activate(activate(late.id)).await.unwrap();
    holder.end("ROLLBACK");
    let mut refused = call.await.unwrap().unwrap().integrations;
    refused.sort();
    assert_eq!(refused, [w.ids[0], late.id]);
    // A group is deleted while it creates another draft.
    let holder = Holder::of(&w.store, &lock(&format!("integration WHERE id = '{}'", w.ids[0])));
    let (store, owner) = (w.store(), w.owner.clone());
    let call = tokio::spawn(async move { store.group_delete(&owner, NOW).await });
    stopped(&w.store).await;
    w.store
        .integration_create(new_integration(&w.owner, "Last"))
        .await
        .unwrap();
    holder.end("ROLLBACK");
    assert_eq!(call.await.unwrap().unwrap().integrations, 4);
    assert_eq!(raw::count(&w.store.url, "integration", "state <> 'DELETING'"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_locked_in_one_order() {
    let w = World::new().await;
    // An account with two credentials: the client differs.
    let mut credentials = Vec::new();
    for client in ["c1", "c2"] {
        let new = NewCredential {
            client_id: client.to_owned(),
            ..new_credential("00D", "both", b"token")
        };
        credentials.push(w.store.credential_put(new, NOW).await.unwrap().credential.id);
    }
    credentials.sort();
    let (held, free) = (
        format!("credentials WHERE id = '{}'", credentials[0]),
        format!("credentials WHERE id = '{}'", credentials[1]),
    );
    let (store, id, credential) = (w.store(), w.ids[0], credentials[1]);
    let call = async move { attach(&store, id, credential).await };
    assert!(comes_before(&w.store, &held, &free, call).await.moved);
    // Two drafts expire: the first one's account is not locked while the call waits for the second.
    let mut drafts = Vec::new();
    for n in 0..2 {
        let new = NewIntegration {
            expire_us: NOW + n,
            ..new_integration(&w.owner, &format!("Draft {n}"))
        };
        let draft = w.store.integration_create(new).await.unwrap();
        let credential = log_in(&w.store, draft.id, &format!("draft {n}")).await;
        drafts.push((draft.id, credential.integration.credential_id.unwrap()));
    }
    let held = format!("integration WHERE id = '{}'", drafts[1].0);
    let free = format!("credentials WHERE id = '{}'", drafts[0].1);
    let store = w.store();
    let call = async move { store.drafts_expire(NOW + 2, 10).await };
    assert_eq!(comes_before(&w.store, &held, &free, call).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn companies_are_tracked_in_any_order_at_once() {
    let store = Fixture::postgres().await;
    let g = group(&store, "g").await;
    let track = |n: usize| Track {
        company_id: CompanyId::of_domain(&format!("{n}.com")),
        name: "Name".to_owned(),
        homepage: String::new(),
    };
    let up: Vec<Track> = (0..200).map(track).collect();
    let down: Vec<Track> = up.iter().rev().cloned().collect();
    let done = futures(4, |at| {
        let (store, g) = (Store::clone(&store), g.clone());
        let (up, down) = (up.clone(), down.clone());
        async move {
            let list = if at % 2 == 0 { up } else { down };
            let ids: Vec<CompanyId> = list.iter().map(|one| one.company_id).collect();
            for _ in 0..10 {
                store.company_track(&g, list.clone(), "ada", NOW).await?;
                store.company_untrack(&g, ids.clone()).await?;
            }
            Ok::<_, Error>(())
        }
    });
    for one in done.await {
        one.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_sync_takes_no_news() {
    let w = World::new().await;
    let sync = w
        .store
        .sync_lease_next(&worker("w"), NOW, NOW + MINUTE)
        .await
        .unwrap()
        .unwrap();
    let news = ObjectProgress {
        object: "Account".to_owned(),
        position: 0,
        state: Some(ObjectState::Reading),
        expected: None,
        error: None,
        tries: Some(1),
    };
    for (by, rows) in [
        (
            "its end",
            format!("UPDATE sync SET state = 'CANCELLED' WHERE id = '{}'", sync.id),
        ),
        (
            "its integration",
            format!(
                "SELECT 1 FROM integration WHERE id = '{}' FOR UPDATE; \
                 UPDATE sync SET state = 'CANCELLED' WHERE id = '{}'",
                sync.integration_id, sync.id
            ),
        ),
    ] {
        let holder = Holder::of(&w.store, &rows);
        let (store, news) = (w.store(), news.clone());
        let call =
            tokio::spawn(async move { store.sync_object_upsert(sync.id, sync.fence, vec![news]).await });
        stopped(&w.store).await;
        holder.end("COMMIT");
        let late = call.await.unwrap();
        assert!(
            matches!(late, Err(Error::LeaseLost { why: Lost::State, .. })),
            "{by}: {late:?}"
        );
        assert!(w.store.sync_objects(sync.id).await.unwrap().is_empty(), "{by}");
        Holder::of(
            &w.store,
            &format!("UPDATE sync SET state = 'RUNNING' WHERE id = '{}'", sync.id),
        )
        .end("COMMIT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_waits_for_nobody() {
    let w = World::new().await;
    for id in ["1", "2", "3"] {
        w.store.request_begin(&request(&w.owner, id), NOW).await.unwrap();
    }
    let holder = Holder::of(&w.store, &lock("request WHERE request_id = '1'"));
    assert_eq!(w.store.request_purge(NOW + 1, 10).await.unwrap(), 2);
    holder.end("ROLLBACK");
    assert_eq!(w.store.request_purge(NOW + 1, 10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_marks_are_several_transactions() {
    let w = World::new().await;
    let sync = w
        .store
        .sync_lease_next(&worker("w"), NOW, NOW + MINUTE)
        .await
        .unwrap()
        .unwrap();
    let rows = (0..12_000).map(|n| row(&format!("{n:05}"), 1, 1)).collect();
    w.store
        .sync_commit(commit(&sync, vec![batch("Account", NOW, rows)]))
        .await
        .unwrap();
    // Another transaction marks one of the last rows: the first ones are stored by then, and the checkpoint
    // is not.
    let holder = Holder::of(
        &w.store,
        &format!(
            "INSERT INTO removal (integration_id, object, external_id, sync_id, generation, read_us, read_clock) \
             VALUES ('{}', 'Account', '11999', '{}', 1, 0, 0)",
            sync.integration_id, sync.id
        ),
    );
    let listing = RecordBatch {
        complete_range: Some(CompleteRange {
            after: String::new(),
            through: String::new(),
            order: IdOrder::Bytes,
        }),
        ..batch("Account", NOW + 1, Vec::new())
    };
    let (store, late) = (w.store(), commit(&sync, vec![listing]));
    let call = tokio::spawn(async move { store.sync_commit(late).await });
    stopped(&w.store).await;
    assert!(raw::count(&w.store.url, "removal", "true") >= 5_000);
    assert_eq!(w.store.sync_get(sync.id).await.unwrap().checkpoint_seq, 1);
    holder.end("ROLLBACK");
    assert_eq!(call.await.unwrap().unwrap().checkpoint_seq, 2);
    assert_eq!(raw::count(&w.store.url, "removal", "true"), 12_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_under_their_integration() {
    // The deletion of an integration locks it, then its numbers.
    let w = World::new().await;
    let id = w.ids[0];
    let cost = CallCost {
        integration_id: id,
        organization: OrganizationKey {
            connector: "salesforce".to_owned(),
            id: "00D".to_owned(),
        },
        live: true,
        calls: 1,
        said: Some((1, 1_000)),
        now_us: NOW,
    };
    let rules = AllowanceRules::default();
    w.store.api_usage_add(cost.clone(), rules).await.unwrap();
    let (store, next_day) = (
        w.store(),
        CallCost {
            now_us: NOW + 1_440 * MINUTE,
            ..cost
        },
    );
    let call = async move { store.api_usage_add(next_day, rules).await };
    let (held, free) = (
        format!("integration WHERE id = '{id}'"),
        format!("api_usage WHERE integration_id = '{id}'"),
    );
    let used = comes_before(&w.store, &held, &free, call).await;
    assert_eq!((used.live_calls, used.total_calls), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_an_organization_with_its_sync_alone() {
    let w = World::new().await;
    let of = "organization WHERE organization_id = '00D'";
    let made =
        "INSERT INTO organization VALUES ('salesforce', '00D', 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING";
    Holder::of(&w.store, made).end("COMMIT");
    let store = w.store();
    let call = async move { store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await };
    let taken = comes_before(&w.store, of, "sync_turn WHERE group_id = 'a'", call)
        .await
        .unwrap();
    // A lease that has expired is extended in the same order.
    let (store, at) = (w.store(), NOW + 2 * MINUTE);
    let call = async move {
        store
            .sync_heartbeat((taken.id, taken.fence), 1, at, at + MINUTE)
            .await
    };
    comes_before(&w.store, of, "sync_turn", call).await;
    // Syncs that go on are locked before the organization.
    let set = "UPDATE organization SET resume_us = 1";
    Holder::of(&w.store, set).end("COMMIT");
    let store = w.store();
    let call = async move { store.sync_resume(NOW).await };
    assert_eq!(comes_before(&w.store, of, "sync", call).await, 0);
    assert_eq!(raw::count(&w.store.url, "organization", "resume_us > 0"), 0);
}
