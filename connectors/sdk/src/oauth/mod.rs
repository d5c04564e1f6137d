//! OAuth 2.0 for CRMs: the authorization URL, and token endpoints that follow the standard more or less closely.
//!
//! The host creates and stores the state and the PKCE verifier; the connector only puts them into the requests. The
//! connector decides what a refusal means: see [`TokenError::Refused`].

mod token;

use std::collections::HashMap;
use std::pin::Pin;

use http::header::ACCEPT;
use http::{HeaderValue, StatusCode};
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, StandardRevocableToken, TokenUrl,
};
use serde::{Deserialize, Serialize};

pub use self::token::Token;

use crate::CallContext;
use crate::http::{HttpClient, Request, Response};
use crate::proto::{BeginAuthorizationRequest, Credentials, Error};

/// The largest accepted answer of a token endpoint.
const MAX_TOKEN_BODY: u64 = 1024 * 1024;

/// How a client authenticates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Id and secret as fields of the form.
    #[default]
    Form,
    /// Id and secret as HTTP basic authentication.
    Basic,
}

/// A token endpoint and its client.
#[derive(Clone)]
pub struct TokenEndpoint {
    /// Its address.
    pub url: String,
    /// The operator's app.
    pub client_id: String,
    /// Its secret; empty for a public client.
    pub client_secret: String,
    /// How they are sent.
    pub client_auth: ClientAuth,
}

/// The arguments of [`authorization_url`].
#[derive(Clone, Debug, Default)]
pub struct Authorization<'a> {
    /// The CRM's authorization address.
    pub url: &'a str,
    /// The operator's app.
    pub client_id: &'a str,
    /// The redirect target of the browser.
    pub redirect_uri: &'a str,
    /// From the host.
    pub state: &'a str,
    /// From the host; the method is S256. Empty if the CRM does not support PKCE.
    pub code_challenge: &'a str,
    /// The requested scopes.
    pub scopes: &'a [&'a str],
    /// Further parameters of the CRM.
    pub extra: &'a [(&'a str, &'a str)],
}

/// The operator's app at a CRM that follows the standard.
#[derive(Clone, Debug)]
pub struct App {
    /// The address of the login page.
    pub authorize_url: String,
    /// The token endpoint.
    pub endpoint: TokenEndpoint,
    /// The address where tokens are revoked (RFC 7009); empty if the CRM has none.
    pub revoke_url: String,
    /// The requested scopes: the smallest that work.
    pub scopes: Vec<String>,
    /// Whether the login page supports PKCE.
    pub pkce: bool,
}

impl App {
    /// The URL for the browser.
    ///
    /// # Errors
    /// CONFIGURATION if an address is not one.
    pub fn authorization_url(&self, request: &BeginAuthorizationRequest) -> Result<String, Error> {
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        authorization_url(&Authorization {
            url: &self.authorize_url,
            client_id: &self.endpoint.client_id,
            redirect_uri: &request.redirect_uri,
            state: &request.state,
            code_challenge: if self.pkce { &request.code_challenge } else { "" },
            scopes: &scopes,
            extra: &[],
        })
    }
}

/// Why there is no token.
#[derive(Debug)]
pub enum TokenError {
    /// The endpoint refused. The connector decides what that means: revoked, suspended, blocked by an administrator.
    Refused {
        /// `error`: `invalid_grant`.
        error: String,
        /// `error_description`, or empty.
        description: String,
    },
    /// Any other error, already classified.
    Failed(Error),
}

impl TokenError {
    /// The error for refusals that the connector does not classify itself, by the standard's codes.
    #[must_use]
    pub fn into_error(self) -> Error {
        let (error, description) = match self {
            Self::Failed(error) => return error,
            Self::Refused { error, description } => (error, description),
        };
        let what = if description.is_empty() {
            error.clone()
        } else {
            description
        };
        match error.as_str() {
            "invalid_grant" | "access_denied" => {
                Error::credentials_revoked(format!("the CRM refused the login: {what}"))
            }
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "redirect_uri_mismatch" => {
                Error::configuration(format!("the CRM refused the app: {what}"))
            }
            "invalid_scope" => Error::admin_action(format!("the CRM refused the scopes: {what}")),
            "temporarily_unavailable" | "server_error" | "slow_down" => {
                Error::transient(format!("the CRM cannot log in now: {what}"))
            }
            "invalid_request" | "unsupported_response_type" => {
                Error::bug(format!("the CRM did not understand the token request: {what}"))
            }
            // CRMs add refusals that administrators cause (ERR-10).
            _ => Error::admin_action(format!(
                "the CRM refused the login; an administrator of the CRM has to allow it: {what}"
            )),
        }
        .code(error)
    }
}

