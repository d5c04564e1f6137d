//! A CRM of three objects in memory, with two rows per page, that fails on request.

mod changes;
mod jobs;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::*;
use crate::proto::{
    Checkpoint, Covers, Credentials, ErrorKind, Field, FieldType, ObjectSelection, Record, SelectedField,
    stream_event::Event,
};
use crate::stream::EventReader;

/// The error of each load, in order; None succeeds.
type Faults = Arc<Mutex<VecDeque<Option<Error>>>>;

struct Toy<const AHEAD: bool> {
    faults: Faults,
    token: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct At {
    last: usize,
}

const ROWS: usize = 5;
/// The host's time.
const NOW_US: i64 = 1_800_000_000_000_000;

impl<const AHEAD: bool> Source for Toy<AHEAD> {
    const CRM: &'static str = "Toy";
    const AHEAD: bool = AHEAD;
    type Object = &'static str;
    type Plan = ();
    type Place = At;
    type Loaded = Vec<usize>;

    fn object(key: &str) -> Result<&'static str, Error> {
        let found = ["a", "b", "hidden"].into_iter().find(|object| *object == key);
        found.ok_or_else(|| Error::invalid_input("there is no such object"))
    }

    fn key(object: &'static str) -> &'static str {
        object
    }

    fn is_place(at: &At) -> bool {
        at.last <= ROWS
    }

    async fn look(&mut self, wanted: &Wanted<&'static str>, _: &Pass) -> Result<Looked<()>, Error> {
        if wanted.object == "hidden" {
            return Ok(Looked::Hidden(Error::object_gone("it is hidden")));
        }
        let (_, changes) = compare(&wanted.fields, |_| Known::Gone);
        Ok(Looked::Seen {
            plan: (),
            changes,
            expected: Some(ROWS as u64),
        })
    }

    async fn load(&self, (): &(), at: &At) -> Result<Vec<usize>, Error> {
        let fault = self.faults.lock().unwrap().pop_front().flatten();
        match fault {
            // It is repeated until the token changes.
            Some(error) if error.is(ErrorKind::CredentialsExpired) && self.token != "old" => {
                Err(error.code("refused with the new one"))
            }
            Some(error) => Err(error),
            None => Ok((at.last + 1..=ROWS).take(2).collect()),
        }
    }

    async fn page(&mut self, (): &mut (), at: &At, loaded: Vec<usize>) -> Result<Page<At>, Error> {
        let last = loaded.last().copied().unwrap_or(at.last);
        let record = |row: &usize| Record {
            external_id: row.to_string(),
            ..Record::default()
        };
        Ok(Page {
            records: loaded.iter().map(record).collect(),
            covers: Some(Covers {
                after: at.last.to_string(),
                through: last.to_string(),
            }),
            covers_numbers: None,
            read_time_us: 0,
            expected: None,
            next: (last < ROWS).then_some(At { last }),
            lacking: None,
            unlisted: false,
        })
    }

    async fn recover(&mut self, error: Error, (): &mut (), at: &mut At) -> Result<Recovery, Error> {
        match error.what() {
            ErrorKind::CursorGone => {
                *at = At::default();
                Ok(Recovery::Again(vec![
                    Change::Missing("x".to_owned()),
                    Change::Missing("x".to_owned()),
                ]))
            }
            ErrorKind::Forbidden => Ok(Recovery::GiveUp(error)),
            _ => Err(error),
        }
    }

    fn renew(&mut self, access_token: String, _base_url: &str) {
        self.token = access_token;
    }

    fn refused_again(&self, error: Error) -> Error {
        Error::admin_action("refused again").code(error.code)
    }
}

fn request(objects: &[&str], checkpoint: &[u8]) -> ReadRequest {
    let selection = objects.iter().map(|object| ObjectSelection {
        object: (*object).to_owned(),
        fields: Vec::new(),
        ..ObjectSelection::default()
    });
    ReadRequest {
        selection: selection.collect(),
        checkpoint: checkpoint.to_vec(),
        mode: ReadMode::Full.into(),
        ..ReadRequest::default()
    }
}

/// The events that a host receives, each in a few characters, and the end of the read; every request for credentials
/// is answered.
async fn heard<const AHEAD: bool>(
    request: ReadRequest,
    faults: Vec<Option<Error>>,
) -> (Vec<String>, Result<(), Error>) {
    let (out, events) = ReadStream::channel();
    let source = Toy::<AHEAD> {
        faults: Arc::new(Mutex::new(faults.into())),
        token: "old".to_owned(),
    };
    let call = CallContext::new(None);
    let reading = read(&call, request, out, NOW_US, |_| Ok(source));
    tokio::join!(listen(events), reading)
}

async fn listen(events: EventReader) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(event) = events.next(0).await {
        heard.push(match event.event {
            Some(Event::Batch(batch)) => {
                let ids: Vec<_> = batch.records.iter().map(|r| r.external_id.as_str()).collect();
                format!("{}:{}", batch.object, ids.join(","))
            }
            Some(Event::Checkpoint(Checkpoint { state, .. })) => String::from_utf8_lossy(&state).into_owned(),
            Some(Event::FieldChange(change)) => format!("missing {}", change.field),
            Some(Event::ObjectStatus(status)) => match status.error {
                None => format!("{} done", status.object),
                Some(error) => format!("{} given up: {} {}", status.object, error.object, error.message),
            },
            Some(Event::Progress(progress)) => format!("{} has {}", progress.object, progress.expected),
            Some(Event::CredentialsNeeded(_)) => {
                let credentials = Credentials {
                    access_token: "new".to_owned(),
                    ..Credentials::default()
                };
                assert!(events.provide(Ok((credentials, String::new()))));
                "credentials".to_owned()
            }
            Some(Event::ApiUsage(_)) => continue,
            other => format!("{other:?}"),
        });
    }
    heard
}

