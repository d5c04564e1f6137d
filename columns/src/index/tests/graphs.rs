//! Graphs against the slow model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bigdecimal::BigDecimal;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use roaring::RoaringBitmap;

use super::{Model, Record, companies, object, random_expr, slow};
use crate::aggregate::{
    Aggregate, Bucket, Dimension, Function, Group, Keep, Measure, Outcome, RowTest, Subject,
};
use crate::companies::Companies;
use crate::number::Number;
use crate::snapshot::Snapshot;

type Of = (bool, u32);

/// A record that is counted, with those of its companies that are.
type Counted<'m> = (&'m Record, BTreeSet<u128>);

fn decimal(text: &str) -> BigDecimal {
    text.parse().unwrap()
}

fn plain(number: &BigDecimal) -> String {
    number.normalized().to_plain_string()
}

/// The buckets of a record, before some are combined.
fn buckets(dimension: &Dimension, record: &Record, company: u32) -> BTreeSet<Bucket> {
    let of: BTreeSet<Bucket> = match dimension {
        Dimension::Text(path) if path.ends_with("list") => {
            record.list.iter().cloned().map(Bucket::Text).collect()
        }
        Dimension::Text(_) => [record.name.clone()]
            .into_iter()
            .filter(|name| !name.is_empty())
            .map(Bucket::Text)
            .collect(),
        Dimension::Integer(_) => record.int.into_iter().map(Bucket::Integer).collect(),
        Dimension::Intervals(..) => record
            .int
            .into_iter()
            .map(|int| Bucket::Integer(int.div_euclid(7) * 7))
            .collect(),
        Dimension::Number(_) => record
            .number
            .iter()
            .map(|number| Bucket::Number(plain(&decimal(number))))
            .collect(),
        Dimension::Width(..) => {
            let width = decimal("2.5");
            let floor = |number: &String| {
                let times = (decimal(number) / &width).with_scale_round(0, bigdecimal::RoundingMode::Floor);
                Bucket::Number(plain(&(times * &width)))
            };
            record.number.iter().map(floor).collect()
        }
        Dimension::Companies(sets) => (0..sets.len())
            .filter(|at| sets[*at].contains(company))
            .map(Bucket::Companies)
            .collect(),
    };
    if of.is_empty() { [Bucket::Unset].into() } else { of }
}

fn measured(measure: &Measure, records: &[&Record]) -> Outcome {
    let ints: Vec<i64> = records.iter().filter_map(|record| record.int).collect();
    let mut numbers: Vec<BigDecimal> = records
        .iter()
        .filter_map(|record| record.number.as_deref().map(decimal))
        .collect();
    numbers.sort();
    let is_int = measure.path.ends_with("int");
    let count = if is_int { ints.len() } else { numbers.len() };
    if measure.function == Function::Count {
        return Outcome::Count(count as u64);
    }
    if count == 0 {
        return Outcome::None;
    }
    let number = |number: BigDecimal| Outcome::Number(plain(&number), None);
    let round = |number: BigDecimal| number.with_scale_round(10, bigdecimal::RoundingMode::HalfEven);
    match measure.function {
        Function::Count => unreachable!(),
        Function::Minimum if is_int => Outcome::Integer(*ints.iter().min().unwrap()),
        Function::Maximum if is_int => Outcome::Integer(*ints.iter().max().unwrap()),
        Function::Minimum => number(numbers[0].clone()),
        Function::Maximum => number(numbers[numbers.len() - 1].clone()),
        Function::Sum => number(numbers.iter().sum()),
        Function::Average => number(round(
            numbers.iter().sum::<BigDecimal>() / BigDecimal::from(numbers.len() as u64),
        )),
        Function::Percentile(percent) => {
            let position = BigDecimal::from((numbers.len() - 1) as u64) * decimal(&format!("{percent}"))
                / decimal("100");
            let lower = ((numbers.len() - 1) * percent as usize) / 100;
            let upper = (lower + 1).min(numbers.len() - 1);
            let part = position - BigDecimal::from(lower as u64);
            number(round(
                &numbers[lower] + (&numbers[upper] - &numbers[lower]) * part,
            ))
        }
    }
}

