//! What a reply to a batch does not have: records that do not exist, errors, and whether it accounts for all ids.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value as Json;
use tether_connector_sdk::http::one_line;

use crate::ids;

/// The records that a reply reports as missing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lacking {
    /// HubSpot reports that these records do not exist.
    pub(crate) gone: HashSet<String>,
    /// Why further records are missing from the reply; they may exist.
    pub(crate) failed: Option<String>,
}

/// An error in an otherwise successful reply (207).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Failed {
    pub(crate) category: Option<String>,
    message: Option<String>,
    context: Json,
}

impl Failed {
    /// The text for an error of the connector.
    pub(crate) fn text(&self) -> String {
        let text = [&self.category, &self.message]
            .into_iter()
            .flatten()
            .map(String::as_str);
        one_line(&text.collect::<Vec<_>>().join(" "))
    }

    /// HubSpot reports that something does not exist.
    pub(crate) fn is_absence(&self) -> bool {
        self.category.as_deref() == Some("OBJECT_NOT_FOUND")
    }

    /// The ids in the error's context under one of these names.
    pub(crate) fn ids(&self, names: &[&str]) -> Vec<String> {
        let one = |value: &Json| match value {
            Json::String(text) => text.split(',').map(|id| id.trim().to_owned()).collect(),
            Json::Number(number) => vec![number.to_string()],
            _ => Vec::new(),
        };
        let of = |value: &Json| match value {
            Json::Array(all) => all.iter().flat_map(one).collect(),
            value => one(value),
        };
        let ids = names.iter().flat_map(|name| of(&self.context[*name]));
        ids.filter(|id| ids::check(id).is_some()).collect()
    }
}

/// The status part of a batch's reply.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome<'a> {
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    /// Only present together with errors.
    #[serde(default)]
    num_errors: Option<u64>,
}

impl Outcome<'_> {
    /// The reason why the reply does not account for all requested ids; None if it does. HubSpot always sends
    /// `status`, and lists as many errors as it counts, or one error for several ids.
    pub(crate) fn shortfall(&self, errors: &[Failed]) -> Option<String> {
        if self.status.as_deref() != Some("COMPLETE") {
            return Some("the batch is not complete".to_owned());
        }
        let counted = self.num_errors.unwrap_or(0);
        let ids = errors.iter().map(|error| error.ids(&IDS).len().max(1));
        let listed = ids.sum::<usize>() as u64;
        (counted > listed).then(|| format!("it counts {counted} errors and lists {listed}"))
    }
}

/// The keys under which an error of a batch has the ids of its records.
pub(crate) const IDS: [&str; 4] = ["fromObjectId", "fromObjectIds", "ids", "id"];
