//! Requests about jobs: create, look, list, abort, delete.

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use tether_connector_sdk::http::{Method, Request, jitter};
use tether_connector_sdk::payload::timestamp_us;
use tether_connector_sdk::proto::{Error, ErrorKind};
use tether_connector_sdk::session::Refusal;

use super::left::LeftJobs;
use crate::query::cursor_path;
use crate::rest::Session;
use crate::{errors, ids};

/// The largest number of lists of jobs that are read in search of ours.
const MOST_LISTS: usize = 20;
/// Jobs of ours that are older are left over from a read that ended without deleting them: six hours.
const LEFT_OVER_US: i64 = 6 * 3_600 * 1_000_000;
/// The clocks of a reply's date and of a job's creation may differ a little.
const CLOCKS_US: i64 = 30_000_000;

/// The delimiter of a job's result. Lists of jobs do not show their queries, so it marks our jobs: other programs use the comma, and
/// a few of them tab, pipe or semicolon. Two, of which one is chosen at random, so that of two integrations of one user that read the same object at
/// the same time in different processes one more seldom takes the other's job for its own ([`Jobs`](crate::jobs::Jobs) tells them apart
/// in one process). The line ending stays LF: whether CRLF changes line breaks
/// inside of values is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Form {
    Caret,
    Backquote,
}

impl Form {
    pub(crate) fn any() -> Self {
        match jitter() < 0.5 {
            true => Self::Caret,
            false => Self::Backquote,
        }
    }

    pub(crate) fn delimiter(self) -> u8 {
        match self {
            Self::Caret => b'^',
            Self::Backquote => b'`',
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Caret, Self::Backquote]
            .into_iter()
            .find(|form| name == form.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Caret => "CARET",
            Self::Backquote => "BACKQUOTE",
        }
    }
}

/// A job, as every reply about it shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    pub(crate) id: String,
    pub(crate) state: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    object: String,
    #[serde(default)]
    created_by_id: String,
    #[serde(default)]
    created_date: String,
    #[serde(default)]
    column_delimiter: String,
    #[serde(default)]
    line_ending: String,
    #[serde(default)]
    pub(crate) number_records_processed: Option<u64>,
    #[serde(default)]
    pub(crate) error_message: Option<String>,
}

impl Info {
    /// When it was created; 0 if unknown.
    fn created_us(&self) -> i64 {
        timestamp_us(&self.created_date).unwrap_or(0)
    }

    /// Whether it is one of this connector, for the same user.
    fn is_ours(&self, user: &str) -> bool {
        let own_user = ids::normalise(&self.created_by_id);
        Form::of(&self.column_delimiter).is_some()
            && self.line_ending == "LF"
            && self.operation == OPERATION
            && own_user.is_some()
            && own_user == ids::normalise(user)
    }
}

