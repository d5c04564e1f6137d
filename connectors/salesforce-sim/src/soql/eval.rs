//! Selects the rows of a plan, and reads as little of the table as possible.

use std::cmp::Ordering;
use std::ops::Range;

use super::ast::Op;
use super::filter::Test;
use super::plan::{Access, Plan, Sort};
use crate::ids;
use crate::org::make::{Maker, rows_stamped};
use crate::org::{Org, Row};
use crate::value::Value;

/// The rows that can match.
enum Candidates {
    Range(Range<u32>),
    /// In id order.
    List(Vec<u32>),
}

/// The rows of a query, in its order.
pub(crate) fn rows(org: &Org, plan: &Plan, all: bool) -> Vec<u32> {
    let table = &org.tables[plan.table];
    let candidates = match &plan.test {
        Some(test) => narrow(org, plan.table, test, table.range()),
        None => Candidates::Range(table.range()),
    };
    match candidates {
        Candidates::Range(range) => select(org, plan, all, range),
        Candidates::List(list) => select(org, plan, all, list.into_iter()),
    }
}

/// The children of one row, in the sub-query's order.
pub(crate) fn children(
    org: &Org,
    plan: &Plan,
    reference: &crate::schema::Field,
    parent: Row,
    all: bool,
) -> Vec<u32> {
    if reference.maker == Maker::Account {
        let list = org.rows_of_account(plan.table, parent.row);
        return select(org, plan, all, list.into_iter());
    }
    let prefix = org.schema.objects[parent.table].prefix;
    let own = Value::Id(prefix, parent.row);
    let list = org.tables[plan.table].range().filter(|row| {
        org.cell(
            Row {
                table: plan.table,
                row: *row,
            },
            reference,
        ) == own
    });
    select(org, plan, all, list.collect::<Vec<_>>().into_iter())
}

fn select(org: &Org, plan: &Plan, all: bool, candidates: impl DoubleEndedIterator<Item = u32>) -> Vec<u32> {
    let table = &org.tables[plan.table];
    let matches = |row: &u32| {
        let at = Row {
            table: plan.table,
            row: *row,
        };
        (if all { table.exists(*row) } else { table.live(*row) })
            && !plan.unshared.contains(&at)
            && plan.test.as_ref().is_none_or(|t| t.passes(org, at))
    };
    let skip = plan.offset as usize;
    let take = plan.limit.map_or(usize::MAX, |n| n as usize);
    // Ids are unique, so later ORDER BY fields have no effect, and rows are stored in the order of ids.
    match plan.order.first() {
        None => candidates.filter(matches).skip(skip).take(take).collect(),
        Some(sort) if is_own_id(&sort.by) && !sort.descending => {
            candidates.filter(matches).skip(skip).take(take).collect()
        }
        Some(sort) if is_own_id(&sort.by) => candidates.rev().filter(matches).skip(skip).take(take).collect(),
        Some(_) => {
            let mut found: Vec<(Vec<Value>, u32)> = candidates
                .filter(matches)
                .map(|row| {
                    let at = Row {
                        table: plan.table,
                        row,
                    };
                    (plan.order.iter().map(|s| s.by.read(org, at)).collect(), row)
                })
                .collect();
            found.sort_by(|a, b| order(&plan.order, &a.0, &b.0).then(a.1.cmp(&b.1)));
            found
                .into_iter()
                .map(|(_, row)| row)
                .skip(skip)
                .take(take)
                .collect()
        }
    }
}

fn order(sorts: &[Sort], a: &[Value], b: &[Value]) -> Ordering {
    for ((sort, a), b) in sorts.iter().zip(a).zip(b) {
        let order = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if sort.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if sort.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if sort.descending => b.order(a),
            (false, false) => a.order(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn is_own_id(cell: &Access) -> bool {
    cell.hops.is_empty() && cell.field.kind == "id"
}

/// Narrows by ids and by accounts, like Salesforce's indexes; every candidate is tested completely afterwards.
fn narrow(org: &Org, table: usize, test: &Test, whole: Range<u32>) -> Candidates {
    let conjuncts = match test {
        Test::And(tests) => tests.as_slice(),
        one => std::slice::from_ref(one),
    };
    let prefix = org.schema.objects[table].prefix;
    let mut range = whole;
    let mut list: Option<Vec<u32>> = None;
    let mut stamps = i64::MIN..=i64::MAX;
    for test in conjuncts {
        match test {
            Test::Compare { cell, op, value } if is_own_id(cell) && !value.is_null() => {
                let bound = value.as_text();
                let at = |after: bool| first_row(prefix, &range, &bound, after);
                match op {
                    Op::Gt => range = at(true)..range.end,
                    Op::Ge => range = at(false)..range.end,
                    Op::Lt => range = range.start..at(false),
                    Op::Le => range = range.start..at(true),
                    Op::Eq => range = at(false)..at(true),
                    Op::Ne | Op::Like => {}
                }
            }
            Test::Compare {
                cell,
                op,
                value: Value::Instant(at),
            } if cell.hops.is_empty() && cell.field.maker == Maker::Stamp => {
                let (from, to) = (*stamps.start(), *stamps.end());
                stamps = match op {
                    Op::Gt | Op::Ge => from.max(*at)..=to,
                    Op::Lt | Op::Le => from..=to.min(*at),
                    Op::Eq => from.max(*at)..=to.min(*at),
                    Op::Ne | Op::Like => from..=to,
                };
            }
            Test::In {
                cell,
                not: false,
                values,
            } if is_own_id(cell) && list.is_none() => {
                list = Some(values.iter().filter_map(|v| own_row(prefix, v)).collect());
            }
            Test::Compare {
                cell,
                op: Op::Eq,
                value: Value::Id("001", account),
            } if is_account(cell) && list.is_none() => {
                list = Some(org.rows_of_account(table, *account));
            }
            Test::In {
                cell,
                not: false,
                values,
            } if is_account(cell) && list.is_none() => {
                let nulls = values.iter().any(Value::is_null);
                let accounts = values.iter().filter_map(|v| own_row("001", v));
                if !nulls {
                    list = Some(accounts.flat_map(|a| org.rows_of_account(table, a)).collect());
                }
            }
            _ => {}
        }
    }
    if list.is_none() && stamps != (i64::MIN..=i64::MAX) {
        list = rows_stamped(org, table, *stamps.start(), *stamps.end());
    }
    match list {
        Some(mut list) => {
            list.retain(|row| range.contains(row));
            list.sort_unstable();
            list.dedup();
            Candidates::List(list)
        }
        None => Candidates::Range(range.start..range.end.max(range.start)),
    }
}

fn is_account(cell: &Access) -> bool {
    cell.hops.is_empty() && cell.field.maker == Maker::Account
}

fn own_row(prefix: &str, value: &Value) -> Option<u32> {
    match value {
        Value::Id(p, row) if *p == prefix => Some(*row),
        _ => None,
    }
}

/// The first row of a range whose id is not before the bound (or is after it), without listing the ids.
fn first_row(prefix: &str, range: &Range<u32>, bound: &str, after: bool) -> u32 {
    let bound = bound.get(..15).unwrap_or(bound).as_bytes();
    let (mut low, mut high) = (range.start, range.end.max(range.start));
    while low < high {
        let middle = low + (high - low) / 2;
        let order = ids::encode(prefix, middle)[..15].cmp(bound);
        if order == Ordering::Less || after && order == Ordering::Equal {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
