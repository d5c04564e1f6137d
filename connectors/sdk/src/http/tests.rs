//! Tests with a loopback server that sends a given answer.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::proto::{ErrorKind, HttpPolicy};
use crate::{CallContext, Host};

/// Answers every connection with these bytes, then closes it. Returns the server's address.
async fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            if answer.is_empty() {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

async fn get(
    answer: &'static [u8],
    change: impl FnOnce(Request) -> Request,
) -> Result<Response, crate::Error> {
    let address = server(answer).await;
    let policy = HttpPolicy {
        plain_http_hosts: vec![address.clone()],
        ..HttpPolicy::default()
    };
    let http = Host::standalone(policy).http(ReadSet::new().get("/a/**"))?;
    let request = Request::get(&format!("http://{address}/a/b?token=s3cret"))?.bearer("s3cret")?;
    assert!(!format!("{request:?}").contains("s3cret"));
    let call = CallContext::new(None);
    let answer = http.send(&call, change(request)).await;
    assert_eq!(call.usage().calls, 1);
    if let Err(error) = &answer {
        assert!(!error.message.contains("s3cret"), "{error}");
    }
    answer
}

#[tokio::test]
async fn redirects_are_answers() {
    let answer = get(
        b"HTTP/1.1 302 F\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n",
        |r| r,
    )
    .await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 302);
    assert_eq!(answer.headers["location"], "http://evil.example/");
}

#[tokio::test]
async fn damaged_answers_are_transient() {
    for damaged in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"[..],
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2",
    ] {
        let error = get(damaged, |r| r).await.unwrap_err();
        assert!(error.is(ErrorKind::Transient), "{error}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
    assert_eq!(
        &get(answer, |r| r.max_body(10)).await.unwrap().body[..],
        b"0123456789"
    );
    assert!(
        get(answer, |r| r.max_body(9))
            .await
            .unwrap_err()
            .is(ErrorKind::QueryTooBig)
    );
}

#[tokio::test]
async fn nothing_is_waited_for_too_long() {
    let error = get(b"", |r| r.timeout(Duration::from_millis(20)))
        .await
        .unwrap_err();
    assert!(error.is(ErrorKind::Transient));
    let address = server(b"").await;
    let policy = HttpPolicy {
        plain_http_hosts: vec![address.clone()],
        ..HttpPolicy::default()
    };
    let http = Host::standalone(policy).http(ReadSet::new().get("/**")).unwrap();
    let call = CallContext::new(Some(tokio::time::Instant::now() + Duration::from_millis(20)));
    let request = Request::get(&format!("http://{address}/a")).unwrap();
    assert!(
        http.send(&call, request)
            .await
            .unwrap_err()
            .is(ErrorKind::DeadlineExceeded)
    );
}

#[tokio::test]
async fn what_is_not_allowed_is_not_sent() {
    let http = Host::standalone(HttpPolicy::default())
        .http(ReadSet::new().get("/a"))
        .unwrap();
    let call = CallContext::default();
    let refused = http
        .send(&call, Request::get("https://evil.example/a").unwrap())
        .await
        .unwrap_err();
    assert!(refused.is(ErrorKind::Configuration));
    let policy = HttpPolicy {
        allowed_hosts: vec!["crm.example".to_owned()],
        ..HttpPolicy::default()
    };
    let http = Host::standalone(policy)
        .http(ReadSet::new().get("/a").post("/token"))
        .unwrap();
    for request in [
        Request::new(Method::DELETE, "https://crm.example/a").unwrap(),
        Request::get("https://crm.example/b").unwrap(),
        Request::post_form("https://crm.example/token", [])
            .unwrap()
            .header(
                HeaderName::from_static("x-http-method-override"),
                HeaderValue::from_static("PATCH"),
            ),
    ] {
        assert!(
            http.send(&call, request)
                .await
                .unwrap_err()
                .is(ErrorKind::ReadOnly)
        );
    }
    assert_eq!(call.usage().calls, 0);
}

#[tokio::test]
async fn half_a_character_costs_no_reply() {
    for header in [
        "content-type: application/json;charset=UTF-8\r\n",
        "content-type: application/problem+json\r\n",
        "",
    ] {
        let body = r#"{"a":"x\ud83dy \ud83d\ude00"}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{header}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = get(Box::leak(answer.into_boxed_str()).as_bytes(), |r| r)
            .await
            .unwrap();
        assert_eq!(&*answer.text(), r#"{"a":"x\ufffdy \ud83d\ude00"}"#, "{header}");
    }
}
