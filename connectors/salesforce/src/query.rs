//! Reads one object page by page: through the CRM's cursor while it is valid, otherwise from the last id.

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{Error, ErrorKind, Record};

use crate::page::{Page, short};
use crate::plan::Plan;
use crate::records;
use crate::rest::{self, Session, earlier};
use crate::soql::{Filter, NARROW_LIMITS};

/// How often rows that changed between the parts of a split query are read again.
const TORN_ATTEMPTS: usize = 3;
/// Number of ids per query.
const IDS_A_QUERY: usize = 10;

/// The position of a reader in an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Everything up to this id has been read.
    pub(crate) after: String,
    /// The next page of the cursor, if there is one. Like the following fields it is not stored.
    #[serde(skip)]
    next: Option<String>,
    /// The row limit of queries, as an index into the limits.
    #[serde(skip)]
    narrowed: Option<usize>,
    /// Pages since the limit was set.
    #[serde(skip)]
    narrow_pages: u32,
    /// Rows returned by the cursor, and rows it announced.
    #[serde(skip)]
    given: u64,
    #[serde(skip)]
    promised: u64,
    /// The id after which the cursor began, and the first id of the page before.
    #[serde(skip)]
    begun: String,
    #[serde(skip)]
    first: String,
    /// Cursors that returned fewer rows than they announced; and how many fewer the last of them, which the next query has to return.
    #[serde(skip)]
    short: u32,
    #[serde(skip)]
    owed: u64,
}

/// Which rows of an object are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All.
    All,
    /// Those that changed at this time or later.
    Since(String),
    /// Those with these ids, which are sorted, so many with one query.
    Ids { ids: Vec<String>, at_once: usize },
}

impl Scope {
    /// The ids of the query after this id.
    pub(crate) fn next_ids(&self, after: &str) -> &[String] {
        let Self::Ids { ids, at_once } = self else {
            return &[];
        };
        let from = ids.partition_point(|id| id.as_str() <= after);
        &ids[from..ids.len().min(from + at_once)]
    }

    /// The place behind a page, and whether the object has no more rows, for a query by ids that began after `before`: it begins
    /// there until its last page, and the CRM may not have the last ids.
    ///
    /// # Errors
    /// BUG if there are more records than ids: a cursor that gives the same pages again and again.
    pub(crate) fn after_page(&self, place: &mut Place, before: &str, is_last: bool) -> Result<bool, Error> {
        let ids = self.next_ids(before);
        let Some(last) = ids.last() else {
            return Ok(is_last);
        };
        if place.short > 1 {
            return Err(short());
        }
        if place.given > ids.len() as u64 {
            return Err(Error::bug(
                "Salesforce gave more records than were asked for by id",
            ));
        }
        if is_last {
            *place = Place::after(last.clone());
        } else {
            before.clone_into(&mut place.after);
        }
        Ok(is_last && self.is_end(last))
    }

    /// Whether these are the last ids.
    pub(crate) fn is_end(&self, through: &str) -> bool {
        self.next_ids(through).is_empty()
    }
}

/// Pages of a narrowed query before a wider one is tried: the timeout may have been temporary.
const PAGES_BEFORE_WIDER: u32 = 5;

/// The effect of a page on the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The object has no more rows.
    pub(crate) last: bool,
    /// The last id of the page.
    pub(crate) through: String,
    /// Rows that are read again: the cursor returned fewer rows than it announced, and it is not known which pages lack them.
    pub(crate) again: u64,
    /// They were read again, and rows are still lacking.
    pub(crate) lost: bool,
    /// The ids of the page were strictly increasing by their bytes, starting after the id before the page.
    pub(crate) in_order: bool,
    /// The remaining rows of the object, if this page reports them.
    pub(crate) total: Option<u64>,
}

impl Place {
    /// After this id.
    pub(crate) fn after(id: String) -> Self {
        Self {
            after: id,
            ..Self::default()
        }
    }

    /// The path of the next page.
    pub(crate) fn path(&self, session: &Session, plan: &Plan, scope: &Scope) -> String {
        if let Some(next) = &self.next {
            return next.clone();
        }
        let soql = match scope {
            Scope::All => plan.soql(0, &Filter::After(&self.after), self.limit()),
            Scope::Since(since) => {
                let after = &self.after;
                plan.soql(0, &Filter::Changed { since, after }, self.limit())
            }
            Scope::Ids { .. } => plan.soql(0, &Filter::Ids(scope.next_ids(&self.after)), None),
        };
        session.api().query_path(&soql, true)
    }

    fn limit(&self) -> Option<u32> {
        self.narrowed.map(|index| NARROW_LIMITS[index])
    }