/// The URL for the browser.
pub fn authorization_url(authorization: &Authorization<'_>) -> Result<String, Error> {
    let Authorization {
        url,
        client_id,
        redirect_uri,
        state,
        code_challenge,
        scopes,
        extra,
    } = authorization;
    let wrong = |what: &str| Error::configuration(format!("the {what} is not an address"));
    let client = NewClient::new(ClientId::new((*client_id).to_owned()))
        .set_auth_uri(AuthUrl::new((*url).to_owned()).map_err(|_| wrong("authorization address"))?)
        .set_redirect_uri(
            RedirectUrl::new((*redirect_uri).to_owned()).map_err(|_| wrong("redirect address"))?,
        );
    let mut request = client
        .authorize_url(|| CsrfToken::new((*state).to_owned()))
        .add_scopes(scopes.iter().map(|&scope| Scope::new(scope.to_owned())));
    if !code_challenge.is_empty() {
        // The host keeps the verifier, so the crate cannot compute the challenge itself.
        request = request
            .add_extra_param("code_challenge", *code_challenge)
            .add_extra_param("code_challenge_method", "S256");
    }
    for (key, value) in *extra {
        request = request.add_extra_param(*key, *value);
    }
    Ok(request.url().0.into())
}

type NewClient = Client<
    BasicErrorResponse,
    Token,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;
type ReadyClient = Client<
    BasicErrorResponse,
    Token,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl TokenEndpoint {
    /// Exchanges the code of the browser's redirect.
    pub async fn exchange_code(
        &self,
        http: &HttpClient,
        call: &CallContext,
        code: &str,
        code_verifier: &str,
        redirect_uri: &str,
    ) -> Result<Token, TokenError> {
        let redirect_uri = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| {
            TokenError::Failed(Error::configuration("the redirect address is not an address"))
        })?;
        let client = self.client()?.set_redirect_uri(redirect_uri);
        let mut request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        if !code_verifier.is_empty() {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(code_verifier.to_owned()));
        }
        request.request_async(&sender(http, call)).await.map_err(refused)
    }

    /// Exchanges a refresh token. If the answer has no new one, the old one stays valid.
    pub async fn refresh(
        &self,
        http: &HttpClient,
        call: &CallContext,
        refresh_token: &str,
    ) -> Result<Token, TokenError> {
        let refresh_token = RefreshToken::new(refresh_token.to_owned());
        let client = self.client()?;
        client
            .exchange_refresh_token(&refresh_token)
            .request_async(&sender(http, call))
            .await
            .map_err(refused)
    }

    /// Logs in with the app's own credentials.
    pub async fn client_credentials(
        &self,
        http: &HttpClient,
        call: &CallContext,
        scopes: &[&str],
    ) -> Result<Token, TokenError> {
        let client = self.client()?;
        let scopes = scopes.iter().map(|&scope| Scope::new(scope.to_owned()));
        let request = client.exchange_client_credentials().add_scopes(scopes);
        request.request_async(&sender(http, call)).await.map_err(refused)
    }

    /// Exchanges a signed assertion (RFC 7523).
    pub async fn assertion(
        &self,
        http: &HttpClient,
        call: &CallContext,
        assertion: &str,
    ) -> Result<Token, TokenError> {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion),
        ];
        let request = Request::post_form(&self.url, form).map_err(TokenError::Failed)?;
        let request = request.accept("application/json").max_body(MAX_TOKEN_BODY);
        let response = http.send(call, request).await.map_err(TokenError::Failed)?;
        if response.status == StatusCode::OK
            && let Ok(token) = serde_json::from_slice(&response.body)
        {
            return Ok(token);
        }
        Err(from_reply(&response))
    }

    /// Revokes a token at `url` (RFC 7009), with the client's authentication. Returns whether the CRM no longer knew the
    /// token.
    pub async fn revoke(
        &self,
        http: &HttpClient,
        call: &CallContext,
        url: &str,
        token: &str,
    ) -> Result<bool, TokenError> {
        let request = self.revocation(url, token).map_err(TokenError::Failed)?;
        send_revocation(http, call, request).await
    }

    fn revocation(&self, url: &str, token: &str) -> Result<Request, Error> {
        let mut form = vec![("token", token)];
        if self.client_auth == ClientAuth::Form {
            form.push(("client_id", self.client_id.as_str()));
            if !self.client_secret.is_empty() {
                form.push(("client_secret", self.client_secret.as_str()));
            }
        }
        let request = Request::post_form(url, form)?;
        if self.client_auth == ClientAuth::Form {
            return Ok(request);
        }
        // Both are form-encoded before they are joined (RFC 6749, 2.3.1).
        let encoded =
            |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        request.basic(&encoded(&self.client_id), &encoded(&self.client_secret))
    }

    fn client(&self) -> Result<ReadyClient, TokenError> {
        let url = TokenUrl::new(self.url.clone())
            .map_err(|_| TokenError::Failed(Error::configuration("the token endpoint is not an address")))?;
        let mut client = NewClient::new(ClientId::new(self.client_id.clone()));
        if !self.client_secret.is_empty() {
            client = client.set_client_secret(ClientSecret::new(self.client_secret.clone()));
        }
        let client = client.set_auth_type(match self.client_auth {
            ClientAuth::Form => AuthType::RequestBody,
            ClientAuth::Basic => AuthType::BasicAuth,
        });
        Ok(client.set_token_uri(url))
    }
}

