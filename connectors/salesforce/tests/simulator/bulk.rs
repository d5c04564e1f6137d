//! Reads by Bulk: the same records as by REST, and what they cost.

use serde_json::{Value as Json, json};
use tether_connector_salesforce::Salesforce;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;

use crate::harness::*;

/// Jobs from the first row on, in pages of 200 rows.
pub(crate) const BULK: [(&str, &str); 2] = [("bulk_rows", "1"), ("bulk_page_bytes", "1")];

/// A simulator, a connector that reads by Bulk, and a selection of all its fields.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) connector: Native<Salesforce>,
    pub(crate) connection: Connection,
    pub(crate) fields: ListFieldsResponse,
    pub(crate) selection: Vec<ObjectSelection>,
}

impl World {
    pub(crate) async fn start(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let sim = Sim::start(arguments);
        let connector = sim.connector_with(settings);
        let connection = log_in(&sim, &connector, ADMIN).await;
        let fields = list_fields(&connector, &connection).await;
        Self {
            selection: select_all(&fields),
            sim,
            connector,
            connection,
            fields,
        }
    }

    /// With some fields of Account only.
    pub(crate) async fn of_accounts(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut world = Self::start(arguments, settings).await;
        let keys = [
            "Name",
            "Industry",
            "Website",
            "OwnerId",
            "BillingAddress",
            "Description",
        ];
        world.selection = select(&world.fields, &[("Account", &keys)]);
        world
    }

    /// A whole read by REST, as another connector does it.
    pub(crate) async fn by_rest(&self) -> Store {
        let connector = self.sim.connector_with(&[("bulk_rows", "0")]);
        read_all(&connector, &self.connection, &self.selection).await.0
    }

    pub(crate) async fn read_into(&self, store: Store) -> (Store, Outcome) {
        let reading = Reading::start(&self.connector, &self.connection, &self.selection, &[], store).await;
        let (store, outcome, _) = reading.finish().await;
        (store, outcome)
    }

    /// The end and the last checkpoint of a read after an earlier one.
    pub(crate) async fn next(&self, mode: ReadMode, state: &[u8]) -> (Option<Result<(), Error>>, Vec<u8>) {
        let request = ReadRequest {
            mode: mode.into(),
            ..self.changes(state)
        };
        let reading = Reading::of(&self.connector, request, Store::default()).await;
        let (_, outcome, _) = reading.finish().await;
        (
            outcome.end,
            outcome.checkpoints.last().cloned().unwrap_or_default(),
        )
    }

    /// What changed since a state.
    pub(crate) fn changes(&self, state: &[u8]) -> ReadRequest {
        ReadRequest {
            connection: Some(self.connection.clone()),
            selection: self.selection.clone(),
            mode: ReadMode::Changes.into(),
            state: state.to_vec(),
            ..ReadRequest::default()
        }
    }

    /// The numbers of jobs that were created, and of those that exist.
    pub(crate) async fn jobs(&self) -> (u64, u64) {
        let jobs = self.sim.get("/control/jobs").await;
        (
            jobs["created"].as_u64().unwrap(),
            jobs["existing"].as_u64().unwrap(),
        )
    }

    /// Requests of a kind.
    pub(crate) async fn count(&self, kind: &str) -> usize {
        self.sim.requests(kind).await.len()
    }
}

/// The rows of a store are those of another one.
pub(crate) fn assert_same(store: &Store, right: &Store, what: &str) {
    assert_eq!(store.rows.len(), right.rows.len(), "{what}");
    for (key, record) in &right.rows {
        assert_eq!(store.rows.get(key), Some(record), "{what}: {key:?}");
    }
    assert!(store.wanted.is_empty(), "{what}: {:?}", store.wanted);
}

