//! Errors of the token endpoint. The same `invalid_grant` may mean that access was revoked, that another refresh is
//! running or that an administrator has to act. Only texts that say so count as revoked, and only codes that say so
//! as an outage: Salesforce adds new refusals, and an unknown one is reported verbatim as ADMIN_ACTION.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tether_connector_sdk::oauth::{Token, TokenError};
use tether_connector_sdk::proto::{Error, ErrorKind};

use crate::ids;

/// The remedy for an app that is not installed.
const INSTALL: &str = "a Salesforce administrator has to install the app: Setup, Connected Apps OAuth Usage (or External \
                       Client App Manager), Install, and then permit the user; or give the user the permission Approve \
                       Uninstalled Connected Apps";

/// The remedy for a blocked app.
const BLOCKED: &str = "a Salesforce administrator has blocked the app; an administrator has to unblock it: Setup, Connected Apps \
                       OAuth Usage (or External Client App Manager), Unblock";
/// The remedy for a user who is not permitted to use the app.
const NOT_ADMITTED: &str = "the app does not admit this user; a Salesforce administrator has to add the user's profile or a \
                            permission set to the app, or let all users authorize it";

/// The error of a refused token request.
pub(crate) fn refusal(error: TokenError) -> Error {
    match error {
        TokenError::Refused { error, description } => refused(&error, &description),
        TokenError::Failed(error) => error,
    }
}

/// Classifies `error` and `error_description` of the token endpoint or of the browser's redirect.
pub(crate) fn refused(code: &str, description: &str) -> Error {
    let (kind, message) = meaning(code, &description.to_ascii_lowercase());
    let shown =
        |text: &str, most: usize| -> String { text.chars().filter(|c| !c.is_control()).take(most).collect() };
    let (code, description) = (&*shown(code, 100), shown(description, 200));
    let said = if description.is_empty() {
        code.to_owned()
    } else {
        format!("{code}: {description}")
    };
    let error = Error::new(kind, format!("{message} ({said})")).code(code);
    match kind {
        // Another refresh with the same token takes at most seconds.
        ErrorKind::Transient => error.retry_after(Duration::from_secs(2)),
        ErrorKind::RateLimited => error.retry_after(Duration::from_secs(60)),
        _ => error,
    }
}

