//! Converts rows to JSON, one page at a time.

use std::fmt::Write as _;
use std::sync::Arc;

use super::eval;
use super::plan::{Item, Node, Plan};
use crate::ids;
use crate::org::{Org, Row};
use crate::value::{Form, Value, write_text};

/// Stores the rest of a long result until it is requested.
pub(crate) trait Keep {
    /// The path of the next page.
    fn keep(&self, plan: &Arc<Plan>, rows: Arc<Vec<u32>>, next: usize) -> String;
}

/// The context of a page.
pub(crate) struct Renderer<'a> {
    pub(crate) org: &'a Org,
    pub(crate) version: &'a str,
    pub(crate) batch: usize,
    /// Includes deleted rows.
    pub(crate) all: bool,
    pub(crate) keep: &'a dyn Keep,
}

/// A page of wide rows ends early, as in Salesforce, so clients must not assume 2,000 rows.
const PAGE_BYTES: usize = 8 << 20;

impl Renderer<'_> {
    /// One page: `{"totalSize":…,"done":…,"nextRecordsUrl":…,"records":[…]}`.
    pub(crate) fn page(&self, plan: &Arc<Plan>, rows: &Arc<Vec<u32>>, from: usize) -> String {
        let mut records = String::new();
        let mut budget = self.batch;
        let mut at = from;
        while at < rows.len() && budget > 0 && records.len() < PAGE_BYTES {
            if at > from {
                records.push(',');
            }
            let children = self.record(plan.table, &plan.node, rows[at], &mut records);
            // Child rows count towards the size of a page.
            budget = budget.saturating_sub(1 + children);
            at += 1;
        }
        let mut out = String::with_capacity(records.len() + 200);
        let done = at >= rows.len();
        _ = write!(out, "{{\"totalSize\":{},\"done\":{done},", rows.len());
        if !done {
            let next = self.keep.keep(plan, rows.clone(), at);
            _ = write!(out, "\"nextRecordsUrl\":\"{next}\",");
        }
        out.push_str("\"records\":[");
        out.push_str(&records);
        out.push_str("]}");
        out
    }

    /// One record; returns the number of its child rows.
    pub(crate) fn record(&self, table: usize, node: &Node, row: u32, out: &mut String) -> usize {
        out.push('{');
        self.attributes(None, Row { table, row }, out);
        let children = self.items(node, Row { table, row }, out);
        out.push('}');
        children
    }

    fn attributes(&self, kind: Option<&str>, at: Row, out: &mut String) {
        let object = &self.org.schema.objects[at.table];
        let kind = kind.unwrap_or(object.name);
        _ = write!(
            out,
            "\"attributes\":{{\"type\":\"{kind}\",\"url\":\"/services/data/v{}/sobjects/{}/",
            self.version, object.name
        );
        out.extend(ids::encode(object.prefix, at.row).iter().map(|b| *b as char));
        out.push_str("\"}");
    }

    fn items(&self, node: &Node, at: Row, out: &mut String) -> usize {
        let mut children = 0;
        for (name, item) in &node.items {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            match item {
                Item::Cell(field) => self.org.cell(at, field).write(out, Form::Wire),
                Item::Label(field) => match self.org.cell(at, field) {
                    Value::Text(t) => {
                        let labels: Vec<&str> = match field.kind {
                            "multipicklist" => t.split(';').map(|v| field.label_of(v)).collect(),
                            _ => vec![field.label_of(&t)],
                        };
                        write_text(&labels.join(";"), out);
                    }
                    other => other.write(out, Form::Wire),
                },
                Item::Parent {
                    reference,
                    polymorphic,
                    node,
                } => match self.org.follow(&self.org.cell(at, reference)) {
                    Some(parent) => self.parent(node, parent, *polymorphic, out),
                    None => out.push_str("null"),
                },
                Item::Children(child) => {
                    let rows = eval::children(self.org, &child.plan, &child.reference, at, self.all);
                    if rows.is_empty() {
                        out.push_str("null");
                    } else {
                        children += rows.len().min(self.batch);
                        out.push_str(&self.page(&Arc::new(child.plan.clone()), &Arc::new(rows), 0));
                    }
                }
            }
        }
        children
    }

    fn parent(&self, node: &Node, at: Row, polymorphic: bool, out: &mut String) {
        out.push('{');
        self.attributes(polymorphic.then_some("Name"), at, out);
        if !polymorphic {
            self.items(node, at, out);
        } else {
            // The target rows belong to several objects, so fields are found by name.
            let object = &self.org.schema.objects[at.table];
            for (name, item) in &node.items {
                _ = write!(out, ",\"{name}\":");
                match item {
                    Item::Cell(f) if f.name == "Type" => write_text(object.name, out),
                    Item::Cell(f) | Item::Label(f) => self.org.cell_named(at, &f.name).write(out, Form::Wire),
                    _ => out.push_str("null"),
                }
            }
        }
        out.push('}');
    }
}
