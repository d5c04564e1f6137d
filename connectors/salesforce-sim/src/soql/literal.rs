//! Numbers, dates, times, and date literals.

use super::ast::Literal;
use crate::value::{civil, now, parse_date, parse_instant};

pub(super) fn number(text: &str) -> Option<Literal> {
    if let Some(days) = parse_date(text) {
        return Some(Literal::Date(days));
    }
    if let Some(at) = parse_instant(text) {
        return Some(Literal::Instant(at));
    }
    if let Ok(n) = text.parse() {
        return Some(Literal::Int(n));
    }
    text.parse::<f64>()
        .ok()
        .filter(|n| n.is_finite())
        .map(Literal::Num)
}

/// The days of a date literal. Salesforce uses the user's time zone; here it is always UTC, and weeks start on
/// Sunday.
pub(super) fn days(name: &str, n: Option<i32>) -> Option<Literal> {
    let today = (now() / 86_400) as i32;
    let (year, month, _) = civil(i64::from(today));
    let month_start = |months: i64| {
        let index = year * 12 + month - 1 + months;
        parse_date(&format!(
            "{:04}-{:02}-01",
            index.div_euclid(12),
            index.rem_euclid(12) + 1
        ))
    };
    let year_start = |years: i64| parse_date(&format!("{:04}-01-01", year + years));
    let sunday = today - (today + 4).rem_euclid(7);
    let n = n.filter(|n| (0..=100_000).contains(n));
    let (from, to) = match (name, n) {
        ("today", None) => (today, today + 1),
        ("yesterday", None) => (today - 1, today),
        ("tomorrow", None) => (today + 1, today + 2),
        ("this_week", None) => (sunday, sunday + 7),
        ("last_week", None) => (sunday - 7, sunday),
        ("next_week", None) => (sunday + 7, sunday + 14),
        ("this_month", None) => (month_start(0)?, month_start(1)?),
        ("last_month", None) => (month_start(-1)?, month_start(0)?),
        ("next_month", None) => (month_start(1)?, month_start(2)?),
        ("this_year", None) => (year_start(0)?, year_start(1)?),
        ("last_year", None) => (year_start(-1)?, year_start(0)?),
        ("next_year", None) => (year_start(1)?, year_start(2)?),
        ("last_90_days", None) => (today - 90, today + 1),
        ("next_90_days", None) => (today + 1, today + 91),
        ("last_n_days", Some(n)) => (today - n, today + 1),
        ("next_n_days", Some(n)) => (today + 1, today + 1 + n),
        ("n_days_ago", Some(n)) => (today - n, today - n + 1),
        ("last_n_weeks", Some(n)) => (sunday - 7 * n, sunday),
        ("last_n_months", Some(n)) => (month_start(-i64::from(n))?, month_start(0)?),
        ("last_n_years", Some(n)) => (year_start(-i64::from(n))?, year_start(0)?),
        _ => return None,
    };
    Some(Literal::Days(from, to))
}
