//! Values as texts, for CSV and for columns of text.

use crate::proto::google_type::Date;
use crate::proto::v1::{self, value::Kind};

/// The fixed columns before those of the request.
pub(super) const FIRST: [&str; 7] = [
    "name",
    "display_name",
    "domain",
    "homepage_uri",
    "platform_id",
    "tracked",
    "sources",
];
/// The column after them: the names of columns that have more than the row shows.
pub(super) const INCOMPLETE: &str = "incomplete";

/// The column with the currencies of a column of amounts.
pub(super) fn currency_column(column: &str) -> String {
    format!("{column}.currency_code")
}

/// The labels of a company's sources.
pub(super) fn sources(of: &v1::Company) -> impl Iterator<Item = &str> {
    of.sources.iter().map(|source| source.label.as_str())
}

/// A value as text; an amount without its currency.
pub(super) fn text(value: &v1::Value) -> String {
    let Some(kind) = &value.kind else {
        return String::new();
    };
    match kind {
        Kind::Text(text) if value.label.is_empty() => text.clone(),
        Kind::Text(_) => value.label.clone(),
        Kind::Html(text) | Kind::Decimal(text) | Kind::Raw(text) => text.clone(),
        Kind::Boolean(yes) => yes.to_string(),
        Kind::Integer(number) => number.to_string(),
        Kind::Money(money) => money.amount.clone(),
        Kind::Date(date) => day(date),
        Kind::Timestamp(time) => moment(time),
        Kind::Time(time) => {
            let whole = format!("{:02}:{:02}:{:02}", time.hours, time.minutes, time.seconds);
            match time.nanos {
                0 => whole,
                nanos => format!("{whole}.{nanos:09}").trim_end_matches('0').to_owned(),
            }
        }
        Kind::List(list) => entries(list).join(";"),
        Kind::Address(address) => json(address),
        Kind::Location(at) => format!("{},{}", at.latitude, at.longitude),
        Kind::Reference(to) if to.label.is_empty() => to.id.clone(),
        Kind::Reference(to) => to.label.clone(),
    }
}

/// The entries of a list by their labels.
pub(super) fn entries(list: &v1::TextList) -> Vec<&str> {
    let label = |at: usize| list.labels.get(at).filter(|label| !label.is_empty());
    let entry = |(at, value)| label(at).unwrap_or(value).as_str();
    list.values.iter().enumerate().map(entry).collect()
}

/// The currency of an amount; empty for other values.
pub(super) fn currency(value: &v1::Value) -> &str {
    match &value.kind {
        Some(Kind::Money(money)) => &money.currency_code,
        _ => "",
    }
}

fn day(date: &Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

/// A time in RFC 3339; one beyond its years as seconds since 1970.
fn moment(time: &prost_types::Timestamp) -> String {
    use time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::from_unix_timestamp(time.seconds).ok();
    at.and_then(|at| at.replace_nanosecond(u32::try_from(time.nanos).ok()?).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| time.seconds.to_string())
}

fn json(address: &v1::Address) -> String {
    let parts = [
        ("street", &address.street),
        ("city", &address.city),
        ("postal_code", &address.postal_code),
        ("state", &address.state),
        ("state_code", &address.state_code),
        ("country", &address.country),
        ("country_code", &address.country_code),
    ];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    let object: serde_json::Map<String, serde_json::Value> = parts
        .map(|(key, text)| (key.to_owned(), text.as_str().into()))
        .collect();
    serde_json::Value::Object(object).to_string()
}
