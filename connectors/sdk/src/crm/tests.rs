//! A CRM in memory: companies 8 to 12 with their people, two records per page.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::http::{HttpClient, ReadSet};
use crate::proto::{
    Covers, Credentials, ErrorKind, Field, FieldType, HttpPolicy, ObjectRole, ObjectSelection, Parent,
    ReadMode, SelectedField, stream_event::Event,
};
use crate::session::Api;

const OBJECTS: [PlainObject; 3] = [
    PlainObject {
        key: "people",
        label: "People",
        role: ObjectRole::Contact,
    },
    PlainObject {
        key: "companies",
        label: "Companies",
        role: ObjectRole::Company,
    },
    PlainObject {
        key: "deals",
        label: "Deals",
        role: ObjectRole::Deal,
    },
];

struct Toy {
    host: Host,
    http: HttpClient,
    data: Mutex<Data>,
}

struct Data {
    fields: Vec<&'static str>,
    /// Objects whose fields, or whose lists, were asked for; in order.
    asked: Vec<String>,
    deleted: Vec<u32>,
    /// Cursors that the CRM has forgotten.
    lost: Vec<&'static str>,
    /// What changed since any time.
    changed: Vec<u32>,
    /// Fields that the CRM does not know are refused.
    refuses: bool,
}

impl Toy {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap()
    }

    fn ids(&self, object: &PlainObject) -> Vec<u32> {
        match object.key {
            "companies" => (8..=12).collect(),
            // The people of a company have its number in front.
            _ => (8..=12)
                .flat_map(|company| (1..=3).map(move |n| company * 10 + n))
                .collect(),
        }
    }

    fn record(&self, rows: &mut Rows<PlainObject>, id: u32) -> Record {
        let company = rows.object.is_company();
        let parents = match company {
            true => Vec::new(),
            false => vec![Parent {
                object: "companies".to_owned(),
                external_id: (id / 10).to_string(),
            }],
        };
        Record {
            external_id: id.to_string(),
            payload: rows.payload_with(|payload, place, field| payload.text(place, &field.key)),
            deleted: self.data().deleted.contains(&id),
            parents,
            ..Record::default()
        }
    }

    /// An error if a field is refused, or a cursor forgotten.
    fn check(&self, rows: &Rows<PlainObject>, cursor: &str) -> Result<(), Error> {
        let mut data = self.data();
        if let Some(lost) = data.lost.iter().position(|lost| *lost == cursor) {
            data.lost.remove(lost);
            return Err(Error::cursor_gone("the cursor is not known"));
        }
        let mut keys = rows.fields().iter().map(|field| field.key.as_str());
        match data.refuses && keys.any(|key| !data.fields.contains(&key)) {
            true => Err(Error::new(ErrorKind::FieldGone, "a field is not known")),
            false => Ok(()),
        }
    }

    fn listed(&self, rows: &mut Rows<PlainObject>, ids: &[u32], cursor: &str) -> Listed {
        let start = cursor.strip_prefix("at-").map_or(0, |at| at.parse().unwrap());
        let page = ids.iter().skip(start).take(2);
        Listed {
            records: page.map(|id| self.record(rows, *id)).collect(),
            next: (start + 2 < ids.len()).then(|| format!("at-{}", start + 2)),
            ..Listed::default()
        }
    }
}

impl Api for Toy {
    const CRM: &'static str = "Toy";

    fn host(&self) -> &Host {
        &self.host
    }

    fn http(&self) -> &HttpClient {
        &self.http
    }
}

impl Login for Toy {
    async fn log_in(self: &Arc<Self>, _: &CallContext, _: &LogInRequest) -> Result<LoggedIn, Error> {
        Ok(LoggedIn {
            identity: connection("t").identity,
            ..LoggedIn::default()
        })
    }
}

impl Objects for Toy {
    type Object = PlainObject;
    type Fields = Vec<Field>;

    fn objects() -> &'static [PlainObject] {
        &OBJECTS
    }

    async fn fields(
        session: &Session<Self>,
        object: &'static PlainObject,
    ) -> Result<Option<Vec<Field>>, Error> {
        let mut data = session.api().data();
        data.asked.push(object.key.to_owned());
        let field = |key: &&str| Field {
            key: (*key).to_owned(),
            r#type: FieldType::Text.into(),
            ..Field::default()
        };
        Ok((object.key != "deals").then(|| data.fields.iter().map(field).collect()))
    }

    async fn count(session: &Session<Self>, object: &'static PlainObject) -> Result<Option<Count>, Error> {
        let number = session.api().ids(object).len() as u64;
        Ok((object.key != "deals").then_some(Count { number, exact: true }))
    }
}

