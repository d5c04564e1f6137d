//! A company's profile as text.

use crate::cli::print::say;
use crate::proto::v1::{self, value::Kind};

/// Prints a profile. Amounts without a currency are shown in `currency`.
pub(super) fn card(profile: &v1::CompanyProfile, currency: &str) {
    let company = profile.company.clone().unwrap_or_default();
    for card in &profile.cards {
        let freshness = card.freshness.clone().unwrap_or_default();
        let how = if freshness.live { "live" } else { "stored" };
        say(&format!(
            "    ┌ {}   {}",
            company.display_name, company.homepage_uri
        ));
        let source = card.source.clone().unwrap_or_default();
        say(&format!(
            "    │ {} ({}), {how}",
            source.display_name, card.connector_display_name
        ));
        for table in card.company_records.iter().chain(&card.related) {
            if table.total_size == 0 {
                continue;
            }
            say(&format!("    ├ {} ({})", table.label, table.total_size));
            for record in table.records.iter().take(2) {
                for (column, value) in table.columns.iter().zip(&record.values) {
                    let value = text(value, currency);
                    if !value.is_empty() {
                        say(&format!(
                            "    │   {:<18} {}",
                            column.label,
                            value.replace('\n', " ")
                        ));
                    }
                }
            }
        }
        say("    └");
    }
}

/// An amount with thousands separators.
fn grouped(amount: &str) -> String {
    let (whole, fraction) = match amount.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (amount, String::new()),
    };
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + &fraction
}

/// A value as readable text.
pub(super) fn text(value: &v1::Value, currency: &str) -> String {
    match value.kind.clone() {
        None => String::new(),
        Some(Kind::Text(_)) if !value.label.is_empty() => value.label.clone(),
        Some(Kind::Text(text) | Kind::Html(text) | Kind::Decimal(text) | Kind::Raw(text)) => text,
        Some(Kind::Money(money)) => {
            let of = Some(money.currency_code).filter(|code| !code.is_empty());
            let amount = grouped(&money.amount);
            format!("{amount} {}", of.as_deref().unwrap_or(currency))
        }
        Some(Kind::Integer(number)) => number.to_string(),
        Some(Kind::Boolean(yes)) => if yes { "yes" } else { "no" }.to_owned(),
        Some(Kind::Date(day)) => format!("{:04}-{:02}-{:02}", day.year, day.month, day.day),
        Some(Kind::Timestamp(at)) => at.to_string(),
        Some(Kind::Time(at)) => format!("{:02}:{:02}", at.hours, at.minutes),
        Some(Kind::List(list)) => {
            let labels = list
                .labels
                .iter()
                .map(String::as_str)
                .chain(std::iter::repeat(""));
            let shown = list.values.iter().zip(labels);
            let shown = shown.map(|(value, label)| if label.is_empty() { value.as_str() } else { label });
            shown.collect::<Vec<_>>().join(", ")
        }
        Some(Kind::Reference(to)) => {
            if to.label.is_empty() {
                to.id
            } else {
                to.label
            }
        }
        Some(Kind::Location(at)) => format!("{}, {}", at.latitude, at.longitude),
        Some(Kind::Address(address)) => [address.street, address.postal_code, address.city, address.country]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        for (amount, shown) in [
            ("0", "0"),
            ("-123", "-123"),
            ("-123456", "-123,456"),
            ("1234567.5", "1,234,567.5"),
        ] {
            assert_eq!(grouped(amount), shown);
        }
    }
}
