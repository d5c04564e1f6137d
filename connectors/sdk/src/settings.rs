//! Reading settings and connections.

use std::collections::HashMap;

use crate::proto::{Connection, Credentials, Error, Setting};

/// The values of settings; a blank value counts as not set.
#[derive(Clone, Copy)]
pub struct Settings<'a>(&'a HashMap<String, String>);

impl<'a> Settings<'a> {
    /// Wraps these values.
    #[must_use]
    pub fn new(values: &'a HashMap<String, String>) -> Self {
        Self(values)
    }

    /// A value without the white space around it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let value = self.0.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    /// A text; empty if not set.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    /// A whole number.
    ///
    /// # Errors
    /// CONFIGURATION if it is not a number.
    pub fn number(&self, key: &str, default: u64) -> Result<u64, Error> {
        match self.get(key).map(str::parse) {
            None => Ok(default),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(Error::configuration(format!("the setting {key} is not a number"))),
        }
    }
}

/// Describes an operator setting, for `describe`.
#[must_use]
pub fn operator(key: &str, label: &str, required: bool, secret: bool) -> Setting {
    Setting {
        key: key.to_owned(),
        label: label.to_owned(),
        required,
        secret,
        ..Setting::default()
    }
}

/// An operator's setting that the call needs.
///
/// # Errors
/// CONFIGURATION if it is not set.
pub fn needed(key: &str, value: &str) -> Result<(), Error> {
    if value.is_empty() {
        return Err(Error::configuration(format!(
            "the operator has not set {key}, of an app registered at the CRM"
        )));
    }
    Ok(())
}

/// The refresh token.
///
/// # Errors
/// CREDENTIALS_REVOKED without one: only another login helps.
pub fn refresh_token(credentials: &Credentials) -> Result<&str, Error> {
    if credentials.refresh_token.is_empty() {
        return Err(Error::credentials_revoked(
            "there is no refresh token; log in again",
        ));
    }
    Ok(&credentials.refresh_token)
}

/// The connection of a call for an account, and its access token.
///
/// # Errors
/// BUG without a connection; CREDENTIALS_EXPIRED without a token, so that the host refreshes.
pub fn signed_in(connection: Option<&Connection>) -> Result<(&Connection, String), Error> {
    let connection = connection.ok_or_else(|| Error::bug("a call without a connection"))?;
    let credentials = connection.credentials.as_ref();
    let token = credentials.map(|c| c.access_token.clone()).unwrap_or_default();
    if token.is_empty() {
        return Err(Error::credentials_expired("there is no access token yet"));
    }
    Ok((connection, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ErrorKind;

    #[test]
    fn blank_settings_are_not_set_and_numbers_are_numbers() {
        let values = [("a", " x "), ("b", " "), ("n", "7"), ("m", "soon")];
        let values = values.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let settings = Settings::new(&values);
        assert_eq!((settings.get("a"), settings.get("b")), (Some("x"), None));
        assert_eq!(
            (settings.text("a").as_str(), settings.text("c").as_str()),
            ("x", "")
        );
        assert_eq!((settings.number("n", 1), settings.number("c", 1)), (Ok(7), Ok(1)));
        let error = settings.number("m", 1).unwrap_err();
        assert_eq!(error.what(), ErrorKind::Configuration);
    }

    #[test]
    fn a_call_needs_a_connection_with_a_token() {
        let token = |connection: Option<&Connection>| match signed_in(connection) {
            Ok((_, token)) => Ok(token),
            Err(error) => Err(error.what()),
        };
        assert_eq!(token(None), Err(ErrorKind::Bug));
        let mut connection = Connection::default();
        assert_eq!(token(Some(&connection)), Err(ErrorKind::CredentialsExpired));
        connection.credentials = Some(Credentials {
            access_token: "t".to_owned(),
            ..Credentials::default()
        });
        assert_eq!(token(Some(&connection)), Ok("t".to_owned()));
    }
}
