//! Sources: integrations as one group uses them. What a group may see is always computed here, from
//! ownership, shares, connections and enablement, and never copied.
//!
//! `source` has a row for each integration that a group owns or receives, with the group's own label and
//! whether the group uses it. What a group sees of an integration is computed at the moment of the read:
//! fields that the owner selected, that are active for the owner, that are shared with the group (`share`,
//! `share_field`), and that are active or passive as the group decided (`activation`, a row only where it
//! differs from the default). So an owner who makes a field passive writes one row, and every receiver loses
//! the field; nothing is copied, so nothing can be forgotten. These rules are joins and stand beside their
//! rows, so that no service can bypass them. `tests/it/leaks/` compares them with a slow model on random
//! worlds.
//!
//! Labels are unique over the owned and received sources of a group, because filters name sources by them.
//! One index keeps this, and the group's row is locked while a label is chosen: two shares that arrive
//! together must not get the same.
//!
//! A receiver that has neither enabled nor disabled a connector may receive through it. Giver and receiver of
//! a share expect that the source appears; the receiver hides it by disabling the connector.

use std::collections::{BTreeSet, HashMap, HashSet};

use diesel::prelude::*;

use super::{
    Conflict, Error, Field, FieldRef, Integration, Noun, Refusal, Store, Tx,
    conn::{Conn, first_locked},
    error::{OrNotFound, is_unique_violation},
    field,
    schema::{
        activation, connector_enablement, credentials, groups, integration, share, share_field, source,
    },
};
use crate::domain::{GroupId, IntegrationId, IntegrationState, Micros, slug};

/// What an integration is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The group owns it.
    Owned,
    /// Another group shares it.
    Received,
}

/// An integration as one group uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The integration.
    pub integration: Integration,
    /// What it is to the group.
    pub relation: Relation,
    /// What the group's filters call it.
    pub label: String,
    /// Whether the group uses it.
    pub connected: bool,
    /// Whether the owner has the connector enabled.
    pub owner_enabled: bool,
    /// Whether the group has the connector enabled. A receiver without an enablement may receive through it.
    pub enabled: bool,
    /// Since when the group has it.
    pub create_us: Micros,
    /// Why the last refreshes of its account's credentials failed.
    pub refusal: Refusal,
}

impl Source {
    /// Whether the group sees its companies now.
    pub fn is_visible(&self) -> bool {
        self.connected && self.owner_enabled && self.enabled && self.is_saved()
    }

    /// Whether it is more than a draft.
    pub fn is_saved(&self) -> bool {
        matches!(
            self.integration.state,
            IntegrationState::Active | IntegrationState::NeedsReauthorization
        )
    }

    /// Whether the group owns it.
    pub fn is_owned(&self) -> bool {
        self.relation == Relation::Owned
    }
}

/// A field as one group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenField {
    /// The field.
    pub field: Field,
    /// Whether it is active for the group.
    pub active: bool,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = source, treat_none_as_default_value = false)]
pub(super) struct Row {
    pub(super) group_id: GroupId,
    pub(super) integration_id: IntegrationId,
    pub(super) label: String,
    pub(super) connected: bool,
    pub(super) create_us: Micros,
}

impl Tx<'_> {
    /// An integration as a group has it, if it owns or receives it.
    pub fn source_get(&mut self, group_id: &GroupId, id: IntegrationId) -> Result<Option<Source>, Error> {
        Ok(list(self.conn, group_id, Some(id))?.pop())
    }

    /// The group uses an integration from now on, or no longer; true if that is a change. Not found unless the group
    /// owns or receives it.
    pub fn source_connect(
        &mut self,
        group_id: &GroupId,
        id: IntegrationId,
        connected: bool,
    ) -> Result<bool, Error> {
        let row: Option<Row> = first_locked!(
            self.conn,
            source::table.find((group_id, id)).select(Row::as_select())
        )
        .optional()?;
        let row = row.ok_or_else(|| Error::not_found(Noun::Integration, id))?;
        if row.connected == connected {
            return Ok(false);
        }
        diesel::update(source::table.find((group_id, id)))
            .set(source::connected.eq(connected))
            .execute(self.conn)?;
        Ok(true)
    }
}

impl Store {
    /// What a group owns (drafts too), the oldest first, then what it receives, the longest shared first.
    pub async fn source_list(&self, group_id: &GroupId) -> Result<Vec<Source>, Error> {
        let group_id = group_id.clone();
        self.snapshot(move |conn| list(conn, &group_id, None)).await
    }

    /// One integration as a group uses it, if it owns or receives it.
    pub async fn source_get(&self, group_id: &GroupId, id: IntegrationId) -> Result<Option<Source>, Error> {
        let group_id = group_id.clone();
        self.snapshot(move |conn| Ok(list(conn, &group_id, Some(id))?.pop()))
            .await
    }

