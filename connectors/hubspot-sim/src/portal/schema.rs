//! Objects and their properties. The tables beside this file have one property per line: `name | label | type | field
//! type | generator of its values, and flags`.

use serde_json::{Value as Json, json};

/// An object of the CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Object {
    Companies,
    Contacts,
    Deals,
    Tickets,
}

pub(crate) const OBJECTS: [Object; 4] = [
    Object::Companies,
    Object::Contacts,
    Object::Deals,
    Object::Tickets,
];

impl Object {
    /// Finds an object by any of HubSpot's names: plural, singular, type id.
    pub(crate) fn named(name: &str) -> Option<Object> {
        match name.to_ascii_lowercase().as_str() {
            "companies" | "company" | "0-2" => Some(Object::Companies),
            "contacts" | "contact" | "0-1" => Some(Object::Contacts),
            "deals" | "deal" | "0-3" => Some(Object::Deals),
            "tickets" | "ticket" | "0-5" => Some(Object::Tickets),
            _ => None,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn plural(self) -> &'static str {
        ["companies", "contacts", "deals", "tickets"][self.index()]
    }

    pub(crate) fn singular(self) -> &'static str {
        ["company", "contact", "deal", "ticket"][self.index()]
    }

    /// HubSpot's type id.
    pub(crate) fn kind(self) -> &'static str {
        ["0-2", "0-1", "0-3", "0-5"][self.index()]
    }

    /// The scope for reading it.
    pub(crate) fn scope(self) -> &'static str {
        crate::oauth::READ_SCOPES[self.index() + 1]
    }

    /// The property with the time of the last change.
    pub(crate) fn stamp(self) -> &'static str {
        match self {
            Object::Contacts => "lastmodifieddate",
            _ => "hs_lastmodifieddate",
        }
    }

    /// The id of a row. Ids increase and have several lengths: their numerical order is not the order of texts.
    pub(crate) fn id(self, row: u32) -> u64 {
        let (first, step) = self.ids();
        first + u64::from(row) * step
    }

    pub(crate) fn row(self, id: &str) -> Option<u32> {
        let (first, step) = self.ids();
        let id: u64 = id.parse().ok()?;
        let from = id.checked_sub(first)?;
        if from % step == 0 {
            u32::try_from(from / step).ok()
        } else {
            None
        }
    }

    fn ids(self) -> (u64, u64) {
        match self {
            Object::Companies => (9_999_999_800, 4),
            Object::Contacts => (51, 50),
            Object::Deals => (99_999_500, 10),
            Object::Tickets => (999_999_000, 20),
        }
    }

    /// The default properties of a list.
    pub(crate) fn defaults(self) -> &'static [&'static str] {
        match self {
            Object::Companies => &[
                "createdate",
                "domain",
                "hs_lastmodifieddate",
                "hs_object_id",
                "name",
            ],
            Object::Contacts => &[
                "createdate",
                "email",
                "firstname",
                "hs_object_id",
                "lastmodifieddate",
                "lastname",
            ],
            Object::Deals => &[
                "amount",
                "closedate",
                "createdate",
                "dealname",
                "dealstage",
                "hs_lastmodifieddate",
                "hs_object_id",
                "pipeline",
            ],
            Object::Tickets => &[
                "content",
                "createdate",
                "hs_lastmodifieddate",
                "hs_object_id",
                "hs_pipeline",
                "hs_pipeline_stage",
                "hs_ticket_category",
                "hs_ticket_priority",
                "subject",
            ],
        }
    }
}

/// One option of an enumeration.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) value: String,
    pub(crate) label: String,
    pub(crate) hidden: bool,
}

/// One property of an object.
#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) kind: String,
    pub(crate) field_type: String,
    /// The generator of its values.
    pub(crate) maker: String,
    pub(crate) options: Vec<Choice>,
    pub(crate) flags: Vec<String>,
    /// How often HubSpot has calculated it again: with each time all values are other ones.
    pub(crate) round: u64,
}

impl Property {
    pub(crate) fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// Parses a line of a table.
    pub(crate) fn read(line: &str) -> Option<Property> {
        let mut cells = line.split('|').map(str::trim);
        let (name, label, kind, field_type, rest) = (
            cells.next()?,
            cells.next()?,
            cells.next()?,
            cells.next()?,
            cells.next()?,
        );
        let (mut options, mut words): (Vec<Choice>, Vec<&str>) = (Vec::new(), Vec::new());
        for part in rest.split(',').map(str::trim) {
            match part.split_once('=') {
                // Flags follow the last option.
                Some((value, label)) => {
                    let (label, flags) = match label.rsplit_once(' ') {
                        Some((label, "custom")) => (label, &["custom"][..]),
                        _ => (label, &[][..]),
                    };
                    words.extend(flags);
                    options.push(Choice {
                        value: value.trim_start_matches('!').to_owned(),
                        label: label.to_owned(),
                        hidden: value.starts_with('!'),
                    });
                }
                None => words.extend(part.split_whitespace()),
            }
        }
        let maker = if options.is_empty() {
            words.first().copied().unwrap_or("words")
        } else {
            "option"
        };
        Some(Property {
            name: name.to_owned(),
            label: label.to_owned(),
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            maker: maker.to_owned(),
            flags: words.iter().map(|w| (*w).to_owned()).collect(),
            options,
            round: 0,
        })
    }

    /// The form in the properties API.
    pub(crate) fn json(&self) -> Json {
        let options: Vec<Json> = self
            .options
            .iter()
            .enumerate()
            .map(|(at, o)| {
                json!({
                    "label": o.label, "value": o.value, "displayOrder": at, "hidden": o.hidden, "description": "",
                })
            })
            .collect();
        let mut json = json!({
            "updatedAt": "2024-05-01T09:00:00.000Z", "createdAt": "2020-06-30T15:57:37.259Z",
            "name": self.name, "label": self.label, "type": self.kind, "fieldType": self.field_type,
            "description": format!("{} of the record.", self.label), "groupName": "information",
            "options": options, "displayOrder": -1, "calculated": self.is("calculated"),
            "externalOptions": self.is("external"), "archived": false, "hasUniqueValue": false,
            "hidden": self.is("hidden"), "hubspotDefined": !self.is("custom"), "formField": true,
            "dataSensitivity": "non_sensitive",
            "modificationMetadata": { "archivable": self.is("custom"), "readOnlyDefinition": !self.is("custom"),
                "readOnlyValue": self.is("calculated"), "readOnlyOptions": false },
        });
        if self.maker == "owner" {
            json["referencedObjectType"] = "OWNER".into();
        }
        if self.is("currency") {
            json["showCurrencySymbol"] = true.into();
        }
        // `currency:deal_currency_code`
        let currency = self.flags.iter().find_map(|flag| flag.strip_prefix("currency:"));
        if let Some(property) = currency {
            json["currencyPropertyName"] = property.into();
        }
        if self.is("percentage") {
            json["numberDisplayHint"] = "percentage".into();
        } else if self.kind == "number" {
            json["numberDisplayHint"] = "formatted".into();
        }
        json
    }
}

/// The initial properties of an object.
pub(crate) fn properties(object: Object) -> Vec<Property> {
    let table = match object {
        Object::Companies => include_str!("schema/companies.txt"),
        Object::Contacts => include_str!("schema/contacts.txt"),
        Object::Deals => include_str!("schema/deals.txt"),
        Object::Tickets => include_str!("schema/tickets.txt"),
    };
    table.lines().filter_map(Property::read).collect()
}
