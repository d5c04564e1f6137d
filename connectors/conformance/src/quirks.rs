//! `conformance.toml`: the kit's configuration for a connector, beside its `connector.toml`.
//!
//! Placeholders in texts: `{fixture}` is the address that the connector must use, with scheme and port; `{control}`
//! the fixture's own control address; `{folder}` the connector's folder.

mod changes;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use tether_connector_host::proto::AuthKind;

pub use self::changes::{Kind, Post, Step};
use crate::Error;

/// The file's name.
pub const FILE_NAME: &str = "conformance.toml";

/// The configuration of a connector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirks {
    /// The fixture server; none for a connector that uses no network.
    pub fixture: Option<Fixture>,
    /// The operator's settings.
    #[serde(default)]
    pub operator: Operator,
    /// The settings that a group chooses before the login.
    #[serde(default)]
    pub group: Group,
    /// The login.
    pub login: Login,
    /// The connector's requests to the CRM besides GET.
    #[serde(default)]
    pub requests: Requests,
    /// A well-formed id of a company record that does not exist.
    pub absent_company: String,
    /// The id of a company record that the CRM has as deleted: in a recycle bin, archived, with a mark. Without it, one
    /// that the full read lists as deleted.
    pub deleted_company: Option<String>,
    /// Refusals in the CRM's own form.
    #[serde(default)]
    pub refusals: Refusals,
    /// How the fixture's records change between two reads, by kind; for a connector with the feature `changes`.
    #[serde(default)]
    pub changes: BTreeMap<Kind, Step>,
    /// States that earlier versions of the connector stored.
    #[serde(default)]
    pub old_states: Vec<String>,
    /// Missing features, each with the reason. Their checks are not applicable.
    #[serde(default)]
    pub lacks: BTreeMap<Lack, String>,
}

/// How to start the fixture server. It stays in the foreground, listens on loopback, and prints one line of JSON with
/// its addresses first. It must exit when its standard input is closed; otherwise it is killed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The program and its arguments. A name without a slash is searched in the connector's folder, in the folder of
    /// the running program, then in PATH.
    pub command: Vec<String>,
    /// The member of the line that has the CRM's address, `http://127.0.0.1:1234`.
    #[serde(default = "http")]
    pub address: String,
    /// The member that has the control address, if there is one.
    #[serde(default = "control")]
    pub control: String,
    /// A URL where GET answers JSON with `writes` (a number or a list): attempts to change the CRM.
    pub writes: Option<String>,
}

fn http() -> String {
    "http".to_owned()
}

fn control() -> String {
    "control".to_owned()
}

/// The operator's settings.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The settings.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Settings that a login requires: it must fail if one is missing or invalid.
    #[serde(default)]
    pub required: Vec<String>,
    /// The secret settings.
    #[serde(default)]
    pub secret: Vec<String>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The settings of a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The settings.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// The login.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The login method.
    pub method: Method,
    /// The method's parameters.
    #[serde(default)]
    pub parameters: HashMap<String, String>,
    /// For a browser login: a URL where GET answers JSON with `redirectUrl`, the redirect of the browser. `{url}` is
    /// the authorization URL, `{decision}` is `allow` or `deny`; both are percent-encoded.
    pub approve: Option<String>,
    /// The redirect target of the browser.
    #[serde(default = "redirect_uri")]
    pub redirect_uri: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn redirect_uri() -> String {
    "http://127.0.0.1:1/callback".to_owned()
}

/// A login method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// In the browser.
    AuthorizationCode,
    /// With the app's own credentials.
    ClientCredentials,
    /// With a signed assertion.
    JwtBearer,
    /// With a key created in the CRM.
    ApiKey,
}

impl Method {
    /// The name in the contract.
    #[must_use]
    pub fn kind(self) -> AuthKind {
        match self {
            Self::AuthorizationCode => AuthKind::AuthorizationCode,
            Self::ClientCredentials => AuthKind::ClientCredentials,
            Self::JwtBearer => AuthKind::JwtBearer,
            Self::ApiKey => AuthKind::ApiKey,
        }
    }
}

