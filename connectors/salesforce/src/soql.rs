//! Builds SOQL: names are checked, text is quoted, and the encoded length is known before sending.

use std::fmt::Write as _;

use tether_connector_sdk::payload::timestamp;

/// Row limits for a query that timed out.
pub(crate) const NARROW_LIMITS: [u32; 4] = [2_000, 1_000, 500, 200];

/// The condition of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter<'a> {
    /// Rows after an id, in the order of ids.
    After(&'a str),
    /// Rows after one id, up to and with another.
    Range {
        after: &'a str,
        through: &'a str,
        /// Only those that changed at this time or later, if it is not empty.
        since: &'a str,
    },
    /// Rows after an id that changed at this time or later, in the order of ids.
    Changed { since: &'a str, after: &'a str },
    /// Rows with these ids.
    Ids(&'a [String]),
    /// Rows whose reference is this id.
    Under { field: &'a str, id: &'a str },
}

/// Whether a text is a name of an object or a field: nothing else may be put into a query unquoted.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `SELECT … FROM … WHERE … ORDER BY Id LIMIT …`. Callers have checked the names.
pub(crate) fn select(object: &str, columns: &[&str], filter: &Filter<'_>, limit: Option<u32>) -> String {
    let mut soql = unordered(object, columns, filter);
    soql.push_str(ORDER_BY_ID);
    if let Some(limit) = limit {
        let _ = write!(soql, " LIMIT {limit}");
    }
    soql
}

pub(crate) const ORDER_BY_ID: &str = " ORDER BY Id";

/// The same without an order.
pub(crate) fn unordered(object: &str, columns: &[&str], filter: &Filter<'_>) -> String {
    debug_assert!(is_name(object) && columns.iter().all(|column| column.split('.').all(is_name)));
    let mut soql = format!("SELECT {} FROM {object}", columns.join(","));
    match filter {
        Filter::After(after) => soql.push_str(&range("", after, "")),
        Filter::Range {
            after,
            through,
            since,
        } => soql.push_str(&range(since, after, through)),
        Filter::Changed { since, after } => soql.push_str(&range(since, after, "")),
        Filter::Ids(ids) => {
            let ids: Vec<String> = ids.iter().map(|id| quote(id)).collect();
            let _ = write!(soql, " WHERE Id IN ({})", ids.join(","));
        }
        Filter::Under { field, id } => {
            let _ = write!(soql, " WHERE {field} = {}", quote(id));
        }
    }
    soql
}

/// The condition of a range of ids; an empty text is no limit.
fn range(since: &str, after: &str, through: &str) -> String {
    let mut limits = Vec::new();
    if !since.is_empty() {
        limits.push(format!("SystemModstamp >= {since}"));
    }
    if !after.is_empty() {
        limits.push(format!("Id > {}", quote(after)));
    }
    if !through.is_empty() {
        limits.push(format!("Id <= {}", quote(through)));
    }
    match limits.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", limits.join(" AND ")),
    }
}

/// A time as a literal, in whole seconds: the stamps of records are no finer. Earlier, where it has a fraction.
pub(crate) fn time(us: i64) -> String {
    let text = timestamp(us.div_euclid(1_000_000) * 1_000_000).unwrap_or_default();
    text.replace(".000Z", "Z")
}

/// `SELECT COUNT() FROM …`.
pub(crate) fn count(object: &str) -> String {
    debug_assert!(is_name(object));
    format!("SELECT COUNT() FROM {object}")
}

/// Text as a literal.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Encodes a value for a query string. Spaces become `+`; commas stay, because a wide selection consists mostly of
/// commas.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for b in text.bytes() {
        match b {
            b' ' => out.push('+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' | b'(' | b')' => {
                out.push(char::from(b));
            }
            b => {
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["Id", "Tier__c", "ns__Score__c", "A1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1A", "_x", "Owner.Name", "Id FROM User", "Näme", "a'", "x,y"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn filters() {
        let q = |f: Filter<'_>| select("Account", &["Id", "Name"], &f, None);
        assert_eq!(q(Filter::After("")), "SELECT Id,Name FROM Account ORDER BY Id");
        assert_eq!(
            q(Filter::After("001a")),
            "SELECT Id,Name FROM Account WHERE Id > '001a' ORDER BY Id"
        );
        assert_eq!(
            q(Filter::Range {
                after: "001a",
                through: "001b",
                since: "",
            }),
            "SELECT Id,Name FROM Account WHERE Id > '001a' AND Id <= '001b' ORDER BY Id"
        );
        assert_eq!(
            q(Filter::Range {
                after: "",
                through: "001b",
                since: "",
            }),
            "SELECT Id,Name FROM Account WHERE Id <= '001b' ORDER BY Id"
        );
        assert_eq!(
            q(Filter::Changed {
                since: "2026-01-31T09:30:00Z",
                after: ""
            }),
            "SELECT Id,Name FROM Account WHERE SystemModstamp >= 2026-01-31T09:30:00Z ORDER BY Id"
        );
        assert_eq!(
            q(Filter::Range {
                after: "001a",
                through: "001b",
                since: "2026-01-31T09:30:00Z",
            }),
            "SELECT Id,Name FROM Account WHERE SystemModstamp >= 2026-01-31T09:30:00Z AND Id > '001a' AND Id <= '001b' \
             ORDER BY Id"
        );
        assert_eq!(time(1_769_851_800_999_999), "2026-01-31T09:30:00Z");
        assert_eq!(
            q(Filter::Ids(&["001a".into(), "001b".into()])),
            "SELECT Id,Name FROM Account WHERE Id IN ('001a','001b') ORDER BY Id"
        );
        assert_eq!(
            select(
                "Contact",
                &["Id"],
                &Filter::Under {
                    field: "AccountId",
                    id: "001a"
                },
                Some(201)
            ),
            "SELECT Id FROM Contact WHERE AccountId = '001a' ORDER BY Id LIMIT 201"
        );
        assert_eq!(count("Case"), "SELECT COUNT() FROM Case");
    }

    #[test]
    fn text_cannot_leave_its_quotes() {
        assert_eq!(quote(r"O'Neil \ Co"), r"'O\'Neil \\ Co'");
        assert_eq!(quote("a\nb\"c"), "'a\\nb\\\"c'");
    }

    #[test]
    fn encoding_never_leaves_a_plus_or_an_ampersand() {
        assert_eq!(encode("a b,c > '1+2&é'"), "a+b,c+%3E+%271%2B2%26%C3%A9%27");
    }
}
