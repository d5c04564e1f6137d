//! Calls of a connector as a host makes them.

use std::collections::HashMap;

use tether_connector_sdk::Connector;
use tether_connector_sdk::proto::{
    AuthKind, BeginAuthorizationRequest, Connection, Error, ExchangeCodeRequest, FetchCompanyRequest,
    FetchCompanyResponse, HttpPolicy, ListFieldsRequest, ListFieldsResponse, LoggedIn, ObjectSelection,
    OpenRequest, RefreshRequest, RefreshResponse, RevokeRequest, RevokeResponse, SelectedField,
};
use tether_connector_sdk::testing::Native;

use crate::Simulator;

/// The redirect URI of logins.
pub const REDIRECT: &str = "http://127.0.0.1:1/callback";
/// A PKCE verifier and its challenge, from RFC 7636.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// With a character that has to be escaped.
const STATE: &str = "st&te";

/// Opens a connector in this process. Later settings replace earlier ones of the same name.
#[must_use]
pub fn open<C: Connector>(
    settings: &[&[(&str, &str)]],
    allowed_hosts: &[&str],
    plain_http_hosts: &[&str],
) -> Native<C> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let settings = settings.iter().flat_map(|part| part.iter());
    Native::open(OpenRequest {
        settings: settings
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        http: Some(HttpPolicy {
            allowed_hosts: texts(allowed_hosts),
            plain_http_hosts: texts(plain_http_hosts),
            ..HttpPolicy::default()
        }),
        ..OpenRequest::default()
    })
    .unwrap()
}

/// The address at which a login begins.
pub async fn authorize_url<C: Connector>(connector: &Native<C>) -> String {
    let request = BeginAuthorizationRequest {
        redirect_uri: REDIRECT.into(),
        state: STATE.into(),
        code_challenge: CHALLENGE.into(),
        ..BeginAuthorizationRequest::default()
    };
    connector.begin_authorization(request).await.unwrap().url
}

/// Begins a login and decides (`allow` or `deny`) as the user; returns the callback without its state.
pub async fn begin<C: Connector>(
    simulator: &Simulator,
    connector: &Native<C>,
    username: &str,
    decision: &str,
) -> HashMap<String, String> {
    let url = authorize_url(connector).await;
    let mut callback = simulator.approve(&url, username, decision).await;
    assert_eq!(callback.remove("state").as_deref(), Some(STATE));
    callback
}

/// Ends a login.
pub async fn exchange<C: Connector>(
    connector: &Native<C>,
    callback: HashMap<String, String>,
) -> Result<LoggedIn, Error> {
    let request = ExchangeCodeRequest {
        redirect_uri: REDIRECT.into(),
        callback,
        code_verifier: VERIFIER.into(),
        ..ExchangeCodeRequest::default()
    };
    connector.exchange_code(request).await
}

/// Logs in with the browser.
pub async fn log_in<C: Connector>(
    simulator: &Simulator,
    connector: &Native<C>,
    username: &str,
) -> Connection {
    let callback = begin(simulator, connector, username, "allow").await;
    let logged_in = exchange(connector, callback).await.unwrap();
    connection(AuthKind::AuthorizationCode, logged_in)
}

/// The connection of a login.
#[must_use]
pub fn connection(kind: AuthKind, logged_in: LoggedIn) -> Connection {
    Connection {
        auth_kind: kind.into(),
        credentials: logged_in.credentials,
        base_url: logged_in.base_url,
        identity: logged_in.identity,
        ..Connection::default()
    }
}

/// Refreshes the credentials of a connection.
pub async fn refresh<C: Connector>(
    connector: &Native<C>,
    connection: &Connection,
) -> Result<RefreshResponse, Error> {
    let connection = Some(connection.clone());
    connector.refresh(RefreshRequest { connection }).await
}

/// Revokes the credentials of a connection.
pub async fn revoke<C: Connector>(
    connector: &Native<C>,
    connection: &Connection,
) -> Result<RevokeResponse, Error> {
    let connection = Some(connection.clone());
    connector.revoke(RevokeRequest { connection }).await
}

/// Lists the fields of all objects.
pub async fn list_fields<C: Connector>(connector: &Native<C>, connection: &Connection) -> ListFieldsResponse {
    let request = ListFieldsRequest {
        connection: Some(connection.clone()),
        objects: Vec::new(),
    };
    connector.list_fields(request).await.unwrap()
}

/// A selection of fields by object and key, with the types of ListFields; `*` selects all of an object.
#[must_use]
pub fn select(fields: &ListFieldsResponse, wanted: &[(&str, &[&str])]) -> Vec<ObjectSelection> {
    let of = |object: &str| fields.objects.iter().find(|o| o.object == object).unwrap();
    let selection = wanted.iter().map(|(object, keys)| ObjectSelection {
        object: (*object).to_owned(),
        fields: of(object)
            .fields
            .iter()
            .filter(|field| keys.contains(&"*") || keys.contains(&field.key.as_str()))
            .map(|field| SelectedField {
                key: field.key.clone(),
                r#type: field.r#type,
                currency: field.currency.clone(),
            })
            .collect(),
        ..ObjectSelection::default()
    });
    selection.collect()
}

/// A selection of everything that a login can see.
#[must_use]
pub fn select_all(fields: &ListFieldsResponse) -> Vec<ObjectSelection> {
    let visible = fields.objects.iter().filter(|object| object.visible);
    let all: Vec<(&str, &[&str])> = visible
        .map(|object| (object.object.as_str(), &["*"][..]))
        .collect();
    select(fields, &all)
}

/// Fetches companies live; `related_limit` as in `FetchCompanyRequest`.
pub async fn fetch<C: Connector>(
    connector: &Native<C>,
    connection: &Connection,
    selection: &[ObjectSelection],
    ids: &[&str],
    related_limit: u32,
) -> Result<FetchCompanyResponse, Error> {
    let request = FetchCompanyRequest {
        connection: Some(connection.clone()),
        external_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        selection: selection.to_vec(),
        related_limit,
    };
    connector.fetch_company(request).await
}
