//! Faults to order: what the next matching requests get instead of, or on top of, their answer.

use serde::{Deserialize, Serialize};

/// One order for trouble.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Fault {
    /// The request's path starts with this.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// The decoded query or the body contains this.
    #[serde(default)]
    pub(crate) contains: Option<String>,
    /// Let so many matching requests pass first.
    #[serde(default)]
    pub(crate) skip: u32,
    /// Strike so often.
    #[serde(default = "once")]
    pub(crate) times: u32,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) body: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
}

fn once() -> u32 {
    1
}

/// What a fault does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Answer `status` and `body` without doing anything.
    #[default]
    Status,
    /// Only wait.
    Delay,
    /// Do the work, then cut the connection in the middle of the answer.
    Cut,
    /// Do the work, then break the JSON of the answer.
    Garbage,
    /// A 200 with a web page.
    Html,
    /// Do the work, then cut the connection before any answer: the outcome is unknown to the caller.
    Lost,
}

impl Fault {
    fn matches(&self, method: &str, path: &str, text: &str) -> bool {
        self.times > 0
            && path.starts_with(&self.path)
            && self
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(method))
            && self.contains.as_ref().is_none_or(|c| text.contains(c.as_str()))
    }
}

/// The fault that strikes this request, if any; used-up orders are dropped.
pub(crate) fn strike(faults: &mut Vec<Fault>, method: &str, path: &str, text: &str) -> Option<Fault> {
    let mut struck = None;
    for fault in faults.iter_mut().filter(|f| f.matches(method, path, text)) {
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if struck.is_none() {
            fault.times -= 1;
            struck = Some(fault.clone());
        }
    }
    faults.retain(|f| f.times > 0);
    struck
}
