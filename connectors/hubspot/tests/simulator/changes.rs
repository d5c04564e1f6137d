//! What changed between two reads, and records by their ids.

use serde_json::{Value as Json, json};
use tether_connector_hubspot::HubSpot;
use tether_connector_sdk::proto::*;
use tether_connector_sdk::testing::Native;

use crate::harness::*;

const ONE_SECOND: &str = "2026-11-30T06:00:00.125Z";

/// A portal that was read once, and what a host stored then.
struct Read {
    sim: Sim,
    connector: Native<HubSpot>,
    connection: Connection,
    selection: Vec<ObjectSelection>,
    store: Store,
    state: Vec<u8>,
}

impl Read {
    async fn start(companies: u32) -> Self {
        let (sim, connector, connection, selection) = world(companies, &[]).await;
        Self::of(sim, connector, connection, selection).await
    }

    async fn of(
        sim: Sim,
        connector: Native<HubSpot>,
        connection: Connection,
        selection: Vec<ObjectSelection>,
    ) -> Self {
        let (store, outcome) = read_all(&connector, &connection, &selection).await;
        sim.forget().await;
        Self {
            sim,
            connector,
            connection,
            selection,
            store,
            state: outcome.checkpoints.last().unwrap().clone(),
        }
    }

    async fn control(&self, path: &str, body: Json) -> Json {
        self.sim.control(path, body).await
    }

    /// Reads, with the selection as `edit` leaves it.
    async fn run(&mut self, edit: impl FnOnce(&mut ReadRequest)) -> Outcome {
        let mut request = ReadRequest {
            connection: Some(self.connection.clone()),
            selection: self.selection.clone(),
            mode: ReadMode::Changes.into(),
            state: self.state.clone(),
            ..ReadRequest::default()
        };
        edit(&mut request);
        let keeps = request.mode() == ReadMode::Changes;
        let reading = Reading::of(&self.connector, request, self.store.clone()).await;
        let (store, outcome, _) = reading.finish().await;
        assert!(matches!(outcome.end, Some(Ok(()))), "{:?}", outcome.end);
        self.store = store;
        if keeps {
            self.state.clone_from(outcome.checkpoints.last().unwrap());
        }
        outcome
    }

    async fn changes(&mut self) -> Outcome {
        self.run(|_| {}).await
    }

    /// Reads records by their ids.
    async fn records(&mut self, object: &str, ids: &[&str]) -> Outcome {
        let records = vec![RecordIds {
            object: object.to_owned(),
            external_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }];
        self.run(|request| {
            (request.mode, request.records) = (ReadMode::Records.into(), records);
            request.state.clear();
        })
        .await
    }

    /// The records of these companies are read by id, as a host does when a company is gone.
    async fn children(&mut self, companies: &[&String]) {
        for object in RELATED {
            let of = |company: &&String| self.store.children(object, company);
            let ids: Vec<String> = companies
                .iter()
                .flat_map(of)
                .map(|record| record.external_id.clone())
                .collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            if !ids.is_empty() {
                self.records(object, &ids).await;
            }
        }
    }

    async fn assert_true(&self) {
        assert_true(&self.sim, &self.selection, &self.store).await;
    }
}

impl Read {
    /// The next windows begin behind the last change so far: what an earlier one lost stays lost.
    async fn leave_behind(&mut self) {
        let mut state: Json = serde_json::from_slice(&self.state).unwrap();
        for (object, since_us) in state["since"].as_object_mut().unwrap() {
            let truth = self.sim.truth(object).await;
            let last_us = truth.iter().map(|row| moment_us(&row["updatedAt"])).max();
            *since_us = (last_us.unwrap() + 1_000).into();
        }
        self.state = state.to_string().into_bytes();
    }

    /// Makes random changes. Returns the companies that are gone, whose records a host reads again.
    async fn random(&self, order: Json) -> Vec<String> {
        let made = self.control("/records/random", order).await;
        let made = made["changes"].as_array().unwrap().iter();
        let gone = made.filter(|one| {
            one["object"] == "companies" && (one["kind"] == "delete" || one["kind"] == "merge")
        });
        gone.flat_map(|one| one["ids"].as_array().unwrap().clone())
            .map(|id| id.as_str().unwrap().to_owned())
            .collect()
    }
}

