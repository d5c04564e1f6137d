//! `conformance.toml`: what the kit has to know of a connector, beside its `connector.toml`.
//!
//! Placeholders in texts: `{fixture}` is the address that the connector shall use, with scheme and port; `{control}` the
//! fixture's own control address; `{folder}` the connector's folder.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use tether_connector_host::proto::AuthKind;

use crate::Error;

/// The file's name.
pub const FILE_NAME: &str = "conformance.toml";

/// A connector, as the kit must know it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirks {
    /// The fixture server; none for a connector that uses no network.
    pub fixture: Option<Fixture>,
    /// What the operator sets.
    #[serde(default)]
    pub operator: Operator,
    /// What a group chooses before it logs in.
    #[serde(default)]
    pub group: Group,
    /// How to log in.
    pub login: Login,
    /// What the connector may ask of the CRM besides GET.
    #[serde(default)]
    pub requests: Requests,
    /// A well-formed id of a company record that is not there.
    pub absent_company: String,
    /// What it does not have, each with the reason. The checks of it are not applicable.
    #[serde(default)]
    pub lacks: BTreeMap<Lack, String>,
}

/// How to start the fixture server. It stays in the foreground, listens on loopback, and prints one line of JSON with its
/// addresses first; it is to end when its standard input does, and is killed where it does not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The program and its arguments. A name without a slash is looked for in the connector's folder, beside the running
    /// program, then in PATH.
    pub command: Vec<String>,
    /// The member of the line that has the CRM's address, `http://127.0.0.1:1234`.
    #[serde(default = "http")]
    pub address: String,
    /// The member that has the control address, if there is one.
    #[serde(default = "control")]
    pub control: String,
    /// Where a GET answers JSON whose `writes` (a number or a list) tells attempts to change the CRM.
    pub writes: Option<String>,
}

fn http() -> String {
    "http".to_owned()
}

fn control() -> String {
    "control".to_owned()
}

/// What the operator sets.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The settings.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Those without which, and with nonsense in which, nobody can log in.
    #[serde(default)]
    pub required: Vec<String>,
    /// Those that are secret.
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

/// What a group chooses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The settings.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// How to log in.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Which of the connector's methods.
    pub method: Method,
    /// The method's parameters.
    #[serde(default)]
    pub parameters: HashMap<String, String>,
    /// For the browser's way: where a GET answers JSON with `redirectUrl`, where the browser would go. `{url}` is the
    /// authorization address, `{decision}` is `allow` or `deny`; both come percent-encoded.
    pub approve: Option<String>,
    /// Where the browser comes back to.
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

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// In the browser.
    AuthorizationCode,
    /// As the app.
    ClientCredentials,
    /// With a signed assertion.
    JwtBearer,
    /// With a key made in the CRM.
    ApiKey,
}

impl Method {
    /// As the contract calls it.
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

/// What the connector may ask of the CRM besides GET. Paths, in which `*` stands for anything but a slash.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Token and revocation endpoints.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// Reads that are POSTs: searches, batches of reads.
    #[serde(default)]
    pub reads: Vec<String>,
}

/// What a connector may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// It uses no network: nothing can be seen or troubled on the way to the CRM.
    Network,
    /// Its credentials do not end and cannot be refreshed.
    Expiry,
    /// The login page takes no PKCE challenge, so that none is sent.
    Pkce,
    /// The CRM has nothing to revoke.
    Revocation,
    /// Revocation ends what credentials are refreshed with; an access token lives on until its own end.
    ImmediateRevocation,
    /// The CRM does not say that credentials are gone already.
    RevocationMemory,
    /// A code can be exchanged twice.
    SingleUseCodes,
    /// Nobody can be denied.
    Denial,
    /// Records may name parents that are not there.
    WholeParents,
    /// Some objects have no records in the fixture.
    Rows,
    /// No company has two related records of one object in the fixture.
    Related,
    /// The CRM never says how long to wait, so that the connector does not listen for it.
    RetryAfter,
}

impl Quirks {
    /// Reads the quirks of a connector.
    ///
    /// # Errors
    /// Where the file cannot be read, or says what it cannot.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let wrong = |reason: String| Error::Quirks {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| wrong(format!("{error}; docs/conformance.md says what stands in it")))?;
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

    /// The reason why it lacks something, where it does.
    #[must_use]
    pub fn lack(&self, what: Lack) -> Option<&str> {
        self.lacks.get(&what).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_may_and_nothing_else() {
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
