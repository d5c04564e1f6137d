//! Bulk in trouble: a read ends with exactly the truth or with an error, and leaves no job behind.

use serde_json::{Value as Json, json};
use tether_connector_sdk::proto::*;

use crate::bulk::{BULK, World, assert_same};
use crate::harness::*;

const ACCOUNTS: [&str; 4] = ["--accounts", "700", "--related", "0"];

/// A world, its records, and reads of it in trouble.
struct Trouble {
    world: World,
    right: Store,
}

/// How a read in trouble went.
struct Went {
    /// It ended with the truth.
    whole: bool,
    /// Jobs that it created, and queries by REST.
    jobs: u64,
    queries: usize,
    error: Option<Error>,
    asked_for_credentials: u32,
}

impl Trouble {
    async fn start() -> Self {
        let world = World::of_accounts(&ACCOUNTS, &BULK).await;
        let right = world.by_rest().await;
        Self { world, right }
    }

    /// Reads everything into a store that has everything; nothing may be removed or changed by a fault.
    async fn read(&self, what: &Json) -> Went {
        self.world.sim.forget().await;
        let before = self.world.jobs().await.0;
        let (store, outcome) = self.world.read_into(self.right.clone()).await;
        let (created, existing) = self.world.jobs().await;
        let whole = matches!(outcome.end, Some(Ok(()))) && failures(&outcome).is_empty();
        if whole {
            assert_same(&store, &self.right, &what.to_string());
            assert_eq!(existing, 0, "{what}");
            // An empty store is filled as well.
        } else {
            for (key, record) in &self.right.rows {
                assert_eq!(store.rows.get(key), Some(record), "{what}");
            }
        }
        Went {
            whole,
            jobs: created - before,
            queries: self.world.count("query_all").await,
            error: outcome.end.and_then(Result::err),
            asked_for_credentials: outcome.credentials_asked,
        }
    }

    /// The same with an empty store.
    async fn read_empty(&self, what: &Json) {
        let (store, outcome) = self.world.read_into(Store::default()).await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{what}: {:?}", outcome.end);
        assert_same(&store, &self.right, &what.to_string());
    }
}

#[tokio::test]
async fn a_damaged_page_is_read_again() {
    let trouble = Trouble::start().await;
    let hows = [
        "short",
        "repeat",
        "loop",
        "early",
        "miscount",
        "uncounted",
        "headerless",
        "empty",
    ];
    for how in hows {
        for skip in 0..4 {
            let damage = json!({"how": how, "skip": skip, "api": "bulk", "object": "Account"});
            trouble.world.sim.control("/pages", damage.clone()).await;
            let went = trouble.read(&damage).await;
            assert!(went.whole, "{damage}: {:?}", went.error);
            // The last page is shorter: what it repeats is not the beginning of the page before. Its order shows it, and the
            // ids are listed.
            let jobs = if (how, skip) == ("repeat", 3) { 2 } else { 1 };
            assert_eq!((went.jobs, went.queries), (jobs, 0), "{damage}");
            trouble.world.sim.clear("pages").await;
        }
    }
    for how in hows {
        let damage = json!({"how": how, "skip": 1, "api": "bulk"});
        trouble.world.sim.control("/pages", damage.clone()).await;
        trouble.read_empty(&damage).await;
        trouble.world.sim.clear("pages").await;
    }
}

