//! Tests of the grammar: what is parsed, and the positions of errors.

use super::super::ast::{Operator, Relation};
use super::*;
use proptest::prelude::*;

/// Writes a filter with all parentheses, to show how it was parsed.
fn shape(ast: &Ast) -> String {
    let list =
        |all: &[Ast], word: &str| format!("({})", all.iter().map(shape).collect::<Vec<_>>().join(word));
    match ast {
        Ast::And(all) => list(all, " AND "),
        Ast::Or(any) => list(any, " OR "),
        Ast::Not(one) => format!("NOT {}", shape(one)),
        Ast::Same { label, object, inner } => {
            format!("{}.{}({})", label.spot.token, object.spot.token, shape(inner))
        }
        Ast::Restriction {
            subject,
            relation,
            at,
            values,
        } => {
            let subject = shape_of(subject);
            let values: Vec<_> = values.iter().map(|value| value.at.token.as_str()).collect();
            match relation {
                Relation::Compare(Operator::StartsWith | Operator::EndsWith | Operator::Contains) => {
                    format!("{}({subject},{})", at.token, values[0])
                }
                Relation::Compare(_) => format!("{subject}{}{}", at.token, values[0]),
                Relation::In => format!("{subject} {}({})", at.token, values.join(",")),
                Relation::Between => format!("{subject} {} {}", at.token, values.join(" and ")),
            }
        }
    }
}

fn joined(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(|name| name.spot.token.as_str()).collect();
    names.join(".")
}

fn shape_of(subject: &Subject) -> String {
    match subject {
        Subject::Field(names) => joined(names),
        Subject::Measure(of) => {
            let inner = of.inner.as_ref().map(|inner| format!("({})", shape(inner)));
            let dot = if of.field.is_empty() { "" } else { "." };
            format!(
                "{}({}.{}{}{dot}{})",
                of.function.text,
                of.label.spot.token,
                of.object.spot.token,
                inner.unwrap_or_default(),
                joined(&of.field)
            )
        }
    }
}

fn shaped(text: &str) -> String {
    filter(text).unwrap().map(|ast| shape(&ast)).unwrap_or_default()
}

#[test]
fn or_binds_tighter_than_and() {
    assert_eq!(shaped("a=1 AND b=2 OR c=3"), "(a=1 AND (b=2 OR c=3))");
    assert_eq!(shaped("-a=1 OR NOT b=2"), "(NOT a=1 OR NOT b=2)");
    assert_eq!(shaped("(a=1 AND b=2) OR c=3"), "((a=1 AND b=2) OR c=3)");
    assert_eq!(shaped("  "), "");
    assert_eq!(
        shaped("s.O(x : 'a*' AND NOT \"y z\".id >= -1.5)"),
        "s.O((x:'a*' AND NOT \"y z\".id>=-1.5))"
    );
    assert_eq!(shaped("a.b.c<today - 3m AND d:*"), "(a.b.c<today - 3m AND d:*)");
}

#[test]
fn lists_ranges_and_functions() {
    for (text, shape) in [
        ("a in (1, 'x*' ,today - 3m)", "a in(1,'x*',today - 3m)"),
        ("a in(b)", "a in(b)"),
        ("in in (in)", "in in(in)"),
        ("a between 1 and 5 AND b = 2", "(a between 1 and 5 AND b=2)"),
        (
            "a.b.c between today-1y and today OR b = 2",
            "(a.b.c between today-1y and today OR b=2)",
        ),
        ("starts_with( a.b.c , \"x\" )", "starts_with(a.b.c,\"x\")"),
        (
            "NOT s.O(contains(x.id, y) AND ends_with(z, 1))",
            "NOT s.O((contains(x.id,y) AND ends_with(z,1)))",
        ),
        // Names of functions are keys where no parenthesis follows.
        ("s.O(count > 3 AND contains = a)", "s.O((count>3 AND contains=a))"),
        ("count(s.O) >= 2", "count(s.O)>=2"),
        (
            "count( s.\"My O\" (a = 1 OR b = 2) ) in (0, 5)",
            "count(s.\"My O\"((a=1 OR b=2))) in(0,5)",
        ),
        ("-sum(s.O.A) between 1 and 2", "NOT sum(s.O.A) between 1 and 2"),
        (
            "sum(s.O(a = 1).\"A b\".amount) : *",
            "sum(s.O(a=1).\"A b\".amount):*",
        ),
    ] {
        assert_eq!(shaped(text), shape, "{text}");
    }
}

