//! Tests of the errors in filters and orders, with their positions.

use super::super::problem::Fault;
use super::super::resolve::Field;
use super::*;
use crate::domain::IntegrationId;
use crate::index::number::Number;
use crate::index::{Comparison, Expr, Measure, NumberTest, Test, TextTest};
use crate::picklist::LazyPicklist;

const TIERS: &str = r#"{"picklist_values":[{"value":"17","label":"Gold"},{"value":"18","label":"Golden Age"},
    {"value":"x","label":"x"}]}"#;

fn sources() -> Vec<Source> {
    let field = |(key, field_type, long_text, active): (&str, FieldType, bool, bool)| Field {
        object: "Account".to_owned(),
        key: key.to_owned(),
        alias: if key == "A.B" {
            "a_b".to_owned()
        } else {
            String::new()
        },
        field_type,
        long_text,
        active,
        picklist: match field_type {
            FieldType::Picklist => LazyPicklist::new(TIERS.to_owned()),
            _ => LazyPicklist::default(),
        },
    };
    let fields = [
        ("Name", FieldType::Text, false, true),
        ("Story", FieldType::Text, true, true),
        ("Tags", FieldType::MultiPicklist, false, true),
        ("Staff", FieldType::Integer, false, true),
        ("Open", FieldType::Boolean, false, true),
        ("Founded", FieldType::Date, false, true),
        ("Seen", FieldType::Timestamp, false, true),
        ("Seat", FieldType::Address, false, true),
        ("Place", FieldType::Location, false, true),
        ("Revenue", FieldType::Currency, false, true),
        ("Secret", FieldType::Text, false, false),
        ("Tier", FieldType::Picklist, false, true),
        ("A.B", FieldType::Integer, false, true),
    ];
    let object = |object: &str, key: &str| Field {
        object: object.to_owned(),
        ..field((key, FieldType::Text, false, true))
    };
    let hidden = Field {
        active: false,
        ..object("Hidden", "Name")
    };
    vec![Source {
        integration: IntegrationId::new(),
        label: "s".to_owned(),
        company_object: "Account".to_owned(),
        fields: fields
            .map(field)
            .into_iter()
            .chain([object("Case", "Subject"), hidden])
            .collect(),
    }]
}

fn problem(filter: &str, order_by: &str) -> Problem {
    let text = Text {
        filter,
        query: "",
        order_by,
        now_us: 0,
        zone: &Zone::default(),
    };
    match Plan::new(&sources(), &text) {
        Err(Error::Filter(problem) | Error::Order(problem)) => problem,
        other => panic!("{filter} {order_by}: {other:?}"),
    }
}

