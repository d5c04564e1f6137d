//! Authentication: JWTs (RFC 7519) signed with EdDSA or RS256 by a key of the configured JWKS (RFC 7517).
//!
//! Claims: `sub` is the user or service, `group` its group, `role` one of `member`, `administrator`, `service`; also
//! `iss`, `aud`, `exp`, and optionally `nbf`. As RFC 8725 recommends, the algorithm is determined by the key and not
//! by the token alone, the type of a token is checked, and URLs or keys in a header (`jku`, `jwk`, `x5u`) are neither
//! fetched nor trusted. With `--dev` a key is created in the data directory, and `tether token` signs with it.
//!
//! Signatures are verified by the library; `crit`, `typ` and the claims are checked here, because the library
//! ignores `crit` and refuses valid dates with a fraction.

use crate::caller::{Caller, Role};
use crate::config;
use crate::domain::GroupId;
use crate::error::{Error, Reason, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The issuer of tokens from `tether token`.
pub const DEV_ISSUER: &str = "tether-dev";
/// The audience of tokens from `tether token`.
pub const DEV_AUDIENCE: &str = "tether";
const DEV_KEY_FILE: &str = "dev-signing.key";
/// The PKCS #8 prefix of an Ed25519 seed (RFC 8410).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

/// Maximum difference between the clocks of the platform and of this server, in seconds.
const LEEWAY: f64 = 60.0;
/// Minimum size of an RSA key, in bytes of its modulus (RFC 7518, 3.3: 2,048 bits).
const SMALLEST_MODULUS: usize = 256;
/// Accepted token types (header `typ`). Tokens of other types are for other uses (RFC 8725, 3.11).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    role: &'a str,
    iss: &'a str,
    aud: &'a str,
    exp: u64,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Verifies tokens.
pub struct Verifier {
    keys: Vec<Key>,
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

fn invalid(text: impl Into<String>) -> Error {
    Error::new(Reason::TokenInvalid, text)
}

/// A claim is missing or invalid. The error does not repeat its value.
fn wrong(claim: &'static str, text: &str) -> Error {
    invalid(format!("the token's claim {claim} {text}")).with("claim", claim)
}

impl Verifier {
    /// Creates a verifier for a JWKS. Keys that cannot verify EdDSA or RS256 signatures are skipped (RFC 7517: `kty`,
    /// `crv`, `alg`, `use`, `key_ops`).
    ///
    /// # Errors
    /// The text is not a JWKS, a key is invalid or weak, or there is no usable key.
    pub fn from_jwks(jwks: &str, issuer: &str, audience: &str) -> std::result::Result<Self, config::Error> {
        let rule = |text: String| config::Error::Rule(format!("auth.jwks_file: {text}"));
        let set: JwkSet = serde_json::from_str(jwks).map_err(|error| rule(error.to_string()))?;
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let Some(algorithm) = verifies(jwk) else {
                continue;
            };
            if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm {
                let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).unwrap_or_default();
                let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
                if bytes < SMALLEST_MODULUS {
                    return Err(rule("an RSA key has fewer than 2,048 bits".to_owned()));
                }
            }
            let key = DecodingKey::from_jwk(jwk).map_err(|error| rule(error.to_string()))?;
            keys.push(Key {
                id: jwk.common.key_id.clone(),
                algorithm,
                key,
            });
        }
        if keys.is_empty() {
            return Err(rule("it has no Ed25519 or RSA key for signatures".to_owned()));
        }
        Ok(Self {
            keys,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        })
    }

    /// The caller for the value of an `authorization` header.
    ///
    /// # Errors
    /// TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED; none of them repeats the content of the token.
    pub fn verify(&self, authorization: Option<&str>) -> Result<Caller> {
        let token = authorization
            .ok_or_else(|| Error::new(Reason::TokenMissing, "send a token: authorization: Bearer …"))?
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| invalid("the authorization header must have the form: Bearer …"))?;
        let claims = self.signed(token)?;
        self.addressed(&claims)?;
        in_its_time(&claims)?;
        caller(&claims)
    }

    /// The claims of a token with a valid signature of one of the keys (RFC 7515).
    fn signed(&self, token: &str) -> Result<Map<String, Value>> {
        let no_jwt = || invalid("the token is not a JWT");
        let header: Map<String, Value> = token
            .split_once('.')
            .and_then(|(header, _)| URL_SAFE_NO_PAD.decode(header).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(no_jwt)?;
        if header.contains_key("crit") {
            // No critical extension (RFC 7515, 4.1.11) is supported, including `b64`.
            return Err(
                invalid("the token's header has crit: critical extensions are not supported")
                    .with("claim", "crit"),
            );
        }
        match header
            .get("typ")
            .map(|typ| typ.as_str().map(str::to_ascii_lowercase))
        {
            None => {}
            Some(Some(typ)) if TYPES.contains(&typ.trim_start_matches("application/")) => {}
            Some(_) => {
                return Err(invalid("the token's header typ is neither JWT nor at+jwt").with("claim", "typ"));
            }
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| {
            invalid("the token's header is invalid, or its alg is not supported (supported: EdDSA, RS256)")
        })?;
        let mut rules = Validation::new(header.alg);
        // The library verifies signatures only. Claims are checked here, because the library does not accept all of
        // their valid forms.
        (rules.validate_exp, rules.validate_aud) = (false, false);
        rules.required_spec_claims.clear();
        let mut known = false;
        for key in &self.keys {
            if key.algorithm != header.alg || (header.kid.is_some() && key.id != header.kid) {
                continue;
            }
            known = true;
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &rules) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    _ => return Err(no_jwt()),
                },
            }
        }
        Err(invalid(match known {
            true => "the token's signature is invalid",
            false => "the token's key or algorithm is not in the JWKS (supported: EdDSA, RS256)",
        }))
    }

    /// Checks issuer and audience.
    fn addressed(&self, claims: &Map<String, Value>) -> Result<()> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(wrong("iss", "is missing or is not auth.issuer"));
        }
        // RFC 7519, 4.1.3: a string or a list of strings.
        let here = match claims.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(list)) => {
                list.iter().all(Value::is_string)
                    && list.iter().any(|one| one.as_str() == Some(&self.audience))
            }
            _ => false,
        };
        match here {
            true => Ok(()),
            false => Err(wrong("aud", "is missing or does not name auth.audience")),
        }
    }
}

