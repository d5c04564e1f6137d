//! The five objects and what is always read of them.

use tether_connector_sdk::proto::ObjectRole;

/// One of the objects the connector offers.
#[derive(Debug)]
pub(crate) struct CrmObject {
    /// The CRM's name.
    pub(crate) key: &'static str,
    /// The name people see.
    pub(crate) label: &'static str,
    /// What it is to tether.
    pub(crate) role: ObjectRole,
    /// Where its display name stands: the first of these that is not empty.
    pub(crate) names: &'static [&'static str],
    /// The reference to the company it hangs under.
    pub(crate) parent: Option<&'static str>,
    /// Where the homepage stands.
    pub(crate) homepage: Option<&'static str>,
    /// Whether records of it can be merged.
    pub(crate) mergeable: bool,
}

/// The object whose records are companies.
pub(crate) const COMPANY: &str = "Account";

/// All of them, in the order they are offered and read.
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

/// The object with this key.
pub(crate) fn find(key: &str) -> Option<&'static CrmObject> {
    OBJECTS.iter().find(|object| object.key == key)
}

impl CrmObject {
    /// Fields read besides the selected ones. `Id` and `SystemModstamp` come first: every part of a split query has them.
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
