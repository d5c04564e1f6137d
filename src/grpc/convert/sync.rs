//! Syncs.

use super::{cause, timestamp};
use crate::domain::{ObjectState, SyncMode, SyncState, SyncTrigger};
use crate::proto::v1;
use crate::service::SyncView;

/// A sync with its progress. `label` returns the label of an object.
pub fn sync(view: &SyncView, label: impl Fn(&str) -> String) -> v1::Sync {
    let of = &view.sync;
    v1::Sync {
        name: name(view),
        state: state(of.state) as i32,
        trigger: match of.trigger {
            SyncTrigger::Manual => v1::sync::Trigger::Manual,
            SyncTrigger::Activation => v1::sync::Trigger::Activation,
            SyncTrigger::Selection => v1::sync::Trigger::FieldsChanged,
            SyncTrigger::Schedule => v1::sync::Trigger::Schedule,
            SyncTrigger::Reauthorization => v1::sync::Trigger::LogIn,
        } as i32,
        mode: match of.mode {
            SyncMode::Auto => v1::sync::Mode::Unspecified,
            SyncMode::Full => v1::sync::Mode::Full,
            SyncMode::Incremental => v1::sync::Mode::Incremental,
        } as i32,
        create_time: Some(timestamp(of.create_us)),
        start_time: of.start_us.map(timestamp),
        update_time: Some(timestamp(of.update_us.max(of.create_us))),
        end_time: of.end_us.map(timestamp),
        objects: view
            .objects
            .iter()
            .map(|one| v1::SyncObject {
                object: one.object.clone(),
                label: label(&one.object),
                state: match one.state {
                    ObjectState::Pending => v1::sync_object::State::Pending,
                    ObjectState::Reading => v1::sync_object::State::Reading,
                    ObjectState::Complete => v1::sync_object::State::Done,
                    ObjectState::Skipped | ObjectState::Failed => v1::sync_object::State::Failed,
                } as i32,
                expected: one.expected.unwrap_or_default(),
                counts: Some(v1::SyncCounts {
                    read: one.read,
                    written: one.written,
                    unchanged: one.unchanged,
                    removed: one.removed,
                }),
                error: cause(&one.error_reason, &one.error_message, None, None),
                held_back_removals: one.held,
            })
            .collect(),
        totals: Some(totals(view)),
        received_bytes: of.bytes,
        api_calls_used: of.api_calls,
        attempt: i32::try_from(of.attempt).unwrap_or(i32::MAX),
        error: error(view),
        missing_fields: of.missing_fields(),
        change_number: of.change_no,
        confirmed_sync: of
            .confirms
            .map(|confirmed| format!("{}/syncs/{confirmed}", of.integration_id.name()))
            .unwrap_or_default(),
        records_per_second: rate(view),
    }
}

/// The summary of a sync in lists.
pub(super) fn summary(view: &SyncView) -> v1::SyncSummary {
    v1::SyncSummary {
        sync: name(view),
        state: state(view.sync.state) as i32,
        create_time: Some(timestamp(view.sync.create_us)),
        end_time: view.sync.end_us.map(timestamp),
        totals: Some(totals(view)),
        error: error(view),
    }
}

fn name(view: &SyncView) -> String {
    format!("{}/syncs/{}", view.sync.integration_id.name(), view.sync.id)
}

fn state(of: SyncState) -> v1::sync::State {
    match of {
        SyncState::Queued => v1::sync::State::Queued,
        SyncState::Running => v1::sync::State::Running,
        SyncState::Waiting => v1::sync::State::Waiting,
        SyncState::Succeeded => v1::sync::State::Succeeded,
        SyncState::Partial => v1::sync::State::Partial,
        SyncState::Failed => v1::sync::State::Failed,
        SyncState::Cancelled => v1::sync::State::Cancelled,
    }
}

fn totals(view: &SyncView) -> v1::SyncCounts {
    view.objects
        .iter()
        .fold(v1::SyncCounts::default(), |sum, one| v1::SyncCounts {
            read: sum.read + one.read,
            written: sum.written + one.written,
            unchanged: sum.unchanged + one.unchanged,
            removed: sum.removed + one.removed,
        })
}

/// Records read per second of the time in which workers had the sync.
fn rate(view: &SyncView) -> f64 {
    match view.sync.busy_us {
        busy @ 1.. => totals(view).read as f64 * 1_000_000.0 / busy as f64,
        _ => 0.0,
    }
}

fn error(view: &SyncView) -> Option<v1::Cause> {
    let retry = (view.sync.state == SyncState::Waiting).then_some(view.sync.due_us);
    // SHUTTING_DOWN is not an error: another process continues the sync.
    let word = Some(view.sync.error_reason.as_str()).filter(|word| *word != "SHUTTING_DOWN");
    cause(
        word.unwrap_or_default(),
        &view.sync.error_message,
        view.sync.end_us,
        retry,
    )
}
