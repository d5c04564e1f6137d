//! The slow, obvious evaluator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tether::domain::*;
use tether::index::text::{fold, plain, words};
use tether::query::Tracked;

use super::condition::{Cond, Val};
use super::order::Key;
use super::values::*;
use super::world::*;

/// A value, as the evaluator compares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    Whole(i128),
    Text(String),
}

/// A decimal in billionths of a thousandth.
pub(super) fn decimal(text: &str) -> i128 {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number: i128 = format!("{whole}{fraction:0<12}").parse().unwrap();
    if negative { -number } else { number }
}

pub(super) fn moment(text: &str) -> i64 {
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    (at.unix_timestamp_nanos() / 1_000) as i64
}

pub(super) fn clock(text: &str) -> i128 {
    decimal(&text[6..])
        + i128::from(text[3..5].parse::<i64>().unwrap() * 60 + text[..2].parse::<i64>().unwrap() * 3_600)
            * 1_000_000_000_000
}

/// A date as (year, month, day) in one number.
pub(super) fn date(text: &str) -> i128 {
    text.replace('-', "").parse().unwrap()
}

pub(super) fn date_of(us: i64) -> i128 {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000).unwrap();
    i128::from(at.year()) * 10_000 + i128::from(u8::from(at.month())) * 100 + i128::from(at.day())
}

/// A day some units away from today, step by step.
pub(super) fn away(amount: i64, unit: char) -> time::Date {
    let today = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(NOW) * 1_000)
        .unwrap()
        .date();
    let months = match unit {
        'd' => return today + time::Duration::days(amount),
        'w' => return today + time::Duration::weeks(amount),
        'm' => amount,
        _ => amount * 12,
    };
    let (mut year, mut month) = (today.year(), i64::from(u8::from(today.month())) + months);
    while month < 1 {
        (year, month) = (year - 1, month + 12);
    }
    while month > 12 {
        (year, month) = (year + 1, month - 12);
    }
    let month = time::Month::try_from(month as u8).unwrap();
    let mut day = today.day();
    loop {
        if let Ok(date) = time::Date::from_calendar_date(year, month, day) {
            return date;
        }
        day -= 1;
    }
}

/// The values of a field, or a part, of a record: none where it is unset or does not fit.
pub(super) fn atoms(rec: &Rec, key: &str, part: &str, kind: FieldType) -> Vec<Atom> {
    use FieldType as T;
    let Some(json) = rec.payload.get(key) else {
        return Vec::new();
    };
    if json.get("raw").is_some() {
        return Vec::new();
    }
    let text = |json: &Json| json.as_str().map(|text| Atom::Text(fold(text)));
    if kind == T::Currency {
        let amount = json.get("amount").unwrap_or(json);
        return match part {
            "currency_code" => json.get("currency").and_then(text).into_iter().collect(),
            _ => vec![Atom::Whole(decimal(amount.as_str().unwrap()))],
        };
    }
    let filled = |json: Option<&Json>| {
        json.and_then(Json::as_str)
            .filter(|text| !text.is_empty())
            .map(|text| Atom::Text(fold(text)))
    };
    match kind {
        T::Text | T::Picklist | T::Url | T::Email | T::Phone => text(json).into_iter().collect(),
        T::Html => vec![Atom::Text(fold(&tether::index::text::of_html(
            json.as_str().unwrap(),
        )))],
        T::MultiPicklist => json.as_array().unwrap().iter().filter_map(text).collect(),
        T::Integer => vec![Atom::Whole(decimal(&json.to_string()))],
        T::Decimal | T::Percent | T::Currency => vec![Atom::Whole(decimal(json.as_str().unwrap()))],
        T::Boolean => vec![Atom::Whole(i128::from(json.as_bool().unwrap()))],
        T::Date => vec![Atom::Whole(date(json.as_str().unwrap()))],
        T::Timestamp => vec![Atom::Whole(i128::from(moment(json.as_str().unwrap())))],
        T::Time => vec![Atom::Whole(clock(json.as_str().unwrap()))],
        T::Reference => {
            let shown = if part == "id" {
                None
            } else {
                filled(json.get("label"))
            };
            shown.or_else(|| filled(json.get("id"))).into_iter().collect()
        }
        T::Address => filled(json.get(part)).into_iter().collect(),
        T::Location => json
            .get(part)
            .map(|json| Atom::Whole(decimal(json.as_str().unwrap())))
            .into_iter()
            .collect(),
    }
}

pub(super) fn like(text: &str, before: bool, part: &str, after: bool) -> bool {
    match (before, after) {
        (false, false) => text == part,
        (true, false) => text.ends_with(part),
        (false, true) => text.starts_with(part),
        (true, true) => text.contains(part),
    }
}

