//! Credentials after the login: refresh, renewal in streams, revocation.

use tether_connector_host::proto::{
    Connection, Credentials, ErrorKind, ListFieldsRequest, RefreshRequest, RevokeRequest, stream_event::Event,
};

use super::check::Check;
use crate::connector::{CALL_TIMEOUT, Connector};
use crate::fault::Fault;
use crate::finding::{CheckResult, Context as _, Findings, Halt, fails};
use crate::proxy::{ProxiedRequest, Proxy, Which};
use crate::quirks::Lack;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::world::World;

pub(super) const REFRESH: Check = Check {
    id: "grant.refresh",
    title: "Refresh returns complete new credentials, and does not use them itself",
    why: "The server stores new tokens before their first use: a rotated token that is lost ends the integration.",
    spec: &["AUTH-5", "AUTH-6"],
    run: |world| Box::pin(refresh(world)),
};

pub(super) const STREAM: Check = Check {
    id: "grant.stream",
    title: "a stream whose token expires asks for credentials, waits, and continues with the new ones",
    why: "A stream that refreshes by itself rotates a token that the server still uses; one that fails has to be resumed.",
    spec: &["AUTH-6", "STREAM-11", "ERR-3"],
    run: |world| Box::pin(stream(world)),
};

pub(super) const REVOKE: Check = Check {
    id: "grant.revoke",
    title: "Revoke ends access at the CRM and may be repeated; revoked credentials are refused",
    why: "Deleting an integration promises that access ends; the server's outbox may deliver twice.",
    spec: &["AUTH-8", "AUTH-10", "ERR-3"],
    run: |world| Box::pin(revoke(world)),
};

pub(super) const MOVED: Check = Check {
    id: "grant.moved",
    title: "requests go to the account's base_url, also after it changes; an empty one leaves it unchanged",
    why: "CRMs move accounts between data centres: requests to the old address fail, or reach another customer's account.",
    spec: &["AUTH-11"],
    run: |world| Box::pin(moved(world)),
};

/// A connection with new credentials.
pub(crate) async fn refreshed(
    world: &World,
    connector: &Connector,
    connection: &Connection,
) -> Result<Connection, Halt> {
    let request = RefreshRequest {
        connection: Some(connection.clone()),
    };
    let answer = connector
        .refresh(request, CALL_TIMEOUT)
        .await
        .context("Refresh")?;
    world.add_secrets(answer.credentials.as_ref());
    let base_url = if answer.base_url.is_empty() {
        connection.base_url.clone()
    } else {
        answer.base_url
    };
    Ok(Connection {
        credentials: answer.credentials,
        base_url,
        ..connection.clone()
    })
}

async fn refresh(world: &World) -> CheckResult {
    world.has(Lack::Expiry)?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let first = world.log_in(&connector).await?;
    let requests_before = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    let second = refreshed(world, &connector, &first).await?;
    let (old, new) = (credentials(&first), credentials(&second));
    findings.unless(
        !new.access_token.is_empty() && new.access_token != old.access_token,
        || "the access token is the old one, or empty".to_owned(),
    );
    findings.unless(
        !new.refresh_token.is_empty() || old.refresh_token.is_empty(),
        || "the refresh token is missing: one that was not rotated must be returned again".to_owned(),
    );
    findings.unless(new.extra.is_empty() == old.extra.is_empty(), || {
        "the credentials' extra part is missing: the answer replaces the old credentials completely"
            .to_owned()
    });
    if let Some(proxy) = &world.proxy {
        let used = proxy
            .since(requests_before)
            .into_iter()
            .find(|seen| seen.contains(&new.access_token));
        if let Some(seen) = used {
            findings.add(format!(
                "Refresh used the new token itself: {}",
                seen.method_and_path()
            ));
        }
    }
    // Twice in a row, each time in another process: the only state is the host's.
    let other = world.open().await?;
    if let Some(third) = findings.part(refreshed(world, &other, &second).await) {
        let request = ListFieldsRequest {
            connection: Some(third),
            objects: Vec::new(),
        };
        let listed = other.list_fields(request, CALL_TIMEOUT).await;
        findings.part(listed.context("ListFields with the credentials of the second refresh"));
    }
    let rotated = new.refresh_token != old.refresh_token;
    findings.done(if rotated {
        "twice; the refresh token rotates"
    } else {
        "twice; the refresh token stays"
    })
}

fn credentials(connection: &Connection) -> Credentials {
    connection.credentials.clone().unwrap_or_default()
}

/// Requests to the token endpoints.
fn token_requests(world: &World, seen: &[ProxiedRequest]) -> Vec<String> {
    let tokens = &world.quirks.requests.tokens;
    let found = seen.iter().filter(|seen| {
        tokens
            .iter()
            .any(|pattern| super::safety::matches(pattern, &seen.path))
    });
    found.map(ProxiedRequest::method_and_path).collect()
}