fn record(object: &str, id: &str) -> Json {
    json!({"object": object, "id": id})
}

#[tokio::test]
async fn nothing_changed_costs_two_requests_an_object() {
    let mut read = Read::start(260).await;
    for _ in 0..2 {
        let nothing = read.changes().await;
        assert_eq!((nothing.rows, nothing.usage.calls), (0, 8));
        assert!(nothing.statuses.iter().all(|status| status.complete) && nothing.statuses.len() == 4);
    }
    assert_eq!(read.sim.requests("search").await.len(), 8);
    let lists = read.sim.requests("list").await;
    let archived = |request: &Json| request["query"].as_str().unwrap().contains("archived=true");
    assert!(lists.len() == 8 && lists.iter().all(archived));
    read.assert_true().await;
    assert_only_read(&read.sim).await;
}

#[tokio::test]
async fn what_changed_is_returned_whole() {
    let mut read = Read::start(260).await;
    let (companies, contacts) = (read.sim.ids("companies").await, read.sim.ids("contacts").await);
    let deals = read.sim.ids("deals").await;
    let update =
        json!({"object": "companies", "id": companies[5], "fields": {"industry": "RETAIL", "tier": null}});
    read.control("/records/update", update).await;
    read.control("/records/delete", record("companies", &companies[3]))
        .await;
    read.control("/records/delete", record("deals", &deals[7])).await;
    let merge = |object: &str, ids: &[String], winner: usize, loser: usize, mint: bool| json!({"object": object, "winner": ids[winner], "loser": ids[loser], "mint": mint});
    read.control("/records/merge", merge("companies", &companies, 60, 20, false))
        .await;
    read.control("/records/merge", merge("companies", &companies, 80, 81, true))
        .await;
    read.control("/records/merge", merge("contacts", &contacts, 9, 12, false))
        .await;
    let born = json!({"object": "contacts", "fields": {"firstname": "New"}, "company": companies[9]});
    read.control("/records/create", born).await;
    // A change that takes other companies along.
    let moved = json!({"object": "deals", "id": deals[30], "company": companies[11], "moveStamp": true});
    read.control("/associations/add", moved).await;

    let some = read.changes().await;
    assert!(some.rows < 20, "{} rows", some.rows);
    assert!(
        some.covering == 0 && some.changes.is_empty(),
        "ranges of a window remove nothing"
    );
    read.children(&[&companies[3], &companies[20], &companies[80], &companies[81]])
        .await;
    read.assert_true().await;

    // Restored: its links come back with it.
    read.control("/records/undelete", record("deals", &deals[7]))
        .await;
    read.changes().await;
    read.assert_true().await;
    assert_only_read(&read.sim).await;
}

#[tokio::test]
async fn more_records_with_one_time_than_a_search_returns_are_read() {
    let (sim, connector, connection, selection) = world(10_300, &[]).await;
    let mut companies = selection[..1].to_vec();
    companies[0]
        .fields
        .retain(|field| field.key == "name" || field.key == "city");
    let mut read = Read::of(sim, connector, connection, companies).await;
    let all = json!({"object": "companies", "every": 1, "stamp": ONE_SECOND, "fields": {"city": "Bulk"}});
    // A state of the morning: the changes of a bulk import have all the same time.
    let mut state: Json = serde_json::from_slice(&read.state).unwrap();
    state["since"]["companies"] = moment_us(&ONE_SECOND.into()).into();
    read.state = state.to_string().into_bytes();
    assert_eq!(read.control("/records/update", all).await["changed"], 10_300);
    let some = read.changes().await;
    // With those that were merged into them before.
    let merged = read.store.of("companies").filter(|record| record.deleted).count() as u64;
    assert_eq!(some.rows, 10_300 + merged);
    let stored = read.store.live("companies").count();
    assert_eq!(stored, 10_300);
    let is_new = |record: &Record| record.payload.windows(4).any(|text| text == b"Bulk");
    assert!(read.store.live("companies").all(is_new));
    let searches = read.sim.requests("search").await;
    assert_eq!(searches.len(), 10_300_usize.div_ceil(200));
    assert!(searches.iter().all(|request| request["status"] == 200));
}

