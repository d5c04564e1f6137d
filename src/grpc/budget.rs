//! Budgets of API calls in requests and answers.

use crate::domain::ApiBudget;
use crate::error::Error;
use crate::proto::v1;

/// The calls a day that a budget may have.
const CALLS: std::ops::RangeInclusive<i64> = 1..=1_000_000_000;
/// The percentage that may be reserved for live reads.
const RESERVE: std::ops::RangeInclusive<i32> = 0..=90;

/// The budget that a request describes. `path` is the path of the budget in the request.
pub fn read(path: &str, wanted: Option<&v1::ApiBudget>) -> Result<ApiBudget, Error> {
    let wanted = wanted.copied().unwrap_or_default();
    if let Some(calls) = wanted.calls_per_day
        && !CALLS.contains(&calls)
    {
        let text = "must be from 1 to 1000000000, or not set";
        return Err(Error::invalid(format!("{path}.calls_per_day"), text));
    }
    if let Some(percent) = wanted.reserve_percent
        && !RESERVE.contains(&percent)
    {
        let text = "must be from 0 to 90, or not set";
        return Err(Error::invalid(format!("{path}.reserve_percent"), text));
    }
    Ok(ApiBudget {
        calls: wanted.calls_per_day,
        reserve_percent: wanted.reserve_percent.map(i64::from),
    })
}

/// A budget as callers see it.
pub fn message(of: ApiBudget) -> v1::ApiBudget {
    v1::ApiBudget {
        calls_per_day: of.calls,
        reserve_percent: of.reserve_percent.and_then(|percent| i32::try_from(percent).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_comes_back_as_it_was_sent() {
        let budget = |calls_per_day, reserve_percent| v1::ApiBudget {
            calls_per_day,
            reserve_percent,
        };
        for sent in [
            budget(None, None),
            budget(Some(1), Some(0)),
            budget(Some(1_000_000_000), Some(90)),
        ] {
            assert_eq!(message(read("api_budget", Some(&sent)).unwrap()), sent);
        }
        assert_eq!(message(read("api_budget", None).unwrap()), budget(None, None));
        for (sent, field) in [
            (budget(Some(0), None), "calls_per_day"),
            (budget(Some(1_000_000_001), None), "calls_per_day"),
            (budget(None, Some(-1)), "reserve_percent"),
            (budget(None, Some(91)), "reserve_percent"),
        ] {
            let refused = read("api_budget", Some(&sent)).unwrap_err().message;
            assert!(refused.starts_with(&format!("api_budget.{field}: ")), "{refused}");
        }
    }
}
