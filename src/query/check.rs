//! Checks a filter against the existing fields: each condition becomes an index expression, or an error with a
//! position.

use time::Month;

use super::ast::{Ast, Name, Operator, Spot, Value};
use super::order::{SortKey, sort_key};
use super::words::Words;
use super::{Error, Fault, Field, Problem, Source, Text, parse};
use crate::domain::{FieldType, Micros};
use crate::index::moment::{self, DAY_US};
use crate::index::number::Number;
use crate::index::text::{self, fold};
use crate::index::{self, ADDRESS, Comparison, Expr, Kind, Test, TextTest, WordTest};

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

/// A checked query.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The condition, if the filter is not empty.
    pub(super) filter: Option<Node>,
    /// The search words, if there are any.
    pub(super) words: Option<Words>,
    /// The sort keys.
    pub(super) order: Vec<SortKey>,
}

/// A column of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The index of its source.
    pub source: usize,
    /// The object.
    pub object: String,
    /// The key.
    pub key: String,
    /// The type.
    pub field_type: FieldType,
}

impl Plan {
    /// Checks a query against the sources of a group.
    ///
    /// # Errors
    /// The error in the filter or the order, with its position.
    pub fn new(sources: &[Source], text: &Text<'_>) -> std::result::Result<Self, Error> {
        let checker = Checker {
            sources,
            now_us: text.now_us,
        };
        let filter = parse::filter(text.filter)
            .and_then(|ast| ast.map(|ast| checker.node(&ast)).transpose())
            .map_err(Error::Filter)?;
        let order = parse::order(text.order_by)
            .and_then(|keys| keys.into_iter().map(|key| sort_key(sources, key)).collect())
            .map_err(Error::Order)?;
        let words = Words::new(text.query);
        Ok(Self { filter, words, order })
    }

    /// The sources that the answer depends on, in addition to the listed ones.
    #[must_use]
    pub fn uses(&self) -> Vec<usize> {
        fn of(node: &Node, to: &mut Vec<usize>) {
            match node {
                Node::And(all) | Node::Or(all) => all.iter().for_each(|one| of(one, to)),
                Node::Not(one) => of(one, to),
                Node::Records(source, _) => to.push(*source),
                Node::Fed(by) => to.extend(by),
                Node::Shown(_) | Node::Tracked(_) => {}
            }
        }
        let mut used: Vec<usize> = self.order.iter().filter_map(SortKey::source).collect();
        if let Some(node) = &self.filter {
            of(node, &mut used);
        }
        used.sort_unstable();
        used.dedup();
        used
    }
}

impl Column {
    /// Checks a column by its query key.
    ///
    /// # Errors
    /// The error, with its position.
    pub fn new(sources: &[Source], text: &str) -> Result<Self> {
        let names = parse::field(text)?;
        let [label, object, key] = names.as_slice() else {
            return Err(fault(&names[0], "is not a field: write source.Object.Field"));
        };
        let (source, field) = field(sources, label, object, key)?;
        Ok(Self {
            source,
            object: field.object.clone(),
            key: field.key.clone(),
            field_type: field.field_type,
        })
    }
}

fn fault(at: &Name, message: impl Into<String>) -> Problem {
    Problem::new(Fault::Syntax, at.spot.clone(), message)
}

pub(super) fn source(sources: &[Source], label: &Name) -> Result<usize> {
    let found = sources.iter().position(|source| source.label == label.text);
    found.ok_or_else(|| fault(label, "is not the label of a source; ListSources lists them"))
}

/// The field, if it exists and is active.
pub(super) fn field<'a>(
    sources: &'a [Source],
    label: &Name,
    object: &Name,
    key: &Name,
) -> Result<(usize, &'a Field)> {
    let at = source(sources, label)?;
    let mut fields = sources[at].fields.iter();
    let full = || format!("{}.{}.{}", label.spot.token, object.spot.token, key.spot.token);
    let Some(field) = fields.find(|field| field.object == object.text && field.key == key.text) else {
        let message = "is not a usable field of the source; ListFields lists the fields";
        return Err(Problem::new(Fault::Unknown(full()), key.spot.clone(), message));
    };
    if !field.active {
        let message = "is passive: make it active with BatchUpdateFieldActivation to use it here";
        return Err(Problem::new(Fault::Passive(full()), key.spot.clone(), message));
    }
    Ok((at, field))
}

/// The indexed values that a condition tests.
pub(super) struct Target {
    /// Their paths in the index; several only for a field with parts.
    pub(super) paths: Vec<String>,
    /// How values are compared; `None` for a field with parts, which can only be tested for being set.
    pub(super) kind: Option<Kind>,
}

