//! An index against a slow model: random changes, commits, restarts and questions.

mod graphs;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::expr::{Comparison, Expr, Test, TextTest, WordTest};
use crate::number::Number;
use crate::order::{SortKind, SortPath, SortRef, SortValue};
use crate::scan::Top;
use crate::text::words;
use crate::writer::record_key;

#[derive(Debug, Clone, Default)]
struct Record {
    company: Option<u128>,
    parents: Vec<u32>,
    name: String,
    int: Option<i64>,
    number: Option<String>,
    list: Vec<String>,
}

const WORDS: [&str; 8] = ["alpha", "beta", "gamma", "delta", "alpine", "bet", "gamut", "x"];

fn random(dice: &mut StdRng, is_company: bool) -> Record {
    let count = dice.random_range(0..3);
    let name: Vec<&str> = (0..count).map(|_| *WORDS.choose(dice).unwrap()).collect();
    let numbers = [
        "1",
        "2.5",
        "-3",
        "1.00000001",
        "1.00000002",
        "123456789012345",
        "7",
    ];
    Record {
        company: is_company.then(|| dice.random_range(0..300)),
        parents: (0..if is_company { 0 } else { dice.random_range(0..3) })
            .map(|_| dice.random_range(0..300))
            .collect(),
        name: name.join(" "),
        int: dice.random_bool(0.8).then(|| dice.random_range(-5..50)),
        number: dice
            .random_bool(0.8)
            .then(|| (*numbers.choose(dice).unwrap()).to_owned()),
        list: (0..dice.random_range(0..3))
            .map(|_| (*WORDS.choose(dice).unwrap()).to_owned())
            .collect(),
    }
}

type Model = BTreeMap<(bool, u32), Record>;

fn object(is_company: bool) -> &'static str {
    if is_company { "a" } else { "b" }
}

fn key(of: (bool, u32)) -> u128 {
    record_key(object(of.0), &of.1.to_string())
}

fn fill(to: &mut BlockBuilder, is_company: bool, record: &Record, id: u32) {
    let path = |name: &str| format!("{}/{name}", object(is_company));
    if !record.name.is_empty() {
        to.words(&path("name"), &record.name);
        to.texts(&path("name"), &[&record.name]);
    }
    to.texts(&path("id"), &[&format!("{id:05}")]);
    if let Some(int) = record.int {
        to.int(&path("int"), int);
    }
    if let Some(number) = record.number.as_deref().and_then(Number::parse) {
        match number.scaled() {
            Some(scaled) => to.int(&path("number"), scaled),
            None => to.decimal(&path("number"), &number.ordered()),
        }
    }
    if !record.list.is_empty() {
        let list: Vec<&str> = record.list.iter().map(String::as_str).collect();
        to.texts(&path("list"), &list);
    }
}

fn naming() -> Naming {
    Naming {
        name: "a/name".to_owned(),
        id: "a/id".to_owned(),
    }
}

/// Whether a record passes a test of one of its values.
fn passes(record: &Record, id: u32, value: &str, test: &Test) -> bool {
    let number = record.number.as_deref().and_then(Number::parse);
    match (value, test) {
        ("int", Test::Int(from, to)) => record.int.is_some_and(|int| (*from..=*to).contains(&int)),
        ("int", Test::Set) => record.int.is_some(),
        ("number", Test::Set) => number.is_some(),
        ("number", Test::Number(comparison, with)) => number
            .is_some_and(|number| TextTest::Compare(*comparison, with.ordered()).passes(&number.ordered())),
        ("name", Test::Text(test)) => !record.name.is_empty() && test.passes(&record.name),
        ("name", Test::Set) => !record.name.is_empty(),
        ("name", Test::Words(all)) => all
            .iter()
            .all(|test| words(&record.name).any(|word| test.passes(word))),
        ("list", Test::Text(test)) => record.list.iter().any(|text| test.passes(text)),
        ("list", Test::Set) => !record.list.is_empty(),
        ("id", Test::Text(test)) => test.passes(&format!("{id:05}")),
        _ => false,
    }
}

