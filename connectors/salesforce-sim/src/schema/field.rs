//! One field, parsed from one line of text.

use crate::org::make::Maker;
use crate::value::Value;

/// One value of a picklist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pick {
    pub(crate) value: &'static str,
    pub(crate) label: &'static str,
    pub(crate) active: bool,
    pub(crate) default: bool,
}

/// One field of an object: its describe, and the generator of its values.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) kind: &'static str,
    pub(crate) length: u32,
    pub(crate) precision: u32,
    pub(crate) scale: u32,
    pub(crate) createable: bool,
    pub(crate) updateable: bool,
    pub(crate) nillable: bool,
    pub(crate) permissionable: bool,
    pub(crate) defaulted: bool,
    pub(crate) name_field: bool,
    pub(crate) id_lookup: bool,
    pub(crate) external: bool,
    pub(crate) unique: bool,
    pub(crate) case_sensitive: bool,
    pub(crate) auto_number: bool,
    pub(crate) html: bool,
    pub(crate) restricted: bool,
    pub(crate) prefilterable: bool,
    pub(crate) filterable: bool,
    pub(crate) sortable: bool,
    pub(crate) groupable: bool,
    pub(crate) aggregatable: bool,
    pub(crate) compound: Option<&'static str>,
    pub(crate) extra: Option<&'static str>,
    pub(crate) formula: Option<&'static str>,
    pub(crate) mask: Option<(&'static str, &'static str)>,
    pub(crate) refers_to: Vec<&'static str>,
    pub(crate) relationship: Option<&'static str>,
    pub(crate) default: Option<&'static str>,
    pub(crate) picks: Vec<Pick>,
    pub(crate) maker: Maker,
    /// The key for its values and changes: a renamed field keeps its data.
    pub(crate) key: String,
    /// How often the formula was changed: every result differs from the one before.
    pub(crate) revision: u32,
    /// The key as a number, mixed into each generated value.
    pub(crate) salt: u64,
}

/// The type names the tables and the control plane may use.
const KINDS: [&str; 21] = [
    "id",
    "string",
    "textarea",
    "picklist",
    "multipicklist",
    "combobox",
    "reference",
    "boolean",
    "int",
    "long",
    "double",
    "currency",
    "percent",
    "date",
    "datetime",
    "time",
    "phone",
    "url",
    "email",
    "encryptedstring",
    "address",
];

impl Field {
    /// Reads `name | label | type(length or precision.scale) | options | maker | values`.
    pub(crate) fn from_line(line: &'static str) -> Field {
        let mut columns = line.split('|').map(str::trim);
        let mut next = || columns.next().unwrap_or("");
        let (name, label, kind, options, maker, picks) = (next(), next(), next(), next(), next(), next());
        let (kind, size) = kind.trim_end_matches(')').split_once('(').unwrap_or((kind, ""));
        let mut field = Field::new(name, label, kind, size);
        field.picks = picks
            .split(';')
            .filter(|p| !p.is_empty())
            .map(Pick::read)
            .collect();
        for option in options.split_whitespace() {
            field.option(option);
        }
        field.maker = Maker::read(maker, &field);
        field
    }