/// Deleted records too.
const OPERATION: &str = "queryAll";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct New {
    operation: String,
    query: String,
    content_type: String,
    column_delimiter: String,
    line_ending: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Abort {
    state: String,
}

/// The body that creates a job.
pub(crate) fn body(soql: &str, form: Form) -> String {
    let new = New {
        operation: OPERATION.to_owned(),
        query: soql.to_owned(),
        content_type: "CSV".to_owned(),
        column_delimiter: form.name().to_owned(),
        line_ending: "LF".to_owned(),
    };
    serde_json::to_string(&new).unwrap_or_default()
}

/// Checks that a body creates a job that reads.
pub(crate) fn check_create(body: &[u8]) -> Result<(), String> {
    let new: New = serde_json::from_slice(body).map_err(|_| "not the body of a query job".to_owned())?;
    match new.operation == OPERATION && new.query.starts_with("SELECT ") {
        true => Ok(()),
        false => Err("a job that is not a query".to_owned()),
    }
}

/// Checks that a body aborts a job and does nothing else.
pub(crate) fn check_abort(body: &[u8]) -> Result<(), String> {
    let abort: Abort = serde_json::from_slice(body).map_err(|_| "not the body of an abort".to_owned())?;
    match abort.state.as_str() {
        "Aborted" => Ok(()),
        _ => Err("a change of a job other than its abort".to_owned()),
    }
}

/// The path of the jobs, or of one, in a version of the API.
pub(crate) fn path(version: &str, rest: &str) -> String {
    format!("/services/data/{version}/jobs/query{rest}")
}

/// Creates a job. It is not repeated: after an error without a complete reply it is unknown whether there is one. Also returns the
/// time of the reply.
pub(crate) async fn create(session: &Session, soql: &str, form: Form) -> Result<(Info, i64), Refusal> {
    let url = session.url(&path(&session.api().options.api_version, ""));
    let response = session.once(Request::post_json(&url, body(soql, form))?).await?;
    match response.own::<Info>() {
        Some(info) => Ok((info, response.made_us().unwrap_or(0))),
        None => Err(Error::transient("Salesforce's answer about a new job cannot be read").into()),
    }
}

/// Looks at a job; also returns the time of the reply.
pub(crate) async fn look(session: &Session, version: &str, id: &str) -> Result<(Info, i64), Error> {
    let path = path(version, &format!("/{id}"));
    let looked = session.get(&path, |text| serde_json::from_str(text)).await;
    looked.map_err(told_about_job)
}

/// Aborts a job if it runs, and deletes it. One that is gone is no error.
pub(crate) async fn discard(session: &Session, version: &str, id: &str, runs: bool) -> Result<(), Error> {
    let url = session.url(&path(version, &format!("/{id}")));
    if runs {
        let abort = || {
            let request = Request::post_json(&url, r#"{"state":"Aborted"}"#)?;
            Ok(request.with_method(Method::PATCH))
        };
        let aborted = |text: &str| serde_json::from_str::<Info>(text).map(|_| ());
        // It may have ended meanwhile.
        match session.ask(abort, aborted).await {
            Err(error) if matches!(error.what(), ErrorKind::RecordGone | ErrorKind::Bug) => {
                tracing::debug!("a job need not be aborted: {error}");
            }
            done => {
                done?;
            }
        }
    }
    // The reply has no body; a page of a gateway has one.
    let deleted = |text: &str| match text.trim().is_empty() {
        true => Ok(()),
        false => Err(serde_json::Error::custom("a reply with a body")),
    };
    match session.ask(|| Request::new(Method::DELETE, &url), deleted).await {
        Err(error) if error.is(ErrorKind::RecordGone) => {}
        done => {
            done?;
        }
    }
    session.api().jobs.forget(&url);
    Ok(())
}

/// Whose left-over jobs are searched for.
pub(crate) struct LeftOver<'a> {
    pub(crate) object: &'a str,
    /// A job of this form that was created since then, too: the process ended before it knew of it.
    pub(crate) since: Option<(Form, i64)>,
    /// The mark of the read: jobs that this process knows by another mark belong to other reads, unless they are old.
    pub(crate) mark: u64,
    /// Now, by Salesforce's clock; 0 if unknown.
    pub(crate) now_us: i64,
}

impl LeftOver<'_> {
    fn has(&self, info: &Info, user: &str) -> bool {
        let created_us = info.created_us();
        let unknown = self.since.is_some_and(|(form, since_us)| {
            let same = Form::of(&info.column_delimiter) == Some(form) && info.object == self.object;
            same && created_us >= since_us - CLOCKS_US
        });
        info.is_ours(user) && (unknown || self.is_old(info))
    }

    /// No read has a job for so long.
    fn is_old(&self, info: &Info) -> bool {
        let created_us = info.created_us();
        created_us > 0 && self.now_us - created_us > LEFT_OVER_US
    }
}

