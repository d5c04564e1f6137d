use super::*;
use crate::http::{HeaderMap, HeaderValue, ReadSet, header};
use crate::proto::{Credentials, ErrorKind, HttpPolicy};

struct Crm {
    host: Host,
    http: HttpClient,
}

impl Api for Crm {
    const CRM: &'static str = "Crm";

    fn host(&self) -> &Host {
        &self.host
    }

    fn http(&self) -> &HttpClient {
        &self.http
    }

    fn base_url(&self, base_url: &str) -> String {
        match base_url {
            "" => "https://crm.example".to_owned(),
            named => named.to_owned(),
        }
    }
}

fn connection(base_url: &str, token: &str) -> Connection {
    Connection {
        base_url: base_url.to_owned(),
        credentials: Some(Credentials {
            access_token: token.to_owned(),
            ..Credentials::default()
        }),
        ..Connection::default()
    }
}

fn session(base_url: &str) -> Session<Crm> {
    let host = Host::standalone(HttpPolicy::default());
    let http = host.http(ReadSet::new()).unwrap();
    let crm = Arc::new(Crm { host, http });
    Session::new(&crm, &CallContext::default(), Some(&connection(base_url, "t"))).unwrap()
}

#[test]
fn the_address_is_that_of_the_login_until_another_is_named() {
    let mut session = session("");
    assert_eq!(session.url("/x"), "https://crm.example/x");
    session.renew("u".to_owned(), "https://moved.example/");
    assert_eq!(session.url("/x"), "https://moved.example/x");
    // Empty means unchanged.
    session.renew("v".to_owned(), "");
    assert_eq!(session.url("/x"), "https://moved.example/x");
    assert_eq!(
        self::session("https://eu.example/").url("/x"),
        "https://eu.example/x"
    );
}

fn reply(status: u16, retry_after: Option<&'static str>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(wait) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(wait));
    }
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Default::default(),
    }
}

#[test]
fn a_status_counts_only_in_a_reply_of_the_crm() {
    use ErrorKind::*;
    let kind = |auth_kind, status, text| {
        by_status("Crm", auth_kind, &reply(status, None), text)
            .error
            .what()
    };
    let table = [
        (400, Bug, Transient),
        (401, CredentialsExpired, CredentialsExpired),
        (403, Forbidden, Transient),
        (404, RecordGone, Transient),
        (410, RecordGone, Transient),
        (414, QueryTooBig, QueryTooBig),
        (429, RateLimited, RateLimited),
        (503, Transient, Transient),
    ];
    for (status, own, foreign) in table {
        assert_eq!(
            kind(AuthKind::AuthorizationCode, status, Some("x")),
            own,
            "{status}"
        );
        assert_eq!(
            kind(AuthKind::AuthorizationCode, status, None),
            foreign,
            "{status}"
        );
    }
    assert_eq!(kind(AuthKind::ApiKey, 401, None), CredentialsRevoked);
    let limited = by_status("Crm", AuthKind::ApiKey, &reply(429, Some("7")), Some("slowly"));
    assert_eq!(limited.pause, Some(Duration::from_secs(7)));
    assert!(limited.error.retry_us > 0 && limited.error.message.contains("(slowly)"));
}

#[test]
fn what_may_succeed_later_is_repeated_and_not_without_end() {
    let retries = Retries {
        told_attempts: 20,
        ..Retries::new(Duration::from_secs(1), Urgency::Usual)
    };
    let wait = |attempt, error: Error, pause: Option<u64>| {
        let refusal = Refusal::from(error).after(pause.map(Duration::from_secs));
        retries.wait(attempt, &refusal, 1.0).map(|wait| wait.as_secs())
    };
    assert_eq!(wait(1, Error::transient(""), None), Some(1));
    assert_eq!(wait(3, Error::transient(""), None), Some(4));
    assert_eq!(wait(1, Error::transient(""), Some(17)), Some(17));
    assert_eq!(wait(5, Error::transient(""), Some(1)), None);
    assert_eq!(wait(1, Error::rate_limited(""), None), Some(5));
    assert_eq!(wait(5, Error::rate_limited(""), None), None);
    assert_eq!(wait(5, Error::rate_limited(""), Some(4)), Some(5));
    assert_eq!(wait(20, Error::rate_limited(""), Some(4)), None);
    assert_eq!(wait(1, Error::forbidden(""), Some(1)), None);
}
