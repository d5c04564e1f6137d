//! The API allowance of customers: budgets, limits of the CRM, and CRMs that are down. Time passes in these tests because the
//! stored times move into the past.

use serde_json::{Value as Json, json};
use tether::caller::Role;
use tether::proto::v1::integration::State as Standing;
use tether::proto::v1::sync::{Mode, State};
use tether::proto::v1::{self, ApiBudget, ErrorReason, Integration};

use crate::support::server::{Database, Person, World, ok, on_both_databases, refused, until};

on_both_databases!(
    a_budget_holds_syncs_and_leaves_profiles_their_reserve,
    a_budget_holds_records_that_are_read_by_id,
    lists_of_fields_and_reviews_have_no_part_of_the_reserve,
    a_daily_limit_holds_the_organization_until_its_window_frees,
    an_operator_decides_how_long_a_refused_allowance_pauses,
    a_limit_of_calls_at_a_time_is_no_failure,
    a_crm_that_is_down_is_left_alone,
    what_a_failed_attempt_cost_is_counted,
    a_budget_is_reviewed_and_shown_to_its_owner,
);

const HOUR: i64 = 3_600;

/// So many seconds pass for everything that waits.
fn pass(world: &World, seconds: i64) {
    let us = seconds * 1_000_000;
    world.sql(&format!(
        "UPDATE sync SET due_us = due_us - {us} WHERE state = 'WAITING'; \
         UPDATE organization SET closed_until_us = closed_until_us - {us}, refused_until_us = refused_until_us - {us}, \
         refusal_us = refusal_us - {us}, calls_us = calls_us - {us}"
    ));
}

fn in_seconds(of: &v1::Cause) -> i64 {
    of.retry_time.unwrap().seconds - tether::time::now_us() / 1_000_000
}

async fn get(person: &mut Person, sync: &str) -> v1::Sync {
    let request = v1::GetSyncRequest {
        name: sync.to_owned(),
    };
    ok(person.integrations.get_sync(request)).await
}

/// Waits until a sync waits for this reason.
async fn waits(person: &mut Person, sync: &str, reason: ErrorReason) -> v1::Cause {
    until("the sync waits", || {
        let (mut person, sync) = (person.clone(), sync.to_owned());
        async move {
            let now = get(&mut person, &sync).await;
            assert!(
                !matches!(now.state(), State::Succeeded | State::Failed),
                "{now:?}"
            );
            now.state() == State::Waiting && now.error.is_some_and(|why| why.reason() == reason)
        }
    })
    .await;
    get(person, sync).await.error.unwrap()
}

fn budget(calls_per_day: Option<i64>, reserve_percent: Option<i32>) -> ApiBudget {
    ApiBudget {
        calls_per_day,
        reserve_percent,
    }
}

fn with_budget(name: &str, budget: ApiBudget) -> v1::UpdateIntegrationRequest {
    v1::UpdateIntegrationRequest {
        integration: Some(Integration {
            name: name.to_owned(),
            api_budget: Some(budget),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["api_budget".to_owned()],
        }),
        ..Default::default()
    }
}

async fn set(person: &mut Person, name: &str, budget: ApiBudget) -> v1::ApiUsage {
    let request = with_budget(name, budget);
    let of = ok(person.integrations.update_integration(request)).await;
    of.api_usage.unwrap()
}

async fn usage(person: &mut Person, name: &str) -> v1::ApiUsage {
    person.get(name).await.api_usage.unwrap()
}

/// Opens a profile; returns why its card is not live.
async fn stale(person: &mut Person, company: &v1::Company) -> Option<ErrorReason> {
    let card = person.open(&company.name).await.cards.remove(0);
    assert!(!card.company_records.unwrap().records.is_empty());
    let freshness = card.freshness.unwrap();
    assert_eq!(freshness.live, freshness.stale_reason.is_none());
    freshness.stale_reason.map(|why| why.reason())
}

/// The paths of the requests for data that the simulator received, when no more arrive: a call that its caller has given up may
/// arrive late. Tokens of a login that was replaced are revoked later, which is no call of the allowance.
async fn requests(world: &World) -> Vec<String> {
    let look = async || {
        let journal = world.control("GET", "/requests?limit=100000", Json::Null).await;
        let paths = journal["requests"].as_array().unwrap().iter();
        let paths = paths.map(|one| one["path"].as_str().unwrap().to_owned());
        paths
            .filter(|path| path.starts_with("/services/data"))
            .collect::<Vec<_>>()
    };
    let mut before = look().await;
    loop {
        let now = look().await;
        if now == before {
            return now;
        }
        before = now;
    }
}

