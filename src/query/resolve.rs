//! Finds what the names of a filter or an order stand for: a source, a field, and the values of the field in the index.

use std::borrow::Cow;

use super::ast::Name;
use super::problem::{Fault, Problem, fault};
use crate::domain::{FieldType, IntegrationId, is_word};
use crate::index::{self, ADDRESS, Kind};
use crate::picklist::LazyPicklist;

type Result<T> = std::result::Result<T, Problem>;

/// A source that can be queried: one integration, as a group sees it. Where several sources have a company, the first
/// in the list gives the company its name.
#[derive(Debug, Clone)]
pub struct Source {
    /// The integration.
    pub integration: IntegrationId,
    /// The label that the group gave it.
    pub label: String,
    /// The object whose records are companies.
    pub company_object: String,
    /// The fields that the group is allowed to see.
    pub fields: Vec<Field>,
}

/// A field of a source.
#[derive(Debug, Clone)]
pub struct Field {
    /// The object of the field.
    pub object: String,
    /// The key of the field.
    pub key: String,
    /// Another name for the key; empty if it has none.
    pub alias: String,
    /// The type of the field.
    pub field_type: FieldType,
    /// Whether it holds long text.
    pub long_text: bool,
    /// Whether the field is active for the group.
    pub active: bool,
    /// The labels of its entries, if it is a picklist.
    pub picklist: LazyPicklist,
}

/// The name of a field in filters: source, object, and alias or key, in quotes if they need them.
#[must_use]
pub fn query_key(label: &str, object: &str, key: &str, alias: &str) -> String {
    let key = if alias.is_empty() { key } else { alias };
    format!("{label}.{}.{}", quoted(object), quoted(key))
}

fn quoted(key: &str) -> Cow<'_, str> {
    if is_word(key) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!("\"{}\"", key.replace('\\', r"\\").replace('"', "\\\"")))
}

pub(super) fn source(sources: &[Source], label: &Name) -> Result<usize> {
    let found = sources.iter().position(|source| source.label == label.text);
    found.ok_or_else(|| fault(label, "is not the label of a source; ListSources lists them"))
}

/// The source of an object that has a field which is active for the group.
pub(super) fn object(sources: &[Source], label: &Name, object: &Name) -> Result<usize> {
    let at = source(sources, label)?;
    let mut fields = sources[at]
        .fields
        .iter()
        .filter(|field| field.object == object.text)
        .peekable();
    if fields.peek().is_none() {
        return Err(fault(object, "is not an object of the source with usable fields"));
    }
    if !fields.any(|field| field.active) {
        return Err(fault(
            object,
            "has only passive fields; activate one with BatchUpdateFieldActivation",
        ));
    }
    Ok(at)
}

/// The field, if it exists and is active.
pub(super) fn field<'a>(
    sources: &'a [Source],
    label: &Name,
    object: &Name,
    key: &Name,
) -> Result<(usize, &'a Field)> {
    let at = source(sources, label)?;
    let fields = || {
        sources[at]
            .fields
            .iter()
            .filter(|field| field.object == object.text)
    };
    let full = || format!("{}.{}.{}", label.spot.token, object.spot.token, key.spot.token);
    // A field whose key is another field's alias has an alias of its own.
    let named = fields().find(|field| !field.alias.is_empty() && field.alias == key.text);
    let Some(field) = named.or_else(|| fields().find(|field| field.key == key.text)) else {
        let mut message = "is not a usable field of the source; ListFields lists the fields".to_owned();
        // The key may have been cut at its first character that is not allowed in a word.
        if let Some(field) =
            fields().find(|field| !field.alias.is_empty() && field.key.starts_with(&key.text))
        {
            let name = query_key(&label.text, &field.object, &field.key, &field.alias);
            message = format!("{message}; one of them is written {name}");
        }
        return Err(Problem::new(Fault::Unknown(full()), key.spot.clone(), message));
    };
    if !field.active {
        let message = "the field is passive; activate it with BatchUpdateFieldActivation";
        return Err(Problem::new(Fault::Passive(full()), key.spot.clone(), message));
    }
    Ok((at, field))
}

/// The indexed values that a condition tests.
pub(super) struct Target {
    /// Their paths in the index; several only for a field with parts.
    pub(super) paths: Vec<String>,
    /// How values are compared; `None` for a field with parts, which can only be tested for being set.
    pub(super) kind: Option<Kind>,
}

/// The indexed values of a field, or of a part of it.
pub(super) fn target(field: &Field, part: Option<&Name>) -> Result<Target> {
    let path = |part: &str| index::path(&field.object, &field.key, part);
    let one = |path, kind| Target {
        paths: vec![path],
        kind: Some(kind),
    };
    let kind = Kind::of(field.field_type, field.long_text);
    let Some(part) = part else {
        return Ok(match kind {
            Kind::Reference => one(path(""), kind),
            Kind::Address => Target {
                paths: ADDRESS.iter().map(|part| path(part)).collect(),
                kind: None,
            },
            Kind::Location => Target {
                paths: vec![path("latitude")],
                kind: None,
            },
            kind => one(path(""), kind),
        });
    };
    Ok(match (kind, field.field_type, part.text.as_str()) {
        (Kind::Reference, _, "id") => one(path("id"), Kind::Text),
        (Kind::Reference, _, "label") => one(path(""), Kind::Text),
        (Kind::Address, _, part) if ADDRESS.contains(&part) => one(path(part), Kind::Text),
        (Kind::Location, _, "latitude" | "longitude") => one(path(&part.text), Kind::Number),
        (_, FieldType::Currency, "amount") => one(path(""), Kind::Number),
        (_, FieldType::Currency, "currency_code") => one(path("currency_code"), Kind::Text),
        _ => return Err(fault(part, "is not a part of this type of field")),
    })
}

/// The paths of the numbers of a field that can be added up, and of their currencies if they are amounts.
pub(super) fn amount(field: &Field, key: &Name, part: Option<&Name>) -> Result<(String, Option<String>)> {
    let numeric = Kind::of(field.field_type, field.long_text) == Kind::Number;
    let target = target(field, part)?;
    match (target.paths.as_slice(), target.kind) {
        ([path], Some(Kind::Number)) if numeric => {
            let currency = || index::path(&field.object, &field.key, "currency_code");
            let currency = (field.field_type == FieldType::Currency).then(currency);
            Ok((path.clone(), currency))
        }
        _ => Err(fault(
            part.unwrap_or(key),
            "cannot be added up: sum needs a number, a percentage or an amount",
        )),
    }
}