async fn stream(world: &World) -> CheckResult {
    world.has(Lack::Expiry)?;
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.full_read(&connector).await?;
    let selection = world.selection(&connector).await?;
    let old = world.log_in(&connector).await?;
    let token = credentials(&old).access_token;
    let (mut rows, mut asked) = (Rows::default(), 0);
    let requests_before = proxy.count();
    let stream = Stream::open(&connector, &old, &selection, b"")
        .await
        .context("Read")?;
    // An event has arrived; from now on the CRM refuses the token.
    let mut ended = stream
        .take(&mut rows, |event| matches!(event, Event::Checkpoint(_)))
        .await
        .context("the stream")?;
    proxy.inject(Fault::Status(401), Which::Containing(token.clone()));
    while !ended {
        let needs = |event: &Event| matches!(event, Event::CredentialsNeeded(_));
        ended = stream
            .take(&mut rows, needs)
            .await
            .context("the stream, once its token had ended")?;
        if ended {
            break;
        }
        asked += 1;
        if asked > 3 {
            return Err(fails(
                "the stream asks for credentials repeatedly, although the new ones are valid",
            ));
        }
        // The stream waits: until the host has answered, a pull gets no event and the CRM gets no request.
        let mut pull = stream.pull(rows.checkpoints.len() as u64);
        let early = tokio::time::timeout(std::time::Duration::from_millis(200), pull.answer()).await;
        findings.unless(early.is_err(), || {
            "it returns an event before it has the credentials it asked for".to_owned()
        });
        let other = world.open().await?;
        let sent = token_requests(world, &proxy.since(requests_before));
        findings.unless(sent.is_empty(), || {
            format!(
                "the stream sent a request to the token endpoint: {}",
                sent.join(", ")
            )
        });
        let new = refreshed(world, &other, &old).await?;
        let after = proxy.count();
        stream
            .provide(credentials(&new), new.base_url.clone())
            .await
            .context("ProvideCredentials")?;
        let event = stream
            .event(&mut pull, CALL_TIMEOUT)
            .await
            .context("the stream, with new credentials")?;
        ended = matches!(event, Event::End(_));
        rows.take(event);
        // From here on only the new token may be used, and no token request may be sent.
        if !ended {
            ended = stream
                .take(&mut rows, needs)
                .await
                .context("the stream, with new credentials")?;
            if !ended {
                findings.add("it asks for credentials again, although the new ones are valid");
                break;
            }
        }
        let seen = proxy.since(after);
        let used_old = seen.iter().filter(|seen| seen.contains(&token)).count();
        findings.unless(used_old == 0, || {
            format!("{used_old} requests have the old token after ProvideCredentials")
        });
        let sent = token_requests(world, &seen);
        findings.unless(sent.is_empty(), || {
            format!(
                "the stream sent a request to the token endpoint: {}",
                sent.join(", ")
            )
        });
    }
    let faulted = proxy.clear();
    findings.unless(asked > 0 || faulted == 0, || {
        format!("{faulted} requests were answered 401, and it never asked for credentials")
    });
    findings.unless(asked > 0 || faulted > 0, || {
        "after its first checkpoint the stream sent no further request: the fixture needs more records"
            .to_owned()
    });
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!(
            "the rows read before and after the renewal differ from the full read: {difference}"
        ));
    }
    findings.done(format!(
        "{faulted} requests refused, one CredentialsNeeded, then continued"
    ))
}

async fn moved(world: &World) -> CheckResult {
    world.has(Lack::OneAddress)?;
    let mut findings = Findings::default();
    let old = world.network()?;
    let new = old.beside().await.map_err(|error| fails(error.to_string()))?;
    let addresses = vec![old.authority(), new.authority()];
    let opened = world.open_at(world.operator(), addresses).await;
    let connector = opened.map_err(|error| fails(format!("it does not open: {error}")))?;
    let connection = world.log_in(&connector).await?;
    let named = &connection.base_url;
    if !named.contains(&old.authority()) {
        return Err(fails(format!(
            "the login names {named:?} as the API's address, which is not the fixture's; if there is one address for all \
             accounts, add one_address to [lacks]"
        )));
    }
    let moved = Connection {
        base_url: named.replace(&old.authority(), &new.authority()),
        ..connection.clone()
    };
    let (at_old, at_new) = (old.count(), new.count());
    let request = ListFieldsRequest {
        connection: Some(moved.clone()),
        objects: Vec::new(),
    };
    let listed = connector.list_fields(request, CALL_TIMEOUT).await;
    findings.part(listed.context("ListFields with a changed base_url"));
    findings.unless(new.count() > at_new && old.count() == at_old, || {
        "ListFields sends its requests to another address than the connection's base_url".to_owned()
    });
    if world.quirks.lack(Lack::Expiry).is_none() {
        let cases = [
            (old, moved.base_url.as_str(), "changes base_url"),
            (&new, "", "has no base_url"),
        ];
        for (here, base_url, what) in cases {
            let connection = world.log_in(&connector).await?;
            let connection = Connection {
                base_url: connection.base_url.replace(&old.authority(), &here.authority()),
                ..connection
            };
            let after = read_across_move(world, &connector, &connection, here, base_url).await?;
            let stray = old.since(after);
            findings.unless(stray.is_empty(), || {
                format!(
                    "after a ProvideCredentials that {what} the stream sends requests to the old address: {}",
                    stray[0].method_and_path()
                )
            });
        }
    }
    findings.done("in calls, and during a stream")
}

