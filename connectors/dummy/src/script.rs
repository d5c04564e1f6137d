//! The configuration of the dummy's behaviour.
//!
//! Settings come from the operator. Those of the connection override them, and these are overridden by the JSON
//! object of texts in the file named by the setting `control` (read at every call, so that a test can change the CRM
//! while it is used):
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | `companies`, `people`, `deals` | 100, 2, 1 | numbers of records; the latter two per company |
//! | `seed` | 1 | selects the generated values |
//! | `revision` | 0 | from 1 on, some companies have changed, are deleted, gone; from 2 on, merged |
//! | `changes`, `drift`, `quiet` | | set: READ_MODE_CHANGES reads only what changed; a number that calculated values move by; set: new companies are not reported as changed |
//! | `deleted`, `gone`, `late` | 0 | from 1 on, further companies are deleted, or gone without a trace; so often others changed without a new time |
//! | `batch`, `checkpoint_every` | 50, 100 | rows |
//! | `padding` | 0 | bytes of text in each row's `Notes` |
//! | `picklists`, `entries` | 0, 10 | fields of companies that are picklists without values, and how many entries each has |
//! | `labels` | | `Energy=Power,Won=Closed`: the labels of entries of picklists |
//! | `keys` | | `9f86d081=Colour,a b=Size`: further text fields of companies, by key and label |
//! | `missing` | | `Company.Industry,Deal`: invisible fields and objects |
//! | `retyped` | | `Company.Employees=text`: a field with a new type |
//! | `token_seconds` | 3600 | lifetime of access tokens; 0 for unknown |
//! | `valid_generation` | 0 | access tokens that were refreshed fewer times are expired |
//! | `crm` | | the address of a `dummy-crm` for tokens and data; without it no request is sent |
//! | `mutant` | | defects for tests of the conformance kit, separated by commas: see "Mutants" |
//! | `script.<call>` | | the actions of a call, instead of or before its work |
//! | `script.object.<key>` | | an `error:…`: the stream reports it for the object, and continues without it |
//!
//! A script is a list of `action[@row]`, separated by commas: `slow:50,error:rate_limited:2000@120`. Actions are
//! `panic`, `hang` (never answers, but yields), `block:<ms>` (does not yield), `slow:<ms>`, `wait:<path>` (until this file
//! exists), `error:<kind>[:<retry ms>]`, `credentials` (streams only) and `log:<text>`. An action without a row runs before the first row; only
//! reads have rows.
//!
//! # Mutants
//!
//! | name | defect | check that finds it |
//! |---|---|---|
//! | `describe-changes` | Describe returns another name each time | describe.offline |
//! | `every-object-is-company` | each object has the role COMPANY | describe.whole |
//! | `accepts-missing-key` | a login without an API key succeeds | config.group |
//! | `omits-state` | the authorization URL has no state | login.address |
//! | `identity-changes` | each login has another user id | login.works |
//! | `denial-is-transient` | a denied login is TRANSIENT | login.denied |
//! | `invalid-code-is-transient` | an invalid code is TRANSIENT | login.code |
//! | `refresh-drops-refresh-token` | Refresh returns no refresh token | grant.refresh |
//! | `stream-refreshes-itself` | a stream refreshes instead of sending CredentialsNeeded | grant.stream |
//! | `repeated-revoke-fails` | a second Revoke fails | grant.revoke |
//! | `ignores-base-url` | requests go to the setting `crm`, not to base_url | grant.moved |
//! | `wrong-object-order` | ListFields lists the objects in reverse order | fields.listed |
//! | `wrong-counts` | CountRecords returns one too many | fields.counted |
//! | `payload-with-space` | payloads begin with a space | read.payloads |
//! | `unasked-currency` | amounts have a currency that the host did not ask for | read.payloads |
//! | `unknown-parents` | records have a parent that does not exist | read.records |
//! | `range-too-wide` | each range reaches to the end | read.covers |
//! | `token-in-checkpoints` | checkpoints contain the access token | read.checkpoints, safety.secrets |
//! | `missing-field-fails` | a read fails because of a missing field | read.missing-field |
//! | `skips-after-resume` | a resumed read skips one company | resume.every, resume.killed, changes.killed |
//! | `panics-on-invalid-checkpoint` | a read panics on an invalid checkpoint | resume.invalid-checkpoint |
//! | `fetch-differs` | FetchCompany returns another display_name than a read | fetch.known |
//! | `absent-company-fails` | FetchCompany fails for a company that does not exist | fetch.absent |
//! | `deleted-as-live` | deleted companies are returned as live | fetch.deleted |
//! | `never-sets-more` | FetchCompany never sets `more` | fetch.many |
//! | `rereads-everything` | a read of changes returns everything | changes.nothing |
//! | `misses-deletions` | deleted records are not among the changes | changes.applied |
//! | `trusts-times` | a record is unchanged if its time is | changes.late |
//! | `forgets-unread` | unread fields are not read | changes.unread |
//! | `partial-has-more` | partial records have all fields | changes.unread |
//! | `forgets-calculated` | calculated fields are not read again | changes.calculated |
//! | `sweeps-without-ranges` | a listing of ids has no ranges | changes.sweep |
//! | `absent-as-deleted` | records that do not exist are returned as deleted | changes.records |
//! | `records-with-ranges` | a read by ids claims ranges | changes.records |
//! | `refuses-unknown-states` | a state of another connector is an error | changes.state |
//! | `skips-unknown-objects` | an object that the state does not know counts as read | changes.state |
//! | `full-uses-state` | a full read with a state reads the changes only | changes.full |
//! | `requests-without-pulls` | a stream sends requests without pulls | pressure.bounded |
//! | `requests-after-cancel` | requests continue after a call was cancelled | time.cancel, time.pulls |
//! | `blocks-threads` | calls with a short deadline block all threads | time.deadline |
//! | `every-error-is-bug` | every error of the CRM is BUG | fault.calls, fault.streams |
//! | `accepts-any-body` | a 200 counts as success, whatever its body | fault.calls |
//! | `forbidden-object-fails` | a stream fails because of one forbidden object | refusal.object |
//! | `ignores-wait` | a rate limit has a fixed time, not the CRM's | refusal.limit |
//! | `trusts-gateways` | 403 and 404 of a gateway count as the CRM's | foreign.streams, foreign.calls |
//! | `one-stream-only` | a second concurrent stream fails | life.concurrent |
//! | `leaks` | each instance leaks a thread, each stream memory | life.growth |
//! | `writes` | requests include a POST to the CRM's data | safety.read-only |
//! | `logs-tokens` | the access token is logged | safety.secrets |

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tether_connector_sdk::proto::ErrorKind;
use tether_connector_sdk::{CallContext, Error};

