//! Fields that are computed from other fields of the row. They change without a change of its stamp.

use super::make::year_month;
use super::{Org, Row};
use crate::value::Value;

const STAGES: [(&str, f64, &str); 10] = [
    ("Prospecting", 10.0, "Pipeline"),
    ("Qualification", 10.0, "Pipeline"),
    ("Needs Analysis", 20.0, "Pipeline"),
    ("Value Proposition", 50.0, "Pipeline"),
    ("Id. Decision Makers", 60.0, "Pipeline"),
    ("Perception Analysis", 70.0, "Pipeline"),
    ("Proposal/Price Quote", 75.0, "Pipeline"),
    ("Negotiation/Review", 90.0, "Pipeline"),
    ("Closed Won", 100.0, "Closed"),
    ("Closed Lost", 0.0, "Omitted"),
];

pub(crate) fn compute(org: &Org, at: Row, name: &str) -> Value {
    let cell = |field: &str| org.cell_named(at, field);
    let number = |field: &str| cell(field).number();
    let stage = || {
        let stage = cell("StageName");
        let stage = stage.as_text();
        STAGES
            .iter()
            .find(|s| s.0 == stage)
            .copied()
            .unwrap_or(("", 0.0, "Pipeline"))
    };
    let round = |n: f64| (n * 100.0).round() / 100.0;
    match name {
        "ratio" => match (number("AnnualRevenue"), number("NumberOfEmployees")) {
            (Some(revenue), Some(people)) if people > 0.0 => Value::Num(round(revenue / people)),
            _ => Value::Null,
        },
        "link" => match cell("Website") {
            Value::Null => Value::Null,
            site => Value::text(format!(
                "<a href=\"{}\" target=\"_blank\">{}</a>",
                site.as_text().replace('&', "&amp;"),
                cell("Name").as_text().replace('&', "&amp;").replace('<', "&lt;")
            )),
        },
        "probability" => Value::Num(stage().1),
        "expected" => match (number("Amount"), number("Probability")) {
            (Some(amount), Some(percent)) => Value::Num(round(amount * percent / 100.0)),
            _ => Value::Null,
        },
        "closed" => Value::Bool(stage().0.starts_with("Closed")),
        "won" => Value::Bool(stage().0 == "Closed Won"),
        "forecast" => Value::text(stage().2),
        "fiscalyear" => year_month(&cell("CloseDate")).map_or(Value::Null, |(y, _)| Value::Int(y)),
        "fiscalquarter" => {
            year_month(&cell("CloseDate")).map_or(Value::Null, |(_, m)| Value::Int((m + 2) / 3))
        }
        "fiscal" => year_month(&cell("CloseDate"))
            .map_or(Value::Null, |(y, m)| Value::text(format!("{y} {}", (m + 2) / 3))),
        "caseclosed" => Value::Bool(cell("Status").as_text() == "Closed"),
        "caseclosedat" if cell("Status").as_text() == "Closed" => cell("LastModifiedDate"),
        _ => Value::Null,
    }
}
