//! Checks a filter against the existing fields: each condition becomes an index expression, or an error with a
//! position.

use super::ast::{Ast, Name, Operator, Value};
use super::condition::{Condition, boolean, labelled, test};
use super::problem::{Problem, fault};
use super::resolve::{Field, Source, Target, field, source, target};
use crate::domain::Micros;
use crate::index::{self, Expr, Kind, Test};
use crate::picklist::Picklist;

type Result<T> = std::result::Result<T, Problem>;

/// A checked condition on companies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// All conditions hold.
    And(Vec<Self>),
    /// At least one condition holds.
    Or(Vec<Self>),
    /// The condition does not hold.
    Not(Box<Self>),
    /// A record of this source matches.
    Records(usize, Expr),
    /// The displayed name, domain or homepage matches.
    Shown(Expr),
    /// Whether the company is tracked.
    Tracked(bool),
    /// One of these sources has a record of the company.
    Fed(Vec<usize>),
}

pub(super) struct Checker<'a> {
    pub(super) sources: &'a [Source],
    /// The time of the query.
    pub(super) now_us: Micros,
}

impl Checker<'_> {
    pub(super) fn node(&self, ast: &Ast) -> Result<Node> {
        Ok(match ast {
            Ast::And(all) => Node::And(self.nodes(all)?),
            Ast::Or(any) => Node::Or(self.nodes(any)?),
            Ast::Not(one) => Node::Not(Box::new(self.node(one)?)),
            Ast::Same { label, object, inner } => {
                let at = source(self.sources, label)?;
                let fields = &self.sources[at].fields;
                if !fields.iter().any(|field| field.object == object.text) {
                    return Err(fault(object, "is not an object of the source with usable fields"));
                }
                Node::Records(at, self.same(label, object, inner)?)
            }
            Ast::Restriction {
                field: names,
                operator,
                at,
                value,
                value_at,
            } => {
                let condition = Condition {
                    operator: *operator,
                    at,
                    value,
                    value_at,
                };
                match names.as_slice() {
                    [one] => self.about_company(one, &condition)?,
                    [label, object, key, part @ ..] => {
                        let (at, field) = field(self.sources, label, object, key)?;
                        Node::Records(at, self.compare(field, part.first(), &condition)?)
                    }
                    names => {
                        return Err(fault(
                            &names[0],
                            "is not a field: outside source.Object(...) write source.Object.Field",
                        ));
                    }
                }
            }
        })
    }

    fn nodes(&self, list: &[Ast]) -> Result<Vec<Node>> {
        list.iter().map(|one| self.node(one)).collect()
    }

    /// Conditions on the same record.
    fn same(&self, label: &Name, object: &Name, ast: &Ast) -> Result<Expr> {
        let list = |list: &[Ast]| -> Result<Vec<Expr>> {
            list.iter().map(|one| self.same(label, object, one)).collect()
        };
        Ok(match ast {
            Ast::And(all) => Expr::And(list(all)?),
            Ast::Or(any) => Expr::Or(list(any)?),
            Ast::Not(one) => Expr::AndNot(
                Box::new(Expr::All(object.text.clone())),
                Box::new(self.same(label, object, one)?),
            ),
            Ast::Same { label, .. } => return Err(fault(label, "source.Object(...) cannot be nested")),
            Ast::Restriction {
                field: names,
                operator,
                at,
                value,
                value_at,
            } => {
                let condition = Condition {
                    operator: *operator,
                    at,
                    value,
                    value_at,
                };
                let (key, part) = match names.as_slice() {
                    [key] => (key, None),
                    [key, part] => (key, Some(part)),
                    names => {
                        return Err(fault(
                            &names[0],
                            "inside source.Object(...) write only the key of the field",
                        ));
                    }
                };
                let (_, field) = field(self.sources, label, object, key)?;
                self.compare(field, part, &condition)?
            }
        })
    }

    fn about_company(&self, name: &Name, condition: &Condition<'_>) -> Result<Node> {
        let equal = matches!(condition.operator, Operator::Equal | Operator::Has);
        let shown = |path: String| {
            let target = Target {
                paths: vec![path],
                kind: Some(Kind::Text),
            };
            Ok(Node::Shown(self.expr(
                &target,
                &Picklist::default(),
                condition,
            )?))
        };
        match name.text.as_str() {
            "display_name" => shown(index::name()),
            "domain" => shown(index::domain()),
            "homepage_uri" => shown(index::homepage()),
            "tracked" | "source" if !equal && condition.operator != Operator::NotEqual => {
                Err(condition.of_operator("can only be =, != or : here"))
            }
            "tracked" => match condition.value {
                // Each company is either tracked or not, so `tracked` always has a value.
                Value::Any => Ok(Node::Or(vec![Node::Tracked(true), Node::Tracked(false)])),
                value => Ok(Node::Tracked(boolean(value, condition)? == equal)),
            },
            "source" => {
                let label = match condition.value {
                    Value::Any => return Ok(Node::Fed((0..self.sources.len()).collect())),
                    Value::Word(label) => label,
                    Value::Text {
                        before: false,
                        text,
                        after: false,
                    } => text,
                    _ => return Err(condition.of_value("must be the label of a source")),
                };
                let label = Name {
                    text: label.clone(),
                    spot: condition.value_at.clone(),
                };
                let at = source(self.sources, &label)?;
                let others = |other: &usize| *other != at;
                Ok(Node::Fed(if equal {
                    vec![at]
                } else {
                    (0..self.sources.len()).filter(others).collect()
                }))
            }
            _ => Err(fault(
                name,
                "is not a field: write source.Object.Field, display_name, domain, homepage_uri, tracked or source",
            )),
        }
    }

    fn compare(&self, field: &Field, part: Option<&Name>, condition: &Condition<'_>) -> Result<Expr> {
        let target = target(field, part)?;
        if *condition.value == Value::Any
            && Kind::of(field.field_type, field.long_text) == Kind::Reference
            && part.is_none()
        {
            let id = index::path(&field.object, &field.key, "id");
            let paths = [id, target.paths[0].clone()];
            return Ok(Expr::Or(paths.map(|path| Expr::Value(path, Test::Set)).into()));
        }
        self.expr(&target, field.picklist.get(), condition)
    }

    fn expr(&self, target: &Target, picklist: &Picklist, condition: &Condition<'_>) -> Result<Expr> {
        let set = |path: &String| Expr::Value(path.clone(), Test::Set);
        if *condition.value == Value::Any {
            return Ok(match target.paths.as_slice() {
                [path] => set(path),
                paths => Expr::Or(paths.iter().map(set).collect()),
            });
        }
        let Some(kind) = target.kind else {
            return Err(condition.of_operator(
                "needs a part of the field, such as .city or .latitude; the whole can only be :*",
            ));
        };
        let path = &target.paths[0];
        let test = test(kind, condition, self.now_us)?;
        let matching = labelled(path, test, picklist);
        Ok(if condition.operator == Operator::NotEqual {
            Expr::AndNot(Box::new(set(path)), Box::new(matching))
        } else {
            matching
        })
    }
}