#[tokio::test]
async fn a_search_in_another_order_is_replaced_by_the_list() {
    let mut read = Read::start(260).await;
    let companies = read.sim.ids("companies").await;
    for id in &companies[100..103] {
        let update = json!({"object": "companies", "id": id, "fields": {"city": "Oslo"}});
        read.control("/records/update", update).await;
    }
    let body = json!({"total": 2, "results": [{"id": companies[101]}, {"id": companies[100]}]});
    let path = "/crm/v3/objects/companies/search";
    read.sim
        .fault(json!({"path": path, "status": 200, "body": body.to_string()}))
        .await;
    let some = read.changes().await;
    assert_eq!(some.rows, 3);
    assert!(some.statuses.iter().all(|status| status.complete));
    read.assert_true().await;
}

#[tokio::test]
async fn a_search_whose_count_and_records_disagree_leaves_nothing_out() {
    let mut read = Read::start(260).await;
    let companies = read.sim.ids("companies").await;
    let path = "/crm/v3/objects/companies/search";
    let next = json!({"next": {"after": "1"}});
    let empty = json!({"total": 3, "results": []});
    let short = json!({"total": 1, "results": [{"id": companies[100]}], "paging": next});
    // Searches: of the page and what is behind it; twice in vain; as often as it is tried, and then the list.
    for (n, (body, times, searches, lists)) in [(short, 1, 2, 1), (empty.clone(), 2, 3, 1), (empty, 3, 3, 4)]
        .into_iter()
        .enumerate()
    {
        for id in &companies[100..103] {
            let update = json!({"object": "companies", "id": id, "fields": {"city": format!("Oslo {n}")}});
            read.control("/records/update", update).await;
        }
        read.sim.forget().await;
        let fault = json!({"path": path, "status": 200, "times": times, "body": body.to_string()});
        read.sim.fault(fault.clone()).await;
        let some = read.changes().await;
        read.sim.assert_faults_used(&fault).await;
        assert_eq!(some.rows, 3, "{fault}");
        assert!(some.statuses.iter().all(|status| status.complete));
        // Those of the three other objects, too.
        assert_eq!(read.sim.requests("search").await.len(), searches + 3, "{fault}");
        assert_eq!(read.sim.requests("list").await.len(), lists + 3, "{fault}");
        read.assert_true().await;
    }
}

#[tokio::test]
async fn what_the_index_lacks_comes_later_and_what_it_has_too_long_does_not_come() {
    let mut read = Read::start(260).await;
    let companies = read.sim.ids("companies").await;
    let update = |id: &str, city: &str| json!({"object": "companies", "id": id, "fields": {"city": city}});
    for id in &companies[..3] {
        read.control("/records/update", update(id, "Oslo")).await;
    }
    let before = read.store.clone();
    read.changes().await;
    read.control("/settings", json!({"indexStopped": true})).await;
    read.control("/records/update", update(&companies[0], "Bergen"))
        .await;
    read.control("/records/update", update(&companies[7], "Bergen"))
        .await;
    read.control("/records/delete", record("companies", &companies[1]))
        .await;
    read.control("/records/purge", record("companies", &companies[2]))
        .await;
    read.changes().await;
    let gone = read.store.get("companies", &companies[1]).unwrap();
    assert!(gone.deleted, "the index has it as live");
    assert_ne!(read.store.payload("companies", &companies[7])["city"], "Bergen");
    // The record itself is read, so a change that the index does not have yet comes with an older one that it has.
    assert_eq!(read.store.payload("companies", &companies[0])["city"], "Bergen");
    read.control("/settings", json!({"indexStopped": false})).await;
    read.changes().await;
    assert_eq!(read.store.payload("companies", &companies[7])["city"], "Bergen");
    assert!(before.get("companies", &companies[2]).is_some());
    // What is purged leaves no trace: a listing of all ids finds it.
    assert!(!read.store.get("companies", &companies[2]).unwrap().deleted);
    read.run(|request| request.selection.iter_mut().for_each(|one| one.sweep_due = true))
        .await;
    assert!(read.store.get("companies", &companies[2]).is_none());
    read.children(&[&companies[1]]).await;
    read.assert_true().await;
}

