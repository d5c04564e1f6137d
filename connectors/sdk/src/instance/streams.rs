//! The streams of an instance: opened by a call, pulled, closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message;
use tokio_util::sync::CancellationToken;

use super::{Asked, Instance, State, deadline, supervise};
use crate::proto::{
    Error, ProvideCredentialsRequest, ProvideCredentialsResponse, ReadRequest, ReadResponse, StreamNext,
};
use crate::stream::EventReader;
use crate::{CallContext, Connector, ReadStream};

/// An open stream.
pub(super) struct Stream {
    events: EventReader,
    pulling: AtomicBool,
    pub(super) cancelled: CancellationToken,
}

impl<C: Connector> Instance<C> {
    /// Pulls a stream.
    pub(crate) fn stream_next(&self, id: u64, stream: u64, request: &[u8]) {
        let state = &self.state;
        let found = state.streams().get(&stream).cloned();
        let (request, stream) = match (StreamNext::decode(request), found) {
            (Ok(request), Some(stream)) => (request, stream),
            (Err(_), _) => {
                return state
                    .outlet
                    .complete(id, Asked::Pull.failed(Error::bug("the pull is not a message")));
            }
            (_, None) => {
                return state.outlet.complete(
                    id,
                    Asked::Pull.failed(Error::cancelled("there is no such stream")),
                );
            }
        };
        if stream.pulling.swap(true, Ordering::AcqRel) {
            return state.outlet.complete(
                id,
                Asked::Pull.failed(Error::bug("the stream is being pulled already")),
            );
        }
        // For most pulls an event is already queued; they need no thread switch.
        if let Some(event) = stream.events.next_encoded_now(request.acknowledged) {
            stream.pulling.store(false, Ordering::Release);
            return state.outlet.complete(id, event);
        }
        let Some(cancelled) = state.admit(Asked::Pull, id) else {
            stream.pulling.store(false, Ordering::Release);
            return;
        };
        let state = Arc::clone(state);
        self.spawn(async move {
            let event = tokio::select! {
                event = stream.events.next_encoded(request.acknowledged) => {
                    event.unwrap_or_else(|| Asked::Pull.failed(Error::cancelled("the stream has ended")))
                }
                () = cancelled.cancelled() => Asked::Pull.failed(Error::cancelled("the pull was cancelled")),
            };
            stream.pulling.store(false, Ordering::Release);
            state.finish(id, event);
        });
    }

    /// Ends a stream.
    pub(crate) fn stream_close(&self, stream: u64) {
        let stream = self.state.streams().remove(&stream);
        if let Some(stream) = stream {
            stream.cancelled.cancel();
        }
    }
}

impl<C: Connector> State<C> {
    /// Opens a stream. The deadline applies to the whole stream, so its context is not that of the call.
    pub(super) fn read(self: Arc<Self>, deadline_us: i64, request: ReadRequest) -> ReadResponse {
        let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let (out, events) = ReadStream::channel();
        let ending = out.ending();
        let cancelled = CancellationToken::new();
        let stream = Stream {
            events,
            pulling: AtomicBool::new(false),
            cancelled: cancelled.clone(),
        };
        self.streams().insert(id, Arc::new(stream));
        tokio::spawn(async move {
            let deadline = deadline(deadline_us);
            let context = CallContext::with_token(deadline, cancelled.clone());
            let (work, cost) = (Arc::clone(&self), context.clone());
            let task = tokio::spawn(async move { work.connector.read(context, request, out).await });
            let result = supervise(&self, task, deadline, &cancelled).await;
            cancelled.cancel();
            // The calls since the last report count, too.
            let result = result.and_then(|done| done);
            ending
                .finish(result.map_err(|error| error.cost(cost.usage())))
                .await;
        });
        ReadResponse { stream: id }
    }

    pub(super) fn provide(
        &self,
        request: ProvideCredentialsRequest,
    ) -> Result<ProvideCredentialsResponse, Error> {
        let stream = self.streams().get(&request.stream).cloned();
        let answer = match (request.credentials, request.error) {
            (Some(credentials), _) => Ok((credentials, request.base_url)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::credentials_revoked("the host has no credentials")),
        };
        if stream.is_some_and(|stream| stream.events.provide(answer)) {
            Ok(ProvideCredentialsResponse {})
        } else {
            Err(Error::invalid_input(
                "no stream of this number waits for credentials",
            ))
        }
    }
}
