//! One check: what it requires, why, and how it is run.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::finding::{CheckResult, Halt};
use crate::report::{Checked, Outcome};
use crate::world::World;

/// One check.
pub(crate) struct Check {
    /// `family.name`, which authors use to run single checks.
    pub(crate) id: &'static str,
    /// The requirement.
    pub(super) title: &'static str,
    /// The consequence in production if it is not met.
    pub(super) why: &'static str,
    /// The rules of SPEC.md that it checks.
    pub(super) spec: &'static [&'static str],
    pub(super) run: for<'a> fn(&'a World) -> BoxFuture<'a, CheckResult>,
}

impl Check {
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
                    "the check did not end within {} seconds",
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
