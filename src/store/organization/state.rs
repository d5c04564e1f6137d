//! What is known of an organization's CRM, and what follows from it: whether a call may be made, and what its end changes.

use diesel::prelude::*;

use crate::domain::{Micros, SyncId};
use crate::store::schema::organization;

/// The key of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OrganizationKey {
    /// The connector.
    pub connector: String,
    /// The CRM's id of the organization.
    pub id: String,
}

impl std::fmt::Display for OrganizationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names of connectors have no slash.
        write!(f, "{}/{}", self.connector, self.id)
    }
}

/// How an organization's CRM answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = organization, primary_key(connector, organization_id))]
pub struct Organization {
    /// The connector.
    pub connector: String,
    /// The CRM's id of the organization.
    pub organization_id: String,
    /// Calls in a row that failed because the CRM was slow or down.
    pub failures: i64,
    /// When the last of them failed.
    pub failure_us: Micros,
    /// Until when no call is made because of them.
    pub closed_until_us: Micros,
    /// Calls in a row that were refused because the allowance is used up.
    pub refusals: i64,
    /// When the last of them was refused.
    pub refusal_us: Micros,
    /// Until when no sync makes a call because of them.
    pub refused_until_us: Micros,
    /// Calls in the CRM's window, by all apps, as the CRM said.
    pub calls_used: i64,
    /// The limit of these, as the CRM said; 0 for unknown.
    pub calls_limit: i64,
    /// When it said so.
    pub calls_us: Micros,
    /// Who finds out whether it answers again, as [`Caller`] is written; empty for nobody.
    pub probe: String,
    /// Until when at most, if that is a live read.
    pub probe_until_us: Micros,
    /// When it answered again, or the probe ended otherwise; 0 if no sync waits for that, or those that did were made due.
    pub resume_us: Micros,
}

/// Who asks whether it may call a CRM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The worker that takes a sync, with its fencing token.
    Sync(SyncId, i64),
    /// A call that is none of a sync, with a name of its own.
    Live(String),
}

impl Caller {
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('/')?;
        if kind == "live" {
            return Some(Self::Live(rest.to_owned()));
        }
        let (id, fence) = rest.split_once('/')?;
        Some(Self::Sync(id.parse().ok()?, fence.parse().ok()?))
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sync(id, fence) => write!(f, "sync/{id}/{fence}"),
            Self::Live(name) => write!(f, "live/{name}"),
        }
    }
}

/// When calls to an organization's CRM pause, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// After this many failures in a row no calls are made for a time.
    pub failures: i64,
    /// The first pause after them, in microseconds; a failure of the call after it doubles it.
    pub first_us: Micros,
    /// The longest pause.
    pub longest_us: Micros,
    /// The first pause after a refusal of the allowance, unless the CRM named one; a refusal of a sync after it doubles it.
    pub refused_us: Micros,
    /// The longest pause after refusals, unless the CRM named a longer one.
    pub refused_longest_us: Micros,
}

impl Default for Breaker {
    /// The operator's defaults.
    fn default() -> Self {
        const MINUTE_US: Micros = 60_000_000;
        Self {
            failures: 5,
            first_us: MINUTE_US / 2,
            longest_us: 15 * MINUTE_US,
            refused_us: 60 * MINUTE_US,
            refused_longest_us: 360 * MINUTE_US,
        }
    }
}

/// How a call of a sync or of a live read ended, as far as it says something about the organization's CRM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The CRM answered.
    Answered,
    /// It was slow or down.
    Failed,
    /// It refused the call because the allowance is used up, and names the time from which it may be tried again, if any.
    Refused(Option<Micros>),
}

/// A call of a sync or of a live read that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallEnd {
    /// How.
    pub outcome: CallOutcome,
    /// It was a live read.
    pub live: bool,
    /// When it began.
    pub begin_us: Micros,
    /// When it ended.
    pub end_us: Micros,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Open,
    /// Yes: it is the one call that finds out whether the CRM answers again. Others wait meanwhile.
    Probe,
    /// Not before this time, because the CRM was slow or down.
    Closed(Micros),
    /// Not before this time, because the allowance is used up.
    Refused(Micros),
}

