//! The four objects, and their fields that are always read.

use tether_connector_sdk::crm;
use tether_connector_sdk::proto::{Error, ObjectRole};

/// One of the connector's objects.
#[derive(Debug)]
pub struct CrmObject {
    /// The CRM's name, as used in paths.
    pub(crate) key: &'static str,
    /// The label for users.
    pub(crate) label: &'static str,
    /// Its role in tether.
    pub(crate) role: ObjectRole,
    /// The scope that lets an app read it.
    pub(crate) scope: &'static str,
    /// The properties for its display name: the first entry that is not empty; several properties of an entry are
    /// joined.
    pub(crate) names: &'static [&'static [&'static str]],
    /// The properties for the homepage, the most reliable first. HubSpot identifies companies by `domain`; users edit
    /// both.
    pub(crate) homepage: &'static [&'static str],
    /// The property with the time of the last change, and those with the ids of the records that were merged into a record,
    /// separated by `;`. A contact's second one has the time of the merge behind each id: `51:1633087534537`.
    pub(crate) modified: &'static str,
    pub(crate) merged: &'static [&'static str],
}

const MODIFIED: &str = "hs_lastmodifieddate";
const MERGED: &str = "hs_merged_object_ids";

/// All objects, in the order of Describe and of reads. The first one has the companies.
pub(crate) const OBJECTS: [CrmObject; 4] = [
    CrmObject {
        key: "companies",
        label: "Companies",
        role: ObjectRole::Company,
        scope: "crm.objects.companies.read",
        names: &[&["name"], &["domain"]],
        homepage: &["domain", "website"],
        modified: MODIFIED,
        merged: &[MERGED],
    },
    CrmObject {
        key: "contacts",
        label: "Contacts",
        role: ObjectRole::Contact,
        scope: "crm.objects.contacts.read",
        names: &[&["firstname", "lastname"], &["email"]],
        homepage: &[],
        modified: "lastmodifieddate",
        merged: &[MERGED, "hs_calculated_merged_vids"],
    },
    CrmObject {
        key: "deals",
        label: "Deals",
        role: ObjectRole::Deal,
        scope: "crm.objects.deals.read",
        names: &[&["dealname"]],
        homepage: &[],
        modified: MODIFIED,
        merged: &[MERGED],
    },
    CrmObject {
        key: "tickets",
        label: "Tickets",
        role: ObjectRole::Ticket,
        scope: "tickets",
        names: &[&["subject"]],
        homepage: &[],
        modified: MODIFIED,
        merged: &[MERGED],
    },
];

/// The object whose records are companies.
pub(crate) const COMPANY: &CrmObject = &OBJECTS[0];

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
    /// Properties that are always read.
    pub(crate) fn own_properties(&self) -> impl Iterator<Item = &'static str> + use<> {
        let names = self.names.iter().copied().flatten();
        names.chain(self.homepage).chain(self.merged).copied()
    }
}
