//! Streams that go on until something ends them.

use super::page_token::Pages;
use super::{convert, gate};
use crate::caller::Caller;
use crate::domain::GroupId;
use crate::error::Error;
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::service::{Services, Watched};
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What a server stream answers with.
pub type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// A stream that ends with SHUTTING_DOWN when the server is about to stop.
pub fn until_drained<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    draining: CancellationToken,
) -> Messages<T> {
    let state = Some((stream.boxed(), draining));
    unfold(state, |state| async {
        let (mut stream, draining) = state?;
        tokio::select! {
            biased;
            () = draining.cancelled() => Some((Err(gate::shutting_down().into()), None)),
            item = stream.next() => item.map(|item| (item, Some((stream, draining)))),
        }
    })
    .boxed()
}

/// Answers WatchGroup.
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
    // Nothing is read ahead: the next event is looked for when the last one was taken by the connection.
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
    Ok(until_drained(all, services.draining()))
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

/// `request` is the request with its token taken out.
fn pages<'a>(services: &'a Services, caller: &Caller, request: &v1::WatchGroupRequest) -> Pages<'a> {
    Pages::new(services.sealer(), "WatchGroup", caller.group.as_deref(), request)
        .living(services.event_life_seconds())
}