/// A live read that finds out whether the CRM answers again is taken for dead after this time: it is longer than the deadline of one call.
pub(super) const PROBE_US: Micros = 90_000_000;
/// A live read tries again this long after a refusal of the allowance: it costs one call, and whether the window has freed is
/// known by trying only.
const LIVE_AGAIN_US: Micros = 300_000_000;
/// The pause of syncs after a refusal if the CRM names a time that has passed.
const REFUSED_LEAST_US: Micros = 60_000_000;
/// A named end that is nearer has passed.
const SHORTEST_US: Micros = 500_000;

impl Breaker {
    fn grown(first_us: Micros, longest_us: Micros, steps: i64) -> Micros {
        let factor = 2_i64.saturating_pow(u32::try_from(steps.clamp(0, 40)).unwrap_or_default());
        first_us.saturating_mul(factor).min(longest_us.max(first_us))
    }

    /// The state after a call. What began before the last failure or refusal says nothing new: calls at the same time fail
    /// together.
    pub(super) fn after(&self, of: &Organization, end: CallEnd) -> Organization {
        let mut next = of.clone();
        let now_us = end.end_us;
        if end.begin_us < of.failure_us.max(of.refusal_us) {
            return next;
        }
        if !of.probe.is_empty() {
            // Who waits for the end of this call gets to know until when to wait now, or goes on.
            next.resume_us = now_us;
        }
        match end.outcome {
            CallOutcome::Answered => {
                if of.holds(self) {
                    next.resume_us = now_us;
                }
                (next.failures, next.closed_until_us) = (0, 0);
                (next.refusals, next.refused_until_us) = (0, 0);
                (next.probe, next.probe_until_us) = (String::new(), 0);
            }
            CallOutcome::Failed => {
                next.failures = next.failures.saturating_add(1);
                next.failure_us = now_us;
                if next.failures >= self.failures {
                    let pause = Self::grown(self.first_us, self.longest_us, next.failures - self.failures);
                    next.closed_until_us = now_us.saturating_add(pause);
                }
            }
            CallOutcome::Refused(until_us) => {
                // The CRM answered: it is not down.
                (next.failures, next.closed_until_us) = (0, 0);
                next.refusal_us = now_us;
                let named = until_us.map(|until| match until.saturating_sub(now_us) {
                    wait if wait < SHORTEST_US => REFUSED_LEAST_US,
                    wait => wait,
                });
                // Only a sync that waited for the end of a pause knows that it was too short.
                let is_over = of.refused_until_us <= now_us;
                if next.refusals == 0 || (is_over && !end.live) {
                    next.refusals = next.refusals.saturating_add(1);
                }
                let pause = match is_over {
                    true => {
                        let first = named.unwrap_or(self.refused_us);
                        Self::grown(first, self.refused_longest_us, next.refusals - 1)
                    }
                    false => named.unwrap_or_default(),
                };
                next.refused_until_us = next.refused_until_us.max(now_us.saturating_add(pause));
            }
        }
        next
    }
}

impl Organization {
    pub(super) fn of(key: &OrganizationKey) -> Self {
        Self {
            connector: key.connector.clone(),
            organization_id: key.id.clone(),
            ..Self::default()
        }
    }