pub(super) fn by_operator(op: &str, order: std::cmp::Ordering) -> bool {
    match op {
        "=" | ":" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

pub(super) fn text_passes(text: &str, op: &str, value: &Val, by_words: bool) -> bool {
    let Val::Text(before, part, after) = value else {
        panic!("{value:?}")
    };
    let part = &fold(part);
    match op {
        ":" if by_words => {
            let all: Vec<&str> = words(part).collect();
            let begins = *before && part.starts_with(char::is_alphanumeric);
            let ends = *after && part.ends_with(char::is_alphanumeric);
            all.iter().enumerate().all(|(at, word)| {
                words(text).any(|one| like(one, at == 0 && begins, word, at + 1 == all.len() && ends))
            })
        }
        "=" | ":" => like(text, *before, part, *after),
        "!=" => !like(text, *before, part, *after),
        _ => by_operator(op, text.cmp(part)),
    }
}

pub(super) fn record_passes(rec: &Rec, key: &str, part: &str, op: &str, value: &Val) -> bool {
    use FieldType as T;
    let kind = FIELDS
        .iter()
        .find(|def| def.object == rec.object && def.key == key)
        .unwrap();
    if matches!(value, Val::Any) {
        let parts: &[&str] = match (kind.kind, part) {
            (T::Reference, "") => &["id", "label"],
            (T::Address, "") => &["city", "country_code"],
            (T::Location, "") => &["latitude"],
            (_, part) => &[part],
        };
        return parts
            .iter()
            .any(|part| !atoms(rec, key, part, kind.kind).is_empty());
    }
    let atoms = atoms(rec, key, part, kind.kind);
    let list = kind.kind == T::MultiPicklist;
    let passes = |atom: &Atom, op: &str| match (atom, value) {
        (Atom::Text(text), value) if kind.labelled => match (op, label_of(text)) {
            (_, None) => text_passes(text, op, value, !list),
            ("<" | "<=" | ">" | ">=", Some(label)) => text_passes(&label, op, value, !list),
            (_, Some(label)) => text_passes(text, op, value, !list) || text_passes(&label, op, value, !list),
        },
        (Atom::Text(text), value) => text_passes(text, op, value, !list),
        (Atom::Whole(whole), Val::Plain(text)) => match kind.kind {
            T::Boolean => by_operator(op, whole.cmp(&i128::from(text == "true"))),
            T::Date => by_operator(op, whole.cmp(&date(text))),
            T::Time => by_operator(op, whole.cmp(&clock(text))),
            T::Timestamp if text.len() == 10 => by_operator(op, date_of(*whole as i64).cmp(&date(text))),
            T::Timestamp => by_operator(op, (*whole as i64).cmp(&moment(text))),
            _ => by_operator(op, whole.cmp(&decimal(text))),
        },
        (Atom::Whole(whole), Val::Relative(now, amount, unit)) => {
            let day = away(*amount, *unit);
            let number = date(&day.to_string());
            match (kind.kind, now) {
                (T::Date, _) => by_operator(op, whole.cmp(&number)),
                (_, false) => by_operator(op, date_of(*whole as i64).cmp(&number)),
                (_, true) => {
                    let clock = NOW.rem_euclid(86_400_000_000);
                    let at = day.midnight().assume_utc().unix_timestamp() * 1_000_000 + clock;
                    by_operator(op, (*whole as i64).cmp(&at))
                }
            }
        }
        other => panic!("{other:?}"),
    };
    if op == "!=" {
        return !atoms.is_empty() && !atoms.iter().any(|atom| passes(atom, "="));
    }
    atoms.iter().any(|atom| passes(atom, op))
}

/// What the evaluator knows of a company.
pub(super) struct Firm {
    pub(super) name: String,
    pub(super) homepage: String,
    pub(super) domain: String,
    pub(super) tracked: bool,
}

/// The evaluator.
pub(super) struct Truth<'a> {
    pub(super) data: &'a Data,
    pub(super) firms: BTreeMap<CompanyId, Firm>,
}

impl<'a> Truth<'a> {
    pub(super) fn new(data: &'a Data, listed: &[usize], only_tracked: bool) -> Self {
        let mut firms: BTreeMap<CompanyId, Firm> = BTreeMap::new();
        let own = |one: &Tracked| Firm {
            name: one.name.clone(),
            homepage: one.homepage.clone(),
            domain: one.domain.clone(),
            tracked: true,
        };
        if only_tracked {
            firms.extend(data.tracked.iter().map(|one| (one.company_id, own(one))));
        } else {
            for source in listed {
                let mut list: Vec<&Rec> = data.records[*source]
                    .iter()
                    .filter(|rec| rec.company.is_some())
                    .collect();
                list.sort_by_key(|rec| (name_key(&rec.name), rec.id.clone()));
                for rec in list {
                    firms.entry(rec.company.unwrap()).or_insert_with(|| Firm {
                        name: rec.name.clone(),
                        homepage: rec.homepage.clone(),
                        domain: rec.domain.clone(),
                        tracked: false,
                    });
                }
            }
            for one in &data.tracked {
                firms.entry(one.company_id).or_insert_with(|| own(one)).tracked = true;
            }
        }
        Self { data, firms }
    }

    pub(super) fn company_records(&self, source: usize, company: CompanyId) -> impl Iterator<Item = &Rec> {
        self.data.records[source]
            .iter()
            .filter(move |rec| rec.company == Some(company))
    }

    /// The records of an object that belong to a company.
    pub(super) fn records(&self, source: usize, object: &str, company: CompanyId) -> Vec<&Rec> {
        if object == "Account" {
            return self.company_records(source, company).collect();
        }
        let ids: BTreeSet<&String> = self.company_records(source, company).map(|rec| &rec.id).collect();
        self.data.records[source]
            .iter()
            .filter(|rec| rec.object == object && rec.parents.iter().any(|parent| ids.contains(parent)))
            .collect()
    }

    pub(super) fn same(rec: &Rec, cond: &Cond) -> bool {
        match cond {
            Cond::And(all) => all.iter().all(|one| Self::same(rec, one)),
            Cond::Or(any) => any.iter().any(|one| Self::same(rec, one)),
            Cond::Not(one) => !Self::same(rec, one),
            Cond::Field {
                key, part, op, value, ..
            } => record_passes(rec, key, part, op, value),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn holds(&self, company: CompanyId, cond: &Cond) -> bool {
        match cond {
            Cond::And(all) => all.iter().all(|one| self.holds(company, one)),
            Cond::Or(any) => any.iter().any(|one| self.holds(company, one)),
            Cond::Not(one) => !self.holds(company, one),
            Cond::Field {
                source,
                object,
                key,
                part,
                op,
                value,
            } => self
                .records(*source, object, company)
                .iter()
                .any(|rec| record_passes(rec, key, part, op, value)),
            Cond::Same(source, object, one) => self
                .records(*source, object, company)
                .iter()
                .any(|rec| Self::same(rec, one)),
            Cond::Shown(what, op, value) => {
                let firm = &self.firms[&company];
                let text = match *what {
                    "display_name" => &firm.name,
                    "domain" => &firm.domain,
                    _ => &firm.homepage,
                };
                !text.is_empty() && (matches!(value, Val::Any) || text_passes(&fold(text), op, value, true))
            }
            Cond::Tracked(op, yes) => (self.firms[&company].tracked == *yes) == (*op != "!="),
            Cond::Fed(op, source) => {
                let wanted = if *op == "!=" { 1 - *source } else { *source };
                self.company_records(wanted, company).next().is_some()
            }
        }
    }

    /// How well words match: 0 is best; none where they do not.
    pub(super) fn class(&self, company: CompanyId, query: &str) -> Option<i128> {
        let firm = &self.firms[&company];
        let plain_query = plain(query);
        let asked: Vec<&str> = words(&plain_query).collect();
        let name = plain(&firm.name);
        let own: Vec<&str> = words(&name).chain(words(&firm.domain)).collect();
        let found = |forgive: bool| {
            asked.iter().enumerate().all(|(at, word)| {
                let prefix = at + 1 == asked.len();
                own.iter().any(|one| {
                    let exact = if prefix {
                        one.starts_with(word)
                    } else {
                        one == word
                    };
                    exact || (forgive && word.chars().count() >= 5 && near(one, word, prefix))
                })
            })
        };
        let joined = words(&name).collect::<Vec<_>>().join(" ");
        let asked_text = asked.join(" ");
        if joined == asked_text {
            Some(0)
        } else if joined.starts_with(&asked_text) {
            Some(1)
        } else if found(false) {
            Some(2)
        } else {
            found(true).then_some(3)
        }
    }

    pub(super) fn key(&self, company: CompanyId, key: &Key) -> Option<Atom> {
        let firm = &self.firms[&company];
        let text = |text: String| (!text.is_empty()).then_some(Atom::Text(text));
        match key {
            Key::Name => text(name_key(&firm.name)),
            Key::Domain => text(firm.domain.clone()),
            Key::Field {
                source,
                key,
                part,
                descending,
            } => {
                let def = FIELDS
                    .iter()
                    .find(|def| def.object == "Account" && def.key == *key)
                    .unwrap();
                let shown = |atom| match atom {
                    Atom::Text(text) if def.labelled => Atom::Text(label_of(&text).unwrap_or(text)),
                    atom => atom,
                };
                let values = self
                    .company_records(*source, company)
                    .flat_map(|rec| atoms(rec, key, part, def.kind))
                    .map(shown);
                if *descending { values.max() } else { values.min() }
            }
        }
    }
}

/// Whether two words differ in at most one letter, a swap of neighbours counting as one; of `one` maybe only a beginning.
pub(super) fn near(one: &str, word: &str, prefix: bool) -> bool {
    pub(super) fn distance(a: &[char], b: &[char]) -> usize {
        let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                rows[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let mut least = (rows[i - 1][j] + 1)
                        .min(rows[i][j - 1] + 1)
                        .min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        least = least.min(rows[i - 2][j - 2] + 1);
                    }
                    least
                };
            }
        }
        rows[a.len()][b.len()]
    }
    let (one, word): (Vec<char>, Vec<char>) = (one.chars().collect(), word.chars().collect());
    if prefix {
        (0..=one.len()).any(|end| distance(&one[..end], &word) <= 1)
    } else {
        distance(&one, &word) <= 1
    }
}
