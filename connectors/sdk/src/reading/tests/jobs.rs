//! Places that must be stored before they are loaded, places that are left behind, and ids that are listed apart.

use super::*;

/// Rows 1 to 3, one in a page; the one before the last page begins something in the CRM.
#[derive(Clone, Default)]
struct Jobs {
    loads: Arc<Mutex<Vec<usize>>>,
    abandoned: Arc<Mutex<Vec<(String, usize)>>>,
    unlisted: bool,
}

impl Source for Jobs {
    const CRM: &'static str = "Jobs";
    const AHEAD: bool = true;
    const CHANGES: bool = true;
    type Object = &'static str;
    type Plan = Pass;
    type Place = At;
    type Loaded = usize;

    fn object(key: &str) -> Result<&'static str, Error> {
        let found = ["a", "b"].into_iter().find(|object| *object == key);
        found.ok_or_else(|| Error::invalid_input("there is no such object"))
    }

    fn key(object: &'static str) -> &'static str {
        object
    }

    fn must_be_stored(at: &At) -> bool {
        at.last == 2
    }

    async fn abandon(&mut self, object: &'static str, at: &At) -> Result<(), Error> {
        self.abandoned.lock().unwrap().push((object.to_owned(), at.last));
        Err(Error::transient("it is logged"))
    }

    async fn look(&mut self, _: &Wanted<&'static str>, pass: &Pass) -> Result<Looked<Pass>, Error> {
        Ok(Looked::Seen {
            plan: pass.clone(),
            changes: Vec::new(),
            expected: None,
        })
    }

    async fn load(&self, _: &Pass, at: &At) -> Result<usize, Error> {
        self.loads.lock().unwrap().push(at.last);
        Ok(at.last + 1)
    }

    async fn page(&mut self, pass: &mut Pass, _: &At, last: usize) -> Result<Page<At>, Error> {
        let listed = *pass == Pass::Fields;
        Ok(Page {
            records: vec![Record {
                external_id: last.to_string(),
                ..Record::default()
            }],
            covers: listed.then(Covers::default),
            covers_numbers: None,
            read_time_us: 0,
            expected: None,
            next: (last < 3).then_some(At { last }),
            lacking: None,
            unlisted: self.unlisted && !listed,
        })
    }

    fn renew(&mut self, _: String, _: &str) {}
}

fn reading(
    source: &Jobs,
    request: ReadRequest,
) -> (EventReader, impl Future<Output = Result<(), Error>> + use<>) {
    let (out, events) = ReadStream::channel();
    let source = source.clone();
    let read = async move {
        let call = CallContext::new(None);
        read(&call, request, out, NOW_US, |_| Ok(source)).await
    };
    (events, read)
}

/// The batches of a read, each as `object:ids`, with `!` where it is partial and lists a range; and its checkpoints.
async fn all(source: &Jobs, request: ReadRequest) -> (Vec<String>, Vec<Vec<u8>>) {
    let (events, read) = reading(source, request);
    let hear = async {
        let (mut batches, mut checkpoints, mut stored) = (Vec::new(), Vec::new(), 0);
        while let Some(event) = events.next(stored).await {
            match event.event {
                Some(Event::Batch(batch)) => {
                    let ids: Vec<_> = batch.records.iter().map(|one| one.external_id.as_str()).collect();
                    let partial = batch.partial.is_some_and(|partial| partial.fields.is_empty());
                    assert_eq!(partial, batch.covers.is_some());
                    let mark = if partial { "!" } else { "" };
                    batches.push(format!("{}:{}{mark}", batch.object, ids.join(",")));
                }
                Some(Event::Checkpoint(checkpoint)) => {
                    stored = checkpoint.sequence;
                    checkpoints.push(checkpoint.state.to_vec());
                }
                _ => {}
            }
        }
        (batches, checkpoints)
    };
    let (heard, end) = tokio::join!(hear, read);
    assert_eq!(end, Ok(()));
    heard
}