fn dimension(dice: &mut StdRng, of: bool, companies: &RoaringBitmap) -> Dimension {
    let path = |name: &str| format!("{}/{name}", object(of));
    match dice.random_range(0..7) {
        6 => {
            let mut half = || companies.iter().filter(|_| dice.random_bool(0.5)).collect();
            Dimension::Companies(vec![half(), half()])
        }
        0 => Dimension::Text(path("name")),
        1 => Dimension::Text(path("list")),
        2 => Dimension::Integer(path("int")),
        3 => Dimension::Number(path("number")),
        4 => Dimension::Width(path("number"), Number::parse("2.5").unwrap()),
        _ => Dimension::Intervals(
            path("int"),
            Arc::new(|value: i64| {
                let first = value.div_euclid(7) * 7;
                Some((first, first + 7))
            }),
        ),
    }
}

fn measure(dice: &mut StdRng, of: bool) -> Measure {
    let functions = [
        Function::Count,
        Function::Sum,
        Function::Average,
        Function::Minimum,
        Function::Maximum,
        Function::Percentile(50),
        Function::Percentile(90),
    ];
    let function = *functions.choose(dice).unwrap();
    let whole =
        matches!(function, Function::Count | Function::Minimum | Function::Maximum) && dice.random_bool(0.4);
    Measure {
        function,
        path: format!("{}/{}", object(of), if whole { "int" } else { "number" }),
        is_number: !whole,
        currency: None,
    }
}

/// The records of an object that are counted.
fn counted<'m>(
    model: &'m Model,
    of: bool,
    matched: &BTreeSet<u128>,
    passes: &dyn Fn(Of, &Record) -> bool,
) -> Vec<Counted<'m>> {
    let records = model
        .iter()
        .filter(|(key, record)| key.0 == of && passes(**key, record));
    let with = records.map(|(key, record)| (record, &companies(model, *key, record) & matched));
    with.filter(|(_, companies)| !companies.is_empty()).collect()
}

/// One cell of a slow answer: its companies and records.
#[derive(Default)]
struct Cell<'m> {
    companies: BTreeSet<u128>,
    records: Vec<&'m Record>,
}

/// The buckets that are kept, by rank; and the bucket that stands for each.
fn kept(counts: &BTreeMap<Bucket, BTreeSet<u128>>, keep: Keep) -> BTreeMap<Bucket, usize> {
    let mut order: Vec<&Bucket> = counts.keys().filter(|bucket| **bucket != Bucket::Unset).collect();
    let value = |bucket: &Bucket| match bucket {
        Bucket::Number(text) => decimal(text),
        Bucket::Integer(number) => BigDecimal::from(*number),
        _ => BigDecimal::from(0),
    };
    let compare = |a: &Bucket, b: &Bucket| value(a).cmp(&value(b)).then_with(|| a.cmp(b));
    if keep.last {
        order.sort_by(|a, b| compare(b, a));
        order.truncate(keep.most);
        order.reverse();
    } else {
        order.sort_by(|a, b| {
            counts[*b]
                .len()
                .cmp(&counts[*a].len())
                .then_with(|| compare(a, b))
        });
        order.truncate(keep.most);
    }
    order
        .into_iter()
        .cloned()
        .enumerate()
        .map(|(at, bucket)| (bucket, at))
        .collect()
}

fn shown(group: &Group) -> (Vec<Bucket>, u64, u64, Vec<Outcome>) {
    (
        group.buckets.clone(),
        group.companies,
        group.records,
        group.results.clone(),
    )
}

