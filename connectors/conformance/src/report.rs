//! The results of the checks, for users and for programs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tether_connector_host::manifest::Isolation;

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// `family.name`.
    pub id: &'static str,
    /// The requirement.
    pub title: &'static str,
    /// The consequence in production if it is not met.
    pub why: &'static str,
    /// The rules of `connectors/SPEC.md` that it checks.
    pub spec: &'static [&'static str],
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The duration.
    pub milliseconds: u64,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The requirement is met.
    Passed {
        /// The observation, in a few words.
        seen: String,
    },
    /// The requirement is not met.
    Failed {
        /// The observations, one for each finding.
        findings: Vec<String>,
    },
    /// It concerns a feature that the connector declares as missing.
    NotApplicable {
        /// The reason in `conformance.toml`.
        reason: String,
    },
}

/// The results of all checks in one isolation.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// `child` or `in_process`.
    pub isolation: &'static str,
    /// In the order of execution.
    pub checks: Vec<Checked>,
    /// The duration of all checks.
    pub milliseconds: u64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The connector's folder.
    pub folder: String,
    /// One for each isolation.
    pub runs: Vec<Run>,
    /// Whether every check passed or is not applicable.
    pub passed: bool,
}

impl Outcome {
    /// The symbol in tables.
    #[must_use]
    pub fn sign(&self) -> &'static str {
        match self {
            Self::Passed { .. } => "✓",
            Self::Failed { .. } => "✗",
            Self::NotApplicable { .. } => "–",
        }
    }
}

impl Checked {
    /// For users: one line, and for a failure the observations and the consequence.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} {:<22} {}", self.outcome.sign(), self.id, self.title);
        // Writing to a String cannot fail.
        let _ = match &self.outcome {
            Outcome::Passed { seen } => write!(text, ": {seen}"),
            Outcome::NotApplicable { reason } => write!(text, "\n    not applicable: {reason}"),
            Outcome::Failed { findings } => {
                for finding in findings {
                    let _ = write!(text, "\n    seen: {finding}");
                }
                write!(
                    text,
                    "\n    why:  {}\n    see:  connectors/SPEC.md, {}",
                    self.why,
                    self.spec.join(", ")
                )
            }
        };
        text
    }
}

impl Run {
    pub(crate) fn new(isolation: Isolation, checks: Vec<Checked>, took: Duration) -> Self {
        let isolation = word(isolation);
        Self {
            isolation,
            checks,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn passed(&self) -> bool {
        let failed = |checked: &Checked| matches!(checked.outcome, Outcome::Failed { .. });
        !self.checks.is_empty() && !self.checks.iter().any(failed)
    }
}

impl Report {
    pub(crate) fn new(folder: &Path, runs: Vec<Run>) -> Self {
        let passed = !runs.is_empty() && runs.iter().all(Run::passed);
        Self {
            folder: folder.display().to_string(),
            runs,
            passed,
        }
    }

    /// For users: a table of checks and isolations, and the totals.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let longest = self.runs.iter().max_by_key(|run| run.checks.len());
        let ids = longest
            .map(|run| run.checks.iter().map(|checked| checked.id))
            .into_iter()
            .flatten();
        let heads: Vec<_> = self.runs.iter().map(|run| run.isolation).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<24}{}", "check", heads.join("  "));
        for id in ids {
            let _ = write!(text, "{id:<24}");
            for run in &self.runs {
                let checked = run.checks.iter().find(|checked| checked.id == id);
                let sign = checked.map_or("not run", |checked| checked.outcome.sign());
                let _ = write!(text, "{sign:<width$}  ", width = run.isolation.len());
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        for run in &self.runs {
            let count = |sign: &str| {
                run.checks
                    .iter()
                    .filter(|checked| checked.outcome.sign() == sign)
                    .count()
            };
            let (passed, failed, not_applicable) = (count("✓"), count("✗"), count("–"));
            let seconds = run.milliseconds as f64 / 1_000.0;
            let _ = writeln!(
                text,
                "{}: {passed} passed, {failed} failed, {not_applicable} not applicable, {seconds:.1} s",
                run.isolation
            );
        }
        text
    }
}

/// The name of an isolation in manifests and reports.
#[must_use]
pub(crate) fn word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Child => "child",
        Isolation::InProcess => "in_process",
    }
}
