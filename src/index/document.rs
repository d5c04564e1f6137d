//! The index document of a record: the schema, and the values under the paths that tests use.
//!
//! The values are made here, not by the library: integers and decimals as scaled whole numbers or as texts
//! that sort like the number, texts folded, long texts as a hash. The library would guess dates and floats,
//! and every comparison has to be exact.

use std::collections::BTreeMap;

use serde::Deserialize;
use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, IndexRecordOption, JsonObjectOptions, OwnedValue, STRING, Schema, TextFieldIndexing,
};

use super::moment;
use super::number::Number;
use super::text::{self, fold, words};
use crate::domain::{CompanyId, FieldType, name_key};
use crate::identity::Homepage;
use crate::store::{self, Change};
use crate::value::{self, Value};

/// How values of a field are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, compared as a whole and by words.
    Text,
    /// Long text and HTML: compared by words; as a whole only for equality.
    Long,
    /// A list of texts.
    List,
    /// An exact decimal.
    Number,
    /// A boolean.
    Boolean,
    /// A date.
    Date,
    /// A timestamp.
    Timestamp,
    /// A time of day.
    Time,
    /// A reference to a record: `id` and `label`.
    Reference,
    /// A postal address, compared by its parts.
    Address,
    /// A geographic location: `latitude` and `longitude`.
    Location,
}

impl Kind {
    /// How values of this type are compared.
    #[must_use]
    pub fn of(field_type: FieldType, long_text: bool) -> Self {
        use FieldType as T;
        match field_type {
            T::Html => Self::Long,
            T::Text | T::Picklist | T::Url | T::Email | T::Phone if long_text => Self::Long,
            T::Text | T::Picklist | T::Url | T::Email | T::Phone => Self::Text,
            T::MultiPicklist => Self::List,
            T::Boolean => Self::Boolean,
            T::Integer | T::Decimal | T::Currency | T::Percent => Self::Number,
            T::Date => Self::Date,
            T::Timestamp => Self::Timestamp,
            T::Time => Self::Time,
            T::Reference => Self::Reference,
            T::Address => Self::Address,
            T::Location => Self::Location,
        }
    }

    /// How values of a stored field are compared.
    #[must_use]
    pub fn of_field(field: &store::Field) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct More {
            long_text: bool,
        }
        let more: More = serde_json::from_str(&field.describe).unwrap_or_default();
        Self::of(field.field_type, more.long_text)
    }
}

/// The parts of an address.
pub const ADDRESS: &[&str] = &[
    "street",
    "city",
    "postal_code",
    "state",
    "state_code",
    "country",
    "country_code",
];

/// The path of a field, or of a part of it, in the index. Object names are never empty, so an empty object name
/// stands for the company itself.
#[must_use]
pub fn path(object: &str, key: &str, part: &str) -> String {
    fn escape(to: &mut String, text: &str) {
        use std::fmt::Write as _;
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'_' {
                to.push(byte as char);
            } else {
                let _ = write!(to, "%{byte:02x}");
            }
        }
    }
    let mut path = String::with_capacity(object.len() + key.len() + part.len() + 2);
    for (at, segment) in [object, key, part].into_iter().enumerate() {
        if at > 0 {
            path.push('/');
        }
        escape(&mut path, segment);
    }
    path
}

/// The path of the name that a source gives a company.
pub fn name() -> String {
    path("", "name", "")
}
/// The path of the key by which that name is sorted.
pub fn sorted_name() -> String {
    path("", "name_key", "")
}
/// The path of the domain of the homepage.
pub fn domain() -> String {
    path("", "domain", "")
}
/// The path of the displayed homepage.
pub fn homepage() -> String {
    path("", "homepage", "")
}
/// The path of the words of name and domain, without accents. The text at this path has the words of the name only.
pub fn found_by() -> String {
    path("", "found_by", "")
}
/// The path of the id of the record.
pub fn external_id() -> String {
    path("", "id", "")
}

