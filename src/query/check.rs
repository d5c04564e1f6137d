//! Checks a filter against the existing fields: each condition becomes an index expression, or an error with a
//! position.

use super::ast::{self, Ast, Name, Operator, Subject, Value};
use super::condition::{Clock, Condition, Conditions, boolean, labelled, number, test};
use super::measured::Measurement;
use super::problem::{Problem, fault};
use super::resolve::{Field, Source, Target, amount, field, object as object_of, source, target};
use crate::index::{self, Comparison, Expr, Kind, Measure, NumberTest, Test};
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
    /// The count or sum over the company's records passes.
    Measured(Measurement, NumberTest),
}

pub(super) struct Checker<'a> {
    pub(super) sources: &'a [Source],
    pub(super) clock: Clock<'a>,
}

impl Checker<'_> {
    pub(super) fn node(&self, ast: &Ast) -> Result<Node> {
        Ok(match ast {
            Ast::And(all) => Node::And(self.nodes(all)?),
            Ast::Or(any) => Node::Or(self.nodes(any)?),
            Ast::Not(one) => Node::Not(Box::new(self.node(one)?)),
            Ast::Same { label, object, inner } => {
                let at = object_of(self.sources, label, object)?;
                Node::Records(at, self.same(label, object, inner)?)
            }
            Ast::Restriction {
                subject,
                relation,
                at,
                values,
            } => {
                let conditions = Conditions::new(*relation, at, values);
                match subject {
                    Subject::Field(names) => self.about_field(names, &conditions)?,
                    Subject::Measure(measure) => {
                        let measurement = self.measurement(measure)?;
                        let counted = matches!(measurement.measure, Measure::Count);
                        let test = conditions.join(
                            |condition| number_test(counted, condition),
                            NumberTest::all,
                            NumberTest::any,
                        )?;
                        Node::Measured(measurement, test)
                    }
                }
            }
        })
    }

    fn about_field(&self, names: &[Name], conditions: &Conditions<'_>) -> Result<Node> {
        match names {
            [one] => conditions.join(
                |condition| self.about_company(one, condition),
                Node::And,
                Node::Or,
            ),
            [label, object, key, part @ ..] => {
                let (at, field) = field(self.sources, label, object, key)?;
                let expr = self.compare_all(field, part.first(), conditions)?;
                Ok(Node::Records(at, expr))
            }
            names => Err(fault(
                &names[0],
                "is not a field: outside source.Object(...) write source.Object.Field",
            )),
        }
    }

    /// A count or sum.
    pub(super) fn measurement(&self, of: &ast::Measure) -> Result<Measurement> {
        let source = object_of(self.sources, &of.label, &of.object)?;
        let expr = match &of.inner {
            Some(inner) => self.same(&of.label, &of.object, inner)?,
            None => Expr::All(of.object.text.clone()),
        };
        let measure = match of.field.as_slice() {
            [key, part @ ..] => {
                let (_, field) = field(self.sources, &of.label, &of.object, key)?;
                let (path, currency) = amount(field, key, part.first())?;
                Measure::Sum { path, currency }
            }
            [] => Measure::Count,
        };
        Ok(Measurement {
            source,
            expr,
            measure,
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
                subject: Subject::Measure(measure),
                ..
            } => {
                return Err(fault(
                    &measure.function,
                    "cannot be used inside source.Object(...)",
                ));
            }
            Ast::Restriction {
                subject: Subject::Field(names),
                relation,
                at,
                values,
            } => {
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
                self.compare_all(field, part, &Conditions::new(*relation, at, values))?
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
                Err(condition.of_operator("cannot be used here; only =, !=, : and in can"))
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

    /// Conditions on the value of one record.
    fn compare_all(&self, field: &Field, part: Option<&Name>, conditions: &Conditions<'_>) -> Result<Expr> {
        conditions.join(
            |condition| self.compare(field, part, condition),
            Expr::And,
            Expr::Or,
        )
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
        let test = test(kind, condition, &self.clock)?;
        let matching = labelled(path, test, picklist);
        Ok(if condition.operator == Operator::NotEqual {
            Expr::AndNot(Box::new(set(path)), Box::new(matching))
        } else {
            matching
        })
    }
}

/// The test of a count or sum.
fn number_test(counted: bool, condition: &Condition<'_>) -> Result<NumberTest> {
    if *condition.value == Value::Any {
        if counted {
            return Err(condition.of_value("tests nothing: a count always has a value"));
        }
        return Ok(NumberTest::set());
    }
    let comparison = match condition.operator {
        Operator::Equal | Operator::Has => Comparison::Equal,
        Operator::Less => Comparison::Less,
        Operator::LessOrEqual => Comparison::LessOrEqual,
        Operator::Greater => Comparison::Greater,
        Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
        Operator::NotEqual => {
            let number = number(condition)?;
            let than = |comparison| NumberTest::new(comparison, number.clone());
            return Ok(NumberTest::any(vec![
                than(Comparison::Less),
                than(Comparison::Greater),
            ]));
        }
        Operator::StartsWith | Operator::EndsWith | Operator::Contains => {
            return Err(condition.of_operator("needs a field with text"));
        }
    };
    Ok(NumberTest::new(comparison, number(condition)?))
}