#[test]
fn each_fault_has_its_place() {
    for (filter, position, token) in [
        ("x.Account.Name = 1", 0, "x"),
        ("s.Account = 1", 0, "s"),
        ("s.Lead(Name = 1)", 2, "Lead"),
        ("s.Account(s.Account.Name = 1)", 10, "s"),
        ("s.Account(s.Account(Name = 1))", 10, "s"),
        ("s.Account.Name.id = 1", 15, "id"),
        ("s.Account.Staff = \"1\"", 18, "\"1\""),
        ("s.Account.Open = yes", 17, "yes"),
        ("s.Account.Open > true", 15, ">"),
        ("s.Account.Tags < a", 15, "<"),
        ("s.Account.Story >= a", 16, ">="),
        ("s.Account.Story = \"a*\"", 18, "\"a*\""),
        ("s.Account.Name : \"&\"", 17, "\"&\""),
        ("s.Account.Founded = now", 20, "now"),
        (
            "s.Account.Founded = 2026-01-31T00:00:00Z",
            20,
            "2026-01-31T00:00:00Z",
        ),
        ("s.Account.Seen = today+999999y", 17, "today+999999y"),
        ("s.Account.Seat = a", 15, "="),
        ("s.Account.Tags between a and b", 15, "between"),
        ("s.Account.Staff in (1, x)", 23, "x"),
        ("s.Account.Staff between 1 and x", 30, "x"),
        ("s.Account.Founded in (today, now)", 29, "now"),
        ("starts_with(s.Account.Staff, 1)", 0, "starts_with"),
        ("contains(s.Account.Story, a)", 0, "contains"),
        ("contains(s.Account.Seat, a)", 0, "contains"),
        ("contains(source, a)", 0, "contains"),
        ("s.Account(count(s.Case) > 1)", 10, "count"),
        ("count(s.Case(count(s.Case) > 1)) > 1", 13, "count"),
        ("count(x.Case) > 1", 6, "x"),
        ("count(s.Lead) > 1", 8, "Lead"),
        ("count(s.Hidden) > 1", 8, "Hidden"),
        ("count(s.Case) : *", 16, "*"),
        ("count(s.Case) > today", 16, "today"),
        ("sum(s.Case.Subject) > 1", 11, "Subject"),
        ("sum(s.Account.Staff.amount) > 1", 20, "amount"),
        ("sum(s.Account.Place.latitude) > 1", 20, "latitude"),
        ("tracked between true and false", 8, "between"),
        ("name = a", 0, "name"),
        ("source = x", 9, "x"),
        ("tracked > true", 8, ">"),
    ] {
        let found = problem(filter, "");
        assert_eq!(
            (found.spot.position, found.spot.token.as_str()),
            (position, token),
            "{filter}"
        );
        assert_eq!(found.fault, Fault::Syntax, "{filter}");
    }
    for (order, position) in [
        ("s.Case.Subject", 2),
        ("s.Account.Tags", 10),
        ("s.Account.Story", 10),
        ("s.Account.Seat", 10),
        ("name", 0),
        ("sum(s.Case.Subject)", 11),
        ("count(s.Lead)", 8),
    ] {
        assert_eq!(problem("", order).spot.position, position, "{order}");
    }
}

#[test]
fn only_active_fields_that_are_there() {
    let passive = Fault::Passive("s.Account.Secret".to_owned());
    assert_eq!(
        problem("tracked = true AND s.Account(Secret : *)", "").fault,
        passive
    );
    assert_eq!(problem("", "domain, s.Account.Secret desc").fault, passive);
    let unknown = problem("s.Account.Nothing : *", "");
    assert_eq!(unknown.fault, Fault::Unknown("s.Account.Nothing".to_owned()));
    assert_eq!(unknown.spot.position, 10);
}

/// The condition of a filter, in a time zone.
fn node(filter: &str, zone: &str) -> Node {
    let text = Text {
        filter,
        query: "",
        order_by: "",
        // 2026-03-29, 00:30 in Berlin: the day on which the clocks skip an hour.
        now_us: 1_774_740_600_000_000,
        zone: &Zone::parse(zone).unwrap(),
    };
    match Plan::new(&sources(), &text).map(|plan| plan.filter) {
        Ok(Some(node)) => node,
        other => panic!("{filter}: {other:?}"),
    }
}

/// The expression of a condition on records.
fn records_in(filter: &str, zone: &str) -> Expr {
    match node(filter, zone) {
        Node::Records(0, expr) => expr,
        other => panic!("{filter}: {other:?}"),
    }
}

fn records(filter: &str) -> Expr {
    records_in(filter, "")
}