pub(super) fn compare(snapshot: &Snapshot, process: &Companies, model: &Model, dice: &mut StdRng) {
    let all: BTreeSet<u128> = model.values().filter_map(|record| record.company).collect();
    for _ in 0..30 {
        let of = dice.random_bool(0.5);
        let matched: BTreeSet<u128> = all.iter().copied().filter(|_| dice.random_bool(0.8)).collect();
        let numbers = matched.iter().map(|company| process.find(*company).unwrap());
        let matched_set: RoaringBitmap = numbers.collect();
        let expr = random_expr(dice, object(of), 2);
        let test = match dice.random_range(0..4) {
            0 => RowTest::And(Vec::new()),
            1 => RowTest::Record(expr.clone()),
            2 => RowTest::Not(Box::new(RowTest::Record(expr.clone()))),
            _ => RowTest::Or(vec![RowTest::Record(expr.clone()), RowTest::And(vec![])]),
        };
        let kind = test.clone();
        let passes = move |key: Of, record: &Record| match &kind {
            RowTest::Record(expr) => slow(expr, key, record),
            RowTest::Not(_) => !slow(&expr, key, record),
            _ => true,
        };
        let dimensions: Vec<(Dimension, Keep)> = (0..dice.random_range(0..3))
            .map(|_| {
                let keep = Keep {
                    most: *[1, 3, 1_000].choose(dice).unwrap(),
                    last: dice.random_bool(0.5),
                };
                (dimension(dice, of, &matched_set), keep)
            })
            .collect();
        let subject = |object: &str, test: RowTest| Subject {
            snapshot,
            object: object.to_owned(),
            test,
        };
        let measures: Vec<(Measure, bool)> = (0..dice.random_range(0..3))
            .map(|_| {
                let own = dice.random_bool(0.5);
                (measure(dice, own == of), own)
            })
            .collect();
        let answer = Aggregate {
            matched: &matched_set,
            subject: Some(subject(object(of), test)),
            dimensions: dimensions.clone(),
            measures: measures
                .iter()
                .map(|(measure, own)| {
                    let other = subject(object(!of), RowTest::And(Vec::new()));
                    (measure.clone(), (!own).then_some(other))
                })
                .collect(),
            companies: process.len(),
        };
        let answer = answer.run().unwrap();
        // The same, slowly.
        let records = counted(model, of, &matched, &passes);
        let others = counted(model, !of, &matched, &|_, _| true);
        let ranks: Vec<BTreeMap<Bucket, usize>> = dimensions
            .iter()
            .map(|(dimension, keep)| {
                let mut counts: BTreeMap<Bucket, BTreeSet<u128>> = BTreeMap::new();
                for (record, companies) in &records {
                    for company in companies {
                        for bucket in buckets(dimension, record, process.find(*company).unwrap()) {
                            counts.entry(bucket).or_default().insert(*company);
                        }
                    }
                }
                kept(&counts, *keep)
            })
            .collect();
        let mut cells: BTreeMap<Vec<(usize, Bucket)>, Cell<'_>> = BTreeMap::new();
        for (record, companies) in &records {
            let mut of_record = BTreeSet::new();
            for company in companies.iter().filter(|_| !dimensions.is_empty()) {
                let number = process.find(*company).unwrap();
                let mut combinations: BTreeSet<Vec<(usize, Bucket)>> = [Vec::new()].into();
                for ((dimension, _), ranks) in dimensions.iter().zip(&ranks) {
                    let of = buckets(dimension, record, number).into_iter().map(|bucket| {
                        match (ranks.get(&bucket), &bucket) {
                            (Some(rank), _) => (*rank, bucket),
                            (None, Bucket::Unset) => (usize::MAX, bucket),
                            (None, _) => (usize::MAX, Bucket::Other),
                        }
                    });
                    let of: BTreeSet<_> = of.collect();
                    combinations = combinations
                        .iter()
                        .flat_map(|begin| {
                            of.iter()
                                .map(move |one| [begin.as_slice(), std::slice::from_ref(one)].concat())
                        })
                        .collect();
                }
                for combination in combinations {
                    cells
                        .entry(combination.clone())
                        .or_default()
                        .companies
                        .insert(*company);
                    of_record.insert(combination);
                }
            }
            for combination in of_record {
                cells.entry(combination).or_default().records.push(record);
            }
        }
        let result = |companies: Option<&BTreeSet<u128>>, own_records: &[&Record]| -> Vec<Outcome> {
            let in_cell = |of: &&Counted<'_>| companies.is_none_or(|companies| !of.1.is_disjoint(companies));
            let other: Vec<&Record> = others.iter().filter(in_cell).map(|(record, _)| *record).collect();
            measures
                .iter()
                .map(|(measure, own)| measured(measure, if *own { own_records } else { &other }))
                .collect()
        };
        let expected: Vec<_> = cells
            .iter()
            .map(|(combination, cell)| {
                let buckets: Vec<Bucket> = combination.iter().map(|(_, bucket)| bucket.clone()).collect();
                let results = result(Some(&cell.companies), &cell.records);
                (
                    buckets,
                    cell.companies.len() as u64,
                    cell.records.len() as u64,
                    results,
                )
            })
            .collect();
        let found: Vec<_> = answer.groups.iter().map(shown).collect();
        assert_eq!(found, expected);
        let own: Vec<&Record> = records.iter().map(|(record, _)| *record).collect();
        let total = (
            Vec::new(),
            matched.len() as u64,
            records.len() as u64,
            result(None, &own),
        );
        assert_eq!(shown(&answer.total), total);
    }
}
