//! Fields and counts, one object after another: HubSpot describes one object per call.

use serde::Deserialize;
use tether_connector_sdk::crm::chosen;
use tether_connector_sdk::proto::{Error, ErrorKind, ObjectCount, ObjectFields};

use crate::bodies::{self, Search};
use crate::objects::{CrmObject, OBJECTS};
use crate::properties;
use crate::rest::Session;

/// The fields of the objects with these keys; all if none is named.
pub(crate) async fn list(session: &Session, asked: &[String]) -> Result<Vec<ObjectFields>, Error> {
    let objects = chosen(&OBJECTS, asked, |object| object.key);
    let mut described = Vec::with_capacity(objects.len());
    for object in &objects {
        described.push(properties::describe(session, object));
    }
    let described = futures_util::future::try_join_all(described).await?;
    let fields = objects
        .iter()
        .zip(described)
        .map(|(object, described)| ObjectFields {
            object: object.key.to_owned(),
            label: object.label.to_owned(),
            visible: described.is_some(),
            fields: described
                .unwrap_or_default()
                .properties
                .into_iter()
                .filter(|property| !property.hidden)
                .map(|property| property.field)
                .collect(),
        });
    Ok(fields.collect())
}

/// The numbers of records that the user can see, of the objects with these keys; invisible objects are omitted.
pub(crate) async fn count(session: &Session, asked: &[String]) -> Result<Vec<ObjectCount>, Error> {
    let mut counts = Vec::new();
    // Sequentially: searches are limited per second.
    for object in chosen(&OBJECTS, asked, |object| object.key) {
        if let Some(count) = total(session, object).await? {
            counts.push(ObjectCount {
                object: object.key.to_owned(),
                count,
                // The search index is updated with a delay.
                exact: false,
            });
        }
    }
    Ok(counts)
}

/// The search count of an object; None if the login cannot see it.
pub(crate) async fn total(session: &Session, object: &CrmObject) -> Result<Option<u64>, Error> {
    #[derive(Deserialize)]
    struct Total {
        total: u64,
    }
    let path = format!("/crm/v3/objects/{}/search", object.key);
    let body = bodies::text(&Search {
        limit: 1,
        properties: vec!["hs_object_id".to_owned()],
    });
    match session
        .post(&path, &body, |text| serde_json::from_str::<Total>(text))
        .await
    {
        Ok((found, _)) => Ok(Some(found.total)),
        Err(error) => match error.what() {
            ErrorKind::Forbidden | ErrorKind::RecordGone | ErrorKind::ObjectGone => Ok(None),
            _ => Err(error.object(object.key)),
        },
    }
}