#[tokio::test]
async fn a_result_that_stays_damaged_is_left_to_rest() {
    let trouble = Trouble::start().await;
    for (how, by_rest) in [
        ("short", true),
        ("loop", true),
        ("early", true),
        ("miscount", true),
        ("empty", true),
        // Every page has the rows of the page before.
        ("repeat", true),
        // What is absent proves nothing: the job's own number does.
        ("uncounted", false),
        ("headerless", true),
    ] {
        let damage = json!({"how": how, "times": 99, "api": "bulk"});
        trouble.world.sim.control("/pages", damage.clone()).await;
        let went = trouble.read(&damage).await;
        assert!(went.whole, "{damage}: {:?}", went.error);
        assert_eq!(went.queries > 0, by_rest, "{damage}");
        trouble.world.sim.clear("pages").await;
    }
    for miscount in [-1, 1] {
        let script = json!({"miscount": miscount, "times": 9});
        trouble.world.sim.control("/jobs/script", script.clone()).await;
        let went = trouble.read(&script).await;
        assert!(went.whole && went.queries > 0, "{script}");
        trouble.world.sim.clear("jobs/script").await;
    }
}

#[tokio::test]
async fn a_job_that_fails_is_created_once_more() {
    let trouble = Trouble::start().await;
    let failing = |more: Json| {
        let mut script = json!({"object": "Account"});
        script
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        script
    };
    let message = "InternalServerError: retried more than 15 times";
    for (script, jobs, by_rest) in [
        (json!({"then": "Failed", "errorMessage": message}), 2, false),
        (
            json!({"then": "Failed", "errorMessage": "QUERY_TIMEOUT: too long", "times": 2}),
            2,
            true,
        ),
        (json!({"then": "Aborted"}), 2, false),
        (json!({"then": "Aborted", "times": 2}), 2, true),
        (
            json!({"states": ["UploadComplete", "UploadComplete", "InProgress", "Failed"]}),
            2,
            false,
        ),
        (
            json!({"states": ["UploadComplete", "InProgress", "UploadComplete", "JobComplete"]}),
            1,
            false,
        ),
        (json!({"polls": 12}), 1, false),
    ] {
        let script = failing(script);
        trouble.world.sim.control("/jobs/script", script.clone()).await;
        let went = trouble.read(&script).await;
        assert!(went.whole, "{script}: {:?}", went.error);
        assert_eq!((went.jobs, went.queries > 0), (jobs, by_rest), "{script}");
        trouble.world.sim.clear("jobs/script").await;
    }
    // The next read uses Bulk again.
    assert_eq!(trouble.read(&json!("calm")).await.queries, 0);
}

#[tokio::test]
async fn a_job_that_does_not_get_on_is_given_up() {
    let trouble = Trouble::start().await;
    for times in [1, 2] {
        // In the state InProgress the simulator counts records with every look.
        let script = json!({"object": "Account", "states": ["UploadComplete"], "times": times});
        trouble.world.sim.control("/jobs/script", script.clone()).await;
        // Three hours between two looks.
        let later = json!({"route": "/clock", "body": {"advanceSeconds": 10_800}});
        let fault = json!({"request": "bulk_job", "skip": 2, "times": times, "kind": "act", "act": [later]});
        trouble.world.sim.fault(fault).await;
        let went = trouble.read(&script).await;
        assert!(went.whole, "{script}: {:?}", went.error);
        assert_eq!((went.jobs, went.queries > 0), (2, times == 2), "{script}");
        assert!(trouble.world.count("bulk_abort").await >= times);
        trouble.world.sim.clear("jobs/script").await;
        trouble.world.sim.clear("faults").await;
    }
}

#[tokio::test]
async fn where_bulk_is_refused_rest_reads() {
    let trouble = Trouble::start().await;
    for settings in [
        json!({"enabled": false}),
        json!({"unsupported": ["Account"]}),
        json!({"maxJobs": 0}),
        json!({"usedJobs": 10_000}),
        json!({"storageExceeded": true}),
    ] {
        trouble
            .world
            .sim
            .control("/jobs/settings", settings.clone())
            .await;
        let went = trouble.read(&settings).await;
        assert!(went.whole, "{settings}: {:?}", went.error);
        assert_eq!((went.jobs, went.queries > 0), (0, true), "{settings}");
        assert_eq!(trouble.world.count("bulk_create").await, 1, "{settings}");
        // With the next read it is tried again.
        trouble
            .world
            .sim
            .control("/jobs/settings", json!({"reset": true, "usedJobs": 0}))
            .await;
        let went = trouble.read(&settings).await;
        assert_eq!((went.jobs, went.queries), (1, 0), "{settings}");
    }
    // By a permission.
    let fault = json!({"request": "bulk_create", "status": 403,
        "body": "[{\"errorCode\":\"INSUFFICIENT_ACCESS\",\"message\":\"no\"}]"});
    trouble.world.sim.fault(fault.clone()).await;
    let went = trouble.read(&fault).await;
    assert!(went.whole && went.jobs == 0 && went.queries > 0);
}

