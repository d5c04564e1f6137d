//! Rows in memory and the records of an index hold the same values, and every condition finds the same of them.

use super::super::kind::Kind;
use super::super::paths::path;
use super::*;
use crate::value::Value;
use proptest::prelude::*;
use std::sync::Arc;
use tether_columns::number::Number;
use tether_columns::text::fold;
use tether_columns::{Companies, Comparison, Expr, Folder, Index, Naming, Position, Put, TextTest};

/// Fields of each kind, with the part of the value that is tested.
const FIELDS: [(&str, Kind, &str); 9] = [
    ("number", Kind::Number, ""),
    ("boolean", Kind::Boolean, ""),
    ("date", Kind::Date, ""),
    ("time", Kind::Timestamp, ""),
    ("text", Kind::Text, ""),
    ("long", Kind::Long, ""),
    ("list", Kind::List, ""),
    ("reference", Kind::Reference, "id"),
    ("location", Kind::Location, "latitude"),
];

type Record = Vec<(usize, Value)>;

fn text() -> impl Strategy<Value = String> {
    "[aAbß é,]{0,5}"
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (-3_i64..4).prop_map(|n| n.to_string()),
        "-?[0-2]\\.[05]{1,8}",
        "-?[12][0-9]{14}(\\.5)?",
    ]
}

/// A value of one of `FIELDS`.
fn value(field: usize) -> BoxedStrategy<Value> {
    match FIELDS[field].1 {
        Kind::Number => number().prop_map(Value::Decimal).boxed(),
        Kind::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Kind::Date => (1..4_u8)
            .prop_map(|day| Value::Date(format!("1970-01-0{day}")))
            .boxed(),
        Kind::Timestamp => (0..4_i64).prop_map(Value::Timestamp).boxed(),
        Kind::List => prop::collection::vec(text(), 0..3).prop_map(Value::List).boxed(),
        Kind::Reference => (text(), text())
            .prop_map(|(id, label)| Value::Reference { id, label })
            .boxed(),
        Kind::Location => (number(), number())
            .prop_map(|(latitude, longitude)| Value::Location(latitude, longitude))
            .boxed(),
        _ => text().prop_map(Value::Text).boxed(),
    }
}

fn record() -> impl Strategy<Value = Record> {
    let fields: Vec<_> = (0..FIELDS.len())
        .map(|at| prop::option::of(value(at)).prop_map(move |value| value.map(|value| (at, value))))
        .collect();
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop::sample::select(vec![
        Comparison::Equal,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ])
}

fn test() -> impl Strategy<Value = Test> {
    let folded = || text().prop_map(|text| fold(&text));
    let word = ("[abß]{1,2}", any::<bool>(), any::<bool>()).prop_map(|(word, before, after)| WordTest {
        word: fold(&word),
        before,
        after,
        forgiving: false,
    });
    prop_oneof![
        Just(Test::Set),
        (-1..4_i64, -1..4_i64).prop_map(|(from, to)| Test::Int(from, to)),
        (comparison(), number())
            .prop_map(|(comparison, text)| Test::Number(comparison, Number::parse(&text).unwrap())),
        folded().prop_map(|text| Test::Text(TextTest::Is(text))),
        (any::<bool>(), folded(), any::<bool>())
            .prop_map(|(before, text, after)| Test::Text(TextTest::Like { before, text, after })),
        (comparison(), folded())
            .prop_map(|(comparison, text)| Test::Text(TextTest::Compare(comparison, text))),
        prop::collection::vec(word, 1..3).prop_map(Test::Words),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = (0..FIELDS.len(), test()).prop_map(|(at, test)| {
        let (key, _, part) = FIELDS[at];
        Expr::Value(path("o", key, part), test)
    });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::Or),
            (inner.clone(), inner).prop_map(|(from, without)| Expr::AndNot(from.into(), without.into())),
        ]
    })
}

fn in_memory(records: &[Record]) -> MemoryRows {
    let paths: Vec<String> = FIELDS.iter().map(|(key, _, part)| path("o", key, part)).collect();
    let mut rows = MemoryRows::new(paths.iter().map(String::as_str));
    for (row, record) in records.iter().enumerate() {
        let mut row = Row {
            row: row as u32,
            values: &mut rows.values,
        };
        for (at, value) in record {
            let (key, kind, _) = FIELDS[*at];
            mapping::field(&mut row, "o", key, kind, value.clone());
        }
    }
    rows
}

