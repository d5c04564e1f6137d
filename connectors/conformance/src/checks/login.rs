//! Logging in.

use std::collections::HashMap;

use tether_connector_host::proto::{AuthKind, ErrorKind};

use super::check::Check;
use crate::connector::CALL_TIMEOUT;
use crate::finding::{CheckResult, Context as _, Findings, Halt};
use crate::login::Attempt;
use crate::quirks::{Lack, Method};
use crate::world::World;

pub(super) const ADDRESS: Check = Check {
    id: "login.address",
    title: "the authorization address has state, redirect URI and PKCE challenge, and no secret",
    why: "Without them, a stolen code or a forged callback logs in another user; many systems see the address.",
    spec: &["AUTH-1", "AUTH-3", "LOG-2"],
    run: |world| Box::pin(address(world)),
};

pub(super) const WORKS: Check = Check {
    id: "login.works",
    title: "a login succeeds, and returns the same identity each time",
    why: "Organization and user identify the account: the limit of five integrations and the sealing of secrets depend on it.",
    spec: &["AUTH-2", "AUTH-7", "AUTH-9"],
    run: |world| Box::pin(works(world)),
};

pub(super) const DENIED: Check = Check {
    id: "login.denied",
    title: "a login that the user denies is reported as the user's decision",
    why: "The page says that the login was not approved; the server must not retry, and it is no error of the operator.",
    spec: &["ERR-1", "AUTH-2"],
    run: |world| Box::pin(denied(world)),
};

pub(super) const CODE: Check = Check {
    id: "login.code",
    title: "a wrong, a missing and a replayed code are reported as INVALID_INPUT",
    why: "A code is valid once; an error that seems transient would be retried repeatedly.",
    spec: &["ERR-1", "ERR-6"],
    run: |world| Box::pin(code(world)),
};

fn in_the_browser(world: &World) -> Result<(), Halt> {
    if world.quirks.login.method == Method::AuthorizationCode {
        return Ok(());
    }
    Err(Halt::Lacks(
        "conformance.toml has no login in the browser".to_owned(),
    ))
}

async fn address(world: &World) -> CheckResult {
    let connector = world.open().await?;
    let methods = &world.description(&connector).await?.auth_methods;
    if !methods
        .iter()
        .any(|method| method.kind() == AuthKind::AuthorizationCode)
    {
        return Err(Halt::Lacks("Describe lists no login in the browser".to_owned()));
    }
    let mut findings = Findings::default();
    let requests = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    let attempt = Attempt::new();
    let request = world.begin_request(&attempt);
    let redirect_uri = request.redirect_uri.clone();
    let begun = connector
        .begin_authorization(request, CALL_TIMEOUT)
        .await
        .context("BeginAuthorization")?;
    let asked = world.proxy.as_ref().map_or(0, |proxy| proxy.count()) - requests;
    findings.unless(asked == 0, || {
        format!("BeginAuthorization made {asked} requests to the CRM")
    });
    let Ok(url) = url::Url::parse(&begun.url) else {
        findings.add("it is not an address");
        return findings.done("");
    };
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let pkce = [
        ("code_challenge", &*attempt.challenge),
        ("code_challenge_method", "S256"),
    ];
    let with_pkce = world.quirks.lack(Lack::Pkce).is_none();
    let expected = [
        ("response_type", "code"),
        ("state", &*attempt.state),
        ("redirect_uri", &*redirect_uri),
    ];
    for (key, value) in expected.into_iter().chain(pkce.into_iter().filter(|_| with_pkce)) {
        findings.unless(query.get(key).is_some_and(|found| found == value), || {
            format!(
                "its parameter {key} is {}",
                query.get(key).map_or("missing", |_| "not the given value")
            )
        });
    }
    for name in world.secrets.found_in(&begun.url) {
        findings.add(format!("it contains {name}"));
    }
    findings.unless(!begun.url.contains(&attempt.verifier), || {
        "it contains the PKCE verifier".to_owned()
    });
    let scopes = query.get("scope").cloned().unwrap_or_default();
    let writes = scopes.split([' ', ',']).find(|scope| {
        scope
            .to_ascii_lowercase()
            .split(['.', ':', '_', '-', '/'])
            .any(|word| word == "write" || word == "full")
    });
    if let Some(scope) = writes {
        findings.add(format!(
            "it asks for the scope {scope}, which seems to allow writing"
        ));
    }
    let without = if with_pkce { "" } else { ", no PKCE" };
    findings.done(format!("{} parameters{without}", query.len()))
}

