//! Authentication: JWTs (RFC 7519) signed with EdDSA or RS256 by a key of the configured JWKS (RFC 7517).
//!
//! Claims: `sub` is the user or service, `group` its group, `role` one of `member`, `administrator`, `service`; also
//! `iss`, `aud`, `exp`, and optionally `nbf`. As RFC 8725 recommends, the algorithm is determined by the key and not
//! by the token alone, the type of a token is checked, and URLs or keys in a header (`jku`, `jwk`, `x5u`) are neither
//! fetched nor trusted. `dev` signs the tokens of `--dev`.
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
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

pub mod dev;
#[cfg(test)]
mod tests;

/// Maximum difference between the clocks of the platform and of this server, in seconds.
const LEEWAY: f64 = 60.0;
/// Minimum size of an RSA key, in bytes of its modulus (RFC 7518, 3.3: 2,048 bits).
const SMALLEST_MODULUS: usize = 256;
/// Accepted token types (header `typ`). Tokens of other types are for other uses (RFC 8725, 3.11).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

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
