//! WHERE: conditions checked against the fields' types, then evaluated for rows.

use std::cmp::Ordering;

use super::ast::{Cond, Literal, Op, Path};
use super::eval;
use super::lexer::{LITERAL_PERCENT, LITERAL_UNDERSCORE};
use super::plan::{Access, Scope};
use crate::errors::Error;
use crate::ids;
use crate::org::{Org, Row};
use crate::schema::Field;
use crate::value::Value;

/// A condition that can be evaluated for a row.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Compare {
        cell: Access,
        op: Op,
        value: Value,
    },
    /// A date literal such as TODAY: a range without its end.
    Within {
        cell: Access,
        op: Op,
        from: Value,
        to: Value,
    },
    In {
        cell: Access,
        not: bool,
        values: Vec<Value>,
    },
    Like {
        cell: Access,
        pattern: Vec<char>,
    },
    /// Each entry is a set of values that must all be chosen.
    Includes {
        cell: Access,
        not: bool,
        sets: Vec<Vec<String>>,
    },
}

pub(crate) fn compile(scope: &Scope<'_>, cond: &Cond) -> Result<Test, Error> {
    let all = |conds: &[Cond]| {
        conds
            .iter()
            .map(|c| compile(scope, c))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match cond {
        Cond::And(conds) => Test::And(all(conds)?),
        Cond::Or(conds) => Test::Or(all(conds)?),
        Cond::Not(cond) => Test::Not(Box::new(compile(scope, cond)?)),
        Cond::Compare {
            path,
            op: Op::Like,
            value,
            at,
        } => {
            let cell = filterable(scope, path)?;
            let pattern = match value {
                Literal::Text(text) if is_text(&cell.field) => {
                    text.chars().flat_map(char::to_lowercase).collect()
                }
                Literal::Text(_) => {
                    return Err(scope.error(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        path.at,
                        "invalid operator on field",
                    ));
                }
                _ => return Err(mismatch(scope, &cell.field, *at)),
            };
            Test::Like { cell, pattern }
        }
        Cond::Compare { path, op, value, at } => compare(scope, path, *op, value, *at)?,
        Cond::In {
            path,
            not,
            values,
            at,
        } => {
            let cell = filterable(scope, path)?;
            let values = values
                .iter()
                .map(|v| typed(scope, &cell.field, v, *at))
                .collect::<Result<_, _>>()?;
            Test::In {
                cell,
                not: *not,
                values,
            }
        }
        Cond::InQuery { path, not, query } => {
            let cell = filterable(scope, path)?;
            let inner = super::plan::plan(scope.viewer, scope.soql, query)?;
            let Some((_, super::plan::Item::Cell(field))) = inner.node.items.first() else {
                return Err(scope.error("MALFORMED_QUERY", query.from.at, "a semi join selects one field"));
            };
            let rows = eval::rows(scope.viewer.org, &inner, false);
            let cell_of = |row| {
                scope.viewer.org.cell(
                    Row {
                        table: inner.table,
                        row,
                    },
                    field,
                )
            };
            let values = rows.into_iter().map(cell_of).filter(|v| !v.is_null()).collect();
            Test::In {
                cell,
                not: *not,
                values,
            }
        }
        Cond::Includes { path, not, values } => {
            let cell = filterable(scope, path)?;
            if cell.field.kind != "multipicklist" {
                return Err(scope.error(
                    "INVALID_QUERY_FILTER_OPERATOR",
                    path.at,
                    "includes or excludes operator only valid on multipicklist field",
                ));
            }
            let sets = values
                .iter()
                .map(|v| plain(v).split(';').map(str::to_owned).collect())
                .collect();
            Test::Includes {
                cell,
                not: *not,
                sets,
            }
        }
    })
}

fn filterable(scope: &Scope<'_>, path: &Path) -> Result<Access, Error> {
    let cell = scope.access(path)?;
    if !cell.field.filterable || matches!(cell.field.kind, "address" | "location") {
        let message = format!("field '{}' can not be filtered in a query call", cell.field.name);
        return Err(scope.error("INVALID_FIELD", path.at, &message));
    }
    Ok(cell)
}