#[rustfmt::skip]
fn meaning(code: &str, text: &str) -> (ErrorKind, &'static str) {
    use ErrorKind::*;
    let says = |part: &str| text.contains(part);
    match code {
        "invalid_grant" if says("already being processed") => (Transient, "another refresh with the same token is in flight"),
        "invalid_grant" if says("expired access/refresh token") || says("token revoked") || says("token is revoked") =>
            (CredentialsRevoked, "Salesforce no longer accepts the login: it was revoked, was not used for long, or the same user approved the app more than five times and Salesforce dropped the oldest"),
        // Salesforce has used this text for concurrent refreshes too.
        "invalid_grant" if says("expired authorization code") => (Transient, "the authorization code was used before or came too late; log in again"),
        "invalid_grant" if says("inactive user") || says("inactive org") => (Suspended, "the Salesforce user or organization was deactivated"),
        "invalid_grant" if says("ip restricted") || says("ip address") || says("ip range") =>
            (AdminAction, "Salesforce refuses our address; an administrator has to add it to the trusted IP ranges, or relax IP restrictions for the app"),
        "invalid_grant" if says("approved this consumer") =>
            (AdminAction, "the user has not approved the app; an administrator has to pre-authorize it for the user's profile or permission set"),
        "invalid_grant" if says("code verifier") => (Bug, "Salesforce did not accept the PKCE verifier"),
        "invalid_grant" if says("not supported on this domain") =>
            (InvalidInput, "this way to log in works only on the organization's My Domain; set environment and domain"),
        "invalid_grant" if says("client credentials user") =>
            (AdminAction, "the app's client credentials flow has no user to run as; an administrator has to name one"),
        "invalid_grant" if says("assertion") || says("audience") => (InvalidInput, "Salesforce did not accept the signed assertion; check user name, key and environment"),
        "invalid_grant" if says("authentication failure") => (CredentialsRevoked, "Salesforce refused the login"),
        "inactive_user" | "inactive_org" => (Suspended, "the Salesforce user or organization was deactivated"),
        "invalid_client" if says("must be installed") => (AdminAction, INSTALL),
        "app_not_found" => (AdminAction, INSTALL),
        "OAUTH_APPROVAL_ERROR_GENERIC" => (AdminAction, INSTALL),
        "invalid_client" => (Configuration, "Salesforce does not accept the app's client id or secret"),
        "invalid_client_id" => (Configuration, "Salesforce does not know the app's client id; a new app needs up to ten minutes to be known everywhere"),
        "redirect_uri_mismatch" => (Configuration, "the redirect address is not one of the app's callback URLs"),
        "invalid_scope" => (Configuration, "the app does not offer the scopes api, refresh_token and id"),
        "unsupported_grant_type" => (Configuration, "the app does not allow this way to log in"),
        "unsupported_response_type" | "invalid_request" => (Bug, "Salesforce did not understand the request"),
        "access_denied" => (InvalidInput, "the login was not approved; log in again and choose Allow"),
        "immediate_unsuccessful" => (InvalidInput, "the user has to log in and approve the app"),
        "rate_limit_exceeded" => (RateLimited, "too many logins; wait a minute"),
        "OAUTH_APP_BLOCKED" | "OAUTH_AUTHORIZATION_BLOCKED" => (AdminAction, BLOCKED),
        "OAUTH_APP_ACCESS_DENIED" | "invalid_app_access" => (AdminAction, NOT_ADMITTED),
        "OAUTH_EC_APP_NOT_FOUND" => (AdminAction, INSTALL),
        "unknown_error" | "server_error" | "temporarily_unavailable" => (Transient, "Salesforce could not log in just now"),
        // Neither revoked, because Salesforce did not say so, nor transient.
        _ => (AdminAction, "Salesforce refuses the app or the user; an administrator has to find out why from what it says"),
    }
}

