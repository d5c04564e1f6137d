//! Login, token refresh and revocation.

use serde_json::json;
use tether_connector_sdk::proto::*;

use crate::harness::*;

#[tokio::test]
async fn the_browser_logs_in_by_both_generations() {
    let sim = Sim::start(3);
    for api in ["2026-03", "v1"] {
        let connector = sim.connector_with(&[("oauth_api", api)]);
        let url = authorize_url(&connector).await;
        assert!(!url.contains("code_challenge"), "HubSpot has no PKCE: {url}");
        let callback = begin(&sim, &connector, ADMIN, "allow").await;
        let logged_in = exchange(&connector, callback.clone()).await.unwrap();
        let credentials = logged_in.credentials.clone().unwrap();
        assert!(!credentials.access_token.is_empty() && !credentials.refresh_token.is_empty());
        assert!(credentials.expires_us > 0, "HubSpot says when it ends");
        assert_eq!(logged_in.base_url, sim.base);
        let scopes = [
            "oauth",
            "crm.objects.companies.read",
            "crm.objects.contacts.read",
            "crm.objects.deals.read",
            "tickets",
        ];
        assert_eq!(logged_in.scopes, scopes);
        let identity = logged_in.identity.clone().unwrap();
        assert_eq!(
            (identity.organization_id.as_str(), identity.user_id.as_str()),
            ("62515", "1001")
        );
        assert_eq!(
            (identity.username.as_str(), identity.organization_name.as_str()),
            (ADMIN, "acme.example")
        );

        let error = exchange(&connector, callback).await.unwrap_err();
        assert_eq!(
            error.what(),
            ErrorKind::InvalidInput,
            "a code is good once: {error}"
        );

        // The refresh token stays; after a lost answer the refresh is repeated.
        let connection = connection(AuthKind::AuthorizationCode, logged_in);
        sim.fault(json!({"path": format!("/oauth/{api}/token"), "kind": "lost"}))
            .await;
        let renewed = refresh(&connector, &connection)
            .await
            .unwrap()
            .credentials
            .unwrap();
        assert_eq!(renewed.refresh_token, credentials.refresh_token);
        assert_ne!(renewed.access_token, credentials.access_token);

        // Revoked once, already gone the second time, and no refresh restores it.
        for already_gone in [false, api == "v1"] {
            let revoked = revoke(&connector, &connection).await;
            assert_eq!(revoked.unwrap().already_gone, already_gone);
        }
        let error = refresh(&connector, &connection).await.unwrap_err();
        assert_eq!(error.what(), ErrorKind::CredentialsRevoked, "{error}");
        assert_eq!(error.code, "BAD_REFRESH_TOKEN");
    }
    assert_only_read(&sim).await;
}

#[tokio::test]
async fn a_login_that_fails_says_why_and_leaves_nothing() {
    let sim = Sim::start(3);
    let connector = sim.connector();
    let callback = begin(&sim, &connector, ADMIN, "deny").await;
    let error = exchange(&connector, callback).await.unwrap_err();
    assert_eq!(
        (error.what(), error.code.as_str()),
        (ErrorKind::InvalidInput, "access_denied")
    );

    let wrong = sim.connector_with(&[("client_secret", "wr0ng")]);
    let callback = begin(&sim, &wrong, ADMIN, "allow").await;
    let error = exchange(&wrong, callback.clone()).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::Configuration, "{error}");
    assert!(!error.message.contains("wr0ng"), "{error}");

    // HubSpot is down: the login stays valid, and the refresh may be repeated.
    sim.fault(json!({"path": "/oauth/2026-03/token", "status": 502, "body": "<html>"}))
        .await;
    let error = exchange(&connector, callback.clone()).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::Transient, "{error}");
    assert!(exchange(&connector, callback).await.is_ok());

    // Without the scope for companies the login is useless: its tokens are revoked.
    let narrow = sim.connector_with(&[("scopes", "oauth"), ("optional_scopes", "tickets")]);
    let callback = begin(&sim, &narrow, ADMIN, "allow").await;
    let error = exchange(&narrow, callback).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::AdminAction);
    assert!(error.message.contains("crm.objects.companies.read"), "{error}");
    // The identity of the login is unknown: its tokens are revoked too.
    let callback = begin(&sim, &connector, ADMIN, "allow").await;
    sim.fault(json!({"path": "/oauth/2026-03/token/introspect", "kind": "garbage"}))
        .await;
    assert_eq!(
        exchange(&connector, callback).await.unwrap_err().what(),
        ErrorKind::Transient
    );
    let grants = sim.get("/control/oauth").await["grants"].clone();
    let revoked: Vec<bool> = grants
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["revoked"] == true)
        .collect();
    assert_eq!(revoked, [false, true, true]);

    let unset = sim.connector_with(&[("client_id", "")]);
    let error = exchange(&unset, Default::default()).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::Configuration);
    assert!(error.message.contains("client_id"), "{error}");
}

