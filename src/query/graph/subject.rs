//! Checks what a graph groups by and measures.

use std::sync::Arc;

use tether_columns::number::Number;
use tether_columns::{Dimension, Function};

use super::super::parse;
use super::super::problem::{Problem, fault};
use super::super::resolve::{Field, Source, field, target};
use super::OfRecords;
use super::calendar::Calendar;
use crate::domain::FieldType;
use crate::index::{self, Kind};
use crate::picklist::LazyPicklist;

/// How values of a field become buckets.
#[derive(Debug, Clone)]
pub enum WidthOrUnit {
    /// Each value is a bucket of its own.
    Each,
    /// Units of a calendar.
    Unit(Calendar),
    /// Multiples of this width, which is above 0.
    Width(Number),
}

/// What to group by, as it was written.
#[derive(Debug, Clone)]
pub struct GroupText<'a> {
    /// A field, `source` or `tracked`.
    pub field: &'a str,
    /// How its values become buckets.
    pub bucket: WidthOrUnit,
    /// The maximum number of buckets.
    pub most: usize,
}

/// What to measure, as it was written.
#[derive(Debug, Clone)]
pub struct MeasureText<'a> {
    /// The field.
    pub field: &'a str,
    /// What is computed.
    pub function: Function,
}

/// What a grouping groups by.
#[derive(Clone)]
pub enum By {
    /// The sources that have a company.
    Source,
    /// Whether a company is tracked.
    Tracked,
    /// Values of records.
    Field(Dimension),
}

/// A checked grouping.
#[derive(Clone)]
pub struct Grouped {
    /// What it groups by.
    pub by: By,
    /// The source and the object of the field.
    pub of: Option<(usize, String)>,
    /// How a value is shown.
    pub kind: Option<Kind>,
    /// The type of the field, unless a part of it is grouped by.
    pub field_type: Option<FieldType>,
    /// The labels of its entries, if it is a picklist.
    pub picklist: LazyPicklist,
    /// The calendar of its buckets.
    pub calendar: Option<Calendar>,
    /// Whether buckets come in the order of their values, and the last ones are kept.
    pub in_order: bool,
    /// The maximum number of buckets.
    pub most: usize,
}

/// A checked measure.
#[derive(Clone)]
pub struct Measured {
    /// The source and the object of the field.
    pub of: (usize, String),
    /// What is computed.
    pub(super) measure: OfRecords,
    /// How the field's values are compared.
    pub kind: Option<Kind>,
}

/// A checked graph.
#[derive(Clone)]
pub struct Graph {
    /// What it groups by.
    pub groupings: Vec<Grouped>,
    /// What it measures.
    pub measures: Vec<Measured>,
}