    /// Leaves the cursor: the next page is queried by the last id.
    pub(crate) fn leave_cursor(&mut self) -> bool {
        self.given = 0;
        self.next.take().is_some()
    }

    /// Lowers the row limit. False if it is already the lowest.
    pub(crate) fn narrow(&mut self) -> bool {
        self.leave_cursor();
        let next = self.narrowed.map_or(0, |index| index + 1);
        self.narrow_pages = 0;
        if next < NARROW_LIMITS.len() {
            self.narrowed = Some(next);
        }
        next < NARROW_LIMITS.len()
    }

    /// Records that a narrowed query was answered in time.
    fn widen(&mut self) {
        self.narrow_pages += 1;
        if self.narrowed.is_some() && self.narrow_pages >= PAGES_BEFORE_WIDER {
            self.narrow_pages = 0;
            self.narrowed = self.narrowed.and_then(|index| index.checked_sub(1));
            self.leave_cursor();
        }
    }

    /// Moves the position behind a page.
    pub(crate) fn step(&mut self, page: &Page) -> Result<Step, Error> {
        let begun = self.next.is_none();
        let mut before = self.after.as_str();
        let mut in_order = true;
        for row in &page.rows {
            in_order &= row.id.as_str() > before;
            before = &row.id;
        }
        let first = page.rows.first().map(|row| row.id.as_str()).unwrap_or_default();
        if !begun && !first.is_empty() && first == self.first {
            return Err(Error::cursor_gone("Salesforce's cursor gave a page twice"));
        }
        if begun {
            (self.given, self.promised) = (0, page.total);
            self.begun.clone_from(&self.after);
        }
        first.clone_into(&mut self.first);
        self.given += page.rows.len() as u64 + page.unusable;
        let last = page.rows.last().map(|row| row.id.clone());
        // Rows after a row without an id cannot be queried by id.
        if last.is_none() && page.unusable > 0 && !page.done {
            return Err(Error::bug(
                "Salesforce answered with a page of records that have no ids",
            ));
        }
        if last.as_ref() == Some(&self.after) || (last.is_none() && !page.done) {
            return Err(Error::cursor_gone(
                "Salesforce's cursor gives the same page again and again",
            ));
        }
        // Otherwise this page would be evidence that the object is empty.
        if last.is_none() && begun && page.total > page.unusable {
            return Err(Error::cursor_gone("Salesforce promised records and gave none"));
        }
        self.next = if page.done {
            None
        } else {
            page.next.as_deref().and_then(cursor_path)
        };
        if let Some(last) = last {
            self.after = last;
        }
        let owed = if begun { std::mem::take(&mut self.owed) } else { 0 };
        let mut step = Step {
            last: page.done,
            through: self.after.clone(),
            again: 0,
            lost: page.total < owed,
            in_order,
            total: (begun && self.narrowed.is_none()).then_some(page.total),
        };
        if page.done && self.given < self.promised {
            self.end_short(&mut step);
        } else if !page.rows.is_empty() && self.limit().is_some_and(|limit| self.given >= u64::from(limit)) {
            // A narrowed query ends at its limit, not at the end of the object.
            step.last = false;
        }
        self.widen();
        Ok(step)
    }

    /// After a cursor that returned fewer rows than it announced: it ended early, or a page in its middle was short. Its rows are
    /// read again, once. After that, the rest is queried by the last id, and has to have the rows that are lacking.
    fn end_short(&mut self, step: &mut Step) {
        self.short += 1;
        step.last = false;
        if self.short == 1 {
            step.again = self.given;
            self.after.clone_from(&self.begun);
        } else if self.limit().is_some() {
            // More rows follow in any case: they prove nothing.
            step.lost = true;
        } else {
            self.owed = self.promised - self.given;
        }
    }
}

/// The path of the cursor without the host: the organization may move.
pub(crate) fn cursor_path(url: &str) -> Option<String> {
    let path = match url.find("/services/data/") {
        Some(0) => url,
        // An absolute address.
        Some(at) if url.starts_with("https://") || url.starts_with("http://") => &url[at..],
        _ => return None,
    };
    Some(path.to_owned())
}

/// The records of a page: the page itself if the selection is not split, else all parts over the page's range. Also
/// returns the time of the read by Salesforce's clock (0 if unknown), and the number of unusable rows.
pub(crate) async fn whole(
    session: &Session,
    plan: &Plan,
    scope: &Scope,
    first: Page,
    after: &str,
) -> Result<Whole, Error> {
    let through = first.rows.last().map(|row| row.id.clone());
    let mut parts = vec![first];
    if let Some(through) = through {
        for part in 1..plan.parts.len() {
            let range = |since| Filter::Range {
                after,
                through: &through,
                since,
            };
            let filter = match scope {
                Scope::All => range(""),
                Scope::Since(since) => range(since),
                Scope::Ids { .. } => Filter::Ids(scope.next_ids(after)),
            };
            parts.push(all_pages(session, plan, part, &filter).await?);
        }
    }
    together(session, plan, parts).await
}

