//! Login, token refresh and revocation.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn the_browser_logs_in() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let callback = begin(&sim, &connector, "admin@acme.example", "allow").await;
    let logged_in = exchange(&connector, callback.clone()).await.unwrap();
    let credentials = logged_in.credentials.clone().unwrap();
    assert!(!credentials.access_token.is_empty() && !credentials.refresh_token.is_empty());
    assert_eq!(credentials.expires_us, 0, "Salesforce does not say");
    assert_eq!(logged_in.base_url, sim.base);
    let mut scopes = logged_in.scopes.clone();
    scopes.sort();
    assert_eq!(scopes, ["api", "id", "refresh_token"]);
    let identity = logged_in.identity.unwrap();
    assert!(identity.organization_id.starts_with("00D") && identity.organization_id.len() == 18);
    assert!(identity.user_id.starts_with("005") && identity.user_id.len() == 18);
    assert_eq!(identity.username, "admin@acme.example");
    assert_eq!(identity.organization_name, "Acme");
    assert!(!identity.user_display_name.is_empty());

    let error = exchange(&connector, callback).await.unwrap_err();
    assert_eq!(
        error.what(),
        ErrorKind::InvalidInput,
        "a code is good once: {error}"
    );
}

#[tokio::test]
async fn a_login_that_fails_says_why() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let callback = begin(&sim, &connector, "admin@acme.example", "deny").await;
    let error = exchange(&connector, callback).await.unwrap_err();
    assert_eq!(
        (error.what(), error.code.as_str()),
        (ErrorKind::InvalidInput, "access_denied")
    );

    let callback = [
        ("error", "invalid_client"),
        ("error_description", "app must be installed into org"),
    ];
    let callback = callback.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let error = exchange(&connector, callback).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::AdminAction);
    assert!(error.message.contains("administrator"), "{error}");

    let wrong = sim.connector_with(&[("client_secret", "wrong")]);
    let callback = begin(&sim, &wrong, "admin@acme.example", "allow").await;
    let error = exchange(&wrong, callback).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::Configuration);
    assert!(!error.message.contains("wrong"), "{error}");
}

#[tokio::test]
async fn refreshing_rotates() {
    let sim = Sim::start(&["--rotation"]);
    let connector = sim.connector();
    let mut connection = log_in(&sim, &connector, "admin@acme.example").await;
    let first = connection.credentials.clone().unwrap();
    let renewed = refresh(&connector, &connection).await.unwrap();
    let second = renewed.credentials.clone().unwrap();
    assert_ne!(first.refresh_token, second.refresh_token);
    assert_ne!(first.access_token, second.access_token);
    assert_eq!(renewed.base_url, sim.base);
    connection.credentials = renewed.credentials;
    refresh(&connector, &connection).await.unwrap();

    connection.credentials = Some(first);
    let error = refresh(&connector, &connection).await.unwrap_err();
    assert_eq!(
        error.what(),
        ErrorKind::CredentialsRevoked,
        "a spent token: {error}"
    );
    assert!(error.message.contains("five times"), "{error}");
}

#[tokio::test]
async fn a_refresh_token_that_does_not_rotate_is_kept() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    let renewed = refresh(&connector, &connection).await.unwrap();
    let (old, new) = (connection.credentials.unwrap(), renewed.credentials.unwrap());
    assert_eq!(old.refresh_token, new.refresh_token);
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_revokes_nobody() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    for fault in [
        json!({"path": "/services/oauth2/token", "status": 503, "body": "<html>Down for maintenance</html>"}),
        json!({"path": "/services/oauth2/token", "kind": "html"}),
        json!({"path": "/services/oauth2/token", "status": 400, "body": "{\"error\":\"invalid_grant\",\"error_description\":\"token request is already being processed\"}"}),
        json!({"path": "/services/oauth2/token", "status": 400, "body": "{\"error\":\"unknown_error\"}"}),
        json!({"path": "/services/oauth2/token", "kind": "html", "status": 400}),
        json!({"path": "/services/oauth2/token", "kind": "html", "status": 403}),
        json!({"path": "/services/oauth2/token", "status": 404, "body": "{\"message\":\"Not Found\"}"}),
    ] {
        sim.fault(fault.clone()).await;
        let error = refresh(&connector, &connection).await.unwrap_err();
        assert_eq!(error.what(), ErrorKind::Transient, "{fault}: {error}");
    }
    refresh(&connector, &connection).await.unwrap();
    // The answer is lost on its way: the second attempt shows the outcome.
    sim.fault(json!({"path": "/services/oauth2/token", "kind": "lost"}))
        .await;
    refresh(&connector, &connection).await.unwrap();
}

#[tokio::test]
async fn access_is_given_back() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    for already_gone in [false, true] {
        let revoked = revoke(&connector, &connection).await;
        assert_eq!(revoked.unwrap().already_gone, already_gone);
    }
    let error = refresh(&connector, &connection).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::CredentialsRevoked);
}