#[tokio::test]
async fn outages_are_outlived() {
    let trouble = Trouble::start().await;
    let mut faults = Vec::new();
    for request in [
        "bulk_results",
        "bulk_job",
        "bulk_create",
        "bulk_delete",
        "bulk_list",
    ] {
        for kind in [
            "cut",
            "truncate",
            "reset",
            "garbage",
            "mislabelled",
            "cutGzip",
            "drip",
        ] {
            faults.push(json!({"request": request, "kind": kind, "afterBytes": 40}));
        }
        faults.push(json!({"request": request, "kind": "html"}));
        faults.push(json!({"request": request, "kind": "html", "status": 404}));
        faults.push(json!({"request": request, "status": 503}));
        faults.push(
            json!({"request": request, "kind": "html", "status": 420, "body": "We are setting things up."}),
        );
        faults.push(json!({"request": request, "kind": "lost"}));
        faults.push(json!({"request": request, "code": "REQUEST_LIMIT_EXCEEDED",
            "message": "ConcurrentRequests (Concurrent API Requests) Limit exceeded."}));
    }
    // In the middle of a later page.
    for kind in ["cut", "truncate", "cutGzip"] {
        for after in [1_000, 20_000, 60_000] {
            faults.push(json!({"request": "bulk_results", "kind": kind, "afterBytes": after, "skip": 1}));
        }
    }
    for fault in faults {
        trouble.world.sim.fault(fault.clone()).await;
        let went = trouble.read(&fault).await;
        assert!(went.whole, "{fault}: {:?}", went.error);
        assert_eq!(went.queries, 0, "{fault}");
        trouble.world.sim.assert_faults_used(&fault).await;
    }
}

#[tokio::test]
async fn what_lasts_is_an_error_and_no_success() {
    let trouble = Trouble::start().await;
    for request in ["bulk_results", "bulk_job", "bulk_create"] {
        for fault in [
            json!({"request": request, "kind": "truncate", "afterBytes": 300, "times": 99}),
            json!({"request": request, "status": 503, "times": 99}),
            json!({"request": request, "kind": "html", "times": 99}),
        ] {
            trouble.world.sim.fault(fault.clone()).await;
            let went = trouble.read(&fault).await;
            match went.error {
                Some(error) => assert_eq!(error.what(), ErrorKind::Transient, "{fault}: {error}"),
                // The damage was seen, and REST had the truth.
                None => assert!(went.whole && went.queries > 0, "{fault}"),
            }
            trouble.world.sim.clear("faults").await;
        }
    }
    let fault = json!({"request": "bulk_results", "code": "REQUEST_LIMIT_EXCEEDED", "times": 99});
    trouble.world.sim.fault(fault.clone()).await;
    let went = trouble.read(&fault).await;
    assert_eq!(went.error.unwrap().what(), ErrorKind::AllowanceExhausted);
}