    /// The fields of these integrations that a group sees, in their order: all selected ones of what it owns, and of
    /// what it receives those that are shared with it and active for the owner.
    pub async fn field_list_seen(
        &self,
        group_id: &GroupId,
        ids: Vec<IntegrationId>,
    ) -> Result<HashMap<IntegrationId, Vec<SeenField>>, Error> {
        let group_id = group_id.clone();
        self.snapshot(move |conn| fields_seen(conn, &group_id, &ids))
            .await
    }
}

pub(super) fn list(
    conn: &mut Conn,
    group_id: &GroupId,
    only: Option<IntegrationId>,
) -> Result<Vec<Source>, Error> {
    let mut of = source::table
        .inner_join(integration::table.left_join(credentials::table))
        .filter(source::group_id.eq(group_id))
        .filter(integration::state.ne(IntegrationState::Deleting))
        .select((
            Row::as_select(),
            Integration::as_select(),
            Option::<Refusal>::as_select(),
        ))
        .into_boxed();
    if let Some(id) = only {
        of = of.filter(source::integration_id.eq(id));
    }
    let rows: Vec<(Row, Integration, Option<Refusal>)> = of.load(conn)?;
    let mut groups: BTreeSet<&GroupId> = rows.iter().map(|(_, row, _)| &row.group_id).collect();
    groups.insert(group_id);
    let decisions: Vec<(GroupId, String, bool)> = connector_enablement::table
        .filter(connector_enablement::group_id.eq_any(groups))
        .select((
            connector_enablement::group_id,
            connector_enablement::connector,
            connector_enablement::enabled,
        ))
        .load(conn)?;
    let decisions: HashMap<(&str, &str), bool> = decisions
        .iter()
        .map(|(group, connector, enabled)| ((group.as_str(), connector.as_str()), *enabled))
        .collect();
    let enabled = |group: &GroupId, connector: &str| decisions.get(&(group.as_str(), connector)).copied();
    let mut sources: Vec<Source> = rows
        .into_iter()
        .map(|(row, of, refusal)| {
            let owned = of.group_id == *group_id;
            Source {
                relation: if owned {
                    Relation::Owned
                } else {
                    Relation::Received
                },
                label: row.label,
                connected: row.connected,
                owner_enabled: enabled(&of.group_id, &of.connector).unwrap_or(false),
                enabled: enabled(group_id, &of.connector).unwrap_or(!owned),
                create_us: row.create_us,
                refusal: refusal.unwrap_or_default(),
                integration: of,
            }
        })
        // Only the owner sees a draft.
        .filter(|source| source.is_owned() || source.is_saved())
        .collect();
    sources.sort_by_key(|source| (!source.is_owned(), source.create_us, source.integration.id));
    Ok(sources)
}

fn fields_seen(
    conn: &mut Conn,
    group_id: &GroupId,
    ids: &[IntegrationId],
) -> Result<HashMap<IntegrationId, Vec<SeenField>>, Error> {
    let owners: HashMap<IntegrationId, GroupId> = integration::table
        .filter(integration::id.eq_any(ids))
        .select((integration::id, integration::group_id))
        .load(conn)?
        .into_iter()
        .collect();
    let mut groups: BTreeSet<&GroupId> = owners.values().collect();
    groups.insert(group_id);
    let decided = Decisions::load(conn, ids, groups.into_iter())?;
    let shares: HashMap<IntegrationId, bool> = share::table
        .filter(
            share::group_id
                .eq(group_id)
                .and(share::integration_id.eq_any(ids)),
        )
        .select((share::integration_id, share::all_active))
        .load(conn)?
        .into_iter()
        .collect();
    let listed: HashSet<(IntegrationId, String, String)> = share_field::table
        .filter(
            share_field::group_id
                .eq(group_id)
                .and(share_field::integration_id.eq_any(ids)),
        )
        .select((share_field::integration_id, share_field::object, share_field::key))
        .load(conn)?
        .into_iter()
        .collect();
    let mut seen: HashMap<IntegrationId, Vec<SeenField>> = HashMap::new();
    for field in field::list(conn, ids)? {
        let id = field.integration_id;
        let Some(owner) = owners.get(&id) else { continue };
        let active_for_owner = decided.active(id, owner, &field.object, &field.key, true);
        let active = if owner == group_id {
            active_for_owner
        } else {
            let shared = match shares.get(&id) {
                None => false,
                Some(true) => true,
                Some(false) => listed.contains(&(id, field.object.clone(), field.key.clone())),
            };
            if !shared || !active_for_owner {
                continue;
            }
            decided.active(id, group_id, &field.object, &field.key, false)
        };
        seen.entry(id).or_default().push(SeenField { field, active });
    }
    Ok(seen)
}

/// What groups decided of fields.
pub(super) struct Decisions(HashMap<(IntegrationId, GroupId), HashMap<(String, String), bool>>);