#[test]
fn each_fault_is_pointed_at() {
    for (text, position, token) in [
        ("industry", 8, ""),
        ("a = ", 4, ""),
        ("a = 1 b = 2", 6, "b"),
        ("a = 1 and b = 2", 6, "and"),
        ("(a = 1", 6, ""),
        ("a = 1)", 5, ")"),
        ("a = 3M", 4, "3M"),
        ("a = 2026-02-30", 4, "2026-02-30"),
        ("a = \"x", 4, "\""),
        (r#"a = "x\n""#, 6, "\\"),
        ("AND a = 1", 0, "AND"),
        ("NOT NOT a = 1", 4, "NOT"),
        ("a.b.c.d.e = 1", 8, "e"),
        ("a = today-3", 10, "3"),
        ("é = 1 ! b", 6, "!"),
        ("a.b.c(x = 1)", 5, "("),
        ("a in 1", 5, "1"),
        ("a in ()", 6, ")"),
        ("a in (1, *)", 9, "*"),
        ("a in (1 2)", 8, "2"),
        ("a in (1", 7, ""),
        ("a IN (1)", 2, "IN"),
        ("a not in (1)", 2, "not"),
        ("a BETWEEN 1 and 2", 2, "BETWEEN"),
        ("a between 1 AND 2", 12, "AND"),
        ("a between 1", 11, ""),
        ("a between * and 1", 10, "*"),
        ("f(a, 1)", 0, "f"),
        ("Contains(a, 1)", 0, "Contains"),
        ("\"contains\"(a, 1)", 0, "\"contains\""),
        ("contains(a)", 10, ")"),
        ("contains(a, )", 12, ")"),
        ("contains(a, b, c)", 13, ","),
        ("contains(a, *)", 12, "*"),
        ("a.b.c contains x", 6, "contains"),
        ("count(O) > 1", 6, "O"),
        ("count(s.O.A) > 1", 10, "A"),
        ("count(s.O(a=1).A) > 1", 15, "A"),
        ("count(s.O", 9, ""),
        ("count(s.O)", 10, ""),
        ("COUNT(s.O) > 1", 0, "COUNT"),
        ("sum(s.O) > 1", 6, "O"),
        ("sum(s.O(a=1)) > 1", 6, "O"),
        ("sum(s.O.A(a=1)) > 1", 9, "("),
        ("sum(s.O(a=1).A.b.c) > 1", 6, "O"),
        ("count(s.O(a=1) > 1", 15, ">"),
    ] {
        let problem = filter(text).unwrap_err();
        assert_eq!(
            (problem.spot.position, problem.spot.token.as_str()),
            (position, token),
            "{text}"
        );
    }
}

#[test]
fn limits() {
    let deep = |levels: usize| format!("{}a=1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(filter(&deep(32)).is_ok());
    assert_eq!(filter(&deep(33)).unwrap_err().spot.position, 33);
    let many = |count: usize| vec!["a=1"; count].join(" OR ");
    assert!(filter(&many(200)).is_ok());
    assert_eq!(filter(&many(201)).unwrap_err().spot.position, 200 * 7);
    // Each value counts.
    let list = |count: usize| format!("a in ({})", vec!["1"; count].join(","));
    assert!(filter(&list(200)).is_ok());
    assert_eq!(filter(&list(201)).unwrap_err().spot.position, 6 + 200 * 2);
    let measures = |count: usize| vec!["count(s.O)=1"; count].join(" OR ");
    assert!(filter(&measures(10)).is_ok());
    assert_eq!(filter(&measures(11)).unwrap_err().spot.position, 10 * 16);
    assert!(filter(&format!("a='{}'", "ä".repeat(4_092))).is_ok());
    assert_eq!(
        filter(&format!("a='{}'", "ä".repeat(4_093)))
            .unwrap_err()
            .spot
            .position,
        4_096
    );
}

#[test]
fn orders() {
    let text = "display_name, s.Account.\"A B\" desc ,domain asc,count(s.O( a = 1 ))desc, sum(s.O.A)";
    let keys = order(text).unwrap();
    let shape: Vec<_> = keys
        .iter()
        .map(|key| (shape_of(&key.subject), key.descending))
        .collect();
    assert_eq!(
        shape,
        [
            ("display_name".into(), false),
            ("s.Account.\"A B\"".into(), true),
            ("domain".into(), false),
            ("count(s.O(a=1))".into(), true),
            ("sum(s.O.A)".into(), false),
        ]
    );
    for (text, position) in [
        ("a,", 2),
        ("a up", 2),
        ("a,b,c,d,e,f", 10),
        ("contains(a, b)", 0),
        ("count(a)", 6),
        ("count(a.b) > 1", 11),
        ("s.O(a = 1)", 0),
    ] {
        assert_eq!(order(text).unwrap_err().spot.position, position, "{text}");
    }
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in "\\PC{0,80}") {
        let _ = filter(&text);
        let _ = order(&text);
        let _ = field(&text);
    }

    #[test]
    fn near_filters_never_panic(text in "([a-z_.()\"'*\\\\=!<>:0-9T Zé-]|AND|OR|NOT|today| in \\(| between | and |,|count\\(|sum\\(|contains\\(){0,60}") {
        if let Ok(Some(ast)) = filter(&text) {
            // Text written from a syntax tree parses to the same tree.
            let once = shape(&ast);
            prop_assert_eq!(shaped(&once), once);
        }
    }
}