#[tokio::test]
async fn a_job_whose_deletion_fails_is_deleted_by_the_next_read() {
    let trouble = Trouble::start().await;
    let world = &trouble.world;
    let refusal = |code: &str| json!([{"errorCode": code, "message": "no"}]).to_string();
    for (status, body) in [
        (403, refusal("INSUFFICIENT_ACCESS")),
        (400, refusal("NEW_UNKNOWN_CODE")),
        (502, "<html></html>".to_owned()),
    ] {
        for mode in [ReadMode::Changes, ReadMode::Full] {
            let fault = json!({"request": "bulk_delete", "status": status, "body": body, "times": 99});
            world.sim.fault(fault).await;
            let (store, outcome) = world.read_into(Store::default()).await;
            assert!(matches!(outcome.end, Some(Ok(()))), "{body}: {:?}", outcome.end);
            assert_same(&store, &trouble.right, &body);
            assert_eq!(world.jobs().await.1, 1, "{body}");
            let state = outcome.checkpoints.last().unwrap();
            // As long as it fails, it is tried again, and hurts nobody.
            let (next, state) = world.next(mode, state).await;
            assert!(matches!(next, Some(Ok(()))), "{body}: {next:?}");
            world.sim.clear("faults").await;
            let (next, _) = world.next(mode, &state).await;
            assert!(matches!(next, Some(Ok(()))), "{body}: {next:?}");
            assert_eq!(world.jobs().await.1, 0, "{body}: {mode:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_ends_is_renewed() {
    let trouble = Trouble::start().await;
    for request in [
        "bulk_list",
        "bulk_create",
        "bulk_job",
        "bulk_results",
        "bulk_delete",
    ] {
        let fault = json!({"request": request, "code": "INVALID_SESSION_ID"});
        trouble.world.sim.fault(fault.clone()).await;
        let went = trouble.read(&fault).await;
        assert!(went.whole, "{fault}: {:?}", went.error);
        assert_eq!(
            (went.jobs, went.queries, went.asked_for_credentials),
            (1, 0, 1),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_job_that_is_gone_is_created_again() {
    let trouble = Trouble::start().await;
    for (route, skip, jobs) in [
        ("/jobs/expire", 0, 2),
        ("/jobs/expire", 2, 2),
        // Other locators of the same job are valid.
        ("/jobs/locators/drop", 2, 1),
    ] {
        let act = json!([{"route": route, "body": {}}]);
        let fault = json!({"request": "bulk_results", "skip": skip, "kind": "act", "act": act});
        trouble.world.sim.fault(fault.clone()).await;
        let went = trouble.read(&fault).await;
        assert!(went.whole, "{fault}: {:?}", went.error);
        assert_eq!((went.jobs, went.queries), (jobs, 0), "{fault}");
    }
    // Again and again: REST reads.
    let act = json!([{"route": "/jobs/expire", "body": {}}]);
    let fault = json!({"request": "bulk_results", "times": 99, "kind": "act", "act": act});
    trouble.world.sim.fault(fault.clone()).await;
    let went = trouble.read(&fault).await;
    assert!(went.whole && went.queries > 0, "{:?}", went.error);
}

#[tokio::test]
async fn a_field_that_goes_is_told_and_left_out() {
    let trouble = Trouble::start().await;
    let (sim, world) = (&trouble.world.sim, &trouble.world);
    for (request, field, told) in [
        ("bulk_list", "Industry", true),
        ("bulk_job", "Website", true),
        // Its compound field is read by REST.
        ("bulk_job", "BillingCity", false),
    ] {
        let hide = json!({"route": "/fields/hide", "body": {"object": "Account", "field": field}});
        sim.fault(json!({"request": request, "kind": "act", "act": [hide]}))
            .await;
        let (store, outcome) = world.read_into(Store::default()).await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{field}: {:?}", outcome.end);
        let missing: Vec<&str> = outcome
            .changes
            .iter()
            .map(|change| change.field.as_str())
            .collect();
        assert_eq!(missing, if told { vec![field] } else { vec![] });
        assert_same(&store, &world.by_rest().await, field);
        assert_eq!(world.jobs().await.1, 0, "{field}");
        sim.control("/fields/show", json!({"object": "Account", "field": field}))
            .await;
    }
}