#[tokio::test]
async fn a_private_app_logs_in() {
    let sim = Sim::start(3);
    let connector = sim.connector();
    let logged_in = log_in_with_key(&connector, &format!(" {PRIVATE_APP} "))
        .await
        .unwrap();
    let identity = logged_in.identity.clone().unwrap();
    // The same account as the creator's own login: both count towards the limit of five.
    assert_eq!(
        (identity.organization_id.as_str(), identity.user_id.as_str()),
        ("62515", "1001")
    );
    assert!(identity.username.contains("private app 777001"));
    let credentials = logged_in.credentials.clone().unwrap();
    assert_eq!(
        (credentials.expires_us, credentials.refresh_token.as_str()),
        (0, "")
    );

    for (key, scopes) in [
        ("pat-na1-nobody", None),
        ("two words", None),
        ("", None),
        ("pat-na1-few", Some(json!(["tickets"]))),
    ] {
        if let Some(scopes) = scopes {
            sim.control("/oauth/private-apps", json!({"token": key, "scopes": scopes}))
                .await;
        }
        let error = log_in_with_key(&connector, key).await.unwrap_err();
        assert_eq!(
            (error.what(), error.field.as_str()),
            (ErrorKind::InvalidInput, "api_key"),
            "{error}"
        );
        assert!(key.is_empty() || !error.message.contains(key), "{error}");
    }

    // The token does not expire: a 401 is verified before the login counts as revoked.
    let connection = connection(AuthKind::ApiKey, logged_in);
    assert_eq!(
        refresh(&connector, &connection)
            .await
            .unwrap()
            .credentials
            .unwrap(),
        credentials
    );
    let revoked = revoke(&connector, &connection).await;
    assert_eq!(revoked.unwrap_err().what(), ErrorKind::Unsupported);
    sim.control(
        "/oauth/private-apps",
        json!({"token": PRIVATE_APP, "delete": true}),
    )
    .await;
    let error = refresh(&connector, &connection).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::CredentialsRevoked, "{error}");
    assert_only_read(&sim).await;
}

#[tokio::test]
async fn a_key_that_only_account_info_knows_is_an_account_of_its_portal() {
    let sim = Sim::start(3);
    let connector = sim.connector();
    let down = json!({"path": "/oauth/v2/private-apps", "status": 404, "body": "{\"status\":\"error\"}"});
    sim.fault(down).await;
    let identity = log_in_with_key(&connector, PRIVATE_APP)
        .await
        .unwrap()
        .identity
        .unwrap();
    assert_eq!(
        (identity.organization_id.as_str(), identity.user_id.as_str()),
        ("62515", "key-of-62515")
    );
    // An error of HubSpot does not count as a revocation.
    sim.fault(json!({"path": "/oauth/v2/private-apps", "status": 500}))
        .await;
    let error = log_in_with_key(&connector, PRIVATE_APP).await.unwrap_err();
    assert_eq!(error.what(), ErrorKind::Transient);
}