/// A checkpoint; `last` is 0 before the object has begun.
fn state(object: &str, last: usize) -> String {
    let full = Wanted {
        object: (),
        fields: Vec::new(),
        since_us: None,
        unread: Vec::new(),
        calculated_due: false,
        sweep_due: false,
        ids: Vec::new(),
    };
    let passes = match last {
        0 => 0,
        _ => pass::digest(&[(Pass::Full, full)]),
    };
    format!(
        r#"{{"v":2,"object":"{object}","passes":{passes},"pass":0,"next_us":0,"since":{{}},"last":{last}}}"#
    )
}

#[tokio::test]
async fn objects_come_in_turn_and_a_hidden_one_is_told() {
    let right = [
        "a has 5".to_owned(),
        "a:1,2".to_owned(),
        state("a", 2),
        "a:3,4".to_owned(),
        state("a", 4),
        "a:5".to_owned(),
        "a done".to_owned(),
        state("hidden", 0),
        "hidden given up: hidden it is hidden".to_owned(),
        state("", 0),
    ];
    let (plain, end) = heard::<false>(request(&["a", "hidden", "a"], b""), vec![]).await;
    assert_eq!((plain.as_slice(), end), (&right[..], Ok(())));
    let (ahead, end) = heard::<true>(request(&["a", "hidden"], b""), vec![]).await;
    assert_eq!((ahead.as_slice(), end), (&right[..], Ok(())));
}