impl std::fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Revokes a token (RFC 7009 and similar) without client authentication; see [`TokenEndpoint::revoke`].
pub async fn revoke(
    http: &HttpClient,
    call: &CallContext,
    url: &str,
    token: &str,
) -> Result<bool, TokenError> {
    let request = Request::post_form(url, [("token", token)]).map_err(TokenError::Failed)?;
    send_revocation(http, call, request).await
}

/// Sends a request that revokes a token. Returns whether the CRM no longer knew the token.
async fn send_revocation(
    http: &HttpClient,
    call: &CallContext,
    request: Request,
) -> Result<bool, TokenError> {
    let response = http
        .send(call, request.max_body(MAX_TOKEN_BODY))
        .await
        .map_err(TokenError::Failed)?;
    // A web page with 200 comes from a gateway or a login page: nothing was revoked.
    if response.status.is_success() && !response.is_page() {
        return Ok(false);
    }
    match from_reply(&response) {
        TokenError::Refused { error, .. }
            if matches!(error.as_str(), "invalid_token" | "unsupported_token_type") =>
        {
            Ok(true)
        }
        other => Err(other),
    }
}

/// The token that ends a login when it is revoked: the refresh token, or without one the access token.
#[must_use]
pub fn revocable(credentials: &Credentials) -> &str {
    if credentials.refresh_token.is_empty() {
        &credentials.access_token
    } else {
        &credentials.refresh_token
    }
}

/// The code that the browser brought back.
///
/// # Errors
/// [`TokenError::Refused`] if it brought a refusal, INVALID_INPUT if it brought neither.
pub fn callback_code(callback: &HashMap<String, String>) -> Result<&str, TokenError> {
    let get = |key: &str| callback.get(key).map_or("", String::as_str);
    if !get("error").is_empty() {
        return Err(TokenError::Refused {
            error: crate::http::one_line(get("error")),
            description: crate::http::one_line(get("error_description")),
        });
    }
    if get("code").is_empty() {
        return Err(TokenError::Failed(
            Error::invalid_input("the browser came back without a code; log in again").field("code"),
        ));
    }
    Ok(get("code"))
}

/// The HTTP client in the form that `oauth2` requires. It owns its fields: a future with borrows would not be `Send`.
struct Sender {
    http: HttpClient,
    call: CallContext,
}