/// Reads to the end, with credentials that end after the first checkpoint at the address `here` and new ones with
/// `base_url`. Returns the number of requests at the fixture's first address until then.
async fn read_across_move(
    world: &World,
    connector: &Connector,
    connection: &Connection,
    here: &Proxy,
    base_url: &str,
) -> Result<usize, Halt> {
    let whole = world.full_read(connector).await?;
    let selection = world.selection(connector).await?;
    let opened = Stream::open(connector, connection, &selection, b"").await;
    let (stream, mut rows) = (opened.context("Read")?, Rows::default());
    let checkpoint = |event: &Event| matches!(event, Event::Checkpoint(_));
    let mut ended = stream.take(&mut rows, checkpoint).await.context("the stream")?;
    let token = credentials(connection).access_token;
    here.inject(Fault::Status(401), Which::Containing(token));
    let (mut asked, mut after) = (0, world.network()?.count());
    while !ended {
        let needs = |event: &Event| matches!(event, Event::CredentialsNeeded(_));
        ended = stream.take(&mut rows, needs).await.context("the stream")?;
        if ended {
            break;
        }
        asked += 1;
        if asked > 3 {
            return Err(fails("the stream asks for credentials repeatedly"));
        }
        let renewed = refreshed(world, connector, connection).await?;
        after = world.network()?.count();
        let provided = stream.provide(credentials(&renewed), base_url.to_owned()).await;
        provided.context("ProvideCredentials")?;
    }
    here.clear();
    match rows.difference(whole) {
        Some(difference) => Err(fails(format!(
            "the rows read while the address changed differ from the full read: {difference}"
        ))),
        None => Ok(after),
    }
}

async fn revoke(world: &World) -> CheckResult {
    world.has(Lack::Revocation)?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let connection = world.log_in(&connector).await?;
    let request = || RevokeRequest {
        connection: Some(connection.clone()),
    };
    let first = connector
        .revoke(request(), CALL_TIMEOUT)
        .await
        .context("Revoke")?;
    findings.unless(!first.already_gone, || {
        "already_gone is set for valid credentials".to_owned()
    });
    let list = ListFieldsRequest {
        connection: Some(connection.clone()),
        objects: Vec::new(),
    };
    let ends = world.quirks.lack(Lack::ImmediateRevocation).is_none();
    match connector.list_fields(list, CALL_TIMEOUT).await {
        Ok(_) => findings.unless(!ends, || "ListFields succeeds after Revoke".to_owned()),
        Err(failure) => {
            let expected = [ErrorKind::CredentialsExpired, ErrorKind::CredentialsRevoked];
            findings.unless(failure.kind().is_some_and(|kind| expected.contains(&kind)), || {
                format!(
                    "ListFields after Revoke: {failure}; expected CREDENTIALS_EXPIRED or CREDENTIALS_REVOKED"
                )
            });
        }
    }
    let other = world.open().await?;
    let second = other
        .revoke(request(), CALL_TIMEOUT)
        .await
        .context("Revoke, repeated")?;
    findings.unless(
        second.already_gone || world.quirks.lack(Lack::RevocationMemory).is_some(),
        || "Revoke of revoked credentials does not set already_gone".to_owned(),
    );
    if world.quirks.lack(Lack::Expiry).is_none() {
        match other
            .refresh(
                RefreshRequest {
                    connection: Some(connection.clone()),
                },
                CALL_TIMEOUT,
            )
            .await
        {
            Ok(_) => findings.add("Refresh succeeds after Revoke"),
            Err(failure) => findings.unless(failure.kind() == Some(ErrorKind::CredentialsRevoked), || {
                format!("Refresh after Revoke: {failure}; expected CREDENTIALS_REVOKED")
            }),
        }
    }
    findings.done(if ends {
        "twice; the credentials are refused afterwards"
    } else {
        "twice; the credentials cannot be refreshed afterwards"
    })
}