/// How often a file is looked for.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// The settings of one call.
#[derive(Clone)]
pub struct Settings(HashMap<String, String>);

impl Settings {
    /// The operator's settings.
    #[must_use]
    pub fn new(settings: HashMap<String, String>) -> Self {
        Self(settings)
    }

    /// Adds the settings of a connection, and those of the control file.
    pub fn with(&self, connection: &HashMap<String, String>) -> Result<Self, Error> {
        let mut settings = self.0.clone();
        settings.extend(connection.clone());
        if let Some(control) = settings.get("control").filter(|path| !path.is_empty()) {
            let text = std::fs::read_to_string(control)
                .map_err(|error| Error::configuration(format!("the control file: {error}")))?;
            let control: HashMap<String, String> = serde_json::from_str(&text)
                .map_err(|error| Error::configuration(format!("the control file: {error}")))?;
            settings.extend(control);
        }
        Ok(Self(settings))
    }

    /// A setting, if it is set.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// The address of the CRM, if there is one.
    #[must_use]
    pub fn crm(&self) -> Option<&str> {
        Some(self.text("crm")).filter(|base| !base.is_empty())
    }

    /// Whether this defect is enabled.
    #[must_use]
    pub fn is_mutant(&self, defect: &str) -> bool {
        self.text("mutant").split(',').any(|name| name.trim() == defect)
    }

    /// The pairs of a setting of the form `a=b,c=d`.
    pub fn pairs(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        self.text(key).split(',').filter_map(|pair| pair.split_once('='))
    }

    /// A number, or its default.
    #[must_use]
    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.text(key).parse().unwrap_or(default)
    }
}

/// The actions of a call.
#[derive(Debug, Default)]
pub struct Script(Vec<(Option<u64>, Action)>);

