//! The position in a read by Bulk, as checkpoints have it.

use serde::{Deserialize, Serialize};

use tether_connector_sdk::http::jitter;

use super::api::Form;
use crate::ids;

/// A read by Bulk: the job that is about to be created, or exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Salesforce's time before the job was created: unix microseconds, 0 if unknown. Its rows are of that time or later.
    pub(crate) since_us: i64,
    pub(crate) form: Form,
    /// A random number that tells this read's job from those of other reads.
    #[serde(default)]
    pub(crate) mark: u64,
    /// Jobs of this pass that failed before.
    #[serde(default)]
    pub(crate) failed: u8,
    /// The last id of the ranges that were listed so far. A range may turn out to lack records that come later: the host only
    /// marks what a range lacks, and the later row takes the mark away.
    pub(crate) through: String,
    /// The rows did not come in the order of their ids.
    #[serde(default)]
    pub(crate) unordered: bool,
    /// None: it is about to be created.
    pub(crate) job: Option<Job>,
    /// This process has made the mark: no process before can have created the job.
    #[serde(skip)]
    pub(crate) fresh: bool,
}

/// A job, and what was read of its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    /// The version of the API that created it: its results must be read with the same one.
    pub(crate) version: String,
    /// Its records at the last look, and since when it has so many.
    pub(crate) processed: u64,
    pub(crate) moved_us: i64,
    /// Its records, once it is complete.
    pub(crate) total: Option<u64>,
    /// Everything was read: the job is to be deleted.
    #[serde(default)]
    pub(crate) ended: bool,
    pub(crate) page: PageAt,
}

/// The position in the result of a job.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageAt {
    /// The page; empty for the first one.
    pub(crate) locator: String,
    /// Rows of the pages before it, and of it.
    pub(crate) before: u64,
    pub(crate) rows: u64,
    /// The last row's id; the one before the page.
    pub(crate) last: String,
    pub(crate) last_before: String,
    /// The page's first id, and that of the page before.
    pub(crate) first: String,
    pub(crate) first_before: String,
}

impl Task {
    /// A job that is about to be created.
    pub(crate) fn new(since_us: i64, form: Form, through: &str) -> Self {
        Self {
            since_us,
            form,
            // Exact as a number of JSON.
            mark: (jitter() * 9e15) as u64,
            failed: 0,
            through: through.to_owned(),
            unordered: false,
            job: None,
            fresh: true,
        }
    }

    /// Whether a checkpoint's position can be used.
    pub(crate) fn is_valid(&self) -> bool {
        let is_id = |id: &str| id.is_empty() || ids::normalise(id).as_deref() == Some(id);
        let job = |job: &Job| {
            let page = &job.page;
            let marks = [&page.last, &page.last_before, &page.first, &page.first_before];
            ids::normalise(&job.id).as_ref() == Some(&job.id)
                && is_version(&job.version)
                && marks.iter().all(|id| is_id(id))
        };
        is_id(&self.through) && self.job.as_ref().is_none_or(job)
    }
}

impl PageAt {
    /// The beginning of the result of a query for what is behind this id.
    pub(crate) fn behind(after: &str) -> Self {
        Self {
            last: after.to_owned(),
            last_before: after.to_owned(),
            ..Self::default()
        }
    }

    /// At the beginning of the same page.
    pub(crate) fn again(&mut self) {
        self.rows = 0;
        self.last.clone_from(&self.last_before);
        self.first.clear();
    }

    /// Behind some rows of the page, the first and last of them with these ids. Whether they came in the order of ids is the
    /// result.
    pub(crate) fn advance<'a>(&mut self, rows: u64, ids: impl Iterator<Item = &'a str>) -> bool {
        let mut in_order = true;
        for id in ids {
            in_order &= id > self.last.as_str();
            if self.first.is_empty() {
                id.clone_into(&mut self.first);
            }
            id.clone_into(&mut self.last);
        }
        self.rows += rows;
        in_order
    }

    /// Behind a page of so many rows. Some of its rows may have been read before as those of a larger page.
    pub(crate) fn next(&mut self, rows: u64, locator: String) {
        self.before += rows;
        self.rows = self.rows.saturating_sub(rows);
        self.locator = locator;
        if self.rows == 0 {
            self.last_before.clone_from(&self.last);
            self.first_before = std::mem::take(&mut self.first);
        } else {
            // The id before the rest of the page is not known.
            self.last_before.clear();
            self.first_before.clear();
        }
    }
}

/// `v62.0`
pub(super) fn is_version(version: &str) -> bool {
    let number = version.strip_prefix('v').and_then(|rest| rest.strip_suffix(".0"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_and_repeated() {
        let mut at = PageAt::default();
        assert!(at.advance(2, ["a", "c"].into_iter()));
        assert!(!at.advance(2, ["b", "d"].into_iter()));
        assert_eq!((at.first.as_str(), at.last.as_str(), at.rows), ("a", "d", 4));
        let before = PageAt::default();
        let mut again = at.clone();
        again.again();
        assert_eq!(again, before);
        at.next(4, "x".to_owned());
        assert_eq!((at.before, at.rows, at.locator.as_str()), (4, 0, "x"));
        assert_eq!((at.last_before.as_str(), at.first_before.as_str()), ("d", "a"));
        // The page was asked for with fewer rows after three of them had been read.
        at.advance(3, ["e", "f", "g"].into_iter());
        at.next(2, "y".to_owned());
        assert_eq!((at.before, at.rows, at.locator.as_str()), (6, 1, "y"));
    }

    #[test]
    fn what_a_checkpoint_has_is_checked() {
        let task = |id: &str, version: &str, last: &str| {
            let page = PageAt {
                last: last.to_owned(),
                ..PageAt::default()
            };
            Task {
                job: Some(Job {
                    id: id.to_owned(),
                    version: version.to_owned(),
                    processed: 0,
                    moved_us: 0,
                    total: None,
                    ended: false,
                    page,
                }),
                ..Task::new(7, Form::Caret, "")
            }
        };
        let id = ids::normalise("750ak000009AVi5").unwrap();
        assert!(task(&id, "v62.0", "").is_valid());
        for (id, version, last) in [
            ("750ak000009AVi5", "v62.0", ""),
            ("../..", "v62.0", ""),
            (id.as_str(), "62", ""),
            (&id, "v.0", ""),
            (&id, "v62.0/..", ""),
            (&id, "v62.0", "x"),
        ] {
            assert!(!task(id, version, last).is_valid(), "{id} {version} {last}");
        }
        let marked = Task::new(7, Form::Caret, "");
        let text = serde_json::to_string(&marked).unwrap();
        let read: Task = serde_json::from_str(&text).unwrap();
        assert!(marked.fresh && !read.fresh && read.is_valid());
    }
}