/// Records with their common properties.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) records: Vec<Record>,
    /// The time of the read: the earliest time of the parts, 0 if unknown.
    pub(crate) read_us: i64,
    /// Number of unusable rows, which are not in the list.
    pub(crate) unusable: u64,
}

/// Joins parts. Rows that changed between two queries are read again separately.
pub(crate) async fn together(session: &Session, plan: &Plan, parts: Vec<Page>) -> Result<Whole, Error> {
    let read_us = parts.iter().fold(0, |time, part| earlier(time, part.read_us));
    let unusable = parts.iter().map(|part| part.unusable).max().unwrap_or(0);
    let (mut records, mut torn) = records::merge(plan.object, parts);
    let whole = |records| Whole {
        records,
        read_us,
        unusable,
    };
    for _ in 0..TORN_ATTEMPTS {
        if torn.is_empty() {
            return Ok(whole(records));
        }
        let mut still = Vec::new();
        for ids in torn.chunks(IDS_A_QUERY) {
            let mut parts = Vec::with_capacity(plan.parts.len());
            for part in 0..plan.parts.len() {
                parts.push(all_pages(session, plan, part, &Filter::Ids(ids)).await?);
            }
            let (again, torn) = records::merge(plan.object, parts);
            records.extend(again);
            still.extend(torn);
        }
        torn = still;
    }
    if torn.is_empty() {
        return Ok(whole(records));
    }
    Err(Error::new(ErrorKind::Transient, "records keep changing while they are read").object(plan.object.key))
}