impl Graph {
    /// Checks a graph against the sources of a group.
    ///
    /// # Errors
    /// The argument that is wrong, and what is wrong with it.
    pub fn new(
        sources: &[Source],
        groupings: &[GroupText<'_>],
        measures: &[MeasureText<'_>],
    ) -> Result<Self, (String, Problem)> {
        let mut grouped: Vec<Grouped> = Vec::new();
        for (at, text) in groupings.iter().enumerate() {
            let argument = format!("groupings[{at}].field");
            let one = group(sources, text).map_err(|problem| (argument.clone(), problem))?;
            let other = grouped.iter().find_map(|other| other.of.as_ref());
            if let (Some(of), Some(other)) = (&one.of, other)
                && of != other
            {
                let names = parse::field(text.field).map_err(|problem| (argument.clone(), problem))?;
                let problem = fault(
                    &names[0],
                    "is of another object than the first grouping: both must be of the same object",
                );
                return Err((argument, problem));
            }
            grouped.push(one);
        }
        let measures = measures.iter().enumerate().map(|(at, text)| {
            measure(sources, text).map_err(|problem| (format!("measures[{at}].field"), problem))
        });
        Ok(Self {
            groupings: grouped,
            measures: measures.collect::<Result<_, _>>()?,
        })
    }

    /// The source and the object whose records are counted: those that are grouped by; without groupings of fields, those
    /// of the first measure.
    #[must_use]
    pub fn object(&self) -> Option<&(usize, String)> {
        let grouped = self.groupings.iter().find_map(|grouped| grouped.of.as_ref());
        grouped.or_else(|| self.measures.first().map(|measured| &measured.of))
    }

    /// The sources that it needs.
    #[must_use]
    pub fn sources(&self) -> Vec<usize> {
        let grouped = self
            .groupings
            .iter()
            .filter_map(|grouped| Some(grouped.of.as_ref()?.0));
        grouped
            .chain(self.measures.iter().map(|measured| measured.of.0))
            .collect()
    }
}

fn group(sources: &[Source], text: &GroupText<'_>) -> Result<Grouped, Problem> {
    let names = parse::field(text.field)?;
    let about_company = |by: By| Grouped {
        by,
        of: None,
        kind: None,
        field_type: None,
        picklist: LazyPicklist::default(),
        calendar: None,
        in_order: false,
        most: text.most,
    };
    match (names.as_slice(), &text.bucket) {
        ([name], WidthOrUnit::Each) if name.text == "source" => return Ok(about_company(By::Source)),
        ([name], WidthOrUnit::Each) if name.text == "tracked" => return Ok(about_company(By::Tracked)),
        _ => {}
    }
    let [label, object, key, part @ ..] = names.as_slice() else {
        return Err(fault(
            &names[0],
            "cannot be grouped by: write source.Object.Field, source or tracked",
        ));
    };
    let (source, field) = field(sources, label, object, key)?;
    let target = target(field, part.first())?;
    let at = part.first().unwrap_or(key);
    let path = target.paths[0].clone();
    let (dimension, in_order) = match (target.kind, &text.bucket) {
        (None, _) => return Err(fault(key, "needs a part, such as .city, to be grouped by")),
        (Some(Kind::Long), _) => return Err(fault(at, "cannot be grouped by: it is HTML or long text")),
        (Some(Kind::Text | Kind::List | Kind::Reference), WidthOrUnit::Each) => {
            (Dimension::Text(path), false)
        }
        (Some(Kind::Boolean), WidthOrUnit::Each) => (Dimension::Integer(path), false),
        (Some(Kind::Date | Kind::Timestamp | Kind::Time), WidthOrUnit::Each) => {
            (Dimension::Integer(path), true)
        }
        (Some(Kind::Number), WidthOrUnit::Each) => (Dimension::Number(path), true),
        (Some(Kind::Number), WidthOrUnit::Width(width)) => (Dimension::Width(path, width.clone()), true),
        (Some(Kind::Date), WidthOrUnit::Unit(calendar)) => {
            let calendar = calendar.clone();
            (
                Dimension::Intervals(path, Arc::new(move |day| calendar.days(day))),
                true,
            )
        }
        (Some(Kind::Timestamp), WidthOrUnit::Unit(calendar)) => {
            let calendar = calendar.clone();
            (
                Dimension::Intervals(path, Arc::new(move |at| calendar.moments(at))),
                true,
            )
        }
        (_, WidthOrUnit::Unit(_)) => {
            return Err(fault(at, "has no dates: date_bucket needs a date or a time"));
        }
        (_, WidthOrUnit::Width(_)) => {
            return Err(fault(
                at,
                "has no numbers: number_bucket needs a number, a percentage or an amount",
            ));
        }
        (Some(Kind::Address | Kind::Location), _) => return Err(fault(at, "needs a part to be grouped by")),
    };
    Ok(Grouped {
        by: By::Field(dimension),
        of: Some((source, field.object.clone())),
        kind: target.kind,
        field_type: part.is_empty().then_some(field.field_type),
        picklist: if part.is_empty() {
            field.picklist.clone()
        } else {
            LazyPicklist::default()
        },
        calendar: match &text.bucket {
            WidthOrUnit::Unit(calendar) => Some(calendar.clone()),
            _ => None,
        },
        in_order,
        most: text.most,
    })
}

fn measure(sources: &[Source], text: &MeasureText<'_>) -> Result<Measured, Problem> {
    let names = parse::field(text.field)?;
    let [label, object, key, part @ ..] = names.as_slice() else {
        return Err(fault(&names[0], "cannot be measured: write source.Object.Field"));
    };
    let (source, field) = field(sources, label, object, key)?;
    let target = target(field, part.first())?;
    let at = part.first().unwrap_or(key);
    let fits = match text.function {
        Function::Count => target.paths.len() == 1,
        Function::Minimum | Function::Maximum => {
            matches!(
                target.kind,
                Some(Kind::Number | Kind::Date | Kind::Timestamp | Kind::Time)
            )
        }
        _ => target.kind == Some(Kind::Number),
    };
    if !fits {
        let message = match text.function {
            Function::Count => "needs a part, such as .city, to be counted",
            Function::Minimum | Function::Maximum => {
                "has no smallest and largest value: it is no number, date or time"
            }
            _ => "cannot be computed with: it is no number, percentage or amount",
        };
        return Err(fault(at, message));
    }
    let is_amount = target.kind == Some(Kind::Number) && field.field_type == FieldType::Currency;
    Ok(Measured {
        of: (source, field.object.clone()),
        measure: OfRecords {
            function: text.function,
            path: target.paths[0].clone(),
            is_number: target.kind == Some(Kind::Number),
            currency: is_amount.then(|| currency(field)),
        },
        kind: target.kind,
    })
}

fn currency(field: &Field) -> String {
    index::path(&field.object, &field.key, "currency_code")
}
