//! Tests of the errors in filters and orders, with their positions.

use super::super::problem::Fault;
use super::super::resolve::Field;
use super::*;
use crate::domain::IntegrationId;
use crate::index::{Comparison, Expr, Test, TextTest};
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
        ("Secret", FieldType::Text, false, false),
        ("Tier", FieldType::Picklist, false, true),
        ("A.B", FieldType::Integer, false, true),
    ];
    let object = |object: &str, key: &str| Field {
        object: object.to_owned(),
        ..field((key, FieldType::Text, false, true))
    };
    vec![Source {
        integration: IntegrationId::new(),
        label: "s".to_owned(),
        company_object: "Account".to_owned(),
        fields: fields
            .map(field)
            .into_iter()
            .chain([object("Case", "Subject")])
            .collect(),
    }]
}

fn problem(filter: &str, order_by: &str) -> Problem {
    let text = Text {
        filter,
        query: "",
        order_by,
        now_us: 0,
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

/// The expression of a condition on records.
fn records(filter: &str) -> Expr {
    let text = Text {
        filter,
        query: "",
        order_by: "",
        now_us: 0,
    };
    match Plan::new(&sources(), &text).map(|plan| plan.filter) {
        Ok(Some(Node::Records(0, expr))) => expr,
        other => panic!("{filter}: {other:?}"),
    }
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
