//! Random conditions, and how they are written as a filter.

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
}

#[derive(Debug, Clone)]
pub(super) enum Val {
    Any,
    Text(bool, String, bool),
    Plain(String),
    Relative(bool, i64, char),
}

pub(super) const ORDER_OPS: &[&str] = &["=", "!=", ":", "<", "<=", ">", ">="];
pub(super) const SAME_OPS: &[&str] = &["=", "!=", ":"];

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

pub(super) fn random_field(rng: &mut StdRng, source: usize, def: &Def) -> Cond {
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
            let (before, text, after) = text(rng, op == ":" || (SAME_OPS.contains(&op) && !long));
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
            let op = ORDER_OPS.choose(rng).unwrap();
            let star = SAME_OPS.contains(op);
            let (before, after) = (star && rng.random_bool(0.4), star && rng.random_bool(0.4));
            Cond::Shown(what, op, Val::Text(before, text.to_owned(), after))
        }
        2 if rng.random_bool(0.5) => Cond::Tracked(SAME_OPS.choose(rng).unwrap(), rng.random_bool(0.5)),
        2 => Cond::Fed(SAME_OPS.choose(rng).unwrap(), rng.random_range(0..2)),
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

pub(super) fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| {
            if matches!(c, '"' | '\\' | '*') {
                vec!['\\', c]
            } else {
                vec![c]
            }
        })
        .collect();
    format!("\"{escaped}\"")
}

pub(super) fn key_text(key: &str) -> String {
    if key == "last_name" {
        // The plain key names the field that has it as its alias.
        alias_of(key).to_owned()
    } else if key.contains(' ') || key == "NOT" {
        quoted(key)
    } else {
        key.to_owned()
    }
}

/// A number that differs between conditions.
fn value_length(value: &Val) -> usize {
    match value {
        Val::Any => 0,
        Val::Text(_, text, _) | Val::Plain(text) => text.len(),
        Val::Relative(..) => 1,
    }
}

pub(super) fn write_value(value: &Val) -> String {
    match value {
        Val::Any => "*".to_owned(),
        Val::Text(before, text, after) => {
            let star = |is: &bool| if *is { "*" } else { "" };
            let text = quoted(text);
            format!("\"{}{}{}\"", star(before), &text[1..text.len() - 1], star(after))
        }
        Val::Plain(text) => text.clone(),
        Val::Relative(now, amount, unit) => {
            let word = if *now { "now" } else { "today" };
            let sign = if *amount < 0 { '-' } else { '+' };
            format!("{word}{sign}{}{unit}", amount.abs())
        }
    }
}

/// Writes a condition as a filter. Parentheses are left out where AND and OR make them so by themselves.
pub(super) fn write_cond(cond: &Cond, same: bool, inside_or: bool) -> String {
    let join = |all: &[Cond], word: &str, or: bool| {
        all.iter()
            .map(|one| write_cond(one, same, or))
            .collect::<Vec<_>>()
            .join(word)
    };
    match cond {
        Cond::And(all) => {
            format!("({})", join(all, " AND ", false))
        }
        Cond::Or(all) if inside_or => format!("({})", join(all, " OR ", true)),
        Cond::Or(all) => join(all, " OR ", true),
        Cond::Not(one) => format!("NOT ({})", write_cond(one, same, false)),
        Cond::Field {
            source,
            object,
            key,
            part,
            op,
            value,
        } => {
            // A field with an alias is named by it or by its key.
            let aliased = !alias_of(key).is_empty() && value_length(value).is_multiple_of(2);
            let mut path = if aliased {
                alias_of(key).to_owned()
            } else {
                key_text(key)
            };
            if !same {
                path = format!("{}.{object}.{path}", ["one", "two"][*source]);
            }
            if !part.is_empty() {
                path = format!("{path}.{part}");
            }
            format!("{path} {op} {}", write_value(value))
        }
        Cond::Same(source, object, one) => {
            format!(
                "{}.{object}({})",
                ["one", "two"][*source],
                write_cond(one, true, false)
            )
        }
        Cond::Shown(what, op, value) => format!("{what}{op}{}", write_value(value)),
        Cond::Tracked(op, yes) => format!("tracked {op} {yes}"),
        Cond::Fed(op, source) => format!("source{op}{}", ["one", "two"][*source]),
    }
}
