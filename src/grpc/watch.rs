//! Server streams: their tasks, and those that have no end of their own.
//!
//! A stream has its own task and a channel of one message. The task ends the stream when the message is not
//! taken in time; a panic of the task ends it with INTERNAL.

use super::page_token::Pages;
use super::{answers, call, convert, gate};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::Error;
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::service::{Services, Watched};
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument as _;

/// The messages of a server stream.
pub type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// A stream of the current call, with a permit of the open streams. Nothing is read ahead: one message waits
/// for the connection, and the next is read after it was sent. The stream ends with SHUTTING_DOWN when the
/// server is about to stop, and with READER_TOO_SLOW if its message is not read in time.
///
/// # Errors
/// GROUP_OVERLOADED, OVERLOADED.
pub fn open<T: Send + 'static>(
    services: &Services,
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Result<Messages<T>, Error> {
    let place = services.limits().streams.enter()?;
    Ok(paced(
        stream,
        place,
        services.draining(),
        services.limits().slow_reader,
    ))
}

/// The end of a stream's task: the error that follows its last message, if any. `None` while the task runs,
/// and if it panicked.
type End = Arc<Mutex<Option<Option<Error>>>>;

fn paced<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    place: impl Send + 'static,
    draining: CancellationToken,
    limit: Duration,
) -> Messages<T> {
    let (sender, receiver) = mpsc::channel(1);
    let end: End = Arc::default();
    let ended = Arc::clone(&end);
    let work = async move {
        let _place = place;
        let mut stream = stream.boxed();
        let error = tokio::select! {
            biased;
            () = draining.cancelled() => Some(gate::shutting_down()),
            error = pass_on(&mut stream, &sender, limit) => error,
        };
        *ended.lock() = Some(error);
    };
    let work = call::within(call::current(), work).in_current_span();
    let state = (receiver, AbortOnDropHandle::new(tokio::spawn(work)), end);
    unfold(state, |(mut receiver, work, end)| async {
        let item = match receiver.recv().await {
            Some(item) => item,
            None => {
                // The task ended without setting its end: it panicked, and messages may be missing.
                let error = match end.lock().replace(None) {
                    Some(error) => error?,
                    None => Error::internal("the task of a stream panicked"),
                };
                Err(error.into())
            }
        };
        Some((item, (receiver, work, end)))
    })
    .boxed()
}

/// Forwards messages until the stream ends, the caller disconnects, or a message is not read within `limit`.
/// Returns an error in the last case only.
async fn pass_on<T>(
    stream: &mut BoxStream<'static, Result<T, Status>>,
    sender: &mpsc::Sender<Result<T, Status>>,
    limit: Duration,
) -> Option<Error> {
    loop {
        let room = match tokio::time::timeout(limit, sender.reserve()).await {
            Ok(Ok(room)) => room,
            // The caller has disconnected.
            Ok(Err(_)) => return None,
            Err(_) => {
                metrics::counter!("tether_slow_readers_total", "kind" => "stream").increment(1);
                return Some(answers::too_slow(limit));
            }
        };
        room.send(stream.next().await?);
    }
}

/// Handles WatchGroup.
pub async fn group(
    services: &Services,
    caller: Caller,
    group: GroupId,
    mut request: v1::WatchGroupRequest,
) -> Result<Messages<v1::WatchGroupResponse>, Error> {
    let token = std::mem::take(&mut request.resume_token);
    let place = match pages(services, &caller, &request).after(&token)?.as_deref() {
        None => None,
        Some([Kind::Integer(place)]) => Some(*place),
        Some(_) => return Err(Error::invalid("resume_token", "is not of this stream")),
    };
    let watched = services.group_watch(&caller, group, place).await?;
    let began = message(services, &caller, &request, None, watched.place());
    let events = unfold(
        Some((watched, services.clone(), caller, request)),
        |state| async {
            let (mut watched, services, caller, request) = state?;
            match next(&mut watched, &services, &caller, &request).await {
                Ok(message) => Some((Ok(message), Some((watched, services, caller, request)))),
                Err(error) => Some((Err(error.into()), None)),
            }
        },
    );
    let all = tokio_stream::once(began.map_err(Status::from)).chain(events);
    open(services, all)
}

async fn next(
    watched: &mut Watched,
    services: &Services,
    caller: &Caller,
    request: &v1::WatchGroupRequest,
) -> Result<v1::WatchGroupResponse, Error> {
    let event = watched.next().await?;
    message(
        services,
        caller,
        request,
        Some(convert::event(&event)),
        event.event_no,
    )
}

fn message(
    services: &Services,
    caller: &Caller,
    request: &v1::WatchGroupRequest,
    event: Option<v1::GroupEvent>,
    place: i64,
) -> Result<v1::WatchGroupResponse, Error> {
    let resume_token = pages(services, caller, request).next(Some(vec![Kind::Integer(place)]))?;
    Ok(v1::WatchGroupResponse { event, resume_token })
}

/// `request` is the request without its token.
fn pages<'a>(services: &'a Services, caller: &Caller, request: &v1::WatchGroupRequest) -> Pages<'a> {
    Pages::new(services.sealer(), "WatchGroup", caller.group.as_deref(), request)
        .in_field("resume_token")
        .living(services.event_life_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::iter;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_reader_that_takes_nothing_loses_its_stream_and_hears_why() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let stream = iter(0..1_000).map(move |number| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(number)
        });
        let (place, held) = tokio::sync::oneshot::channel::<()>();
        let limit = Duration::from_millis(1);
        let mut messages = paced(stream, place, CancellationToken::new(), limit);
        // The permit is released when the stream is dropped, although nothing was read.
        assert!(held.await.is_err());
        assert_eq!(made.load(Ordering::Relaxed), 1, "nothing is read ahead");
        assert_eq!(messages.next().await.unwrap().unwrap(), 0);
        let status = messages.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(messages.next().await.is_none());
    }

    #[tokio::test]
    async fn a_panic_ends_the_stream_with_internal() {
        use tonic_types::StatusExt as _;
        let stream = iter(0..3).map(|number| match number {
            2 => panic!("a defect"),
            number => Ok(number),
        });
        let (place, held) = tokio::sync::oneshot::channel::<()>();
        let mut messages = paced(stream, place, CancellationToken::new(), Duration::from_secs(60));
        for number in 0..2 {
            assert_eq!(messages.next().await.unwrap().unwrap(), number);
        }
        let status = messages.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal);
        assert_eq!(status.get_details_error_info().unwrap().reason, "INTERNAL");
        assert!(messages.next().await.is_none());
        assert!(held.await.is_err(), "its place is free");
    }

    #[tokio::test]
    async fn a_reader_gets_all_and_the_end() {
        let limit = Duration::from_secs(60);
        let stream = iter((0..100).map(Ok));
        let messages = paced(stream, (), CancellationToken::new(), limit);
        let got: Vec<i32> = messages.map(Result::unwrap).collect().await;
        assert_eq!(got, (0..100).collect::<Vec<_>>());
    }
}
