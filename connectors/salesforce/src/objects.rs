//! The five objects, and their fields that are always read.

use tether_connector_sdk::crm;
use tether_connector_sdk::proto::{Error, ObjectRole};

/// One of the connector's objects.
#[derive(Debug)]
pub struct CrmObject {
    /// The CRM's name.
    pub(crate) key: &'static str,
    /// The label for users.
    pub(crate) label: &'static str,
    /// Its role in tether.
    pub(crate) role: ObjectRole,
    /// The fields for its display name: the first one that is not empty.
    pub(crate) names: &'static [&'static str],
    /// The reference field to its company.
    pub(crate) parent: Option<&'static str>,
    /// The field with the homepage.
    pub(crate) homepage: Option<&'static str>,
    /// Whether records of it can be merged.
    pub(crate) mergeable: bool,
}

/// The object whose records are companies.
pub(crate) const COMPANY: &str = "Account";

/// All objects, in the order of Describe and of reads.
pub(crate) const OBJECTS: [CrmObject; 5] = [
    CrmObject {
        key: COMPANY,
        label: "Accounts",
        role: ObjectRole::Company,
        names: &["Name"],
        parent: None,
        homepage: Some("Website"),
        mergeable: true,
    },
    CrmObject {
        key: "Contact",
        label: "Contacts",
        role: ObjectRole::Contact,
        names: &["Name"],
        parent: Some("AccountId"),
        homepage: None,
        mergeable: true,
    },
    CrmObject {
        key: "Opportunity",
        label: "Opportunities",
        role: ObjectRole::Deal,
        names: &["Name"],
        parent: Some("AccountId"),
        homepage: None,
        mergeable: false,
    },
    CrmObject {
        key: "Contract",
        label: "Contracts",
        role: ObjectRole::Contract,
        names: &["ContractNumber"],
        parent: Some("AccountId"),
        homepage: None,
        mergeable: false,
    },
    CrmObject {
        key: "Case",
        label: "Cases",
        role: ObjectRole::Ticket,
        names: &["Subject", "CaseNumber"],
        parent: Some("AccountId"),
        homepage: None,
        mergeable: true,
    },
];

/// The object with this key, or an error.
pub(crate) fn named(key: &str) -> Result<&'static CrmObject, Error> {
    crm::named(&OBJECTS, key)
}

impl crm::CrmObject for CrmObject {
    fn key(&self) -> &'static str {
        self.key
    }

    fn label(&self) -> &'static str {
        self.label
    }

    fn role(&self) -> ObjectRole {
        self.role
    }
}

impl CrmObject {
    /// Fields that are always read. `Id` and `SystemModstamp` come first: every part of a split query has them.
    pub(crate) fn own_fields(&self) -> Vec<&'static str> {
        let mut fields = vec!["Id", "SystemModstamp", "IsDeleted"];
        if self.mergeable {
            fields.push("MasterRecordId");
        }
        fields.extend(self.parent);
        fields.extend(self.names);
        fields.extend(self.homepage);
        fields
    }
}