fn sender(http: &HttpClient, call: &CallContext) -> Sender {
    Sender {
        http: http.clone(),
        call: call.clone(),
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Sender {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Error>> + Send>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(send(self.http.clone(), self.call.clone(), request))
    }
}

async fn send(http: HttpClient, call: CallContext, request: HttpRequest) -> Result<HttpResponse, Error> {
    let (parts, body) = request.into_parts();
    let mut ours = Request::new(parts.method, &parts.uri.to_string())?
        .body(body)
        .max_body(MAX_TOKEN_BODY);
    for (name, value) in &parts.headers {
        ours = ours.header(name.clone(), value.clone());
    }
    ours = ours.header(ACCEPT, HeaderValue::from_static("application/json"));
    let response = http.send(&call, ours).await?;
    let body = match response.status {
        StatusCode::OK => response.body.to_vec(),
        // Refusals have more forms than the crate parses.
        _ => match from_reply(&response) {
            TokenError::Failed(error) => return Err(error),
            TokenError::Refused { error, description } => {
                serde_json::to_vec(&Refusal { error, description }).unwrap_or_default()
            }
        },
    };
    let mut theirs = HttpResponse::new(body);
    *theirs.status_mut() = response.status;
    *theirs.headers_mut() = response.headers;
    Ok(theirs)
}

fn refused(error: RequestTokenError<Error, BasicErrorResponse>) -> TokenError {
    match error {
        RequestTokenError::ServerResponse(response) => TokenError::Refused {
            error: match response.error() {
                BasicErrorResponseType::Extension(other) => other.clone(),
                known => known.as_ref().to_owned(),
            },
            description: response.error_description().cloned().unwrap_or_default(),
        },
        RequestTokenError::Request(error) => TokenError::Failed(error),
        // The errors do not contain the received data: it may be a token.
        RequestTokenError::Parse(..) => TokenError::Failed(not_oauth()),
        RequestTokenError::Other(_) => TokenError::Failed(not_oauth()),
    }
}

/// A refusal in the standard's form.
#[derive(Serialize, Deserialize)]
struct Refusal {
    error: String,
    #[serde(default, rename = "error_description")]
    description: String,
}

/// The error in a reply without a token. A refusal is an object (RFC 6749, 5.2), a form, or a list in the style of
/// the CRM's REST API. A gateway's page is not a refusal: it becomes TRANSIENT.
fn from_reply(response: &Response) -> TokenError {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "errorCode")]
        error: String,
        #[serde(default)]
        message: String,
    }
    let status = response.status;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return TokenError::Failed(unavailable(status));
    }
    let text = response.text();
    let listed = || {
        let first = serde_json::from_str::<Vec<Listed>>(&text)
            .ok()?
            .into_iter()
            .next()?;
        Some(Refusal {
            error: first.error,
            description: first.message,
        })
    };
    let refusal = serde_json::from_str::<Refusal>(&text)
        .ok()
        .or_else(listed)
        .or_else(|| form(&text));
    match refusal.filter(|refusal| !refusal.error.is_empty()) {
        Some(Refusal { error, description }) => TokenError::Refused { error, description },
        None => {
            let page = response.foreign("the CRM's login");
            TokenError::Failed(Error::transient(page.message).code("oauth.garbage"))
        }
    }
}

/// `error=…&error_description=…`, and nothing else.
fn form(text: &str) -> Option<Refusal> {
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(text.trim().as_bytes())
        .into_owned()
        .collect();
    let known = |name: &str| matches!(name, "error" | "error_description" | "error_uri" | "state");
    if !fields.iter().all(|(name, _)| known(name)) {
        return None;
    }
    let get = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
    };
    Some(Refusal {
        error: get("error")?,
        description: get("error_description").unwrap_or_default(),
    })
}

fn unavailable(status: StatusCode) -> Error {
    Error::transient(format!("the CRM's login answered {status}")).code("oauth.unavailable")
}

fn not_oauth() -> Error {
    Error::transient("the CRM's login answered with something that is no token").code("oauth.garbage")
}

#[cfg(test)]
mod tests;
