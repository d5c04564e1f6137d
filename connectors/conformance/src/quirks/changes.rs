//! `[changes]`: how the records of the fixture change between two reads.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There are new records.
    Add,
    /// Records have other values.
    Update,
    /// Records are deleted, and the CRM reports that.
    Delete,
    /// Deleted records are restored.
    Undelete,
    /// Records are merged.
    Merge,
    /// Records have another parent.
    Move,
    /// A record changes, and the time of the change is before the read that did not return the change yet. It is run twice, with
    /// the same time: before that read and after it.
    Late,
    /// The values of calculated fields change; the records' times of change do not.
    Calculate,
    /// Records are gone without a trace.
    Purge,
}

impl Kind {
    /// Its name in `[changes]`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Merge => "merge",
            Self::Move => "move",
            Self::Late => "late",
            Self::Calculate => "calculate",
            Self::Purge => "purge",
        }
    }
}

/// How to make a change: by requests to the fixture, by settings, or both. In all texts `{id:OBJECT:3}` is the id of the fourth live
/// record of an object, in the order of ids before the first change, `{time:60}` the time 60 seconds before the fixture was
/// started, as in RFC 3339, and `{round}` the number of the run of the change, from 1 on; it may be inside of the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Requests to the fixture, in this order.
    #[serde(default)]
    pub requests: Vec<Post>,
    /// Operator settings of the instances that are opened afterwards.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// A POST of JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// The address.
    pub url: String,
    /// The body.
    pub body: String,
}
