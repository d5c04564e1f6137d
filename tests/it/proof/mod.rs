//! The proof of the read model: random filters, words and orders over random records, answered by it and by a slow,
//! obvious evaluator that knows nothing but the records; both must give the same companies in the same order.
//!
//! The bench `filters` runs it at length, the tests a few hundred of each.

mod condition;
mod order;
mod truth;
mod values;
mod world;

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tether::domain::CompanyId;
use tether::query::{Plan, Question, Text};
use tether::store::Store;

use condition::{random_cond, write_cond};
use order::{Key, random_order, write_order};
use truth::{Atom, Truth};
use values::pick;
use world::{Data, NOW};

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

/// Asks so many random questions about one random dataset in this store.
pub async fn run(store: &Store, seed: u64, questions: usize, size: usize) -> Found {
    let mut rng = StdRng::seed_from_u64(seed);
    let data = Data::make(store, &mut rng, &format!("proof{seed}"), size).await;
    let mut found = Found::default();
    for _ in 0..questions {
        let only_tracked = rng.random_ratio(1, 8);
        let listed: Vec<usize> = match rng.random_range(0..6) {
            0 => vec![0],
            1 => vec![1],
            _ => vec![0, 1],
        };
        let cond = rng.random_ratio(9, 10).then(|| random_cond(&mut rng, 0));
        let order = random_order(&mut rng);
        let query = if rng.random_ratio(1, 5) {
            pick(&mut rng, QUERIES)
        } else {
            ""
        };
        let limit = if rng.random_ratio(1, 3) {
            rng.random_range(3..60)
        } else {
            100_000
        };
        let filter = cond
            .as_ref()
            .map(|cond| write_cond(cond, false, false))
            .unwrap_or_default();
        let order_text = write_order(&order);
        let told = format!(
            "seed {seed}: filter {filter:?} query {query:?} order {order_text:?} {listed:?} {only_tracked} by {limit}"
        );

        let truth = Truth::new(&data, &listed, only_tracked);
        let mut expected: Vec<(Vec<Option<Atom>>, CompanyId)> = Vec::new();
        for company in truth.firms.keys() {
            let class = if query.is_empty() {
                None
            } else {
                truth.class(*company, query)
            };
            let passes = cond.as_ref().is_none_or(|cond| truth.holds(*company, cond));
            if passes && (query.is_empty() || class.is_some()) {
                let mut keys: Vec<Option<Atom>> =
                    order.iter().map(|(key, _)| truth.key(*company, key)).collect();
                if order.is_empty() {
                    keys.push(Some(Atom::Whole(class.unwrap_or(0))));
                    keys.push(truth.key(*company, &Key::Name));
                }
                expected.push((keys, *company));
            }
        }
        expected.sort_by(|(a, x), (b, y)| {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                let descending = order.get(at).is_some_and(|(_, descending)| *descending);
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
        let expected: Vec<CompanyId> = expected.into_iter().map(|(_, company)| company).collect();

        let mut got: Vec<CompanyId> = Vec::new();
        let mut after = None;
        let mut wrong = None;
        loop {
            let text = Text {
                filter: &filter,
                query,
                order_by: &order_text,
                now_us: NOW,
            };
            let plan = match Plan::new(&data.sources, &text) {
                Ok(plan) => plan,
                Err(error) => {
                    wrong = Some(format!("{error:?}"));
                    break;
                }
            };
            let question = Question {
                sources: data.sources.clone(),
                listed: listed.clone(),
                tracked: data.tracked.clone(),
                only_tracked,
                only_fed: false,
                plan,
                after,
                limit,
            };
            let answer = match data.engine.run(question, ()).await {
                Ok(answer) => answer,
                Err(error) => {
                    wrong = Some(format!("{error:?}"));
                    break;
                }
            };
            found.pages += 1;
            if answer.total != expected.len() as u64 {
                wrong = Some(format!("{} in all, not {}", answer.total, expected.len()));
                break;
            }
            let next = answer.page.next();
            got.extend(answer.page.companies);
            match next {
                Some(next) if got.len() <= expected.len() => after = Some(next),
                _ => break,
            }
        }
        found.questions += 1;
        found.companies += expected.len();
        found.telling += usize::from(!expected.is_empty() && expected.len() < truth.firms.len());
        if wrong.is_none() && got != expected {
            let sets = |list: &[CompanyId]| list.iter().copied().collect::<BTreeSet<_>>();
            wrong = Some(if sets(&got) == sets(&expected) {
                "the order differs".to_owned()
            } else {
                format!("{} companies, not {}", got.len(), expected.len())
            });
        }
        if let Some(wrong) = wrong
            && found.differences.len() < 20
        {
            found.differences.push(format!("{told}: {wrong}"));
        }
    }
    data.stop.cancel();
    data.follower.await.unwrap();
    found
}