#[tokio::test]
async fn a_read_goes_on_from_a_checkpoint_that_fits() {
    for (checkpoint, first) in [
        (state("a", 4), Some("a:5")),
        (state("b", 2), Some("b:3,4")),
        (state("", 0), None),
        // They do not fit: another version, object or place, or no checkpoint at all.
        (state("a", 4).replace("\"v\":2", "\"v\":3"), Some("a:1,2")),
        (r#"{"v":1,"object":"a","last":4}"#.to_owned(), Some("a:1,2")),
        (state("hidden", 0), Some("a:1,2")),
        (state("a", 99), Some("a:1,2")),
        ("no".to_owned(), Some("a:1,2")),
    ] {
        let (heard, end) = heard::<false>(request(&["a", "b"], checkpoint.as_bytes()), vec![]).await;
        assert_eq!(end, Ok(()));
        let batch = heard
            .iter()
            .find(|event| event.contains(":") && !event.contains("{"));
        assert_eq!(batch.map(String::as_str), first, "{checkpoint}");
    }
}

#[tokio::test]
async fn credentials_are_renewed_once_for_a_request() {
    let expired = || Some(Error::credentials_expired("expired"));
    let (told, end) = heard::<false>(request(&["a"], b""), vec![None, expired(), None, expired()]).await;
    assert_eq!(end.map_err(|error| error.what()), Ok(()));
    assert_eq!(told.iter().filter(|event| *event == "credentials").count(), 2);
    assert!(told.contains(&"a:5".to_owned()));
    // Refused with the new ones too.
    for (told, end) in [
        heard::<false>(request(&["a"], b""), vec![None, expired(), expired()]).await,
        heard::<true>(request(&["a"], b""), vec![None, expired(), expired()]).await,
    ] {
        let error = end.unwrap_err();
        assert_eq!(
            (error.what(), error.code.as_str()),
            (ErrorKind::AdminAction, "refused with the new one")
        );
        assert_eq!(told.last().map(String::as_str), Some("credentials"));
    }
}

#[tokio::test]
async fn an_error_is_recovered_from_given_up_at_or_the_end() {
    let (told, end) = heard::<true>(request(&["a"], b""), vec![None, Some(Error::cursor_gone("lost"))]).await;
    assert_eq!(end, Ok(()));
    assert_eq!(told.iter().filter(|event| *event == "missing x").count(), 1);
    assert_eq!(told.iter().filter(|event| *event == "a:1,2").count(), 2);

    let (told, end) = heard::<false>(
        request(&["a", "b"], b""),
        vec![None, Some(Error::forbidden("no"))],
    )
    .await;
    assert_eq!(end, Ok(()));
    assert!(told.contains(&"a given up: a no".to_owned()) && told.contains(&"b done".to_owned()));

    let (_, end) = heard::<false>(request(&["a"], b""), vec![Some(Error::transient("down"))]).await;
    let error = end.unwrap_err();
    assert_eq!((error.what(), error.object.as_str()), (ErrorKind::Transient, "a"));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_before_anything_is_asked() {
    let unknown = heard::<false>(request(&["quotes"], b""), vec![]).await;
    assert_eq!(unknown.1.unwrap_err().what(), ErrorKind::InvalidInput);
    let other = ReadRequest {
        mode: ReadMode::Unspecified.into(),
        ..request(&["a"], b"")
    };
    let error = heard::<false>(other, vec![]).await.1.unwrap_err();
    assert_eq!(error.what(), ErrorKind::Unsupported);
    assert_eq!(error.message, "Toy is read in full only");
}

#[test]
fn a_selection_is_compared_with_what_is_known() {
    let selected = |key: &str, kind: FieldType| SelectedField {
        key: key.to_owned(),
        r#type: kind.into(),
        ..SelectedField::default()
    };
    let size = Field {
        key: "size".to_owned(),
        r#type: FieldType::Decimal.into(),
        calculated: true,
        ..Field::default()
    };
    let selection = [
        selected("unknown", FieldType::Text),
        selected("size", FieldType::Text),
        selected("gone", FieldType::Text),
        selected("unknown", FieldType::Text),
    ];
    let (kept, changes) = compare(&selection, |key| match key {
        "size" => Known::Field(&size),
        "gone" => Known::Gone,
        _ => Known::Unknown,
    });
    let of = |key: &str, field_type, calculated| Selected {
        key: key.to_owned(),
        field_type,
        calculated,
        currency: None,
    };
    assert_eq!(
        kept,
        [
            of("size", FieldType::Decimal, true),
            of("unknown", FieldType::Text, false)
        ]
    );
    assert_eq!(
        changes,
        [
            Change::Type("size".to_owned(), FieldType::Decimal),
            Change::Missing("gone".to_owned())
        ]
    );
}
