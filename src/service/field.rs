//! Fields: those the logged-in user can see in the CRM, and those the owner selected.

use super::audit::{AuditChange, Author};
use super::listing::Listing;
use super::reader::group_of;
use super::services::Services;
use crate::caller::Caller;
use crate::credentials::{Purpose, deadline};
use crate::definition::{Definition, renewed};
use crate::domain::{CallKind, CredentialId, IntegrationId};
use crate::error::{Detail, Error, Reason, Result, echo};
use crate::store::{Field, FieldRef, Integration, SeenField};
use crate::time::now_us;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tether_connector_proto::{ListFieldsRequest, ObjectRole};

/// The maximum number of selected fields of an integration.
pub const MOST_FIELDS: usize = 2_000;
/// The time limit for listing fields in the CRM.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One object of the CRM with the fields the logged-in user can see.
#[derive(Debug, Clone)]
pub struct AvailableObject {
    /// The object's key.
    pub object: String,
    /// The label in the CRM.
    pub label: String,
    /// The object's role: company object, related object and so on.
    pub role: ObjectRole,
    /// Whether the user can see the object.
    pub visible: bool,
    /// How many fields it has.
    pub fields: usize,
    /// Its index in the listing.
    listed: Option<usize>,
}

/// The fields that can be selected. Descriptions may be large, so each is built only when it is read.
#[derive(Debug)]
pub struct Available {
    /// The objects, in the connector's order.
    pub objects: Vec<AvailableObject>,
    listing: Arc<Listing>,
    selected: HashSet<(String, String)>,
}

impl Available {
    /// The number of fields of all objects.
    #[must_use]
    pub fn total(&self) -> usize {
        self.objects.iter().map(|object| object.fields).sum()
    }

    /// When the CRM answered.
    #[must_use]
    pub fn read_us(&self) -> i64 {
        self.listing.read_us
    }

    /// A field of an object, and whether it is selected.
    #[must_use]
    pub fn field(&self, object: &AvailableObject, at: usize) -> Option<(Definition, bool)> {
        let field = self.listing.objects.get(object.listed?)?.fields.get(at)?;
        let key = (object.object.clone(), field.key.clone());
        let selected = self.selected.contains(&key);
        Some((Definition::listed(&object.object, field), selected))
    }
}

/// The result of making fields active or passive.
#[derive(Debug, Clone)]
pub struct Activated {
    /// The fields that the group sees now.
    pub fields: Vec<SeenField>,
    /// The number of receiving groups that lost fields.
    pub losing: usize,
}

/// The active fields.
fn on(fields: &[SeenField]) -> Vec<FieldRef> {
    let active = fields.iter().filter(|one| one.active);
    active.map(|one| reference(&one.field)).collect()
}

/// A field's reference.
pub(super) fn reference(field: &Field) -> FieldRef {
    FieldRef {
        object: field.object.clone(),
        key: field.key.clone(),
    }
}

/// Whether a field has this reference.
pub(super) fn is(one: &SeenField, field: &FieldRef) -> bool {
    one.field.object == field.object && one.field.key == field.key
}

/// FIELD_UNKNOWN for a field that cannot be used here.
pub(super) fn unknown(path: &str, name: &str, why: &str) -> Error {
    let name = echo(name);
    let description = format!("{name} {why}");
    Error::new(
        Reason::FieldUnknown,
        format!("{description}: ListFields lists those that can be named"),
    )
    .with("field", name)
    .detail(Detail::Fields(vec![(path.to_owned(), description)]))
}

impl Services {
    /// Every field that the logged-in user can see, read live, or from the listing of the previous page
    /// (`continued`).
    ///
    /// # Errors
    /// NOT_FOUND, NOT_OWNER, NOT_LOGGED_IN, CONNECTOR_DISABLED, and errors of the CRM.
    pub async fn field_list_available(
        &self,
        caller: &Caller,
        id: IntegrationId,
        objects: &[String],
        continued: bool,
    ) -> Result<Available> {
        let row = self.owned(caller, id).await?;
        self.require_enabled(&row.group_id, &row.connector).await?;
        let (_, describe) = self.usable(&row.connector)?;
        if let Some(unknown) = objects
            .iter()
            .find(|key| !describe.objects.iter().any(|object| object.key == **key))
        {
            return Err(Error::invalid(
                "objects",
                format!("{:?} is no object of connectors/{}", echo(unknown), row.connector),
            ));
        }
        let listing = self.listing(&row, continued).await?;
        let selected = self.store.field_list(id).await?;
        let mut out = Vec::new();
        for object in &describe.objects {
            if !objects.is_empty() && !objects.contains(&object.key) {
                continue;
            }
            let place = listing
                .objects
                .iter()
                .position(|listed| listed.object == object.key);
            let listed = place.map(|place| &listing.objects[place]);
            out.push(AvailableObject {
                object: object.key.clone(),
                label: listed.map_or(&object.label, |listed| &listed.label).clone(),
                role: object.role(),
                visible: listed.is_some_and(|listed| listed.visible),
                fields: listed.map_or(0, |listed| listed.fields.len()),
                listed: place,
            });
        }
        Ok(Available {
            objects: out,
            listing,
            selected: selected.into_iter().map(|one| (one.object, one.key)).collect(),
        })
    }