async fn a_budget_holds_syncs_and_leaves_profiles_their_reserve(database: Database) {
    let world = World::start(database, 5).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    let before = usage(&mut ann, &name).await;
    assert!(
        before.sync_calls_today > 0 && before.live_calls_today > 0,
        "{before:?}"
    );
    assert_eq!(
        before.calls_total,
        before.sync_calls_today + before.live_calls_today
    );
    assert!(before.organization_calls_used > 0, "{before:?}");
    assert!(before.organization_read_time.is_some());
    // Without a budget of its own it has a fifth of the organization's limit.
    assert_eq!(before.budget_calls, before.organization_calls_limit / 5);
    assert_eq!(before.reserved_calls, before.budget_calls / 5);

    // The syncs have used their half, and nothing more is read: not even the request that would find it out.
    let budgeted = set(&mut ann, &name, budget(Some(2 * before.calls_total), Some(50))).await;
    assert_eq!(budgeted.reserved_calls, before.calls_total);
    let made = requests(&world).await;
    let sync = ann.sync(&name).await;
    let why = waits(&mut ann, &sync, ErrorReason::ApiBudgetUsed).await;
    assert!((1..=24 * HOUR).contains(&in_seconds(&why)), "{why:?}");
    assert!(why.message.contains("reserved for profiles"), "{why:?}");
    assert_eq!(requests(&world).await, made);
    let shown = ann.get(&name).await;
    let last = shown.last_sync.clone().unwrap();
    assert_eq!((shown.state(), last.state()), (Standing::Active, State::Waiting));
    assert_eq!(last.error.unwrap().retry_time, why.retry_time);
    let again = v1::SyncIntegrationRequest {
        name: name.clone(),
        ..Default::default()
    };
    let joined = refused(ann.integrations.sync_integration(again)).await;
    assert_eq!(joined.reason, "SYNC_ALREADY_RUNNING");
    assert_eq!(joined.details.error_info().unwrap().metadata["sync"], sync);

    // Profiles are read live with the reserve, then shown from the store.
    assert_eq!(stale(&mut ann, &companies[0]).await, None);
    let live = usage(&mut ann, &name).await;
    assert!(live.live_calls_today > before.live_calls_today);
    assert_eq!(live.sync_calls_today, before.sync_calls_today);
    set(&mut ann, &name, budget(Some(live.calls_total), None)).await;
    assert_eq!(
        stale(&mut ann, &companies[1]).await,
        Some(ErrorReason::ApiBudgetUsed)
    );

    // With another budget the sync goes on at once. What it used stays in its history.
    waits(&mut ann, &sync, ErrorReason::ApiBudgetUsed).await;
    set(&mut ann, &name, budget(None, None)).await;
    let whole = ann.succeeds(&sync).await;
    assert!(whole.api_calls_used > 0 && whole.error.is_none(), "{whole:?}");
    let after = usage(&mut ann, &name).await;
    // The sync listed the fields, too, which is not among the calls of its reading.
    assert_eq!(after.calls_total, live.calls_total + whole.api_calls_used);
    assert!(after.sync_calls_today > before.sync_calls_today, "{after:?}");
    assert_eq!(stale(&mut ann, &companies[2]).await, None);
    let list = v1::ListSyncsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let listed = ok(ann.integrations.list_syncs(list)).await.syncs;
    let calls: i64 = listed.iter().map(|one| one.api_calls_used).sum();
    assert!(calls >= after.sync_calls_today, "{calls} {after:?}");
}

