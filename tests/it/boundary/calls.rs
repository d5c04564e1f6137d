//! Calls: the same answers as without a library, and every way to fail to answer.

use std::time::Duration;

use tether::connectors::proto::{
    AuthKind, BeginAuthorizationRequest, CountRecordsRequest, DescribeRequest, ErrorKind,
    ExchangeCodeRequest, FetchCompanyRequest, ListFieldsRequest, LogInRequest, RefreshRequest, RevokeRequest,
    call_request::Call, call_response::Result as Answer,
};
use tether::connectors::{Connector, Error, Status};
use tokio::time::Instant;

use super::{connection, dummy, everything, map, native, soon};
use crate::support::{connectors, logs};

super::in_process_and_in_a_child! {
    a_library_answers_as_the_connector_does,
    errors_arrive_with_all_they_say,
    a_panic_fails_its_call_and_the_connector_comes_back,
    a_connector_that_keeps_panicking_is_given_pauses,
    what_goes_wrong_in_open_is_listed,
    a_call_ends_at_its_deadline,
    a_connector_that_holds_its_threads_is_given_up,
    a_dropped_call_is_cancelled,
    logs_arrive_and_secrets_do_not,
}

/// One call of each kind, with settings.
async fn requests(connector: &Connector, settings: &[(&str, &str)]) -> Vec<Call> {
    let connection = Some(connection(settings));
    vec![
        Call::BeginAuthorization(BeginAuthorizationRequest {
            settings: map(settings),
            redirect_uri: "https://tether.example/callback".to_owned(),
            state: "st4te".to_owned(),
            code_challenge: "ch4llenge".to_owned(),
            login_hint: String::new(),
        }),
        Call::ExchangeCode(ExchangeCodeRequest {
            settings: map(settings),
            redirect_uri: "https://tether.example/callback".to_owned(),
            callback: map(&[("code", "alice@acme")]),
            code_verifier: "v3rifier".to_owned(),
        }),
        Call::LogIn(LogInRequest {
            settings: map(settings),
            auth_kind: AuthKind::ApiKey.into(),
            parameters: map(&[("api_key", "bob")]),
        }),
        Call::Refresh(RefreshRequest {
            connection: connection.clone(),
        }),
        Call::Revoke(RevokeRequest {
            connection: connection.clone(),
        }),
        Call::ListFields(ListFieldsRequest {
            connection: connection.clone(),
            objects: Vec::new(),
        }),
        Call::CountRecords(CountRecordsRequest {
            connection: connection.clone(),
            objects: vec!["Company".to_owned(), "Deal".to_owned()],
        }),
        Call::FetchCompany(FetchCompanyRequest {
            connection,
            external_ids: vec!["C00000001".to_owned(), "C00000003".to_owned()],
            selection: everything(connector).await,
            related_limit: 1,
        }),
    ]
}

/// The call's name in scripts.
fn name(call: &Call) -> &'static str {
    match call {
        Call::BeginAuthorization(_) => "begin_authorization",
        Call::ExchangeCode(_) => "exchange_code",
        Call::LogIn(_) => "log_in",
        Call::Refresh(_) => "refresh",
        Call::Revoke(_) => "revoke",
        Call::ListFields(_) => "list_fields",
        Call::CountRecords(_) => "count_records",
        Call::FetchCompany(_) => "fetch_company",
        Call::Describe(_) | Call::Read(_) | Call::ProvideCredentials(_) => {
            unreachable!("not among the requests")
        }
    }
}

async fn make(connector: &Connector, call: Call, deadline: Instant) -> Result<Answer, Error> {
    Ok(match call {
        Call::BeginAuthorization(request) => {
            Answer::BeginAuthorization(connector.begin_authorization(request, deadline).await?)
        }
        Call::ExchangeCode(request) => Answer::LoggedIn(connector.exchange_code(request, deadline).await?),
        Call::LogIn(request) => Answer::LoggedIn(connector.log_in(request, deadline).await?),
        Call::Refresh(request) => Answer::Refresh(connector.refresh(request, deadline).await?),
        Call::Revoke(request) => Answer::Revoke(connector.revoke(request, deadline).await?),
        Call::ListFields(request) => Answer::ListFields(connector.list_fields(request, deadline).await?),
        Call::CountRecords(request) => {
            Answer::CountRecords(connector.count_records(request, deadline).await?)
        }
        Call::FetchCompany(request) => {
            Answer::FetchCompany(connector.fetch_company(request, deadline).await?)
        }
        Call::Describe(_) | Call::Read(_) | Call::ProvideCredentials(_) => {
            unreachable!("not among the requests")
        }
    })
}

/// Only times may differ between two calls.
fn without_time(mut answer: Answer) -> Answer {
    if let Answer::FetchCompany(fetched) = &mut answer {
        fetched.read_time_us = 0;
    }
    answer
}

async fn a_library_answers_as_the_connector_does(trusted: bool) {
    let settings = [("token_seconds", "0"), ("client_id", "app"), ("revision", "1")];
    let (_registry, connector) = dummy(&settings, trusted).await;
    let native = native(&settings);
    match native.call(Call::Describe(DescribeRequest {}), 0).await.unwrap() {
        Answer::Describe(description) => assert_eq!(&description, connector.describe()),
        other => panic!("{other:?}"),
    }
    for call in requests(&connector, &[]).await {
        let name = name(&call);
        let loaded = make(&connector, call.clone(), soon())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let native = native
            .call(call, 0)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(without_time(loaded) == without_time(native), "{name} differs");
    }
}