/// One action.
#[derive(Clone, Debug)]
pub enum Action {
    /// Panics.
    Panic,
    /// Never answers.
    Hang,
    /// Blocks the thread.
    Block(Duration),
    /// Waits.
    Slow(Duration),
    /// Waits until a file exists.
    Wait(PathBuf),
    /// Returns an error.
    Fail(Box<Error>),
    /// Requests credentials.
    Credentials,
    /// Writes to the log.
    Log(String),
}

impl Script {
    /// The script of a call.
    pub fn of(settings: &Settings, call: &str) -> Result<Self, Error> {
        let text = settings.text(&format!("script.{call}"));
        let steps = text.split(',').map(str::trim).filter(|step| !step.is_empty());
        steps.map(step).collect::<Result<_, _>>().map(Self)
    }

    /// The first action without a row.
    #[must_use]
    pub fn at_once(&self) -> Option<&Action> {
        self.0
            .iter()
            .find(|(row, _)| row.is_none())
            .map(|(_, action)| action)
    }

    /// Runs the actions without a row.
    pub async fn run(&self, call: &CallContext) -> Result<(), Error> {
        for (_, action) in self.0.iter().filter(|(row, _)| row.is_none()) {
            action.run(call).await?;
        }
        Ok(())
    }

    /// The actions of a row.
    pub fn at(&self, row: u64) -> impl Iterator<Item = &Action> {
        self.0
            .iter()
            .filter(move |(at, _)| *at == Some(row))
            .map(|(_, action)| action)
    }
}

impl Action {
    /// Runs the action. Only the stream can request credentials.
    pub async fn run(&self, call: &CallContext) -> Result<(), Error> {
        match self {
            Self::Hang => std::future::pending().await,
            Self::Slow(time) => call.sleep(*time).await,
            Self::Wait(path) => {
                while !path.exists() {
                    call.sleep(WAIT_STEP).await?;
                }
                Ok(())
            }
            other => other.run_blocking(),
        }
    }

    /// Runs the action without awaiting.
    pub fn run_blocking(&self) -> Result<(), Error> {
        match self {
            #[expect(clippy::panic, reason = "the script asks for it")]
            Self::Panic => panic!("a panic of the script, and the message has a s3cret"),
            Self::Block(time) | Self::Slow(time) => std::thread::sleep(*time),
            Self::Fail(error) => return Err(error.as_ref().clone()),
            Self::Log(text) => tracing::info!("{text}"),
            Self::Hang | Self::Wait(_) | Self::Credentials => {}
        }
        Ok(())
    }
}

fn step(step: &str) -> Result<(Option<u64>, Action), Error> {
    let wrong = || Error::invalid_input(format!("not a step of a script: {step}"));
    let (action, row) = match step.rsplit_once('@') {
        Some((action, row)) => (action, Some(row.parse().map_err(|_| wrong())?)),
        None => (step, None),
    };
    let (name, rest) = action.split_once(':').unwrap_or((action, ""));
    let milliseconds = |text: &str| text.parse().map(Duration::from_millis).map_err(|_| wrong());
    let action = match name {
        "panic" => Action::Panic,
        "hang" => Action::Hang,
        "block" => Action::Block(milliseconds(rest)?),
        "slow" => Action::Slow(milliseconds(rest)?),
        "wait" => Action::Wait(PathBuf::from(rest)),
        "credentials" => Action::Credentials,
        "log" => Action::Log(rest.to_owned()),
        "error" => {
            let (kind, retry) = rest.split_once(':').unwrap_or((rest, ""));
            let kind = ErrorKind::from_str_name(&format!("ERROR_KIND_{}", kind.to_ascii_uppercase()));
            let kind = kind.ok_or_else(wrong)?;
            let mut error = Error::new(kind, "as the script says").code("DUMMY");
            match kind {
                ErrorKind::AllowanceExhausted => error = error.allowance(990, 1_000),
                ErrorKind::Forbidden => error = error.object("Company"),
                _ => {}
            }
            if !retry.is_empty() {
                error = error.retry_after(milliseconds(retry)?);
            }
            Action::Fail(Box::new(error))
        }
        _ => return Err(wrong()),
    };
    Ok((row, action))
}
