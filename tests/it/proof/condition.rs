//! Random conditions.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tether::domain::*;
use tether::index::text::{fold, words};

use super::values::*;

/// A random condition: what it says, kept apart from how it is written.
#[derive(Debug, Clone)]
pub(super) enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Field {
        source: usize,
        object: &'static str,
        key: &'static str,
        part: &'static str,
        op: &'static str,
        value: Val,
    },
    Same(usize, &'static str, Box<Cond>),
    Shown(&'static str, &'static str, Val),
    Tracked(&'static str, bool),
    Fed(&'static str, usize),
    Measured(Measure, &'static str, Val),
}

/// A count, or a sum of a field, over the records of an object.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) source: usize,
    pub(super) object: &'static str,
    pub(super) inner: Option<Box<Cond>>,
    pub(super) sum: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) enum Val {
    Any,
    Text(bool, String, bool),
    Plain(String),
    Relative(bool, i64, char),
    /// The values of `in`.
    List(Vec<Val>),
    /// The ends of `between`.
    Range(Box<Val>, Box<Val>),
}

pub(super) const ORDER_OPS: &[&str] = &["=", "!=", ":", "<", "<=", ">", ">="];
pub(super) const SAME_OPS: &[&str] = &["=", "!=", ":"];
pub(super) const FUNCTIONS: &[&str] = &["starts_with", "ends_with", "contains"];

pub(super) fn random_text(rng: &mut StdRng) -> String {
    let text = match rng.random_ratio(1, 8) {
        true => LABELS.choose(rng).unwrap().1,
        false => pick(rng, TEXTS),
    };
    if rng.random_bool(0.6) {
        return text.to_owned();
    }
    let count = text.chars().count();
    let from = rng.random_range(0..count);
    let to = rng.random_range(from..count) + 1;
    text.chars().skip(from).take(to - from).collect()
}

/// A condition on a field, some of them with several values.
pub(super) fn random_field(rng: &mut StdRng, source: usize, def: &Def) -> Cond {
    let mut cond = random_simple(rng, source, def);
    if let Cond::Field { part, op, value, .. } = &mut cond
        && !matches!(value, Val::Any)
        && rng.random_ratio(1, 3)
    {
        let mut more: Vec<Val> = Vec::new();
        let (ordered, first) = (["<", "<=", ">", ">="], *op);
        let alike = |other: &str| other == first || (ordered.contains(&first) && ordered.contains(&other));
        for _ in 0..8 {
            match random_simple(rng, source, def) {
                Cond::Field {
                    part: same,
                    op: other,
                    value,
                    ..
                } if same == *part && alike(other) && !matches!(value, Val::Any) => more.push(value),
                _ => {}
            }
        }
        if first == "=" {
            more.push(value.clone());
            (*op, *value) = ("in", Val::List(more));
        } else if ordered.contains(&first)
            && let Some(to) = more.pop()
        {
            (*op, *value) = ("between", Val::Range(Box::new(value.clone()), Box::new(to)));
        }
    }
    cond
}

fn random_simple(rng: &mut StdRng, source: usize, def: &Def) -> Cond {
    use FieldType as T;
    let parts: &[&str] = match def.kind {
        T::Reference => &["", "id", "label"],
        T::Address => &["city", "country_code", "street"],
        T::Location => &["latitude", "longitude"],
        T::Currency => &["", "amount", "currency_code"],
        _ => &[""],
    };
    let mut part = pick(rng, parts);
    let any = rng.random_ratio(1, 8);
    if any && rng.random_bool(0.5) {
        part = "";
    }
    let long = def.long || def.kind == T::Html;
    let text = |rng: &mut StdRng, stars: bool| {
        let star = |rng: &mut StdRng| stars && rng.random_ratio(1, 3);
        (star(rng), random_text(rng), star(rng))
    };
    let relative = |rng: &mut StdRng, now: bool| {
        Val::Relative(
            now,
            rng.random_range(-40..40),
            *['d', 'w', 'm', 'y'].choose(rng).unwrap(),
        )
    };
    let (op, value) = match def.kind {
        _ if any => (":", Val::Any),
        T::Currency if part == "currency_code" => {
            let text = pick(rng, &["eur", "USD", "C", "r"]).to_owned();
            (
                pick(rng, SAME_OPS),
                Val::Text(rng.random_bool(0.3), text, rng.random_bool(0.3)),
            )
        }
        T::Integer | T::Decimal | T::Currency | T::Percent | T::Location => {
            (pick(rng, ORDER_OPS), Val::Plain(pick(rng, NUMBERS).to_owned()))
        }
        T::Boolean => (
            pick(rng, SAME_OPS),
            Val::Plain(pick(rng, &["true", "false"]).to_owned()),
        ),
        T::Date => {
            let value = match rng.random_range(0..3) {
                0 => relative(rng, false),
                _ => Val::Plain(pick(rng, DATES).to_owned()),
            };
            (pick(rng, ORDER_OPS), value)
        }
        T::Timestamp => {
            let value = match rng.random_range(0..4) {
                0 => relative(rng, rng.clone().random_bool(0.5)),
                1 => Val::Plain(pick(rng, DATES).to_owned()),
                _ => Val::Plain(pick(rng, MOMENTS).to_owned()),
            };
            (pick(rng, ORDER_OPS), value)
        }
        T::Time => (pick(rng, ORDER_OPS), Val::Plain(pick(rng, TIMES).to_owned())),
        _ => {
            let op = if long || def.kind == T::MultiPicklist {
                pick(rng, SAME_OPS)
            } else {
                pick(rng, ORDER_OPS)
            };
            let op = if !long && rng.random_ratio(1, 5) {
                pick(rng, FUNCTIONS)
            } else {
                op
            };
            let (before, text, after) = text(
                rng,
                FUNCTIONS.contains(&op) || op == ":" || (SAME_OPS.contains(&op) && !long),
            );
            let wordless = words(&fold(&text)).next().is_none();
            let op = if op == ":" && wordless && def.kind != T::MultiPicklist {
                "="
            } else {
                op
            };
            if op != ":" && long {
                (op, Val::Text(false, text, false))
            } else {
                (op, Val::Text(before, text, after))
            }
        }
    };
    Cond::Field {
        source,
        object: def.object,
        key: def.key,
        part,
        op,
        value,
    }
}

pub(super) fn random_same(rng: &mut StdRng, source: usize, object: &'static str, depth: usize) -> Cond {
    let list = |rng: &mut StdRng| -> Vec<Cond> {
        (0..rng.random_range(2..4))
            .map(|_| random_same(rng, source, object, depth + 1))
            .collect()
    };
    match rng.random_range(0..if depth > 2 { 3 } else { 6 }) {
        3 => Cond::And(list(rng)),
        4 => Cond::Or(list(rng)),
        5 => Cond::Not(Box::new(random_same(rng, source, object, depth + 1))),
        _ => {
            let of: Vec<&Def> = FIELDS.iter().filter(|def| def.object == object).collect();
            let def = of.choose(rng).unwrap();
            random_field(rng, source, def)
        }
    }
}

pub(super) fn random_measure(rng: &mut StdRng) -> Measure {
    let source = rng.random_range(0..2);
    let sum = rng.random_bool(0.6);
    let (object, key) = *if sum {
        [
            ("Opportunity", "Amount"),
            ("Opportunity", "Amount"),
            ("Opportunity", "Weight"),
            ("Account", "Staff"),
            ("Account", "Revenue"),
        ]
        .choose(rng)
        .unwrap()
    } else {
        [("Opportunity", ""), ("Contact", ""), ("Account", "")]
            .choose(rng)
            .unwrap()
    };
    let inner = rng
        .random_bool(0.6)
        .then(|| Box::new(random_same(rng, source, object, 2)));
    Measure {
        source,
        object,
        inner,
        sum: sum.then_some(key),
    }
}

fn random_measured(rng: &mut StdRng) -> Cond {
    let measure = random_measure(rng);
    if measure.sum.is_some() && rng.random_ratio(1, 8) {
        return Cond::Measured(measure, ":", Val::Any);
    }
    let number = |rng: &mut StdRng| {
        let counts = &["0", "1", "2", "3", "1.5", "-1"];
        let some = if measure.sum.is_some() { NUMBERS } else { counts };
        Val::Plain(pick(rng, some).to_owned())
    };
    let (op, value) = match rng.random_range(0..8) {
        0 => ("in", Val::List((0..3).map(|_| number(rng)).collect())),
        1 => (
            "between",
            Val::Range(Box::new(number(rng)), Box::new(number(rng))),
        ),
        _ => (pick(rng, ORDER_OPS), number(rng)),
    };
    Cond::Measured(measure, op, value)
}

pub(super) fn random_cond(rng: &mut StdRng, depth: usize) -> Cond {
    let list = |rng: &mut StdRng| -> Vec<Cond> {
        (0..rng.random_range(2..4))
            .map(|_| random_cond(rng, depth + 1))
            .collect()
    };
    match rng.random_range(0..if depth > 3 { 8 } else { 14 }) {
        0 => {
            let object = pick(rng, &["Account", "Opportunity", "Contact"]);
            let object = FIELDS.iter().find(|def| def.object == object).unwrap().object;
            let source = rng.random_range(0..2);
            Cond::Same(source, object, Box::new(random_same(rng, source, object, 0)))
        }
        1 => {
            let what = pick(rng, &["display_name", "domain", "homepage_uri"]);
            let what = ["display_name", "domain", "homepage_uri"]
                .into_iter()
                .find(|one| *one == what)
                .unwrap();
            if rng.random_ratio(1, 6) {
                return Cond::Shown(what, ":", Val::Any);
            }
            let text = pick(
                rng,
                &[
                    "acme",
                    "acme1.com",
                    "Market",
                    "Societe",
                    "société générale",
                    "co",
                    "https://market1.co.uk/",
                    "zoo 3",
                ],
            );
            let op = *[ORDER_OPS, FUNCTIONS].concat().choose(rng).unwrap();
            let star = SAME_OPS.contains(&op);
            let (before, after) = (star && rng.random_bool(0.4), star && rng.random_bool(0.4));
            let value = Val::Text(before, text.to_owned(), after);
            match rng.random_range(0..6) {
                0 if op == "=" => {
                    let other = Val::Text(false, "Acme".to_owned(), false);
                    Cond::Shown(what, "in", Val::List(vec![value, other]))
                }
                1 => {
                    let [from, to] =
                        ["Acme", text].map(|text| Box::new(Val::Text(false, text.to_owned(), false)));
                    Cond::Shown(what, "between", Val::Range(from, to))
                }
                _ => Cond::Shown(what, op, value),
            }
        }
        2 if rng.random_bool(0.5) => Cond::Tracked(SAME_OPS.choose(rng).unwrap(), rng.random_bool(0.5)),
        2 if rng.random_ratio(1, 4) => Cond::Fed("in", 0),
        2 => Cond::Fed(SAME_OPS.choose(rng).unwrap(), rng.random_range(0..2)),
        3 => random_measured(rng),
        8 | 9 => Cond::And(list(rng)),
        10 | 11 => Cond::Or(list(rng)),
        12 | 13 => Cond::Not(Box::new(random_cond(rng, depth + 1))),
        _ => {
            let source = rng.random_range(0..2);
            let def = FIELDS.choose(rng).unwrap();
            random_field(rng, source, def)
        }
    }
}