async fn works(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let first = world.try_log_in(&connector).await?.context("logging in")?;
    // In another process, because any replica may receive the callback.
    let other = world.open().await?;
    let second = world.try_log_in(&other).await?.context("logging in again")?;
    for logged_in in [&first, &second] {
        let credentials = logged_in.credentials.clone().unwrap_or_default();
        findings.unless(
            !credentials.access_token.is_empty() || !credentials.extra.is_empty(),
            || "it returns no credentials".to_owned(),
        );
        let ended = credentials.expires_us != 0 && credentials.expires_us <= crate::connector::now_us();
        findings.unless(!ended, || {
            "by expires_us, its access token has already expired".to_owned()
        });
        let identity = logged_in.identity.clone().unwrap_or_default();
        findings.unless(
            !identity.organization_id.is_empty() && !identity.user_id.is_empty(),
            || "its identity has no organization_id or no user_id".to_owned(),
        );
    }
    let ids = |logged_in: &tether_connector_host::proto::LoggedIn| {
        let identity = logged_in.identity.clone().unwrap_or_default();
        (identity.organization_id, identity.user_id)
    };
    findings.unless(ids(&first) == ids(&second), || {
        format!(
            "two logins of the same user are {:?} and {:?}",
            ids(&first),
            ids(&second)
        )
    });
    let (organization, user) = ids(&first);
    findings.done(format!("organization {organization}, user {user}"))
}

async fn denied(world: &World) -> CheckResult {
    in_the_browser(world)?;
    world.has(Lack::Denial)?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let attempt = Attempt::new();
    let callback = world.callback(&connector, &attempt, "deny").await?;
    findings.unless(callback.contains_key("error"), || {
        "the fixture's redirect has no `error` when the user denies".to_owned()
    });
    let expected = [
        ErrorKind::InvalidInput,
        ErrorKind::Forbidden,
        ErrorKind::AdminAction,
    ];
    match connector
        .exchange_code(world.exchange_request(&attempt, callback), CALL_TIMEOUT)
        .await
    {
        Ok(_) => findings.add("a denied login succeeds"),
        Err(failure) => findings.unless(
            failure.kind().is_some_and(|kind| expected.contains(&kind)),
            || format!("{failure}; expected INVALID_INPUT"),
        ),
    }
    findings.done("reported as the user's decision")
}

async fn code(world: &World) -> CheckResult {
    in_the_browser(world)?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let attempt = Attempt::new();
    let good = world.callback(&connector, &attempt, "allow").await?;
    let wrong = HashMap::from([("code".to_owned(), "no-such-code-of-the-kit".to_owned())]);
    for (what, callback) in [("a wrong code", wrong), ("no code", HashMap::new())] {
        expect_refused(&mut findings, world, &connector, &attempt, what, callback).await;
    }
    let request = world.exchange_request(&attempt, good.clone());
    match connector.exchange_code(request, CALL_TIMEOUT).await {
        Ok(logged_in) => world.add_secrets(logged_in.credentials.as_ref()),
        Err(failure) => findings.add(format!("the valid code, after invalid ones: {failure}")),
    }
    let replayed = world.quirks.lack(Lack::SingleUseCodes).is_none();
    if replayed {
        expect_refused(
            &mut findings,
            world,
            &connector,
            &attempt,
            "a replayed code",
            good,
        )
        .await;
    }
    findings.done(if replayed {
        "wrong, missing, replayed"
    } else {
        "wrong, missing"
    })
}

async fn expect_refused(
    findings: &mut Findings,
    world: &World,
    connector: &crate::connector::Connector,
    attempt: &Attempt,
    what: &str,
    callback: HashMap<String, String>,
) {
    match connector
        .exchange_code(world.exchange_request(attempt, callback), CALL_TIMEOUT)
        .await
    {
        Ok(_) => findings.add(format!("{what} is accepted")),
        Err(failure) => findings.unless(failure.kind() == Some(ErrorKind::InvalidInput), || {
            format!("{what}: {failure}; expected INVALID_INPUT")
        }),
    }
}