/// The fields of the index.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// Object and id: the key by which documents are replaced and deleted.
    pub key: Field,
    /// The object.
    pub object: Field,
    /// A hash of object and id, as two 64-bit halves.
    pub id: [Field; 2],
    /// The company id, as two 64-bit halves; only for company records.
    pub company: [Field; 2],
    /// The hashes of the parent records, as two 64-bit halves.
    pub parents: [Field; 2],
    /// The values: `path/t` for text, `path/i` for integers, `path/d` for decimals that are not scaled integers.
    pub values: Field,
    /// `path`, a zero byte, and a word.
    pub words: Field,
}

impl Fields {
    pub(super) fn new() -> (Schema, Self) {
        let mut schema = Schema::builder();
        let json = JsonObjectOptions::default().set_fast("raw").set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer("raw")
                .set_fieldnorms(false)
                .set_index_option(IndexRecordOption::Basic),
        );
        let fields = Self {
            key: schema.add_text_field("key", STRING),
            object: schema.add_text_field("object", STRING),
            id: ["id0", "id1"].map(|name| schema.add_u64_field(name, FAST)),
            company: ["company0", "company1"].map(|name| schema.add_u64_field(name, FAST)),
            parents: ["parent0", "parent1"].map(|name| schema.add_u64_field(name, FAST)),
            values: schema.add_json_field("v", json),
            words: schema.add_text_field("words", STRING),
        };
        (schema.build(), fields)
    }
}

/// The key by which a record is replaced and deleted.
pub(super) fn key(object: &str, external_id: &str) -> String {
    format!("{object}\0{external_id}")
}

fn halves(of: u128) -> [u64; 2] {
    [(of >> 64) as u64, of as u64]
}

fn hash(object: &str, external_id: &str) -> u128 {
    let hash = blake3::hash(key(object, external_id).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

/// The term for the equality test of a long text: its hash.
#[must_use]
pub fn whole(folded: &str) -> String {
    blake3::hash(folded.as_bytes()).to_hex().to_string()
}

/// The known fields: by object and key, the field type and how values are compared.
pub(super) type Known = BTreeMap<String, BTreeMap<String, (FieldType, Kind)>>;

struct Writer<'a> {
    fields: &'a Fields,
    document: TantivyDocument,
    values: BTreeMap<String, OwnedValue>,
}

impl Writer<'_> {
    fn put(&mut self, path: &str, suffix: &str, value: OwnedValue) {
        self.values.insert(format!("{path}/{suffix}"), value);
    }

    fn words(&mut self, path: &str, text: &str) {
        for word in words(text) {
            self.document
                .add_text(self.fields.words, format!("{path}\0{word}"));
        }
    }

    fn text(&mut self, path: &str, text: &str) {
        let folded = fold(text);
        self.words(path, &folded);
        self.put(path, "t", stored(folded));
    }

    /// Adds a part of a value, unless it is empty.
    fn part(&mut self, path: &str, text: &str) {
        if !text.is_empty() {
            self.text(path, text);
        }
    }

    fn int(&mut self, path: &str, value: i64) {
        self.put(path, "i", OwnedValue::I64(value));
    }

    fn number(&mut self, path: &str, text: &str) {
        if let Some(number) = Number::parse(text) {
            match number.scaled() {
                Some(scaled) => self.int(path, scaled),
                None => self.put(path, "d", OwnedValue::Str(number.ordered())),
            }
        }
    }

    fn long(&mut self, path: &str, text: &str) {
        let folded = fold(text);
        self.words(path, &folded);
        self.put(path, "t", OwnedValue::Str(whole(&folded)));
    }

    fn value(&mut self, object: &str, field: &str, kind: Kind, value: Value) {
        let path = path(object, field, "");
        let of = |part| self::path(object, field, part);
        match value {
            Value::Text(text) if kind == Kind::Long => self.long(&path, &text),
            Value::Text(text) => self.text(&path, &text),
            Value::Html(html) => self.long(&path, &text::of_html(&html)),
            Value::Integer(number) => self.number(&path, &number.to_string()),
            Value::Decimal(number) | Value::Money(number) => self.number(&path, &number),
            Value::Boolean(yes) => self.int(&path, i64::from(yes)),
            Value::Date(text) => {
                if let Some(day) = moment::day(&text) {
                    self.int(&path, day);
                }
            }
            Value::Time(text) => {
                if let Some(us) = moment::time_of_day(&text) {
                    self.int(&path, us);
                }
            }
            Value::Timestamp(us) => self.int(&path, us),
            Value::List(entries) => {
                let folded = entries
                    .iter()
                    .map(|entry| stored(fold(entry)))
                    .collect::<Vec<_>>();
                if !folded.is_empty() {
                    self.put(&path, "t", OwnedValue::Array(folded));
                }
            }
            Value::Reference { id, label } => {
                self.part(&of("id"), &id);
                self.part(&path, &label);
            }
            Value::Address(address) => {
                let parts = [
                    &address.street,
                    &address.city,
                    &address.postal_code,
                    &address.state,
                    &address.state_code,
                    &address.country,
                    &address.country_code,
                ];
                for (name, text) in ADDRESS.iter().zip(parts) {
                    self.part(&of(name), text);
                }
            }
            Value::Location(latitude, longitude) => {
                self.number(&of("latitude"), &latitude);
                self.number(&of("longitude"), &longitude);
            }
            Value::Raw(_) => {}
        }
    }
}

