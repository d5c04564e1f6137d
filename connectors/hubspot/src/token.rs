//! Errors of the token endpoints. Only texts that say so count as revoked.

use serde::Deserialize;
use tether_connector_sdk::http::{Response, one_line};
use tether_connector_sdk::oauth::Token;
use tether_connector_sdk::proto::{Error, ErrorKind};

/// The standard's keys (`error`, `error_description`), and HubSpot's own (`status`, `message`); older replies have
/// only the latter.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
    status: Option<String>,
    message: Option<String>,
}

/// The token of a reply, or the classified refusal.
pub(crate) fn read(response: &Response) -> Result<Token, Error> {
    if response.status.is_success() {
        // The received data is not repeated: it may be a token.
        return serde_json::from_slice(&response.body).map_err(|_| {
            Error::transient("HubSpot's login answered with something that is no token").code("oauth.garbage")
        });
    }
    Err(refusal(response))
}

/// Classifies a failed reply of a token endpoint.
pub(crate) fn refusal(response: &Response) -> Error {
    let status = response.status.as_u16();
    if status == 429 || status >= 500 {
        return Error::transient(format!("HubSpot's login answered {status}")).code("oauth.unavailable");
    }
    let Ok(said) = serde_json::from_slice::<Refusal>(&response.body) else {
        return Error::transient(format!("HubSpot's login answered {status} with a page"))
            .code("oauth.garbage");
    };
    let own = said.status.filter(|status| status != "error");
    let code = own.or(said.error).unwrap_or_default();
    let text = said.message.or(said.error_description).unwrap_or_default();
    refused(&code, &text)
}

/// Classifies code and text of a token endpoint or of the browser's redirect.
pub(crate) fn refused(code: &str, text: &str) -> Error {
    let (kind, message) = meaning(code, &text.to_ascii_lowercase());
    let text = one_line(text);
    let said = if text.is_empty() {
        code.to_owned()
    } else {
        format!("{code}: {text}")
    };
    Error::new(kind, format!("{message} ({said})")).code(code)
}

#[rustfmt::skip]
fn meaning(code: &str, text: &str) -> (ErrorKind, &'static str) {
    use ErrorKind::*;
    const REVOKED: &str = "HubSpot no longer accepts the login: the app was uninstalled from the account, the user was removed, or the token was deleted";
    let says = |part: &str| text.contains(part);
    match code {
        "BAD_REFRESH_TOKEN"                             => (CredentialsRevoked, REVOKED),
        "BAD_AUTH_CODE"                                 => (InvalidInput, "the authorization code was used before or came too late; log in again"),
        "BAD_REDIRECT_URI" | "MISMATCH_REDIRECT_URI_AUTH_CODE" => (Configuration, "the redirect address is not one of the app's redirect URLs"),
        "BAD_CLIENT_ID" | "BAD_CLIENT_SECRET" | "invalid_client" => (Configuration, "HubSpot does not accept the app's client id or secret"),
        "BAD_GRANT_TYPE" | "unsupported_grant_type"     => (Bug, "HubSpot did not understand the request"),
        "invalid_grant" if says("refresh token")        => (CredentialsRevoked, REVOKED),
        "invalid_grant" if says("code")                 => (InvalidInput, "the authorization code was used before or came too late; log in again"),
        "invalid_scope"                                 => (Configuration, "the scopes are not those of the app; set scopes and optional_scopes as the app has them"),
        "access_denied"                                 => (InvalidInput, "the login was not approved; log in again and connect the app"),
        _ if says("deactivated") || says("suspended")   => (Suspended, "the HubSpot user or account was deactivated"),
        // Also for unknown texts: a login counts as revoked only if HubSpot says so.
        _                                               => (Transient, "HubSpot could not log in just now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;

    fn reply(status: u16, body: &str) -> Response {
        Response {
            status: tether_connector_sdk::http::StatusCode::from_u16(status).unwrap_or_default(),
            headers: Default::default(),
            body: body.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn refusals_of_both_generations() {
        #[rustfmt::skip]
        let table = [
            (400, r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}"#, CredentialsRevoked),
            (400, r#"{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked"}"#, CredentialsRevoked),
            (400, r#"{"error":"invalid_grant","error_description":"x","status":"BAD_AUTH_CODE","message":"missing or unknown auth code"}"#, InvalidInput),
            (400, r#"{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}"#, Configuration),
            (401, r#"{"error":"invalid_client","error_description":"nope"}"#, Configuration),
            (400, r#"{"status":"error","error":"something_new","message":"hm"}"#, Transient),
            (403, "<html>", Transient),
            (429, "{}", Transient),
            (502, "", Transient),
        ];
        for (status, body, kind) in table {
            let error = refusal(&reply(status, body));
            assert_eq!(error.what(), kind, "{body}");
        }
        assert_eq!(
            refused("access_denied", "The user has denied access").what(),
            InvalidInput
        );
    }

    #[test]
    fn a_reply_without_a_token_is_no_token_and_is_not_repeated() {
        let error = read(&reply(200, r#"{"refresh_token":"s3cret"}"#))
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some_and(|text| !text.contains("s3cret")));
        let token = read(&reply(
            200,
            r#"{"access_token":"a","expires_in":1800,"hub_id":1}"#,
        ));
        assert!(token.is_ok_and(|token| token.expires_us(0) == 1_800_000_000));
    }
}