#[tokio::test]
async fn a_place_is_loaded_after_it_was_stored() {
    let source = Jobs::default();
    let (events, read) = reading(&source, request(&["a"], b""));
    let read = tokio::spawn(read);
    let mut last = 0;
    while last < 2 {
        if let Some(Event::Checkpoint(one)) = events.next(0).await.unwrap().event {
            last = one.sequence;
        }
    }
    // After an event that makes the host pull again, nothing comes, and nothing is loaded, before the host says that it has the
    // second checkpoint.
    let event = events.next(1).await.unwrap().event;
    assert!(matches!(event, Some(Event::ApiUsage(_))), "{event:?}");
    let patience = async {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        event = events.next(1) => panic!("{event:?}"),
        () = patience => {}
    }
    assert_eq!(*source.loads.lock().unwrap(), [0, 1]);
    let mut stored = last;
    while let Some(event) = events.next(stored).await {
        if let Some(Event::Checkpoint(one)) = event.event {
            stored = one.sequence;
        }
    }
    assert_eq!(read.await.unwrap(), Ok(()));
    assert_eq!(*source.loads.lock().unwrap(), [0, 1, 2]);

    // The host closes the stream instead.
    let (events, read) = reading(&source, request(&["a"], b""));
    let read = tokio::spawn(read);
    while source.loads.lock().unwrap().len() < 5 {
        events.next(0).await.unwrap();
    }
    drop(events);
    assert_eq!(read.await.unwrap().unwrap_err().what(), ErrorKind::Cancelled);
    assert_eq!(source.loads.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_read_that_ends_after_each_checkpoint_gets_on() {
    let source = Jobs::default();
    let (_, right) = all(&source, request(&["a", "b"], b"")).await;
    let mut checkpoints: Vec<Vec<u8>> = Vec::new();
    // Each attempt ends when its first checkpoint is stored; the last one has none left to send.
    for _ in 0..=right.len() {
        let from = checkpoints.last().cloned().unwrap_or_default();
        let (events, read) = reading(&source, request(&["a", "b"], &from));
        let read = tokio::spawn(read);
        let first = loop {
            match events.next(0).await.map(|event| event.event) {
                Some(Some(Event::Checkpoint(one))) => break Some(one),
                Some(_) => {}
                None => break None,
            }
        };
        drop(events);
        let _ = read.await.unwrap();
        checkpoints.extend(first.map(|one| one.state.to_vec()));
    }
    assert_eq!(checkpoints, right);
}

#[tokio::test]
async fn ids_are_listed_apart_where_ranges_could_not_be() {
    let source = Jobs {
        unlisted: true,
        ..Jobs::default()
    };
    let right = [
        "a:1", "a:2", "a:3", "a:1!", "a:2!", "a:3!", "b:1", "b:2", "b:3", "b:1!", "b:2!", "b:3!",
    ];
    let (batches, checkpoints) = all(&source, request(&["a", "b"], b"")).await;
    assert_eq!(batches, right);
    // Also after each checkpoint.
    for checkpoint in &checkpoints {
        let (rest, _) = all(&source, request(&["a", "b"], checkpoint)).await;
        assert_eq!(
            rest,
            right[right.len() - rest.len()..],
            "{}",
            String::from_utf8_lossy(checkpoint)
        );
    }
    // Changes list no ids, unless that is due.
    let state = checkpoints.last().unwrap();
    let mut next = request(&["a"], b"");
    next.mode = ReadMode::Changes.into();
    let mut known: serde_json::Value = serde_json::from_slice(state).unwrap();
    known["since"] = serde_json::json!({"a": NOW_US});
    next.state = known.to_string().into_bytes();
    assert_eq!(all(&source, next.clone()).await.0, ["a:1", "a:2", "a:3"]);
    next.selection[0].sweep_due = true;
    assert_eq!(
        all(&source, next).await.0,
        ["a:1", "a:2", "a:3", "a:1!", "a:2!", "a:3!"]
    );
}

#[tokio::test]
async fn what_was_begun_for_another_place_is_ended() {
    let source = Jobs::default();
    let (_, checkpoints) = all(&source, request(&["a"], b"")).await;
    let middle = &checkpoints[1];
    let taken = || std::mem::take(&mut *source.abandoned.lock().unwrap());
    assert_eq!(taken(), []);
    let left = [("a".to_owned(), 2)];
    // Another object; another selection; the state of the read before.
    all(&source, request(&["b"], middle)).await;
    assert_eq!(taken(), left);
    let mut other = request(&["a"], middle);
    other.selection[0].fields.push(SelectedField {
        key: "x".to_owned(),
        ..SelectedField::default()
    });
    all(&source, other).await;
    assert_eq!(taken(), left);
    let mut next = request(&["a"], b"");
    next.mode = ReadMode::Changes.into();
    next.state.clone_from(middle);
    all(&source, next.clone()).await;
    assert_eq!(taken(), left);
    // It has been done by the first attempt; and there is nothing at the beginning of an object.
    next.checkpoint.clone_from(&checkpoints[0]);
    all(&source, next.clone()).await;
    next.checkpoint.clear();
    next.state = state("a", 0).into_bytes();
    all(&source, next).await;
    assert_eq!(taken(), []);
}
