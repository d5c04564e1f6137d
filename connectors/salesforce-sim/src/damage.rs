//! Damaged pages of results: rows are missing or are sent twice, although the reply looks complete.

use serde::{Deserialize, Serialize};

use crate::app::App;

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum How {
    /// The last rows are missing; its numbers count them.
    Short,
    /// It has the rows of the page before.
    Repeat,
    /// Its link to the next page leads to itself.
    Loop,
    /// It says that it is the last.
    Early,
    /// Bulk: `Sforce-NumberOfRecords` is too small by `rows`.
    Miscount,
    /// Bulk: without `Sforce-NumberOfRecords`.
    Uncounted,
    /// Bulk: without the header row.
    Headerless,
    /// Bulk: no body at all.
    Empty,
}

/// The API of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Api {
    Rest,
    Bulk,
}

/// An order for later pages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Damage {
    /// The organization, by name or id; the first one by default.
    #[serde(default)]
    pub(crate) org: Option<String>,
    #[serde(skip)]
    pub(crate) number: usize,
    /// The object; every object by default.
    #[serde(default)]
    object: Option<String>,
    /// One of the APIs; both by default.
    #[serde(default)]
    api: Option<Api>,
    how: How,
    /// The number of rows that are concerned.
    #[serde(default = "once")]
    rows: usize,
    /// The number of matching pages before it.
    #[serde(default)]
    skip: u32,
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

/// The damage of a page, and the number of rows.
pub(crate) fn strike(app: &App, org: usize, object: &str, api: Api) -> Option<(How, usize)> {
    let mut orders = app.damage.lock();
    let mut struck = None;
    for order in orders.iter_mut() {
        let matches = order.number == org
            && order.api.is_none_or(|own| own == api)
            && order
                .object
                .as_ref()
                .is_none_or(|own| own.eq_ignore_ascii_case(object));
        if !matches {
            continue;
        }
        if order.skip > 0 {
            order.skip -= 1;
        } else if struck.is_none() {
            order.times = order.times.saturating_sub(1);
            struck = Some((order.how, order.rows));
        }
    }
    orders.retain(|order| order.times > 0);
    struck
}