/// Builds the document of a live record. Fields of its payload that are not known are added to `skipped`.
pub(super) fn document(
    fields: &Fields,
    change: &Change,
    known: &Known,
    skipped: &mut BTreeMap<String, std::collections::BTreeSet<String>>,
) -> TantivyDocument {
    let record = &change.record;
    let mut writer = Writer {
        fields,
        document: TantivyDocument::default(),
        values: BTreeMap::new(),
    };
    writer
        .document
        .add_text(fields.key, key(&record.object, &record.external_id));
    writer.document.add_text(fields.object, &record.object);
    let mut pair = |to: [Field; 2], of: u128| {
        for (field, half) in to.into_iter().zip(halves(of)) {
            writer.document.add_u64(field, half);
        }
    };
    pair(fields.id, hash(&record.object, &record.external_id));
    if let Some(company) = record.company_id {
        pair(fields.company, company_number(company));
    }
    for parent in &change.parents {
        pair(fields.parents, hash(&parent.object, &parent.external_id));
    }
    if record.company_id.is_some() {
        let page = record.homepage.as_deref().and_then(Homepage::read);
        let (domain_text, homepage_text) = page.map_or_else(Default::default, |page| {
            (page.domain.unwrap_or_default(), page.uri)
        });
        writer.part(&name(), &record.name);
        writer.part(&homepage(), &homepage_text);
        writer.part(&domain(), &domain_text);
        let sorted = name_key(&record.name);
        if !sorted.is_empty() {
            writer.put(&sorted_name(), "t", OwnedValue::Str(sorted));
        }
        writer.put(&external_id(), "t", OwnedValue::Str(record.external_id.clone()));
        let plain = text::plain(&record.name);
        writer.words(&found_by(), &plain);
        writer.words(&found_by(), &domain_text);
        let joined = words(&plain).collect::<Vec<_>>().join(" ");
        writer.put(&found_by(), "t", OwnedValue::Str(joined));
    }
    if let Ok(payload) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&record.payload) {
        let of_object = known.get(&record.object);
        for field in payload.keys() {
            let Some((field_type, kind)) = of_object.and_then(|of| of.get(field)) else {
                skipped
                    .entry(record.object.clone())
                    .or_default()
                    .insert(field.clone());
                continue;
            };
            if let Some(value) = value::read(&payload, field, *field_type) {
                writer.value(&record.object, field, *kind, value);
            }
        }
    }
    let Writer {
        mut document, values, ..
    } = writer;
    document.add_object(fields.values, values);
    document
}

/// The id of a company as a number.
#[must_use]
pub fn company_number(id: CompanyId) -> u128 {
    id.uuid().as_u128()
}
/// A folded text as it is stored in the index; a long text is cut.
fn stored(mut folded: String) -> OwnedValue {
    folded.truncate(folded.floor_char_boundary(text::MOST_TEXT));
    OwnedValue::Str(folded)
}
