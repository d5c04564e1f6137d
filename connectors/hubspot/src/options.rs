//! What the operator set.

use std::collections::HashMap;
use std::time::Duration;

use tether_connector_sdk::proto::{Error, Setting};
use tether_connector_sdk::settings::{self, Settings};

/// The scopes that a login cannot do without.
const SCOPES: &str = "oauth crm.objects.companies.read";
/// Those whose objects are left out where they are not granted. HubSpot has no scope that reads tickets alone.
const OPTIONAL_SCOPES: &str = "crm.objects.contacts.read crm.objects.deals.read tickets";
/// Bytes of an address that are safe: HubSpot's edge ends them at about 8 KiB.
const ADDRESS_BUDGET: u64 = 7_000;

/// Which of HubSpot's OAuth endpoints are used. They differ in where secrets stand, not in what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OAuthApi {
    /// Tokens in paths; ends on 16 February 2027.
    V1,
    /// Everything in forms.
    Dated,
}

/// HubSpot takes five searches a second; one is left to others.
const SEARCHES: u64 = 4;

/// What no account is allowed: enough for "no limit".
const MOST_SEARCHES: usize = 10_000;

/// The operator's settings. It has no Debug: the secret is in it.
pub(crate) struct Options {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) oauth_api: OAuthApi,
    pub(crate) scopes: Vec<String>,
    pub(crate) optional_scopes: Vec<String>,
    /// Where people log in, without a slash at the end.
    pub(crate) login_base: String,
    /// Where the API is, without a slash at the end.
    pub(crate) api_base: String,
    /// The first wait after a transient failure.
    pub(crate) back_off: Duration,
    /// Most bytes of an address.
    pub(crate) address_budget: usize,
    /// Pages of a list between two checkpoints.
    pub(crate) checkpoint_pages: usize,
    /// Searches of an account in a second.
    pub(crate) searches: usize,
}

/// What the operator sets: the public app. None is needed for private apps, whose tokens groups bring.
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

    /// The path of a token endpoint: empty, `/introspect` or `/revoke` behind the token's.
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
