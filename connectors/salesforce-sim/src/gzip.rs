//! Compression of replies.

use std::io::Write as _;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{Stream, StreamExt as _, stream};

/// Shorter replies are not compressed.
const SHORT: u64 = 1000;

/// Compresses a body. One of unknown length is a long result, compressed piece by piece: it is never in memory as a whole.
pub(crate) async fn compress(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let gzip = HeaderValue::from_static("gzip");
    let Some(length) = body.size_hint().exact() else {
        parts.headers.insert(header::CONTENT_ENCODING, gzip);
        return Response::from_parts(parts, Body::from_stream(packed(body)));
    };
    if length < SHORT {
        return Response::from_parts(parts, body);
    }
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let work = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        encoder.write_all(&body).and_then(|()| encoder.finish())
    });
    let Ok(Ok(packed)) = work.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.insert(header::CONTENT_ENCODING, gzip);
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(packed.len()));
    Response::from_parts(parts, Body::from(packed))
}

fn packed(body: Body) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let start = (body.into_data_stream(), Some(encoder));
    stream::unfold(start, |(mut body, encoder)| async move {
        let mut encoder = encoder?;
        loop {
            let Some(piece) = body.next().await else {
                return Some((encoder.finish().map(Bytes::from), (body, None)));
            };
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Some((Err(std::io::Error::other(error)), (body, None))),
            };
            let work = tokio::task::spawn_blocking(move || {
                let written = encoder.write_all(&piece);
                (written, encoder)
            });
            match work.await {
                Ok((Ok(()), packer)) => encoder = packer,
                Ok((Err(error), _)) => return Some((Err(error), (body, None))),
                Err(error) => return Some((Err(std::io::Error::other(error)), (body, None))),
            }
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Some((Ok(Bytes::from(ready)), (body, Some(encoder))));
            }
        }
    })
}
