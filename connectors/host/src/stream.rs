//! A stream of records, on the host side.

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use super::frame::MOST_MESSAGE_BYTES;
use super::proto::{
    self, Credentials, ProvideCredentialsRequest, ReadRequest, StreamEvent, StreamNext, stream_event::Event,
};
use super::texts;
use super::transport::{Answer, Transport};
use super::{Connector, Error};

/// Maximum size of a checkpoint in the contract.
const MOST_CHECKPOINT_BYTES: usize = 64 * 1024;

/// An open stream. Dropping it closes it. After its end, it returns no more events.
///
/// It belongs to the instance that opened it and continues on that instance, even if the connector was reopened
/// since.
#[derive(Debug)]
pub struct RecordStream {
    connector: Connector,
    transport: Transport,
    stream: u64,
    /// The pull of a dropped call of `next`: its event must not be lost.
    pull: Option<Answer>,
    ended: bool,
    /// The sequence number of the last checkpoint.
    sequence: u64,
    /// The requested objects.
    objects: Vec<String>,
}

impl Connector {
    /// Opens a stream. `deadline` is for the whole stream; `None` means no limit.
    pub async fn read(&self, request: ReadRequest, deadline: Option<Instant>) -> Result<RecordStream, Error> {
        let objects = request.selection.iter().map(|one| one.object.clone()).collect();
        let (transport, stream) = self.open_stream(request, deadline).await?;
        Ok(RecordStream::new(self.clone(), transport, stream, objects))
    }
}

impl RecordStream {
    fn new(connector: Connector, transport: Transport, stream: u64, objects: Vec<String>) -> Self {
        Self {
            connector,
            transport,
            stream,
            pull: None,
            ended: false,
            sequence: 0,
            objects,
        }
    }

    /// Returns the next event. `acknowledged` is the sequence number of the last stored checkpoint.
    ///
    /// `Event::End` is the last event of a successful stream; a failed stream ends with an error. The future may be
    /// dropped, for example after a timeout, and the method called again: no event is lost.
    pub async fn next(&mut self, acknowledged: u64) -> Result<Event, Error> {
        if self.ended {
            return Err(self.connector.broken("the stream has ended"));
        }
        let pull = self.pull.get_or_insert_with(|| {
            let request = StreamNext { acknowledged }.encode_to_vec();
            self.transport.stream_next(self.stream, &request)
        });
        let answer = pull.wait().await;
        self.pull = None;
        let event = answer.and_then(|answer| self.read(answer));
        match event {
            Ok(Event::Error(error)) => {
                self.ended = true;
                Err(Error::from_connector(self.connector.name(), error))
            }
            Ok(event) => {
                self.ended = matches!(event, Event::End(_));
                Ok(event)
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }

    fn read(&mut self, answer: Bytes) -> Result<Event, Error> {
        if answer.len() > MOST_MESSAGE_BYTES {
            return Err(self.connector.broken("an event is larger than 64 MiB"));
        }
        let event = texts::decode::<StreamEvent>(answer)
            .ok()
            .and_then(|event| event.event);
        let event =
            event.ok_or_else(|| self.connector.broken("an event is not a message this host knows"))?;
        let named = match &event {
            Event::Batch(one) => Some((&one.object, "it sent rows of an object that was not selected")),
            Event::ObjectStatus(one) => Some((
                &one.object,
                "it sent the state of an object that was not selected",
            )),
            Event::Progress(one) => Some((
                &one.object,
                "it sent the progress of an object that was not selected",
            )),
            _ => None,
        };
        if let Some((object, text)) = named
            && !self.objects.contains(object)
        {
            return Err(self.connector.broken(text));
        }
        if let Event::Checkpoint(checkpoint) = &event {
            if checkpoint.sequence != self.sequence + 1 {
                return Err(self.connector.broken("checkpoints are not numbered 1, 2, 3, …"));
            }
            if checkpoint.state.len() > MOST_CHECKPOINT_BYTES {
                return Err(self.connector.broken("a checkpoint is larger than 64 KiB"));
            }
            self.sequence = checkpoint.sequence;
        }
        Ok(event)
    }

    /// Answers [`Event::CredentialsNeeded`] with the new credentials and base URL, or with the reason why there are
    /// none, which ends the stream.
    pub async fn provide_credentials(
        &mut self,
        credentials: Result<(Credentials, String), proto::Error>,
    ) -> Result<(), Error> {
        let stream = self.stream;
        let request = match credentials {
            Ok((credentials, base_url)) => ProvideCredentialsRequest {
                stream,
                credentials: Some(credentials),
                base_url,
                error: None,
            },
            Err(error) => ProvideCredentialsRequest {
                stream,
                error: Some(error),
                ..Default::default()
            },
        };
        self.connector
            .provide_credentials(&self.transport, request)
            .await
            .map(|_| ())
    }

    /// The connector of the stream.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.connector
    }
}

impl Drop for RecordStream {
    fn drop(&mut self) {
        self.transport.stream_close(self.stream);
    }
}