/// The connector's requests to the CRM besides GET. Paths, in which `*` matches anything but a slash.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Token and revocation endpoints.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// Reads that are POSTs: searches, batches of reads.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Exports, which are begun, ended and deleted with other methods too.
    #[serde(default)]
    pub exports: Vec<String>,
}

/// Refusals in the CRM's own form, which the kit's proxy answers instead of the CRM.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    /// The user may not read the records of one object.
    pub object: Option<ObjectRefusal>,
    /// A limit of the CRM was reached.
    pub limit: Option<LimitRefusal>,
}

/// A refusal to read one object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRefusal {
    /// The object's key.
    pub object: String,
    /// A text in the requests that read it, and in no others: their path, or a part of their query.
    pub requests: String,
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Headers besides the content type, which is JSON.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A refusal because of a limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRefusal {
    /// The pause in seconds that the refusal asks for or implies: so long that the connector reports it instead of
    /// waiting. 0: it names no time, as with many used-up allowances.
    #[serde(default)]
    pub wait_seconds: u64,
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Headers besides the content type, which is JSON.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A feature that a connector may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// It does not use the network: requests can be neither observed nor disturbed.
    Network,
    /// Its credentials do not expire and cannot be refreshed.
    Expiry,
    /// The login page does not support PKCE, so no challenge is sent.
    Pkce,
    /// The CRM has no revocation.
    Revocation,
    /// A revocation ends the refresh token; an access token stays valid until it expires.
    ImmediateRevocation,
    /// The CRM does not report that credentials are already revoked.
    RevocationMemory,
    /// A code can be exchanged twice.
    SingleUseCodes,
    /// Users cannot deny a login.
    Denial,
    /// Records may name parents that do not exist.
    WholeParents,
    /// Some objects have no records in the fixture.
    Rows,
    /// No company has two related records of one object in the fixture.
    Related,
    /// The API has one address for all accounts: the connector has no use for `Connection.base_url`.
    OneAddress,
    /// The CRM never reports how long to wait, so the connector does not read it.
    RetryAfter,
    /// The CRM does not say of some objects what changed, so that reads of changes return all of their records.
    ChangeTimes,
    /// What changed and what was deleted are in different lists: a read of changes asks for both, of each object.
    ChangeFeeds,
    /// The CRM does not say that a record has other parents: they come when something of all records is due.
    MoveTimes,
}

impl Quirks {
    /// Reads the quirks of a connector.
    ///
    /// # Errors
    /// If the file cannot be read or is invalid.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let wrong = |reason: String| Error::Quirks {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| wrong(format!("{error}; docs/conformance.md describes its content")))?;
        let quirks: Self = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        if quirks.login.method == Method::AuthorizationCode && quirks.login.approve.is_none() {
            return Err(wrong(
                "the login needs `approve`, so that no browser is needed".to_owned(),
            ));
        }
        if quirks.fixture.is_none() && !quirks.lacks.contains_key(&Lack::Network) {
            return Err(wrong(
                "there is neither a [fixture] nor `network` among [lacks]".to_owned(),
            ));
        }
        Ok(quirks)
    }

    /// The reason for a missing feature, if it is missing.
    #[must_use]
    pub fn lack(&self, what: Lack) -> Option<&str> {
        self.lacks.get(&what).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_known_settings_only() {
        let folder = std::env::temp_dir().join(format!("tether-quirks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let read = |text: &str| {
            std::fs::write(folder.join(FILE_NAME), text).unwrap();
            Quirks::read(&folder).map_err(|error| error.to_string())
        };
        let api_key = "absent_company = \"x\"\n[login]\nmethod = \"api_key\"\n";
        let quirks = read(&format!("{api_key}[lacks]\nnetwork = \"a file\"\n")).unwrap();
        assert_eq!(quirks.lack(Lack::Network), Some("a file"));
        assert!(read(api_key).unwrap_err().contains("neither"));
        assert!(
            read(&format!("{api_key}[lacks]\nmanners = \"\"\n"))
                .unwrap_err()
                .contains("manners")
        );
        let browser =
            "absent_company = \"x\"\n[login]\nmethod = \"authorization_code\"\n[lacks]\nnetwork = \"\"\n";
        assert!(read(browser).unwrap_err().contains("approve"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
