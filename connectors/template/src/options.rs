//! The operator's settings: `[connector.template.settings]`.

use std::collections::HashMap;
use std::time::Duration;

use tether_connector_sdk::Error;
use tether_connector_sdk::settings::Settings;

/// The settings. No Debug, because they contain a secret.
pub(crate) struct Options {
    /// Id and secret of the operator's app at the CRM; needed for the browser login only.
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// The URL of the API, if the login names no other.
    pub(crate) api_url: String,
    /// The URL of the login page.
    pub(crate) login_url: String,
    /// The first pause before a request is repeated; it doubles.
    pub(crate) back_off: Duration,
}

impl Options {
    /// Parses the host's settings. Missing settings have their defaults.
    pub(crate) fn new(settings: &HashMap<String, String>) -> Result<Self, Error> {
        let settings = Settings::new(settings);
        let address = |key: &str, default: &str| {
            let address = settings.get(key).unwrap_or(default);
            address.trim_end_matches('/').to_owned()
        };
        Ok(Self {
            client_id: settings.text("client_id"),
            client_secret: settings.text("client_secret"),
            api_url: address("api_url", "https://api.template.example"),
            login_url: address("login_url", "https://login.template.example"),
            back_off: Duration::from_millis(settings.number("back_off_ms", 1_000)?),
        })
    }
}
