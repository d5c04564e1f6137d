//! Changes, read from a CRM in memory that tells its time.

use super::*;
use crate::proto::RecordIds;

const SECOND: i64 = 1_000_000;
/// The CRM's time of every reply, an hour before the host's.
const ANSWERED_US: i64 = NOW_US - 3_600 * SECOND;

/// Rows with their times of change, two in a page; and whether the CRM no longer has windows of changes.
struct Log(Vec<(&'static str, i64)>, bool);

impl Source for Log {
    const CRM: &'static str = "Log";
    const CHANGES: bool = true;
    type Object = &'static str;
    type Plan = Pass;
    type Place = At;
    type Loaded = Vec<(&'static str, i64)>;

    fn object(key: &str) -> Result<&'static str, Error> {
        Ok(["a", "b"]
            .into_iter()
            .find(|object| *object == key)
            .unwrap_or("a"))
    }

    fn key(object: &'static str) -> &'static str {
        object
    }

    fn calculated(&self, _: &Wanted<&'static str>) -> Vec<String> {
        vec!["sum".to_owned()]
    }

    async fn look(&mut self, _: &Wanted<&'static str>, pass: &Pass) -> Result<Looked<Pass>, Error> {
        Ok(Looked::Seen {
            plan: pass.clone(),
            changes: Vec::new(),
            expected: None,
        })
    }

    async fn load(&self, pass: &Pass, _: &At) -> Result<Self::Loaded, Error> {
        if self.1 && matches!(pass, Pass::Changes { .. }) {
            return Err(Error::cursor_gone("the window is too old"));
        }
        let has = |(id, changed_us): &(&str, i64)| match pass {
            Pass::Full | Pass::Fields => true,
            Pass::Changes { since_us } => changed_us >= since_us,
            Pass::Records(ids) => ids.iter().any(|one| one == id),
        };
        Ok(self.0.iter().copied().filter(|row| has(row)).collect())
    }

    async fn page(&mut self, _: &mut Pass, at: &At, loaded: Self::Loaded) -> Result<Page<At>, Error> {
        let last = loaded.len().min(at.last + 2);
        let record = |row: &(&str, i64)| Record {
            external_id: row.0.to_owned(),
            modified_us: row.1,
            display_name: "a name".to_owned(),
            ..Record::default()
        };
        Ok(Page {
            records: loaded[at.last..last].iter().map(record).collect(),
            covers: Some(Covers::default()),
            covers_numbers: None,
            // The times of later pages do not count.
            read_time_us: ANSWERED_US + i64::try_from(at.last).unwrap() * SECOND,
            expected: None,
            next: (last < loaded.len()).then_some(At { last }),
            lacking: None,
            unlisted: false,
        })
    }

    fn renew(&mut self, _: String, _: &str) {}
}

/// The batches, each as `object:ids`, with the fields of a partial one and `!` where it lists a range; and the last
/// checkpoint.
async fn read_log(rows: &[(&'static str, i64)], request: ReadRequest) -> (Vec<String>, Vec<u8>) {
    let (heard, mut states) = read_of(Log(rows.to_vec(), false), request).await;
    (heard, states.pop().unwrap_or_default())
}

/// The same, with all checkpoints.
async fn read_of(source: Log, request: ReadRequest) -> (Vec<String>, Vec<Vec<u8>>) {
    let (out, events) = ReadStream::channel();
    let call = CallContext::new(None);
    let reading = read(&call, request, out, NOW_US, |_| Ok(source));
    let hear = async {
        let (mut heard, mut states) = (Vec::new(), Vec::new());
        while let Some(event) = events.next(0).await {
            match event.event {
                Some(Event::Batch(batch)) => {
                    let ids: Vec<_> = batch.records.iter().map(|one| one.external_id.as_str()).collect();
                    let partial = batch
                        .partial
                        .map(|partial| format!(" [{}]", partial.fields.join(",")));
                    // Only records in full have names.
                    let named = batch
                        .records
                        .iter()
                        .all(|one| one.display_name.is_empty() == partial.is_some());
                    assert!(named, "{ids:?}");
                    let range = if batch.covers.is_some() { "!" } else { "" };
                    heard.push(format!(
                        "{}:{}{}{range}",
                        batch.object,
                        ids.join(","),
                        partial.unwrap_or_default()
                    ));
                }
                Some(Event::Checkpoint(checkpoint)) => states.push(checkpoint.state.to_vec()),
                _ => {}
            }
        }
        (heard, states)
    };
    let (heard, end) = tokio::join!(hear, reading);
    assert_eq!(end, Ok(()));
    heard
}

fn changes(state: &[u8], edit: impl FnOnce(&mut ObjectSelection)) -> ReadRequest {
    let field = |key: &str| SelectedField {
        key: key.to_owned(),
        ..SelectedField::default()
    };
    let mut selection = ObjectSelection {
        object: "a".to_owned(),
        fields: vec![field("name"), field("sum")],
        ..ObjectSelection::default()
    };
    edit(&mut selection);
    ReadRequest {
        selection: vec![selection],
        mode: ReadMode::Changes.into(),
        state: state.to_vec(),
        ..ReadRequest::default()
    }
}

#[tokio::test]
async fn the_next_read_begins_where_changes_can_still_appear() {
    let late = ANSWERED_US - Log::LATE_US;
    let mut rows = vec![("1", 0), ("2", late - 1), ("3", late), ("4", ANSWERED_US)];
    let (full, state) = read_log(&rows, changes(b"", |_| {})).await;
    assert_eq!(full, ["a:1,2!", "a:3,4!"]);
    // What is as old as the window's begin is in it, and nothing older.
    let (some, again) = read_log(&rows, changes(&state, |_| {})).await;
    assert_eq!(some, ["a:3,4"]);
    rows.push(("5", late));
    let (some, _) = read_log(&rows, changes(&again, |_| {})).await;
    assert_eq!(some, ["a:3,4", "a:5"]);
}

#[tokio::test]
async fn a_state_that_is_no_use_is_no_state() {
    let rows = [("1", 0)];
    let old_us = NOW_US - Log::KEPT_US;
    let of = |since: &str| format!(r#"{{"v":2,"object":"","since":{since},"last":0}}"#);
    for (state, read) in [
        (of(&format!(r#"{{"a":{}}}"#, old_us + 1)), "a:"),
        (of(&format!(r#"{{"a":{old_us}}}"#)), "a:1!"),
        (of(r#"{"b":1}"#), "a:1!"),
        (r#"{"v":1,"object":"","last":0}"#.to_owned(), "a:1!"),
        (of("[]"), "a:1!"),
        ("no".to_owned(), "a:1!"),
        (String::new(), "a:1!"),
    ] {
        let (heard, _) = read_log(&rows, changes(state.as_bytes(), |_| {})).await;
        assert_eq!(heard, [read], "{state}");
    }
}

#[tokio::test]
async fn what_is_due_is_read_of_all_records() {
    let rows = [("1", 0), ("2", ANSWERED_US)];
    let (_, state) = read_log(&rows, changes(b"", |_| {})).await;
    type Edit = fn(&mut ObjectSelection);
    let cases: [(Edit, &[&str]); 6] = [
        (|_| {}, &["a:2"]),
        (|one| one.calculated_due = true, &["a:2", "a:1,2 [sum]!"]),
        (|one| one.sweep_due = true, &["a:2", "a:1,2 []!"]),
        (
            |one| one.unread = vec!["name".to_owned()],
            &["a:2", "a:1,2 [name]!"],
        ),
        // Nothing of what is stored is of use.
        (
            |one| (one.calculated_due, one.unread) = (true, vec!["name".to_owned()]),
            &["a:1,2!"],
        ),
        (
            |one| one.unread = vec!["name".to_owned(), "sum".to_owned()],
            &["a:1,2!"],
        ),
    ];
    for (edit, read) in cases {
        let (heard, _) = read_log(&rows, changes(&state, edit)).await;
        assert_eq!(heard, read);
    }
}

#[tokio::test]
async fn a_read_in_passes_goes_on_in_the_pass_that_was_interrupted() {
    let rows = [("1", 0), ("2", 0), ("3", 0), ("4", ANSWERED_US)];
    let (_, state) = read_log(&rows, changes(b"", |_| {})).await;
    let sweep = || changes(&state, |one| one.sweep_due = true);
    let (whole, end) = read_log(&rows, sweep()).await;
    assert_eq!(whole, ["a:4", "a:1,2 []!", "a:3,4 []!"]);
    let (out, events) = ReadStream::channel();
    let call = CallContext::new(None);
    let reading = read(&call, sweep(), out, NOW_US, |_| Ok(Log(rows.to_vec(), false)));
    let hear = async {
        let mut states = Vec::new();
        while let Some(event) = events.next(0).await {
            if let Some(Event::Checkpoint(checkpoint)) = event.event {
                states.push(checkpoint.state.to_vec());
            }
        }
        states
    };
    let (states, read) = tokio::join!(hear, reading);
    assert_eq!(read, Ok(()));
    for (checkpoint, left) in states.into_iter().zip([&whole[1..], &whole[2..], &[]]) {
        let request = ReadRequest {
            checkpoint,
            ..sweep()
        };
        let (heard, last) = read_log(&rows, request).await;
        assert_eq!(heard, left);
        assert_eq!(last, if left.is_empty() { Vec::new() } else { end.clone() });
    }
}

#[tokio::test]
async fn an_object_whose_window_is_gone_is_read_in_full_and_its_time_dropped() {
    let rows = [("1", 0), ("2", 0), ("3", 0), ("4", ANSWERED_US)];
    let (_, state) = read_log(&rows, changes(b"", |_| {})).await;
    let due = |state: &[u8]| changes(state, |one| one.sweep_due = true);
    let (full, states) = read_of(Log(rows.to_vec(), true), due(&state)).await;
    assert_eq!(full, ["a:1,2!", "a:3,4!"]);
    // Interrupted, the same read goes on in the full list.
    let request = ReadRequest {
        checkpoint: states[0].clone(),
        ..due(&state)
    };
    let (rest, _) = read_of(Log(rows.to_vec(), true), request).await;
    assert_eq!(rest, ["a:3,4!"]);
    // A later one does not ask for the window again, unless the object was read to its end.
    let (again, _) = read_log(&rows, changes(&states[0], |_| {})).await;
    assert_eq!(again, ["a:1,2!", "a:3,4!"]);
    let (some, _) = read_log(&rows, changes(states.last().unwrap(), |_| {})).await;
    assert_eq!(some, ["a:4"]);
}

#[tokio::test]
async fn records_are_read_by_id_and_claim_nothing() {
    let rows = [("1", 0), ("2", 0), ("3", 0)];
    let of = |object: &str, ids: &[&str]| RecordIds {
        object: object.to_owned(),
        external_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    };
    let request = ReadRequest {
        mode: ReadMode::Records.into(),
        records: vec![of("a", &["9", "3", "1", "3"]), of("b", &["2"])],
        ..changes(b"", |_| {})
    };
    let (heard, last) = read_log(&rows, request).await;
    // `b` is not selected.
    assert_eq!(heard, ["a:1,3"]);
    assert!(last.is_empty());
}