/// The indexed values of a field, or of a part of it.
pub(super) fn target(field: &Field, part: Option<&Name>) -> Result<Target> {
    let path = |part: &str| index::path(&field.object, &field.key, part);
    let one = |path, kind| Target {
        paths: vec![path],
        kind: Some(kind),
    };
    let kind = Kind::of(field.field_type, field.long_text);
    let Some(part) = part else {
        return Ok(match kind {
            Kind::Reference => one(path(""), kind),
            Kind::Address => Target {
                paths: ADDRESS.iter().map(|part| path(part)).collect(),
                kind: None,
            },
            Kind::Location => Target {
                paths: vec![path("latitude")],
                kind: None,
            },
            kind => one(path(""), kind),
        });
    };
    Ok(match (kind, field.field_type, part.text.as_str()) {
        (Kind::Reference, _, "id") => one(path("id"), Kind::Text),
        (Kind::Reference, _, "label") => one(path(""), Kind::Text),
        (Kind::Address, _, part) if ADDRESS.contains(&part) => one(path(part), Kind::Text),
        (Kind::Location, _, "latitude" | "longitude") => one(path(&part.text), Kind::Number),
        (_, FieldType::Currency, "amount") => one(path(""), Kind::Number),
        (_, FieldType::Currency, "currency_code") => one(path("currency_code"), Kind::Text),
        _ => return Err(fault(part, "is not a part of this type of field")),
    })
}

struct Checker<'a> {
    sources: &'a [Source],
    now_us: Micros,
}

/// A condition in the form in which it was written.
struct Condition<'a> {
    operator: Operator,
    at: &'a Spot,
    value: &'a Value,
    value_at: &'a Spot,
}

impl Condition<'_> {
    fn of_operator(&self, message: &str) -> Problem {
        Problem::new(Fault::Syntax, self.at.clone(), message)
    }

    fn of_value(&self, message: &str) -> Problem {
        Problem::new(Fault::Syntax, self.value_at.clone(), message)
    }
}

impl Checker<'_> {
    fn node(&self, ast: &Ast) -> Result<Node> {
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
            Ast::Not(one) => Expr::Less(
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
            Ok(Node::Shown(self.expr(&target, condition)?))
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
        self.expr(&target, condition)
    }

    fn expr(&self, target: &Target, condition: &Condition<'_>) -> Result<Expr> {
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
        let test = self.test(kind, condition)?;
        let test = Expr::Value(path.clone(), test);
        Ok(if condition.operator == Operator::NotEqual {
            Expr::Less(Box::new(set(path)), Box::new(test))
        } else {
            test
        })
    }

    /// The test for a condition; for `!=`, the test of `=`.
    fn test(&self, kind: Kind, condition: &Condition<'_>) -> Result<Test> {
        let comparison = match condition.operator {
            Operator::Equal | Operator::NotEqual | Operator::Has => None,
            Operator::Less => Some(Comparison::Less),
            Operator::LessOrEqual => Some(Comparison::LessOrEqual),
            Operator::Greater => Some(Comparison::Greater),
            Operator::GreaterOrEqual => Some(Comparison::GreaterOrEqual),
        };
        if comparison.is_some() && matches!(kind, Kind::List | Kind::Boolean | Kind::Long) {
            return Err(condition.of_operator("cannot compare lists, booleans, HTML or long text by order"));
        }
        let has = condition.operator == Operator::Has;
        let between = |first: i64, last: i64| match comparison {
            None | Some(Comparison::Equal) => Test::Int(first, last),
            Some(Comparison::Less) => before(first),
            Some(Comparison::LessOrEqual) => Test::Int(i64::MIN, last),
            Some(Comparison::Greater) => after(last),
            Some(Comparison::GreaterOrEqual) => Test::Int(first, i64::MAX),
        };
        match kind {
            Kind::Text | Kind::Reference | Kind::List => {
                let pattern = pattern(condition)?;
                Ok(match comparison {
                    Some(comparison) => Test::Text(TextTest::Compare(comparison, fold(&pattern.whole()))),
                    None if has && kind != Kind::List => pattern.words(condition)?,
                    None => pattern.like(),
                })
            }
            Kind::Long => {
                let pattern = pattern(condition)?;
                if has {
                    return pattern.words(condition);
                }
                if pattern.before || pattern.after {
                    return Err(condition.of_value("has *, which HTML and long text allow only with :"));
                }
                Ok(Test::Text(TextTest::Is(index::whole(&fold(&pattern.text)))))
            }
            Kind::Number => match condition.value {
                Value::Number(text) => match Number::parse(text) {
                    Some(number) => Ok(Test::Number(comparison.unwrap_or(Comparison::Equal), number)),
                    None => Err(condition.of_value("is not a number")),
                },
                _ => Err(condition.of_value("must be a number, without quotes")),
            },
            Kind::Boolean => {
                let yes = i64::from(boolean(condition.value, condition)?);
                Ok(Test::Int(yes, yes))
            }
            Kind::Date => match self.moment(condition)? {
                Some(When::Day(day)) => Ok(between(day, day)),
                _ => Err(condition.of_value("must be a date such as 2026-01-31, or today, without quotes")),
            },
            Kind::Timestamp => match self.moment(condition)? {
                Some(When::Day(day)) => {
                    let first = day.saturating_mul(DAY_US);
                    Ok(between(first, first.saturating_add(DAY_US - 1)))
                }
                Some(When::Moment(us)) => Ok(between(us, us)),
                None => Err(condition.of_value(
                    "must be a time such as 2026-01-31T09:30:00Z, a date, today or now, without quotes",
                )),
            },
            Kind::Time => match condition.value {
                Value::Time(us) => Ok(between(*us, *us)),
                _ => Err(condition.of_value("must be a time of day such as 09:30:00, without quotes")),
            },
            Kind::Address | Kind::Location => Err(condition.of_operator("needs a part of the field")),
        }
    }

    fn moment(&self, condition: &Condition<'_>) -> Result<Option<When>> {
        let beyond = || condition.of_value("is outside the years 0 to 9999");
        Ok(match condition.value {
            Value::Date(day) => Some(When::Day(*day)),
            Value::Moment(us) => Some(When::Moment(*us)),
            Value::Relative { now, offset } => {
                let today = self.now_us.div_euclid(DAY_US);
                let day = away(today, *offset).ok_or_else(beyond)?;
                Some(if *now {
                    When::Moment(day * DAY_US + self.now_us.rem_euclid(DAY_US))
                } else {
                    When::Day(day)
                })
            }
            _ => None,
        })
    }
}

