//! The first pages of changes of several objects in one call.

use std::sync::PoisonError;

use tether_connector_sdk::proto::Error;
use tether_connector_sdk::reading::Wanted;

use crate::composite::MOST_QUERIES;
use crate::objects::CrmObject;
use crate::plan::Plan;
use crate::query::{Place, Scope};
use crate::read::Reader;
use crate::{page, rest, soql};

impl Reader {
    /// Asks for the first page of changes of all objects in one call, where that is possible.
    pub(crate) async fn ask_together(&mut self, left: &[Wanted<&'static CrmObject>]) -> Result<(), Error> {
        let changed = left.iter().filter(|one| one.ids.is_empty());
        let mut asked = Vec::new();
        for one in changed {
            let Some(since_us) = one.since_us else { continue };
            let seen = self.described.get(one.object.key).filter(|seen| seen.whole);
            let (plan, _) = Plan::new(
                one.object,
                &one.fields,
                seen.map(|seen| &seen.object),
                self.budget,
            );
            if plan.parts.len() == 1 {
                asked.push((plan, Scope::Since(soql::time(since_us))));
            }
        }
        for some in asked.chunks(MOST_QUERIES).filter(|some| some.len() > 1) {
            let start = Place::default();
            let paths = some
                .iter()
                .map(|(plan, scope)| start.path(&self.session, plan, scope));
            let paths: Vec<String> = paths.collect();
            let read = |index: usize, text: &str| page::read(text, &some[index].0.parts[0]);
            let (pages, read_us) = match rest::parts(&self.session, &paths, read).await {
                Ok(answered) => answered,
                Err(error) if error.is_account_wide() => return Err(error),
                // Each query is asked alone then, and can be narrowed.
                Err(error) => {
                    tracing::warn!("the objects are asked for their changes one by one: {error}");
                    continue;
                }
            };
            let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            for ((plan, _), page) in some.iter().zip(pages) {
                if let Ok(page) = page {
                    let page = page::Page { read_us, ..page };
                    known.insert(plan.object.key, (plan.parts.clone(), page));
                }
            }
        }
        Ok(())
    }
}
