//! Values of JSON documents. Numbers are read as text, without floating point.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Address, Payload};
use crate::proto::FieldType;

/// Sets one field from JSON text.
pub(super) fn set(payload: &mut Payload, place: usize, kind: FieldType, json: &str) {
    match json.as_bytes().first() {
        None | Some(b'n') => {}
        Some(b'"') => match texts(json) {
            Some(text) => payload.value(place, kind, &text),
            None => payload.raw(place, json),
        },
        Some(b'{') => object(payload, place, kind, json),
        Some(b'[') => array(payload, place, kind, json),
        // For a number or a literal, the text is the value, whatever the type.
        Some(_) => payload.value(place, kind, json),
    }
}

/// The text of a JSON string.
fn texts(json: &str) -> Option<Cow<'_, str>> {
    // Most strings have no escape.
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inside.bytes().any(|byte| matches!(byte, b'\\' | b'"' | 0..0x20)) {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str::<String>(json).ok().map(Cow::Owned)
}

/// The text of a JSON scalar; empty for null.
fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => texts(json),
        b'n' => Some(Cow::Borrowed("")),
        b'{' | b'[' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

fn object(payload: &mut Payload, place: usize, kind: FieldType, json: &str) {
    let Ok(parts) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(json) else {
        return payload.raw(place, json);
    };
    let part = |name: &str| {
        parts
            .get(name)
            .map_or(Some(Cow::Borrowed("")), |part| scalar(part.get()))
    };
    let known = |names: &[&str]| parts.keys().all(|name| names.contains(&name.as_ref()));
    match kind {
        _ if parts.len() == 1 && parts.contains_key("raw") => {
            if let Some(text) = part("raw") {
                return payload.raw(place, &text);
            }
        }
        FieldType::Currency if known(&["amount", "currency"]) => {
            if let (Some(amount), Some(currency)) = (part("amount"), part("currency")) {
                payload.value(place, kind, &amount);
                return payload.currency(place, &currency);
            }
        }
        FieldType::Reference if known(&["id", "label"]) => {
            if let (Some(id), Some(label)) = (part("id"), part("label")) {
                return payload.reference(place, &id, &label);
            }
        }
        FieldType::Location if known(&["latitude", "longitude"]) => {
            if let (Some(latitude), Some(longitude)) = (part("latitude"), part("longitude")) {
                return payload.location(place, &latitude, &longitude);
            }
        }
        FieldType::Address => {
            const PARTS: [&str; 7] = [
                "city",
                "country",
                "country_code",
                "postal_code",
                "state",
                "state_code",
                "street",
            ];
            if known(&PARTS)
                && let [
                    Some(city),
                    Some(country),
                    Some(country_code),
                    Some(postal_code),
                    Some(state),
                    Some(state_code),
                    Some(street),
                ] = &PARTS.map(part)
            {
                let address = Address {
                    city,
                    country,
                    country_code,
                    postal_code,
                    state,
                    state_code,
                    street,
                };
                return payload.address(place, &address);
            }
        }
        _ => {}
    }
    payload.raw(place, json);
}

fn array(payload: &mut Payload, place: usize, kind: FieldType, json: &str) {
    if kind == FieldType::MultiPicklist
        && let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(json)
        && let Some(values) = values
            .iter()
            .map(|value| scalar(value.get()))
            .collect::<Option<Vec<_>>>()
    {
        return payload.list(place, values.iter().map(AsRef::as_ref));
    }
    payload.raw(place, json);
}