    /// Whether its CRM failed or refused the last call: a call that is answered is to be recorded.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.failures > 0 || self.refusals > 0
    }

    /// Whether its CRM failed or refused so much that calls wait, or that one finds out first.
    fn holds(&self, breaker: &Breaker) -> bool {
        self.failures >= breaker.failures || self.refusals > 0
    }

    /// Whether a call may be made. `probe_until_us` is when the call that finds out ends at the latest, if there is one.
    pub(super) fn admits(
        &self,
        breaker: &Breaker,
        now_us: Micros,
        live: bool,
        probe_until_us: Option<Micros>,
    ) -> Admission {
        if self.refused_until_us > now_us {
            let live_us = self.refusal_us.saturating_add(LIVE_AGAIN_US);
            return match (live, probe_until_us) {
                (false, _) => Admission::Refused(self.refused_until_us),
                (true, _) if live_us > now_us => Admission::Refused(live_us.min(self.refused_until_us)),
                (true, Some(until_us)) => Admission::Refused(until_us.min(self.refused_until_us)),
                (true, None) => Admission::Probe,
            };
        }
        let is_down = self.failures >= breaker.failures;
        match probe_until_us {
            _ if is_down && self.closed_until_us > now_us => Admission::Closed(self.closed_until_us),
            _ if !self.holds(breaker) => Admission::Open,
            None => Admission::Probe,
            Some(until_us) if is_down => Admission::Closed(until_us),
            Some(until_us) => Admission::Refused(until_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Micros = 60_000_000;

    /// A call of a sync that begins and ends at this time.
    fn at(outcome: CallOutcome, now_us: Micros) -> CallEnd {
        CallEnd {
            outcome,
            live: false,
            begin_us: now_us,
            end_us: now_us,
        }
    }

    /// While nobody finds out whether the CRM answers.
    fn admits(of: &Organization, now_us: Micros, live: bool) -> Admission {
        of.admits(&BREAKER, now_us, live, None)
    }

    const BREAKER: Breaker = Breaker {
        failures: 3,
        first_us: MINUTE,
        longest_us: 15 * MINUTE,
        refused_us: 60 * MINUTE,
        refused_longest_us: 6 * 60 * MINUTE,
    };

    #[test]
    fn failures_in_a_row_close_for_a_growing_time() {
        let mut of = Organization::default();
        let mut minutes = Vec::new();
        for n in 1..=9 {
            let now = n * 100 * MINUTE;
            of = BREAKER.after(&of, at(CallOutcome::Failed, now));
            minutes.push(match admits(&of, now, false) {
                Admission::Open => 0,
                Admission::Closed(until) => (until - now) / MINUTE,
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(minutes, [0, 0, 1, 2, 4, 8, 15, 15, 15]);
        let later = 900 * MINUTE + 15 * MINUTE;
        assert_eq!(admits(&of, later, false), Admission::Probe);
        let second = of.admits(&BREAKER, later, false, Some(later + 1));
        assert_eq!(second, Admission::Closed(later + 1));
        let open = BREAKER.after(&of, at(CallOutcome::Answered, later));
        assert_eq!((open.resume_us, open.probe.as_str()), (later, ""));
        assert_eq!(admits(&open, later, false), Admission::Open);
        assert!(!open.is_troubled());
    }

    #[test]
    fn an_answer_resumes_what_waited_and_nothing_else() {
        let failed = BREAKER.after(&Organization::default(), at(CallOutcome::Failed, 1));
        assert_eq!(BREAKER.after(&failed, at(CallOutcome::Answered, 2)).resume_us, 0);
        // The end of the probe tells the others how long they wait now.
        let probing = Organization {
            probe: Caller::Live("a".to_owned()).to_string(),
            ..failed.clone()
        };
        let again = BREAKER.after(&probing, at(CallOutcome::Failed, 2));
        assert_eq!((again.resume_us, again.failures), (2, 2));
        let refused = BREAKER.after(&failed, at(CallOutcome::Refused(None), 2));
        assert_eq!(BREAKER.after(&refused, at(CallOutcome::Answered, 3)).resume_us, 3);
    }

    #[test]
    fn callers_are_read_as_they_are_written() {
        for caller in [Caller::Sync(SyncId::new(), 7), Caller::Live("a/b".to_owned())] {
            assert_eq!(Caller::parse(&caller.to_string()), Some(caller));
        }
        for wrong in ["", "sync", "sync/x/1", "live"] {
            assert_eq!(Caller::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn calls_at_the_same_time_fail_once() {
        let together = |of: &Organization, outcome, begin_us| {
            let calls = (1..=9).map(|n| CallEnd {
                begin_us,
                end_us: begin_us + n,
                ..at(outcome, 0)
            });
            calls.fold(of.clone(), |of, end| BREAKER.after(&of, end))
        };
        let none = Organization::default();
        let mut of = together(&none, CallOutcome::Failed, MINUTE);
        assert_eq!((of.failures, of.closed_until_us), (1, 0));
        // An answer to a call from before says nothing about the time since.
        let answered = CallEnd {
            begin_us: 0,
            end_us: 2 * MINUTE,
            ..at(CallOutcome::Answered, 0)
        };
        assert_eq!(BREAKER.after(&of, answered), of);
        for n in 2..=3 {
            of = together(&of, CallOutcome::Failed, n * MINUTE);
        }
        assert_eq!((of.failures, of.closed_until_us), (3, 4 * MINUTE + 1));

        let first = together(&none, CallOutcome::Refused(None), MINUTE);
        assert_eq!((first.refusals, first.refused_until_us), (1, 61 * MINUTE + 1));
        // Live reads that look whether the window has freed do not make the pause longer, and no call within it does.
        for (live, minute) in [(true, 10), (false, 20), (true, 100)] {
            let again = CallEnd {
                live,
                ..at(CallOutcome::Refused(None), minute * MINUTE)
            };
            let after = BREAKER.after(&first, again);
            assert_eq!(after.refusals, 1);
            let until = first.refused_until_us.max((minute + 60) * MINUTE);
            let until = if minute < 61 {
                first.refused_until_us
            } else {
                until
            };
            assert_eq!(after.refused_until_us, until);
        }
    }

    #[test]
    fn a_refused_allowance_pauses_syncs_for_hours_and_live_reads_for_minutes() {
        let mut of = Organization::default();
        let mut hours = Vec::new();
        let mut now = 0;
        for _ in 0..5 {
            of = BREAKER.after(&of, at(CallOutcome::Refused(None), now));
            hours.push((of.refused_until_us - now) / MINUTE / 60);
            assert_eq!(admits(&of, now, false), Admission::Refused(of.refused_until_us));
            let live = now + LIVE_AGAIN_US;
            assert_eq!(admits(&of, now, true), Admission::Refused(live));
            // One finds out: a live read after some minutes, or whoever comes first after the pause.
            assert_eq!(admits(&of, live, true), Admission::Probe);
            let second = of.admits(&BREAKER, live, true, Some(live + 1));
            assert_eq!(second, Admission::Refused(live + 1));
            assert_eq!(admits(&of, live, false), Admission::Refused(of.refused_until_us));
            now = of.refused_until_us;
            for live in [false, true] {
                assert_eq!(admits(&of, now, live), Admission::Probe);
                let second = of.admits(&BREAKER, now, live, Some(now + 1));
                assert_eq!(second, Admission::Refused(now + 1));
            }
        }
        assert_eq!(hours, [1, 2, 4, 6, 6]);
        // What the CRM names counts instead of the first pause.
        let named = BREAKER.after(
            &Organization::default(),
            at(CallOutcome::Refused(Some(now + 2 * MINUTE)), now),
        );
        assert_eq!(named.refused_until_us, now + 2 * MINUTE);
        // But not a time that has passed.
        let over = BREAKER.after(
            &Organization::default(),
            at(CallOutcome::Refused(Some(now - 1)), now),
        );
        assert_eq!(over.refused_until_us, now + MINUTE);
        // An earlier refusal is not shortened by a later one.
        let again = BREAKER.after(&of, at(CallOutcome::Refused(Some(now + 1)), now));
        assert!(again.refused_until_us > now);
    }
}
