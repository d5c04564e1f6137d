//! The selected fields of integrations.
//!
//! A deselected field is missing from answers at once; the stored payloads lose it with the next sync.
//! Rewriting a million payloads for one changed selection would cost more than it hides.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use super::{
    Error, Integration, Store, Tx, conn::Conn, event::NewEvents, integration, schema::integration_field,
};
use crate::domain::{EventKind, FieldType, IntegrationId, Micros, alias, is_readable};

/// A selected field.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = integration_field, treat_none_as_default_value = false)]
pub struct Field {
    /// Of which integration. Set by the store where fields are given to it.
    pub integration_id: IntegrationId,
    /// The object's key.
    pub object: String,
    /// The field's key.
    pub key: String,
    /// The name people see.
    pub label: String,
    /// Its type.
    pub field_type: FieldType,
    /// The rest of the connector's description (picklist values, scale), as JSON.
    pub describe: String,
    /// Its place among the fields of the integration.
    pub position: i64,
    /// Since when it is gone in the CRM or no longer visible.
    pub missing_us: Option<Micros>,
    /// Another name for the key in filters, unique in the object; empty if the key can be written itself. Set by the
    /// store, and never changed while the field is selected.
    pub alias: String,
    /// Since when it is selected: what was read of it before may have been dropped since.
    pub select_us: Micros,
}

/// The texts by which the CRM describes a field now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldText {
    /// The object's key.
    pub object: String,
    /// The field's key.
    pub key: String,
    /// The name people see.
    pub label: String,
    /// The rest of the connector's description, as JSON.
    pub describe: String,
}

/// A field of an integration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRef {
    /// The object's key.
    pub object: String,
    /// The field's key.
    pub key: String,
}

impl Tx<'_> {
    /// How many fields an integration selects.
    pub fn field_count(&mut self, id: IntegrationId) -> Result<i64, Error> {
        let selected = integration_field::table.filter(integration_field::integration_id.eq(id));
        Ok(selected.count().get_result(self.conn)?)
    }
}

impl Store {
    /// The selected fields, in their order.
    pub async fn field_list(&self, integration_id: IntegrationId) -> Result<Vec<Field>, Error> {
        self.read(move |conn| list(conn, &[integration_id])).await
    }

    /// Stores new texts of fields, and gives an alias to the fields that need one.
    pub async fn field_renew(
        &self,
        integration_id: IntegrationId,
        texts: Vec<FieldText>,
    ) -> Result<(), Error> {
        if texts.is_empty() && add_aliases(&mut self.field_list(integration_id).await?).is_empty() {
            return Ok(());
        }
        self.write(move |conn| {
            // Who writes fields holds their integration: an edit replaces all of them.
            integration::lock(conn, integration_id)?;
            for text in &texts {
                diesel::update(integration_field::table.find((integration_id, &text.object, &text.key)))
                    .set((
                        integration_field::label.eq(&text.label),
                        integration_field::describe.eq(&text.describe),
                    ))
                    .execute(conn)?;
            }
            let mut fields = list(conn, &[integration_id])?;
            for at in add_aliases(&mut fields) {
                let field = &fields[at];
                diesel::update(integration_field::table.find((integration_id, &field.object, &field.key)))
                    .set(integration_field::alias.eq(&field.alias))
                    .execute(conn)?;
            }
            Ok(())
        })
        .await
    }

    /// Marks fields as missing since this time, where they are not already; returns how many.
    pub async fn field_mark_missing(
        &self,
        integration_id: IntegrationId,
        fields: Vec<FieldRef>,
        now_us: Micros,
    ) -> Result<usize, Error> {
        self.write_with_events(move |conn, events| {
            // Who writes fields holds their integration: an edit replaces all of them.
            let of = integration::lock(conn, integration_id)?;
            mark_missing(conn, events, &of, &fields, now_us)
        })
        .await
    }
}

pub(super) fn list(conn: &mut Conn, integration_ids: &[IntegrationId]) -> Result<Vec<Field>, Error> {
    Ok(integration_field::table
        .filter(integration_field::integration_id.eq_any(integration_ids))
        .order((
            integration_field::integration_id,
            integration_field::position,
            integration_field::object,
            integration_field::key,
        ))
        .select(Field::as_select())
        .load(conn)?)
}

/// Gives an alias to each field that needs one and has none: its key cannot be written in filters, or is the alias of
/// another field of its object. Returns the places of these fields.
fn add_aliases(fields: &mut [Field]) -> Vec<usize> {
    let mut taken: HashSet<(String, String)> = HashSet::new();
    let mut aliases: HashSet<(String, String)> = HashSet::new();
    for field in fields.iter() {
        taken.insert((field.object.clone(), field.key.clone()));
        if !field.alias.is_empty() {
            taken.insert((field.object.clone(), field.alias.clone()));
            aliases.insert((field.object.clone(), field.alias.clone()));
        }
    }
    let mut added = Vec::new();
    for (at, field) in fields.iter_mut().enumerate() {
        let own = (field.object.clone(), field.key.clone());
        if !field.alias.is_empty() || (is_readable(&field.key) && !aliases.contains(&own)) {
            continue;
        }
        let wanted = alias(&field.label);
        let mut free = wanted.clone();
        let mut n = 2;
        while !taken.insert((field.object.clone(), free.clone())) {
            free = format!("{wanted}_{n}");
            n += 1;
        }
        aliases.insert((field.object.clone(), free.clone()));
        field.alias = free;
        added.push(at);
    }
    added
}

