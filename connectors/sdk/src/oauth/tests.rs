use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

/// The trait requires futures that are `Send`.
#[expect(dead_code, reason = "compiling it is the test")]
fn futures_are_send(endpoint: &TokenEndpoint, http: &HttpClient, call: &CallContext) {
    fn send(_: impl Send) {}
    send(endpoint.exchange_code(http, call, "", "", ""));
    send(endpoint.refresh(http, call, ""));
    send(endpoint.client_credentials(http, call, &[]));
    send(endpoint.assertion(http, call, ""));
    send(revoke(http, call, "", ""));
}

#[test]
fn lenient_tokens_are_read_and_never_shown() {
    let token: Token = serde_json::from_str(
        r#"{"access_token":"s3cret","expires_in":"60","instance_url":"https://a.example","signature":"s1gned"}"#,
    )
    .unwrap();
    assert_eq!(token.access_token(), "s3cret");
    assert_eq!(token.expires_us(1), 60_000_001);
    assert_eq!(token.extra_text("instance_url"), Some("https://a.example"));
    assert!(token.refresh_token().is_none() && token.scopes().is_empty());
    let debug = format!("{token:?}");
    assert!(!debug.contains("s3cret") && !debug.contains("s1gned"), "{debug}");
}

#[test]
fn scopes_are_read_in_every_form() {
    let scopes = |fields: &str| {
        let token: Token = serde_json::from_str(&format!(r#"{{"access_token":"a"{fields}}}"#)).unwrap();
        token.scopes().join(" ")
    };
    for fields in [
        r#","scope":"base deals:read""#,
        r#","scope":"base,deals:read""#,
        r#","scope":" base, deals:read""#,
        r#","scope":["base","deals:read"]"#,
        r#","scopes":["base","deals:read"]"#,
        r#","scope":"base","scopes":["base","deals:read"]"#,
    ] {
        assert_eq!(scopes(fields), "base deals:read", "{fields}");
    }
    assert_eq!(scopes(""), "");
}

#[test]
fn a_refresh_token_that_is_not_replaced_is_kept() {
    let token = |text: &str| serde_json::from_str::<Token>(text).unwrap();
    let old = Credentials {
        access_token: "a".to_owned(),
        refresh_token: "r".to_owned(),
        expires_us: 1,
        extra: b"x".to_vec(),
    };
    let kept = token(r#"{"access_token":"b","expires_in":1}"#).credentials(5, old.clone());
    assert_eq!(
        (kept.access_token.as_str(), kept.refresh_token.as_str()),
        ("b", "r")
    );
    assert_eq!((kept.expires_us, kept.extra.as_slice()), (1_000_005, &b"x"[..]));
    let rotated = token(r#"{"access_token":"b","refresh_token":"s"}"#).credentials(5, old);
    assert_eq!((rotated.refresh_token.as_str(), rotated.expires_us), ("s", 0));
}

#[test]
fn a_revocation_carries_the_client() {
    let endpoint = |client_auth| TokenEndpoint {
        url: "https://crm.example/token".to_owned(),
        client_id: "an app".to_owned(),
        client_secret: "s&cret".to_owned(),
        client_auth,
    };
    let sent = |client_auth| {
        let request = endpoint(client_auth)
            .revocation("https://crm.example/revoke", "t")
            .unwrap();
        let header = request.headers.get(http::header::AUTHORIZATION);
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        (String::from_utf8(request.body.to_vec()).unwrap(), header)
    };
    let form = "token=t&client_id=an+app&client_secret=s%26cret";
    assert_eq!(sent(ClientAuth::Form), (form.to_owned(), None));
    let basic = format!("Basic {}", BASE64.encode("an+app:s%26cret"));
    assert_eq!(sent(ClientAuth::Basic), ("token=t".to_owned(), Some(basic)));
}

#[test]
fn the_browser_brings_a_code_or_a_refusal() {
    let code = |pairs: &[(&str, &str)]| {
        let callback = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        match callback_code(&callback) {
            Ok(code) => code.to_owned(),
            Err(TokenError::Refused { error, description }) => format!("{error}: {description}"),
            Err(TokenError::Failed(error)) => error.label().to_owned(),
        }
    };
    assert_eq!(code(&[("code", "c")]), "c");
    let denied = [
        ("code", "c"),
        ("error", "access_denied"),
        ("error_description", "no\n"),
    ];
    assert_eq!(code(&denied), "access_denied: no");
    assert_eq!(code(&[("code", "")]), Error::invalid_input("").label());
}

#[test]
fn the_authorization_address_carries_what_the_host_gave() {
    let url = authorization_url(&Authorization {
        url: "https://login.example/authorize?tenant=a",
        client_id: "app",
        redirect_uri: "http://127.0.0.1:1/cb",
        state: "st&te",
        code_challenge: "challenge",
        scopes: &["api", "refresh_token"],
        extra: &[("prompt", "login")],
    })
    .unwrap();
    for part in [
        "tenant=a",
        "response_type=code",
        "client_id=app",
        "state=st%26te",
        "code_challenge=challenge",
        "code_challenge_method=S256",
        "scope=api+refresh_token",
        "prompt=login",
        "redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb",
    ] {
        assert!(url.contains(part), "{part} is missing in {url}");
    }
}

#[test]
fn refusals_are_read_in_every_form_and_pages_are_none() {
    let said = |status: u16, body: &'static str| {
        let response = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::from_static(body.as_bytes()),
        };
        match from_reply(&response) {
            TokenError::Refused { error, description } => Ok((error, description)),
            TokenError::Failed(error) => Err(error),
        }
    };
    for (body, code, text) in [
        (
            r#"{"error":"invalid_app_access","error_description":"no"}"#,
            "invalid_app_access",
            "no",
        ),
        (r#"{"error":"new_one"}"#, "new_one", ""),
        (
            r#"[{"errorCode":"OAUTH_AUTHORIZATION_BLOCKED","message":"no"}]"#,
            "OAUTH_AUTHORIZATION_BLOCKED",
            "no",
        ),
        (
            "error=invalid_token&error_description=no+such+token",
            "invalid_token",
            "no such token",
        ),
    ] {
        assert_eq!(said(400, body).unwrap(), (code.to_owned(), text.to_owned()));
    }
    for body in [
        "",
        "<html><title>Blocked</title></html>",
        r#"{"message":"Forbidden"}"#,
        r#"{"error":""}"#,
        "[]",
        "a=b&error=c",
    ] {
        for status in [400, 403, 404, 415] {
            let error = said(status, body).unwrap_err();
            assert_eq!(
                error.what(),
                crate::proto::ErrorKind::Transient,
                "{status} {body}"
            );
            assert!(error.message.contains(&status.to_string()), "{error}");
        }
    }
    assert_eq!(
        said(503, r#"{"error":"x"}"#).unwrap_err().code,
        "oauth.unavailable"
    );
}

#[test]
fn a_refusal_that_nobody_knows_is_an_administrators() {
    let kind = |error: &str| {
        let (error, description) = (error.to_owned(), "its text".to_owned());
        let error = TokenError::Refused { error, description }.into_error();
        assert!(error.message.contains("its text"), "{error}");
        error.what()
    };
    use crate::proto::ErrorKind::*;
    for (error, right) in [
        ("invalid_grant", CredentialsRevoked),
        ("invalid_client", Configuration),
        ("invalid_scope", AdminAction),
        ("server_error", Transient),
        ("invalid_request", Bug),
        ("something_of_next_year", AdminAction),
    ] {
        assert_eq!(kind(error), right, "{error}");
    }
}
