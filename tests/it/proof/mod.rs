//! The proof of the read model: random filters, words and orders over random records, answered by it and by a slow,
//! obvious evaluator that knows nothing but the records; both must give the same companies in the same order.
//!
//! The bench `filters` runs it at length, the tests a few hundred of each.

mod condition;
mod order;
mod record;
mod truth;
mod values;
mod world;
mod write;

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tether::domain::{CompanyId, Zone};
use tether::query::{Plan, Question, Text};
use tether::store::Store;

use condition::{Cond, random_cond};
use order::{Key, random_order, write_order};
use record::Atom;
use truth::Truth;
use values::{ZONES, pick};
use world::{Data, NOW};
use write::write_cond;

const QUERIES: &[&str] = &[
    "acme",
    "market",
    "markt",
    "makret lim",
    "societe",
    "societé generale",
    "zoo 1",
    "corp acme",
    "acme1 com",
    "co.uk market",
    "brule",
    "narkets",
    "1",
    "creme brulex",
];

/// What a run found.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// Questions asked.
    pub questions: usize,
    /// Pages read.
    pub pages: usize,
    /// Companies that the answers had in all.
    pub companies: usize,
    /// Questions whose answer was neither empty nor everything.
    pub telling: usize,
    /// What differed, at most some.
    pub differences: Vec<String>,
}

/// A random condition that a filter is long enough for.
fn allowed_cond(rng: &mut StdRng) -> Cond {
    loop {
        let cond = random_cond(rng, 0);
        let text = write_cond(&cond, false, false);
        let measures = text.matches("count(").count() + text.matches("sum(").count();
        if text.chars().count() <= 4_096 && measures <= 10 {
            return cond;
        }
    }
}

fn allowed_order(rng: &mut StdRng) -> Vec<(Key, bool)> {
    loop {
        let order = random_order(rng);
        if write_order(&order).chars().count() <= 1_024 {
            return order;
        }
    }
}

/// A random question.
struct Asked {
    /// The sources of the list.
    listed: Vec<usize>,
    only_tracked: bool,
    cond: Option<Cond>,
    order: Vec<(Key, bool)>,
    /// By the companies' ids alone.
    by_id: bool,
    query: &'static str,
    zone: &'static str,
    limit: usize,
}

impl Asked {
    fn random(rng: &mut StdRng) -> Self {
        let by_id = rng.random_ratio(1, 10);
        Self {
            by_id,
            only_tracked: rng.random_ratio(1, 8),
            listed: match rng.random_range(0..6) {
                0 => vec![0],
                1 => vec![1],
                _ => vec![0, 1],
            },
            cond: rng.random_ratio(9, 10).then(|| allowed_cond(rng)),
            order: if by_id { Vec::new() } else { allowed_order(rng) },
            zone: if rng.random_bool(0.5) {
                pick(rng, ZONES)
            } else {
                ""
            },
            query: if rng.random_ratio(1, 5) {
                pick(rng, QUERIES)
            } else {
                ""
            },
            limit: if rng.random_ratio(1, 3) {
                rng.random_range(3..60)
            } else {
                100_000
            },
        }
    }

    fn filter(&self) -> String {
        let written = self.cond.as_ref().map(|cond| write_cond(cond, false, false));
        written.unwrap_or_default()
    }

    fn told(&self) -> String {
        let Self {
            listed,
            only_tracked,
            query,
            zone,
            limit,
            by_id,
            ..
        } = self;
        let (filter, order) = (self.filter(), write_order(&self.order));
        format!(
            "filter {filter:?} query {query:?} order {order:?} {listed:?} {only_tracked} by id {by_id} {zone:?} by {limit}"
        )
    }

    /// The values that a company is sorted by; none if it is not in the answer.
    fn keys(&self, truth: &Truth<'_>, company: CompanyId) -> Option<Vec<Option<Atom>>> {
        let class = match self.query {
            "" => None,
            query => Some(truth.class(company, query)?),
        };
        if self.cond.as_ref().is_some_and(|cond| !truth.holds(company, cond)) {
            return None;
        }
        let mut keys: Vec<Option<Atom>> = self
            .order
            .iter()
            .map(|(key, _)| truth.key(company, key))
            .collect();
        if self.order.is_empty() && !self.by_id {
            keys.push(Some(Atom::Whole(class.unwrap_or(0))));
            keys.push(truth.key(company, &Key::Name));
        }
        Some(keys)
    }

