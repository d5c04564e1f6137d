//! The four objects and what is always read of them.

use tether_connector_sdk::proto::{Error, ObjectRole};

/// One of the objects the connector offers.
#[derive(Debug)]
pub(crate) struct CrmObject {
    /// The CRM's name, as it stands in paths.
    pub(crate) key: &'static str,
    /// The name people see.
    pub(crate) label: &'static str,
    /// What it is to tether.
    pub(crate) role: ObjectRole,
    /// The scope that lets an app read it.
    pub(crate) scope: &'static str,
    /// Where its display name stands: the first of these that is not empty; several properties are put together.
    pub(crate) names: &'static [&'static [&'static str]],
    /// Where the homepage may stand, the most reliable first. HubSpot keys companies by `domain`; people edit both.
    pub(crate) homepage: &'static [&'static str],
}

/// The ids of the records whose place a record took, with `;` between them.
pub(crate) const MERGED: &str = "hs_merged_object_ids";

/// All of them, in the order they are offered and read. The first is the one whose records are companies.
pub(crate) const OBJECTS: [CrmObject; 4] = [
    CrmObject {
        key: "companies",
        label: "Companies",
        role: ObjectRole::Company,
        scope: "crm.objects.companies.read",
        names: &[&["name"], &["domain"]],
        homepage: &["domain", "website"],
    },
    CrmObject {
        key: "contacts",
        label: "Contacts",
        role: ObjectRole::Contact,
        scope: "crm.objects.contacts.read",
        names: &[&["firstname", "lastname"], &["email"]],
        homepage: &[],
    },
    CrmObject {
        key: "deals",
        label: "Deals",
        role: ObjectRole::Deal,
        scope: "crm.objects.deals.read",
        names: &[&["dealname"]],
        homepage: &[],
    },
    CrmObject {
        key: "tickets",
        label: "Tickets",
        role: ObjectRole::Ticket,
        scope: "tickets",
        names: &[&["subject"]],
        homepage: &[],
    },
];

/// The object whose records are companies.
pub(crate) const COMPANY: &CrmObject = &OBJECTS[0];

/// The object with this key.
pub(crate) fn find(key: &str) -> Option<&'static CrmObject> {
    OBJECTS.iter().find(|object| object.key == key)
}

/// The object with this key, or the error that there is none.
pub(crate) fn named(key: &str) -> Result<&'static CrmObject, Error> {
    find(key).ok_or_else(|| Error::invalid_input(format!("there is no object {key}")).object(key))
}

impl CrmObject {
    /// Whether its records are companies.
    pub(crate) fn is_company(&self) -> bool {
        self.role == ObjectRole::Company
    }

    /// Properties read besides the selected ones.
    pub(crate) fn own_properties(&self) -> impl Iterator<Item = &'static str> + use<> {
        let names = self.names.iter().copied().flatten();
        names.chain(self.homepage).copied().chain([MERGED])
    }
}
