//! Pages of an object by REST.

use std::sync::PoisonError;

use tether_connector_sdk::proto::{Covers, Error};
use tether_connector_sdk::reading::Page;

use crate::planner::Way;
use crate::query::{Place, Scope};
use crate::read::{At, Reader, Reading, lacking};
use crate::recover::ROWS_WITHOUT_IDS;
use crate::{page, query, rest};

impl Reader {
    pub(crate) async fn load_rest(&self, reading: &Reading, at: &At) -> Result<page::Page, Error> {
        if matches!(reading.scope, Scope::Since(_)) && *at == At::default() {
            let key = reading.plan.object.key;
            let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            // Another plan, without a field that turned out to be missing, is asked for anew.
            if let Some((parts, page)) = known.remove(key)
                && parts == reading.plan.parts
            {
                return Ok(page);
            }
        }
        if matches!(reading.scope, Scope::Ids { .. }) && reading.scope.is_end(&at.place.after) {
            return Ok(page::Page::end());
        }
        let path = at.place.path(&self.session, &reading.plan, &reading.scope);
        rest::page(&self.session, &path, &reading.plan.parts[0]).await
    }

    pub(crate) async fn rest_page(
        &mut self,
        reading: &mut Reading,
        at: &At,
        page: page::Page,
    ) -> Result<Page<At>, Error> {
        let mut next = at.clone();
        let mut step = next.place.step(&page)?;
        step.last = reading
            .scope
            .after_page(&mut next.place, &at.place.after, step.last)?;
        let plan = &reading.plan;
        let whole = query::whole(&self.session, plan, &reading.scope, page, &at.place.after).await?;
        if whole.unusable > 0 && !std::mem::replace(&mut reading.asked_again, true) {
            return Err(Error::transient("Salesforce gave records without ids").code(ROWS_WITHOUT_IDS));
        }
        (reading.lost, reading.timed_out) = (0, 0);
        // After a record whose position is unknown, no range is known to be complete.
        next.unordered |= !step.in_order || whole.unusable > 0;
        next.unusable |= whole.unusable > 0;
        next.lost |= step.lost;
        next.rows += whole.records.len() as u64;
        next.rows = next.rows.saturating_sub(step.again);
        let is_listed = step.last || step.through > at.listed;
        let covers = (!next.unordered && is_listed).then(|| Covers {
            after: at.listed.clone().max(at.place.after.clone()),
            through: if step.last {
                String::new()
            } else {
                step.through.clone()
            },
        });
        if step.again > 0 {
            next.listed = step.through.max(next.listed);
        }
        if let Some(total) = step.total.filter(|_| !step.last && !at.rest) {
            let left = Some(total.saturating_sub(next.rows.saturating_sub(at.rows)));
            if self.cheaper_way(reading, left) == Way::Bulk && self.has_layout(reading).await? {
                next.place = Place::after(next.place.after);
                next.bulk = Some(self.task(&next.place.after));
            }
        }
        Ok(Page {
            records: whole.records,
            covers,
            covers_numbers: None,
            read_time_us: whole.read_us,
            expected: step.total.map(|total| at.rows + total),
            lacking: lacking(reading, &next),
            unlisted: false,
            next: (!step.last).then_some(next),
        })
    }
}
