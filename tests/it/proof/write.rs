//! How conditions are written as a filter.

use super::condition::{Cond, FUNCTIONS, Measure, Val};
use super::values::*;

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
        Val::List(all) => all.len(),
        Val::Range(..) => 2,
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
        Val::List(all) => {
            let all: Vec<_> = all.iter().map(write_value).collect();
            format!("({})", all.join(", "))
        }
        Val::Range(from, to) => format!("{} and {}", write_value(from), write_value(to)),
    }
}

/// Writes a condition on a field or a measure.
fn write_one(what: &str, op: &str, value: &Val) -> String {
    if FUNCTIONS.contains(&op) {
        return format!("{op}({what}, {})", write_value(value));
    }
    format!("{what} {op} {}", write_value(value))
}

pub(super) fn write_measure(measure: &Measure) -> String {
    let inner = measure.inner.as_ref();
    let inner = inner.map(|inner| format!("({})", write_cond(inner, true, false)));
    let of = format!(
        "{}.{}{}",
        ["one", "two"][measure.source],
        measure.object,
        inner.unwrap_or_default()
    );
    match measure.sum {
        Some(key) => format!("sum({of}.{key})"),
        None => format!("count({of})"),
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
            write_one(&path, op, value)
        }
        Cond::Same(source, object, one) => {
            format!(
                "{}.{object}({})",
                ["one", "two"][*source],
                write_cond(one, true, false)
            )
        }
        Cond::Shown(what, op, value) => write_one(what, op, value),
        Cond::Measured(measure, op, value) => write_one(&write_measure(measure), op, value),
        Cond::Tracked(op, yes) => format!("tracked {op} {yes}"),
        Cond::Fed("in", _) => "source in (one, two)".to_owned(),
        Cond::Fed(op, source) => format!("source{op}{}", ["one", "two"][*source]),
    }
}
