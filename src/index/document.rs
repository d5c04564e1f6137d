//! The index document of a record: the schema, and the record's keys. `mapping` makes its values.

use std::collections::BTreeMap;

use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, IndexRecordOption, JsonObjectOptions, OwnedValue, STRING, Schema, TextFieldIndexing,
};

use super::kind::Kind;
use super::mapping::{self, Sink};
use super::paths::{CompanyPaths, external_id, sorted_name};
use super::text::words;
use crate::domain::{CompanyId, FieldType, name_key};
use crate::identity::Homepage;
use crate::store::Change;
use crate::value;

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

/// The known fields: by object and key, the field type and how values are compared.
pub(super) type Known = BTreeMap<String, BTreeMap<String, (FieldType, Kind)>>;

/// Collects the values of one record.
pub(super) struct Writer<'a> {
    fields: &'a Fields,
    document: TantivyDocument,
    values: BTreeMap<String, OwnedValue>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(fields: &'a Fields) -> Self {
        Self {
            fields,
            document: TantivyDocument::default(),
            values: BTreeMap::new(),
        }
    }

    fn put(&mut self, path: &str, suffix: &str, value: OwnedValue) {
        self.values.insert(format!("{path}/{suffix}"), value);
    }

    pub(super) fn finish(self) -> TantivyDocument {
        let Self {
            fields,
            mut document,
            values,
        } = self;
        document.add_object(fields.values, values);
        document
    }
}

impl Sink for Writer<'_> {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn words(&mut self, path: &str, folded: &str) {
        for word in words(folded) {
            self.document
                .add_text(self.fields.words, format!("{path}\0{word}"));
        }
    }

    fn texts(&mut self, path: &str, folded: Vec<String>) {
        let all = folded.into_iter().map(OwnedValue::Str).collect();
        self.put(path, "t", OwnedValue::Array(all));
    }

    fn int(&mut self, path: &str, value: i64) {
        self.put(path, "i", OwnedValue::I64(value));
    }

    fn decimal(&mut self, path: &str, ordered: String) {
        self.put(path, "d", OwnedValue::Str(ordered));
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
    let mut writer = Writer::new(fields);
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
        mapping::company(
            &mut writer,
            &CompanyPaths::new(),
            &record.name,
            &homepage_text,
            &domain_text,
        );
        let sorted = name_key(&record.name);
        if !sorted.is_empty() {
            writer.put(&sorted_name(), "t", OwnedValue::Str(sorted));
        }
        writer.put(&external_id(), "t", OwnedValue::Str(record.external_id.clone()));
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
                mapping::field(&mut writer, &record.object, field, *kind, value);
            }
        }
    }
    writer.finish()
}

/// The id of a company as a number.
#[must_use]
pub fn company_number(id: CompanyId) -> u128 {
    id.uuid().as_u128()
}