enum When {
    Day(i64),
    Moment(i64),
}

fn before(first: i64) -> Test {
    match first.checked_sub(1) {
        Some(last) => Test::Int(i64::MIN, last),
        None => Test::Int(1, 0),
    }
}

fn after(last: i64) -> Test {
    match last.checked_add(1) {
        Some(first) => Test::Int(first, i64::MAX),
        None => Test::Int(1, 0),
    }
}

/// The date with the offset added. Where the month is too short, the last day of the month.
fn away(day: i64, offset: Option<(i64, char)>) -> Option<i64> {
    let Some((amount, unit)) = offset else {
        return Some(day);
    };
    let months = match unit {
        'd' => return checked(day.checked_add(amount)?),
        'w' => return checked(day.checked_add(amount.checked_mul(7)?)?),
        'm' => amount,
        _ => amount.checked_mul(12)?,
    };
    let date = moment::to_date(day)?;
    let count = i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1 + months;
    let (year, month) = (
        i32::try_from(count.div_euclid(12)).ok()?,
        count.rem_euclid(12) + 1,
    );
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let last = month.length(year);
    let date = time::Date::from_calendar_date(year, month, date.day().min(last)).ok()?;
    checked(moment::of_date(date))
}

/// The day, if it is in the years 0 to 9999.
fn checked(day: i64) -> Option<i64> {
    let year = moment::to_date(day)?.year();
    (0..=9_999).contains(&year).then_some(day)
}

fn boolean(value: &Value, condition: &Condition<'_>) -> Result<bool> {
    match value {
        Value::Word(word) if word == "true" => Ok(true),
        Value::Word(word) if word == "false" => Ok(false),
        _ => Err(condition.of_value("must be true or false")),
    }
}

/// A text to compare with, without the `*` at its ends.
struct Pattern {
    before: bool,
    text: String,
    after: bool,
}

/// A value without quotes is read as text.
fn pattern(condition: &Condition<'_>) -> Result<Pattern> {
    let text = match condition.value {
        Value::Text { before, text, after } => {
            return Ok(Pattern {
                before: *before,
                text: text.clone(),
                after: *after,
            });
        }
        Value::Relative { offset: Some(_), .. } => {
            return Err(condition.of_value("is a date, but the field is text: write the text in quotes"));
        }
        _ => condition.value_at.token.clone(),
    };
    Ok(Pattern {
        before: false,
        text,
        after: false,
    })
}

impl Pattern {
    /// The text with its stars: in comparisons by order, a star is a literal character.
    fn whole(&self) -> String {
        let star = |is| if is { "*" } else { "" };
        format!("{}{}{}", star(self.before), self.text, star(self.after))
    }

    fn like(&self) -> Test {
        let text = fold(&self.text);
        match (self.before, self.after) {
            (false, false) => Test::Text(TextTest::Is(text)),
            _ if text.is_empty() => Test::Set,
            (before, after) => Test::Text(TextTest::Like { before, text, after }),
        }
    }

    fn words(&self, condition: &Condition<'_>) -> Result<Test> {
        let folded = fold(&self.text);
        let words: Vec<&str> = text::words(&folded).collect();
        if words.is_empty() && folded.is_empty() && (self.before || self.after) {
            return Ok(Test::Set);
        }
        if words.is_empty() {
            return Err(condition.of_value("contains no word"));
        }
        let last = words.len() - 1;
        let open_before = self.before && folded.starts_with(char::is_alphanumeric);
        let open_after = self.after && folded.ends_with(char::is_alphanumeric);
        let tests = words.into_iter().enumerate().map(|(at, word)| WordTest {
            word: word.to_owned(),
            before: at == 0 && open_before,
            after: at == last && open_after,
            forgiving: false,
        });
        Ok(Test::Words(tests.collect()))
    }
}

#[cfg(test)]
mod tests;