fn slow(expr: &Expr, of: (bool, u32), record: &Record) -> bool {
    match expr {
        Expr::All(all) => all == object(of.0),
        Expr::And(all) => !all.is_empty() && all.iter().all(|one| slow(one, of, record)),
        Expr::Or(any) => any.iter().any(|one| slow(one, of, record)),
        Expr::AndNot(from, without) => slow(from, of, record) && !slow(without, of, record),
        Expr::Value(path, test) => {
            let (of_object, value) = path.split_once('/').unwrap();
            of_object == object(of.0) && passes(record, of.1, value, test)
        }
    }
}

fn random_test(dice: &mut StdRng) -> (&'static str, Test) {
    let comparison = *[
        Comparison::Equal,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ]
    .choose(dice)
    .unwrap();
    let word = (*WORDS.choose(dice).unwrap()).to_owned();
    let text = match dice.random_range(0..4) {
        0 => TextTest::Is(word.clone()),
        1 => TextTest::Compare(comparison, word.clone()),
        2 => TextTest::Like {
            before: dice.random_bool(0.5),
            text: word[..1].to_owned(),
            after: dice.random_bool(0.5),
        },
        _ => TextTest::OneOf(
            WORDS[..dice.random_range(0..5)]
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
        ),
    };
    let number = ["1", "1.00000001", "1.00000001500", "2.5", "123456789012345", "0"];
    let number = Number::parse(number.choose(dice).unwrap()).unwrap();
    match dice.random_range(0..7) {
        0 => (
            "int",
            Test::Int(dice.random_range(-6..20), dice.random_range(0..51)),
        ),
        1 => ("number", Test::Number(comparison, number)),
        2 => ("name", Test::Text(text)),
        3 => ("list", Test::Text(text)),
        4 => (
            "id",
            Test::Text(TextTest::Compare(
                comparison,
                format!("{:05}", dice.random_range(0..400)),
            )),
        ),
        5 => (
            *["int", "number", "name", "list"].choose(dice).unwrap(),
            Test::Set,
        ),
        _ => {
            let test = WordTest {
                word: word[..dice.random_range(1..=word.len())].to_owned(),
                before: dice.random_bool(0.3),
                after: dice.random_bool(0.5),
                forgiving: dice.random_bool(0.3),
            };
            ("name", Test::Words(vec![test]))
        }
    }
}

fn random_expr(dice: &mut StdRng, object: &str, depth: u32) -> Expr {
    match if depth == 0 { 9 } else { dice.random_range(0..6) } {
        0 => Expr::And((0..2).map(|_| random_expr(dice, object, depth - 1)).collect()),
        1 => Expr::Or((0..2).map(|_| random_expr(dice, object, depth - 1)).collect()),
        2 => Expr::AndNot(
            Box::new(Expr::All(object.to_owned())),
            Box::new(random_expr(dice, object, depth - 1)),
        ),
        _ => {
            let (value, test) = random_test(dice);
            Expr::Value(format!("{object}/{value}"), test)
        }
    }
}

/// The companies of a record: its own, or those of its parents.
fn companies(model: &Model, of: (bool, u32), record: &Record) -> BTreeSet<u128> {
    if of.0 {
        return record.company.into_iter().collect();
    }
    let parents = record
        .parents
        .iter()
        .filter_map(|parent| model.get(&(true, *parent)));
    parents.filter_map(|parent| parent.company).collect()
}

/// The record that names each company.
fn names(model: &Model) -> BTreeMap<u128, u32> {
    let mut names: BTreeMap<u128, (String, u32)> = BTreeMap::new();
    for ((_, id), record) in model.iter().filter(|(of, _)| of.0) {
        let this = (record.name.clone(), *id);
        let company = record.company.unwrap();
        let first = names.entry(company).or_insert_with(|| this.clone());
        if this < *first {
            *first = this;
        }
    }
    names
        .into_iter()
        .map(|(company, (_, id))| (company, id))
        .collect()
}