/// What replacing a selection changed.
pub(super) struct Replaced {
    /// A field came, went, or has another type.
    pub(super) changed: bool,
    /// There is more to read: one came, or has another type.
    pub(super) to_read: bool,
}

/// Puts these fields in the place of the old ones. Kept fields stay missing where they were.
pub(super) fn replace(
    conn: &mut Conn,
    integration_id: IntegrationId,
    mut fields: Vec<Field>,
) -> Result<Replaced, Error> {
    let old: HashMap<(String, String), Field> = list(conn, &[integration_id])?
        .into_iter()
        .map(|f| ((f.object.clone(), f.key.clone()), f))
        .collect();
    let fewer = old.len() > fields.len();
    let mut to_read = false;
    for (position, field) in fields.iter_mut().enumerate() {
        field.integration_id = integration_id;
        field.position = position as i64;
        match old.get(&(field.object.clone(), field.key.clone())) {
            Some(known) => {
                field.missing_us = known.missing_us;
                field.alias.clone_from(&known.alias);
                field.select_us = known.select_us;
                to_read |= known.field_type != field.field_type;
            }
            None => {
                field.alias.clear();
                to_read = true;
            }
        }
    }
    add_aliases(&mut fields);
    diesel::delete(integration_field::table.filter(integration_field::integration_id.eq(integration_id)))
        .execute(conn)?;
    match conn {
        Conn::Sqlite(c) => {
            diesel::insert_into(integration_field::table)
                .values(&fields)
                .execute(c)?;
        }
        Conn::Postgres(c) => {
            // 10 columns each, 65,535 bound values at most.
            for part in fields.chunks(4000) {
                diesel::insert_into(integration_field::table)
                    .values(part)
                    .execute(c)?;
            }
        }
    }
    Ok(Replaced {
        changed: fewer || to_read,
        to_read,
    })
}

/// Marks fields as missing, where they are not already, and tells the owner; how many. The integration is locked.
pub(super) fn mark_missing(
    conn: &mut Conn,
    events: &mut NewEvents,
    of: &Integration,
    fields: &[FieldRef],
    now_us: Micros,
) -> Result<usize, Error> {
    let mut missing = 0;
    for field in fields {
        let row = integration_field::table
            .find((of.id, &field.object, &field.key))
            .filter(integration_field::missing_us.is_null());
        let changed = diesel::update(row)
            .set(integration_field::missing_us.eq(now_us))
            .execute(conn)?;
        if changed > 0 {
            missing += 1;
            let subject = format!("{}/fields/{}.{}", of.id.name(), field.object, field.key);
            // For the owner alone: receivers may not see what is selected.
            events.add(&of.group_id, EventKind::FieldMissing, of.id, &subject, now_us);
        }
    }
    Ok(missing)
}

/// Fields are there again; the integration is locked.
pub(super) fn clear_missing(
    conn: &mut Conn,
    integration_id: IntegrationId,
    fields: &[FieldRef],
) -> Result<(), Error> {
    for field in fields {
        diesel::update(integration_field::table.find((integration_id, &field.object, &field.key)))
            .set(integration_field::missing_us.eq(None::<Micros>))
            .execute(conn)?;
    }
    Ok(())
}

pub(super) fn set_type(
    conn: &mut Conn,
    integration_id: IntegrationId,
    field: &FieldRef,
    field_type: FieldType,
) -> Result<(), Error> {
    diesel::update(integration_field::table.find((integration_id, &field.object, &field.key)))
        .set(integration_field::field_type.eq(field_type))
        .execute(conn)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(object: &str, key: &str, label: &str, alias: &str) -> Field {
        Field {
            integration_id: IntegrationId::from_uuid(uuid::Uuid::nil()),
            object: object.to_owned(),
            key: key.to_owned(),
            label: label.to_owned(),
            field_type: FieldType::Text,
            describe: String::new(),
            position: 0,
            missing_us: None,
            alias: alias.to_owned(),
            select_us: 0,
        }
    }

    #[test]
    fn aliases_are_unique_in_their_object_and_stay() {
        let mut fields = [
            field("Deal", "a.b", "Size", ""),
            field("Deal", "size", "Size", ""),
            field("Deal", "c d", "Size", ""),
            field("Deal", "e f", "Renamed since", "colour"),
            field("Person", "a.b", "Size", ""),
        ];
        assert_eq!(add_aliases(&mut fields), [0, 2, 4]);
        let aliases = |fields: &[Field]| fields.iter().map(|field| field.alias.clone()).collect::<Vec<_>>();
        // `size` is a key: no alias takes it.
        let given = ["size_2", "", "size_3", "colour", "size"];
        assert_eq!(aliases(&fields), given);
        assert!(add_aliases(&mut fields).is_empty());
        // A later field whose key is an alias gets one of its own, and the others keep theirs.
        let mut more: Vec<Field> = fields
            .into_iter()
            .chain([field("Deal", "colour", "Colour", "")])
            .collect();
        assert_eq!(add_aliases(&mut more), [5]);
        assert_eq!(aliases(&more)[..5], given);
        assert_eq!(more[5].alias, "colour_2");
    }
}