async fn a_budget_holds_records_that_are_read_by_id(database: Database) {
    let world = World::start(database, 5).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    world.sql(
        "INSERT INTO data_wanted (integration_id, object, external_id) \
         SELECT integration_id, object, external_id FROM record WHERE object = 'Account'",
    );
    // There is a call left when the sync begins, and none after it has looked for changes.
    let before = usage(&mut ann, &name).await;
    set(&mut ann, &name, budget(Some(before.calls_total + 1), Some(0))).await;
    let request = v1::SyncIntegrationRequest {
        name: name.clone(),
        mode: Mode::Incremental.into(),
        ..Default::default()
    };
    let sync = ok(ann.integrations.sync_integration(request)).await.name;
    waits(&mut ann, &sync, ErrorReason::ApiBudgetUsed).await;
    let used = usage(&mut ann, &name).await;
    assert!(used.calls_total > before.calls_total, "{used:?}");
    // They are still noted: a sync with calls reads them.
    set(&mut ann, &name, budget(None, None)).await;
    let whole = ann.succeeds(&sync).await;
    let after = usage(&mut ann, &name).await;
    assert!(after.calls_total > used.calls_total, "{after:?}");
    assert!(whole.error.is_none(), "{whole:?}");
}

async fn lists_of_fields_and_reviews_have_no_part_of_the_reserve(database: Database) {
    let world = World::start(database, 5).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    let list = v1::ListAvailableFieldsRequest {
        parent: name.clone(),
        ..Default::default()
    };
    let before = usage(&mut ann, &name).await;
    ok(ann.integrations.list_available_fields(list.clone())).await;
    let review = |budget: Option<ApiBudget>| v1::ReviewIntegrationRequest {
        name: name.clone(),
        proposal: Some(Integration {
            api_budget: budget,
            ..Default::default()
        }),
        update_mask: budget.map(|_| prost_types::FieldMask {
            paths: vec!["api_budget".to_owned()],
        }),
    };
    ok(ann.integrations.review_integration(review(None))).await;
    let used = usage(&mut ann, &name).await;
    assert!(used.live_calls_today > before.live_calls_today + 1, "{used:?}");

    // All but the reserve is used.
    let half = budget(Some(2 * used.calls_total), Some(50));
    set(&mut ann, &name, half).await;
    let made = requests(&world).await;
    let listed = refused(ann.integrations.list_available_fields(list.clone())).await;
    let reviewed = refused(ann.integrations.review_integration(review(None))).await;
    for no in [listed, reviewed] {
        assert_eq!(
            (no.code, no.reason.as_str()),
            (tonic::Code::ResourceExhausted, "API_BUDGET_USED")
        );
        let metadata = &no.details.error_info().unwrap().metadata;
        assert_eq!(
            (metadata["name"].as_str(), metadata["limit"].as_str()),
            (name.as_str(), "integration")
        );
        assert_eq!(metadata["calls"], used.calls_total.to_string());
        assert!(metadata["until"].ends_with("T00:00:00Z"), "{metadata:?}");
        assert!(
            no.message.contains(&metadata["until"]) && no.message.contains("api_budget"),
            "{}",
            no.message
        );
        let wait = no.details.retry_info().unwrap().retry_delay.unwrap();
        assert!(wait.as_secs() <= 24 * 3_600 && !wait.is_zero(), "{wait:?}");
        assert_eq!(no.details.quota_failure().unwrap().violations[0].subject, name);
    }
    assert_eq!(requests(&world).await, made);
    // Changes that need no call are made, profiles have the reserve, and a greater budget is reviewed with it.
    let mut renamed = with_budget(&name, half);
    renamed.integration.as_mut().unwrap().display_name = "Acme".to_owned();
    renamed.update_mask.as_mut().unwrap().paths = vec!["display_name".to_owned()];
    ok(ann.integrations.update_integration(renamed)).await;
    assert_eq!(stale(&mut ann, &companies[0]).await, None);
    ok(ann
        .integrations
        .review_integration(review(Some(budget(Some(1_000_000), None)))))
    .await;
    set(&mut ann, &name, budget(None, None)).await;
    ok(ann.integrations.list_available_fields(list)).await;
}

async fn an_operator_decides_how_long_a_refused_allowance_pauses(database: Database) {
    let world = World::start_with(database, 5, &["breaker.allowance_pause_seconds=1200"]).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let companies = ann.all_companies(100).await;
    let limits = async |used: u64| {
        world
            .control("POST", "/limits", json!({"max": 1_000, "used": used}))
            .await
    };
    limits(1_000).await;
    let sync = ann.sync(&name).await;
    let why = waits(&mut ann, &sync, ErrorReason::CrmAllowanceExhausted).await;
    assert!((1_140..=1_200).contains(&in_seconds(&why)), "{why:?}");
    // Salesforce's own numbers say the same.
    assert_eq!(
        stale(&mut ann, &companies[0]).await,
        Some(ErrorReason::ApiBudgetUsed)
    );

    // After some minutes a profile finds out that there are calls again. The sync goes on at once, without another's doing.
    limits(0).await;
    world
        .sql("UPDATE organization SET refusal_us = refusal_us - 400000000, calls_us = calls_us - 4000000000");
    assert_eq!(stale(&mut ann, &companies[1]).await, None);
    ann.succeeds(&sync).await;
}