/// The algorithm of the signatures that a key of a JWKS verifies; `None` for other keys.
fn verifies(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let for_it = common.key_algorithm.as_ref().is_none_or(|alg| *alg == named)
        && common
            .public_key_use
            .as_ref()
            .is_none_or(|of| *of == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|of| of.contains(&KeyOperations::Verify));
    for_it.then_some(algorithm)
}

/// Checks that the token is valid now. Times are seconds, with or without a fraction (RFC 7519, 2).
fn in_its_time(claims: &Map<String, Value>) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = now.as_secs_f64();
    let date = |claim: &'static str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|date| date.is_finite()) {
            Some(date) => Ok(Some(date)),
            None => Err(wrong(claim, "is not a number of seconds")),
        },
    };
    let end = date("exp")?.ok_or_else(|| wrong("exp", "is missing"))?;
    let begin = date("nbf")?;
    date("iat")?;
    let expired = |claim, text| Err(Error::new(Reason::TokenExpired, text).with("claim", claim));
    if now >= end + LEEWAY {
        return expired("exp", "the token has expired: get a new one");
    }
    if begin.is_some_and(|begin| now < begin - LEEWAY) {
        return expired(
            "nbf",
            "the token is not valid yet: get a new one, or check the clocks",
        );
    }
    Ok(())
}

/// The caller according to the claims.
fn caller(claims: &Map<String, Value>) -> Result<Caller> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if !(1..=255).contains(&subject.chars().count()) || subject.chars().any(char::is_control) {
        return Err(wrong(
            "sub",
            "must have 1 to 255 characters and no control characters",
        ));
    }
    let role = claims
        .get("role")
        .and_then(Value::as_str)
        .and_then(Role::parse)
        .ok_or_else(|| wrong("role", "is not member, administrator or service"))?;
    let group = match claims.get("group") {
        None | Some(Value::Null) => None,
        Some(Value::String(group)) if group.is_empty() => None,
        Some(Value::String(group)) if group.parse::<GroupId>().is_ok() => Some(group.clone()),
        Some(_) => return Err(wrong("group", "is not the id of a group")),
    };
    if (role == Role::Service) == group.is_some() {
        return Err(wrong(
            "group",
            "does not match the role: tokens of members and administrators need a group, tokens of a service must not have one",
        ));
    }
    Ok(Caller {
        subject: subject.to_owned(),
        group,
        role,
    })
}

/// Signs tokens with the key that `--dev` created.
pub struct DevSigner {
    seed: [u8; 32],
}

