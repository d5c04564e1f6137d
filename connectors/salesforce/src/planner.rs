//! Chooses between the REST API and Bulk for the rest of a pass over an object.
//!
//! The number of rows is Salesforce's estimate (`limits/recordCount`) at the beginning of a pass over all records, and the total of
//! a query with its first page. An estimate may be absent or wrong: without one the pass begins by REST, and the total of its first
//! page decides; one that is too large costs a job of few rows, some six calls.

/// Rows of a page of the REST API; fewer if rows are wide, which Salesforce does not tell beforehand.
const REST_ROWS: u64 = 2_000;
/// Calls of a job besides its pages: list, create, some looks, delete.
const JOB_CALLS: u64 = 10;
/// Rows of a page of Bulk, about.
const BULK_ROWS: u64 = 40_000;
/// A read by REST is avoided if it would take more than one of so many calls that the organization has left today.
const SHARE_OF_CALLS: u64 = 20;

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Page by page.
    Rest,
    /// With a job of Bulk.
    Bulk,
}

/// What is known of the rows that are left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Their number, if it is known.
    pub(crate) rows: Option<u64>,
    /// Queries that REST needs for a row, because the columns do not fit into one URL.
    pub(crate) parts: usize,
    /// The rows from which Bulk is cheaper; 0: it is never used.
    pub(crate) break_even: u64,
    /// API calls that the organization has left today, if they are known.
    pub(crate) calls_left: Option<u64>,
}

/// The cheaper way. Bulk, too, if it needs fewer calls and few are left.
pub(crate) fn choose(facts: &Facts) -> Way {
    let Some(rows) = facts.rows.filter(|rows| *rows > 0 && facts.break_even > 0) else {
        return Way::Rest;
    };
    let parts = u64::try_from(facts.parts).unwrap_or(u64::MAX).max(1);
    if rows.saturating_mul(parts) >= facts.break_even {
        return Way::Bulk;
    }
    let by_rest = rows.div_ceil(REST_ROWS).saturating_mul(parts);
    let by_bulk = JOB_CALLS + rows.div_ceil(BULK_ROWS);
    let few_left = facts
        .calls_left
        .is_some_and(|left| by_rest.saturating_mul(SHARE_OF_CALLS) > left);
    match few_left && by_bulk < by_rest {
        true => Way::Bulk,
        false => Way::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_way_is_chosen() {
        let way = |rows, parts, break_even, calls_left| {
            choose(&Facts {
                rows,
                parts,
                break_even,
                calls_left,
            })
        };
        use Way::{Bulk, Rest};
        #[rustfmt::skip]
        let table = [
            // By rows.
            (Some(39_999), 1, 40_000, None, Rest),
            (Some(40_000), 1, 40_000, None, Bulk),
            (Some(u64::MAX), 9, 40_000, None, Bulk),
            // The number is not known, or there is nothing.
            (None, 1, 40_000, None, Rest),
            (Some(0), 1, 1, None, Rest),
            // Never.
            (Some(1_000_000), 1, 0, Some(1), Rest),
            // Several queries for each row.
            (Some(20_000), 1, 40_000, None, Rest),
            (Some(20_000), 2, 40_000, None, Bulk),
            // Few calls are left: 18 by REST, 11 by Bulk.
            (Some(35_000), 1, 40_000, Some(361), Rest),
            (Some(35_000), 1, 40_000, Some(359), Bulk),
            // Bulk would need more of them.
            (Some(10_000), 1, 40_000, Some(3), Rest),
            (Some(10_000), 1, 40_000, Some(0), Rest),
        ];
        for (rows, parts, break_even, calls_left, right) in table {
            assert_eq!(
                way(rows, parts, break_even, calls_left),
                right,
                "{rows:?} {parts} {break_even} {calls_left:?}"
            );
        }
    }
}
