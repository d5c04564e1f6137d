//! Sort keys: the keys of an order, checked against the existing fields.

use super::ast::{Name, Subject};
use super::check::Checker;
use super::measured::Measurement;
use super::parse::OrderKey;
use super::problem::{Fault, Problem};
use super::resolve::{field, target};
use crate::index::{Kind, text};
use std::collections::BTreeMap;

/// What a sort key compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    /// The displayed name.
    Name,
    /// The displayed domain.
    Domain,
    /// How well the search words match.
    Class,
    /// Text of a source at this path.
    Text(usize, String),
    /// The labels of the entries of a picklist of a source at this path, folded, by their folded values.
    Label(usize, String, BTreeMap<String, String>),
    /// Integers of a source at this path.
    Int(usize, String),
    /// Decimals of a source at this path.
    Number(usize, String),
    /// A count or sum.
    Measured(Measurement),
}

/// One sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortKey {
    pub(super) by: By,
    pub(super) descending: bool,
}

impl SortKey {
    /// The source that the key depends on.
    pub(super) fn source(&self) -> Option<usize> {
        match &self.by {
            By::Text(source, _) | By::Label(source, _, _) | By::Int(source, _) | By::Number(source, _) => {
                Some(*source)
            }
            By::Measured(measurement) => Some(measurement.source),
            By::Name | By::Domain | By::Class => None,
        }
    }
}

pub(super) fn sort_key(checker: &Checker<'_>, key: OrderKey) -> Result<SortKey, Problem> {
    let by = match &key.subject {
        Subject::Field(names) => by_field(checker, names)?,
        Subject::Measure(measure) => By::Measured(checker.measurement(measure)?),
    };
    Ok(SortKey {
        by,
        descending: key.descending,
    })
}

fn by_field(checker: &Checker<'_>, names: &[Name]) -> Result<By, Problem> {
    let sources = checker.sources;
    let fault = |at: &Name, message: &str| Problem::new(Fault::Syntax, at.spot.clone(), message);
    Ok(match names {
        [name] if name.text == "display_name" => By::Name,
        [name] if name.text == "domain" => By::Domain,
        [label, object, key, part @ ..] => {
            let (source, field) = field(sources, label, object, key)?;
            if field.object != sources[source].company_object {
                return Err(fault(
                    object,
                    "is a related object: only fields of companies can be sorted by, and counts and sums over related records",
                ));
            }
            let target = target(field, part.first())?;
            let path = target.paths[0].clone();
            match target.kind {
                Some(Kind::Text) if part.is_empty() && !field.picklist.get().is_empty() => {
                    let entries = field.picklist.get().entries();
                    let folded = entries.map(|(value, label)| (text::sorted(value), text::sorted(label)));
                    By::Label(source, path, folded.collect())
                }
                Some(Kind::Text | Kind::Reference) => By::Text(source, path),
                Some(Kind::Number) => By::Number(source, path),
                Some(Kind::Boolean | Kind::Date | Kind::Timestamp | Kind::Time) => By::Int(source, path),
                None => return Err(fault(key, "needs a part, such as .city, to be sorted by")),
                Some(_) => return Err(fault(key, "cannot be sorted by: it is a list, HTML or long text")),
            }
        }
        names => {
            return Err(fault(
                &names[0],
                "is not a sort key: write display_name, domain, source.Object.Field, count(...) or sum(...)",
            ));
        }
    })
}