    /// A field with the properties implied by its type; size is `255` or `18.2`.
    pub(crate) fn new(name: &str, label: &str, kind: &str, size: &str) -> Field {
        let kind = KINDS.iter().copied().find(|k| *k == kind).unwrap_or(match kind {
            "location" => "location",
            _ => "string",
        });
        let (first, second) = size.split_once('.').unwrap_or((size, "0"));
        let size = first.parse().unwrap_or(0);
        let numeric = matches!(kind, "double" | "currency" | "percent");
        let compound = matches!(kind, "address" | "location");
        let long = kind == "textarea" && size > 255;
        let encrypted = kind == "encryptedstring";
        Field {
            name: name.to_owned(),
            label: label.to_owned(),
            kind,
            length: match kind {
                "id" | "reference" => 18,
                _ if numeric || kind == "int" => 0,
                _ => size,
            },
            precision: if numeric { size } else { 0 },
            scale: second.parse().unwrap_or(0),
            createable: kind != "id",
            updateable: kind != "id",
            nillable: !matches!(kind, "id" | "boolean"),
            permissionable: kind != "id",
            defaulted: kind == "id",
            name_field: false,
            id_lookup: kind == "id",
            external: false,
            unique: false,
            case_sensitive: false,
            auto_number: false,
            html: false,
            restricted: false,
            prefilterable: false,
            filterable: !long && !encrypted,
            sortable: !long && !compound && !encrypted && kind != "multipicklist",
            groupable: !long
                && !compound
                && !encrypted
                && !numeric
                && !matches!(kind, "datetime" | "time" | "multipicklist"),
            aggregatable: !long && !compound && !encrypted && !matches!(kind, "boolean" | "multipicklist"),
            compound: None,
            extra: None,
            formula: None,
            mask: None,
            refers_to: Vec::new(),
            relationship: None,
            default: None,
            picks: Vec::new(),
            maker: Maker::ByType,
            key: name.to_ascii_lowercase(),
            revision: 0,
            salt: crate::org::make::hash_text(&name.to_ascii_lowercase()),
        }
    }

    fn option(&mut self, option: &'static str) {
        let (word, value) = option.split_once('=').unwrap_or((option, ""));
        match word {
            "ro" => (self.createable, self.updateable) = (false, false),
            "noupdate" => self.updateable = false,
            "req" => self.nillable = false,
            "nop" => self.permissionable = false,
            "dflt" => self.defaulted = true,
            "name" => self.name_field = true,
            "idlookup" => self.id_lookup = true,
            "external" => self.external = true,
            "unique" => self.unique = true,
            "case" => self.case_sensitive = true,
            "auto" => (self.auto_number, self.groupable) = (true, false),
            "html" => self.html = true,
            "restricted" => self.restricted = true,
            "prefilter" => self.prefilterable = true,
            "nofilter" => self.filterable = false,
            "nosort" => self.sortable = false,
            "nogroup" => self.groupable = false,
            "cmp" => self.compound = Some(value),
            "extra" => self.extra = Some(value),
            "formula" => (self.formula, self.groupable) = (Some(value), false),
            "mask" => self.mask = value.split_once('/'),
            "ref" => self.refers_to = value.split(',').collect(),
            "rel" => self.relationship = Some(value),
            "default" => self.default = Some(value),
            _ => debug_assert!(false, "unknown option {option} of {}", self.name),
        }
    }

    pub(crate) fn custom(&self) -> bool {
        self.name.ends_with("__c") || self.name.ends_with("__s")
    }

    /// The result of the formula of now.
    pub(crate) fn shifted(&self, result: Value) -> Value {
        match result {
            Value::Int(n) => Value::Int(n + i64::from(self.revision)),
            Value::Num(n) => Value::Num(n + f64::from(self.revision)),
            Value::Bool(b) => Value::Bool(b ^ !self.revision.is_multiple_of(2)),
            Value::Text(text) if self.revision > 0 => Value::text(format!("{text} ({})", self.revision)),
            Value::Instant(at) => Value::Instant(at + i64::from(self.revision)),
            other => other,
        }
    }

    pub(crate) fn reference(&self) -> bool {
        self.kind == "reference"
    }

    /// The label of a picklist value; the value itself if the list does not contain it.
    pub(crate) fn label_of<'a>(&self, value: &'a str) -> &'a str
    where
        'static: 'a,
    {
        self.picks
            .iter()
            .find(|p| p.value == value)
            .map_or(value, |p| p.label)
    }
}

impl Pick {
    pub(crate) fn read(text: &'static str) -> Pick {
        let (active, text) = text.strip_prefix('!').map_or((true, text), |t| (false, t));
        let (default, text) = text.strip_prefix('*').map_or((false, text), |t| (true, t));
        let (value, label) = text.split_once('=').unwrap_or((text, text));
        Pick {
            value,
            label,
            active,
            default,
        }
    }
}
