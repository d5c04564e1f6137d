//! The places of organizations, and syncs that wait for the CRM of their organization.

use std::collections::{BTreeMap, HashSet};

use super::*;

/// A worker of an organization with so many places.
fn one_of(per_organization: i64) -> Worker {
    Worker {
        per_organization,
        ..worker("w")
    }
}

fn organization() -> OrganizationKey {
    OrganizationKey {
        connector: "salesforce".to_owned(),
        id: "00D".to_owned(),
    }
}

/// A call of a sync that begins and ends at this time.
fn ended(outcome: CallOutcome, now_us: Micros) -> CallEnd {
    CallEnd {
        outcome,
        live: false,
        begin_us: now_us,
        end_us: now_us,
    }
}

fn live(name: &str) -> Caller {
    Caller::Live(name.to_owned())
}

/// The CRM of the organization fails so often that calls pause; returns the end of the pause.
async fn fail(store: &Store, breaker: Breaker) -> Micros {
    for n in 1..=breaker.failures {
        let end = ended(CallOutcome::Failed, NOW - breaker.failures + n);
        store
            .organization_outcome(&organization(), breaker, end)
            .await
            .unwrap();
    }
    NOW + breaker.first_us
}

/// Many workers look at once, some at each of the stores.
async fn rush(stores: &[Store], per_organization: i64, now_us: Micros) -> Vec<Sync> {
    let taken = futures(24, |n| {
        let store = stores[n % stores.len()].clone();
        async move {
            let worker = one_of(per_organization);
            store
                .sync_lease_next(&worker, now_us, now_us + MINUTE)
                .await
                .unwrap()
        }
    });
    taken.await.into_iter().flatten().collect()
}

async fn finish(store: &Store, sync: &Sync, now_us: Micros) {
    let end = SyncEnd {
        sync_id: sync.id,
        fence: sync.fence,
        state: SyncState::Failed,
        error_reason: String::new(),
        error_message: String::new(),
        note: String::new(),
        company_records: None,
        now_us,
    };
    store.sync_finish(end).await.unwrap();
}

