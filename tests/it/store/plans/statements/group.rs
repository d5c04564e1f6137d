//! What a group sees: companies, events, audit entries, sources, fields and shares.

use super::*;

/// Lists of companies, and the own list.
pub(super) async fn companies(w: &mut World, r: &Round<'_>) {
    let Round {
        group_id,
        of,
        size,
        first,
        ..
    } = *r;
    let companies = r.companies();
    let sources = vec![of.id];
    let after = CompanyKey {
        name_key: "name 0010000000000000".to_owned(),
        company_id: company(0),
    };
    // A page reads some more entries than it shows, and each entry's company.
    ask!(w, 200, company_list_all(group_id, sources.clone(), None, 50));
    ask!(
        w,
        200,
        company_list_all(group_id, sources.clone(), Some(after.clone()), 50)
    );
    ask!(w, 100, company_list_tracked(group_id, sources.clone(), None, 50));
    ask!(
        w,
        100,
        company_list_tracked(group_id, sources.clone(), Some(after), 50)
    );
    ask!(
        w,
        100,
        company_get_many(group_id, sources.clone(), companies.clone())
    );
    ask!(
        w,
        100,
        company_get_tracked(group_id, sources.clone(), companies.clone())
    );
    ask!(w, 2, company_get(group_id, sources.clone(), company(first)));
    ask!(w, size.accounts, company_tracked(group_id));
    ask!(w, size.accounts, company_count_tracked(group_id));
    ask!(w, 2 * size.accounts, company_count_all(group_id, sources));
    let track = |i: usize| Track {
        company_id: company(i),
        name: "Name".to_owned(),
        homepage: String::new(),
    };
    ask!(
        w,
        50,
        company_track(group_id, (0..50).map(track).collect(), "ada", NOW)
    );
    ask!(w, 50, company_untrack(group_id, companies.clone()));
    let platform = |i: usize| PlatformCompany {
        company_id: company(i),
        platform_id: format!("p{i}"),
        name: "Name".to_owned(),
        homepage: String::new(),
    };
    ask!(
        w,
        200,
        platform_upsert((first..first + 50).map(platform).collect(), NOW)
    );
    ask!(w, 50, platform_get_many(companies));
    ask!(w, 1, platform_head());
}

/// Events.
pub(super) async fn events(w: &mut World, r: &Round<'_>) {
    let Round { group_id, round, .. } = *r;
    ask!(w, 1, event_head(group_id));
    ask!(w, 1, event_heads(vec![group_id.clone()]));
    ask!(w, 100, event_list(group_id, 100, 100));
    ask!(w, 40, event_purge(NOW - 9_990_000 + round as i64 * 10, 20));
}

/// Audit entries.
pub(super) async fn audit(w: &mut World, r: &Round<'_>) {
    let Round {
        group_id, of, round, ..
    } = *r;
    let entry = AuditEntry {
        id: AuditId::new(),
        group_id: group_id.to_string(),
        create_us: NOW,
        actor: "ada".to_owned(),
        role: "ADMIN".to_owned(),
        request_id: "1".to_owned(),
        method: "SyncIntegration".to_owned(),
        resource: of.id.name(),
        detail: "{}".to_owned(),
    };
    let last = (NOW - 100, entry.id);
    ask!(w, 1, audit_append(vec![entry]));
    let of_group = AuditFilter {
        group: Some(group_id.clone()),
        ..AuditFilter::default()
    };
    let of_resource = AuditFilter {
        resource: Some("integrations/7".to_owned()),
        ..of_group.clone()
    };
    ask!(w, 50, audit_list(AuditFilter::default(), None, 50));
    ask!(w, 50, audit_list(of_group.clone(), None, 50));
    ask!(w, 50, audit_list(of_group, Some(last), 50));
    ask!(w, 50, audit_list(of_resource, None, 50));
    ask!(w, 40, audit_purge(NOW - 9_990_000 + round as i64 * 10, 20));
}

/// Groups and what they enable and use.
pub(super) async fn connections(w: &mut World, r: &Round<'_>, other: &GroupId) {
    let Round { group_id, of, .. } = *r;
    ask!(w, 1, group_upsert(other, "Other", NOW));
    ask!(w, 1, group_get(group_id));
    ask!(w, 2, group_get_many(vec![group_id.clone(), other.clone()]));
    ask!(w, 20, group_list(None, 20));
    ask!(w, 1, group_connect(group_id, other, NOW));
    ask!(w, 1, group_connections(group_id));
    ask!(w, 1, enablement_set(enablement(other, true)));
    ask!(w, 1, enablement_get(group_id, "salesforce"));
    ask!(w, 1, enablement_list(group_id));
    ask!(w, 1, source_list(group_id));
    ask!(w, 1, source_get(group_id, of.id));
    ask!(w, 1, source_connect(group_id, of.id, true));
    ask!(w, 1, field_list_seen(group_id, vec![of.id]));
}

/// Integrations and their fields.
pub(super) async fn integrations(w: &mut World, r: &Round<'_>) {
    let Round {
        group_id, of, round, ..
    } = *r;
    ask!(w, 1, integration_get(of.id));
    ask!(
        w,
        20,
        integration_list_by_state(IntegrationState::Active, None, 20)
    );
    ask!(w, 20, integration_heads());
    let industry = FieldRef {
        object: "Account".to_owned(),
        key: "Industry".to_owned(),
    };
    let edit = IntegrationUpdate {
        fields: Some(vec![field("Account", "Industry")]),
        ..no_edit(of.id)
    };
    ask!(w, 5, integration_update(edit));
    ask!(w, 1, field_list(of.id));
    ask!(w, 1, field_mark_missing(of.id, vec![industry.clone()], NOW));
    let text = FieldText {
        object: industry.object.clone(),
        key: industry.key.clone(),
        label: format!("Industry {round}"),
        describe: "{}".to_owned(),
    };
    ask!(w, 1, field_renew(of.id, vec![text]));
    ask!(w, 1, field_activate(of.id, group_id, vec![industry], vec![]));
}

/// Shares.
pub(super) async fn shares(w: &mut World, r: &Round<'_>, other: &GroupId) {
    let Round { group_id, of, .. } = *r;
    ask!(
        w,
        1,
        share_set(
            of.id,
            NewShare {
                group_id: other.clone(),
                fields: None
            },
            "ada",
            NOW
        )
    );
    ask!(w, 1, share_list(of.id));
    ask!(w, 1, share_remove(of.id, other, NOW));
    ask!(w, 1, group_disconnect(group_id, other, NOW));
}