#[test]
fn picklists_are_compared_by_value_and_label() {
    let tier = |test| Expr::Value("Account/Tier/".to_owned(), test);
    let one_of = |values: &[&str]| {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        tier(Test::Text(TextTest::OneOf(values)))
    };
    let is = |text: &str| tier(Test::Text(TextTest::Is(text.to_owned())));
    // A value that is no label needs no more than the value.
    assert_eq!(records("s.Account.Tier = 17"), is("17"));
    let gold = Expr::Or(vec![is("gold"), one_of(&["17"])]);
    assert_eq!(records("s.Account.Tier = \"Gold\""), gold);
    let not = Expr::AndNot(Box::new(tier(Test::Set)), Box::new(gold));
    assert_eq!(records("s.Account.Tier != \"GOLD\""), not);
    for (filter, values) in [(": gold", &["17"][..]), (": \"gold*\"", &["17", "18"])] {
        let Expr::Or(words) = records(&format!("s.Account.Tier {filter}")) else {
            panic!("words of labels")
        };
        assert_eq!(words[1], one_of(values), "{filter}");
    }
    // Where there is a label, it is compared instead of the value.
    let less = tier(Test::Text(TextTest::Compare(
        Comparison::Less,
        "golden".to_owned(),
    )));
    let unlisted = Expr::AndNot(Box::new(less), Box::new(one_of(&["17", "18"])));
    assert_eq!(
        records("s.Account.Tier < \"Golden\""),
        Expr::Or(vec![one_of(&["17"]), unlisted])
    );
}

#[test]
fn fields_are_named_by_key_or_alias() {
    let expr = records("s.Account.\"A.B\" = 1");
    assert_eq!(records("s.Account.a_b = 1"), expr);
    assert_eq!(records("s.Account(a_b = 1)"), expr);
    // Without quotes, the error says how the field is written.
    assert!(
        problem("s.Account.A.B = 1", "")
            .message
            .ends_with("is written s.Account.a_b")
    );
    for filter in [
        "s.Account.9a = 1",
        "s.Account.a-b = 1",
        "s.Account.a b = 1",
        "s.Account.a.b.c = 1",
    ] {
        let message = problem(filter, "").message;
        assert!(
            message.contains("in quotes, or as its alias"),
            "{filter}: {message}"
        );
    }
}

#[test]
fn lists_and_ranges_are_of_one_record() {
    let staff = |comparison, number| {
        let test = Test::Number(comparison, Number::parse(number).unwrap());
        Expr::Value("Account/Staff/".to_owned(), test)
    };
    let both = Expr::And(vec![
        staff(Comparison::GreaterOrEqual, "1"),
        staff(Comparison::LessOrEqual, "5"),
    ]);
    assert_eq!(records("s.Account.Staff between 1 and 5"), both);
    assert_eq!(records("s.Account(Staff between 1 and 5)"), both);
    let equal = |number| staff(Comparison::Equal, number);
    assert_eq!(
        records("s.Account.Staff in (1, 5)"),
        Expr::Or(vec![equal("1"), equal("5")])
    );
    assert_eq!(records("s.Account.Staff in (1)"), equal("1"));
    assert_eq!(
        node("tracked in (true, false)", ""),
        Node::Or(vec![Node::Tracked(true), Node::Tracked(false)])
    );
}

#[test]
fn functions_take_texts_as_they_are() {
    let name = |before, text: &str, after| {
        let text = text.to_owned();
        let test = Test::Text(TextTest::Like { before, text, after });
        Expr::Value("Account/Name/".to_owned(), test)
    };
    for (filter, expr) in [
        ("starts_with(s.Account.Name, \"A*\")", name(false, "a*", true)),
        ("ends_with(s.Account.Name, Straße)", name(true, "strasse", false)),
        ("contains(s.Account.Name, 10)", name(true, "10", true)),
        ("s.Account(contains(Name, '*x'))", name(true, "*x", true)),
        (
            "contains(s.Account.Name, \"\")",
            Expr::Value("Account/Name/".to_owned(), Test::Set),
        ),
    ] {
        assert_eq!(records(filter), expr, "{filter}");
    }
    // Labels of picklists are found too.
    let Expr::Or(any) = records("starts_with(s.Account.Tier, gold)") else {
        panic!("value or label")
    };
    assert_eq!(any.len(), 2);
}

