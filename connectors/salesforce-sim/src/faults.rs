//! Faults to order: what the next matching requests get instead of, or on top of, their answer.

use std::time::{Duration, Instant};

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
    /// Strike every matching request for so long from the order on, instead of `times`.
    #[serde(default)]
    pub(crate) seconds: Option<f64>,
    /// When `seconds` are over.
    #[serde(skip)]
    until: Option<Instant>,
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) kind: Kind,
    /// A refusal by its code: status and body are Salesforce's, see [`crate::refusals`].
    #[serde(default)]
    code: Option<String>,
    /// With `code`: another text than the usual one.
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) body: Option<String>,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// For `cut`: after so many bytes of the body; half of it if not given.
    #[serde(default)]
    pub(crate) after_bytes: Option<usize>,
    /// Strike the requests inside a composite, not the composite.
    #[serde(default)]
    pub(crate) inner: bool,
}

const LOGIN: &str = "<!DOCTYPE html><html><head><title>Login | Salesforce</title></head><body>\
    <form name=\"login\" action=\"/\">Username <input name=\"username\"></form></body></html>";

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
    /// A web page: of the login with 200 (the default), of a gateway with any other `status`.
    Html,
    /// Do the work, then cut the connection before any answer: the outcome is unknown to the caller.
    Lost,
}

impl Fault {
    /// Fills in what an order leaves to its code, and starts its time.
    pub(crate) fn begin(mut self) -> Result<Self, String> {
        if let Some(code) = &self.code {
            let known = crate::refusals::reply(code, self.message.as_deref());
            let (status, body) = known.ok_or_else(|| format!("there is no refusal {code}"))?;
            self.status.get_or_insert(status);
            self.body.get_or_insert(body);
        }
        self.until = self
            .seconds
            .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)));
        Ok(self)
    }

    /// Whether it is a refusal of Salesforce's own, ordered by its code.
    pub(crate) fn is_own(&self) -> bool {
        self.kind == Kind::Status && self.code.is_some()
    }

    /// The body of a fault that answers in Salesforce's place.
    pub(crate) fn page(&self) -> String {
        if let Some(body) = &self.body {
            return body.clone();
        }
        match (self.kind, self.status) {
            (Kind::Html, None | Some(200)) => LOGIN.to_owned(),
            (Kind::Html, Some(status)) => format!(
                "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
                 <hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
            ),
            _ => String::new(),
        }
    }

    fn over(&self) -> bool {
        match self.until {
            Some(until) => Instant::now() >= until,
            None => self.times == 0,
        }
    }

    fn matches(&self, method: &str, path: &str, text: &str, inner: bool) -> bool {
        !self.over()
            && self.inner == inner
            && path.starts_with(&self.path)
            && self
                .method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(method))
            && self.contains.as_ref().is_none_or(|c| text.contains(c.as_str()))
    }
}

/// The fault that strikes this request, if any; used-up orders are dropped.
pub(crate) fn strike(
    faults: &mut Vec<Fault>,
    method: &str,
    path: &str,
    text: &str,
    inner: bool,
) -> Option<Fault> {
    let mut struck = None;
    for fault in faults.iter_mut().filter(|f| f.matches(method, path, text, inner)) {
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if struck.is_none() {
            fault.times = fault.times.saturating_sub(1);
            struck = Some(fault.clone());
        }
    }
    faults.retain(|f| !f.over());
    struck
}
