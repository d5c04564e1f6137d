//! Integrations, their fields and their review.

use super::{cause, sync, timestamp, value};
use crate::domain::{AuthKind, IntegrationState};
use crate::error::{Most, shortened};
use crate::grpc::page::{Page, field_bytes};
use crate::grpc::{budget, schedule};
use crate::proto::v1;
use crate::service::{
    self, ACCOUNT_LIMIT, Activated, Available, Definition, DraftStep, IntegrationView, Standing, Why,
};
use crate::service::{Relation, SeenField, Share};

pub(super) fn count(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

fn key(object: &str, key: &str) -> String {
    format!("{object}.{key}")
}

/// The relation of a group to an integration.
pub fn relation(of: Relation) -> v1::integration::Relation {
    match of {
        Relation::Owned => v1::integration::Relation::Owned,
        Relation::Received => v1::integration::Relation::Received,
    }
}

/// The state of an integration.
pub fn state(of: Standing) -> v1::integration::State {
    match of {
        Standing::Draft => v1::integration::State::Draft,
        Standing::Active => v1::integration::State::Active,
        Standing::NeedsReauthorization => v1::integration::State::NeedsReauthorization,
        Standing::Paused => v1::integration::State::Paused,
        Standing::Disabled => v1::integration::State::Disabled,
    }
}

/// An integration with its fields and shares.
pub fn integration(view: &IntegrationView) -> v1::Integration {
    let fields = view.fields.iter();
    let saved = view.row().state != IntegrationState::Draft;
    v1::Integration {
        selected_fields: fields.map(|one| key(&one.field.object, &one.field.key)).collect(),
        shares: view.shares.iter().map(|one| share(one, saved)).collect(),
        ..listed_integration(view)
    }
}

/// An integration in a list: without fields and shares. For a receiver, everything that only the owner may
/// see is left out: settings, schedule, etag, the number of the account's integrations, messages of the CRM.
pub fn listed_integration(view: &IntegrationView) -> v1::Integration {
    let (row, source, owned) = (view.row(), &view.source, view.source.is_owned());
    let settings = view.settings.iter().filter(|_| owned);
    let now = crate::time::now_us();
    let standing = Standing::of(source, now);
    v1::Integration {
        name: row.id.name(),
        display_name: row.display_name.clone(),
        label: source.label.clone(),
        connector: format!("connectors/{}", row.connector),
        settings: settings
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        selected_fields: Vec::new(),
        schedule: owned.then(|| schedule::message(&row.schedule)),
        shares: Vec::new(),
        connected: Some(source.connected),
        group: row.group_id.name(),
        group_display_name: view.group.display_name.clone(),
        relation: relation(source.relation) as i32,
        state: state(standing) as i32,
        state_reason: Why::of(source, now)
            .and_then(|why| cause(&why.reason, &why.message, Some(why.time_us), why.retry_us)),
        draft_step: view
            .draft_step()
            .map_or(v1::integration::DraftStep::Unspecified, |step| match step {
                DraftStep::LogIn => v1::integration::DraftStep::LogIn,
                DraftStep::SelectFields => v1::integration::DraftStep::SelectFields,
                DraftStep::Connect => v1::integration::DraftStep::Connect,
                DraftStep::Review => v1::integration::DraftStep::Review,
            }) as i32,
        account: account(view),
        connector_enabled: source.enabled,
        field_counts: Some(field_counts(&view.fields)),
        company_record_count: row.company_records.unwrap_or_default(),
        groups_with_access_count: if owned {
            count(view.shares.len() + usize::from(source.connected))
        } else {
            0
        },
        last_sync: view.last_sync.as_ref().map(sync::summary),
        next_sync_time: row
            .next_sync_us
            .filter(|_| owned && standing == Standing::Active)
            .map(timestamp),
        api_usage: (owned && view.credential.is_some()).then(|| api_usage(view)),
        api_budget: owned.then(|| budget::message(row.budget())),
        etag: if owned { etag(row.revision) } else { String::new() },
        create_time: Some(timestamp(if owned { row.create_us } else { source.create_us })),
        update_time: owned.then(|| timestamp(row.update_us)),
        activate_time: row.activate_us.map(timestamp),
        expire_time: row.expire_us.map(timestamp),
    }
}

/// What an integration has used of the API allowance, and what it may use.
fn api_usage(view: &IntegrationView) -> v1::ApiUsage {
    let (of, used) = (view.row().budget(), &view.used);
    let budget = view.allowance.budget(of, used).unwrap_or_default();
    v1::ApiUsage {
        calls_total: used.total_calls,
        organization_calls_used: used.organization_used,
        organization_calls_limit: used.organization_limit,
        organization_read_time: (used.organization_read_us > 0).then(|| timestamp(used.organization_read_us)),
        sync_calls_today: used.sync_calls,
        live_calls_today: used.live_calls,
        budget_calls: budget,
        reserved_calls: view.allowance.reserve(of, budget),
    }
}

/// A share.
pub fn share(of: &Share, saved: bool) -> v1::Share {
    v1::Share {
        name: format!("{}/shares/{}", of.integration_id.name(), of.group_id),
        group: of.group_id.name(),
        group_display_name: of.group_name.clone(),
        all_active_fields: of.fields.is_none(),
        fields: of
            .fields
            .iter()
            .flatten()
            .map(|field| key(&field.object, &field.key))
            .collect(),
        shared_field_count: count(of.shared.len()),
        effective: saved,
        connected: saved && of.connected,
        create_time: Some(timestamp(of.create_us)),
        update_time: Some(timestamp(of.update_us)),
    }
}

/// The result of making fields active or passive.
pub fn activated(of: &Activated) -> v1::BatchUpdateFieldActivationResponse {
    v1::BatchUpdateFieldActivationResponse {
        field_counts: Some(field_counts(&of.fields)),
        losing_group_count: count(of.losing),
    }
}

/// The etag of a revision.
pub fn etag(revision: i64) -> String {
    format!("r{revision}")
}

/// The account. A receiver sees only the organization, not the user.
pub(super) fn account(view: &IntegrationView) -> Option<v1::Account> {
    let credential = view.credential.as_ref()?;
    let organization = v1::Account {
        organization_id: credential.organization_id.clone(),
        organization_name: credential.organization_name.clone(),
        ..v1::Account::default()
    };
    if !view.source.is_owned() {
        return Some(organization);
    }
    Some(v1::Account {
        user_id: credential.user_id.clone(),
        username: credential.username.clone(),
        user_display_name: credential.user_display_name.clone(),
        auth_kind: match credential.auth_kind {
            AuthKind::AuthorizationCode => v1::AuthKind::AuthorizationCode,
            AuthKind::ClientCredentials => v1::AuthKind::ClientCredentials,
            AuthKind::JwtBearer => v1::AuthKind::JwtBearer,
            AuthKind::ApiKey => v1::AuthKind::ApiKey,
        } as i32,
        log_in_time: Some(timestamp(credential.log_in_us)),
        active_integration_count: i32::try_from(view.account_integrations).unwrap_or(i32::MAX),
        active_integration_limit: i32::try_from(ACCOUNT_LIMIT).unwrap_or(i32::MAX),
        ..organization
    })
}

pub(super) fn field_counts(fields: &[SeenField]) -> v1::FieldCounts {
    v1::FieldCounts {
        selected: count(fields.len()),
        active: count(fields.iter().filter(|one| one.active).count()),
        missing: count(fields.iter().filter(|one| one.field.missing_us.is_some()).count()),
    }
}

/// A selected field for a group. `label` is the group's label of the source, `receivers` the number of other
/// groups that receive the field.
pub fn field(label: &str, of: &SeenField, receivers: usize) -> v1::Field {
    let activation = if of.active {
        v1::FieldActivation::Active
    } else {
        v1::FieldActivation::Passive
    };
    let of = &of.field;
    v1::Field {
        name: format!("{}/fields/{}.{}", of.integration_id.name(), of.object, of.key),
        definition: Some(definition(Definition::of(of))),
        activation: activation as i32,
        query_key: service::query_key(label, &of.object, &of.key, &of.alias),
        alias: of.alias.clone(),
        missing_time: of.missing_us.map(timestamp),
        receiving_group_count: count(receivers),
    }
}

/// The maximum length of a label and of other short texts about a field, in characters.
const LABEL_LENGTH: usize = 255;
/// The maximum length of a description, in characters.
const DESCRIPTION_LENGTH: usize = 4_000;
/// The maximum size of the picklist entries of one field, in bytes.
const PICKLIST_BYTES: usize = 512 << 10;
/// The maximum number of objects of a reference.
const MOST_REFERENCES: usize = 100;

/// The definition of a field, limited to a fraction of an answer.
pub fn definition(of: Definition) -> v1::FieldDefinition {
    let entries = of.more.picklist_values.len();
    let mut bytes = 0;
    let picklist_values = of.more.picklist_values.into_iter().map_while(|one| {
        let entry = v1::PicklistValue {
            label: shortened(&one.label, Most::Characters(LABEL_LENGTH)).into_owned(),
            value: one.value,
            active: one.active,
        };
        bytes += field_bytes(prost::Message::encoded_len(&entry));
        (bytes <= PICKLIST_BYTES).then_some(entry)
    });
    v1::FieldDefinition {
        object: of.object,
        key: of.key,
        label: shortened(&of.label, Most::Characters(LABEL_LENGTH)).into_owned(),
        r#type: value::field_type(of.field_type) as i32,
        native_type: shortened(&of.more.native_type, Most::Characters(LABEL_LENGTH)).into_owned(),
        description: shortened(&of.more.description, Most::Characters(DESCRIPTION_LENGTH)).into_owned(),
        picklist_values: picklist_values.collect(),
        picklist_value_count: count(entries),
        reference_objects: of
            .more
            .reference_to
            .into_iter()
            .filter(|one| one.chars().count() <= LABEL_LENGTH)
            .take(MOST_REFERENCES)
            .collect(),
        scale: i32::try_from(of.more.scale).unwrap_or_default(),
        max_length: i32::try_from(of.more.length).unwrap_or_default(),
        calculated: of.more.calculated,
        custom: of.more.custom,
        long_text: of.more.long_text,
        sensitive: of.more.sensitive,
    }
}

/// A page of the fields that can be selected: at most `most` fields, from number `from` on, in the order of
/// objects, and the number at which the next page begins. The page has the objects of its fields; the first
/// page also has objects without fields.
pub fn available_objects(
    of: &Available,
    from: usize,
    most: usize,
) -> (Vec<v1::AvailableObject>, Option<usize>) {
    // The size of an object without its fields, in bytes: two texts of at most 255 characters.
    const HEAD: usize = 2_200;
    let mut fields = Page::beside(most, HEAD * of.objects.len());
    let mut objects: Vec<(v1::AvailableObject, usize)> = Vec::new();
    let (mut place, mut next) = (0, None);
    for object in &of.objects {
        let begin = place;
        place += object.fields;
        let before = fields.len();
        for at in from.max(begin)..place {
            let Some((one, selected)) = of.field(object, at - begin) else {
                break;
            };
            let field = v1::AvailableField {
                definition: Some(definition(one)),
                selected,
            };
            if fields.is_full() || !fields.push(field) {
                next = Some(at);
                break;
            }
        }
        let count = fields.len() - before;
        if count > 0 || (object.fields == 0 && from == 0) {
            let object = v1::AvailableObject {
                object: object.object.clone(),
                label: shortened(&object.label, Most::Characters(LABEL_LENGTH)).into_owned(),
                role: object.role as i32,
                visible: object.visible,
                fields: Vec::new(),
            };
            objects.push((object, count));
        }
        if next.is_some() {
            break;
        }
    }
    let mut fields = fields.into_items().into_iter();
    let objects = objects.into_iter().map(|(object, count)| v1::AvailableObject {
        fields: fields.by_ref().take(count).collect(),
        ..object
    });
    (objects.collect(), next)
}