/// All rows of one part of a bounded query.
async fn all_pages(session: &Session, plan: &Plan, part: usize, filter: &Filter<'_>) -> Result<Page, Error> {
    let mut path = session.api().query_path(&plan.soql(part, filter, None), true);
    let mut whole = Page::default();
    loop {
        whole.append(rest::page(session, &path, &plan.parts[part]).await?);
        if whole.is_short() {
            return Err(short().object(plan.object.key));
        }
        if whole.done {
            return Ok(whole);
        }
        path = whole
            .next
            .as_deref()
            .and_then(cursor_path)
            .ok_or_else(|| Error::cursor_gone("Salesforce did not say where the next page is"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;

    fn went(last: bool, through: &str, total: Option<u64>) -> Step {
        Step {
            last,
            through: through.to_owned(),
            again: 0,
            lost: false,
            in_order: true,
            total,
        }
    }

    fn page(ids: &[&str], total: u64, next: Option<&str>) -> Page {
        Page {
            total,
            done: next.is_none(),
            next: next.map(str::to_owned),
            rows: ids
                .iter()
                .map(|id| Row {
                    id: (*id).into(),
                    ..Row::default()
                })
                .collect(),
            ..Page::default()
        }
    }

    #[test]
    fn a_cursor_is_followed_to_its_end() {
        let mut place = Place::default();
        let step = place
            .step(&page(&["a", "b"], 3, Some("/services/data/v62.0/query/01g-2")))
            .unwrap();
        assert_eq!(step, went(false, "b", Some(3)));
        assert_eq!(
            (place.after.as_str(), place.next.as_deref()),
            ("b", Some("/services/data/v62.0/query/01g-2"))
        );
        let step = place.step(&page(&["c"], 3, None)).unwrap();
        assert_eq!(step, went(true, "c", None));
    }

    #[test]
    fn a_cursor_that_ends_early_is_no_proof() {
        let next = Some("/services/data/v62.0/query/01g-2");
        let mut place = Place::default();
        // One of its pages may have been short: they are read again.
        place.step(&page(&["a", "b"], 9, next)).unwrap();
        let step = place.step(&page(&["d"], 9, None)).unwrap();
        assert_eq!((step.last, step.again, step.through.as_str()), (false, 3, "d"));
        assert_eq!((place.after.as_str(), place.next.as_deref()), ("", None));
        // If it ends early again, the rest has the rows.
        let again = place.step(&page(&["a", "b", "c", "d"], 9, None)).unwrap();
        assert_eq!((again.last, again.again, place.after.as_str()), (false, 0, "d"));
        let mut without = place.clone();
        let step = place.step(&page(&["e", "f", "g", "h", "i"], 5, None)).unwrap();
        assert!(step.last && !step.lost);
        // If it does not have them, the object is not complete.
        let step = without.step(&page(&["e"], 1, None)).unwrap();
        assert!(step.last && step.lost);
    }

    #[test]
    fn a_page_that_comes_twice_is_noticed() {
        let next = Some("/services/data/v62.0/query/01g-2");
        let mut place = Place::default();
        place.step(&page(&["a", "b", "c"], 9, next)).unwrap();
        // The last page is shorter.
        assert!(place.step(&page(&["a", "b"], 9, None)).is_err());
    }

    #[test]
    fn a_narrowed_query_that_is_short_is_read_again() {
        let mut place = Place::default();
        place.narrow();
        let step = place.step(&page(&["a"], 2, None)).unwrap();
        assert_eq!((step.last, step.again, place.after.as_str()), (false, 1, ""));
        let step = place.step(&page(&["a"], 2, None)).unwrap();
        assert!(!step.last && step.lost);
    }

    #[test]
    fn all_ids_are_asked_for() {
        let ids: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let scope = Scope::Ids { ids, at_once: 2 };
        let mut place = Place::default();
        // The first query has two pages, the second finds nothing, and the third one of its ids.
        let mut asked = Vec::new();
        for (page, last) in [
            (page(&["a"], 2, Some("/services/data/v62.0/query/01g-1")), false),
            (page(&["b"], 2, None), false),
            (page(&[], 0, None), false),
            (page(&["e"], 1, None), true),
        ] {
            let before = place.after.clone();
            asked.push(scope.next_ids(&before).join(","));
            let step = place.step(&page).unwrap();
            assert_eq!(
                scope.after_page(&mut place, &before, step.last),
                Ok(last),
                "{asked:?}"
            );
        }
        assert_eq!(asked, ["a,b", "a,b", "c,d", "e"]);
        assert!(scope.is_end(&place.after));

        // A cursor that never ends.
        let again = page(&["a", "b"], 2, Some("/services/data/v62.0/query/01g-1"));
        let mut place = Place::default();
        let mut pages = (0..9).map(|_| {
            let step = place.step(&again)?;
            scope.after_page(&mut place, "", step.last)
        });
        assert!(pages.any(|page| page.is_err()));
    }

    #[test]
    fn another_order_is_noticed() {
        let mut place = Place::after("c".into());
        assert!(!place.step(&page(&["b", "d"], 2, None)).unwrap().in_order);
        assert!(
            !Place::default()
                .step(&page(&["b", "B"], 2, None))
                .unwrap()
                .in_order
        );
    }

    #[test]
    fn a_cursor_that_turns_in_circles_is_left() {
        let mut place = Place::after("b".into());
        assert!(place.step(&page(&["b"], 1, None)).is_err());
        assert!(
            place
                .step(&page(&[], 5, Some("/services/data/v62.0/query/x")))
                .is_err()
        );
        assert!(place.step(&page(&[], 5, None)).is_err());
    }

    #[test]
    fn narrowing_ends() {
        let mut place = Place::default();
        assert!(place.narrow());
        assert_eq!(place.limit(), Some(2_000));
        while place.narrow() {}
        assert_eq!(place.limit(), Some(200));
    }

    #[test]
    fn what_was_narrowed_for_a_moment_becomes_wide_again() {
        let mut place = Place::default();
        while place.narrow() {}
        let mut limits = Vec::new();
        for id in 0..100 {
            let ids: Vec<String> = (0..200).map(|row| format!("{id:03}{row:03}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            place.step(&page(&ids, 200, None)).unwrap();
            if limits.last() != Some(&place.limit()) {
                limits.push(place.limit());
            }
            if place.limit().is_none() {
                break;
            }
        }
        assert_eq!(limits, [Some(200), Some(500), Some(1_000), Some(2_000), None]);
    }

    #[test]
    fn rows_without_ids_are_counted_and_prove_nothing() {
        let mut place = Place::default();
        let odd = Page {
            unusable: 1,
            ..page(&["a", "b"], 3, None)
        };
        assert!(place.step(&odd).unwrap().last);
        let blind = Page {
            unusable: 2,
            ..page(&[], 4, Some("/services/data/v62.0/query/x"))
        };
        assert!(Place::default().step(&blind).is_err());
    }

    #[test]
    fn cursors_lose_their_host() {
        let path = Some("/services/data/v62.0/query/01g-2000".to_owned());
        assert_eq!(cursor_path("/services/data/v62.0/query/01g-2000"), path);
        assert_eq!(
            cursor_path("https://old.my.salesforce.com/services/data/v62.0/query/01g-2000"),
            path
        );
        assert_eq!(cursor_path("//evil.example/x"), None);
    }
}