async fn a_daily_limit_holds_the_organization_until_its_window_frees(database: Database) {
    let world = World::start(database, 5).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let other = ann.salesforce("Acme Service", &["Account.Name"]).await;
    world
        .control("POST", "/limits", json!({"max": 1_000, "used": 1_000}))
        .await;
    let sync = ann.sync(&name).await;
    let why = waits(&mut ann, &sync, ErrorReason::CrmAllowanceExhausted).await;
    assert!((HOUR - 60..=HOUR).contains(&in_seconds(&why)), "{why:?}");

    // What one sync found out holds for all of the organization: no further request is made.
    let made = requests(&world).await;
    let second = ann.sync(&other).await;
    let why = waits(&mut ann, &second, ErrorReason::CrmAllowanceExhausted).await;
    assert!((HOUR - 60..=HOUR).contains(&in_seconds(&why)), "{why:?}");
    assert_eq!(requests(&world).await, made);

    // The next refusal lasts longer.
    pass(&world, HOUR);
    until("one of the two is refused again, and both wait longer", || {
        let (mut ann, sync) = (ann.clone(), sync.clone());
        async move {
            let why = get(&mut ann, &sync).await.error;
            let wait = why.filter(|why| why.retry_time.is_some());
            wait.is_some_and(|why| (2 * HOUR - 60..=2 * HOUR).contains(&in_seconds(&why)))
        }
    })
    .await;

    // One of the two is cancelled while it waits, the other one goes on.
    let cancel = v1::CancelSyncRequest { name: second.clone() };
    ok(ann.integrations.cancel_sync(cancel)).await;
    assert_eq!(get(&mut ann, &second).await.state(), State::Cancelled);
    world
        .control("POST", "/limits", json!({"max": 1_000, "used": 0}))
        .await;
    pass(&world, 2 * HOUR);
    ann.succeeds(&sync).await;
    assert_eq!(ann.get(&name).await.state(), Standing::Active);
}

async fn a_limit_of_calls_at_a_time_is_no_failure(database: Database) {
    let settings = ["sync.most_tries=2", "sync.first_pause_milliseconds=20"];
    let world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    world.script(&json!({"script.read": "error:rate_limited:600"}));
    let sync = ann.sync(&name).await;
    until("many attempts", || {
        let (mut ann, sync) = (ann.clone(), sync.clone());
        async move { get(&mut ann, &sync).await.attempt > 5 }
    })
    .await;
    world.script(&json!({}));
    ann.succeeds(&sync).await;

    // Where the CRM names no end of the limit, the pause is some seconds.
    world.script(&json!({"script.read": "error:rate_limited"}));
    let sync = ann.sync(&name).await;
    let why = waits(&mut ann, &sync, ErrorReason::CrmRateLimited).await;
    assert!((1..=60).contains(&in_seconds(&why)), "{why:?}");
    world.script(&json!({}));
    pass(&world, 60);
    assert_eq!(ann.succeeds(&sync).await.attempt, 2);
}

