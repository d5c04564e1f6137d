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