/// As many syncs run as there are places, whoever looks, and as often.
async fn places_are_never_overrun(stores: &[Store]) {
    let g = group(&stores[0], "g").await;
    for n in 0..9 {
        active(&stores[0], &g, &format!("N{n}")).await;
    }
    let mut ran = HashSet::new();
    for round in 0..3 {
        let now = NOW + round;
        let mut taken = Vec::new();
        // A worker that meets a row that another one has locked may find nothing.
        for _ in 0..20 {
            taken.extend(rush(stores, 3, now).await);
            assert!(taken.len() <= 3, "{taken:?}");
            if taken.len() == 3 {
                break;
            }
        }
        assert_eq!(taken.len(), 3);
        assert!(rush(stores, 3, now).await.is_empty());
        for sync in &taken {
            assert!(ran.insert(sync.id), "{} ran twice", sync.id);
            finish(&stores[0], sync, now).await;
        }
    }
    assert!(rush(stores, 3, NOW + 9).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_places() {
    let store = Fixture::postgres().await;
    let other = Store::open(&Options {
        connections: 8,
        connection_timeout: Duration::from_secs(30),
        ..Options::new(&store.url)
    });
    places_are_never_overrun(&[Store::clone(&store), other.unwrap()]).await;
}

both! {
    async fn an_organization_has_few_places(store) {
        places_are_never_overrun(&[Store::clone(store)]).await;
    }

    async fn the_end_of_a_lease_gives_the_place_back(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        active(store, &g, "Two").await;
        let next = async |at| store.sync_lease_next(&one_of(1), at, at + MINUTE).await.unwrap();
        let killed = next(NOW).await.unwrap();
        assert_eq!(next(NOW + MINUTE - 1).await, None);
        // Its worker was killed: it goes on, in its own place, and still no other one starts.
        let again = next(NOW + MINUTE).await.unwrap();
        assert_eq!((again.id, again.fence), (killed.id, killed.fence + 1));
        assert_eq!(next(NOW + MINUTE).await, None);
        finish(store, &again, NOW + MINUTE).await;
        assert_ne!(next(NOW + MINUTE).await.unwrap().id, killed.id);
    }

    async fn organizations_do_not_wait_for_each_other(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        active(store, &g, "Two").await;
        let draft = store.integration_create(new_integration(&g, "Three")).await.unwrap();
        let login = store.credential_put(new_credential("00E", "eve", b"token"), NOW).await.unwrap();
        attach(store, draft.id, login.credential.id).await.unwrap();
        store.integration_activate(activate(draft.id)).await.unwrap();
        let mut taken = Vec::new();
        while let Some(sync) = store.sync_lease_next(&one_of(1), NOW, NOW + MINUTE).await.unwrap() {
            taken.push(sync.organization);
        }
        assert_eq!(taken, ["salesforce/00D", "salesforce/00E"]);
    }

    async fn groups_take_turns(store) {
        let many = group(store, "many").await;
        for n in 0..12 {
            active(store, &many, &format!("N{n}")).await;
        }
        let next = async || {
            let sync = store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await.unwrap().unwrap();
            store.integration_get(sync.integration_id).await.unwrap().group_id.to_string()
        };
        assert_eq!((next().await, next().await), ("many".to_owned(), "many".to_owned()));
        // The first sync of another group starts next, however many are queued.
        let late = group(store, "late").await;
        for n in 0..3 {
            active(store, &late, &format!("L{n}")).await;
        }
        assert_eq!(next().await, "late");
        let last = group(store, "last").await;
        for n in 0..3 {
            active(store, &last, &format!("M{n}")).await;
        }
        let mut shares = BTreeMap::new();
        for _ in 0..6 {
            *shares.entry(next().await).or_insert(0) += 1;
        }
        assert_eq!(shares.into_iter().collect::<Vec<_>>(), [
            ("last".to_owned(), 2), ("late".to_owned(), 2), ("many".to_owned(), 2),
        ]);
    }

    async fn syncs_wait_for_a_crm_that_is_down(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        active(store, &g, "Two").await;
        let breaker = Breaker::default();
        let outcome = async |outcome, at| store.organization_outcome(&organization(), breaker, ended(outcome, at)).await.unwrap();
        let next = async |at| store.sync_lease_next(&one_of(1), at, at + MINUTE).await.unwrap();
        for n in 1..=breaker.failures {
            // The calls of one time fail together, which counts once.
            let at = NOW - (breaker.failures - n) * MINUTE;
            for begin_us in [at, at - 2, at - 1] {
                let end = CallEnd { begin_us, ..ended(CallOutcome::Failed, at) };
                let of = store.organization_outcome(&organization(), breaker, end).await.unwrap();
                assert_eq!((of.failures, of.closed_until_us > at), (n, n == breaker.failures));
            }
        }
        let until = NOW + breaker.first_us;
        assert_eq!(next(NOW).await, None);
        let syncs = async || {
            let mut found = Vec::new();
            for of in store.integration_list_by_state(IntegrationState::Active, None, 9).await.unwrap() {
                found.extend(store.sync_list(of.id, None, 9).await.unwrap());
            }
            found
        };
        for sync in syncs().await {
            assert_eq!((sync.state, sync.due_us, sync.tries), (SyncState::Waiting, until, 0));
            assert_eq!(sync.error_reason, "CRM_UNAVAILABLE");
        }
        assert_eq!(next(until - 1).await, None);
        // One sync finds out whether the CRM answers again; the other one waits for it, and live reads do.
        let next = async |at| store.sync_lease_next(&one_of(2), at, at + MINUTE).await.unwrap();
        let probe = next(until).await.unwrap();
        assert_eq!((probe.attempt, probe.tries), (1, 1));
        assert_eq!(next(until).await, None);
        let admission = async || store.organization_admits(&organization(), breaker, until).await.unwrap();
        assert_eq!(admission().await, Admission::Closed(until + MINUTE));
        outcome(CallOutcome::Answered, until).await;
        assert_eq!(admission().await, Admission::Open);
        // The other one goes on at once, beside it.
        assert_eq!(next(until).await, None);
        assert_eq!(store.sync_resume(until).await.unwrap(), 1);
        let other = next(until).await.unwrap();
        assert_ne!(other.id, probe.id);
        assert_eq!(store.sync_resume(until).await.unwrap(), 0);
    }

    async fn one_live_read_finds_out_whether_the_crm_answers(store) {
        let breaker = Breaker::default();
        let until = fail(store, breaker).await;
        let ask = async |at: Micros, count: usize| {
            let asked = futures(count, |n| {
                let store = Store::clone(store);
                let caller = live(&format!("{at} {n}"));
                async move { (store.organization_probe(&organization(), breaker, at, caller.clone()).await.unwrap(), caller) }
            });
            let asked = asked.await;
            let probes: Vec<_> = asked.iter().filter(|(one, _)| *one == Admission::Probe).map(|(_, who)| who.clone()).collect();
            assert!(probes.len() <= 1 && asked.iter().all(|(one, _)| *one != Admission::Open), "{asked:?}");
            probes.into_iter().next()
        };
        let ended = async |who: &Caller| store.organization_probe_end(&organization(), who).await.unwrap();
        assert_eq!(store.organization_admits(&organization(), breaker, until).await.unwrap(), Admission::Probe);
        let first = ask(until, 12).await.unwrap();
        assert_eq!(ask(until + 1, 3).await, None);
        // It ended before it made a call.
        ended(&first).await;
        let second = ask(until + 2, 3).await.unwrap();
        // The end of the first one is told late.
        ended(&first).await;
        assert_eq!(ask(until + 3, 3).await, None);
        // The process of the second one has died.
        assert!(ask(until + 2 * MINUTE, 3).await.is_some());
        ended(&second).await;
        assert_eq!(ask(until + 2 * MINUTE + 1, 3).await, None);
    }

    async fn one_live_read_finds_out_whether_the_allowance_is_back(store) {
        let breaker = Breaker::default();
        let refused = ended(CallOutcome::Refused(None), NOW);
        let of = store.organization_outcome(&organization(), breaker, refused).await.unwrap();
        let again = NOW + 5 * MINUTE;
        assert_eq!(store.organization_admits(&organization(), breaker, again - 1).await.unwrap(), Admission::Refused(again));
        let probe = async |name: &str, at| store.organization_probe(&organization(), breaker, at, live(name)).await.unwrap();
        assert_eq!(probe("a", again).await, Admission::Probe);
        assert!(matches!(probe("b", again).await, Admission::Refused(_)));
        store.organization_probe_end(&organization(), &live("a")).await.unwrap();
        // After the pause too: whoever comes first.
        assert_eq!(probe("c", of.refused_until_us).await, Admission::Probe);
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        let next = async |at| store.sync_lease_next(&one_of(1), at, at + MINUTE).await.unwrap();
        assert_eq!(next(of.refused_until_us).await, None);
        let answered = ended(CallOutcome::Answered, of.refused_until_us);
        store.organization_outcome(&organization(), breaker, answered).await.unwrap();
        assert_eq!(store.sync_resume(of.refused_until_us).await.unwrap(), 1);
        assert!(next(of.refused_until_us).await.is_some());
    }

    async fn a_sync_finds_out_as_long_as_its_worker_has_it(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        let breaker = Breaker::default();
        let until = fail(store, breaker).await;
        let next = async |at| store.sync_lease_next(&one_of(1), at, at + MINUTE).await.unwrap();
        let admission = async |at| store.organization_admits(&organization(), breaker, at).await.unwrap();
        let closed = |at| Admission::Closed(at);
        let first = next(until).await.unwrap();
        assert_eq!(admission(until).await, closed(until + MINUTE));
        // However long it takes, while its worker is alive.
        store.sync_heartbeat((first.id, first.fence), 1, until + MINUTE - 1, until + 9 * MINUTE).await.unwrap();
        assert_eq!(admission(until + 8 * MINUTE).await, closed(until + 9 * MINUTE));
        // It waits without having called the CRM.
        store.sync_wait(first.id, first.fence, until + 8 * MINUTE, "API_BUDGET_USED", "m").await.unwrap();
        assert_eq!(admission(until + 8 * MINUTE).await, Admission::Probe);
        // Its worker is killed.
        let second = next(until + 8 * MINUTE).await.unwrap();
        assert_eq!(admission(until + 9 * MINUTE - 1).await, closed(until + 9 * MINUTE));
        assert_eq!(admission(until + 9 * MINUTE).await, Admission::Probe);
        // It is cancelled.
        let third = next(until + 9 * MINUTE).await.unwrap();
        assert_eq!((third.id, third.fence), (second.id, second.fence + 1));
        assert_eq!(admission(until + 9 * MINUTE).await, closed(until + 10 * MINUTE));
        store.sync_cancel_request(third.id, until + 9 * MINUTE).await.unwrap();
        finish(store, &third, until + 9 * MINUTE).await;
        assert_eq!(admission(until + 9 * MINUTE).await, Admission::Probe);
    }

    async fn numbers_of_the_crm_free_waiting_syncs(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = store.sync_lease_next(&one_of(1), NOW, NOW + MINUTE).await.unwrap().unwrap();
        let say = async |used: i64, at| {
            let cost = CallCost {
                integration_id: one.id,
                organization: organization(),
                live: true,
                calls: 1,
                said: Some((used, 1_000)),
                now_us: at,
            };
            store.api_usage_add(cost, AllowanceRules::default()).await.unwrap();
            store.sync_resume(at).await.unwrap()
        };
        assert_eq!(say(800, NOW).await, 0);
        store.sync_wait(sync.id, sync.fence, NOW + 60 * MINUTE, "API_BUDGET_USED", "m").await.unwrap();
        assert_eq!(say(801, NOW + 1).await, 0);
        assert_eq!(say(799, NOW + 2).await, 1);
        let again = store.sync_lease_next(&one_of(1), NOW + 2, NOW + MINUTE).await.unwrap().unwrap();
        assert_eq!((again.id, again.tries), (sync.id, 1));
    }

    async fn a_lease_that_has_expired_is_extended_only_into_a_place(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        let next = async |at| store.sync_lease_next(&one_of(1), at, at + MINUTE).await.unwrap();
        let beat = async |of: &Sync, at| store.sync_heartbeat((of.id, of.fence), 1, at, at + MINUTE).await;
        let slow = next(NOW).await.unwrap();
        // Nobody has taken its place.
        beat(&slow, NOW + 2 * MINUTE).await.unwrap();
        assert_eq!(next(NOW + 2 * MINUTE).await, None);
        // A commit that began before does not extend it, either.
        store.sync_commit(SyncCommit { now_us: NOW + 2 * MINUTE, ..commit(&slow, Vec::new()) }).await.unwrap();
        // It is another group's turn.
        let h = group(store, "h").await;
        active(store, &h, "Two").await;
        let other = next(NOW + 3 * MINUTE).await.unwrap();
        assert_ne!(other.id, slow.id);
        match beat(&slow, NOW + 3 * MINUTE).await {
            Err(Error::LeaseLost { why: Lost::Place, .. }) => {}
            kept => panic!("{kept:?}"),
        }
        finish(store, &other, NOW + 3 * MINUTE).await;
        let again = next(NOW + 3 * MINUTE).await.unwrap();
        assert_eq!((again.id, again.fence), (slow.id, slow.fence + 1));
    }

    async fn a_refused_allowance_holds_all_syncs_of_the_organization(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        active(store, &g, "Two").await;
        let breaker = Breaker::default();
        let next = async |at| store.sync_lease_next(&one_of(1), at, at + MINUTE).await.unwrap();
        let sync = next(NOW).await.unwrap();
        let outcome = CallOutcome::Refused(None);
        let of = store.organization_outcome(&organization(), breaker, ended(outcome, NOW)).await.unwrap();
        assert_eq!(of.refused_until_us, NOW + 60 * MINUTE);
        let reason = "CRM_ALLOWANCE_EXHAUSTED";
        store.sync_wait(sync.id, sync.fence, of.refused_until_us, reason, "m").await.unwrap();
        assert_eq!(next(NOW + 60 * MINUTE - 1).await, None);
        // A wait is no failed attempt.
        let again = next(NOW + 60 * MINUTE).await.unwrap();
        assert_eq!((again.id, again.attempt, again.tries), (sync.id, 2, 1));
        // A sync that waits can be cancelled.
        let waiting = store.sync_wait(again.id, again.fence, NOW + 120 * MINUTE, reason, "m").await.unwrap();
        let cancelled = store.sync_cancel_request(waiting.id, NOW + 60 * MINUTE).await.unwrap();
        assert_eq!(cancelled.state, SyncState::Cancelled);
        let other = next(NOW + 60 * MINUTE).await.unwrap();
        assert_ne!(other.id, sync.id);
    }

    async fn a_sync_that_begins_again_decides_its_mode_again(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let next = async |at| store.sync_lease_next(&worker("w"), at, at + MINUTE).await.unwrap().unwrap();
        let sync = next(NOW).await;
        let plan = NewPlan { plan: vec![1], mode: SyncMode::Full, account: "a".to_owned(), afresh: true };
        store.sync_plan(&sync, plan).await.unwrap();
        store.sync_commit(commit(&sync, Vec::new())).await.unwrap();
        assert_eq!(store.sync_get(sync.id).await.unwrap().mode, SyncMode::Full);
        let edit = IntegrationUpdate { fields: Some(vec![field("Account", "Industry")]), ..no_edit(one.id) };
        store.integration_update(edit).await.unwrap();
        let again = next(NOW + MINUTE).await;
        assert_eq!((again.id, again.mode, again.checkpoint), (sync.id, SyncMode::Auto, None));
    }

    async fn another_account_in_between_is_noticed(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let mut numbers = vec![one.account_no];
        for user in ["bob", "one", "one"] {
            log_in(store, one.id, user).await;
            numbers.push(store.integration_get(one.id).await.unwrap().account_no);
        }
        assert_eq!(numbers, [0, 1, 2, 2]);
    }

    async fn a_live_read_from_before_a_partial_row_is_read_again(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let sync = store.sync_lease_next(&worker("w"), NOW, NOW + MINUTE).await.unwrap().unwrap();
        let rows = |hash| vec![row("a", hash, 1), row("b", hash, 1)];
        store.sync_commit(commit(&sync, vec![batch("Account", 100, rows(1))])).await.unwrap();
        let partial = RecordBatch { partial: Some(vec!["Hash".to_owned()]), ..batch("Account", 300, rows(2)) };
        store.sync_commit(commit(&sync, vec![partial])).await.unwrap();
        let live = |read_us, id: &str| refresh(&one, read_us, vec![batch("Account", read_us, vec![row(id, 3, 1)])]);
        store.record_refresh(live(400, "a")).await.unwrap();
        assert_eq!(store.sync_wanted(&sync, 9).await.unwrap(), []);
        // It was read before the field was: the field is older again, until the record is read by id.
        store.record_refresh(live(200, "b")).await.unwrap();
        assert_eq!(store.sync_wanted(&sync, 9).await.unwrap(), [("Account".to_owned(), "b".to_owned())]);
    }

    async fn organizations_without_accounts_are_forgotten(store) {
        let g = group(store, "g").await;
        active(store, &g, "One").await;
        for id in ["00D", "00X"] {
            let key = OrganizationKey { id: id.to_owned(), ..organization() };
            store.organization_outcome(&key, Breaker::default(), ended(CallOutcome::Failed, NOW)).await.unwrap();
        }
        assert_eq!(store.organization_purge().await.unwrap(), 1);
        assert!(store.organization_get(&organization()).await.unwrap().is_troubled());
    }
}
