//! Logins: in the browser, and with credentials.

use super::answer::Answer;
use crate::domain::AuthKind;
use crate::error::Error;
use crate::grpc::{convert, gate, validate};
use crate::proto::v1::{self, begin_authorization_request};
use crate::service::{self, ReturnTo, Services};
use tonic::{Request, Response};

fn landed(of: service::LoginOutcome) -> (Option<v1::Integration>, bool) {
    (Some(convert::integration(&of.integration)), of.account_changed)
}

pub(super) async fn begin_authorization(
    services: &Services,
    request: Request<v1::BeginAuthorizationRequest>,
) -> Answer<v1::BeginAuthorizationResponse> {
    use begin_authorization_request::ReturnTo as Wanted;
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let id = validate::integration("name", &request.name)?;
    validate::text("redirect_uri", &request.redirect_uri, validate::URL_LENGTH)?;
    validate::text("login_hint", &request.login_hint, 255)?;
    let return_to = match (request.return_to(), request.redirect_uri.is_empty()) {
        (Wanted::Platform, true) => return Err(Error::invalid("redirect_uri", "is required").into()),
        (Wanted::Tether, false) => {
            return Err(Error::invalid("redirect_uri", "must be empty for TETHER").into());
        }
        (Wanted::Platform | Wanted::Unspecified, false) => ReturnTo::Platform(request.redirect_uri),
        (Wanted::Tether | Wanted::Unspecified, true) => ReturnTo::Tether,
    };
    let begun = services
        .login_begin(&author, id, return_to, &request.login_hint)
        .await?;
    let begun = v1::BeginAuthorizationResponse {
        authorization_uri: begun.url,
        state: begun.state,
        expire_time: Some(convert::timestamp(begun.expire_us)),
    };
    Ok(Response::new(begun))
}

pub(super) async fn complete_authorization(
    services: &Services,
    request: Request<v1::CompleteAuthorizationRequest>,
) -> Answer<v1::CompleteAuthorizationResponse> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    if request.state.is_empty() {
        return Err(Error::invalid("state", "is required").into());
    }
    validate::text("state", &request.state, 512)?;
    validate::map("callback_parameters", &request.callback_parameters, 20, 8_192)?;
    if !["code", "error"]
        .iter()
        .any(|key| request.callback_parameters.contains_key(*key))
    {
        return Err(Error::invalid(
            "callback_parameters",
            "must hold what the browser brought: code, or error",
        )
        .into());
    }
    let done = services
        .login_complete(&author, &request.state, request.callback_parameters)
        .await?;
    let (integration, account_changed) = landed(done);
    let done = v1::CompleteAuthorizationResponse {
        integration,
        account_changed,
    };
    Ok(Response::new(done))
}

pub(super) async fn authorize_with_credentials(
    services: &Services,
    request: Request<v1::AuthorizeWithCredentialsRequest>,
) -> Answer<v1::AuthorizeWithCredentialsResponse> {
    let author = gate::author(&request)?;
    let request = request.into_inner();
    let id = validate::integration("name", &request.name)?;
    let kind = match request.auth_kind() {
        v1::AuthKind::ClientCredentials => AuthKind::ClientCredentials,
        v1::AuthKind::JwtBearer => AuthKind::JwtBearer,
        v1::AuthKind::ApiKey => AuthKind::ApiKey,
        v1::AuthKind::Unspecified | v1::AuthKind::AuthorizationCode => {
            return Err(
                Error::invalid("auth_kind", "must be CLIENT_CREDENTIALS, JWT_BEARER or API_KEY").into(),
            );
        }
    };
    validate::map("parameters", &request.parameters, 20, 16_384)?;
    let done = services
        .login_with_credentials(&author, id, kind, request.parameters)
        .await?;
    let (integration, account_changed) = landed(done);
    let done = v1::AuthorizeWithCredentialsResponse {
        integration,
        account_changed,
    };
    Ok(Response::new(done))
}