/// Keeps the best companies by one key and id.
struct Best {
    most: usize,
    descending: bool,
    wanted: BTreeSet<u128>,
    ids: Vec<u128>,
    after: Option<(SortValue, u128)>,
    kept: Vec<(SortValue, u128)>,
    offered: BTreeSet<u32>,
}

fn before(descending: bool, a: (SortRef<'_>, u128), b: (SortRef<'_>, u128)) -> std::cmp::Ordering {
    let by_value = if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
    by_value.then(a.1.cmp(&b.1))
}

impl Top for Best {
    fn wants(&self, company: u32) -> bool {
        self.wanted.contains(&self.ids[company as usize])
    }

    fn size(&self) -> usize {
        self.most
    }

    fn worst(&self) -> Option<SortRef<'_>> {
        (self.kept.len() >= self.most).then(|| self.kept.last().unwrap().0.as_ref())
    }

    fn offer(&mut self, company: u32, value: SortRef<'_>) {
        assert!(self.offered.insert(company), "each company is offered once");
        let this = (value, self.ids[company as usize]);
        if let Some((value, id)) = &self.after
            && before(self.descending, this, (value.as_ref(), *id)).is_le()
        {
            return;
        }
        self.kept.push((value.to_value(), this.1));
        let descending = self.descending;
        self.kept
            .sort_by(|a, b| before(descending, (a.0.as_ref(), a.1), (b.0.as_ref(), b.1)));
        self.kept.truncate(self.most);
    }
}

/// The values of companies by a path, from the model.
fn values(model: &Model, path: &SortPath) -> BTreeMap<u128, SortValue> {
    let names = names(model);
    let mut values: BTreeMap<u128, SortValue> = BTreeMap::new();
    for ((is_company, id), record) in model.iter().filter(|(of, _)| of.0) {
        assert!(is_company);
        let company = record.company.unwrap();
        if path.naming && names[&company] != *id {
            continue;
        }
        let value = match path.path.as_str() {
            "a/int" => record.int.map(SortValue::Integer),
            "a/number" => {
                record
                    .number
                    .as_deref()
                    .and_then(Number::parse)
                    .map(|number| match number.scaled() {
                        Some(scaled) => SortValue::Integer(scaled),
                        None => SortValue::Decimal(number.floor().0, number.ordered()),
                    })
            }
            "a/name" => {
                let label = path.labels.get(&record.name).unwrap_or(&record.name);
                (!record.name.is_empty()).then(|| SortValue::Text(label.clone()))
            }
            _ => unreachable!(),
        };
        let Some(value) = value else { continue };
        let better = values
            .get(&company)
            .is_none_or(|old| path.is_better(value.as_ref(), old.as_ref()));
        if better {
            values.insert(company, value);
        }
    }
    values
}