#[tokio::test]
async fn values_and_links_without_a_time_come_when_they_are_due() {
    let mut read = Read::start(260).await;
    let (companies, contacts) = (read.sim.ids("companies").await, read.sim.ids("contacts").await);
    let linked = |n: usize| json!({"object": "contacts", "id": contacts[n], "company": companies[n]});
    read.control("/associations/add", linked(0)).await;
    read.control("/associations/add", linked(1)).await;
    for (object, field) in [("companies", "hs_num_open_deals"), ("contacts", "hubspotscore")] {
        read.control("/fields/recalculate", json!({"object": object, "field": field}))
            .await;
    }
    assert_eq!(read.changes().await.rows, 0);
    let lists = read.sim.requests("list").await.len();
    let due = read
        .run(|request| {
            request
                .selection
                .iter_mut()
                .for_each(|one| one.calculated_due = true)
        })
        .await;
    read.assert_true().await;
    // Archived companies, and the lists of all objects.
    assert_eq!(read.sim.requests("list").await.len(), lists + 1 + 3 + 3 + 3 + 2);
    // With one each that was merged.
    assert_eq!(due.rows, 261 + 261 + 261 + 131);

    read.control("/associations/remove", linked(1)).await;
    assert_eq!(read.changes().await.rows, 0);
    read.run(|request| request.selection.iter_mut().for_each(|one| one.sweep_due = true))
        .await;
    read.assert_true().await;
}

#[tokio::test]
async fn random_changes_are_followed_in_windows_that_do_not_overlap() {
    let mut read = Read::start(120).await;
    let kinds = ["create", "update", "delete", "merge"];
    for seed in 1..=6 {
        read.leave_behind().await;
        let (begin, index_stopped) = (read.state.clone(), seed == 3);
        read.control("/settings", json!({"indexStopped": index_stopped}))
            .await;
        let gone = read
            .random(json!({"seed": seed, "count": 40, "kinds": kinds}))
            .await;
        read.random(json!({"seed": seed, "count": 4, "kinds": ["undelete"], "objects": RELATED}))
            .await;
        if index_stopped {
            // What the index lacks comes with the next window, which includes this one.
            read.changes().await;
            read.control("/settings", json!({"indexStopped": false})).await;
            read.state = begin;
        }
        read.changes().await;
        read.children(&gone.iter().collect::<Vec<_>>()).await;
        read.assert_true().await;
    }
    assert_only_read(&read.sim).await;
}

#[tokio::test]
async fn records_come_by_id_and_what_is_unknown_is_not_gone() {
    let mut read = Read::start(260).await;
    let ids = read.sim.ids("contacts").await;
    read.control("/records/delete", record("contacts", &ids[1])).await;
    let merge = json!({"object": "contacts", "winner": ids[20], "loser": ids[2]});
    read.control("/records/merge", merge).await;
    read.control("/records/purge", record("contacts", &ids[3])).await;
    let mut named: Vec<&str> = ids[..150].iter().map(String::as_str).collect();
    named.push("999999999999");
    let some = read.records("contacts", &named).await;
    // All but the purged one, and the one that never was.
    assert_eq!((some.rows, some.covering), (149, 0));
    let gone = |n: usize| {
        let record = read.store.get("contacts", &ids[n]).unwrap();
        (record.deleted, record.merged_into.as_str())
    };
    assert_eq!(gone(1), (true, ""));
    assert_eq!(gone(2), (true, ids[20].as_str()));
    assert_eq!(gone(3), (false, ""));
    assert!(some.read_times.iter().all(|us| *us > 0 && *us < i64::MAX));

    // Errors for single records in a reply of 207 say nothing about them.
    let failed = json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [
        {"status": "error", "category": "RATE_LIMITS", "message": "later", "context": {"ids": [ids[0]]}}]});
    let path = "/crm/v3/objects/contacts/batch/read";
    read.sim
        .fault(json!({"path": path, "status": 207, "body": failed.to_string()}))
        .await;
    assert_eq!(read.records("contacts", &[&ids[0]]).await.rows, 1);
    assert!(!read.store.get("contacts", &ids[0]).unwrap().deleted);
}