fn compare(scope: &Scope<'_>, path: &Path, op: Op, value: &Literal, at: usize) -> Result<Test, Error> {
    let cell = filterable(scope, path)?;
    if let Literal::Days(from, to) = value {
        let (from, to) = match cell.field.kind {
            "date" => (Value::Date(*from), Value::Date(*to)),
            "datetime" => (
                Value::Instant(i64::from(*from) * 86_400),
                Value::Instant(i64::from(*to) * 86_400),
            ),
            _ => return Err(mismatch(scope, &cell.field, at)),
        };
        return Ok(Test::Within { cell, op, from, to });
    }
    let value = typed(scope, &cell.field, value, at)?;
    Ok(Test::Compare { cell, op, value })
}

fn is_text(field: &Field) -> bool {
    matches!(
        field.kind,
        "string" | "textarea" | "picklist" | "combobox" | "phone" | "url" | "email" | "multipicklist"
    )
}

/// A literal, converted to the field's type.
fn typed(scope: &Scope<'_>, field: &Field, literal: &Literal, at: usize) -> Result<Value, Error> {
    let value = match (field.kind, literal) {
        (_, Literal::Null) => Value::Null,
        ("id" | "reference", Literal::Text(id)) => {
            let id = plain(id);
            if id.is_empty() {
                return Ok(Value::Null);
            }
            if ids::normalise(&id).is_none() {
                let message = format!("invalid ID field: {id}");
                return Err(scope.error("INVALID_QUERY_FILTER_OPERATOR", at, &message));
            }
            match scope.viewer.org.locate(&id) {
                Some(row) => Value::Id(scope.viewer.org.schema.objects[row.table].prefix, row.row),
                None => Value::text(id),
            }
        }
        ("boolean", Literal::Bool(b)) => Value::Bool(*b),
        ("int" | "long" | "double" | "currency" | "percent", Literal::Int(n)) => Value::Num(*n as f64),
        ("int" | "long" | "double" | "currency" | "percent", Literal::Num(n)) => Value::Num(*n),
        ("date", Literal::Date(days)) => Value::Date(*days),
        ("datetime", Literal::Instant(at)) => Value::Instant(*at),
        // An empty text is null.
        (_, Literal::Text(text)) if is_text(field) && text.is_empty() => Value::Null,
        (_, Literal::Text(text)) if is_text(field) => Value::text(plain(text)),
        _ => return Err(mismatch(scope, field, at)),
    };
    Ok(value)
}

fn mismatch(scope: &Scope<'_>, field: &Field, at: usize) -> Error {
    let kind = match field.kind {
        "datetime" => "dateTime",
        "currency" | "percent" => "double",
        "id" | "reference" => "id",
        kind if is_text(field) && kind != "boolean" => "string",
        kind => kind,
    };
    let quotes = if matches!(kind, "string" | "id") {
        "should"
    } else {
        "should not"
    };
    let message = format!(
        "value of filter criterion for field '{}' must be of type {kind} and {quotes} be enclosed in quotes",
        field.name
    );
    scope.error("INVALID_FIELD", at, &message)
}

/// A text that is not a LIKE pattern.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            LITERAL_UNDERSCORE => '_',
            LITERAL_PERCENT => '%',
            c => c,
        })
        .collect()
}

impl Access {
    pub(crate) fn read(&self, org: &Org, at: Row) -> Value {
        let mut at = at;
        for hop in &self.hops {
            match org.follow(&org.cell(at, hop)) {
                Some(next) => at = next,
                None => return Value::Null,
            }
        }
        match (self.polymorphic, self.field.name.as_str()) {
            (false, _) => org.cell(at, &self.field),
            (true, "Type") => Value::text(org.schema.objects[at.table].name),
            (true, name) => org.cell_named(at, name),
        }
    }
}