impl DevSigner {
    /// Reads the key in the data directory. With `create`, a missing key is created, readable only by its owner.
    ///
    /// # Errors
    /// The file cannot be read or written, or it is missing and `create` is false.
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
        if !path.exists() {
            return Err(config::Error::Rule(format!(
                "data_dir = {}: there is no key of `tether serve --dev` in it ({DEV_KEY_FILE}). Start that first, or give its folder \
                 with --data-dir",
                data_dir.display()
            )));
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

    /// Signs a token.
    ///
    /// # Errors
    /// Does not occur in practice.
    pub fn sign(
        &self,
        subject: &str,
        group: Option<&str>,
        role: Role,
        life: Duration,
    ) -> std::result::Result<String, config::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            sub: subject,
            group,
            role: role.as_str(),
            iss: DEV_ISSUER,
            aud: DEV_AUDIENCE,
            exp: (now + life).as_secs(),
        };
        let key = EncodingKey::from_ed_der(&[&PKCS8_ED25519[..], &self.seed].concat());
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)
            .map_err(|error| config::Error::Rule(format!("cannot sign with the dev key: {error}")))
    }

    /// The JWKS with the public key.
    #[must_use]
    pub fn jwks(&self) -> String {
        let public = ed25519_dalek::SigningKey::from_bytes(&self.seed).verifying_key();
        serde_json::json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public.as_bytes())}]})
            .to_string()
    }
}

