//! The API allowance, which belongs to the customer: what an integration has used of it, and how much it may use.

use super::Micros;

/// A day, in microseconds.
pub const DAY_US: Micros = 86_400_000_000;
/// What a CRM said of its organization's calls counts for less than an hour: a wait of an hour ends it.
const SAID_US: Micros = 3_300_000_000;
/// How long calls wait for the organization's window.
const WINDOW_US: Micros = 3_600_000_000;

/// How many calls an integration may make a day, as its owner set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApiBudget {
    /// Calls a day; `None` for a part of the organization's limit.
    pub calls: Option<i64>,
    /// The percentage of them that only live reads may use; `None` for the operator's setting.
    pub reserve_percent: Option<i64>,
}

impl std::fmt::Display for ApiBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or =
            |number: Option<i64>| number.map_or_else(|| "default".to_owned(), |number| number.to_string());
        let (calls, reserve) = (or(self.calls), or(self.reserve_percent));
        write!(f, "{calls} calls a day, {reserve} percent for live reads")
    }
}

/// The operator's rules for the allowance, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowanceRules {
    /// The budget of an integration without one of its own, of the organization's limit.
    pub budget: i64,
    /// What only live reads may use, of each budget.
    pub reserve: i64,
    /// No sync goes on while the organization, with all its apps, has used this much of its limit.
    pub organization: i64,
    /// No live read is made while it has used this much.
    pub live: i64,
}

impl Default for AllowanceRules {
    /// The operator's defaults.
    fn default() -> Self {
        Self {
            budget: 20,
            reserve: 20,
            organization: 80,
            live: 95,
        }
    }
}

/// What was used of an allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApiUse {
    /// Calls of the integration's syncs on this day (UTC).
    pub sync_calls: i64,
    /// Its other calls on this day.
    pub live_calls: i64,
    /// All its calls since its creation.
    pub total_calls: i64,
    /// Calls of the organization in the CRM's window, by all its apps, as the CRM said.
    pub organization_used: i64,
    /// The limit of these, as the CRM said; 0 for unknown.
    pub organization_limit: i64,
    /// When it said so; 0 for never.
    pub organization_read_us: Micros,
}

/// What calls are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A sync.
    Sync,
    /// A live read of a profile, for which a part of each budget is reserved.
    Profile,
    /// A list of fields or a review: a person waits for it, but it has no part of the reserve.
    Edit,
}

/// Calls have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// Until then.
    pub until_us: Micros,
    /// Why.
    pub limit: UsedUp,
}

/// What is used up: the number of calls that may be made, with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedUp {
    /// The integration's budget of the day.
    Budget {
        /// The most calls of this kind.
        most: i64,
        /// The whole budget.
        budget: i64,
    },
    /// The part of the organization's limit that tether uses.
    Organization {
        /// Calls of the organization.
        used: i64,
        /// Its limit.
        limit: i64,
    },
}

impl std::fmt::Display for UsedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Budget { most, budget } if most < budget => write!(
                f,
                "the integration has used {most} API calls of this day (UTC); the rest of its budget of {budget} is reserved for \
                 profiles"
            ),
            Self::Budget { budget, .. } => write!(
                f,
                "the integration has used its budget of {budget} API calls of this day (UTC)"
            ),
            Self::Organization { used, limit } => write!(
                f,
                "the organization has used {used} of {limit} API calls, by all its apps: tether leaves it the rest"
            ),
        }
    }
}

impl AllowanceRules {
    /// The calls that an integration may make a day; `None` if nothing limits them.
    #[must_use]
    pub fn budget(&self, of: ApiBudget, used: &ApiUse) -> Option<i64> {
        let part = (used.organization_limit > 0).then(|| share(used.organization_limit, self.budget));
        of.calls.or(part)
    }

    /// The calls of a budget that only live reads may use.
    #[must_use]
    pub fn reserve(&self, of: ApiBudget, budget: i64) -> i64 {
        percent(budget, of.reserve_percent.unwrap_or(self.reserve))
    }

    /// Whether calls of this kind have to wait. Of the budget, only profiles use the reserve. Of the organization's limit, syncs leave
    /// more to other apps than calls that a person waits for.
    #[must_use]
    pub fn over(&self, of: ApiBudget, used: &ApiUse, kind: CallKind, now_us: Micros) -> Option<OverBudget> {
        if let Some(budget) = self.budget(of, used) {
            let most = match kind {
                CallKind::Profile => budget,
                CallKind::Sync | CallKind::Edit => budget - self.reserve(of, budget),
            };
            if used.sync_calls.saturating_add(used.live_calls) >= most {
                return Some(OverBudget {
                    until_us: next_day(now_us),
                    limit: UsedUp::Budget { most, budget },
                });
            }
        }
        let part = match kind {
            CallKind::Sync => self.organization,
            CallKind::Profile | CallKind::Edit => self.live,
        };
        let (used, limit) = (used, used.organization_limit);
        let is_recent = used.organization_read_us > now_us.saturating_sub(SAID_US);
        if limit > 0 && is_recent && used.organization_used >= share(limit, part) {
            return Some(OverBudget {
                until_us: used.organization_read_us.saturating_add(WINDOW_US),
                limit: UsedUp::Organization {
                    used: used.organization_used,
                    limit,
                },
            });
        }
        None
    }

    /// Whether syncs that had to wait may go on, since the CRM says other numbers of its organization than before: (calls, limit).
    #[must_use]
    pub fn frees_syncs(&self, before: (i64, i64), now: (i64, i64)) -> bool {
        let is_full = |(used, limit): (i64, i64)| limit > 0 && used >= share(limit, self.organization);
        // Budgets that are a part of the limit grow with it.
        let grows = before.1 > 0 && now.1 > before.1;
        grows || is_full(before) && !is_full(now)
    }
}