/// Checks that the conditions find the same rows in memory and in an index.
fn compare(records: &[Record], exprs: &[Expr]) {
    let rows = in_memory(records);
    let folder = tempfile::tempdir().unwrap();
    let naming = Naming {
        name: String::new(),
        id: String::new(),
    };
    let files = Arc::new(Folder::new(folder.path(), "test"));
    let index = Index::open(files, Arc::<Companies>::default(), naming).unwrap();
    let put_all = |to: &mut tether_columns::Changes<'_>| {
        for (row, record) in records.iter().enumerate() {
            let put = Put {
                object: "o",
                key: row as u128,
                company: Some(row as u128),
                parents: &[],
            };
            to.put(put, |to| {
                for (at, value) in record {
                    let (key, kind, _) = FIELDS[*at];
                    mapping::field(to, "o", key, kind, value.clone());
                }
            })?;
        }
        Ok(())
    };
    index.change(1 << 20, put_all).unwrap();
    index.commit(1 << 20, "").unwrap();
    let snapshot = index.publish(Position::default());
    for expr in exprs {
        // Each record has a company of its own, with the same number.
        let of_index = snapshot.search(expr).unwrap();
        assert_eq!(expr.rows(&rows).unwrap(), of_index, "{expr:?} of {records:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn conditions_find_the_same_in_memory_and_in_an_index(
        records in prop::collection::vec(record(), 0..8),
        exprs in prop::collection::vec(expr(), 40),
    ) {
        compare(&records, &exprs);
    }
}

/// Conditions on numbers and dates of rows in memory found nothing when they had an evaluator of their own.
#[test]
fn numbers_and_dates_of_rows_in_memory_are_compared() {
    let number = |text: &str| (0, Value::Decimal(text.to_owned()));
    let date = |day: &str| (2, Value::Date(day.to_owned()));
    let records = vec![
        vec![number("5"), date("1970-01-02")],
        vec![number("5.00000001"), date("1970-01-03")],
        vec![],
    ];
    let numbers = |comparison, text| {
        let test = Test::Number(comparison, Number::parse(text).unwrap());
        Expr::Value(path("o", "number", ""), test)
    };
    let days = |from, to| Expr::Value(path("o", "date", ""), Test::Int(from, to));
    for (expr, expected) in [
        (numbers(Comparison::Equal, "5"), vec![0]),
        (numbers(Comparison::Greater, "5"), vec![1]),
        (numbers(Comparison::GreaterOrEqual, "5.0"), vec![0, 1]),
        (numbers(Comparison::Less, "5"), vec![]),
        (days(1, 1), vec![0]),
        (days(2, i64::MAX), vec![1]),
        (days(i64::MIN, i64::MAX), vec![0, 1]),
        (
            Expr::AndNot(
                days(i64::MIN, i64::MAX).into(),
                numbers(Comparison::Equal, "5").into(),
            ),
            vec![1],
        ),
    ] {
        let found: Vec<u32> = expr.rows(&in_memory(&records)).unwrap().iter().collect();
        assert_eq!(found, expected, "{expr:?}");
        compare(&records, &[expr]);
    }
}

#[test]
fn a_company_is_found_by_words_of_its_name_and_its_domain() {
    let found_by = super::super::paths::found_by();
    let mut rows = MemoryRows::new([found_by.as_str()]);
    rows.add_company(7, "Société Générale", "https://sg.example/", "sg.example");
    rows.add_company(8, "Other", "", "");
    for (words, found) in [
        (vec!["societe"], true),
        (vec!["societe", "sg"], true),
        (vec!["societe", "other"], false),
    ] {
        let tests = words.iter().map(|word| WordTest {
            word: (*word).to_owned(),
            before: false,
            after: false,
            forgiving: false,
        });
        let expr = Expr::Value(found_by.clone(), Test::Words(tests.collect()));
        assert_eq!(expr.rows(&rows).unwrap().contains(7), found, "{words:?}");
    }
    // Values that were not asked for are an error, never silently absent.
    let name = Expr::Value(super::super::paths::name(), Test::Set);
    assert!(name.rows(&rows).is_err());
}
