//! The codec of the services. It refuses a request with NUL in any of its texts and names the field.
//!
//! PostgreSQL cannot store NUL, and no valid text has it. The codec checks every message once, instead of
//! each RPC. Lone surrogates cannot occur, because protobuf's texts are UTF-8.

use std::{marker::PhantomData, sync::LazyLock};

use bytes::{Buf, Bytes};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, Value};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::error::Error;
use crate::proto::FILE_DESCRIPTOR_SET;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap_or_default());

/// Encodes and decodes messages of the services.
pub struct Texts<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Texts<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Texts<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = TextsDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        TextsDecoder(PhantomData)
    }
}

/// Decodes messages, and refuses requests with NUL in a text.
pub struct TextsDecoder<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for TextsDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        // Most requests have no zero byte at all. Clients decode answers with the same code.
        if bytes.contains(&0)
            && U::NAME.ends_with("Request")
            && let Some(field) = POOL
                .get_message_by_name(&U::full_name())
                .and_then(|of| nul(of, bytes.clone()))
        {
            return Err(Error::invalid(field, "holds NUL (U+0000), which no text may hold").into());
        }
        // This is the library's message, which identifies bodies that cannot be decoded.
        U::decode(bytes)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// The path of the first field with NUL in its text.
fn nul(of: MessageDescriptor, bytes: Bytes) -> Option<String> {
    // Messages that cannot be decoded are rejected later.
    in_message(&DynamicMessage::decode(of, bytes).ok()?)
}

fn in_message(message: &DynamicMessage) -> Option<String> {
    message.fields().find_map(|(field, value)| {
        let inside = in_value(value)?;
        Some(format!("{}{inside}", field.name()))
    })
}

/// The path of the text inside a value, without the name of the field.
fn in_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Message(message) => Some(format!(".{}", in_message(message)?)),
        Value::List(list) => list
            .iter()
            .enumerate()
            .find_map(|(at, value)| Some(format!("[{at}]{}", in_value(value)?))),
        Value::Map(map) => map.iter().find_map(|(key, value)| match key {
            MapKey::String(key) if key.contains('\0') => Some(String::new()),
            key => Some(format!("[{}]{}", shown(key), in_value(value)?)),
        }),
        _ => None,
    }
}

fn shown(key: &MapKey) -> String {
    match key {
        MapKey::String(key) => key.chars().take(60).collect(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::Kind;

    use super::*;
    use crate::proto::v1;

    fn found<T: Message + Name>(message: &T) -> Option<String> {
        let of = POOL.get_message_by_name(&T::full_name());
        nul(
            of.unwrap_or_else(|| panic!("{} is not described", T::full_name())),
            message.encode_to_vec().into(),
        )
    }

    #[test]
    fn the_field_is_named_wherever_it_is() {
        let bad = || "a\0b".to_owned();
        let plain = v1::GetIntegrationRequest { name: bad() };
        assert_eq!(found(&plain).as_deref(), Some("name"));
        let nested = v1::UpdateIntegrationRequest {
            integration: Some(v1::Integration {
                display_name: bad(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(found(&nested).as_deref(), Some("integration.display_name"));
        let listed = v1::UpdateIntegrationRequest {
            integration: Some(v1::Integration {
                selected_fields: vec!["Account.Name".to_owned(), bad()],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(found(&listed).as_deref(), Some("integration.selected_fields[1]"));
        let map = |key: &str, value: String| v1::AuthorizeWithCredentialsRequest {
            parameters: [(key.to_owned(), value)].into(),
            ..Default::default()
        };
        assert_eq!(
            found(&map("password", bad())).as_deref(),
            Some("parameters[password]")
        );
        assert_eq!(
            found(&map("pass\0word", "x".to_owned())).as_deref(),
            Some("parameters")
        );
    }

    /// Messages with NUL in one text each, with its path.
    fn poisoned(of: &MessageDescriptor, depth: usize) -> Vec<(String, DynamicMessage)> {
        let text = || Value::String("a\0".to_owned());
        let mut all = Vec::new();
        for field in of.fields() {
            let inside: Vec<(String, Value)> = match field.kind() {
                Kind::String => vec![(String::new(), text())],
                Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
                    Kind::String => {
                        let map = [(MapKey::String("key".to_owned()), text())].into();
                        vec![("[key]".to_owned(), Value::Map(map))]
                    }
                    _ => Vec::new(),
                },
                Kind::Message(of) if depth > 0 => poisoned(&of, depth - 1)
                    .into_iter()
                    .map(|(path, message)| (format!(".{path}"), Value::Message(message)))
                    .collect(),
                _ => Vec::new(),
            };
            for (path, value) in inside {
                let (path, value) = match field.is_list() {
                    true => (format!("{}[0]{path}", field.name()), Value::List(vec![value])),
                    false => (format!("{}{path}", field.name()), value),
                };
                let mut message = DynamicMessage::new(of.clone());
                message.set_field(&field, value);
                all.push((path, message));
            }
        }
        all
    }

    #[test]
    fn every_text_of_every_request_is_looked_at() {
        let mut texts = 0;
        for service in POOL.services().filter(|one| one.package_name() == "tether.v1") {
            for method in service.methods() {
                assert!(
                    method.input().name().ends_with("Request"),
                    "{}",
                    method.full_name()
                );
                for (path, message) in poisoned(&method.input(), 3) {
                    let found = nul(method.input(), message.encode_to_vec().into());
                    assert_eq!(found.as_deref(), Some(path.as_str()), "{}", method.full_name());
                    texts += 1;
                }
            }
        }
        assert!(texts > 100, "{texts}");
    }

    #[test]
    fn other_bytes_of_zero_are_none() {
        let request = v1::UpdateIntegrationRequest {
            update_mask: Some(prost_types::FieldMask::default()),
            integration: Some(v1::Integration {
                selected_fields: vec![String::new()],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(request.encode_to_vec().contains(&0));
        assert_eq!(found(&request), None);
    }
}