impl Crm for Toy {
    const ORDER: Order = Order::Numbers;
    const CHANGES: bool = true;

    fn in_full(object: &'static PlainObject) -> bool {
        object.key == "people"
    }

    fn open(host: Host, _: OpenRequest) -> Result<Self, Error> {
        let http = host.http(ReadSet::new())?;
        let data = Mutex::new(Data {
            fields: vec!["name"],
            asked: Vec::new(),
            deleted: Vec::new(),
            lost: Vec::new(),
            changed: Vec::new(),
            refuses: false,
        });
        Ok(Self { host, http, data })
    }

    fn describe() -> DescribeResponse {
        DescribeResponse::default()
    }

    async fn page(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        cursor: &str,
    ) -> Result<Listed, Error> {
        session.api().check(rows, cursor)?;
        let ids = session.api().ids(rows.object);
        Ok(session.api().listed(rows, &ids, cursor))
    }

    async fn changed(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        since_us: i64,
        cursor: &str,
    ) -> Result<Listed, Error> {
        let mut data = session.api().data();
        data.asked.push(format!("since {since_us}{cursor}"));
        let ids = data.changed.clone();
        drop(data);
        session.api().check(rows, &format!("since {cursor}"))?;
        Ok(session.api().listed(rows, &ids, cursor))
    }

    async fn named(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        ids: &[String],
    ) -> Result<Listed, Error> {
        session.api().data().asked.push(format!("{} ids", ids.len()));
        let all = session.api().ids(rows.object);
        let there = all.into_iter().filter(|id| ids.contains(&id.to_string()));
        let records = there.map(|id| session.api().record(rows, id)).collect();
        Ok(Listed {
            records,
            next: Some("ignored".to_owned()),
            ..Listed::default()
        })
    }

    async fn one(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        id: &str,
    ) -> Result<(Option<Record>, i64), Error> {
        session.api().check(rows, "one")?;
        let id: u32 = id.parse().unwrap();
        let there = session.api().ids(rows.object).contains(&id);
        let record = there.then(|| session.api().record(rows, id));
        Ok((record, i64::from(id)))
    }

    async fn related(
        session: &Session<Self>,
        rows: &mut Rows<PlainObject>,
        company: &str,
        cursor: &str,
    ) -> Result<Listed, Error> {
        session
            .api()
            .data()
            .asked
            .push(format!("{} of {company}", rows.object.key));
        let of = |id: &u32| (id / 10).to_string() == company;
        let ids: Vec<u32> = session.api().ids(rows.object).into_iter().filter(of).collect();
        Ok(session.api().listed(rows, &ids, cursor))
    }
}

fn connection(token: &str) -> Connection {
    Connection {
        identity: Some(Identity {
            organization_id: "org".to_owned(),
            user_id: "ann".to_owned(),
            ..Identity::default()
        }),
        credentials: Some(Credentials {
            access_token: token.to_owned(),
            ..Credentials::default()
        }),
        ..Connection::default()
    }
}

fn selection(object: &str, fields: &[&str]) -> ObjectSelection {
    let mut text = SelectedField::default();
    text.set_type(FieldType::Text);
    let field = |key: &&str| SelectedField {
        key: (*key).to_owned(),
        ..text.clone()
    };
    ObjectSelection {
        object: object.to_owned(),
        fields: fields.iter().map(field).collect(),
        ..ObjectSelection::default()
    }
}

/// A connector, and its clock.
fn toy() -> (CrmConnector<Toy>, Arc<AtomicI64>) {
    let clock = Arc::new(AtomicI64::new(1_000_000_000));
    let host = {
        let clock = Arc::clone(&clock);
        Host::new(move || clock.load(Relaxed), HttpPolicy::default())
    };
    (Connector::open(host, OpenRequest::default()).unwrap(), clock)
}

impl CrmConnector<Toy> {
    async fn fetch(
        &self,
        token: &str,
        ids: &[&str],
        selection: Vec<ObjectSelection>,
        related_limit: u32,
    ) -> FetchCompanyResponse {
        let request = FetchCompanyRequest {
            connection: Some(connection(token)),
            external_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            selection,
            related_limit,
        };
        self.fetch_company(CallContext::default(), request).await.unwrap()
    }

    /// What was asked for since the last time.
    fn asked(&self) -> String {
        std::mem::take(&mut self.crm.data().asked).join(", ")
    }
}

fn ids(records: &[Record]) -> String {
    let id = |record: &Record| match record.deleted {
        true => format!("-{}", record.external_id),
        false => record.external_id.clone(),
    };
    records.iter().map(id).collect::<Vec<_>>().join(" ")
}

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
