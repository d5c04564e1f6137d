//! Salesforce's error replies.

use serde_json::{Value as Json, json};

/// An error of the REST API: an array of one element in the reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Error {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Vec<String>,
}

impl Error {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Error {
        Error {
            status,
            code,
            message: message.into(),
            fields: Vec::new(),
        }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Error {
        Error::new(400, "MALFORMED_QUERY", message)
    }

    pub(crate) fn not_found() -> Error {
        Error::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub(crate) fn session() -> Error {
        Error::new(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    pub(crate) fn method(method: &str, allowed: &str) -> Error {
        let message = format!("HTTP Method '{method}' not allowed. Allowed are {allowed}");
        Error::new(405, "METHOD_NOT_ALLOWED", message)
    }

    /// An error at a byte of a query: the excerpt, the caret, the position, the message.
    pub(crate) fn at(code: &'static str, soql: &str, byte: usize, message: &str) -> Error {
        let byte = (0..=byte.min(soql.len()))
            .rev()
            .find(|b| soql.is_char_boundary(*b))
            .unwrap_or(0);
        let before = &soql[..byte];
        let row = before.matches('\n').count() + 1;
        let line_from = before.rfind('\n').map_or(0, |n| n + 1);
        let line_to = soql[byte..].find('\n').map_or(soql.len(), |n| byte + n);
        let column = soql[line_from..byte].chars().count();
        // Of long queries, only the part around the position is shown.
        let line: Vec<char> = soql[line_from..line_to].chars().collect();
        let from = if line.len() > 120 {
            column.saturating_sub(40)
        } else {
            0
        };
        let to = line.len().min(column + 80);
        let excerpt: String = line[from..to].iter().collect();
        let caret = " ".repeat(column - from);
        let message = format!(
            "\n{excerpt}\n{caret}^\nERROR at Row:{row}:Column:{}\n{message}",
            column + 1
        );
        Error::new(400, code, message)
    }

    /// The body, with its keys in Salesforce's order.
    pub(crate) fn body(&self) -> String {
        let (message, fields) = (json!(self.message), json!(self.fields));
        let fields = if self.fields.is_empty() {
            String::new()
        } else {
            format!(",\"fields\":{fields}")
        };
        format!(
            "[{{\"message\":{message},\"errorCode\":\"{}\"{fields}}}]",
            self.code
        )
    }
}

/// An error of the token endpoint: an object, not an array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OAuthError {
    pub(crate) status: u16,
    pub(crate) error: &'static str,
    pub(crate) description: &'static str,
}

impl OAuthError {
    pub(crate) const fn new(error: &'static str, description: &'static str) -> OAuthError {
        OAuthError {
            status: 400,
            error,
            description,
        }
    }

    pub(crate) fn json(&self) -> Json {
        json!({ "error": self.error, "error_description": self.description })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_name() {
        let error = Error::at(
            "INVALID_FIELD",
            "SELECT Id, Foo__c FROM Account",
            11,
            "No such column",
        );
        assert_eq!(
            error.message,
            "\nSELECT Id, Foo__c FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column"
        );
    }
}