    /// The source's label, the fields that the caller's group sees in their order, and the number of groups
    /// that receive each field.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn field_list(
        &self,
        caller: &Caller,
        id: IntegrationId,
    ) -> Result<(String, Vec<SeenField>, HashMap<FieldRef, usize>)> {
        let source = self.seen(caller, id).await?;
        let fields = self.seen_fields(&group_of(caller)?, id).await?;
        let mut receivers = HashMap::new();
        if source.is_owned() {
            for share in self.store.share_list(id).await? {
                for field in share.shared.into_iter().filter(|_| source.is_saved()) {
                    *receivers.entry(field).or_default() += 1;
                }
            }
        }
        Ok((source.label, fields, receivers))
    }

    /// Makes fields active or passive for the caller's group. Fields are pairs (object, key).
    ///
    /// # Errors
    /// NOT_FOUND; FIELD_UNKNOWN for a field that the group does not see.
    pub async fn field_activate(
        &self,
        author: &Author,
        id: IntegrationId,
        active: Vec<(String, String)>,
        passive: Vec<(String, String)>,
        validate_only: bool,
    ) -> Result<Activated> {
        let source = self.seen(author, id).await?;
        let group = group_of(author)?;
        let mut fields = self.seen_fields(&group, id).await?;
        let lists = [
            ("active_fields", active, true),
            ("passive_fields", passive, false),
        ];
        let lists = lists.map(|(path, keys, active)| {
            let refs = keys.into_iter().map(|(object, key)| FieldRef { object, key });
            (path, refs.collect::<Vec<_>>(), active)
        });
        let before: Vec<FieldRef> = on(&fields);
        for (path, refs, active) in &lists {
            for (position, field) in refs.iter().enumerate() {
                let name = format!("{}.{}", field.object, field.key);
                let one = fields.iter_mut().find(|one| is(one, field)).ok_or_else(|| {
                    let why = "is not a field of this integration that the group has";
                    unknown(&format!("{path}[{position}]"), &name, why)
                })?;
                one.active = *active;
            }
        }
        let after: HashSet<FieldRef> = on(&fields).into_iter().collect();
        let lost: Vec<FieldRef> = before
            .into_iter()
            .filter(|field| !after.contains(field))
            .collect();
        let mut losing = 0;
        if source.is_owned() && source.is_saved() && !lost.is_empty() {
            let shares = self.store.share_list(id).await?;
            losing = shares
                .iter()
                .filter(|share| share.shared.iter().any(|field| lost.contains(field)))
                .count();
        }
        if !validate_only {
            let [(_, active, _), (_, passive, _)] = lists;
            let counts = (active.len(), passive.len());
            let of = group.clone();
            let made = AuditChange::of(id.name())
                .with("active_fields", counts.0)
                .with("passive_fields", counts.1);
            let decided = self.change(author, move |tx| {
                tx.field_activate(id, &of, &active, &passive)?;
                Ok(((), Some(made)))
            });
            decided.await.map_err(|error| error.or_not_found(id.name()))?;
            tracing::info!(integration = %id, %group, by = author.subject, "{} fields made active, {} passive", counts.0, counts.1);
        }
        Ok(Activated { fields, losing })
    }

    /// The fields of the account, read live with the budget of `row`; with `recent`, a listing of at most five minutes ago is used.
    /// A live listing renews the stored definitions of the integration's fields.
    pub(super) async fn listing(&self, row: &Integration, recent: bool) -> Result<Arc<Listing>> {
        let credential_id = logged_in(row)?;
        if recent && let Some(listing) = self.listings.get(&credential_id).await {
            return Ok(listing);
        }
        let answer = self
            .credentials
            .call(
                editing(row, credential_id),
                &row.connector,
                |connector, connection| async move {
                    let request = ListFieldsRequest {
                        connection: Some(connection),
                        objects: Vec::new(),
                    };
                    connector.list_fields(request, deadline(TIMEOUT)).await
                },
            )
            .await
            .map_err(super::errors::of_integration(row.id))?;
        let listing = Arc::new(Listing {
            bytes: answer.objects.iter().map(prost::Message::encoded_len).sum(),
            objects: answer.objects,
            read_us: crate::time::now_us(),
        });
        self.listings.insert(credential_id, Arc::clone(&listing)).await;
        let stored = self.store.field_list(row.id).await?;
        let renewed = renewed(&stored, &listing.objects);
        match self.store.field_renew(row.id, renewed).await {
            // It was deleted meanwhile.
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        Ok(listing)
    }

    /// The fields of these keys, in their order: those already selected as they are stored, others as the CRM
    /// describes them now.
    ///
    /// # Errors
    /// FIELD_UNKNOWN for a field that the user cannot see, NOT_LOGGED_IN, and errors of the CRM.
    pub(super) async fn resolve(
        &self,
        row: &Integration,
        selected: &[SeenField],
        keys: &[(String, String)],
    ) -> Result<Vec<SeenField>> {
        let known = |object: &str, key: &str| {
            selected
                .iter()
                .find(|one| one.field.object == object && one.field.key == key)
        };
        let added: Vec<(String, String)> = keys
            .iter()
            .filter(|(object, key)| known(object, key).is_none())
            .cloned()
            .collect();
        let mut new = self.look_up(row, &added).await?.into_iter();
        let fields = keys.iter().zip(0_i64..).map(|((object, key), position)| {
            let one = match known(object, key) {
                Some(one) => Some(one.clone()),
                None => new.next().map(|field| SeenField { field, active: true }),
            };
            one.map(|one| SeenField {
                field: Field {
                    position,
                    ..one.field
                },
                ..one
            })
        });
        Ok(fields.flatten().collect())
    }

    /// The fields of these keys, as the CRM describes them now.
    async fn look_up(&self, row: &Integration, keys: &[(String, String)]) -> Result<Vec<Field>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut listing = self.listing(row, true).await?;
        let find = |listing: &Listing, object: &str, key: &str| {
            let object = listing.objects.iter().find(|listed| listed.object == object)?;
            object.fields.iter().find(|field| field.key == key).cloned()
        };
        if keys
            .iter()
            .any(|(object, key)| find(&listing, object, key).is_none())
        {
            listing = self.listing(row, false).await?;
        }
        let mut fields = Vec::with_capacity(keys.len());
        for (position, (object, key)) in keys.iter().enumerate() {
            let Some(field) = find(&listing, object, key) else {
                let name = format!("{object}.{key}");
                let name = echo(&name);
                let description = format!("the logged-in user sees no field {name}");
                return Err(Error::new(
                    Reason::FieldUnknown,
                    format!("{description}: ListAvailableFields lists those there are"),
                )
                .with("field", &name)
                .detail(crate::error::Detail::Fields(vec![(
                    format!("integration.selected_fields[{position}]"),
                    description,
                )])));
            };
            let definition = Definition::listed(object, &field);
            fields.push(Field {
                integration_id: row.id,
                object: definition.object,
                key: definition.key,
                label: definition.label,
                field_type: definition.field_type,
                describe: definition.more.stored(),
                position: position as i64,
                missing_us: None,
                alias: String::new(),
                select_us: now_us(),
            });
        }
        Ok(fields)
    }
}

/// A call for a person who edits an integration, with the budget that it has then.
pub(super) fn editing(row: &Integration, credential_id: CredentialId) -> Purpose {
    Purpose {
        credential_id,
        integration_id: row.id,
        budget: row.budget(),
        kind: CallKind::Edit,
    }
}

/// The credential of an integration; NOT_LOGGED_IN if it has none.
pub(super) fn logged_in(row: &Integration) -> Result<CredentialId> {
    row.credential_id.ok_or_else(|| {
        Error::new(
            Reason::NotLoggedIn,
            format!(
                "{} has not been logged in: BeginAuthorization or AuthorizeWithCredentials first",
                row.id.name()
            ),
        )
        .with("name", row.id.name())
        .detail(crate::error::Detail::Precondition(
            "LOGIN",
            row.id.name(),
            "has no account yet".to_owned(),
        ))
    })
}

/// Whether a stored field is a long text; parses only this part of its description.
pub(super) fn is_long_text(field: &Field) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Part {
        long_text: bool,
    }
    serde_json::from_str::<Part>(&field.describe).is_ok_and(|part| part.long_text)
}
