//! The slow, obvious evaluator: companies, their records and their order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use tether::domain::*;
use tether::index::text::{fold, plain, words};
use tether::query::Tracked;

use super::condition::{Cond, Measure, Val};
use super::order::Key;
use super::record::*;
use super::values::*;
use super::world::*;

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
    zone: TimeZone,
}

impl<'a> Truth<'a> {
    pub(super) fn new(data: &'a Data, listed: &[usize], only_tracked: bool, zone: &str) -> Self {
        let zone = if zone.is_empty() { "UTC" } else { zone };
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
        Self {
            data,
            firms,
            zone: TimeZone::get(zone).unwrap(),
        }
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

    pub(super) fn same(&self, rec: &Rec, cond: &Cond) -> bool {
        match cond {
            Cond::And(all) => all.iter().all(|one| self.same(rec, one)),
            Cond::Or(any) => any.iter().any(|one| self.same(rec, one)),
            Cond::Not(one) => !self.same(rec, one),
            Cond::Field {
                key, part, op, value, ..
            } => self.passes(rec, key, part, op, value),
            other => panic!("{other:?}"),
        }
    }

    fn passes(&self, rec: &Rec, key: &str, part: &str, op: &str, value: &Val) -> bool {
        each_value(op, value, &|op, value| {
            record_passes(&self.zone, rec, key, part, op, value)
        })
    }

    /// A count, or a sum if there is one, in billionths of a thousandth.
    pub(super) fn measured(&self, company: CompanyId, of: &Measure) -> Option<i128> {
        let mut records = self.records(of.source, of.object, company);
        records.retain(|rec| of.inner.as_ref().is_none_or(|inner| self.same(rec, inner)));
        let Some(key) = of.sum else {
            return Some(records.len() as i128 * 1_000_000_000_000);
        };
        let of_key = |def: &&Def| def.object == of.object && def.key == key;
        let kind = FIELDS.iter().find(of_key).unwrap().kind;
        let mut by_currency: BTreeMap<Option<Atom>, i128> = BTreeMap::new();
        for rec in records {
            let currency = match kind {
                FieldType::Currency => atoms(rec, key, "currency_code", kind).pop(),
                _ => None,
            };
            if let Some(Atom::Whole(amount)) = atoms(rec, key, "", kind).pop() {
                *by_currency.entry(currency).or_default() += amount;
            }
        }
        let mut sums = by_currency.into_values();
        sums.next().filter(|_| sums.next().is_none())
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
                .any(|rec| self.passes(rec, key, part, op, value)),
            Cond::Same(source, object, one) => self
                .records(*source, object, company)
                .iter()
                .any(|rec| self.same(rec, one)),
            Cond::Shown(what, op, value) => {
                let firm = &self.firms[&company];
                let text = match *what {
                    "display_name" => &firm.name,
                    "domain" => &firm.domain,
                    _ => &firm.homepage,
                };
                let passes = |op: &str, value: &Val| text_passes(&fold(text), op, value, true);
                !text.is_empty() && (matches!(value, Val::Any) || each_value(op, value, &passes))
            }
            Cond::Measured(of, op, value) => self.measured(company, of).is_some_and(|measured| {
                each_value(op, value, &|op, value| match value {
                    Val::Plain(number) => by_operator(op, measured.cmp(&decimal(number))),
                    _ => true,
                })
            }),
            Cond::Tracked(op, yes) => (self.firms[&company].tracked == *yes) == (*op != "!="),
            Cond::Fed("in", _) => (0..2).any(|one| self.company_records(one, company).next().is_some()),
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
            Key::Measured(of) => self.measured(company, of).map(Atom::Whole),
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
