//! What a check finds: its observation, or the findings because of which it fails.

use crate::connector::Failure;

/// The result of a check: the observation in a few words, or the reason why it did not pass.
pub(crate) type CheckResult = Result<String, Halt>;

/// A check that did not pass.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It failed, with its findings.
    Fails(Vec<String>),
    /// It concerns a missing feature, with the reason.
    Lacks(String),
}

/// A failed check with one finding.
pub(crate) fn fails(finding: impl Into<String>) -> Halt {
    Halt::Fails(vec![finding.into()])
}

/// Converts the failure of a call to that of the check.
pub(crate) trait Context<T> {
    /// With the action that failed.
    fn context(self, what: &str) -> Result<T, Halt>;
}

impl<T> Context<T> for Result<T, Failure> {
    fn context(self, what: &str) -> Result<T, Halt> {
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
    pub(crate) fn done(self, seen: impl Into<String>) -> CheckResult {
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