    /// The companies in the order of the evaluator.
    fn expected(&self, truth: &Truth<'_>) -> Vec<CompanyId> {
        let mut expected: Vec<(Vec<Option<Atom>>, CompanyId)> = truth
            .firms
            .keys()
            .filter_map(|company| Some((self.keys(truth, *company)?, *company)))
            .collect();
        expected.sort_by(|(a, x), (b, y)| {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                let descending = self.order.get(at).is_some_and(|(_, descending)| *descending);
                let by = match (a, b) {
                    (Some(a), Some(b)) if descending => b.cmp(a),
                    (Some(a), Some(b)) => a.cmp(b),
                    (a, b) => a.is_none().cmp(&b.is_none()),
                };
                if by.is_ne() {
                    return by;
                }
            }
            x.cmp(y)
        });
        expected.into_iter().map(|(_, company)| company).collect()
    }

    /// All pages of the read model's answer, or what is wrong with one of them.
    async fn got(&self, data: &Data, expected: usize, pages: &mut usize) -> Result<Vec<CompanyId>, String> {
        let (filter, order) = (self.filter(), write_order(&self.order));
        let text = Text {
            filter: &filter,
            query: self.query,
            order_by: &order,
            now_us: NOW,
            zone: &Zone::parse(self.zone).unwrap(),
        };
        let mut got: Vec<CompanyId> = Vec::new();
        let mut after = None;
        loop {
            let plan = Plan::new(&data.sources, &text).map_err(|error| format!("{error:?}"))?;
            let question = Question {
                sources: data.sources.clone(),
                listed: self.listed.clone(),
                names: None,
                tracked: data.tracked.clone(),
                only_tracked: self.only_tracked,
                only_fed: false,
                plan,
                by_id: self.by_id,
                after,
                limit: self.limit,
            };
            let answer = data.engine.run(question, ()).await;
            let answer = answer.map_err(|error| format!("{error:?}"))?;
            *pages += 1;
            if answer.total != expected as u64 {
                return Err(format!("{} in all, not {expected}", answer.total));
            }
            let next = answer.page.next();
            got.extend(answer.page.companies);
            match next {
                Some(next) if got.len() <= expected => after = Some(next),
                _ => return Ok(got),
            }
        }
    }
}

/// What is wrong with an answer.
fn difference(got: &[CompanyId], expected: &[CompanyId]) -> Option<String> {
    let sets = |list: &[CompanyId]| list.iter().copied().collect::<BTreeSet<_>>();
    if got == expected {
        None
    } else if sets(got) == sets(expected) {
        Some("the order differs".to_owned())
    } else {
        Some(format!("{} companies, not {}", got.len(), expected.len()))
    }
}

/// Asks so many random questions about one random dataset in this store.
pub async fn run(store: &Store, seed: u64, questions: usize, size: usize) -> Found {
    let mut rng = StdRng::seed_from_u64(seed);
    let data = Data::make(store, &mut rng, &format!("proof{seed}"), size).await;
    let mut found = Found::default();
    for _ in 0..questions {
        let asked = Asked::random(&mut rng);
        let truth = Truth::new(&data, &asked.listed, asked.only_tracked, asked.zone);
        let expected = asked.expected(&truth);
        let wrong = match asked.got(&data, expected.len(), &mut found.pages).await {
            Ok(got) => difference(&got, &expected),
            Err(wrong) => Some(wrong),
        };
        found.questions += 1;
        found.companies += expected.len();
        found.telling += usize::from(!expected.is_empty() && expected.len() < truth.firms.len());
        if let Some(wrong) = wrong
            && found.differences.len() < 20
        {
            let told = asked.told();
            found.differences.push(format!("seed {seed}: {told}: {wrong}"));
        }
    }
    data.stop.cancel();
    data.follower.await.unwrap();
    found
}
