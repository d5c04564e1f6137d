//! What faults do to answers.

use std::io::Write as _;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use tower::ServiceExt as _;

use crate::faults::{Fault, Kind};
use crate::wire::Line;

type Piece = Result<Bytes, std::io::Error>;

impl Fault {
    /// Waits for the configured pause.
    pub async fn wait(&self) {
        if self.delay_ms > 0 && self.kind != Kind::Drip {
            self.pause().await;
        }
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
    }

    /// Calls the control routes of the fault.
    ///
    /// # Errors
    /// A route refused its call: the answer to send instead, so that no test overlooks it.
    pub async fn act(&self, control: impl Fn() -> Router) -> Result<(), Box<Response>> {
        for act in &self.act {
            let body = match &act.body {
                serde_json::Value::Null => Body::empty(),
                body => Body::from(body.to_string()),
            };
            let request = Request::post(&act.route).body(body);
            let refused = match request {
                Ok(request) => match control().oneshot(request).await {
                    Ok(response) if response.status().is_success() => continue,
                    Ok(response) => to_bytes(response.into_body(), 1 << 16).await.unwrap_or_default(),
                    Err(never) => match never {},
                },
                Err(error) => error.to_string().into(),
            };
            let text = format!("{} was refused: {}", act.route, String::from_utf8_lossy(&refused));
            return Err(Box::new((StatusCode::NOT_IMPLEMENTED, text).into_response()));
        }
        Ok(())
    }