#[tokio::test]
async fn client_credentials_need_an_own_domain() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let request = |settings: &[(&str, &str)]| LogInRequest {
        settings: settings
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        auth_kind: AuthKind::ClientCredentials.into(),
        parameters: Default::default(),
    };
    let refused: Result<LoggedIn, Error> = connector.log_in(request(&[])).await;
    let error = refused.unwrap_err();
    assert_eq!(error.what(), ErrorKind::InvalidInput);
    assert!(error.message.contains("My Domain"), "{error}");

    let settings = [("environment", "domain"), ("domain", "acme.my.salesforce.com")];
    let logged_in: Result<LoggedIn, Error> = connector.log_in(request(&settings)).await;
    let mut connection = connection(AuthKind::ClientCredentials, logged_in.unwrap());
    connection.settings = request(&settings).settings;
    assert_eq!(
        connection.identity.as_ref().unwrap().username,
        "admin@acme.example"
    );
    let renewed = refresh(&connector, &connection).await.unwrap();
    assert_ne!(
        renewed.credentials.unwrap().access_token,
        connection.credentials.unwrap().access_token
    );
}

#[tokio::test]
async fn a_signed_assertion_logs_in() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulator/keys");
    let sim = Sim::start(&["--jwt-public-key", &format!("{keys}/public.pem")]);
    let connector = sim.connector();
    let log_in = async |username: &str, key: &str| -> Result<LoggedIn, Error> {
        let parameters = [("username", username), ("private_key", key)];
        let request = LogInRequest {
            auth_kind: AuthKind::JwtBearer.into(),
            parameters: parameters.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..LogInRequest::default()
        };
        connector.log_in(request).await
    };
    // A test key that is used nowhere else.
    let key = std::fs::read_to_string(format!("{keys}/private.pem")).unwrap();
    let error = log_in("admin@acme.example", "no key").await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::InvalidInput);
    assert!(!error.message.contains("no key"));
    // The forms in environment variables and JSON files.
    for (from, to) in [("\n", "\\n"), ("\n", "\\r\\n"), ("\n", "\r\n")] {
        log_in("admin@acme.example", &key.replace(from, to))
            .await
            .unwrap();
    }
    log_in(
        "admin@acme.example",
        &format!("\"{}\"", key.trim().replace('\n', "\\n")),
    )
    .await
    .unwrap();
    let connection = connection(
        AuthKind::JwtBearer,
        log_in("admin@acme.example", &key).await.unwrap(),
    );
    assert_eq!(
        connection.identity.as_ref().unwrap().username,
        "admin@acme.example"
    );
    let renewed = refresh(&connector, &connection).await.unwrap();
    assert_ne!(
        renewed.credentials.unwrap().access_token,
        connection.credentials.unwrap().access_token
    );
}

#[tokio::test]
async fn refusals_of_administrators_are_told_word_for_word() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    for code in [
        "OAUTH_APP_BLOCKED",
        "OAUTH_APP_ACCESS_DENIED",
        "OAUTH_EC_APP_NOT_FOUND",
        "OAUTH_AUTHORIZATION_BLOCKED",
        "invalid_app_access",
        "a_refusal_of_next_year",
    ] {
        let words = format!("the words of {code}");
        let refusal = json!({"callback": code, "token": code, "description": words});
        sim.control("/oauth/refusal", refusal).await;
        let callback = begin(&sim, &connector, "admin@acme.example", "allow").await;
        assert_eq!(callback["error"], code);
        let told = [
            exchange(&connector, callback).await.unwrap_err(),
            refresh(&connector, &connection).await.unwrap_err(),
        ];
        for error in told {
            assert_eq!(
                (error.what(), error.code.as_str()),
                (ErrorKind::AdminAction, code)
            );
            assert!(
                error.message.contains(&words) && error.message.contains("administrator"),
                "{error}"
            );
            assert_eq!(error.retry_us, 0, "an outage would have a time");
        }
    }
    sim.control("/oauth/refusal", json!({})).await;
    refresh(&connector, &connection).await.unwrap();
}

#[tokio::test]
async fn a_gateway_s_page_revokes_nothing() {
    let sim = Sim::start(&[]);
    let connector = sim.connector();
    let connection = log_in(&sim, &connector, "admin@acme.example").await;
    let request = || RevokeRequest {
        connection: Some(connection.clone()),
    };
    for status in [200, 400, 403, 404] {
        sim.fault(json!({"path": "/services/oauth2/revoke", "kind": "html", "status": status}))
            .await;
        let refused: Result<RevokeResponse, Error> = connector.revoke(request()).await;
        assert_eq!(refused.unwrap_err().what(), ErrorKind::Transient, "{status}");
    }
    refresh(&connector, &connection).await.unwrap();
    let revoked: Result<RevokeResponse, Error> = connector.revoke(request()).await;
    assert!(!revoked.unwrap().already_gone);
}
