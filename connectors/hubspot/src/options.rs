//! The operator's settings.

use std::collections::HashMap;
use std::time::Duration;

use tether_connector_sdk::proto::{Error, Setting};
use tether_connector_sdk::settings::{self, Settings};

/// The required scopes.
const SCOPES: &str = "oauth crm.objects.companies.read";
/// The optional scopes: if one is not granted, its object is omitted. HubSpot has no read-only scope for tickets.
const OPTIONAL_SCOPES: &str = "crm.objects.contacts.read crm.objects.deals.read tickets";
/// A safe size of a URL in bytes: HubSpot's edge rejects URLs of about 8 KiB.
const ADDRESS_BUDGET: u64 = 7_000;

/// The OAuth endpoints of HubSpot. They differ in the position of secrets, not in their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OAuthApi {
    /// Tokens in paths; ends on 16 February 2027.
    V1,
    /// All parameters in forms.
    Dated,
}

/// HubSpot allows five searches per second; one is left to other systems.
const SEARCHES: u64 = 4;

/// More than any account is allowed; used as "no limit".
const MOST_SEARCHES: usize = 10_000;

/// The operator's settings. No Debug, because they contain the secret.
pub(crate) struct Options {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) oauth_api: OAuthApi,
    pub(crate) scopes: Vec<String>,
    pub(crate) optional_scopes: Vec<String>,
    /// The login URL, without a trailing slash.
    pub(crate) login_base: String,
    /// The API's URL, without a trailing slash.
    pub(crate) api_base: String,
    /// The first pause after a transient failure.
    pub(crate) back_off: Duration,
    /// Largest size of a URL in bytes.
    pub(crate) address_budget: usize,
    /// Pages of a list between two checkpoints.
    pub(crate) checkpoint_pages: usize,
    /// Searches per second and account.
    pub(crate) searches: usize,
}

/// The operator's settings for the public app. Private apps do not need them, because groups provide their tokens.
pub(crate) fn operator_settings() -> Vec<Setting> {
    vec![
        settings::operator("client_id", "Client id", false, false),
        settings::operator("client_secret", "Client secret", false, true),
    ]
}

impl Options {
    pub(crate) fn new(settings: &HashMap<String, String>) -> Result<Self, Error> {
        let settings = Settings::new(settings);
        let get = |key: &str| settings.get(key);
        let list = |key: &str, default: &str| -> Vec<String> {
            let text = get(key).unwrap_or(default);
            text.split([' ', ','])
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let oauth_api = match get("oauth_api") {
            None | Some("2026-03") => OAuthApi::Dated,
            Some("v1") => OAuthApi::V1,
            Some(_) => {
                return Err(Error::configuration(
                    "the setting oauth_api must be 2026-03, or v1 until HubSpot ends it on 16 February 2027",
                ));
            }
        };
        let address = |public: &str| {
            get("address_override").map_or_else(|| public.to_owned(), |a| a.trim_end_matches('/').to_owned())
        };
        let size = |key: &str, default: u64| {
            settings
                .number(key, default)
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX).max(1))
        };
        Ok(Self {
            client_id: settings.text("client_id"),
            client_secret: settings.text("client_secret"),
            oauth_api,
            scopes: list("scopes", SCOPES),
            optional_scopes: list("optional_scopes", OPTIONAL_SCOPES),
            login_base: address("https://app.hubspot.com"),
            api_base: address("https://api.hubapi.com"),
            back_off: Duration::from_millis(settings.number("back_off_ms", 1_000)?),
            address_budget: size("address_budget", ADDRESS_BUDGET)?,
            checkpoint_pages: size("checkpoint_pages", 10)?,
            searches: size("searches_per_second", SEARCHES)?.min(MOST_SEARCHES),
        })
    }

    /// The path of a token endpoint, with the suffix `what`: empty, `/introspect` or `/revoke`.
    pub(crate) fn token_path(&self, what: &str) -> String {
        match self.oauth_api {
            OAuthApi::V1 => format!("/oauth/v1/token{what}"),
            OAuthApi::Dated => format!("/oauth/2026-03/token{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(settings: &[(&str, &str)]) -> Result<Options, Error> {
        Options::new(&settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn what_is_not_set_is_hubspots_own() {
        let usual = options(&[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(usual.login_base, "https://app.hubspot.com");
        assert_eq!(usual.api_base, "https://api.hubapi.com");
        assert_eq!(usual.token_path("/revoke"), "/oauth/2026-03/token/revoke");
        assert_eq!(usual.scopes, ["oauth", "crm.objects.companies.read"]);
        let old = options(&[
            ("oauth_api", "v1"),
            ("scopes", "oauth, tickets"),
            ("address_override", "http://127.0.0.1:1/"),
        ]);
        let old = old.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(old.token_path(""), "/oauth/v1/token");
        assert_eq!(old.scopes, ["oauth", "tickets"]);
        assert_eq!(old.api_base, "http://127.0.0.1:1");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(options(&[("oauth_api", "v2")]).is_err());
        assert!(options(&[("back_off_ms", "soon")]).is_err());
    }
}
