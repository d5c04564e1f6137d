//! Events of groups.

use super::{reason, timestamp};
use crate::domain::EventKind;
use crate::proto::v1::{ErrorReason, GroupEvent, group_event::Kind};
use crate::service::Event;

/// An event.
pub fn event(of: &Event) -> GroupEvent {
    let kind = match of.kind {
        EventKind::SyncFinished => Kind::SyncFinished,
        EventKind::SyncPartial => Kind::SyncPartial,
        EventKind::SyncFailed => Kind::SyncFailed,
        EventKind::SyncCancelled => Kind::SyncCancelled,
        EventKind::NeedsReauthorization => Kind::NeedsReauthorization,
        EventKind::ShareReceived => Kind::ShareReceived,
        EventKind::ShareLost => Kind::ShareLost,
        EventKind::FieldMissing => Kind::FieldMissing,
        EventKind::IntegrationDeleted => Kind::IntegrationDeleted,
    };
    let reason = match of.reason.as_str() {
        "" => ErrorReason::Unspecified,
        word => reason(word),
    };
    GroupEvent {
        kind: kind as i32,
        integration: of.integration_id.name(),
        subject: of.subject.clone(),
        reason: reason as i32,
        time: Some(timestamp(of.create_us)),
    }
}