/// Discards the jobs that earlier reads have left. One that cannot be deleted is noted among those that stay.
pub(crate) async fn discard_left_over(
    session: &Session,
    left: &LeftOver<'_>,
    stay: &LeftJobs,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct List {
        done: bool,
        records: Vec<Info>,
        #[serde(default)]
        next_records_url: Option<String>,
    }
    let user = session.identity().user_id.clone();
    let version = session.api().options.api_version.clone();
    let jobs = &session.api().jobs;
    let mut next = path(&version, "?jobType=V2Query");
    for _ in 0..MOST_LISTS {
        let list: List = session.json(&next).await?;
        for info in list.records.iter().filter(|info| left.has(info, &user)) {
            let Some(id) = ids::normalise(&info.id) else {
                continue;
            };
            let url = session.url(&path(&version, &format!("/{id}")));
            if !left.is_old(info) && jobs.is_of_another(&url, left.mark) {
                continue;
            }
            tracing::warn!(
                job = id,
                object = left.object,
                "a job of an earlier read is discarded"
            );
            let ended = matches!(info.state.as_str(), "JobComplete" | "Failed" | "Aborted");
            match discard(session, &version, &id, !ended).await {
                Err(error) if !error.is_account_wide() && !error.is(ErrorKind::Transient) => {
                    tracing::warn!(job = id, "a job could not be deleted: {error}");
                    stay.note(&version, &id);
                }
                done => done?,
            }
        }
        let more = list.next_records_url.as_deref().and_then(cursor_path);
        match more.filter(|_| !list.done) {
            Some(more) => next = more,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The code of an error: the job is gone, or of another version.
pub(crate) const GONE: &str = "bulk.gone";
/// It failed, was aborted by someone else or does not end.
pub(crate) const FAILED: &str = "bulk.failed";
/// Salesforce refused to create it.
pub(crate) const REFUSED: &str = "bulk.refused";
/// Its columns are not known before the object is described.
pub(crate) const NO_LAYOUT: &str = "bulk.no_layout";
/// A page of its result is damaged, or its rows are not as many as Salesforce says.
pub(crate) const DAMAGED: &str = "bulk.damaged";
/// Its locator is not valid.
pub(crate) const LOCATOR_GONE: &str = "bulk.locator_gone";

/// The meaning of a refusal about a job, or about its result.
pub(crate) fn told_about_job(error: Error) -> Error {
    let code = match (error.what(), error.code.as_str()) {
        (ErrorKind::CursorGone, _) => LOCATOR_GONE,
        (ErrorKind::RecordGone | ErrorKind::Forbidden | ErrorKind::Bug, _) => GONE,
        _ => return error,
    };
    Error::transient(error.message).code(code)
}

/// The error of a job that failed, from its message: `QUERY_TIMEOUT: …`. A field that is gone is told as such.
pub(crate) fn failed(id: &str, info: &Info) -> Error {
    let text = info.error_message.as_deref().unwrap_or("without a reason");
    if let Some(error) = errors::gone_field_of_job(text) {
        return error;
    }
    let text = tether_connector_sdk::http::one_line(text);
    Error::transient(format!("the job {id} failed: {text}")).code(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_passes_the_checks_and_nothing_else_does() {
        for form in [Form::Caret, Form::Backquote] {
            assert_eq!(
                check_create(body("SELECT Id FROM Account", form).as_bytes()),
                Ok(())
            );
        }
        assert_eq!(check_abort(br#"{"state":"Aborted"}"#), Ok(()));
        let good = body("SELECT Id FROM Account", Form::Caret);
        for bad in [
            good.replace("queryAll", "insert"),
            good.replace("queryAll", "hardDelete"),
            good.replace("SELECT Id", "DELETE Id"),
            good.replace("\"contentType\"", "\"object\":\"Account\",\"contentType\""),
            good.replace("\"operation\"", "\"operation\":\"queryAll\",\"operation\""),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(check_create(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [
            r#"{"state":"UploadComplete"}"#,
            r#"{"state":"Aborted","x":1}"#,
            "{}",
            "",
        ] {
            assert!(check_abort(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_our_own_jobs_are_left_over() {
        let job = |change: (&str, &str)| -> Info {
            let mut json = serde_json::json!({
                "id": "750ak000009AVi5AAG", "operation": "queryAll", "object": "Account", "state": "InProgress",
                "createdById": "005x00000012Q9PAAU", "createdDate": "2024-09-09T13:08:34.000+0000",
                "lineEnding": "LF", "columnDelimiter": "CARET"});
            json[change.0] = change.1.into();
            serde_json::from_value(json).unwrap()
        };
        let created_us = timestamp_us("2024-09-09T13:08:34.000Z").unwrap();
        let is_left = |info: &Info, since_us, now_us| {
            let left = LeftOver {
                object: "Account",
                since: Some((Form::Caret, since_us)),
                mark: 1,
                now_us,
            };
            left.has(info, "005x00000012Q9P")
        };
        let same = job(("state", "InProgress"));
        assert!(is_left(&same, created_us, created_us));
        let later = created_us + CLOCKS_US + 1;
        assert!(is_left(&same, later - 1, created_us) && !is_left(&same, later, created_us + LEFT_OVER_US));
        // Of an older read, of any object.
        assert!(is_left(&same, later, created_us + LEFT_OVER_US + 1));
        let contact = job(("object", "Contact"));
        assert!(!is_left(&contact, 0, created_us) && is_left(&contact, 0, created_us + LEFT_OVER_US + 1));
        // Of another integration that reads at the same time.
        let other = job(("columnDelimiter", "BACKQUOTE"));
        assert!(!is_left(&other, created_us, created_us));
        for change in [
            ("columnDelimiter", "COMMA"),
            ("columnDelimiter", "PIPE"),
            ("lineEnding", "CRLF"),
            ("operation", "query"),
            ("createdById", "005000000000001AAA"),
            ("createdById", ""),
        ] {
            assert!(
                !is_left(&job(change), 0, created_us + 2 * LEFT_OVER_US),
                "{change:?}"
            );
        }
    }

    #[test]
    fn the_reason_of_a_failed_job_is_told() {
        let info = |message: Option<&str>| Info {
            error_message: message.map(str::to_owned),
            ..serde_json::from_str(r#"{"id":"750","state":"Failed"}"#).unwrap()
        };
        let told = |message| failed("750x", &info(message));
        let gone = told(Some(
            "INVALID_FIELD: \nSELECT Site FROM Account\n ^\nERROR at Row:1:Column:8\nNo such column 'Site' on entity 'Account'.",
        ));
        assert_eq!((gone.what(), gone.field.as_str()), (ErrorKind::FieldGone, "Site"));
        for (message, part) in [
            (
                Some("InternalServerError: retried more than 15 times"),
                "retried more than 15 times",
            ),
            (Some("QUERY_TIMEOUT: too long"), "QUERY_TIMEOUT"),
            (None, "without a reason"),
        ] {
            let error = told(message);
            assert_eq!(
                (error.what(), error.code.as_str()),
                (ErrorKind::Transient, FAILED)
            );
            assert!(
                error.message.contains(part) && error.message.contains("750x"),
                "{error}"
            );
        }
    }
}