#[tokio::test]
async fn the_records_are_those_of_rest_byte_for_byte() {
    for arguments in [&["--accounts", "430"][..], &["--accounts", "120", "--realistic"]] {
        let world = World::start(arguments, &BULK).await;
        let right = world.by_rest().await;
        world.sim.forget().await;
        let (store, outcome) = world.read_into(Store::default()).await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
        assert!(failures(&outcome).is_empty() && outcome.changes.is_empty());
        assert_same(&store, &right, "Bulk");
        assert_true(&world.sim, ADMIN, &world.selection, &store).await;
        // One job for each object, and no query.
        assert_eq!(world.jobs().await, (5, 0));
        assert_eq!(world.count("query_all").await, 0);
        for object in ["Account", "Contact"] {
            let last = outcome
                .progress
                .iter()
                .rfind(|progress| progress.object == object);
            assert_eq!(
                last.unwrap().expected as usize,
                store.of(object).count(),
                "{object}"
            );
        }
        assert_only_read(&world.sim).await;
    }
}

#[tokio::test]
async fn whatever_form_the_result_has() {
    let world = World::of_accounts(&["--accounts", "700", "--related", "0"], &BULK).await;
    let right = world.by_rest().await;
    for settings in [
        json!({"headerOnEveryPage": false}),
        json!({"headerOnEveryPage": false, "columnsSorted": true}),
        json!({"end": "empty"}),
        json!({"end": "absent"}),
        json!({"polls": 5}),
        json!({"snapshot": "end"}),
    ] {
        let mut whole = settings.clone();
        whole["reset"] = true.into();
        world.sim.control("/jobs/settings", whole).await;
        world.sim.forget().await;
        let (store, outcome) = world.read_into(Store::default()).await;
        assert!(
            matches!(outcome.end, Some(Ok(()))),
            "{settings}: {:?}",
            outcome.end
        );
        assert_same(&store, &right, &settings.to_string());
        assert_eq!(world.count("query_all").await, 0, "{settings}");
        // Pages of 200 rows at least.
        assert!((3..=4).contains(&world.count("bulk_results").await), "{settings}");
        assert_eq!(world.jobs().await.1, 0, "{settings}");
    }
}

#[tokio::test]
async fn odd_texts_are_the_same() {
    let world = World::of_accounts(&["--accounts", "20", "--related", "0"], &BULK).await;
    let accounts = world.sim.truth("Account", ADMIN).await;
    let odd = [
        "NA",
        "null",
        "NULL",
        "NaN",
        "#N/A",
        " a ",
        "\"",
        "\"\"",
        "a\r\nb\rc\n",
        "^`|;,\t",
        "\u{e0ff}x\u{e0ff}\u{e0ff}",
        "n\u{0}ul",
        "😀 \u{2028} \u{feff}",
        "{\"a\": 1}",
        "[1]",
        "\\n \\\" \\",
    ];
    for (account, text) in accounts.iter().zip(odd) {
        let fields = json!({"Name": text, "Description": format!("{text}{text}"), "BillingStreet": text});
        world
            .sim
            .control("/records/update", json!({"id": account["Id"], "fields": fields}))
            .await;
    }
    // Larger than any usual limit of a parser.
    let large = "x\"\n,".repeat(150_000);
    let last = accounts.last().unwrap();
    world
        .sim
        .control(
            "/records/update",
            json!({"id": last["Id"], "fields": {"Description": large}}),
        )
        .await;
    let right = world.by_rest().await;
    let (store, outcome) = world.read_into(Store::default()).await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_same(&store, &right, "odd texts");
    let id = accounts[10]["Id"].as_str().unwrap();
    assert_eq!(
        store.get("Account", id).unwrap().display_name,
        "\u{fffd}x\u{fffd}\u{fffd}"
    );
    assert!(world.jobs().await.0 > 0);
}

