//! What the operator sets: `[connector.template.settings]`.

use std::collections::HashMap;

use tether_connector_sdk::Error;

/// The settings. They have no Debug: a secret is among them.
pub(crate) struct Options {
    /// Of the operator's app at the CRM.
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Where the API is.
    pub(crate) api_url: String,
    /// Where people log in.
    pub(crate) login_url: String,
}

impl Options {
    /// Out of the host's settings. Whatever is not set has its default; an app is needed for the browser's login only.
    pub(crate) fn new(mut settings: HashMap<String, String>) -> Self {
        let mut take = |key: &str, default: &str| {
            let value = settings.remove(key).unwrap_or_default();
            let value = if value.is_empty() { default } else { &value };
            value.trim_end_matches('/').to_owned()
        };
        Self {
            client_id: take("client_id", ""),
            client_secret: take("client_secret", ""),
            api_url: take("api_url", "https://api.template.example"),
            login_url: take("login_url", "https://login.template.example"),
        }
    }

    /// Fails where the operator has given no app.
    pub(crate) fn check_app(&self) -> Result<(), Error> {
        for (key, value) in [
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
        ] {
            if value.is_empty() {
                return Err(Error::configuration(format!(
                    "the operator has to set {key}, of an app registered at the CRM"
                )));
            }
        }
        Ok(())
    }
}
