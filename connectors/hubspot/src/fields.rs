//! Fields and counts, one object after another: HubSpot describes one object per call.

use serde::Deserialize;
use tether_connector_sdk::crm::{Count, Objects};
use tether_connector_sdk::proto::{Error, ErrorKind};

use crate::bodies::{self, Search};
use crate::objects::{CrmObject, OBJECTS};
use crate::properties::{self, Described};
use crate::rest::{App, Session};

impl Objects for App {
    type Object = CrmObject;
    type Fields = Described;

    fn objects() -> &'static [CrmObject] {
        &OBJECTS
    }

    async fn fields(session: &Session, object: &'static CrmObject) -> Result<Option<Described>, Error> {
        properties::describe(session, object).await
    }

    /// The search index is updated with a delay.
    async fn count(session: &Session, object: &'static CrmObject) -> Result<Option<Count>, Error> {
        let total = total(session, object).await?;
        Ok(total.map(|number| Count { number, exact: false }))
    }
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
        ..Search::default()
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
