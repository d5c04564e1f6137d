//! Records: written, kept, deleted.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use model::{Model, batches};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::*;

fn parent(id: &str) -> Parent {
    Parent {
        object: "Account".to_owned(),
        external_id: id.to_owned(),
    }
}

fn deleted(id: &str, modified_us: Micros) -> RecordRow {
    RecordRow {
        deleted: true,
        ..row(id, 0, modified_us)
    }
}

fn covering(after: &str, through: &str, read_us: Micros, rows: Vec<RecordRow>) -> RecordBatch {
    let complete_range = Some(CompleteRange {
        after: after.to_owned(),
        through: through.to_owned(),
        order: IdOrder::Bytes,
    });
    RecordBatch {
        complete_range,
        ..batch("Account", read_us, rows)
    }
}

async fn apply(store: &Store, of: &Integration, batch: RecordBatch) -> Counters {
    store
        .record_refresh(refresh(of, batch.read.us, vec![batch]))
        .await
        .map(|done| Counters {
            added: 0,
            ..done.counters
        })
        .unwrap()
}

/// The running sync of an integration; leases it if needed, whatever else is queued.
async fn running(store: &Store, of: &Integration) -> Sync {
    match store.sync_list(of.id, None, 1).await.unwrap().pop() {
        Some(sync) if sync.state == SyncState::Running => sync,
        _ => loop {
            let sync = store
                .sync_lease_next(&worker("w"), NOW, NOW + 500 * MINUTE)
                .await
                .unwrap()
                .unwrap();
            if sync.integration_id == of.id {
                break sync;
            }
        },
    }
}

/// A listing of a sync, settled at once: records that it lacks are deleted.
async fn list(store: &Store, of: &Integration, batch: RecordBatch) -> Counters {
    let sync = running(store, of).await;
    let object = batch.object.clone();
    let commit = commit(&sync, vec![batch]);
    let done = store.sync_commit(commit).await.unwrap().counters[0].1;
    assert_eq!(done.removed, 0, "a commit removes nothing");
    let removed = settle(store, &sync, &object, TRUSTING, NOW).await.removed;
    Counters {
        removed,
        added: 0,
        ..done
    }
}

fn counters(read: i64, written: i64, unchanged: i64, removed: i64) -> Counters {
    Counters {
        read,
        written,
        unchanged,
        removed,
        added: 0,
    }
}

async fn live(store: &Store, of: IntegrationId) -> Vec<String> {
    let mut ids: Vec<String> = feed(store, of, 0)
        .await
        .into_iter()
        .filter(|c| c.record.delete_us.is_none())
        .map(|c| c.record.external_id)
        .collect();
    ids.sort();
    ids
}

