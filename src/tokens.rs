//! Tokens of callers: JWTs (RFC 7519) signed with EdDSA or RS256 by a key of the configured JWKS (RFC 7517).
//!
//! Claims: `sub` the user or service, `group` its group, `role` one of `member`, `administrator`, `service`, and `iss`,
//! `aud`, `exp`. With `--dev` a key is made in the data directory and `tether token` signs with it.

use crate::caller::{Caller, Role};
use crate::config;
use crate::error::{Error, Reason, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The issuer of tokens that `tether token` signs.
pub const DEV_ISSUER: &str = "tether-dev";
/// The audience of tokens that `tether token` signs.
pub const DEV_AUDIENCE: &str = "tether";
const DEV_KEY_FILE: &str = "dev-signing.key";
/// RFC 8410: the PKCS #8 wrapping of an Ed25519 seed.
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    role: String,
    iss: String,
    aud: serde_json::Value,
    exp: u64,
}

/// Checks tokens.
pub struct Verifier {
    keys: Vec<(Option<String>, Algorithm, DecodingKey)>,
    issuer: String,
    audience: String,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("keys", &self.keys.len())
            .finish()
    }
}

impl Verifier {
    /// A verifier over a JWKS. Keys of other algorithms than EdDSA and RS256 are left out.
    ///
    /// # Errors
    /// The text is no JWKS, or none of its keys can be used.
    pub fn from_jwks(jwks: &str, issuer: &str, audience: &str) -> std::result::Result<Self, config::Error> {
        let rule = |text: String| config::Error::Rule(format!("auth.jwks_file: {text}"));
        let set: JwkSet = serde_json::from_str(jwks).map_err(|error| rule(error.to_string()))?;
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let algorithm = match &jwk.algorithm {
                jsonwebtoken::jwk::AlgorithmParameters::RSA(_) => Algorithm::RS256,
                jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
                _ => continue,
            };
            let key = DecodingKey::from_jwk(jwk).map_err(|error| rule(error.to_string()))?;
            keys.push((jwk.common.key_id.clone(), algorithm, key));
        }
        if keys.is_empty() {
            return Err(rule("no Ed25519 or RSA key in it".to_owned()));
        }
        Ok(Self {
            keys,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        })
    }

    /// The caller that the value of an `authorization` header speaks for.
    ///
    /// # Errors
    /// TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED; none says what the token held.
    pub fn verify(&self, authorization: Option<&str>) -> Result<Caller> {
        let invalid = |text: &str| Error::new(Reason::TokenInvalid, text.to_owned());
        let token = authorization
            .ok_or_else(|| Error::new(Reason::TokenMissing, "send a token: authorization: Bearer …"))?
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| invalid("the authorization header is not of the form: Bearer …"))?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid("the token is no JWT"))?;
        let (_, algorithm, key) = self
            .keys
            .iter()
            .find(|(id, algorithm, _)| {
                *algorithm == header.alg && (header.kid.is_none() || *id == header.kid)
            })
            .ok_or_else(|| {
                invalid("the token's key or algorithm is not in the JWKS (EdDSA and RS256 are taken)")
            })?;
        let mut rules = Validation::new(*algorithm);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, key, &rules)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
                    Error::new(Reason::TokenExpired, "the token has expired: get a new one")
                }
                kind => {
                    let error = invalid("the token's signature, issuer, audience or claims do not hold");
                    match claim(kind) {
                        Some(claim) => error.with("claim", claim),
                        None => error,
                    }
                }
            })?
            .claims;
        let role = Role::parse(&claims.role).ok_or_else(|| {
            invalid("the token's role is none of member, administrator, service").with("claim", "role")
        })?;
        let group = claims.group.filter(|group| !group.is_empty());
        if (role == Role::Service) == group.is_some() {
            return Err(
                invalid("a member's or administrator's token names a group, a service's does not")
                    .with("claim", "group"),
            );
        }
        Ok(Caller {
            subject: claims.sub,
            group,
            role,
        })
    }
}

/// Which claim is at fault, where it is one.
fn claim(kind: &jsonwebtoken::errors::ErrorKind) -> Option<String> {
    use jsonwebtoken::errors::ErrorKind as K;
    match kind {
        K::InvalidIssuer => Some("iss".to_owned()),
        K::InvalidAudience => Some("aud".to_owned()),
        K::InvalidSubject => Some("sub".to_owned()),
        K::MissingRequiredClaim(claim) => Some(claim.clone()),
        _ => None,
    }
}

/// Signs tokens with the key that `--dev` made.
pub struct DevSigner {
    seed: [u8; 32],
}

