//! A request, before the checks.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::{Url, form_urlencoded};

use crate::proto::Error;

/// A request. Its Debug output has method, host and path, but not query, headers or body.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(super) max_body: Option<u64>,
    pub(super) timeout: Option<Duration>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: &str) -> Result<Self, Error> {
        // The error does not repeat the text: an invalid URL may contain a token.
        let url = Url::parse(url).map_err(|error| Error::bug(format!("not an address: {error}")))?;
        let headers = HeaderMap::new();
        Ok(Self {
            method,
            url,
            headers,
            body: Bytes::new(),
            max_body: None,
            timeout: None,
        })
    }

    /// A GET.
    pub fn get(url: &str) -> Result<Self, Error> {
        Self::new(Method::GET, url)
    }

    /// A POST of a form.
    pub fn post_form<'a>(
        url: &str,
        form: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Self::new(Method::POST, url)?.body(body);
        Ok(request.header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        ))
    }

    /// A POST of a JSON document.
    pub fn post_json(url: &str, json: impl Into<Bytes>) -> Result<Self, Error> {
        let request = Self::new(Method::POST, url)?.body(json);
        Ok(request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")))
    }

    /// Sets another method.
    #[must_use]
    pub fn with_method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(key, value);
        self
    }

    /// Sets a header; replaces one of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the accepted content type.
    #[must_use]
    pub fn accept(self, content_type: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(content_type))
    }

    /// With `Authorization: <scheme> <token>`.
    pub fn authorization(self, scheme: &str, token: &str) -> Result<Self, Error> {
        self.secret_header(AUTHORIZATION, &format!("{scheme} {token}"))
    }

    /// With a secret in a header of the CRM's own, such as an API key.
    pub fn secret_header(self, name: HeaderName, secret: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::from_str(secret)
            .map_err(|_| Error::credentials_revoked("the stored token or key is not one that can be sent"))?;
        value.set_sensitive(true);
        Ok(self.header(name, value))
    }

    /// With `Authorization: Bearer <token>`.
    pub fn bearer(self, token: &str) -> Result<Self, Error> {
        self.authorization("Bearer", token)
    }

    /// With `Authorization: Basic …` (RFC 7617), also for APIs that take a key as user or password.
    pub fn basic(self, user: &str, password: &str) -> Result<Self, Error> {
        self.authorization("Basic", &BASE64.encode(format!("{user}:{password}")))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a limit for the body of the reply; the host's limit applies too.
    #[must_use]
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Sets a time limit for the complete reply; the call's deadline applies too.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// A text, such as an id, as one segment of a path. Empty for `.` and `..`, which no id may be.
#[must_use]
pub fn segment(text: &str) -> String {
    // They would be resolved, encoded or not: to a path of another meaning.
    if matches!(text, "." | "..") {
        return String::new();
    }
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace('+', "%20")
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.url.host_str().unwrap_or("?");
        write!(f, "Request({} {host}{})", self.method, self.url.path())
    }
}