    /// Whether the caller gets no answer at all. The request may have been executed.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.kind == Kind::Hang || self.kind == Kind::Stall && self.after_bytes.is_none()
    }

    /// Waits until the caller gives up.
    pub async fn stay_silent(&self) {
        std::future::pending::<()>().await;
    }

    /// The body of a fault that [answers](Fault::answers). `page` is the CRM's own web page.
    #[must_use]
    pub fn text(&self, page: &str) -> String {
        match (&self.body, self.kind, self.status) {
            (Some(body), ..) => body.clone(),
            (None, Kind::Html, None | Some(200)) => page.to_owned(),
            (None, Kind::Html, Some(status)) => format!(
                "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
                 <hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
            ),
            (None, ..) => String::new(),
        }
    }

    /// The answer of a fault that [answers](Fault::answers). `page` is the CRM's own web page, `more` further headers.
    #[must_use]
    pub fn instead(&self, page: &str, more: &[(String, String)]) -> Response {
        let html = self.kind == Kind::Html;
        let status = self.status.unwrap_or(if html { 200 } else { 500 });
        let usual = if html {
            "text/html;charset=UTF-8"
        } else {
            "application/json;charset=UTF-8"
        };
        let kind = self.content_type.clone().unwrap_or_else(|| usual.to_owned());
        let mut response =
            (StatusCode::from_u16(status).unwrap_or_default(), self.text(page)).into_response();
        let kind = [("content-type".to_owned(), kind)];
        put_headers(response.headers_mut(), &kind);
        put_headers(response.headers_mut(), more);
        put_headers(response.headers_mut(), &self.headers);
        response
    }

    /// Truncates, delays or damages the answer of an executed request. `line` is the connection of the request, if the
    /// simulator can reset it; otherwise it is closed.
    pub async fn spoil(&self, response: Response, line: Option<&Line>) -> Response {
        let (mut parts, body) = response.into_parts();
        let pieces: BoxStream<'static, Piece> = match self.kind {
            Kind::Cut => {
                let (keep, pieces) = self.part(body, None).await;
                first(pieces, keep).chain(end(None)).boxed()
            }
            Kind::Reset => {
                let (keep, pieces) = self.part(body, Some(0)).await;
                first(pieces, keep).chain(end(line.cloned())).boxed()
            }
            Kind::Stall => {
                let (keep, pieces) = self.part(body, Some(0)).await;
                first(pieces, keep).chain(stream::pending()).boxed()
            }
            Kind::Truncate => {
                let (keep, pieces) = self.part(body, None).await;
                first(pieces, keep)
            }
            Kind::Lost => {
                // An error before the first byte of the body: the status line may or may not have been sent.
                parts.headers.clear();
                return Response::from_parts(parts, Body::from_stream(stream::iter([broken()])));
            }
            Kind::Garbage => {
                let body = whole(body).await;
                let mut bytes = body[..body.len() / 2].to_vec();
                bytes.extend_from_slice(b"\x00<<<garbage");
                stream::iter([Ok(Bytes::from(bytes))]).boxed()
            }
            Kind::Drip => self.drip(body),
            Kind::CutGzip => {
                let packed = gzip(&whole(body).await);
                let keep = self.after_bytes.unwrap_or(packed.len() / 2).min(packed.len());
                label_gzip(&mut parts.headers);
                stream::iter([Ok(packed.slice(..keep))]).boxed()
            }
            Kind::Mislabelled => {
                label_gzip(&mut parts.headers);
                put_headers(&mut parts.headers, &self.headers);
                return Response::from_parts(parts, body);
            }
            Kind::Status | Kind::Delay | Kind::Html | Kind::Act | Kind::Hang => {
                put_headers(&mut parts.headers, &self.headers);
                return Response::from_parts(parts, body);
            }
        };
        if self.kind != Kind::Cut && self.kind != Kind::Reset {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        put_headers(&mut parts.headers, &self.headers);
        Response::from_parts(parts, Body::from_stream(pieces))
    }

    /// The number of bytes to send, and the body. Only if the number depends on the length, the body is collected.
    async fn part(&self, body: Body, usual: Option<usize>) -> (usize, BoxStream<'static, Piece>) {
        if let Some(keep) = self.after_bytes.or(usual) {
            return (keep, pieces(body));
        }
        let body = whole(body).await;
        (body.len() / 2, stream::iter([Ok(body)]).boxed())
    }

    fn drip(&self, body: Body) -> BoxStream<'static, Piece> {
        let size = self.after_bytes.unwrap_or(1_000).max(1);
        let fault = self.clone();
        let small = pieces(body).flat_map(move |piece| {
            let cut = piece.map(|piece| {
                let starts = (0..piece.len()).step_by(size);
                let cut = starts.map(|from| Ok(piece.slice(from..piece.len().min(from + size))));
                cut.collect::<Vec<Piece>>()
            });
            stream::iter(cut.unwrap_or_else(|error| vec![Err(error)]))
        });
        let slow = small.then(move |piece| {
            let fault = fault.clone();
            async move {
                fault.pause().await;
                piece
            }
        });
        slow.boxed()
    }
}

async fn whole(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}

fn pieces(body: Body) -> BoxStream<'static, Piece> {
    body.into_data_stream()
        .map(|piece| piece.map_err(std::io::Error::other))
        .boxed()
}

fn broken() -> Piece {
    Err(std::io::Error::other("cut by order of the control interface"))
}

/// The end of a connection in the middle of a message.
fn end(line: Option<Line>) -> impl Stream<Item = Piece> + Send + 'static {
    stream::once(async move {
        // The pause lets the data before the cut be sent; hyper would discard it together with the error.
        tokio::task::yield_now().await;
        if let Some(line) = line {
            line.reset();
        }
        broken()
    })
}

