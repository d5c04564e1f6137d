use super::dev::{DEV_AUDIENCE, DEV_ISSUER, DevSigner};
use super::*;
use serde_json::{Value as Json, json};
use std::time::Duration;

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
    let stranger = DevSigner::open(other.path(), true)
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

/// Claims and headers of valid tokens.
fn accepted(now: f64) -> Vec<(Json, Json)> {
    vec![
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
    ]
}

/// Claims that are refused, the claim that the error names, and its reason.
fn refused_claims(now: f64) -> Vec<(Json, &'static str, Reason)> {
    vec![
        (json!({"exp": 1_000_000}), "exp", Reason::TokenExpired),
        (json!({"exp": now - 61.0}), "exp", Reason::TokenExpired),
        (json!({"exp": -1}), "exp", Reason::TokenExpired),
        (json!({"nbf": now + 90.0}), "nbf", Reason::TokenExpired),
        (json!({"exp": null}), "exp", Reason::TokenInvalid),
        (json!({"exp": "soon"}), "exp", Reason::TokenInvalid),
        (json!({"nbf": "soon"}), "nbf", Reason::TokenInvalid),
        (json!({"iss": null}), "iss", Reason::TokenInvalid),
        (json!({"iss": [DEV_ISSUER]}), "iss", Reason::TokenInvalid),
        (json!({"aud": null}), "aud", Reason::TokenInvalid),
        (json!({"aud": []}), "aud", Reason::TokenInvalid),
        (json!({"aud": ["another"]}), "aud", Reason::TokenInvalid),
        (json!({"aud": {"tether": 1}}), "aud", Reason::TokenInvalid),
        (json!({"sub": null}), "sub", Reason::TokenInvalid),
        (json!({"sub": ""}), "sub", Reason::TokenInvalid),
        (json!({"sub": 7}), "sub", Reason::TokenInvalid),
        (json!({"sub": "ü".repeat(256)}), "sub", Reason::TokenInvalid),
        (json!({"sub": "a\u{0}b"}), "sub", Reason::TokenInvalid),
        (json!({"sub": "a\nb"}), "sub", Reason::TokenInvalid),
        (json!({"role": "root"}), "role", Reason::TokenInvalid),
        (json!({"role": "member\u{0}"}), "role", Reason::TokenInvalid),
        (json!({"role": ["member"]}), "role", Reason::TokenInvalid),
        (json!({"group": "a\u{0}"}), "group", Reason::TokenInvalid),
        (json!({"group": "Acme"}), "group", Reason::TokenInvalid),
        (json!({"group": 7}), "group", Reason::TokenInvalid),
        (json!({"group": null}), "group", Reason::TokenInvalid),
        (json!({"role": "service"}), "group", Reason::TokenInvalid),
    ]
}

/// Headers that are refused, and the one that the error names.
fn refused_headers() -> Vec<(Json, &'static str)> {
    vec![
        (json!({"crit": ["exp"], "exp": 1}), "crit"),
        (json!({"crit": ["b64"], "b64": false}), "crit"),
        (json!({"crit": []}), "crit"),
        (json!({"typ": "logout+jwt"}), "typ"),
        (json!({"typ": 7}), "typ"),
        (json!({"alg": "none"}), ""),
        (json!({"alg": "HS256"}), ""),
        (json!({"alg": "RS256"}), ""),
        (json!({"kid": "another"}), ""),
    ]
}

#[test]
fn claims_and_headers_as_the_rfcs_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let signer = DevSigner::open(folder.path(), true).unwrap();
    let verifier = Verifier::from_jwks(&signer.jwks(), DEV_ISSUER, DEV_AUDIENCE).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    for (claims, header) in accepted(now) {
        let verified = verifier.verify(Some(&token(&signer, &claims, &header)));
        assert!(verified.is_ok(), "{claims} {header}: {verified:?}");
    }
    let refused = |claims: &Json, header: &Json, claim: &str, reason: Reason| {
        let error = verifier
            .verify(Some(&token(&signer, claims, header)))
            .unwrap_err();
        let named = error.metadata.iter().find(|(key, _)| *key == "claim");
        let named = named.map_or("", |(_, claim)| claim.as_str());
        assert_eq!((error.reason, named), (reason, claim), "{claims} {header}");
    };
    for (claims, claim, reason) in refused_claims(now) {
        refused(&claims, &json!({}), claim, reason);
    }
    for (header, claim) in refused_headers() {
        refused(&json!({}), &header, claim, Reason::TokenInvalid);
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
