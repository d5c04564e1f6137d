//! The full read: object by object, page by page, with a checkpoint after each page.

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{
    Covers, ErrorKind, ObjectSelection, ObjectStatus, Progress, ReadRequest, RecordBatch,
};
use tether_connector_sdk::{Error, ReadStream};

use crate::api::Session;
use crate::fields;
use crate::rows::{Rows, text};

/// Records per page, the API's maximum.
const PAGE: &str = "100";

/// The position of a read: the index of the object in the selection, and the last id that was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    version: u32,
    object: usize,
    after: String,
    /// The whole object was read.
    whole: bool,
}

const VERSION: u32 = 1;

/// Reads everything into `out`.
pub(crate) async fn read(session: Session, request: ReadRequest, out: ReadStream) -> Result<(), Error> {
    // A checkpoint of another version is not an error: the read begins again.
    let position = serde_json::from_slice(&request.checkpoint).ok();
    let mut position = position
        .filter(|position: &Position| position.version == VERSION)
        .unwrap_or(Position {
            version: VERSION,
            ..Position::default()
        });
    let mut reader = Reader { session, out };
    while let Some(selection) = request.selection.get(position.object) {
        reader.object(selection, &mut position).await?;
        position = Position {
            version: VERSION,
            object: position.object + 1,
            ..Position::default()
        };
    }
    Ok(())
}

struct Reader {
    session: Session,
    out: ReadStream,
}

impl Reader {
    async fn object(&mut self, selection: &ObjectSelection, position: &mut Position) -> Result<(), Error> {
        let object = &selection.object;
        let listed = match fields::is_known(object) {
            true => self.fields(object).await?,
            false => None,
        };
        let Some(listed) = listed else {
            let error = Error::object_gone(format!("{object} cannot be seen by the logged-in user"));
            return self.status(object, Some(error.object(object))).await;
        };
        let (mut rows, changes) = Rows::as_now(object, &selection.fields, &listed);
        for change in changes {
            self.out.field_change(change).await?;
        }
        let mut told = false;
        while !position.whole {
            let page = self.page(object, &position.after).await?;
            if !told {
                let (object, expected) = (object.clone(), page.total);
                self.out.progress(Progress { object, expected }).await?;
                told = true;
            }
            let ids: Vec<String> = page.items.iter().map(|item| text(item, "id")).collect();
            let records = page.items.iter().map(|item| rows.record(item));
            let records = records.collect::<Result<Vec<_>, Error>>()?;
            // The host removes stored records of this range that the page lacks. That is right only while the CRM's
            // order is the order of the ids' bytes, so the order is checked.
            let ordered = ids.first().is_none_or(|first| *first > position.after) && ids.is_sorted();
            if !ordered {
                return Err(Error::bug(format!("the CRM lists {object} out of order")).object(object));
            }
            let through = if page.more {
                ids.last().cloned().unwrap_or_default()
            } else {
                String::new()
            };
            let batch = RecordBatch {
                object: object.clone(),
                records,
                covers: Some(Covers {
                    after: position.after.clone(),
                    through,
                }),
                ..RecordBatch::default()
            };
            self.out.batch(batch).await?;
            position.whole = !page.more;
            position.after = ids.last().cloned().unwrap_or_default();
            let state = serde_json::to_vec(&position).map_err(|error| Error::bug(error.to_string()))?;
            self.out.checkpoint(state).await?;
            self.out.api_usage(self.session.call.usage()).await?;
        }
        self.status(object, None).await
    }

    async fn status(&mut self, object: &str, error: Option<Error>) -> Result<(), Error> {
        self.out
            .object_status(ObjectStatus {
                object: object.to_owned(),
                complete: error.is_none(),
                error,
            })
            .await
    }

    /// The object's fields, with new credentials if the old ones have expired.
    async fn fields(
        &mut self,
        object: &str,
    ) -> Result<Option<Vec<tether_connector_sdk::proto::Field>>, Error> {
        loop {
            match fields::of_object(&self.session, object).await {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                other => return other,
            }
        }
    }

    /// The page after an id, with new credentials if the old ones have expired.
    async fn page(&mut self, object: &str, after: &str) -> Result<crate::api::Page, Error> {
        loop {
            let page = self
                .session
                .page(object, &[("limit", PAGE), ("after", after)])
                .await;
            match page {
                Err(error) if error.is(ErrorKind::CredentialsExpired) => self.renew(error).await?,
                other => return other,
            }
        }
    }

    /// Requests other credentials from the host, and continues with them. Without them the stream ends.
    async fn renew(&mut self, why: Error) -> Result<(), Error> {
        let (credentials, _) = self.out.credentials_needed(why).await?;
        self.session.renew(credentials.access_token);
        Ok(())
    }
}
