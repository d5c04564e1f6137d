//! The operator's settings and the login hosts. The server calls hosts that users enter, so only hosts of Salesforce
//! are accepted.

use std::collections::HashMap;
use std::time::Duration;

use tether_connector_sdk::proto::{Choice, Error, Setting};
use tether_connector_sdk::settings::{self, Settings};

use crate::plan::QUERY_BUDGET;

/// The setting for the kind of organization.
pub(crate) const ENVIRONMENT: &str = "environment";
/// The setting for the organization's own login host.
pub(crate) const DOMAIN: &str = "domain";

/// Below that REST takes fewer calls, or hardly more, and is faster.
const BULK_ROWS: u64 = 40_000;
/// A page that breaks off is downloaded again. Less than half of what the HTTP client accepts.
const BULK_PAGE_BYTES: u64 = 24 * 1024 * 1024;
/// Salesforce gives a query two hours.
const BULK_WAIT_MINUTES: u64 = 150;

const PRODUCTION: &str = "production";
const SANDBOX: &str = "sandbox";

/// The operator's settings. No Debug, because they contain the secret.
pub(crate) struct Options {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// `v62.0`.
    pub(crate) api_version: String,
    /// The first pause after a transient failure.
    pub(crate) back_off: Duration,
    /// Largest size of an encoded query in bytes.
    pub(crate) query_budget: usize,
    /// The number of records from which Bulk is used; 0: never.
    pub(crate) bulk_rows: u64,
    /// The approximate bytes of a page of a job's result.
    pub(crate) bulk_page_bytes: u64,
    /// How long a job may run without getting on, in microseconds.
    pub(crate) bulk_wait_us: i64,
    login_host_override: Option<String>,
}

impl Options {
    pub(crate) fn new(settings: &HashMap<String, String>) -> Result<Self, Error> {
        let settings = Settings::new(settings);
        let get = |key: &str| settings.get(key);
        let api_version = get("api_version").unwrap_or("v62.0").trim_start_matches('v');
        let valid = api_version
            .strip_suffix(".0")
            .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n >= 50));
        if !valid {
            return Err(Error::configuration(
                "the setting api_version must be like v62.0, and v50.0 at least",
            ));
        }
        Ok(Self {
            client_id: settings.text("client_id"),
            client_secret: settings.text("client_secret"),
            api_version: format!("v{api_version}"),
            back_off: Duration::from_millis(settings.number("back_off_ms", 1_000)?),
            query_budget: usize::try_from(settings.number("query_budget", QUERY_BUDGET as u64)?)
                .unwrap_or(QUERY_BUDGET),
            bulk_rows: settings.number("bulk_rows", BULK_ROWS)?,
            bulk_page_bytes: settings.number("bulk_page_bytes", BULK_PAGE_BYTES)?,
            bulk_wait_us: i64::try_from(settings.number("bulk_wait_minutes", BULK_WAIT_MINUTES)?)
                .unwrap_or(i64::MAX)
                .saturating_mul(60_000_000),
            login_host_override: get("login_host_override").map(|host| host.trim_end_matches('/').to_owned()),
        })
    }

    /// The login URL for a group with these settings, without a trailing slash.
    pub(crate) fn login_base(&self, settings: &HashMap<String, String>) -> Result<String, Error> {
        let host = login_host(settings)?;
        Ok(self
            .login_host_override
            .clone()
            .unwrap_or_else(|| format!("https://{host}")))
    }
}

/// The settings that a group enters before the login.
pub(crate) fn settings() -> Vec<Setting> {
    let choice = |value: &str, label: &str| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
    };
    vec![
        Setting {
            key: ENVIRONMENT.to_owned(),
            label: "Environment".to_owned(),
            description: "Where the organization logs in.".to_owned(),
            choices: vec![
                choice(PRODUCTION, "Production or Developer Edition"),
                choice(SANDBOX, "Sandbox"),
                choice(DOMAIN, "My Domain"),
            ],
            required: false,
            secret: false,
            default_value: PRODUCTION.to_owned(),
        },
        Setting {
            key: DOMAIN.to_owned(),
            label: "My Domain".to_owned(),
            description:
                "The organization's own login host, for example acme.my.salesforce.com. Needed where the \
                          organization forbids logging in elsewhere."
                    .to_owned(),
            ..Setting::default()
        },
    ]
}

