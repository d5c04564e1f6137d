//! Decodes messages of connectors, and removes NUL from all their texts.
//!
//! PostgreSQL cannot store NUL, and no text of a CRM needs it. The SDK removes it from values. Here it is removed
//! from all other texts of any connector (labels, options, names, errors), once, when the message is decoded. Fields
//! of type bytes (payloads, checkpoints, credentials) are not changed.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::{DecodeError, Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, Value};
use tether_connector_proto as proto;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).unwrap_or_default());

/// Decodes a message and removes NUL from its texts.
pub(crate) fn decode<M: Message + Name + Default>(bytes: Bytes) -> Result<M, DecodeError> {
    // Only few messages contain such a byte, so check that first.
    if bytes.contains(&0)
        && let Some(of) = POOL.get_message_by_name(&M::full_name())
    {
        let mut message = DynamicMessage::decode(of, bytes.clone())?;
        if clean(&mut message) {
            return M::decode(Bytes::from(message.encode_to_vec()));
        }
    }
    M::decode(bytes)
}

/// Removes NUL from the texts of a message. Returns whether there was any.
fn clean(message: &mut DynamicMessage) -> bool {
    message
        .fields_mut()
        .fold(false, |any, (_, value)| clean_value(value) || any)
}

fn clean_value(value: &mut Value) -> bool {
    match value {
        Value::String(text) => clean_text(text),
        Value::Message(message) => clean(message),
        // `count` visits all elements; `any` would stop at the first match.
        Value::List(list) => list.iter_mut().map(clean_value).filter(|any| *any).count() > 0,
        Value::Map(map) => {
            let mut any = map.values_mut().map(clean_value).filter(|any| *any).count() > 0;
            let dirty: Vec<MapKey> = map
                .keys()
                .filter(|key| matches!(key, MapKey::String(key) if key.contains('\0')))
                .cloned()
                .collect();
            for key in dirty {
                if let (Some(value), MapKey::String(mut key)) = (map.remove(&key), key) {
                    any |= clean_text(&mut key);
                    map.insert(MapKey::String(key), value);
                }
            }
            any
        }
        _ => false,
    }
}

fn clean_text(text: &mut String) -> bool {
    let before = text.len();
    text.retain(|c| c != '\0');
    text.len() != before
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_text_loses_its_nul_and_bytes_keep_theirs() {
        let batch = |nul: &str| proto::RecordBatch {
            object: format!("Acc{nul}ount"),
            records: vec![proto::Record {
                external_id: format!("0{nul}1"),
                payload: Bytes::from_static(b"\0"),
                display_name: format!("{nul}Acme"),
                parents: vec![proto::Parent {
                    object: "Account".to_owned(),
                    external_id: format!("2{nul}"),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let taken: proto::RecordBatch = decode(batch("\0").encode_to_vec().into()).unwrap();
        assert_eq!(taken, batch(""));
        let error = |nul: &str| proto::Error {
            message: format!("no{nul} way"),
            code: nul.to_owned(),
            ..Default::default()
        };
        let taken: proto::Error = decode(error("\0\0").encode_to_vec().into()).unwrap();
        assert_eq!(taken, error(""));
    }

    #[test]
    fn what_has_none_is_taken_as_it_is() {
        // In a list, an empty text is encoded as a length of zero.
        let message = proto::Credentials::default().encode_to_vec();
        assert_eq!(
            decode::<proto::Credentials>(message.into())
                .unwrap()
                .encode_to_vec(),
            b""
        );
        assert!(decode::<proto::Error>(Bytes::from_static(b"\0\0\0")).is_err());
    }
}
