//! Tests of the grammar: what is parsed, and the positions of errors.

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
            format!("{}.{}({})", label.text, object.spot.token, shape(inner))
        }
        Ast::Restriction {
            field, at, value_at, ..
        } => {
            let names: Vec<_> = field.iter().map(|name| name.spot.token.as_str()).collect();
            format!("{}{}{}", names.join("."), at.token, value_at.token)
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
    let keys = order("display_name, s.Account.\"A B\" desc ,domain asc").unwrap();
    let shape: Vec<_> = keys
        .iter()
        .map(|(names, descending)| (names.last().unwrap().text.clone(), *descending))
        .collect();
    assert_eq!(
        shape,
        [
            ("display_name".into(), false),
            ("A B".into(), true),
            ("domain".into(), false)
        ]
    );
    for (text, position) in [("a,", 2), ("a up", 2), ("a,b,c,d,e,f", 10)] {
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
    fn near_filters_never_panic(text in "([a-z_.()\"'*\\\\=!<>:0-9T Zé-]|AND|OR|NOT|today){0,60}") {
        if let Ok(Some(ast)) = filter(&text) {
            // Text written from a syntax tree parses to the same tree.
            let once = shape(&ast);
            prop_assert_eq!(shaped(&once), once);
        }
    }
}