impl DevSigner {
    /// Reads the key of the data directory, or makes it (readable by its owner alone).
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(data_dir: &Path, create: bool) -> std::result::Result<Self, config::Error> {
        let path = data_dir.join(DEV_KEY_FILE);
        let file = |cause| config::Error::File {
            setting: "data_dir",
            path: path.clone(),
            cause,
        };
        if create && !path.exists() {
            let mut seed = [0; 32];
            rand::rng().fill_bytes(&mut seed);
            write_private(&path, URL_SAFE_NO_PAD.encode(seed).as_bytes()).map_err(file)?;
        }
        let text = std::fs::read_to_string(&path).map_err(file)?;
        let seed = URL_SAFE_NO_PAD
            .decode(text.trim())
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        let seed =
            seed.ok_or_else(|| config::Error::Rule(format!("{} is damaged: remove it", path.display())))?;
        Ok(Self { seed })
    }

    /// A token.
    ///
    /// # Errors
    /// None in practice.
    pub fn sign(
        &self,
        subject: &str,
        group: Option<&str>,
        role: Role,
        life: Duration,
    ) -> std::result::Result<String, config::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            sub: subject.to_owned(),
            group: group.map(str::to_owned),
            role: role.as_str().to_owned(),
            iss: DEV_ISSUER.to_owned(),
            aud: DEV_AUDIENCE.into(),
            exp: (now + life).as_secs(),
        };
        let key = EncodingKey::from_ed_der(&[&PKCS8_ED25519[..], &self.seed].concat());
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)
            .map_err(|error| config::Error::Rule(format!("the dev key does not sign: {error}")))
    }

    /// The JWKS of its public half.
    #[must_use]
    pub fn jwks(&self) -> String {
        let public = ed25519_dalek::SigningKey::from_bytes(&self.seed).verifying_key();
        serde_json::json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public.as_bytes())}]})
            .to_string()
    }
}

/// Writes a file that only its owner can read, in one step.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let staged = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(result: Result<Caller>) -> Reason {
        result.unwrap_err().reason
    }

    #[test]
    fn tokens_of_each_role_and_what_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let signer = DevSigner::open(folder.path(), true).unwrap();
        let verifier = Verifier::from_jwks(&signer.jwks(), DEV_ISSUER, DEV_AUDIENCE).unwrap();
        let hour = Duration::from_secs(3600);
        let bearer = |group, role, life| format!("Bearer {}", signer.sign("ann", group, role, life).unwrap());
        let caller = verifier
            .verify(Some(&bearer(Some("acme"), Role::Administrator, hour)))
            .unwrap();
        assert_eq!(
            (caller.group.as_deref(), caller.role),
            (Some("acme"), Role::Administrator)
        );
        assert_eq!(
            verifier
                .verify(Some(&bearer(None, Role::Service, hour)))
                .unwrap()
                .group,
            None
        );

        assert_eq!(reason(verifier.verify(None)), Reason::TokenMissing);
        assert_eq!(reason(verifier.verify(Some("Basic abc"))), Reason::TokenInvalid);
        assert_eq!(reason(verifier.verify(Some("Bearer abc"))), Reason::TokenInvalid);
        assert_eq!(
            reason(verifier.verify(Some(&bearer(None, Role::Member, hour)))),
            Reason::TokenInvalid
        );
        assert_eq!(
            reason(verifier.verify(Some(&bearer(Some("acme"), Role::Service, hour)))),
            Reason::TokenInvalid
        );
        let other = tempfile::tempdir().unwrap();
        let stranger =
            DevSigner::open(other.path(), true)
                .unwrap()
                .sign("ann", Some("acme"), Role::Member, hour);
        assert_eq!(
            reason(verifier.verify(Some(&format!("Bearer {}", stranger.unwrap())))),
            Reason::TokenInvalid
        );
        let mut elsewhere = Verifier::from_jwks(&signer.jwks(), DEV_ISSUER, "other").unwrap();
        assert_eq!(
            reason(elsewhere.verify(Some(&bearer(Some("acme"), Role::Member, hour)))),
            Reason::TokenInvalid
        );
        elsewhere.audience = DEV_AUDIENCE.to_owned();
        assert!(
            elsewhere
                .verify(Some(&bearer(Some("acme"), Role::Member, hour)))
                .is_ok()
        );
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode("{}")
        );
        assert_eq!(
            reason(verifier.verify(Some(&format!("Bearer {none}")))),
            Reason::TokenInvalid
        );
    }

    #[test]
    fn an_expired_token_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let signer = DevSigner::open(folder.path(), true).unwrap();
        let verifier = Verifier::from_jwks(&signer.jwks(), DEV_ISSUER, DEV_AUDIENCE).unwrap();
        let claims = Claims {
            sub: "ann".into(),
            group: Some("acme".into()),
            role: "member".into(),
            iss: DEV_ISSUER.into(),
            aud: DEV_AUDIENCE.into(),
            exp: 1_000_000,
        };
        let key = EncodingKey::from_ed_der(&[&PKCS8_ED25519[..], &signer.seed].concat());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap();
        assert_eq!(
            reason(verifier.verify(Some(&format!("Bearer {token}")))),
            Reason::TokenExpired
        );
    }
}