fn compare(snapshot: &Snapshot, process: &Companies, model: &Model, dice: &mut StdRng) {
    let ids = process.ids(0..process.len() as u32);
    let of_set = |set: &roaring::RoaringBitmap| {
        set.iter()
            .map(|number| ids[number as usize])
            .collect::<BTreeSet<_>>()
    };
    let all: BTreeSet<u128> = model.values().filter_map(|record| record.company).collect();
    assert_eq!(of_set(snapshot.companies()), all);
    let names = names(model);
    for turn in 0..40 {
        let is_company = turn % 2 == 0;
        let expr = random_expr(dice, object(is_company), 3);
        let matching = model.iter().filter(|(of, record)| slow(&expr, **of, record));
        let expected: BTreeSet<u128> = matching
            .clone()
            .flat_map(|(of, record)| companies(model, *of, record))
            .collect();
        assert_eq!(of_set(&snapshot.search(&expr).unwrap()), expected, "{expr:?}");
        if is_company {
            let naming = matching.filter(|(of, record)| names[&record.company.unwrap()] == of.1);
            let expected: BTreeSet<u128> = naming.filter_map(|(_, record)| record.company).collect();
            assert_eq!(
                of_set(&snapshot.search_names(&expr).unwrap()),
                expected,
                "names: {expr:?}"
            );
        }
    }
    for turn in 0..24 {
        let (path, kind) = [
            ("a/int", SortKind::Integer),
            ("a/number", SortKind::Number),
            ("a/name", SortKind::Text),
        ][turn % 3];
        let labels = if dice.random_bool(0.3) && kind == SortKind::Text {
            [("alpha", "zz"), ("beta", "aa"), ("x", "aa")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into()
        } else {
            BTreeMap::new()
        };
        let path = SortPath {
            path: path.to_owned(),
            kind,
            labels,
            naming: dice.random_bool(0.5),
            descending: dice.random_bool(0.5),
        };
        let wanted: BTreeSet<u128> = all.iter().copied().filter(|_| dice.random_bool(0.7)).collect();
        let values = values(model, &path);
        let mut sorted: Vec<(SortValue, u128)> = values
            .into_iter()
            .filter(|(company, _)| wanted.contains(company))
            .map(|(id, value)| (value, id))
            .collect();
        sorted.sort_by(|a, b| before(path.descending, (a.0.as_ref(), a.1), (b.0.as_ref(), b.1)));
        let from = dice.random_range(0..=sorted.len());
        let most = dice.random_range(1..30);
        let after = from.checked_sub(1).map(|last| sorted[last].clone());
        let mut best = Best {
            most,
            descending: path.descending,
            wanted,
            ids: ids.clone(),
            after: after.clone(),
            kept: Vec::new(),
            offered: BTreeSet::new(),
        };
        snapshot
            .scan(&path, after.as_ref().map(|(value, _)| value.as_ref()), &mut best)
            .unwrap();
        let expected: Vec<_> = sorted.into_iter().skip(from).take(most).collect();
        assert_eq!(best.kept, expected, "{path:?}");
    }
}

#[test]
fn an_index_answers_like_a_slow_model() {
    for seed in 0..12 {
        let mut dice = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let process = Arc::new(Companies::default());
        // Other indexes have taken numbers before.
        process.numbers((1_000..1_000 + u128::from(seed)).chain(20..40));
        let open = || {
            Index::open(
                Arc::new(Folder::new(folder.path(), "x")),
                Arc::clone(&process),
                naming(),
            )
            .unwrap()
        };
        let mut index = open();
        let mut model = Model::new();
        for commit in 0..12 {
            let changes = if dice.random_bool(0.3) {
                300
            } else {
                dice.random_range(1..40)
            };
            let memory = format!("{commit}");
            let bytes = if dice.random_bool(0.5) { 1 } else { 1 << 20 };
            index
                .change(bytes, |to| {
                    for _ in 0..changes {
                        let of = (dice.random_bool(0.5), dice.random_range(0..400));
                        if dice.random_bool(0.2) {
                            to.delete(key(of));
                            model.remove(&of);
                            continue;
                        }
                        let record = random(&mut dice, of.0);
                        let parents: Vec<u128> = record.parents.iter().map(|id| key((true, *id))).collect();
                        let put = Put {
                            object: object(of.0),
                            key: key(of),
                            company: record.company,
                            parents: &parents,
                        };
                        to.put(put, |row| fill(row, of.0, &record, of.1))?;
                        model.insert(of, record);
                    }
                    Ok(())
                })
                .unwrap();
            index.commit(bytes, &memory).unwrap();
            let snapshot = index.publish(Position::default());
            snapshot.check().unwrap();
            compare(&snapshot, &process, &model, &mut dice);
            graphs::compare(&snapshot, &process, &model, &mut dice);
            if dice.random_bool(0.3) {
                index = open();
                assert_eq!(index.memory(), memory);
                compare(&index.publish(Position::default()), &process, &model, &mut dice);
            } else if dice.random_bool(0.3) {
                index.rest();
            }
            let blocks = index.committed.lock().blocks().count();
            assert!(blocks < 60, "merges keep the number of blocks small: {blocks}");
        }
    }
}

#[test]
fn what_was_not_committed_is_not_there_later() {
    let folder = tempfile::tempdir().unwrap();
    let process = Arc::new(Companies::default());
    let open = || {
        Index::open(
            Arc::new(Folder::new(folder.path(), "x")),
            Arc::clone(&process),
            naming(),
        )
        .unwrap()
    };
    let index = open();
    let put = |index: &Index, id: u32, company: u128| {
        let put = Put {
            object: "a",
            key: key((true, id)),
            company: Some(company),
            parents: &[],
        };
        let record = Record::default();
        // No memory for rows: each row becomes a file at once.
        index
            .change(0, |to| to.put(put, |row| fill(row, true, &record, id)))
            .unwrap();
    };
    put(&index, 1, 7);
    index.commit(0, "one").unwrap();
    (2..600).for_each(|id| put(&index, id, 8));
    index.rest();
    let count = |index: &Index| index.publish(Position::default()).companies().len();
    assert_eq!(count(&index), 1);
    assert_eq!(count(&open()), 1);
    put(&index, 2, 9);
    index.commit(0, "two").unwrap();
    assert_eq!((count(&index), index.memory().as_str()), (2, "two"));
    // Nothing is left of the interrupted attempt.
    let manifest = index.committed.lock().manifest.clone();
    let known: BTreeSet<String> = manifest
        .files()
        .map(|file| file.name.clone())
        .chain(["manifest".to_owned()])
        .collect();
    let found = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<_>>(), known);
    assert_eq!(manifest.rows(), 2);
}

