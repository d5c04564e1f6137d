//! A JSON document of the CRM as a record.

use tether_connector_sdk::Error;
use tether_connector_sdk::crm::{CrmObject, PlainObject, Rows};
use tether_connector_sdk::payload::{Item, timestamp_us};
use tether_connector_sdk::proto::{Parent, Record};

use crate::fields::COMPANY;

/// A record with the selected fields, whose keys are those of the document.
pub(crate) fn record(rows: &mut Rows<PlainObject>, item: &Item) -> Result<Record, Error> {
    let external_id = item.text("id");
    if external_id.is_empty() {
        // Every record of the CRM has it: this is the JSON of another program (SPEC.md, ERR-9).
        let text = format!(
            "a record of {} without an id: the reply is not the CRM's",
            rows.object.key
        );
        return Err(Error::transient(text).object(rows.object.key));
    }
    let company = rows.object.is_company();
    let parent = || Parent {
        object: COMPANY.key.to_owned(),
        external_id: item.text("company_id"),
    };
    Ok(Record {
        external_id,
        payload: rows.payload(item),
        modified_us: timestamp_us(&item.text("updated_at")).unwrap_or(0),
        deleted: item.is_true("deleted"),
        parents: if company { Vec::new() } else { vec![parent()] },
        display_name: item.text("name"),
        // If the API has several texts that may be the homepage, return all of them in `homepages`, the most
        // reliable first.
        homepage: if company {
            item.text("website")
        } else {
            String::new()
        },
        ..Record::default()
    })
}