/// Whether the reply was signed with the client secret, so that the identity was not changed on its way. A reply
/// without signature passes, because old versions send none.
pub(crate) fn signature_holds(token: &Token, client_secret: &str) -> bool {
    let Some(signature) = token.extra_text("signature") else {
        return true;
    };
    if client_secret.is_empty() {
        return true;
    }
    let issued_at = match token.extra("issued_at") {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(client_secret.as_bytes()) else {
        return false;
    };
    mac.update(token.extra_text("id").unwrap_or_default().as_bytes());
    mac.update(issued_at.as_bytes());
    mac.verify_slice(&signature).is_ok()
}

/// Organization id and user id of an identity address, the last two segments of its path.
pub(crate) fn identity_ids(id: &str) -> Option<(String, String)> {
    let url = url::Url::parse(id).ok()?;
    let mut segments = url.path_segments()?.rev();
    let (user, organization) = (segments.next()?, segments.next()?);
    if segments.next() != Some("id") || !organization.starts_with("00D") || !user.starts_with("005") {
        return None;
    }
    Some((ids::normalise(organization)?, ids::normalise(user)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;

    #[test]
    fn refusals() {
        #[rustfmt::skip]
        let table = [
            ("invalid_grant", "expired access/refresh token", CredentialsRevoked),
            ("invalid_grant", "token request is already being processed", Transient),
            ("invalid_grant", "expired authorization code", Transient),
            ("invalid_grant", "authentication failure", CredentialsRevoked),
            ("invalid_grant", "authentication failure - Invalid Password", CredentialsRevoked),
            ("invalid_grant", "user hasn't approved this consumer", AdminAction),
            ("invalid_grant", "ip restricted", AdminAction),
            ("invalid_grant", "ip address not allowed", AdminAction),
            ("invalid_grant", "inactive user", Suspended),
            ("invalid_grant", "invalid code verifier", Bug),
            ("invalid_grant", "code verifier required", Bug),
            ("invalid_grant", "request not supported on this domain", InvalidInput),
            ("invalid_grant", "Audience validation failed", InvalidInput),
            ("invalid_grant", "invalid assertion", InvalidInput),
            ("invalid_grant", "no client credentials user enabled", AdminAction),
            ("invalid_grant", "something new", AdminAction),
            ("invalid_grant", "", AdminAction),
            ("OAUTH_APP_BLOCKED", "this app is blocked by admin", AdminAction),
            ("OAUTH_APP_ACCESS_DENIED", "user is not admin approved to access this app", AdminAction),
            ("OAUTH_EC_APP_NOT_FOUND", "external client app not found", AdminAction),
            ("OAUTH_AUTHORIZATION_BLOCKED", "", AdminAction),
            ("invalid_app_access", "user is not admin approved to access this app", AdminAction),
            ("something_of_next_year", "and its text", AdminAction),
            ("inactive_user", "inactive user", Suspended),
            ("inactive_org", "organization locked", Suspended),
            ("invalid_client", "invalid client credentials", Configuration),
            ("invalid_client", "", Configuration),
            ("invalid_client", "app must be installed into org", AdminAction),
            ("invalid_client_id", "client identifier invalid", Configuration),
            ("app_not_found", "External client app is not installed in this org", AdminAction),
            ("unsupported_grant_type", "grant type not supported", Configuration),
            ("redirect_uri_mismatch", "redirect_uri must match configuration", Configuration),
            ("access_denied", "end-user denied authorization", InvalidInput),
            ("unknown_error", "retry your request", Transient),
            ("server_error", "", Transient),
            ("rate_limit_exceeded", "", RateLimited),
        ];
        for (code, description, kind) in table {
            let error = refused(code, description);
            assert_eq!(error.what(), kind, "{code}: {description}");
            assert!(error.message.contains(description) && error.code == code);
        }
        for code in [
            "OAUTH_APP_BLOCKED",
            "invalid_app_access",
            "something_of_next_year",
        ] {
            let error = refused(code, "its text");
            assert!(
                error.message.contains("administrator") && error.message.contains(code),
                "{error}"
            );
            assert_eq!(error.retry_us, 0, "not an outage");
        }
        let long = refused(&"x".repeat(100_000), &"y".repeat(100_000));
        assert!(long.message.len() < 600 && long.code.len() == 100);
    }

    fn token(json: serde_json::Value) -> Token {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn signatures() {
        let sign = |text: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
            mac.update(text.as_bytes());
            STANDARD.encode(mac.finalize().into_bytes())
        };
        let id = "https://login.salesforce.com/id/00Dx0000000BV7zEAG/005x00000012Q9PAAU";
        let signature = sign(&format!("{id}1278448832702"));
        let with = |id: &str, issued_at: serde_json::Value, signature: &str| {
            token(
                serde_json::json!({"access_token": "t", "id": id, "issued_at": issued_at, "signature": signature}),
            )
        };
        assert!(signature_holds(
            &with(id, "1278448832702".into(), &signature),
            "secret"
        ));
        assert!(signature_holds(
            &with(id, 1_278_448_832_702_i64.into(), &signature),
            "secret"
        ));
        assert!(!signature_holds(
            &with(id, "1278448832703".into(), &signature),
            "secret"
        ));
        assert!(!signature_holds(
            &with(id, "1278448832702".into(), "sig="),
            "secret"
        ));
        assert!(!signature_holds(
            &with(&id.replace("Q9P", "Q9Q"), "1278448832702".into(), &signature),
            "secret"
        ));
        assert!(signature_holds(
            &token(serde_json::json!({"access_token": "t"})),
            "secret"
        ));
    }

    #[test]
    fn identities() {
        let both = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        let expected = both("00Dx0000000BV7zEAG", "005x00000012Q9PAAU");
        assert_eq!(
            identity_ids("https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P"),
            expected
        );
        assert_eq!(
            identity_ids(
                "https://x.my.salesforce.com/id/00Dx0000000BV7zEAG/005x00000012Q9PAAU?version=latest"
            ),
            expected
        );
        for bad in [
            "",
            "foo",
            "https://x/id/foo/bar",
            "https://x/00Dx0000000BV7z/005x00000012Q9P",
        ] {
            assert_eq!(identity_ids(bad), None, "{bad}");
        }
    }
}