async fn a_crm_that_is_down_is_left_alone(database: Database) {
    let settings = [
        "breaker.failures=3",
        "breaker.first_pause_seconds=3600",
        "breaker.longest_pause_seconds=3600",
        "sync.first_pause_milliseconds=20",
    ];
    let mut world = World::start_with(database, 1, &settings).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let (other, _) = ann.dummy("Others", "ann").await;
    let companies = ann.all_companies(100).await;
    world.script(&json!({"script.read": "error:transient"}));
    let sync = ann.sync(&name).await;
    until("three attempts", || {
        let (mut ann, sync) = (ann.clone(), sync.clone());
        async move { get(&mut ann, &sync).await.attempt == 3 }
    })
    .await;
    let why = waits(&mut ann, &sync, ErrorReason::CrmUnavailable).await;
    assert!((HOUR - 60..=HOUR).contains(&in_seconds(&why)), "{why:?}");

    // Nothing calls it now, on any server: a call would be answered.
    world.script(&json!({}));
    let second = ann.sync(&other).await;
    let why = waits(&mut ann, &second, ErrorReason::CrmUnavailable).await;
    assert!((HOUR - 60..=HOUR).contains(&in_seconds(&why)), "{why:?}");
    assert_eq!(
        stale(&mut ann, &companies[0]).await,
        Some(ErrorReason::CrmUnavailable)
    );
    if database == Database::Postgres {
        let address = world.another().await;
        let token = world.token("ann", Some("acme"), Role::Administrator);
        let mut there = world.bearer_at(&address, "acme", &token).await;
        assert_eq!(
            stale(&mut there, &companies[1]).await,
            Some(ErrorReason::CrmUnavailable)
        );
    }
    assert_eq!(ann.get(&name).await.state(), Standing::Active);

    // After the pause one call finds out that it answers, and all go on.
    world.sql("UPDATE organization SET closed_until_us = 1");
    let mut answers = false;
    for company in &companies[2..20] {
        // The two sources of a company are read at the same time: one of them waits for the other.
        answers |= stale(&mut ann, company).await.is_none();
    }
    assert!(answers);
    // Without anybody's doing, long before their time.
    ann.succeeds(&sync).await;
    ann.succeeds(&second).await;
    assert_eq!(stale(&mut ann, &companies[20]).await, None);
}

async fn what_a_failed_attempt_cost_is_counted(database: Database) {
    let settings = ["sync.most_tries=1"];
    let world = World::start_with(database, 5, &settings).await;
    let mut ann = world.ann().await;
    ann.enable("salesforce").await;
    let name = ann.salesforce("Acme Sales", &["Account.Name"]).await;
    let before = usage(&mut ann, &name).await;
    // The first request of the read is answered, the next ones are not.
    let fault = json!({"path": "/services/data", "skip": 1, "times": 1_000, "status": 503, "body": "down"});
    world.control("POST", "/faults", fault).await;
    let sync = ann.sync(&name).await;
    let failed = ann.watch(&sync).await.pop().unwrap();
    assert_eq!(failed.state(), State::Failed, "{failed:?}");
    assert!(failed.api_calls_used > 0, "{failed:?}");
    let after = usage(&mut ann, &name).await;
    assert_eq!(
        after.sync_calls_today,
        before.sync_calls_today + failed.api_calls_used
    );
}

async fn a_budget_is_reviewed_and_shown_to_its_owner(database: Database) {
    let world = World::start(database, 1).await;
    world.connect("globex", true).await;
    let mut ann = world.ann().await;
    let mut gil = world.gil().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    ann.share(&name, "globex", &[]).await;
    gil.enable("dummy").await;
    assert_eq!(ann.get(&name).await.api_budget, Some(budget(None, None)));
    let review = v1::ReviewIntegrationRequest {
        name: name.clone(),
        proposal: Some(Integration {
            api_budget: Some(budget(Some(500), Some(10))),
            ..Default::default()
        }),
        ..Default::default()
    };
    let reviewed = ok(ann.integrations.review_integration(review)).await;
    assert_eq!(reviewed.api_budget, Some(budget(Some(500), Some(10))));
    assert_eq!(ann.get(&name).await.api_budget, Some(budget(None, None)));
    let used = set(&mut ann, &name, budget(Some(500), Some(10))).await;
    assert_eq!((used.budget_calls, used.reserved_calls), (500, 50));
    assert_eq!(ann.get(&name).await.api_budget, Some(budget(Some(500), Some(10))));
    let received = gil.get(&name).await;
    assert_eq!((received.api_budget, received.api_usage), (None, None));
    for (wrong, field) in [
        (budget(Some(0), None), "calls_per_day"),
        (budget(None, Some(91)), "reserve_percent"),
    ] {
        let no = refused(ann.integrations.update_integration(with_budget(&name, wrong))).await;
        assert_eq!(no.reason, "INVALID_FIELD_VALUE");
        assert!(no.message.contains(field), "{}", no.message);
    }
    // A draft has its budget from the beginning.
    let mut draft = ann.draft("dummy", "Draft");
    draft.integration.as_mut().unwrap().api_budget = Some(budget(Some(7), None));
    let created = ok(ann.integrations.create_integration(draft)).await;
    assert_eq!(created.api_budget, Some(budget(Some(7), None)));
}
