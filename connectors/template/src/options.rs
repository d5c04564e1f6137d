//! The operator's settings: `[connector.template.settings]`.

use std::collections::HashMap;

use tether_connector_sdk::Error;

/// The settings. No Debug, because they contain a secret.
pub(crate) struct Options {
    /// Id and secret of the operator's app at the CRM.
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// The URL of the API.
    pub(crate) api_url: String,
    /// The URL of the login page.
    pub(crate) login_url: String,
}

impl Options {
    /// Parses the host's settings. Missing settings have their defaults; an app is needed for the browser login only.
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

    /// Fails if the operator has configured no app.
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
