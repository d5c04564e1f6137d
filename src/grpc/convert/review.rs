//! The review of an integration before it is saved.

use super::integration::{account, count, etag, field_counts};
use super::{of_reason, timestamp};
use crate::grpc::{budget, schedule};
use crate::proto::v1;
use crate::proto::v1::review_warning::Kind;
use crate::service::{ACCOUNT_LIMIT, Review, Verdict};

/// The maximum number of fields of a warning.
const MOST_WARNED: usize = 100;

/// A review.
pub fn review(of: &Review) -> v1::ReviewIntegrationResponse {
    let (view, verdict) = (&of.integration, &of.verdict);
    let (records, exact) = of.company_records().unwrap_or_default();
    v1::ReviewIntegrationResponse {
        display_name: view.row().display_name.clone(),
        group: view.row().group_id.name(),
        group_display_name: view.group.display_name.clone(),
        account: account(view),
        field_counts: Some(v1::FieldCounts {
            missing: count(verdict.missing.len()),
            ..field_counts(&view.fields)
        }),
        objects: of
            .objects
            .iter()
            .map(|one| v1::ReviewedObject {
                object: one.object.clone(),
                label: one.label.clone(),
                role: one.role as i32,
                selected_field_count: count(one.fields),
                record_count: one
                    .records
                    .map_or(0, |(count, _)| i64::try_from(count).unwrap_or(i64::MAX)),
                record_count_exact: one.records.is_some_and(|(_, exact)| exact),
            })
            .collect(),
        company_record_count: i64::try_from(records).unwrap_or(i64::MAX),
        company_record_count_exact: exact,
        groups_with_access: of
            .groups
            .iter()
            .map(|one| v1::ReviewedGroup {
                group: one.group.name(),
                display_name: one.name.clone(),
                owner: one.owner,
                field_count: count(one.fields),
            })
            .collect(),
        losing_group_count: count(verdict.losing),
        warnings: warnings(verdict),
        read_time: Some(timestamp(of.read_us)),
        etag: etag(view.row().revision),
        schedule: Some(schedule::message(&view.row().schedule)),
        api_budget: Some(budget::message(view.row().budget())),
    }
}

fn warnings(verdict: &Verdict) -> Vec<v1::ReviewWarning> {
    let blocking = verdict.blocking.iter();
    let mut warnings: Vec<_> = blocking
        .map(|(why, message)| warning(Kind::Blocking, of_reason(*why), message.clone()))
        .collect();
    if !verdict.missing.is_empty() {
        let text = "the logged-in user cannot see these fields any more: they are left out".to_owned();
        let of = warning(Kind::FieldsMissing, v1::ErrorReason::FieldUnknown, text);
        warnings.push(with_fields(of, &verdict.missing));
    }
    if !verdict.sensitive.is_empty() {
        let text = "the CRM marks these fields as encrypted or sensitive".to_owned();
        let of = warning(Kind::FieldsSensitive, v1::ErrorReason::Unspecified, text);
        warnings.push(with_fields(of, &verdict.sensitive));
    }
    for object in &verdict.invisible {
        let text = format!("the logged-in user cannot see {object}: its records are left out");
        warnings.push(warning(
            Kind::ObjectNotVisible,
            v1::ErrorReason::CrmForbidden,
            text,
        ));
    }
    if verdict.losing > 0 {
        let text = match verdict.losing {
            1 => "one receiving group loses fields or the source".to_owned(),
            many => format!("{many} receiving groups lose fields or the source"),
        };
        warnings.push(warning(
            Kind::GroupsLoseAccess,
            v1::ErrorReason::Unspecified,
            text,
        ));
    }
    if verdict.last_slot {
        let text =
            format!("this is the last of the {ACCOUNT_LIMIT} active integrations that the account may have");
        warnings.push(warning(Kind::LastPlace, v1::ErrorReason::Unspecified, text));
    }
    warnings
}

fn warning(kind: Kind, reason: v1::ErrorReason, message: String) -> v1::ReviewWarning {
    v1::ReviewWarning {
        kind: kind as i32,
        reason: reason as i32,
        message,
        fields: Vec::new(),
    }
}

fn with_fields(warning: v1::ReviewWarning, fields: &[String]) -> v1::ReviewWarning {
    let fields = fields.iter().take(MOST_WARNED).cloned().collect();
    v1::ReviewWarning { fields, ..warning }
}
