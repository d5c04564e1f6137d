//! Results as Salesforce writes them: every value and every name is quoted, null and empty text are both `""`, times end
//! with `Z`.

use serde::{Deserialize, Serialize};

use super::jobs::Outcome;
use crate::ids;
use crate::org::Row;
use crate::value::{Form, INVALID, Value};

/// The delimiter of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Delimiter {
    Backquote,
    Caret,
    Comma,
    Pipe,
    Semicolon,
    Tab,
}

/// The end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Ending {
    Lf,
    Crlf,
}

/// The form of a job's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) delimiter: Delimiter,
    pub(crate) ending: Ending,
}

impl Layout {
    fn delimiter(self) -> u8 {
        match self.delimiter {
            Delimiter::Backquote => b'`',
            Delimiter::Caret => b'^',
            Delimiter::Comma => b',',
            Delimiter::Pipe => b'|',
            Delimiter::Semicolon => b';',
            Delimiter::Tab => b'\t',
        }
    }

    fn end_line(self, out: &mut Vec<u8>) {
        if self.ending == Ending::Crlf {
            out.push(b'\r');
        }
        out.push(b'\n');
    }

    /// The names of the columns.
    pub(crate) fn header(self, outcome: &Outcome, out: &mut Vec<u8>) {
        for (n, column) in outcome.columns.iter().enumerate() {
            if n > 0 {
                out.push(self.delimiter());
            }
            quoted(&column.name, out);
        }
        self.end_line(out);
    }

    /// The nth row.
    pub(crate) fn row(self, outcome: &Outcome, n: usize, out: &mut Vec<u8>) {
        let at = Row {
            table: outcome.table,
            row: outcome.rows[n],
        };
        let org = outcome.org_of(n);
        for (n, column) in outcome.columns.iter().enumerate() {
            if n > 0 {
                out.push(self.delimiter());
            }
            value(&column.read(org, at), out);
        }
        self.end_line(out);
    }
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    let mut invalid = [0; 4];
    let invalid = INVALID.encode_utf8(&mut invalid).as_bytes();
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    let mut at = 0;
    while at < bytes.len() {
        let (instead, length): (&[u8], usize) = match bytes[at] {
            b'"' => (b"\"\"", 1),
            first if first == invalid[0] && bytes[at..].starts_with(invalid) => (b"\xff", invalid.len()),
            _ => {
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(instead);
        at += length;
        plain = at;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"\"\""),
        Value::Text(text) => quoted(text, out),
        Value::Id(prefix, row) => {
            out.push(b'"');
            out.extend_from_slice(&ids::encode(prefix, *row));
            out.push(b'"');
        }
        Value::Bool(true) => out.extend_from_slice(b"\"true\""),
        Value::Bool(false) => out.extend_from_slice(b"\"false\""),
        other => {
            let mut text = String::new();
            other.write(&mut text, Form::Wire);
            let text = text.trim_matches('"');
            // REST writes +0000.
            let (text, zone) = match (other, text.strip_suffix("+0000")) {
                (Value::Instant(_), Some(text)) => (text, "Z"),
                _ => (text, ""),
            };
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(zone.as_bytes());
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(v: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value(v, &mut out);
        out
    }

    #[test]
    fn values_are_written_as_bulk_writes_them() {
        let text = |text: &'static str| Value::text(text);
        for (value, csv) in [
            (Value::Null, r#""""#),
            (text(""), r#""""#),
            (text("NA"), r#""NA""#),
            (text("a \"b\",\r\nc"), "\"a \"\"b\"\",\r\nc\""),
            (text("nul \0 stays"), "\"nul \0 stays\""),
            (Value::Bool(true), r#""true""#),
            (Value::Int(39_000), r#""39000""#),
            (Value::Num(23.0), r#""23.0""#),
            (Value::Num(1e10), r#""1.0E10""#),
            (Value::Instant(1_309_999_020), r#""2011-07-07T00:37:00.000Z""#),
            (Value::Date(0), r#""1970-01-01""#),
            (Value::Millis(37_800_000), r#""10:30:00.000Z""#),
            (Value::Id("001", 0), r#""001Hs00002pxKlsIAE""#),
        ] {
            assert_eq!(String::from_utf8(written(&value)).unwrap(), csv);
        }
        assert_eq!(written(&Value::text(format!("a{INVALID}b"))), b"\"a\xffb\"");
    }

    proptest! {
        #[test]
        fn a_quoted_text_can_be_read_back(text in "[^\u{e0ff}]{0,40}") {
            let out = written(&Value::text(text.clone()));
            let inner = String::from_utf8(out).unwrap();
            let inner = inner.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            prop_assert_eq!(inner.replace("\"\"", "\u{1}").matches('"').count(), 0);
            prop_assert_eq!(inner.replace("\"\"", "\""), text);
        }
    }
}