/// Writes a file that only its owner can read, atomically.
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

    /// A token with these claims instead of valid ones (null removes a claim) and these headers.
    fn token(signer: &DevSigner, claims: &serde_json::Value, header: &serde_json::Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut all = serde_json::json!({
            "sub": "ann", "group": "acme", "role": "member", "iss": DEV_ISSUER, "aud": DEV_AUDIENCE, "exp": now + 600,
        });
        let mut head = serde_json::json!({"alg": "EdDSA", "typ": "JWT"});
        for (into, from) in [(&mut all, claims), (&mut head, header)] {
            for (key, value) in from.as_object().unwrap() {
                match value.is_null() {
                    true => drop(into.as_object_mut().unwrap().remove(key)),
                    false => drop(into.as_object_mut().unwrap().insert(key.clone(), value.clone())),
                }
            }
        }
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&head), part(&all));
        let key = ed25519_dalek::SigningKey::from_bytes(&signer.seed);
        let signature = ed25519_dalek::Signer::sign(&key, text.as_bytes());
        format!("Bearer {text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    #[test]
    fn claims_and_headers_as_the_rfcs_have_them() {
        use serde_json::json;
        let folder = tempfile::tempdir().unwrap();
        let signer = DevSigner::open(folder.path(), true).unwrap();
        let verifier = Verifier::from_jwks(&signer.jwks(), DEV_ISSUER, DEV_AUDIENCE).unwrap();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let none = json!({});
        for (claims, header) in [
            (json!({}), json!({})),
            (
                json!({"exp": now + 600.5, "nbf": now - 0.5, "iat": now - 0.25}),
                json!({}),
            ),
            // The difference between the clocks is within the tolerance.
            (json!({"exp": now - 30.0, "nbf": now + 30.0}), json!({})),
            (json!({"aud": ["another", DEV_AUDIENCE]}), json!({})),
            (json!({"sub": "ü".repeat(255)}), json!({})),
            (json!({"surprise": {"of": "others"}}), json!({"typ": null})),
            (json!({}), json!({"typ": "at+JWT"})),
            (
                json!({}),
                json!({"typ": "application/at+jwt", "jku": "https://evil.example/"}),
            ),
        ] {
            let verified = verifier.verify(Some(&token(&signer, &claims, &header)));
            assert!(verified.is_ok(), "{claims} {header}: {verified:?}");
        }
        for (claims, header, claim, reason) in [
            (json!({"exp": 1_000_000}), &none, "exp", Reason::TokenExpired),
            (json!({"exp": now - 61.0}), &none, "exp", Reason::TokenExpired),
            (json!({"exp": -1}), &none, "exp", Reason::TokenExpired),
            (json!({"nbf": now + 90.0}), &none, "nbf", Reason::TokenExpired),
            (json!({"exp": null}), &none, "exp", Reason::TokenInvalid),
            (json!({"exp": "soon"}), &none, "exp", Reason::TokenInvalid),
            (json!({"nbf": "soon"}), &none, "nbf", Reason::TokenInvalid),
            (json!({"iss": null}), &none, "iss", Reason::TokenInvalid),
            (json!({"iss": [DEV_ISSUER]}), &none, "iss", Reason::TokenInvalid),
            (json!({"aud": null}), &none, "aud", Reason::TokenInvalid),
            (json!({"aud": []}), &none, "aud", Reason::TokenInvalid),
            (json!({"aud": ["another"]}), &none, "aud", Reason::TokenInvalid),
            (json!({"aud": {"tether": 1}}), &none, "aud", Reason::TokenInvalid),
            (json!({"sub": null}), &none, "sub", Reason::TokenInvalid),
            (json!({"sub": ""}), &none, "sub", Reason::TokenInvalid),
            (json!({"sub": 7}), &none, "sub", Reason::TokenInvalid),
            (
                json!({"sub": "ü".repeat(256)}),
                &none,
                "sub",
                Reason::TokenInvalid,
            ),
            (json!({"sub": "a\u{0}b"}), &none, "sub", Reason::TokenInvalid),
            (json!({"sub": "a\nb"}), &none, "sub", Reason::TokenInvalid),
            (json!({"role": "root"}), &none, "role", Reason::TokenInvalid),
            (
                json!({"role": "member\u{0}"}),
                &none,
                "role",
                Reason::TokenInvalid,
            ),
            (json!({"role": ["member"]}), &none, "role", Reason::TokenInvalid),
            (json!({"group": "a\u{0}"}), &none, "group", Reason::TokenInvalid),
            (json!({"group": "Acme"}), &none, "group", Reason::TokenInvalid),
            (json!({"group": 7}), &none, "group", Reason::TokenInvalid),
            (json!({"group": null}), &none, "group", Reason::TokenInvalid),
            (json!({"role": "service"}), &none, "group", Reason::TokenInvalid),
            (
                json!({}),
                &json!({"crit": ["exp"], "exp": 1}),
                "crit",
                Reason::TokenInvalid,
            ),
            (
                json!({}),
                &json!({"crit": ["b64"], "b64": false}),
                "crit",
                Reason::TokenInvalid,
            ),
            (json!({}), &json!({"crit": []}), "crit", Reason::TokenInvalid),
            (
                json!({}),
                &json!({"typ": "logout+jwt"}),
                "typ",
                Reason::TokenInvalid,
            ),
            (json!({}), &json!({"typ": 7}), "typ", Reason::TokenInvalid),
            (json!({}), &json!({"alg": "none"}), "", Reason::TokenInvalid),
            (json!({}), &json!({"alg": "HS256"}), "", Reason::TokenInvalid),
            (json!({}), &json!({"alg": "RS256"}), "", Reason::TokenInvalid),
            (json!({}), &json!({"kid": "another"}), "", Reason::TokenInvalid),
        ] {
            let error = verifier
                .verify(Some(&token(&signer, &claims, header)))
                .unwrap_err();
            let named = error.metadata.iter().find(|(key, _)| *key == "claim");
            let named = named.map_or("", |(_, claim)| claim.as_str());
            assert_eq!((error.reason, named), (reason, claim), "{claims} {header}");
        }
    }

    #[test]
    fn keys_for_other_uses_are_left_out() {
        let key = |more: serde_json::Value| {
            let mut key =
                serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([7; 32])});
            key.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let jwks = serde_json::json!({"keys": [key]}).to_string();
            Verifier::from_jwks(&jwks, DEV_ISSUER, DEV_AUDIENCE).is_ok()
        };
        for good in [
            serde_json::json!({}),
            serde_json::json!({"use": "sig", "alg": "EdDSA", "key_ops": ["verify"]}),
        ] {
            assert!(key(good.clone()), "{good}");
        }
        for bad in [
            serde_json::json!({"use": "enc"}),
            serde_json::json!({"key_ops": ["sign"]}),
            serde_json::json!({"alg": "RS256"}),
        ] {
            assert!(!key(bad.clone()), "{bad}");
        }
        let weak =
            serde_json::json!({"keys": [{"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([7; 128]), "e": "AQAB"}]});
        let error = Verifier::from_jwks(&weak.to_string(), DEV_ISSUER, DEV_AUDIENCE).unwrap_err();
        assert!(error.to_string().contains("2,048 bits"), "{error}");
    }

    #[test]
    fn a_token_that_two_keys_may_have_signed_is_tried_with_both() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let signers = folders
            .each_ref()
            .map(|folder| DevSigner::open(folder.path(), true).unwrap());
        let keys: Vec<serde_json::Value> = signers
            .iter()
            .map(|one| serde_json::from_str::<serde_json::Value>(&one.jwks()).unwrap()["keys"][0].clone())
            .collect();
        let jwks = serde_json::json!({"keys": keys}).to_string();
        let verifier = Verifier::from_jwks(&jwks, DEV_ISSUER, DEV_AUDIENCE).unwrap();
        let none = serde_json::json!({});
        for signer in &signers {
            assert!(verifier.verify(Some(&token(signer, &none, &none))).is_ok());
        }
    }
}