both! {
    async fn only_what_changed_is_written(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let rows = vec![row("b", 1, 10), row("a", 1, 10)];
        assert_eq!(apply(store, &one, batch("Account", 100, rows.clone())).await, counters(2, 2, 0, 0));
        assert_eq!(apply(store, &one, batch("Account", 200, rows)).await, counters(2, 0, 2, 0));
        // Read later with an older stamp; read earlier with a newer one; in the same second; two of one key.
        assert_eq!(apply(store, &one, batch("Account", 300, vec![row("a", 2, 9)])).await, counters(1, 1, 0, 0));
        assert_eq!(apply(store, &one, batch("Account", 250, vec![row("a", 3, 11)])).await, counters(1, 0, 1, 0));
        assert_eq!(apply(store, &one, batch("Account", 300, vec![row("a", 3, 10)])).await, counters(1, 1, 0, 0));
        let read = |read_us, row: RecordRow| RecordRow { read_us, ..row };
        let twice = vec![read(301, row("a", 4, 11)), read(300, row("a", 3, 12)), read(301, row("a", 5, 12))];
        assert_eq!(apply(store, &one, batch("Account", 300, twice)).await, counters(3, 1, 2, 0));
        let a = record_of(store, one.id, "Account", "a").await.unwrap();
        assert_eq!((a.hash, a.modified_us, a.read_us, a.change_no), (5, 12, 301, 5));
        assert_eq!((a.name.as_str(), a.name_key.as_str(), a.payload.as_str()), ("Name a", "name a", r#"{"Hash":5}"#));
        // A change of fields that are not selected updates only the times.
        assert_eq!(apply(store, &one, batch("Account", 400, vec![row("a", 5, 20)])).await, counters(1, 0, 1, 0));
        let a = record_of(store, one.id, "Account", "a").await.unwrap();
        assert_eq!((a.modified_us, a.read_us, a.change_no), (20, 400, 5));
    }

    async fn a_clock_that_was_wrong_freezes_nothing(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let by = |clock, us, hash| RecordBatch { read: ReadTime { us, clock }, ..batch("Account", us, vec![row("a", hash, 1)]) };
        let (ahead, right) = (ReadClock::of_process(5), ReadClock::of_process(6));
        // A host whose clock is two hours ahead, and one whose clock is right: only times of the same host are
        // compared.
        for (given, counts) in [
            (by(ahead, 7_200, 1), counters(1, 1, 0, 0)),
            (by(right, 10, 2), counters(1, 1, 0, 0)),
            (by(right, 9, 3), counters(1, 0, 1, 0)),
            (by(ahead, 7_201, 4), counters(1, 1, 0, 0)),
            (by(ahead, 7_200, 5), counters(1, 0, 1, 0)),
            // The CRM's times and a host's times are not compared: the later batch is stored.
            (by(ReadClock::CRM, 50, 6), counters(1, 1, 0, 0)),
            (by(ReadClock::CRM, 49, 7), counters(1, 0, 1, 0)),
            (by(ReadClock::UNKNOWN, 1, 8), counters(1, 1, 0, 0)),
            (by(ReadClock::UNKNOWN, 0, 9), counters(1, 1, 0, 0)),
        ] {
            assert_eq!(apply(store, &one, given.clone()).await, counts, "{given:?}");
        }
        // Deletions follow the same order.
        let gone = |clock, us| RecordBatch { read: ReadTime { us, clock }, ..batch("Account", us, vec![deleted("a", 1)]) };
        apply(store, &one, by(ReadClock::CRM, 60, 1)).await;
        assert_eq!(apply(store, &one, gone(ReadClock::CRM, 59)).await.removed, 0);
        assert_eq!(apply(store, &one, gone(right, 11)).await.removed, 1);
        assert_eq!(apply(store, &one, by(right, 10, 1)).await.written, 0);
        assert_eq!(apply(store, &one, by(right, 12, 1)).await.written, 1);
    }

    async fn what_is_gone_leaves_a_tombstone(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let company = CompanyId::of_domain("a.com");
        let a = RecordRow { company_id: Some(company), homepage: Some("a.com".to_owned()), ..row("a", 1, 10) };
        apply(store, &one, batch("Account", 100, vec![a.clone(), row("b", 1, 10)])).await;
        assert_eq!(store.record_company_keys(one.id, vec![company]).await.unwrap().len(), 1);
        let merged = RecordRow { merged_into: Some("b".to_owned()), ..deleted("a", 20) };
        assert_eq!(apply(store, &one, batch("Account", 200, vec![merged, deleted("z", 1)])).await, counters(2, 0, 1, 1));
        let stone = record_of(store, one.id, "Account", "a").await.unwrap();
        assert_eq!((stone.delete_us, stone.merged_into.as_deref()), (Some(200), Some("b")));
        assert_eq!((stone.payload.as_str(), stone.name.as_str(), stone.homepage), ("{}", "", None));
        assert_eq!(record_of(store, one.id, "Account", "z").await, None);
        assert!(store.record_company_keys(one.id, vec![company]).await.unwrap().is_empty());
        // A read before the deletion does not restore the record. A read after it does.
        assert_eq!(apply(store, &one, batch("Account", 150, vec![a.clone()])).await, counters(1, 0, 1, 0));
        assert_eq!(apply(store, &one, batch("Account", 250, vec![a.clone()])).await, counters(1, 1, 0, 0));
        let back = record_of(store, one.id, "Account", "a").await.unwrap();
        assert_eq!((back.delete_us, back.merged_into, back.change_no), (None, None, 4));
        apply(store, &one, batch("Account", 300, vec![deleted("a", 30)])).await;
        assert_eq!(store.record_forget(one.id, 300, 10).await.unwrap(), 0);
        assert_eq!(store.record_forget(one.id, 301, 10).await.unwrap(), 1);
        assert_eq!(live(store, one.id).await, ["b"]);
    }

    async fn a_complete_listing_removes_what_it_lacks(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let rows = ["a", "b", "c", "d", "e"].iter().map(|id| row(id, 1, 10)).collect();
        apply(store, &one, batch("Account", 100, rows)).await;
        apply(store, &one, batch("Contact", 100, vec![row("b", 1, 10)])).await;
        apply(store, &one, batch("Account", 500, vec![row("d", 1, 10)])).await;
        // (a, d]: b and c are deleted; d was read later than the listing; a, e and the contact are outside
        // the range.
        assert_eq!(list(store, &one, covering("a", "d", 200, vec![row("cc", 1, 1)])).await, counters(1, 1, 0, 2));
        assert_eq!(live(store, one.id).await, ["a", "b", "cc", "d", "e"]);
        assert_eq!(list(store, &one, covering("", "a", 200, vec![])).await, counters(0, 0, 0, 1));
        // A row outside the range of its batch is stored as well.
        assert_eq!(list(store, &one, covering("d", "", 600, vec![row("a", 1, 10)])).await, counters(1, 1, 0, 1));
        assert_eq!(list(store, &one, covering("", "", 600, vec![])).await, counters(0, 0, 0, 3));
        // The contact.
        assert_eq!(live(store, one.id).await, ["b"]);
    }

    async fn children_are_listed_under_their_parents(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let child = |id: &str, hash, modified_us, parents: &[&str]| RecordRow {
            parents: parents.iter().map(|p| parent(p)).collect(),
            ..row(id, hash, modified_us)
        };
        let contacts = vec![
            child("1", 1, 10, &["a"]),
            child("2", 1, 30, &["a", "b"]),
            child("3", 1, 30, &["a", "a"]),
            child("4", 1, 50, &["b"]),
            child("5", 1, 40, &[]),
        ];
        apply(store, &one, batch("Contact", 100, contacts)).await;
        let related = async |parents: &[&str]| {
            let parents = parents.iter().map(|p| p.to_string()).collect();
            let keys = store.record_related_keys(one.id, "Account", parents, "Contact").await.unwrap();
            keys.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        assert_eq!(related(&["a"]).await, ["2", "3", "1"]);
        assert_eq!(related(&["a", "b"]).await, ["4", "2", "3", "1"]);
        let first = feed(store, one.id, 0).await;
        let parents = |id: &str| first.iter().find(|c| c.record.external_id == id).unwrap().parents.clone();
        assert_eq!(parents("2"), [parent("a"), parent("b")]);
        assert_eq!(parents("3"), [parent("a")]);
        // A changed child brings new parents, a deleted one has none.
        apply(store, &one, batch("Contact", 200, vec![child("2", 2, 60, &["b"]), deleted("3", 70)])).await;
        assert_eq!(related(&["a"]).await, ["1"]);
        let later = feed(store, one.id, 5).await;
        assert_eq!(later.len(), 2);
        assert_eq!(later[0].parents, [parent("b")]);
        assert!(later[1].parents.is_empty() && later[1].record.delete_us.is_some());
        // A complete live listing below b: 4 is missing, 2 is listed; 6 is new.
        let set = ChildSet { parent_object: "Account".into(), parent_id: "b".into(), child_object: "Contact".into() };
        let read = Refresh {
            complete: vec![set],
            ..refresh(&one, 300, vec![batch("Contact", 300, vec![child("2", 2, 60, &["b"]), child("6", 1, 1, &["b"])])])
        };
        let done = store.record_refresh(read).await.unwrap();
        assert_eq!((done.unlinked, Counters { added: 0, ..done.counters }), (1, counters(2, 1, 1, 0)));
        assert_eq!(related(&["b"]).await, ["2", "6"]);
        let last = feed(store, one.id, done.change_no - 1).await;
        assert_eq!((last[0].record.external_id.as_str(), last[0].parents.len()), ("4", 0));
        // It was a mistake: the same row as before links it again.
        apply(store, &one, batch("Contact", 400, vec![child("4", 1, 50, &["b"])])).await;
        assert_eq!(related(&["b"]).await, ["2", "4", "6"]);
    }

    async fn odd_texts_are_stored(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let odd = RecordRow {
            name: "N\0UL 日本 \u{1f600}".to_owned(),
            payload: "{\"a\":\"\0\"}".to_owned(),
            homepage: Some("\0".to_owned()),
            parents: vec![parent("p\0")],
            ..row("'\"\\%_\0", 1, 1)
        };
        apply(store, &one, batch("Account", 1, vec![odd.clone()])).await;
        assert_eq!(apply(store, &one, batch("Account", 1, vec![odd])).await, counters(1, 0, 1, 0));
        let feed = feed(store, one.id, 0).await;
        assert_eq!(feed[0].record.external_id, "'\"\\%_\u{fffd}");
        assert_eq!(feed[0].record.name, "N\u{fffd}UL 日本 \u{1f600}");
        assert_eq!(feed[0].parents, [parent("p\u{fffd}")]);
        // More rows than fit into one statement, for all sizes of statements.
        let many: Vec<RecordRow> = (0..5003).map(|i| row(&format!("{i:05}"), 1, 1)).collect();
        assert_eq!(apply(store, &one, batch("Many", 1, many)).await.written, 5003);
        let mut seen = BTreeSet::new();
        let mut after = 0;
        loop {
            let page = store.record_changes(one.id, after, 700, i64::MAX).await.unwrap();
            assert!(page.changes.len() == 700 || page.last);
            after = page.changes.last().unwrap().record.change_no;
            seen.extend(page.changes.iter().map(|c| c.record.change_no));
            if page.last {
                break;
            }
        }
        assert_eq!(seen.len(), 5004);
        assert_eq!(after, store.record_change_no(one.id).await.unwrap());
        assert_eq!(list(store, &one, RecordBatch { object: "Many".to_owned(), ..covering("", "", 2, vec![]) }).await.removed, 5003);
    }

    async fn a_page_of_the_feed_is_bounded_in_bytes_too(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let sized = |id: &str, bytes: usize| RecordRow {
            payload: format!("{{\"T\":\"{}\"}}", "é".repeat(bytes / 2)),
            ..row(id, 1, 1)
        };
        let rows = vec![sized("1", 400), sized("2", 400), sized("3", 90_000), sized("4", 600), sized("5", 600)];
        apply(store, &one, batch("Account", 1, rows)).await;
        // Changes of one record leave a gap in the change numbers that is longer than a window.
        for n in 2..40 {
            apply(store, &one, batch("Account", n, vec![RecordRow { hash: n, ..sized("6", 10) }])).await;
        }
        let mut pages = Vec::new();
        let mut after = 0;
        loop {
            let page = store.record_changes(one.id, after, 4, 1_000).await.unwrap();
            pages.push(page.changes.iter().map(|c| c.record.external_id.clone()).collect::<Vec<_>>().concat());
            after = page.changes.last().unwrap().record.change_no;
            if page.last {
                break;
            }
        }
        // The third row alone exceeds a page.
        assert_eq!(pages, ["12", "3", "4", "56"]);
        let all = store.record_changes(one.id, 0, 100, i64::MAX).await.unwrap();
        assert_eq!((all.changes.len(), all.last), (6, true));
        let nothing = store.record_changes(one.id, after, 4, 1_000).await.unwrap();
        assert!(nothing.changes.is_empty() && nothing.last);
    }

    async fn a_deleted_integration_leaves_no_data(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        apply(store, &one, batch("Account", 100, vec![row("a", 1, 1)])).await;
        apply(store, &one, batch("Account", 200, vec![deleted("a", 2)])).await;
        assert_eq!(store.record_forget(one.id, 201, 10).await.unwrap(), 1);
        assert_eq!(store.count("data_set", "forgotten_no > 0"), 1);
        store.integration_delete(one.id, None, NOW).await.unwrap();
        while !store.integration_purge(one.id, 20).await.unwrap() {}
        assert_eq!(["data_set", "data_object", "record", "removal"].map(|table| store.count(table, "true")), [0; 4]);
    }

    async fn numbers_are_covered_by_their_values(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let numbers = |after: &str, through: &str, read_us, rows| RecordBatch {
            complete_range: Some(CompleteRange { after: after.to_owned(), through: through.to_owned(), order: IdOrder::Number }),
            ..batch("Account", read_us, rows)
        };
        let ids = ["5", "42", "998", "999", "1000", "1001", "1002", "20000", "x1"];
        apply(store, &one, batch("Account", 1, ids.map(|id| row(id, 1, 1)).to_vec())).await;
        // From 999 to 1001, across a change of length: 1000 is deleted, its neighbours by bytes are not.
        let page = numbers("998", "1001", 2, vec![row("999", 1, 1), row("1001", 1, 1)]);
        assert_eq!(list(store, &one, page).await, counters(2, 0, 2, 1));
        assert_eq!(live(store, one.id).await, ["1001", "1002", "20000", "42", "5", "998", "999", "x1"]);
        // The beginning and the end; an id that is not a number is in no range.
        assert_eq!(list(store, &one, numbers("", "998", 3, vec![row("998", 1, 1)])).await.removed, 2);
        assert_eq!(list(store, &one, numbers("1001", "", 3, vec![row("1003", 1, 1)])).await, counters(1, 1, 0, 2));
        assert_eq!(live(store, one.id).await, ["1001", "1003", "998", "999", "x1"]);
    }

    async fn it_agrees_with_a_simple_model(store) {
        let g = group(store, "g").await;
        let one = active(store, &g, "One").await;
        let other = active(store, &g, "Other").await;
        apply(store, &other, batch("Account", 1, vec![row("a", 1, 1)])).await;
        let mut runner = TestRunner::deterministic();
        let mut model = Model::default();
        for step in 0..150 {
            let batch = batches().new_tree(&mut runner).unwrap().current();
            let (live, whole, batch) = batch;
            let expected = model.apply(&batch, live);
            let done = store.record_refresh_or_commit(&one, batch.clone(), live, step).await;
            assert_eq!(done, expected, "step {step}: {batch:?}");
            if whole {
                // The object was listed completely: records that its ranges lacked, and that were not read
                // since, are deleted.
                let sync = running(store, &one).await;
                assert_eq!(settle(store, &sync, "Account", TRUSTING, step).await.removed, model.settle(), "step {step}");
            }
            if step % 10 == 9 {
                model.check(store, one.id).await;
            }
            if step % 20 == 14 {
                store.company_fill(one.id).await.unwrap();
            }
        }
        model.check(store, one.id).await;
        assert_eq!(live(store, other.id).await, ["a"]);
    }

    async fn a_feed_followed_while_written_has_no_gaps(store) {
        let one = active(store, &group(store, "g").await, "One").await;
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let (store, one) = (Store::clone(store), one.clone());
                tokio::spawn(async move {
                    for i in 0..15 {
                        let rows = (0..5).map(|r| row(&format!("{w}-{r}"), i + 1, i + 1)).collect();
                        store.record_refresh(refresh(&one, i + 1, vec![batch("Account", i + 1, rows)])).await.unwrap();
                    }
                })
            })
            .collect();
        // The data of the follower must equal the stored data at the end, although it never reads backwards.
        let mut known = BTreeMap::new();
        let mut after = 0;
        let mut running = true;
        while running {
            running = writers.iter().any(|w| !w.is_finished());
            for change in store.record_changes(one.id, after, 7, 90).await.unwrap().changes {
                after = change.record.change_no;
                known.insert(change.record.external_id.clone(), change.record.hash);
                running = true;
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(known.len(), 20);
        assert!(known.values().all(|hash| *hash == 15));
        assert_eq!(store.record_change_no(one.id).await.unwrap(), 4 * 15 * 5);
    }
}

impl Fixture {
    /// Both ways of storing rows use the same code.
    async fn record_refresh_or_commit(
        &self,
        of: &Integration,
        batch: RecordBatch,
        live: bool,
        step: i64,
    ) -> Counters {
        if live {
            return self
                .record_refresh(refresh(of, batch.read.us, vec![batch]))
                .await
                .unwrap()
                .counters;
        }
        let sync = running(self, of).await;
        let commit = SyncCommit {
            now_us: step,
            // Half of the time the company records are left for later.
            is_first_load: step % 20 < 10,
            ..commit(&sync, vec![batch])
        };
        self.sync_commit(commit).await.unwrap().counters[0].1
    }
}