impl Test {
    /// Whether a row passes. There are only two results: unknown in SQL is false here, except that every value
    /// differs from null.
    pub(crate) fn passes(&self, org: &Org, at: Row) -> bool {
        match self {
            Test::And(tests) => tests.iter().all(|t| t.passes(org, at)),
            Test::Or(tests) => tests.iter().any(|t| t.passes(org, at)),
            Test::Not(test) => !test.passes(org, at),
            Test::Compare { cell, op, value } => {
                let found = cell.read(org, at);
                if found.is_null() || value.is_null() {
                    let both = found.is_null() && value.is_null();
                    return match op {
                        Op::Eq => both,
                        Op::Ne => !both,
                        _ => false,
                    };
                }
                holds(*op, order(&cell.field, &found, value))
            }
            Test::Within { cell, op, from, to } => {
                let found = cell.read(org, at);
                if found.is_null() {
                    return *op == Op::Ne;
                }
                let (early, late) = (
                    found.order(from) == Ordering::Less,
                    found.order(to) != Ordering::Less,
                );
                match op {
                    Op::Lt => early,
                    Op::Le => !late,
                    Op::Gt => late,
                    Op::Ge => !early,
                    Op::Ne => early || late,
                    Op::Eq | Op::Like => !early && !late,
                }
            }
            Test::In { cell, not, values } => {
                let found = cell.read(org, at);
                let is_in = values.iter().any(|v| match (found.is_null(), v.is_null()) {
                    (false, false) => order(&cell.field, &found, v) == Ordering::Equal,
                    (a, b) => a && b,
                });
                is_in != *not
            }
            Test::Like { cell, pattern } => {
                let found = cell.read(org, at);
                !found.is_null() && {
                    let text: Vec<char> = found.as_text().chars().flat_map(char::to_lowercase).collect();
                    like(&text, pattern)
                }
            }
            Test::Includes { cell, not, sets } => {
                let found = cell.read(org, at);
                let text = found.as_text();
                let chosen: Vec<&str> = text.split(';').collect();
                let has = |v: &String| chosen.iter().any(|c| c.eq_ignore_ascii_case(v));
                sets.iter().any(|set| set.iter().all(has)) != *not
            }
        }
    }
}

fn order(field: &Field, a: &Value, b: &Value) -> Ordering {
    match (field.kind, a, b) {
        ("id" | "reference", Value::Text(a), Value::Text(b)) => a.get(..15).cmp(&b.get(..15)),
        (_, Value::Text(a), Value::Text(b)) if field.case_sensitive => a.cmp(b),
        _ => a.order(b),
    }
}

fn holds(op: Op, order: Ordering) -> bool {
    match op {
        Op::Eq | Op::Like => order == Ordering::Equal,
        Op::Ne => order != Ordering::Equal,
        Op::Lt => order == Ordering::Less,
        Op::Le => order != Ordering::Greater,
        Op::Gt => order == Ordering::Greater,
        Op::Ge => order != Ordering::Less,
    }
}

/// Matches `%` and `_`, with backtracking to the last `%`.
fn like(text: &[char], pattern: &[char]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let same = pattern.get(p).is_some_and(|c| match *c {
            '%' => false,
            '_' => true,
            LITERAL_UNDERSCORE => text[t] == '_',
            LITERAL_PERCENT => text[t] == '%',
            c => c == text[t],
        });
        if same {
            (t, p) = (t + 1, p + 1);
        } else if pattern.get(p) == Some(&'%') {
            back = Some((p, t));
            p += 1;
        } else if let Some((percent, from)) = back {
            back = Some((percent, from + 1));
            (t, p) = (from + 1, percent + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    #[test]
    fn like_patterns() {
        let like = |text: &str, pattern: &str| {
            super::like(
                &text.chars().collect::<Vec<_>>(),
                &pattern.chars().collect::<Vec<_>>(),
            )
        };
        assert!(like("acme", "ac%") && like("acme", "%m_") && like("acme", "%") && like("aaab", "%ab"));
        assert!(!like("acme", "cm%") && !like("acme", "acme_") && !like("", "_") && like("", "%"));
        assert!(like("a_c", "a\u{e05f}c") && !like("abc", "a\u{e05f}c"));
    }
}