#[test]
fn days_are_those_of_the_time_zone() {
    const HOUR: i64 = 3_600_000_000;
    let seen = |from, to| Expr::Value("Account/Seen/".to_owned(), Test::Int(from, to));
    let founded = |day| Expr::Value("Account/Founded/".to_owned(), Test::Int(day, day));
    // 2026-03-29, and its first moment in UTC.
    let (day, utc) = (20_541, 20_541 * 24 * HOUR);
    for (filter, zone, expr) in [
        ("s.Account.Founded = today", "", founded(day - 1)),
        ("s.Account.Founded = today", "Europe/Berlin", founded(day)),
        ("s.Account.Founded = today-1m", "Europe/Berlin", founded(day - 29)),
        ("s.Account.Seen = 2026-03-29", "", seen(utc, utc + 24 * HOUR - 1)),
        // A day of 23 hours.
        (
            "s.Account.Seen = today",
            "Europe/Berlin",
            seen(utc - HOUR, utc + 22 * HOUR - 1),
        ),
        (
            "s.Account.Seen > 2026-03-29",
            "Europe/Berlin",
            seen(utc + 22 * HOUR, i64::MAX),
        ),
        (
            "s.Account.Seen < 2026-03-29",
            "America/New_York",
            seen(i64::MIN, utc + 4 * HOUR - 1),
        ),
        // The same time by the clocks: 00:30 in Berlin.
        (
            "s.Account.Seen >= now+1d",
            "Europe/Berlin",
            seen(utc + 22 * HOUR + HOUR / 2, i64::MAX),
        ),
        (
            "s.Account.Seen >= now+1d",
            "",
            seen(utc + 23 * HOUR + HOUR / 2, i64::MAX),
        ),
    ] {
        assert_eq!(records_in(filter, zone), expr, "{filter} in {zone:?}");
    }
}

#[test]
fn counts_and_sums() {
    let number = |text| Number::parse(text).unwrap();
    let test = |comparison, text| NumberTest::new(comparison, number(text));
    let Node::Measured(of, least) = node("count(s.Case(Subject : won)) >= 2", "") else {
        panic!("a count")
    };
    assert_eq!((of.source, of.measure), (0, Measure::Count));
    assert!(matches!(of.expr, Expr::Value(path, Test::Words(_)) if path == "Case/Subject/"));
    assert_eq!(least, test(Comparison::GreaterOrEqual, "2"));
    let revenue = Measure::Sum {
        path: "Account/Revenue/".to_owned(),
        currency: Some("Account/Revenue/currency_code".to_owned()),
    };
    let staff = Measure::Sum {
        path: "Account/Staff/".to_owned(),
        currency: None,
    };
    for (filter, measure, expected) in [
        (
            "sum(s.Account.Revenue.amount) < 1.5",
            revenue,
            test(Comparison::Less, "1.5"),
        ),
        ("sum(s.Account.Staff) : *", staff.clone(), NumberTest::set()),
        (
            "sum(s.Account.Staff) between 1 and 2",
            staff,
            NumberTest::all(vec![
                test(Comparison::GreaterOrEqual, "1"),
                test(Comparison::LessOrEqual, "2"),
            ]),
        ),
        (
            "count(s.Account) in (1, 2)",
            Measure::Count,
            NumberTest::any(vec![test(Comparison::Equal, "1"), test(Comparison::Equal, "2")]),
        ),
    ] {
        let Node::Measured(of, found) = node(filter, "") else {
            panic!("{filter}")
        };
        assert_eq!(of.expr, Expr::All("Account".to_owned()), "{filter}");
        assert_eq!((of.measure, found), (measure, expected), "{filter}");
    }
    let passing = |filter: &str, number: &str| match node(filter, "") {
        Node::Measured(_, test) => test.passes(&Number::parse(number).unwrap().into()),
        other => panic!("{other:?}"),
    };
    for (test, numbers) in [
        ("!= 2", [true, false, true, true]),
        ("between 2 and 3", [false, true, true, false]),
        ("between 3 and 2", [false; 4]),
        ("in (1.5, 1000000000000)", [true, false, false, true]),
        (": 3.0", [false, false, true, false]),
    ] {
        let filter = format!("sum(s.Account.Staff) {test}");
        let found = ["1.5", "2", "3", "1000000000000"].map(|number| passing(&filter, number));
        assert_eq!(found, numbers, "{filter}");
    }
}
