//! Tests of `crm.rs`.

mod toy;

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::proto::{Covers, ErrorKind, ObjectSelection, ReadMode, stream_event::Event};
use toy::*;

#[tokio::test]
async fn companies_are_fetched_with_what_is_under_them() {
    let (toy, _) = toy();
    toy.crm.data().deleted = vec![9, 81];
    let all = ["people", "companies", "deals"].map(|object| selection(object, &["name", "gone"]));
    let fetched = toy.fetch("t", &["8", "9", "10", "99"], all.to_vec(), 2).await;
    let [people, companies, deals] = fetched.objects.as_slice() else {
        panic!("{fetched:?}")
    };
    assert_eq!(
        [&people.object, &companies.object, &deals.object],
        ["people", "companies", "deals"]
    );
    // One is deleted, one is not there, and their people are not asked for.
    assert_eq!(ids(&companies.records), "8 -9 10 -99");
    assert_eq!(&companies.records[0].payload[..], br#"{"name":"name"}"#);
    assert_eq!(
        (ids(&people.records).as_str(), people.more),
        ("82 83 101 102", true)
    );
    assert_eq!(people.missing_fields, ["gone"]);
    let error = deals.error.as_ref().unwrap();
    assert_eq!(
        (error.what(), error.object.as_str()),
        (ErrorKind::ObjectGone, "deals")
    );
    // The earliest time; 0 is unknown.
    assert_eq!(fetched.read_time_us, 8);
    assert_eq!(
        toy.asked(),
        "companies, people, people of 8, people of 8, people of 10, people of 10, deals"
    );
    // The limit is for each company, and `more` says that one has others.
    let three = toy
        .fetch("t", &["8", "10"], vec![selection("people", &[])], 3)
        .await;
    assert_eq!(
        (ids(&three.objects[0].records).as_str(), three.objects[0].more),
        ("82 83 101 102 103", false)
    );
}

#[tokio::test]
async fn fields_are_asked_for_once_in_some_minutes_and_anew_when_it_matters() {
    let (toy, clock) = toy();
    let fetch = async |token: &str, field: &str| {
        let fetched = toy
            .fetch(token, &["8"], vec![selection("companies", &[field])], 0)
            .await;
        (fetched.objects[0].missing_fields.clone(), toy.asked())
    };
    let none: Vec<String> = Vec::new();
    let asked = |missing: &Vec<String>| (missing.clone(), "companies".to_owned());
    let remembered = (none.clone(), String::new());
    assert_eq!(fetch("t", "name").await, asked(&none));
    assert_eq!(fetch("t", "name").await, remembered);
    // A field that is new since then is not missing; one that is missing is asked for each time.
    toy.crm.data().fields = vec!["name", "size"];
    assert_eq!(fetch("t", "size").await, asked(&none));
    let missing = vec!["gone".to_owned()];
    assert_eq!(fetch("t", "gone").await, asked(&missing));
    assert_eq!(fetch("t", "gone").await, asked(&missing));
    assert_eq!(fetch("t", "name").await, remembered);
    // Other credentials, a new login, a list of the fields, five minutes.
    assert_eq!(fetch("u", "name").await, asked(&none));
    toy.log_in(CallContext::default(), LogInRequest::default())
        .await
        .unwrap();
    assert_eq!(fetch("t", "name").await, asked(&none));
    toy.crm.data().fields = vec!["size"];
    let list = ListFieldsRequest {
        connection: Some(connection("u")),
        objects: vec!["people".to_owned()],
    };
    let listed = toy.list_fields(CallContext::default(), list).await.unwrap();
    assert_eq!((listed.objects.len(), toy.asked().as_str()), (1, "people"));
    assert_eq!(fetch("t", "name").await, asked(&vec!["name".to_owned()]));
    assert_eq!(fetch("t", "size").await, remembered);
    clock.fetch_add(5 * 60 * 1_000_000, Relaxed);
    assert_eq!(fetch("t", "size").await, asked(&none));
    // A refusal shows that what is remembered is old.
    (toy.crm.data().fields, toy.crm.data().refuses) = (vec!["name"], true);
    assert_eq!(fetch("t", "size").await, asked(&vec!["size".to_owned()]));
    assert_eq!(fetch("t", "name").await, remembered);
}

#[tokio::test]
async fn a_list_whose_cursor_is_lost_begins_again_and_its_ranges_join() {
    for lost in [vec![], vec!["at-4"], vec!["at-2", "at-4"], vec!["at-4"; 4]] {
        let (toy, _) = toy();
        toy.crm.data().lost = lost.clone();
        let (out, events) = ReadStream::channel();
        let request = ReadRequest {
            connection: Some(connection("t")),
            selection: vec![selection("companies", &["name"])],
            mode: ReadMode::Full.into(),
            ..ReadRequest::default()
        };
        let listen = async {
            let (mut rows, mut ranges, mut complete) = (std::collections::BTreeSet::new(), Vec::new(), None);
            while let Some(event) = events.next(0).await {
                match event.event {
                    Some(Event::Batch(batch)) => {
                        rows.extend(batch.records.into_iter().map(|record| record.external_id));
                        assert_eq!(batch.covers, None);
                        ranges.extend(batch.covers_numbers);
                    }
                    Some(Event::ObjectStatus(status)) => complete = Some(status),
                    _ => {}
                }
            }
            (rows, ranges, complete.unwrap())
        };
        let reading = toy.read(CallContext::default(), request, out);
        let ((rows, ranges, status), end) = tokio::join!(listen, reading);
        end.unwrap();
        if lost.len() == 4 {
            assert_eq!(status.error.unwrap().what(), ErrorKind::CursorGone);
            continue;
        }
        assert!(status.complete);
        assert_eq!(rows.len(), 5);
        let range = |after: &str, through: &str| Covers {
            after: after.to_owned(),
            through: through.to_owned(),
        };
        assert_eq!(
            ranges,
            [range("", "9"), range("9", "11"), range("11", "")],
            "{lost:?}"
        );
    }
}

/// The batches of a read, each as its ids with `!` where it lists a range, with the objects that were given up; and the fields that
/// changed.
async fn batches(toy: &CrmConnector<Toy>, request: ReadRequest) -> (Vec<String>, Vec<String>) {
    let (out, events) = ReadStream::channel();
    let request = ReadRequest {
        connection: Some(connection("t")),
        ..request
    };
    let listen = async {
        let (mut batches, mut changes) = (Vec::new(), Vec::new());
        while let Some(event) = events.next(0).await {
            match event.event {
                Some(Event::Batch(batch)) => {
                    let range = if batch.covers_numbers.is_some() { "!" } else { "" };
                    batches.push(format!("{}{range}", ids(&batch.records)));
                }
                Some(Event::FieldChange(change)) => changes.push(change.field),
                Some(Event::ObjectStatus(status)) if !status.complete => {
                    batches.push(format!("{} given up", status.object));
                }
                _ => {}
            }
        }
        (batches, changes)
    };
    let (heard, end) = tokio::join!(listen, toy.read(CallContext::default(), request, out));
    end.unwrap();
    heard
}

#[tokio::test]
async fn what_changed_is_asked_for_and_described_only_when_something_has() {
    let (toy, _) = toy();
    assert_eq!(Connector::describe(&toy).features, ["changes"]);
    let request = |fields: &[&str]| ReadRequest {
        selection: vec![selection("companies", fields)],
        mode: ReadMode::Changes.into(),
        state: br#"{"v":2,"object":"","since":{"companies":7},"cursor":"","last":"","through":""}"#.to_vec(),
        ..ReadRequest::default()
    };
    let none: Vec<String> = Vec::new();
    let (heard, changes) = batches(&toy, request(&["name", "gone"])).await;
    assert_eq!((heard, changes), (vec![String::new()], none.clone()));
    assert_eq!(toy.asked(), "since 7");
    // In the CRM's order, deleted ones too, and no range.
    (toy.crm.data().changed, toy.crm.data().deleted) = (vec![11, 9, 8], vec![9]);
    let (heard, changes) = batches(&toy, request(&["name"])).await;
    assert_eq!(
        (heard, changes),
        (vec!["11 -9".to_owned(), "8".to_owned()], none.clone())
    );
    assert_eq!(toy.asked(), "since 7, companies, since 7at-2");
    // A field that went is told before the records, which are asked for once more.
    let (heard, changes) = batches(&toy, request(&["name", "gone"])).await;
    assert_eq!((heard.len(), changes), (2, vec!["gone".to_owned()]));
    assert_eq!(toy.asked(), "since 7, companies, since 7, since 7at-2");
    // A CRM may also refuse such a field.
    toy.crm.data().refuses = true;
    let (heard, changes) = batches(&toy, request(&["name", "gone"])).await;
    assert_eq!((heard.len(), changes), (2, vec!["gone".to_owned()]));
    assert_eq!(toy.asked(), "since 7, companies, since 7, since 7at-2");
    // A listing has ranges, as a full read.
    let mut sweep = request(&["name"]);
    sweep.selection[0].sweep_due = true;
    let (heard, _) = batches(&toy, sweep).await;
    assert_eq!(heard, ["11 -9", "8", "8 -9!", "10 11!", "12!"]);
}

#[tokio::test]
async fn a_window_that_the_crm_has_no_more_is_asked_for_twice_and_the_object_read_in_full() {
    let request = ReadRequest {
        selection: vec![selection("companies", &["name"])],
        mode: ReadMode::Changes.into(),
        state: br#"{"v":2,"object":"","since":{"companies":7},"cursor":"","last":"","through":""}"#.to_vec(),
        ..ReadRequest::default()
    };
    let full = ["8 9!", "10 11!", "12!"];
    let cases: [(&[&str], &[&str], &str); 4] = [
        (
            &["since "],
            &["11 9", "8"],
            "since 7, since 7, companies, since 7at-2",
        ),
        (&["since "; 2], &full, "since 7, since 7, companies"),
        (
            &["since at-2"],
            &["11 9", "11 9", "8"],
            "since 7, companies, since 7at-2, since 7, since 7at-2",
        ),
        (
            &["since at-2"; 2],
            &["11 9", "11 9", "8 9!", "10 11!", "12!"],
            "since 7, companies, since 7at-2, since 7, since 7at-2, companies",
        ),
    ];
    for (lost, heard, asked) in cases {
        let (toy, _) = toy();
        (toy.crm.data().changed, toy.crm.data().lost) = (vec![11, 9, 8], lost.to_vec());
        assert_eq!(batches(&toy, request.clone()).await.0, heard, "{lost:?}");
        assert_eq!(toy.asked(), asked);
    }
}

#[tokio::test]
async fn what_a_window_does_not_show_comes_with_a_full_read_when_it_is_due() {
    let (toy, _) = toy();
    let request = |object: &str, edit: fn(&mut ObjectSelection)| {
        let mut selection = selection(object, &["name"]);
        edit(&mut selection);
        ReadRequest {
            selection: vec![selection],
            mode: ReadMode::Changes.into(),
            state:
                br#"{"v":2,"object":"","since":{"people":7,"deals":7},"cursor":"","last":"","through":""}"#
                    .to_vec(),
            ..ReadRequest::default()
        }
    };
    assert_eq!(batches(&toy, request("people", |_| {})).await.0, [""]);
    for edit in [(|one| one.sweep_due = true) as fn(&mut ObjectSelection), |one| {
        one.calculated_due = true
    }] {
        toy.asked();
        let (heard, _) = batches(&toy, request("people", edit)).await;
        assert_eq!((heard.len(), heard[0].as_str()), (8, "81 82!"));
        assert_eq!(toy.asked(), "people");
    }
    // Which fields of an object are calculated is unknown if the user cannot see it.
    let (heard, _) = batches(&toy, request("deals", |one| one.calculated_due = true)).await;
    assert_eq!(
        (heard, toy.asked()),
        (vec!["deals given up".to_owned()], "deals".to_owned())
    );
}

#[tokio::test]
async fn records_are_asked_for_by_id_in_parts() {
    let (toy, _) = toy();
    let mut ids: Vec<String> = (1000..1240).map(|id| id.to_string()).collect();
    ids.extend(["8", "12"].map(str::to_owned));
    let request = ReadRequest {
        selection: vec![selection("companies", &["name"])],
        mode: ReadMode::Records.into(),
        records: vec![crate::proto::RecordIds {
            object: "companies".to_owned(),
            external_ids: ids,
        }],
        ..ReadRequest::default()
    };
    let (heard, _) = batches(&toy, request).await;
    // Pages without records are not sent.
    assert_eq!(heard, ["8 12"]);
    assert!(toy.asked().starts_with("100 ids, 100 ids, 42 ids"));
}

#[tokio::test]
async fn what_is_offered_is_listed_and_counted() {
    let (toy, _) = toy();
    let described = Connector::describe(&toy).objects;
    assert_eq!(
        described.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(),
        ["people", "companies", "deals"]
    );
    let list = |objects: &[&str]| ListFieldsRequest {
        connection: Some(connection("t")),
        objects: objects.iter().map(|key| (*key).to_owned()).collect(),
    };
    let listed = toy.list_fields(CallContext::default(), list(&[])).await.unwrap();
    let visible = |object: &ObjectFields| (object.object.clone(), object.visible, object.fields.len());
    assert_eq!(
        listed.objects.iter().map(visible).collect::<Vec<_>>(),
        [
            ("people".to_owned(), true, 1),
            ("companies".to_owned(), true, 1),
            ("deals".to_owned(), false, 0)
        ]
    );
    let count = CountRecordsRequest {
        connection: Some(connection("t")),
        objects: vec!["deals".to_owned(), "companies".to_owned(), "unicorns".to_owned()],
    };
    let counted = toy.count_records(CallContext::default(), count).await.unwrap();
    assert_eq!(counted.counts.len(), 1);
    assert_eq!((counted.counts[0].count, counted.counts[0].exact), (5, true));
}
