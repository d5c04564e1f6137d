//! Reads the audit log.

use super::page;
use super::page_token::{self, Pages};
use super::{convert, validate};
use crate::caller::{Caller, Role};
use crate::error::Error;
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::service::{self, Services};
use crate::service::{AuditEntry, AuditFilter};

/// Handles ListAuditEntries.
pub async fn list(
    services: &Services,
    caller: &Caller,
    mut request: v1::ListAuditEntriesRequest,
) -> Result<v1::ListAuditEntriesResponse, Error> {
    let group = if caller.role == Role::Service && request.parent == "groups/-" {
        None
    } else {
        Some(validate::group("parent", &request.parent)?)
    };
    if let Some(group) = group.as_ref().filter(|_| caller.role != Role::Service) {
        service::require_own_group(caller, group)?;
    }
    if let Some(group) = &group {
        services.about(caller, group)?;
    }
    validate::text("resource", &request.resource, 512)?;
    validate::text("actor", &request.actor, 512)?;
    let size = validate::page_size(std::mem::take(&mut request.page_size), 50, 500)?;
    let token = std::mem::take(&mut request.page_token);
    let pages = Pages::new(
        services.sealer(),
        "ListAuditEntries",
        caller.group.as_deref(),
        &request,
    );
    let before = page_token::time_and_id(pages.after(&token)?)?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let filter = AuditFilter {
        group,
        resource: given(request.resource),
        actor: given(request.actor),
        from_us: request.start_time.map(convert::micros),
        until_us: request.end_time.map(convert::micros),
    };
    let entries = services.audit_list(filter, before, size + 1).await?;
    let place = |of: &AuditEntry| vec![Kind::Integer(of.create_us), Kind::Text(of.id.to_string())];
    let (page, more) = page::fill(size, &entries, |of| entry(of.clone()));
    let last = page.len().checked_sub(1).filter(|_| more);
    Ok(v1::ListAuditEntriesResponse {
        next_page_token: pages.next(last.map(|last| place(&entries[last])))?,
        audit_entries: page,
    })
}

fn entry(of: AuditEntry) -> v1::AuditEntry {
    let group = if of.group_id.is_empty() { "-" } else { &of.group_id };
    v1::AuditEntry {
        name: format!("groups/{group}/auditEntries/{}", of.id),
        time: Some(convert::timestamp(of.create_us)),
        actor: of.actor,
        role: of.role,
        request_id: of.request_id,
        method: of.method,
        resource: of.resource,
        detail: serde_json::from_str(&of.detail).unwrap_or_default(),
    }
}
