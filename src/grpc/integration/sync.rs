//! Syncs: started, listed, watched, cancelled.

use super::answer::Answer;
use crate::domain::{SyncMode, SyncState};
use crate::error::Error;
use crate::grpc::page::Page;
use crate::grpc::page_token::{self, Pages};
use crate::grpc::watch::{self, Messages};
use crate::grpc::{call, convert, gate, request_id, validate};
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::service::{Services, SyncView};
use std::time::Duration;
use tonic::{Request, Response};

/// The interval at which a watched sync is read.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// A sync with the labels of its objects.
pub(super) async fn message(services: &Services, view: &SyncView) -> Result<v1::Sync, Error> {
    let labels = services.object_labels(view.sync.integration_id).await?;
    Ok(convert::sync(view, |object| {
        let known = labels.iter().find(|(key, _)| key == object);
        known.map_or(object, |(_, label)| label.as_str()).to_owned()
    }))
}

/// The state of a watch after a failed read: it ends the stream.
fn ended(mut view: SyncView) -> SyncView {
    view.sync.state = SyncState::Failed;
    view
}

pub(super) async fn sync_integration(
    services: &Services,
    request: Request<v1::SyncIntegrationRequest>,
) -> Answer<v1::Sync> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let id = validate::integration("name", &request.name)?;
    let mode = match request.mode() {
        v1::sync::Mode::Unspecified => SyncMode::Auto,
        v1::sync::Mode::Full => SyncMode::Full,
        v1::sync::Mode::Incremental => SyncMode::Incremental,
        v1::sync::Mode::Fill => {
            let text = "must be FULL, INCREMENTAL or unset: newly selected fields are filled by every sync";
            return Err(Error::invalid("mode", text).into());
        }
    };
    let key = request_id::of("SyncIntegration", &request.request_id, &request)?;
    let confirms = match request.confirm_removals_of.as_str() {
        "" => None,
        name => match validate::sync("confirm_removals_of", name)? {
            (integration, sync) if integration == id => Some(sync),
            _ => {
                let text = "must be a sync of the same integration";
                return Err(Error::invalid("confirm_removals_of", text).into());
            }
        },
    };
    let view = services
        .sync_start(&author, id, mode, confirms, key.as_ref())
        .await?;
    Ok(Response::new(message(services, &view).await?))
}

pub(super) async fn get_sync(services: &Services, request: Request<v1::GetSyncRequest>) -> Answer<v1::Sync> {
    let caller = gate::caller(&request)?;
    let (integration, id) = validate::sync("name", &request.into_inner().name)?;
    let caller = services.reader_of(caller, integration).await?;
    let view = services.sync_get(&caller, integration, id).await?;
    Ok(Response::new(message(services, &view).await?))
}

pub(super) async fn list_syncs(
    services: &Services,
    request: Request<v1::ListSyncsRequest>,
) -> Answer<v1::ListSyncsResponse> {
    let caller = gate::caller(&request)?;
    let mut request = request.into_inner();
    let id = validate::integration("parent", &request.parent)?;
    let caller = services.reader_of(caller, id).await?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 20, 100)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(services.sealer(), "ListSyncs", caller.group.as_deref(), &request);
    let before = page_token::time_and_id(pages.after(&token)?)?;
    let views = services.sync_list(&caller, id, before, size + 1).await?;
    let place = |view: &SyncView| {
        vec![
            Kind::Integer(view.sync.create_us),
            Kind::Text(view.sync.id.to_string()),
        ]
    };
    let mut page = Page::new(size);
    for view in &views {
        if page.len() == size || !page.push(message(services, view).await?) {
            break;
        }
    }
    let last = page.len().checked_sub(1).filter(|last| last + 1 < views.len());
    Ok(Response::new(v1::ListSyncsResponse {
        next_page_token: pages.next(last.map(|last| place(&views[last])))?,
        syncs: page.into_items(),
    }))
}

pub(super) async fn watch_sync(
    services: &Services,
    request: Request<v1::WatchSyncRequest>,
) -> Answer<Messages<v1::WatchSyncResponse>> {
    let caller = gate::caller(&request)?;
    let (integration, id) = validate::sync("name", &request.into_inner().name)?;
    let caller = services.reader_of(caller, integration).await?;
    let first = services.sync_get(&caller, integration, id).await?;
    let watched = services.clone();
    let call = call::current();
    // Progress is read from the database, because any process may run the sync.
    let watcher = caller;
    let stream = futures_util::stream::unfold((Some(first), None::<SyncView>), move |(first, shown)| {
        let (watched, caller) = (watched.clone(), watcher.clone());
        call::within(call.clone(), async move {
            let mut view = match (first, &shown) {
                (Some(first), _) => first,
                (None, Some(shown)) if shown.sync.state.is_final() => return None,
                (None, Some(shown)) => shown.clone(),
                (None, None) => return None,
            };
            while shown.as_ref() == Some(&view) {
                tokio::time::sleep(WATCH_EVERY).await;
                match watched.sync_get(&caller, integration, id).await {
                    Ok(now) => view = now,
                    Err(error) => return Some((Err(error.into()), (None, Some(ended(view))))),
                }
            }
            let position = view.sync.state.is_final().then(|| v1::SourcePosition {
                integration: integration.name(),
                change_number: view.sync.change_no,
                time: None,
            });
            let item = match message(&watched, &view).await {
                Ok(sync) => Ok(v1::WatchSyncResponse {
                    sync: Some(sync),
                    position,
                }),
                Err(error) => Err(error.into()),
            };
            Some((item, (None, Some(view))))
        })
    });
    Ok(Response::new(watch::open(services, stream)?))
}

pub(super) async fn cancel_sync(
    services: &Services,
    request: Request<v1::CancelSyncRequest>,
) -> Answer<v1::Sync> {
    let author = gate::author(&request)?;
    let (integration, id) = validate::sync("name", &request.into_inner().name)?;
    let view = services.sync_cancel(&author, integration, id).await?;
    Ok(Response::new(message(services, &view).await?))
}