impl Decisions {
    pub(super) fn load<'a>(
        conn: &mut Conn,
        ids: &[IntegrationId],
        groups: impl Iterator<Item = &'a GroupId>,
    ) -> Result<Self, Error> {
        let rows: Vec<(IntegrationId, GroupId, String, String, bool)> = activation::table
            .filter(
                activation::integration_id
                    .eq_any(ids)
                    .and(activation::group_id.eq_any(groups)),
            )
            .select((
                activation::integration_id,
                activation::group_id,
                activation::object,
                activation::key,
                activation::active,
            ))
            .load(conn)?;
        let mut by: HashMap<_, HashMap<_, _>> = HashMap::new();
        for (id, group, object, key, active) in rows {
            by.entry((id, group)).or_default().insert((object, key), active);
        }
        Ok(Self(by))
    }

    /// Whether a field is active for a group; without a decision it is as `default` says.
    pub(super) fn active(
        &self,
        id: IntegrationId,
        group: &GroupId,
        object: &str,
        key: &str,
        default: bool,
    ) -> bool {
        self.0
            .get(&(id, group.clone()))
            .and_then(|of| of.get(&(object.to_owned(), key.to_owned())))
            .copied()
            .unwrap_or(default)
    }
}

/// Stores what a group decides of fields.
pub(super) fn decide(
    conn: &mut Conn,
    id: IntegrationId,
    group_id: &GroupId,
    fields: &[FieldRef],
    active: bool,
) -> Result<(), Error> {
    for field in fields {
        diesel::delete(activation::table.find((id, group_id, &field.object, &field.key))).execute(conn)?;
    }
    let rows: Vec<_> = fields
        .iter()
        .map(|field| {
            (
                activation::integration_id.eq(id),
                activation::group_id.eq(group_id),
                activation::object.eq(&field.object),
                activation::key.eq(&field.key),
                activation::active.eq(active),
            )
        })
        .collect();
    match conn {
        Conn::Sqlite(c) => diesel::insert_into(activation::table).values(&rows).execute(c)?,
        Conn::Postgres(c) => diesel::insert_into(activation::table).values(&rows).execute(c)?,
    };
    Ok(())
}

/// Locks a group that exists, so that nothing else takes a label in it meanwhile.
pub(super) fn lock_group(conn: &mut Conn, group_id: &GroupId) -> Result<(), Error> {
    let found: Result<String, _> = first_locked!(
        conn,
        groups::table
            .find(group_id)
            .filter(groups::delete_us.is_null())
            .select(groups::display_name)
    );
    found.or_not_found(Noun::Group, group_id).map(|_| ())
}

/// Gives a group a source, under a label that is free in it: the one wished for, or one like it. What the group has
/// already stays as it is; whether it was new.
pub(super) fn add(
    conn: &mut Conn,
    group_id: &GroupId,
    id: IntegrationId,
    name: &str,
    now_us: Micros,
) -> Result<bool, Error> {
    lock_group(conn, group_id)?;
    let known: i64 = source::table.find((group_id, id)).count().get_result(conn)?;
    if known > 0 {
        return Ok(false);
    }
    let label = free_label(conn, group_id, name)?;
    let row = Row {
        group_id: group_id.clone(),
        integration_id: id,
        label,
        connected: true,
        create_us: now_us,
    };
    diesel::insert_into(source::table).values(&row).execute(conn)?;
    Ok(true)
}

/// The label that a source of this name gets: the name's own, or one like it that is free.
pub(super) fn free_label(conn: &mut Conn, group_id: &GroupId, name: &str) -> Result<String, Error> {
    let taken: HashSet<String> = source::table
        .filter(source::group_id.eq(group_id))
        .select(source::label)
        .load(conn)?
        .into_iter()
        .collect();
    let wanted = slug(name);
    let mut label = wanted.clone();
    let mut n = 2;
    while taken.contains(&label) {
        let suffix = format!("_{n}");
        label = format!("{}{suffix}", &wanted[..wanted.len().min(40 - suffix.len())]);
        n += 1;
    }
    Ok(label)
}

fn label_taken(label: &str) -> Error {
    Error::conflict(
        Conflict::Label,
        format!("the group has a source with the label \"{label}\" already"),
    )
}

/// Changes a group's label of a source. [`Conflict::Label`] if it has another of that label.
pub(super) fn set_label(
    conn: &mut Conn,
    group_id: &GroupId,
    id: IntegrationId,
    label: &str,
) -> Result<(), Error> {
    match diesel::update(source::table.find((group_id, id)))
        .set(source::label.eq(label))
        .execute(conn)
    {
        Err(error) if is_unique_violation(&error, "label") => Err(label_taken(label)),
        other => Ok(other.map(|_| ())?),
    }
}

/// Sets whether a group uses a source.
pub(super) fn set_connected(
    conn: &mut Conn,
    group_id: &GroupId,
    id: IntegrationId,
    connected: bool,
) -> Result<(), Error> {
    diesel::update(source::table.find((group_id, id)))
        .set(source::connected.eq(connected))
        .execute(conn)?;
    Ok(())
}