#[tokio::test]
async fn what_a_read_of_100_000_records_costs() {
    let world = World::of_accounts(&["--accounts", "100000", "--related", "0"], &[]).await;
    let selection = select(&world.fields, &[("Account", &["Name", "Industry", "Website"])]);
    world.sim.forget().await;
    let reading = Reading::start(
        &world.connector,
        &world.connection,
        &selection,
        &[],
        Store::default(),
    )
    .await;
    let mut reading = reading;
    let (mut most, mut before) = (0, 0);
    while reading.checkpoint().await {
        most = most.max(reading.outcome.rows - before);
        before = reading.outcome.rows;
        // They would be copies of the whole store.
        reading.outcome.stores.clear();
    }
    assert!(
        matches!(reading.outcome.end, Some(Ok(()))),
        "{:?}",
        reading.outcome.end
    );
    // Deleted ones, too.
    assert!(reading.outcome.rows > 100_000 && most <= 4_000, "{most}");
    let kinds = [
        "composite",
        "bulk_list",
        "bulk_create",
        "bulk_job",
        "bulk_results",
        "bulk_delete",
    ];
    let mut counts = Vec::new();
    for kind in kinds {
        counts.push(world.count(kind).await);
    }
    assert_eq!(counts, [1, 1, 1, 2, 2, 1], "{kinds:?}");
    assert_eq!(reading.outcome.usage.calls, 8);
}

#[tokio::test]
async fn changes_are_read_by_bulk_where_they_are_many() {
    let world = World::of_accounts(&["--accounts", "5000", "--related", "0"], &[("bulk_rows", "500")]).await;
    let (store, outcome) = world.read_into(Store::default()).await;
    assert_eq!(world.jobs().await, (1, 0));
    let state = outcome.checkpoints.last().unwrap().clone();
    for (every, jobs) in [(10, 1), (2, 2)] {
        let update =
            json!({"object": "Account", "every": every, "fields": {"Industry": format!("Every {every}")}});
        world.sim.control("/records/update", update).await;
        world
            .sim
            .control("/records/delete", json!({"object": "Account", "every": 50}))
            .await;
        world.sim.forget().await;
        let reading = Reading::of(&world.connector, world.changes(&state), store.clone()).await;
        let (changed, outcome, _) = reading.finish().await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
        assert_same(&changed, &world.by_rest().await, "changes");
        // The first page comes by REST: it says how many there are.
        assert_eq!(world.jobs().await, (jobs, 0));
        assert!(outcome.covering == 0 && outcome.rows >= 5_000 / every);
        if jobs < 2 {
            continue;
        }
        // Another process goes on with the job.
        for (at, checkpoint) in outcome.checkpoints.iter().enumerate() {
            let mut request = world.changes(&state);
            request.checkpoint.clone_from(checkpoint);
            let connector = world.sim.connector_with(&[("bulk_rows", "500")]);
            let reading = Reading::of(&connector, request, outcome.stores[at].clone()).await;
            let (resumed, again, _) = reading.finish().await;
            assert!(matches!(again.end, Some(Ok(()))), "{at}: {:?}", again.end);
            assert_same(&resumed, &changed, &format!("after checkpoint {at}"));
            assert_eq!(world.jobs().await.1, 0, "{at}");
        }
    }
}

#[tokio::test]
async fn a_wide_selection_is_one_job() {
    let world = World::start(
        &["--accounts", "300", "--related", "0"],
        &[("query_budget", "600"), ("bulk_rows", "600")],
    )
    .await;
    let right = world.by_rest().await;
    world.sim.forget().await;
    let (store, outcome) = world.read_into(Store::default()).await;
    assert!(matches!(outcome.end, Some(Ok(()))));
    // REST needs several queries for each row, so 300 rows are many.
    assert_eq!(world.jobs().await, (1, 0));
    assert_same(&store, &right, "wide");
}