async fn errors_arrive_with_all_they_say(trusted: bool) {
    let (_registry, connector) = dummy(&[], trusted).await;
    let script = [("script.count_records", "error:rate_limited:60000")];
    let request = CountRecordsRequest {
        connection: Some(connection(&script)),
        objects: Vec::new(),
    };
    let error = connector.count_records(request, soon()).await.unwrap_err();
    let failed = error.failed().expect("the connector's own error");
    assert_eq!(
        (failed.what(), failed.code.as_str()),
        (ErrorKind::RateLimited, "DUMMY")
    );
    assert!(failed.retry_us > 0);
}

async fn a_panic_fails_its_call_and_the_connector_comes_back(trusted: bool) {
    for at in 0..8 {
        let (_registry, connector) = dummy(&[], trusted).await;
        let plain = requests(&connector, &[]).await.swap_remove(at);
        let name = name(&plain);
        let script = format!("script.{name}");
        let call = requests(&connector, &[(&script, "panic")]).await.swap_remove(at);
        let error = make(&connector, call, soon()).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Bug, "{name}: {error}");
        // The first failure is followed by no pause.
        make(&connector, plain, soon())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(
        !logs::text().contains("s3cret"),
        "the panic's message is in the log"
    );
}

async fn a_connector_that_keeps_panicking_is_given_pauses(trusted: bool) {
    let (registry, connector) = dummy(&[], trusted).await;
    let panicking = [("script.revoke", "panic")];
    let revoke = |script: &[(&str, &str)]| {
        let request = RevokeRequest {
            connection: Some(connection(script)),
        };
        let connector = connector.clone();
        async move { connector.revoke(request, soon()).await }
    };
    for _ in 0..2 {
        assert_eq!(revoke(&panicking).await.unwrap_err().kind(), ErrorKind::Bug);
    }
    let Err(Error::Poisoned { retry_after, .. }) = revoke(&[]).await else {
        panic!("no pause")
    };
    assert!(matches!(registry.list()[0].status, Status::Restarting { .. }));
    tokio::time::sleep(retry_after).await;
    revoke(&[]).await.expect("it is back");
    assert_eq!(registry.list()[0].status, Status::Ready);
}

async fn what_goes_wrong_in_open_is_listed(trusted: bool) {
    for (script, reason) in [
        ("panic", "should not"),
        ("error:configuration", "as the script says"),
    ] {
        let registry = connectors::registry(&[("script.open", script)], trusted).await;
        let listed = registry
            .list()
            .into_iter()
            .find(|listed| listed.name == "dummy")
            .expect("it is listed");
        let Status::Failed { reason: found } = listed.status else {
            panic!("{script}: {:?}", listed.status)
        };
        assert!(found.contains(reason), "{found}");
        assert!(matches!(registry.get("dummy"), Err(Error::Unusable { .. })));
    }
    let error = connectors::registry(&[], trusted).await.get("none").unwrap_err();
    assert!(
        error.to_string().contains("connectors/none/connector.toml"),
        "{error}"
    );
}

async fn a_call_ends_at_its_deadline(trusted: bool) {
    let (_registry, connector) = dummy(&[], trusted).await;
    let request = |script: &str| RevokeRequest {
        connection: Some(connection(&[("script.revoke", script)])),
    };
    let started = Instant::now();
    let error = connector
        .revoke(request("hang"), started + Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.failed().is_some(), "the connector itself says so: {error}");
    assert!(started.elapsed() < Duration::from_millis(900));
}

async fn a_connector_that_holds_its_threads_is_given_up(trusted: bool) {
    let (_registry, connector) = dummy(&[], trusted).await;
    let request = |script: &str| RevokeRequest {
        connection: Some(connection(&[("script.revoke", script)])),
    };
    let deadline = Instant::now() + Duration::from_millis(50);
    let blocked = || connector.revoke(request("block:4000"), deadline);
    let (first, second, third) = tokio::join!(blocked(), blocked(), blocked());
    let lost = [first, second, third]
        .into_iter()
        .filter(|result| matches!(result, Err(Error::TimedOut(_))));
    assert!(lost.count() >= 1);
    connector
        .revoke(request(""), soon())
        .await
        .expect("another instance answers");
}

async fn a_dropped_call_is_cancelled(trusted: bool) {
    let (_registry, connector) = dummy(&[], trusted).await;
    for _ in 0..20 {
        let request = RevokeRequest {
            connection: Some(connection(&[("script.revoke", "hang")])),
        };
        let dropped = tokio::time::timeout(Duration::from_millis(2), connector.revoke(request, soon()));
        assert!(dropped.await.is_err());
    }
    let request = RevokeRequest {
        connection: Some(connection(&[])),
    };
    connector
        .revoke(request, soon())
        .await
        .expect("the connector is well");
}

async fn logs_arrive_and_secrets_do_not(trusted: bool) {
    let (_registry, connector) = dummy(&[("client_secret", "s3cret-of-the-app")], trusted).await;
    for call in requests(&connector, &[("password", "s3cret-of-the-group")]).await {
        let debug = format!("{call:?}");
        let name = name(&call);
        make(&connector, call, soon())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!debug.contains("access.alice"), "{name} shows a token: {debug}");
    }
    let text = logs::text();
    assert!(
        text.contains("the dummy connector is open") && text.contains("connector=\"dummy\""),
        "{text}"
    );
    for secret in ["s3cret", "access.alice", "refresh.alice", "v3rifier"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}
