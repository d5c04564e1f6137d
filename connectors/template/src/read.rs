//! The full read: the parts that depend on the CRM. The SDK's `reading` does the rest: one object after another,
//! checkpoints, new credentials.

use serde::{Deserialize, Serialize};
use tether_connector_sdk::Error;
use tether_connector_sdk::proto::Covers;
use tether_connector_sdk::reading::{Looked, Page, Source, Wanted};

use crate::api::{self, Session};
use crate::fields::{self, CrmObject};
use crate::rows::{Rows, text};

/// Records per page, the API's maximum.
const PAGE: &str = "100";

/// The position in the list of an object, stored in checkpoints. If your API gives cursors, store the cursor beside the
/// last id; a read resumes after days, so be ready for a cursor that the API no longer knows (`Source::recover`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The last id that was read; empty at the beginning.
    after: String,
}

/// The full read on behalf of an account.
pub struct Reader {
    pub(crate) session: Session,
}

impl Source for Reader {
    const CRM: &'static str = "Template";
    type Object = &'static CrmObject;
    type Plan = Rows;
    type Place = Place;
    type Loaded = api::Page;

    fn object(key: &str) -> Result<&'static CrmObject, Error> {
        fields::find(key)
    }

    fn key(object: &'static CrmObject) -> &'static str {
        object.key
    }

    async fn look(&mut self, wanted: &Wanted<&'static CrmObject>) -> Result<Looked<Rows>, Error> {
        let object = wanted.object;
        let Some(listed) = fields::of_object(&self.session, object).await? else {
            return Ok(Looked::Hidden(fields::hidden(object)));
        };
        let (plan, changes) = Rows::as_now(object, &wanted.fields, &listed);
        Ok(Looked::Seen {
            plan,
            changes,
            expected: None,
        })
    }

    async fn load(&self, rows: &Rows, place: &Place) -> Result<api::Page, Error> {
        let query = [("limit", PAGE), ("after", place.after.as_str())];
        api::get(&self.session, rows.object.key, &query).await
    }

    async fn page(
        &mut self,
        rows: &mut Rows,
        place: &Place,
        loaded: api::Page,
    ) -> Result<Page<Place>, Error> {
        let ids: Vec<String> = loaded.items.iter().map(|item| text(item, "id")).collect();
        let records = loaded.items.iter().map(|item| rows.record(item));
        let records = records.collect::<Result<Vec<_>, Error>>()?;
        // The host removes stored records of this range that the page lacks. That is right only while the CRM's order is
        // the order of the ids' bytes, so the order is checked. If ids are numbers, compare numbers and use
        // `covers_numbers`.
        if !(ids.first().is_none_or(|first| *first > place.after) && ids.is_sorted()) {
            return Err(Error::bug("the CRM lists records out of order"));
        }
        if loaded.more && ids.is_empty() {
            return Err(Error::bug(
                "the CRM says that there are more records and gives none",
            ));
        }
        let last = ids.into_iter().next_back().unwrap_or_default();
        Ok(Page {
            records,
            covers: Some(Covers {
                after: place.after.clone(),
                through: if loaded.more { last.clone() } else { String::new() },
            }),
            covers_numbers: None,
            // The CRM's time of the read, if its replies have it: the second result of `Session::ask`.
            read_time_us: 0,
            expected: place.after.is_empty().then_some(loaded.total),
            next: loaded.more.then_some(Place { after: last }),
            lacking: None,
        })
    }

    fn renew(&mut self, access_token: String, base_url: &str) {
        self.session.renew(access_token, base_url);
    }
}
