//! The checks, in the order of execution.

mod config;
mod describe;
mod door;
mod fetch;
mod fields;
mod foreign;
mod grant;
mod life;
mod login;
mod manifest;
mod pressure;
mod read;
mod refusal;
mod resume;
mod safety;
mod time;
mod trouble;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::connector::Failure;
use crate::report::{Checked, Outcome};
use crate::world::World;

/// The result of a check: the observation in a few words, or the reason why it did not pass.
pub(crate) type Seen = Result<String, Halt>;

/// A check that did not pass.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It failed, with its findings.
    Fails(Vec<String>),
    /// It concerns a missing feature, with the reason.
    Lacks(String),
}

/// One check.
pub(crate) struct Check {
    /// `family.name`; its meaning never changes.
    pub(crate) id: &'static str,
    /// The requirement.
    title: &'static str,
    /// The consequence in production if it is not met.
    why: &'static str,
    /// The rules of SPEC.md that it checks.
    spec: &'static [&'static str],
    run: for<'a> fn(&'a World) -> BoxFuture<'a, Seen>,
}

/// Every check. The first one decides whether the others can run.
pub(crate) const ALL: &[Check] = &[
    manifest::IN_ORDER,
    manifest::OPENS,
    describe::OFFLINE,
    describe::WHOLE,
    config::OPERATOR,
    config::GROUP,
    login::ADDRESS,
    login::WORKS,
    login::DENIED,
    login::CODE,
    grant::REFRESH,
    grant::STREAM,
    grant::REVOKE,
    grant::MOVED,
    fields::LISTED,
    fields::COUNTED,
    read::PAYLOADS,
    read::RECORDS,
    read::COVERS,
    read::CHECKPOINTS,
    read::MISSING,
    resume::EVERY,
    resume::KILLED,
    resume::NONSENSE,
    fetch::KNOWN,
    fetch::ABSENT,
    fetch::DELETED,
    fetch::MANY,
    pressure::BOUNDED,
    time::CANCEL,
    time::DEADLINE,
    time::PULLS,
    time::CLOSE,
    trouble::CALLS,
    trouble::STREAMS,
    refusal::OBJECT,
    refusal::LIMIT,
    foreign::STREAMS,
    foreign::CALLS,
    life::CONCURRENT,
    door::GARBAGE,
    door::NUMBERS,
    life::GROWTH,
    safety::READ_ONLY,
    safety::SECRETS,
];

impl Check {
    /// Whether this check has to pass before all others.
    pub(crate) fn is_first(&self) -> bool {
        self.id == manifest::IN_ORDER.id || self.id == manifest::OPENS.id
    }

    /// Runs it, at most for `limit`.
    pub(crate) async fn run(&self, world: &World, limit: Duration) -> Checked {
        let started = std::time::Instant::now();
        let seen = tokio::time::timeout(limit, (self.run)(world)).await;
        // A check that ended early must not leave a fault behind.
        if let Some(proxy) = &world.proxy {
            proxy.clear();
        }
        let outcome = match seen {
            Ok(Ok(seen)) => Outcome::Passed { seen },
            Ok(Err(Halt::Fails(findings))) => Outcome::Failed { findings },
            Ok(Err(Halt::Lacks(reason))) => Outcome::NotApplicable { reason },
            Err(_) => Outcome::Failed {
                findings: vec![format!(
                    "it did not end within {} seconds: something hangs",
                    limit.as_secs()
                )],
            },
        };
        Checked {
            id: self.id,
            title: self.title,
            why: self.why,
            spec: self.spec,
            outcome,
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// A failed check with one finding.
pub(crate) fn fails(finding: impl Into<String>) -> Halt {
    Halt::Fails(vec![finding.into()])
}

/// Converts the failure of a call to that of the check.
pub(crate) trait Told<T> {
    /// With the action that failed.
    fn told(self, what: &str) -> Result<T, Halt>;
}

impl<T> Told<T> for Result<T, Failure> {
    fn told(self, what: &str) -> Result<T, Halt> {
        self.map_err(|failure| fails(format!("{what}: {failure}")))
    }
}

/// The findings of a check so far.
#[derive(Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    /// Adds a finding.
    pub(crate) fn add(&mut self, finding: impl Into<String>) {
        self.0.push(finding.into());
    }

    /// Adds a finding unless `holds`.
    pub(crate) fn unless(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.0.push(finding());
        }
    }

    /// Adds the findings of a part of the check, which then continues.
    pub(crate) fn part<T>(&mut self, part: Result<T, Halt>) -> Option<T> {
        match part {
            Ok(part) => Some(part),
            Err(Halt::Fails(findings)) => {
                self.0.extend(findings);
                None
            }
            Err(Halt::Lacks(_)) => None,
        }
    }

    /// The result of the check: the findings, or the observation.
    pub(crate) fn done(self, seen: impl Into<String>) -> Seen {
        const MOST: usize = 12;
        if self.0.is_empty() {
            return Ok(seen.into());
        }
        let mut findings = self.0;
        let more = findings.len().saturating_sub(MOST);
        findings.truncate(MOST);
        if more > 0 {
            findings.push(format!("… and {more} more"));
        }
        Err(Halt::Fails(findings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_every_check_names_its_rules() {
        let mut ids: Vec<_> = ALL.iter().map(|check| check.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        for check in ALL {
            assert!(
                !check.spec.is_empty() && check.why.ends_with('.') && check.id.contains('.'),
                "{}",
                check.id
            );
        }
    }
}
