//! The protos' comments, and what they promise about fields.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// A field of a message, with its comment.
pub(super) struct Field {
    pub(super) of: FieldDescriptorProto,
    pub(super) comment: String,
}

/// The public API, by full names.
pub(super) struct Manual {
    pub(super) messages: BTreeMap<String, Vec<Field>>,
    maps: BTreeSet<String>,
    /// rpc path → (request message, comment).
    pub(super) rpcs: BTreeMap<String, (String, String)>,
    /// The names of all values of enums, with and without the enum's prefix.
    pub(super) values: BTreeSet<String>,
}

impl Manual {
    pub(super) fn read() -> Self {
        let set = FileDescriptorSet::decode(tether::proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut manual = Self {
            messages: BTreeMap::new(),
            maps: BTreeSet::new(),
            rpcs: BTreeMap::new(),
            values: BTreeSet::new(),
        };
        for file in set.file.iter().filter(|file| file.package() == "tether.v1") {
            let comments: BTreeMap<&[i32], String> = file
                .source_code_info
                .as_ref()
                .unwrap()
                .location
                .iter()
                .map(|one| {
                    (
                        &one.path[..],
                        one.leading_comments()
                            .split_whitespace()
                            .collect::<Vec<_>>()
                            .join(" "),
                    )
                })
                .collect();
            let comment = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
            for (at, message) in file.message_type.iter().enumerate() {
                manual.message(".tether.v1", message, &[4, at as i32], &comment);
            }
            for of in &file.enum_type {
                manual
                    .values
                    .extend(of.value.iter().map(|value| value.name().to_owned()));
            }
            for (at, service) in file.service.iter().enumerate() {
                for (number, method) in service.method.iter().enumerate() {
                    manual.rpcs.insert(
                        format!("tether.v1.{}/{}", service.name(), method.name()),
                        (
                            method.input_type().to_owned(),
                            comment(&[6, at as i32, 2, number as i32]),
                        ),
                    );
                }
            }
        }
        manual
    }

    fn message(
        &mut self,
        parent: &str,
        message: &DescriptorProto,
        path: &[i32],
        comment: &impl Fn(&[i32]) -> String,
    ) {
        let name = format!("{parent}.{}", message.name());
        if message.options.as_ref().is_some_and(|of| of.map_entry()) {
            self.maps.insert(name.clone());
        }
        let fields = message.field.iter().enumerate().map(|(at, field)| Field {
            of: field.clone(),
            comment: comment(&[path, &[2, at as i32]].concat()),
        });
        self.messages.insert(name.clone(), fields.collect());
        for (at, nested) in message.nested_type.iter().enumerate() {
            self.message(&name, nested, &[path, &[3, at as i32]].concat(), comment);
        }
        for of in &message.enum_type {
            self.values
                .extend(of.value.iter().map(|value| value.name().to_owned()));
        }
    }

    /// The statements about the fields of a request and of its nested messages.
    pub(super) fn promises(&self, message: &str, path: &str, steps: &[u32], found: &mut Vec<Promise>) {
        for field in &self.messages[message] {
            let path = match path {
                "" => field.of.name().to_owned(),
                path => format!("{path}.{}", field.of.name()),
            };
            let steps = [steps, &[field.of.number() as u32]].concat();
            let map = self.maps.contains(field.of.type_name());
            for bound in bounds(field, map) {
                found.push(Promise {
                    path: path.clone(),
                    steps: steps.clone(),
                    kind: field.of.r#type(),
                    map,
                    bound,
                });
            }
            let nested =
                field.of.type_name().starts_with(".tether.v1.") && field.of.r#type() == Type::Message;
            if nested && !map && steps.len() < 3 {
                self.promises(field.of.type_name(), &path, &steps, found);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bound {
    Characters(usize, usize),
    Entries(usize, usize),
    Keys(usize),
    Values(usize),
}

#[derive(Debug)]
pub(super) struct Promise {
    pub(super) path: String,
    pub(super) steps: Vec<u32>,
    pub(super) kind: Type,
    pub(super) map: bool,
    pub(super) bound: Bound,
}

/// The bounds in a comment.
pub(super) fn bounds(field: &Field, map: bool) -> Vec<Bound> {
    let text: String = {
        // 2,048 is one number.
        let chars: Vec<char> = field.comment.chars().collect();
        let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
        let keep = |at: &usize| chars[*at] != ',' || *at == 0 || !digit(at - 1) || !digit(at + 1);
        (0..chars.len()).filter(keep).map(|at| chars[at]).collect()
    };
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| ",.;:()".contains(c)))
        .collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let list = field.of.label() == Label::Repeated;
    let mut found = Vec::new();
    for at in 0..words.len() {
        let range = match (word(at), number(at), word(at + 1), number(at + 2)) {
            ("at", _, "most", Some(most)) | ("At", _, "most", Some(most)) => (0, most),
            (_, Some(least), "to", Some(most)) => (least, most),
            ("keys", _, "to", Some(most)) if map => {
                found.push(Bound::Keys(most));
                continue;
            }
            ("values", _, "to", Some(most)) if map => {
                found.push(Bound::Values(most));
                continue;
            }
            _ => continue,
        };
        match (word(at + 3), field.of.r#type()) {
            ("characters", Type::String) => found.push(Bound::Characters(range.0, range.1)),
            (next, Type::String | Type::Message | Type::Enum) if list && next != "characters" => {
                found.push(Bound::Entries(range.0, range.1));
            }
            _ => {}
        }
    }
    found
}
