//! Both ends of a stream: the connector sends events, the host's pulls receive them.
//!
//! Events are encoded when they are created, so that the size of the queue is known and bounded.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::proto::{
    ApiUsage, Checkpoint, Credentials, CredentialsNeeded, End, Error, FieldChange, ObjectStatus, Progress,
    RecordBatch, StreamEvent, stream_event::Event,
};

/// The largest number of queued events.
const MAX_WAITING_EVENTS: usize = 4;
/// The largest number of queued bytes, encoded. A larger event is queued alone.
const MAX_WAITING_BYTES: u32 = 8 * 1024 * 1024;
/// The contract's limit for a checkpoint.
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// The output of a read.
///
/// Each method waits while the host is slower, and fails with CANCELLED once the host has closed the stream; return
/// that error.
#[derive(Debug)]
pub struct ReadStream {
    shared: Arc<Shared>,
    events: mpsc::Sender<Waiting>,
    sequence: u64,
}

#[derive(Debug)]
struct Shared {
    room: Arc<Semaphore>,
    acknowledged: watch::Sender<u64>,
    answer: parking::Slot<Result<(Credentials, String), Error>>,
}

impl Shared {
    fn acknowledge(&self, sequence: u64) {
        self.acknowledged.send_if_modified(|stored| {
            let is_news = sequence > *stored;
            *stored = sequence.max(*stored);
            is_news
        });
    }
}

/// A slot in which one side waits for one value from the other.
mod parking {
    use std::sync::{Mutex, PoisonError};

    use tokio::sync::oneshot;

    #[derive(Debug)]
    pub(super) struct Slot<T>(Mutex<Option<oneshot::Sender<T>>>);

    impl<T> Slot<T> {
        pub(super) const fn new() -> Self {
            Self(Mutex::new(None))
        }

        pub(super) fn put(&self, sender: oneshot::Sender<T>) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }

        pub(super) fn take(&self) -> Option<oneshot::Sender<T>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
        }
    }
}

#[derive(Debug)]
struct Waiting {
    encoded: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl ReadStream {
    /// A stream and its reader.
    #[must_use]
    pub fn channel() -> (Self, EventReader) {
        let shared = Arc::new(Shared {
            room: Arc::new(Semaphore::new(MAX_WAITING_BYTES as usize)),
            acknowledged: watch::Sender::new(0),
            answer: parking::Slot::new(),
        });
        let (events, waiting) = mpsc::channel(MAX_WAITING_EVENTS);
        let reader = EventReader {
            shared: Arc::clone(&shared),
            waiting: Mutex::new(waiting),
        };
        (
            Self {
                shared,
                events,
                sequence: 0,
            },
            reader,
        )
    }

    /// Sends rows. A few thousand, or about a megabyte, per batch are best.
    pub async fn batch(&mut self, batch: RecordBatch) -> Result<(), Error> {
        self.put(Event::Batch(batch)).await
    }

    /// Sends a checkpoint. The host stores all rows before it together with `state`; a stream that receives `state`
    /// as its checkpoint resumes here. Returns the sequence number.
    pub async fn checkpoint(&mut self, state: impl Into<Bytes> + Send) -> Result<u64, Error> {
        let state = state.into();
        if state.len() > MAX_CHECKPOINT_BYTES {
            return Err(Error::bug(format!(
                "a checkpoint of {} bytes: 64 KiB are allowed",
                state.len()
            )));
        }
        self.sequence += 1;
        let sequence = self.sequence;
        self.put(Event::Checkpoint(Checkpoint { sequence, state }))
            .await?;
        Ok(sequence)
    }

    /// Reports that a selected field is missing or has a new type.
    pub async fn field_change(&mut self, change: FieldChange) -> Result<(), Error> {
        self.put(Event::FieldChange(change)).await
    }

    /// Reports that an object cannot be read, or is complete.
    pub async fn object_status(&mut self, status: ObjectStatus) -> Result<(), Error> {
        self.put(Event::ObjectStatus(status)).await
    }

    /// Reports the expected number of rows.
    pub async fn progress(&mut self, progress: Progress) -> Result<(), Error> {
        self.put(Event::Progress(progress)).await
    }

    /// Reports the API usage so far: `call.usage()`.
    pub async fn api_usage(&mut self, usage: ApiUsage) -> Result<(), Error> {
        self.put(Event::ApiUsage(usage)).await
    }

    /// Reports that the access token is no longer accepted, and waits for new credentials. Returns the credentials
    /// and the base URL to use; an error ends the stream, return it.
    pub async fn credentials_needed(&mut self, why: Error) -> Result<(Credentials, String), Error> {
        let (sender, answer) = oneshot::channel();
        self.shared.answer.put(sender);
        self.put(Event::CredentialsNeeded(CredentialsNeeded { error: Some(why) }))
            .await?;
        tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| Err(closed())),
            () = self.events.closed() => Err(closed()),
        }
    }

    /// Sequence number of the last checkpoint the host has stored; 0 for none.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        *self.shared.acknowledged.borrow()
    }

    /// Waits until the host has stored the checkpoint with this sequence number. Send an event that is no record after the
    /// checkpoint first, for example [`api_usage`](Self::api_usage): the host pulls while it stores, and only its next pull
    /// acknowledges.
    pub async fn stored(&self, sequence: u64) -> Result<(), Error> {
        let mut acknowledged = self.shared.acknowledged.subscribe();
        tokio::select! {
            stored = acknowledged.wait_for(|stored| *stored >= sequence) => stored.map(|_| ()).map_err(|_| closed()),
            () = self.events.closed() => Err(closed()),
        }
    }

    /// A handle for the last event, for code that outlives the read.
    pub(crate) fn ending(&self) -> StreamEnding {
        StreamEnding {
            room: Arc::clone(&self.shared.room),
            events: self.events.clone(),
        }
    }

    async fn put(&self, event: Event) -> Result<(), Error> {
        put(&self.shared.room, &self.events, event).await
    }
}