/// The operator's settings for the app. Groups do not see them.
pub(crate) fn operator_settings() -> Vec<Setting> {
    vec![
        settings::operator("client_id", "Client id", true, false),
        settings::operator("client_secret", "Client secret", false, true),
    ]
}

/// Whether the settings name a My Domain host: some login methods work only there.
pub(crate) fn has_own_domain(settings: &HashMap<String, String>) -> bool {
    login_host(settings).is_ok_and(|host| host.ends_with(".my.salesforce.com"))
}

fn login_host(settings: &HashMap<String, String>) -> Result<String, Error> {
    let get = |key: &str| settings.get(key).map_or("", |value| value.trim());
    match (get(ENVIRONMENT), get(DOMAIN)) {
        (PRODUCTION | "", "") => Ok("login.salesforce.com".to_owned()),
        (SANDBOX, "") => Ok("test.salesforce.com".to_owned()),
        (DOMAIN, "") => Err(invalid(
            "the setting domain is missing; it is like acme.my.salesforce.com",
        )),
        // An own domain is more specific than the environment.
        (PRODUCTION | SANDBOX | DOMAIN | "", domain) => own_domain(domain),
        _ => Err(invalid(
            "the setting environment must be production, sandbox or domain",
        )),
    }
}

/// The login host for a text entered by a user.
fn own_domain(given: &str) -> Result<String, Error> {
    let host = given
        .strip_prefix("https://")
        .unwrap_or(given)
        .trim_end_matches('/')
        .to_ascii_lowercase();
    let host = match host.strip_suffix(".lightning.force.com") {
        Some(name) => format!("{name}.my.salesforce.com"),
        None => host,
    };
    let name = [".my.salesforce.com", ".my.site.com"]
        .iter()
        .find_map(|suffix| host.strip_suffix(suffix));
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.is_some_and(|name| name.split('.').all(label)) && host.len() <= 253 {
        Ok(host)
    } else {
        Err(invalid(
            "the setting domain must be the organization's My Domain, like acme.my.salesforce.com",
        ))
    }
}

fn invalid(message: &str) -> Error {
    Error::invalid_input(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(environment: &str, domain: &str) -> Option<String> {
        login_host(
            &[(ENVIRONMENT, environment), (DOMAIN, domain)]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
        )
        .ok()
    }

    #[test]
    fn login_hosts() {
        assert_eq!(host("", "").as_deref(), Some("login.salesforce.com"));
        assert_eq!(host("sandbox", "").as_deref(), Some("test.salesforce.com"));
        assert_eq!(host("domain", ""), None);
        assert_eq!(host("elsewhere", ""), None);
        #[rustfmt::skip]
        let table = [
            ("acme.my.salesforce.com", Some("acme.my.salesforce.com")),
            (" https://ACME.my.salesforce.com/ ", Some("acme.my.salesforce.com")),
            ("acme--dev.sandbox.my.salesforce.com", Some("acme--dev.sandbox.my.salesforce.com")),
            ("acme.lightning.force.com", Some("acme.my.salesforce.com")),
            ("acme.my.site.com", Some("acme.my.site.com")),
            ("my.salesforce.com", None),
            (".my.salesforce.com", None),
            ("acme.my.salesforce.com.evil.example", None),
            ("evil.example/acme.my.salesforce.com", None),
            ("evil.example#.my.salesforce.com", None),
            ("user@evil.example?.my.salesforce.com", None),
            ("acme.my.salesforce.com:8443", None),
            ("127.0.0.1", None),
            ("http://acme.my.salesforce.com", None),
            ("acme.salesforce.com", None),
            ("ácme.my.salesforce.com", None),
        ];
        for (given, expected) in table {
            assert_eq!(host("domain", given).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn versions() {
        let version = |v: &str| Options::new(&[("api_version".to_owned(), v.to_owned())].into()).ok();
        assert_eq!(version("62.0").unwrap().api_version, "v62.0");
        assert_eq!(version("").unwrap().api_version, "v62.0");
        for wrong in ["latest", "v62", "v20.0", "v62.0/../x"] {
            assert!(version(wrong).is_none(), "{wrong}");
        }
    }
}
