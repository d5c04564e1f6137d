//! Builds SOQL: names are checked, text is quoted, and the encoded length is known before sending.

use std::fmt::Write as _;

/// Row limits for a query that timed out.
pub(crate) const NARROW_LIMITS: [u32; 4] = [2_000, 1_000, 500, 200];

/// The condition of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter<'a> {
    /// Rows after an id, in the order of ids.
    After(&'a str),
    /// Rows after one id, up to and with another.
    Range { after: &'a str, through: &'a str },
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
    debug_assert!(is_name(object) && columns.iter().all(|column| column.split('.').all(is_name)));
    let mut soql = format!("SELECT {} FROM {object}", columns.join(","));
    match filter {
        Filter::After("") => {}
        Filter::After(id) => {
            let _ = write!(soql, " WHERE Id > {}", quote(id));
        }
        Filter::Range { after: "", through } => {
            let _ = write!(soql, " WHERE Id <= {}", quote(through));
        }
        Filter::Range { after, through } => {
            let _ = write!(soql, " WHERE Id > {} AND Id <= {}", quote(after), quote(through));
        }
        Filter::Ids(ids) => {
            let ids: Vec<String> = ids.iter().map(|id| quote(id)).collect();
            let _ = write!(soql, " WHERE Id IN ({})", ids.join(","));
        }
        Filter::Under { field, id } => {
            let _ = write!(soql, " WHERE {field} = {}", quote(id));
        }
    }
    soql.push_str(" ORDER BY Id");
    if let Some(limit) = limit {
        let _ = write!(soql, " LIMIT {limit}");
    }
    soql
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
                through: "001b"
            }),
            "SELECT Id,Name FROM Account WHERE Id > '001a' AND Id <= '001b' ORDER BY Id"
        );
        assert_eq!(
            q(Filter::Range {
                after: "",
                through: "001b"
            }),
            "SELECT Id,Name FROM Account WHERE Id <= '001b' ORDER BY Id"
        );
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