/// Sends the last event of a stream.
pub(crate) struct StreamEnding {
    room: Arc<Semaphore>,
    events: mpsc::Sender<Waiting>,
}

impl StreamEnding {
    pub(crate) async fn finish(self, result: Result<(), Error>) {
        let event = match result {
            Ok(()) => Event::End(End {}),
            Err(error) => Event::Error(error),
        };
        // If the host has closed the stream, there is no receiver.
        let _ = put(&self.room, &self.events, event).await;
    }
}

async fn put(room: &Arc<Semaphore>, events: &mpsc::Sender<Waiting>, event: Event) -> Result<(), Error> {
    let encoded = StreamEvent { event: Some(event) }.encode_to_vec();
    let size = u32::try_from(encoded.len())
        .unwrap_or(u32::MAX)
        .clamp(1, MAX_WAITING_BYTES);
    let room = Arc::clone(room)
        .acquire_many_owned(size)
        .await
        .map_err(|_| closed())?;
    events
        .send(Waiting { encoded, _room: room })
        .await
        .map_err(|_| closed())
}

fn closed() -> Error {
    Error::cancelled("the host closed the stream")
}

/// The receiving end of a [`ReadStream`], pulled by the SDK for the host, and by a connector's own tests.
#[derive(Debug)]
pub struct EventReader {
    shared: Arc<Shared>,
    waiting: Mutex<mpsc::Receiver<Waiting>>,
}

impl EventReader {
    /// The next event, or None at the end of the stream. `acknowledged` is the number of the last stored checkpoint.
    pub async fn next(&self, acknowledged: u64) -> Option<StreamEvent> {
        let encoded = self.next_encoded(acknowledged).await?;
        StreamEvent::decode(encoded.as_slice()).ok()
    }

    /// Answers a `credentials_needed`. Returns whether the stream was waiting for it.
    pub fn provide(&self, answer: Result<(Credentials, String), Error>) -> bool {
        self.shared
            .answer
            .take()
            .is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// The next event, encoded. No event is lost if the future is dropped.
    pub(crate) async fn next_encoded(&self, acknowledged: u64) -> Option<Vec<u8>> {
        self.shared.acknowledge(acknowledged);
        let waiting = self.waiting.lock().await.recv().await?;
        Some(waiting.encoded)
    }

    /// Like [`EventReader::next_encoded`], if an event is already queued.
    pub(crate) fn next_encoded_now(&self, acknowledged: u64) -> Option<Vec<u8>> {
        self.shared.acknowledge(acknowledged);
        let waiting = self.waiting.try_lock().ok()?.try_recv().ok()?;
        Some(waiting.encoded)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::Record;

    fn batch(bytes: usize) -> RecordBatch {
        let record = Record {
            payload: vec![b'x'; bytes].into(),
            ..Record::default()
        };
        RecordBatch {
            records: vec![record],
            ..RecordBatch::default()
        }
    }

    /// How many batches a stream accepts while its reader is not pulled.
    async fn put_unpulled(bytes: usize) -> (usize, EventReader) {
        let (mut out, reader) = ReadStream::channel();
        let mut count = 0;
        while tokio::time::timeout(Duration::from_millis(20), out.batch(batch(bytes)))
            .await
            .is_ok()
        {
            count += 1;
        }
        (count, reader)
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_bytes() {
        assert_eq!(put_unpulled(10).await.0, MAX_WAITING_EVENTS);
        assert_eq!(put_unpulled(3 * 1024 * 1024).await.0, 2);
        // An event larger than the limit is queued alone.
        let (count, reader) = put_unpulled(20 * 1024 * 1024).await;
        assert_eq!(count, 1);
        assert!(reader.next(0).await.is_some());
    }

    #[tokio::test]
    async fn a_closed_stream_lets_go_of_its_writer() {
        let (mut out, reader) = ReadStream::channel();
        let writer = tokio::spawn(async move { while out.batch(batch(10)).await.is_ok() {} });
        reader.next(0).await;
        drop(reader);
        writer.await.unwrap();
    }
}
