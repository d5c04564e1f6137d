//! The conformance kit: checks any connector library, in any language, against the contract (`connectors/SPEC.md`),
//! in this process and in a child process, with its author's fixture server.
//!
//! [`Options::run`] reads `conformance.toml` ([`quirks`]), starts the fixture, puts a reverse proxy in front of it
//! that sees every request and injects faults (`proxy`), opens the library through the host's low-level interface
//! (`connector`, `stream`), and runs every check of [`checks`]. The results are a [`Report`], for users and for
//! programs.
//!
//! The kit does not depend on a CRM or on the Rust SDK: the differences between connectors are in `conformance.toml`.

mod canonical;
mod checks;
mod connector;
mod error;
mod fault;
mod finding;
mod fixture;
mod login;
mod logs;
mod measure;
mod mirror;
mod options;
mod proxy;
pub mod quirks;
mod range;
mod reading;
mod report;
mod rows;
mod secrets;
mod stream;
mod world;

use std::time::{Duration, Instant};

use tether_connector_host::manifest::Isolation;

pub use error::Error;
pub use logs::Logs;
pub use options::Options;
pub use report::{Checked, Outcome, Report, Run};

use quirks::Quirks;
use world::World;

/// A check that takes longer hangs.
const LONGEST_CHECK: Duration = Duration::from_secs(120);

/// The ids of all checks, in the order of execution.
#[must_use]
pub fn ids() -> Vec<&'static str> {
    checks::ALL.iter().map(|check| check.id).collect()
}

impl Options {
    /// Runs every check. `report` is called with each result.
    ///
    /// # Errors
    /// Only if the kit cannot start, or `only` names an unknown check; problems of the connector are in the report.
    pub async fn run(self, report: &mut dyn FnMut(Isolation, &Checked)) -> Result<Report, Error> {
        if let Some(unknown) = self
            .only
            .iter()
            .find(|id| checks::ALL.iter().all(|check| check.id != **id))
        {
            return Err(Error::Unknown {
                id: unknown.clone(),
                all: ids().join(", "),
            });
        }
        let quirks = Quirks::read(&self.folder)?;
        let mut runs = Vec::new();
        if !self.isolations.contains(&Isolation::Child) {
            // A library that crashes during loading must do so in a child; then it is not loaded into this process.
            let (probed, usable) = self
                .checks(&quirks, Isolation::Child, true, &mut |_, _| {})
                .await?;
            if !usable {
                probed.checks.iter().for_each(|one| report(Isolation::Child, one));
                return Ok(Report::new(&self.folder, vec![probed]));
            }
        }
        for isolation in &self.isolations {
            let (run, usable) = self.checks(&quirks, *isolation, false, report).await?;
            runs.push(run);
            if !usable {
                break;
            }
        }
        Ok(Report::new(&self.folder, runs))
    }

    /// Runs the checks of one isolation, or only those that run first. Also returns whether the library can be used.
    async fn checks(
        &self,
        quirks: &Quirks,
        isolation: Isolation,
        only_first: bool,
        report: &mut dyn FnMut(Isolation, &Checked),
    ) -> Result<(Run, bool), Error> {
        let started = Instant::now();
        let world = World::new(self, quirks, isolation).await?;
        let (mut checked, mut usable) = (Vec::new(), true);
        for check in checks::ALL {
            if !checks::is_first(check) && (only_first || !self.wants(check.id)) {
                continue;
            }
            let one = check.run(&world, LONGEST_CHECK).await;
            report(isolation, &one);
            usable &= !checks::is_first(check) || !matches!(one.outcome, Outcome::Failed { .. });
            checked.push(one);
            if !usable {
                break;
            }
        }
        Ok((Run::new(isolation, checked, started.elapsed()), usable))
    }
}
