//! A stream of the library under check, pulled one event at a time.

use std::time::Duration;

use prost::Message as _;
use tether_connector_host::proto::{
    self, Connection, Credentials, ObjectSelection, ProvideCredentialsRequest, ReadMode, ReadRequest,
    StreamEvent, StreamNext, stream_event::Event,
};
use tether_connector_host::raw;
use tokio::time::timeout;

use crate::connector::{CALL_TIMEOUT, Connector, Failure};
use crate::rows::Rows;

/// An open stream. Dropping it closes it.
pub(crate) struct Stream {
    connector: Connector,
    /// Its number.
    pub(crate) number: u64,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connector.raw.stream_close(self.number);
    }
}

impl Stream {
    /// Opens a stream, from the beginning or from a checkpoint.
    pub(crate) async fn open(
        connector: &Connector,
        connection: &Connection,
        selection: &[ObjectSelection],
        checkpoint: &[u8],
    ) -> Result<Self, Failure> {
        let request = ReadRequest {
            connection: Some(connection.clone()),
            selection: selection.to_vec(),
            mode: ReadMode::Full.into(),
            checkpoint: checkpoint.to_vec(),
            ..ReadRequest::default()
        };
        Self::read(connector, request).await
    }

    /// Opens the stream of a request.
    pub(crate) async fn read(connector: &Connector, request: ReadRequest) -> Result<Self, Failure> {
        let answer = connector.read(request, CALL_TIMEOUT).await?;
        Ok(Self::of(connector, answer.stream))
    }

    /// The stream with this number.
    pub(crate) fn of(connector: &Connector, number: u64) -> Self {
        Self {
            connector: connector.clone(),
            number,
        }
    }

    /// Starts a pull.
    pub(crate) fn pull(&self, acknowledged: u64) -> raw::Waiting {
        let request = StreamNext { acknowledged }.encode_to_vec();
        self.connector.raw.stream_next(self.number, &request)
    }

    /// Waits for the event of a pull. An `Error` event is a failure.
    pub(crate) async fn event(&self, pull: &mut raw::Waiting, limit: Duration) -> Result<Event, Failure> {
        let Ok(answer) = timeout(limit, pull.answer()).await else {
            return Err(Failure::TimedOut(limit));
        };
        let answer = answer.map_err(|error| self.connector.lost(&error.to_string()))?;
        match StreamEvent::decode(answer).map(|event| event.event) {
            Ok(Some(Event::Error(error))) => Err(self.connector.reported("a stream", error)),
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(Failure::Malformed("an event is empty")),
            Err(_) => Err(Failure::Malformed("an event is not a StreamEvent")),
        }
    }

    /// The next event.
    pub(crate) async fn next(&self, acknowledged: u64) -> Result<Event, Failure> {
        let mut pull = self.pull(acknowledged);
        self.event(&mut pull, CALL_TIMEOUT).await
    }

    /// Answers CredentialsNeeded with credentials.
    pub(crate) async fn provide(&self, credentials: Credentials, base_url: String) -> Result<(), Failure> {
        let request = ProvideCredentialsRequest {
            stream: self.number,
            credentials: Some(credentials),
            base_url,
            error: None,
        };
        self.connector
            .provide_credentials(request, CALL_TIMEOUT)
            .await
            .map(|_| ())
    }

    /// Answers CredentialsNeeded with an error.
    pub(crate) async fn refuse(&self, why: proto::Error) -> Result<(), Failure> {
        let request = ProvideCredentialsRequest {
            stream: self.number,
            error: Some(why),
            ..Default::default()
        };
        self.connector
            .provide_credentials(request, CALL_TIMEOUT)
            .await
            .map(|_| ())
    }

    /// Pulls until the end, or until `stop` returns true, and adds all events to `rows`. Returns whether the stream
    /// has ended.
    pub(crate) async fn take(
        &self,
        rows: &mut Rows,
        mut stop: impl FnMut(&Event) -> bool,
    ) -> Result<bool, Failure> {
        loop {
            let event = self.next(rows.checkpoints.len() as u64).await?;
            let stops = stop(&event);
            if matches!(event, Event::CredentialsNeeded(_)) && !stops {
                return Err(Failure::Malformed(
                    "the stream asks for credentials, although those it has are valid",
                ));
            }
            if let Event::Checkpoint(checkpoint) = &event {
                let state = String::from_utf8_lossy(&checkpoint.state).into_owned();
                self.connector.received.note("a checkpoint", state);
            }
            let ended = matches!(event, Event::End(_));
            rows.take(event);
            if ended || stops {
                return Ok(ended);
            }
        }
    }
}
