//! The objects and fields of an org, and their visibility. The standard ones are in text tables beside this file,
//! read once at start; control routes add, rename and remove fields while the org runs.

pub(crate) mod describe;
mod field;

use std::collections::{BTreeMap, HashMap};

pub(crate) use field::{Field, Pick};

/// One object of an org.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: &'static str,
    pub(crate) label_plural: &'static str,
    pub(crate) prefix: &'static str,
    /// False for objects that exist only for lookups (User, Organization, ...).
    pub(crate) business: bool,
    pub(crate) fields: Vec<Field>,
    by_name: HashMap<String, usize>,
    children: Vec<Child>,
}

/// A relationship from a parent to its children.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) object: &'static str,
    pub(crate) field: &'static str,
    pub(crate) name: Option<&'static str>,
    pub(crate) cascade: bool,
    pub(crate) restricted: bool,
}

impl Object {
    /// A field by name, ignoring case.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        match self.by_name.get(name) {
            Some(at) => self.fields.get(*at),
            None => self
                .by_name
                .get(&name.to_ascii_lowercase())
                .and_then(|at| self.fields.get(*at)),
        }
    }

    pub(crate) fn children(&self) -> &[Child] {
        &self.children
    }

    fn reindex(&mut self) {
        self.by_name = self
            .fields
            .iter()
            .enumerate()
            .map(|(at, f)| (f.name.to_ascii_lowercase(), at))
            .collect();
    }

    /// Adds a field, or replaces the one of that name (a change of type).
    pub(crate) fn put_field(&mut self, field: Field) {
        match self.by_name.get(&field.name.to_ascii_lowercase()) {
            Some(at) => self.fields[*at] = field,
            None => self.fields.push(field),
        }
        self.reindex();
    }

    pub(crate) fn remove_field(&mut self, name: &str) -> Option<Field> {
        let at = self.by_name.get(&name.to_ascii_lowercase()).copied()?;
        let gone = self.fields.remove(at);
        self.reindex();
        Some(gone)
    }
}

/// All objects of an org.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) objects: Vec<Object>,
}

/// The objects and fields that one user may not see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hidden {
    /// Lower-case object names.
    pub(crate) objects: std::collections::BTreeSet<String>,
    /// Lower-case object name to lower-case field names.
    pub(crate) fields: BTreeMap<String, std::collections::BTreeSet<String>>,
}

impl Hidden {
    pub(crate) fn object(&self, object: &Object) -> bool {
        self.objects.contains(&object.name.to_ascii_lowercase())
    }

    pub(crate) fn field(&self, object: &Object, field: &Field) -> bool {
        !self.fields.is_empty()
            && self
                .fields
                .get(&object.name.to_ascii_lowercase())
                .is_some_and(|names| names.contains(&field.name.to_ascii_lowercase()))
    }
}

impl Schema {
    /// The initial schema of every org.
    pub(crate) fn standard() -> Schema {
        let business = [
            ("Account", "Accounts", "001", include_str!("account.txt")),
            ("Contact", "Contacts", "003", include_str!("contact.txt")),
            (
                "Opportunity",
                "Opportunities",
                "006",
                include_str!("opportunity.txt"),
            ),
            ("Contract", "Contracts", "800", include_str!("contract.txt")),
            ("Case", "Cases", "500", include_str!("case.txt")),
        ];
        let lookups = [
            ("User", "Users", "005"),
            ("Group", "Group", "00G"),
            ("Organization", "Organizations", "00D"),
            ("RecordType", "Record Types", "012"),
        ];
        let mut objects: Vec<Object> = business
            .into_iter()
            .map(|(name, plural, prefix, table)| object(name, plural, prefix, true, table))
            .collect();
        for section in include_str!("lookups.txt").split("\n=").skip(1) {
            let (name, table) = section.split_once('\n').unwrap_or((section, ""));
            if let Some((name, plural, prefix)) = lookups.iter().find(|l| l.0 == name) {
                objects.push(object(name, plural, prefix, false, table));
            }
        }
        Schema { objects }
    }

    /// The number and the object of that name, ignoring case.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &Object)> {
        self.objects
            .iter()
            .enumerate()
            .find(|(_, o)| o.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn by_prefix(&self, prefix: &str) -> Option<(usize, &Object)> {
        self.objects.iter().enumerate().find(|(_, o)| o.prefix == prefix)
    }
}

fn object(
    name: &'static str,
    label_plural: &'static str,
    prefix: &'static str,
    business: bool,
    table: &'static str,
) -> Object {
    let fields = table
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(Field::from_line)
        .collect::<Vec<_>>();
    let mut object = Object {
        name,
        label_plural,
        prefix,
        business,
        fields,
        by_name: HashMap::new(),
        children: children(name),
    };
    object.reindex();
    object
}

/// The links between the objects, as Salesforce names them.
fn children(parent: &str) -> Vec<Child> {
    let child = |object, field, name, cascade, restricted| Child {
        object,
        field,
        name,
        cascade,
        restricted,
    };
    match parent {
        "Account" => vec![
            child("Account", "ParentId", Some("ChildAccounts"), false, false),
            child("Case", "AccountId", Some("Cases"), false, true),
            child("Contact", "AccountId", Some("Contacts"), true, false),
            child("Contract", "AccountId", Some("Contracts"), true, true),
            child("Opportunity", "AccountId", Some("Opportunities"), true, false),
        ],
        "Contact" => vec![
            child("Account", "Primary_Contact__c", Some("Accounts__r"), false, false),
            child("Case", "ContactId", Some("Cases"), false, true),
            child("Contact", "ReportsToId", None, false, false),
            child(
                "Contract",
                "CustomerSignedId",
                Some("ContractsSigned"),
                false,
                true,
            ),
            child("Opportunity", "ContactId", Some("Opportunities"), false, false),
        ],
        "Case" => vec![child("Case", "ParentId", Some("Cases"), false, false)],
        _ => Vec::new(),
    }
}
