//! `tether groups erase`: deletes all that is stored of a group.

use super::print::say;
use crate::config::Options;
use crate::domain::GroupId;
use crate::server::{self, Failure};
use crate::time::now_us;

/// Erases a group, and prints what was erased: one line `what, number` for each kind.
pub(super) async fn run(options: &Options, group: &GroupId, yes: bool) -> Result<(), Failure> {
    let store = server::connect_store(options).await?;
    if !yes {
        let known = match store.group_get(group).await {
            Ok(known) => format!("{} ({})", group.name(), known.display_name),
            Err(error) if error.is_not_found() => {
                format!("{}, which is unknown or already deleted", group.name())
            }
            Err(error) => return Err(error.into()),
        };
        return Err(format!("this permanently erases {known}; confirm with --yes").into());
    }
    let erased = store.group_erase(group, "tether groups erase", now_us()).await?;
    for (what, count) in [
        ("integrations", erased.integrations),
        ("received shares", erased.shares),
        ("tracked companies", erased.tracked_companies),
        ("audit entries", erased.audit_entries),
        ("events", erased.events),
        ("request ids", erased.requests),
        ("unused accounts", erased.accounts),
        ("groups", usize::from(erased.group)),
    ] {
        say(&format!("{what}\t{count}"));
    }
    if erased.revocations_pending > 0 {
        say(&format!(
            "revocations pending\t{}: a running server sends them to the CRMs; repeat the command afterwards to erase these accounts",
            erased.revocations_pending
        ));
    }
    Ok(())
}