#[tokio::test]
async fn a_missing_property_is_told_when_a_changed_record_lacks_it() {
    let mut read = Read::start(60).await;
    let companies = read.sim.ids("companies").await;
    read.control("/fields/remove", json!({"object": "companies", "field": "tier"}))
        .await;
    let nothing = read.changes().await;
    assert_eq!((nothing.changes.len(), nothing.usage.calls), (0, 8));
    let update = json!({"object": "companies", "id": companies[5], "fields": {"city": "Oslo"}});
    read.control("/records/update", update).await;
    let some = read.changes().await;
    let told: Vec<_> = some.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!((told, some.rows), (vec!["tier"], 1));
    assert!(
        read.store
            .payload("companies", &companies[5])
            .get("tier")
            .is_none()
    );
}

#[tokio::test]
async fn a_property_with_another_type_or_none_is_told_with_the_next_changed_record() {
    let mut read = Read::start(60).await;
    let (companies, contacts) = (read.sim.ids("companies").await, read.sim.ids("contacts").await);
    let number = json!({"object": "companies", "field": "tier", "label": "Tier", "type": "number", "fieldType": "number", "values": "whole"});
    read.control("/fields/add", number).await;
    read.control(
        "/fields/remove",
        json!({"object": "contacts", "field": "jobtitle"}),
    )
    .await;
    let told = |some: &Outcome| -> Vec<String> {
        let told = some.changes.iter();
        told.map(|change| format!("{}.{} {:?}", change.object, change.field, change.kind()))
            .collect()
    };
    let update = |object: &str, id: &str| json!({"object": object, "id": id, "fields": {"website": "https://new.example"}});
    assert!(told(&read.changes().await).is_empty());
    read.control("/records/update", update("companies", &companies[5]))
        .await;
    let before = read.state.clone();
    assert_eq!(told(&read.changes().await), ["companies.tier TypeChanged"]);
    // By id, too.
    let some = read.records("companies", &[&companies[6]]).await;
    assert_eq!(told(&some), ["companies.tier TypeChanged"]);
    // And where the search is of no use.
    read.control("/records/update", update("contacts", &contacts[5]))
        .await;
    read.state = before;
    let body = json!({"total": 2, "results": [{"id": contacts[7]}, {"id": contacts[6]}]});
    let path = "/crm/v3/objects/contacts/search";
    read.sim
        .fault(json!({"path": path, "status": 200, "body": body.to_string()}))
        .await;
    let some = read.changes().await;
    assert_eq!(
        told(&some),
        ["companies.tier TypeChanged", "contacts.jobtitle Missing"]
    );
}

#[tokio::test]
async fn an_object_that_is_refused_costs_no_other() {
    let mut read = Read::start(60).await;
    let deals = read.sim.ids("deals").await;
    let update = json!({"object": "deals", "id": deals[5], "fields": {"dealname": "Won"}});
    read.control("/records/update", update).await;
    let refused = json!({"status": "error", "message": "no", "category": "MISSING_SCOPES"});
    for path in ["/crm/v3/objects/contacts/search", "/crm/v3/objects/tickets"] {
        read.sim
            .fault(json!({"path": path, "status": 403, "body": refused.to_string()}))
            .await;
    }
    let before = read.state.clone();
    let some = read.changes().await;
    assert_eq!(
        failures(&some),
        [
            ("contacts", ErrorKind::Forbidden),
            ("tickets", ErrorKind::Forbidden)
        ]
    );
    assert_eq!(some.rows, 1);
    // The next read begins where the last one that succeeded did.
    let since = |state: &[u8], object: &str| {
        let state: Json = serde_json::from_slice(state).unwrap();
        state["since"][object].as_i64().unwrap()
    };
    for object in ["contacts", "tickets"] {
        assert_eq!(since(&before, object), since(&read.state, object));
    }
    assert!(read.changes().await.statuses.iter().all(|status| status.complete));
    read.assert_true().await;
}