/// The first bytes of a body.
fn first(pieces: BoxStream<'static, Piece>, keep: usize) -> BoxStream<'static, Piece> {
    let cut = stream::unfold((pieces, keep), |(mut pieces, keep)| async move {
        if keep == 0 {
            return None;
        }
        let piece = pieces.next().await?;
        let piece = piece.map(|piece| piece.slice(..piece.len().min(keep)));
        let sent = piece.as_ref().map_or(0, Bytes::len);
        Some((piece, (pieces, keep - sent)))
    });
    cut.boxed()
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.unwrap_or_default().into()
}

fn label_gzip(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
}

fn put_headers(headers: &mut HeaderMap, more: &[(String, String)]) {
    for (name, value) in more {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: &str) -> Fault {
        let fault: Fault = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}"));
        fault.begin(|_, _| None).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The data of a body until its end, and whether it ended without an error.
    async fn read(response: Response) -> (Vec<u8>, bool) {
        let mut body = response.into_body().into_data_stream();
        let mut all = Vec::new();
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => all.extend_from_slice(&piece),
                Err(_) => return (all, false),
            }
        }
        (all, true)
    }

    #[tokio::test]
    async fn pages_are_the_crms_own_or_a_gateways() {
        for (json, status, part) in [
            (r#"{"path":"/","kind":"html"}"#, 200, "log in"),
            (r#"{"path":"/","kind":"html","status":403}"#, 403, "gateway"),
            (
                r#"{"path":"/","kind":"html","status":403,"body":"own"}"#,
                403,
                "own",
            ),
            (r#"{"path":"/","body":"own"}"#, 500, "own"),
        ] {
            let response = order(json).instead("log in", &[]);
            assert_eq!(response.status(), status, "{json}");
            let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
            assert!(String::from_utf8_lossy(&body).contains(part), "{json}");
        }
    }

    #[tokio::test]
    async fn answers_end_early_with_an_error_or_in_good_order() {
        for (json, data, complete) in [
            (r#"{"kind":"cut","afterBytes":3}"#, "abc", false),
            (r#"{"kind":"cut"}"#, "abc", false),
            (r#"{"kind":"reset","afterBytes":2}"#, "ab", false),
            (r#"{"kind":"reset"}"#, "", false),
            (r#"{"kind":"truncate"}"#, "abc", true),
            (r#"{"kind":"truncate","afterBytes":5}"#, "abcde", true),
            (r#"{"kind":"drip","afterBytes":2}"#, "abcdef", true),
            (r#"{"kind":"mislabelled"}"#, "abcdef", true),
            (r#"{"kind":"act"}"#, "abcdef", true),
        ] {
            let answer = order(json).spoil("abcdef".into_response(), None).await;
            assert_eq!(read(answer).await, (data.as_bytes().to_vec(), complete), "{json}");
        }
        let garbage = order(r#"{"kind":"garbage"}"#);
        let answer = garbage.spoil("abcdef".into_response(), None).await;
        assert!(read(answer).await.0.starts_with(b"abc\x00"));
    }

    #[tokio::test]
    async fn a_truncated_gzip_stream_does_not_decompress() {
        let text = "abcdef".repeat(1000);
        let whole = order(r#"{"kind":"cutGzip","afterBytes":100000}"#);
        let cut = order(r#"{"kind":"cutGzip"}"#);
        for (fault, good) in [(whole, true), (cut, false)] {
            let answer = fault.spoil(text.clone().into_response(), None).await;
            assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
            assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
            let (packed, complete) = read(answer).await;
            let mut plain = String::new();
            let unpacked =
                std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain);
            assert_eq!((complete, unpacked.is_ok() && plain == text), (true, good));
        }
    }

    #[tokio::test]
    async fn the_acts_of_a_fault_are_posted_to_the_control_routes() {
        let control = || {
            Router::new().route(
                "/clock",
                axum::routing::post(async |body: String| match body.as_str() {
                    r#"{"n":1}"# => StatusCode::OK,
                    _ => StatusCode::BAD_REQUEST,
                }),
            )
        };
        let good = order(r#"{"kind":"act","act":[{"route":"/clock","body":{"n":1}}]}"#);
        assert!(good.act(control).await.is_ok());
        for bad in [
            r#"{"kind":"act","act":[{"route":"/clock","body":{"n":2}}]}"#,
            r#"{"kind":"act","act":[{"route":"/none"}]}"#,
        ] {
            let refused = order(bad).act(control).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED, "{bad}");
        }
    }
}