/// The files are compared with their hashes before anything else reads them.
#[test]
fn damaged_files_are_errors() {
    let mut dice = StdRng::seed_from_u64(7);
    let folder = tempfile::tempdir().unwrap();
    let process = Arc::new(Companies::default());
    let open = || {
        Index::open(
            Arc::new(Folder::new(folder.path(), "x")),
            Arc::clone(&process),
            naming(),
        )
    };
    let index = open().unwrap();
    for id in 0..50 {
        let record = random(&mut dice, true);
        let put = Put {
            object: "a",
            key: key((true, id)),
            company: record.company,
            parents: &[],
        };
        index
            .change(1 << 20, |to| to.put(put, |row| fill(row, true, &record, id)))
            .unwrap();
    }
    index.commit(1 << 20, "").unwrap();
    let snapshot = index.publish(Position::default());
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for path in &names {
        let before = std::fs::read(path).unwrap();
        for turn in 0..20 {
            let mut bytes = before.clone();
            let at = dice.random_range(0..bytes.len());
            match turn % 2 {
                0 => bytes.truncate(at),
                _ => bytes[at] ^= dice.random_range(1..=255_u8),
            }
            std::fs::write(path, &bytes).unwrap();
            assert!(
                matches!(snapshot.check(), Err(Error::Damaged(_))),
                "{path:?} {turn}"
            );
            match open() {
                Err(Error::Damaged(_)) => {}
                other => panic!("{path:?} {turn}: {:?}", other.err()),
            }
        }
        std::fs::write(path, &before).unwrap();
    }
    snapshot.check().unwrap();
    open().unwrap();
    // The folder of another index has the wrong name.
    assert!(matches!(
        Index::open(
            Arc::new(Folder::new(folder.path(), "y")),
            Arc::clone(&process),
            naming()
        ),
        Err(Error::Damaged(_))
    ));
}