/// A part of a limit of the CRM. It is never 0, which would hold calls for ever.
fn share(limit: i64, part: i64) -> i64 {
    percent(limit, part).max(1)
}

fn percent(of: i64, percent: i64) -> i64 {
    // Without rounding, and without an overflow for any limit.
    i64::try_from(i128::from(of) * i128::from(percent) / 100).unwrap_or(i64::MAX)
}

/// The number of a day (UTC) since 1970.
#[must_use]
pub fn day(now_us: Micros) -> i64 {
    now_us.div_euclid(DAY_US)
}

/// When the next day (UTC) begins.
fn next_day(now_us: Micros) -> Micros {
    (day(now_us) + 1).saturating_mul(DAY_US)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CallKind::{Edit, Profile, Sync};

    const NOON: Micros = 20_000 * DAY_US + DAY_US / 2;
    const HOUR_US: Micros = 3_600_000_000;

    fn used(sync_calls: i64, live_calls: i64, used: i64, limit: i64) -> ApiUse {
        ApiUse {
            sync_calls,
            live_calls,
            total_calls: 0,
            organization_used: used,
            organization_limit: limit,
            organization_read_us: NOON,
        }
    }

    #[test]
    fn syncs_leave_a_reserve_for_live_reads() {
        let rules = AllowanceRules::default();
        let own = ApiBudget {
            calls: Some(1_000),
            reserve_percent: None,
        };
        let over = |own, of: ApiUse, kind| rules.over(own, &of, kind, NOON).map(|over| over.until_us);
        let midnight = Some(20_001 * DAY_US);
        assert_eq!(over(own, used(799, 0, 0, 0), Sync), None);
        assert_eq!(over(own, used(700, 100, 0, 0), Sync), midnight);
        assert_eq!(over(own, used(800, 199, 0, 0), Profile), None);
        assert_eq!(over(own, used(800, 200, 0, 0), Profile), midnight);
        // Lists of fields and reviews have no part of the reserve.
        assert_eq!(over(own, used(700, 99, 0, 0), Edit), None);
        assert_eq!(over(own, used(700, 100, 0, 0), Edit), midnight);
        let no_reserve = ApiBudget {
            reserve_percent: Some(0),
            ..own
        };
        assert_eq!(over(no_reserve, used(999, 0, 0, 0), Sync), None);
        assert_eq!(over(no_reserve, used(1_000, 0, 0, 0), Sync), midnight);
    }

    #[test]
    fn a_budget_is_a_part_of_the_limit_if_none_is_set() {
        let rules = AllowanceRules::default();
        let none = ApiBudget::default();
        assert_eq!(rules.budget(none, &used(0, 0, 5, 15_000)), Some(3_000));
        // Without a limit of the CRM, nothing is known that could be used up.
        assert_eq!(rules.budget(none, &used(0, 0, 0, 0)), None);
        assert_eq!(rules.over(none, &used(1 << 40, 0, 0, 0), Sync, NOON), None);
        assert_eq!(rules.budget(none, &used(0, 0, 0, i64::MAX)), Some(i64::MAX / 5));
        // A part of a small limit is not nothing.
        assert_eq!(rules.budget(none, &used(0, 0, 0, 1)), Some(1));
        assert_eq!(rules.over(none, &used(0, 0, 0, 1), Sync, NOON), None);
        assert!(rules.over(none, &used(0, 0, 1, 1), Sync, NOON).is_some());
    }

    #[test]
    fn an_organization_that_has_used_much_is_left_alone_for_an_hour() {
        let rules = AllowanceRules::default();
        let own = ApiBudget {
            calls: Some(1 << 40),
            reserve_percent: None,
        };
        let over = |of: ApiUse, kind, now| rules.over(own, &of, kind, now).map(|over| over.until_us);
        let hour = Some(NOON + HOUR_US);
        assert_eq!(over(used(0, 0, 7_999, 10_000), Sync, NOON), None);
        assert_eq!(over(used(0, 0, 8_000, 10_000), Sync, NOON), hour);
        assert_eq!(over(used(0, 0, 9_499, 10_000), Profile, NOON), None);
        assert_eq!(over(used(0, 0, 9_500, 10_000), Profile, NOON), hour);
        // A person waits for the answer.
        assert_eq!(over(used(0, 0, 9_499, 10_000), Edit, NOON), None);
        assert_eq!(over(used(0, 0, 9_500, 10_000), Edit, NOON), hour);
        // Then a call finds out how it is.
        assert_eq!(over(used(0, 0, 10_000, 10_000), Sync, NOON + HOUR_US), None);
    }

    #[test]
    fn other_numbers_of_the_organization_free_syncs() {
        let frees = |before, now| AllowanceRules::default().frees_syncs(before, now);
        assert!(frees((800, 1_000), (799, 1_000)) && frees((800, 1_000), (0, 0)));
        assert!(frees((5, 1_000), (5, 1_001)));
        for (before, now) in [
            ((0, 0), (5, 1_000)),
            ((799, 1_000), (0, 1_000)),
            ((900, 1_000), (800, 1_000)),
            ((5, 1_000), (900, 1_000)),
        ] {
            assert!(!frees(before, now), "{before:?} {now:?}");
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        assert_eq!((day(0), day(DAY_US - 1), day(DAY_US), day(-1)), (0, 0, 1, -1));
        assert_eq!(next_day(20_000 * DAY_US), 20_001 * DAY_US);
    }
}
