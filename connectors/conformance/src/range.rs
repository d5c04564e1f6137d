//! Ranges of ids that batches list completely.

use tether_connector_host::proto::{Covers, RecordBatch};

/// The order of a range of ids.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    Bytes,
    /// Decimal numbers without leading zeros, by value; other ids are in no range.
    Numbers,
}

impl Order {
    /// The range of a batch, if it has one.
    ///
    /// # Errors
    /// If it has two.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Option<(&Covers, Self)>, &'static str> {
        match (&batch.covers, &batch.covers_numbers) {
            (None, None) => Ok(None),
            (Some(covers), None) => Ok(Some((covers, Self::Bytes))),
            (None, Some(covers)) => Ok(Some((covers, Self::Numbers))),
            (Some(_), Some(_)) => Err("a batch has both `covers` and `covers_numbers`; only one is allowed"),
        }
    }

    /// Whether an id is in a range.
    pub(crate) fn inside(self, covers: &Covers, id: &str) -> bool {
        // Numbers without leading zeros: a longer one is larger, and numbers of the same length are ordered by their
        // bytes.
        let key = |id: &str| match self {
            Self::Bytes => (0, id.to_owned()),
            Self::Numbers => (id.len(), id.to_owned()),
        };
        let number = id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
        (matches!(self, Self::Bytes) || number)
            && key(id) > key(&covers.after)
            && (covers.through.is_empty() || key(id) <= key(&covers.through))
    }
}

/// A range, for reports.
pub(crate) fn text(covers: &Covers) -> String {
    let or = |id: &str, other: &str| {
        if id.is_empty() {
            other.to_owned()
        } else {
            id.to_owned()
        }
    };
    format!(
        "({}, {}]",
        or(&covers.after, "beginning"),
        or(&covers.through, "end")
    )
}