#[tokio::test]
async fn a_wrong_estimate_is_put_right_by_the_first_page() {
    let world = World::of_accounts(
        &["--accounts", "4000", "--related", "0"],
        &[("bulk_rows", "1000")],
    )
    .await;
    let right = world.by_rest().await;
    for (count, jobs, queries) in [
        (json!({"object": "Account", "count": 3}), 1, 1),
        (json!({"object": "Account", "count": 0}), 2, 1),
    ] {
        world.sim.control("/answers", count).await;
        world.sim.forget().await;
        let (store, outcome) = world.read_into(right.clone()).await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
        assert_same(&store, &right, "estimate");
        assert_eq!(
            (world.jobs().await.0, world.count("query_all").await),
            (jobs, queries)
        );
        world.sim.clear("answers").await;
    }
    // Too large: a job of few rows.
    let few = World::of_accounts(&["--accounts", "10", "--related", "0"], &[("bulk_rows", "1000")]).await;
    few.sim
        .control("/answers", json!({"object": "Account", "count": 1_000_000}))
        .await;
    let right = few.by_rest().await;
    let (store, _) = few.read_into(Store::default()).await;
    assert_same(&store, &right, "estimate");
    assert_eq!(few.jobs().await, (1, 0));
}

#[tokio::test]
async fn few_calls_left_are_saved() {
    let world = World::of_accounts(&["--accounts", "29000", "--related", "0"], &[]).await;
    let (_, outcome) = world.read_into(Store::default()).await;
    assert_eq!((world.jobs().await.0, outcome.usage.calls), (0, 16));
    world
        .sim
        .control("/limits", json!({"max": 1_000, "used": 800}))
        .await;
    let (_, outcome) = world.read_into(Store::default()).await;
    assert_eq!(world.jobs().await, (1, 0));
    assert!(outcome.usage.calls < 12, "{:?}", outcome.usage);
}

#[tokio::test]
async fn another_order_proves_what_is_gone_apart() {
    let world = World::of_accounts(&["--accounts", "1500", "--related", "0"], &BULK).await;
    let before = world.by_rest().await;
    world
        .sim
        .control("/jobs/settings", json!({"chunkRows": 400}))
        .await;
    world
        .sim
        .control("/records/purge", json!({"object": "Account", "every": 70}))
        .await;
    let right = world.by_rest().await;
    assert!(right.rows.len() < before.rows.len());
    world.sim.forget().await;
    let (store, outcome) = world.read_into(before).await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert!(failures(&outcome).is_empty());
    assert_same(&store, &right, "another order");
    // The ids were listed by a second job, in order.
    let jobs = world.sim.get("/control/jobs").await;
    let queries: Vec<&str> = jobs["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["query"].as_str().unwrap())
        .collect();
    assert_eq!(queries.len(), 2);
    assert!(
        !queries[0].contains("ORDER BY") && queries[1].ends_with(" ORDER BY Id"),
        "{queries:?}"
    );
    assert_eq!(jobs["existing"], 0);
    assert_eq!(world.count("query_all").await, 0);
    // It goes on from each of its checkpoints.
    for (at, checkpoint) in outcome.checkpoints.iter().enumerate() {
        let connector = world.sim.connector_with(&BULK);
        let store = outcome.stores[at].clone();
        let reading =
            Reading::start(&connector, &world.connection, &world.selection, checkpoint, store).await;
        let (store, resumed, _) = reading.finish().await;
        assert!(matches!(resumed.end, Some(Ok(()))));
        assert_same(&store, &right, &format!("after checkpoint {at}"));
        assert_eq!(world.jobs().await.1, 0);
    }
}

#[tokio::test]
async fn rows_that_come_twice_are_one_record() {
    let world = World::of_accounts(&["--accounts", "500", "--related", "0"], &BULK).await;
    world.sim.control("/jobs/script", json!({"duplicates": 30})).await;
    let id = world.sim.truth("Account", ADMIN).await[0]["Id"].clone();
    let update = json!({"route": "/records/update", "body": {"id": id, "fields": {"Name": "Newer"}}});
    world
        .sim
        .fault(json!({"request": "bulk_job", "skip": 1, "kind": "act", "act": [update]}))
        .await;
    let (store, outcome) = world.read_into(Store::default()).await;
    assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
    assert_same(&store, &world.by_rest().await, "twice");
    assert_eq!(
        store.payload("Account", id.as_str().unwrap())["Name"],
        Json::from("Newer")
    );
}
