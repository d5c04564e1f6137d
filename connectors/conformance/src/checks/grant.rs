//! Credentials after the login: refresh, renewal in streams, revocation.

use tether_connector_host::proto::{
    Connection, Credentials, ErrorKind, ListFieldsRequest, RefreshRequest, RevokeRequest, stream_event::Event,
};

use super::check::Check;
use crate::connector::{AMPLE, Connector};
use crate::finding::{Findings, Halt, Seen, Told as _, fails};
use crate::proxy::{Proxy, Seen as Request, Which};
use crate::quirks::Lack;
use crate::rows::Rows;
use crate::stream::Stream;
use crate::trouble::Trouble;
use crate::world::World;

pub(super) const REFRESH: Check = Check {
    id: "grant.refresh",
    title: "a refresh answers whole new credentials, and nobody uses them before",
    why: "The server makes new tokens durable before use; one that was rotated and is lost ends the integration.",
    spec: &["AUTH-5", "AUTH-6"],
    run: |world| Box::pin(refresh(world)),
};

pub(super) const STREAM: Check = Check {
    id: "grant.stream",
    title: "a stream whose token ends asks for credentials, waits, and goes on with what it is given",
    why: "A stream that refreshes by itself rotates a token behind the server's back; one that fails starts anew.",
    spec: &["AUTH-6", "STREAM-11", "ERR-3"],
    run: |world| Box::pin(stream(world)),
};

pub(super) const REVOKE: Check = Check {
    id: "grant.revoke",
    title: "Revoke gives access back, may be repeated, and what is gone is refused",
    why: "Deleting an integration promises that access ends; the server's outbox may deliver twice.",
    spec: &["AUTH-8", "AUTH-10", "ERR-3"],
    run: |world| Box::pin(revoke(world)),
};

pub(super) const MOVED: Check = Check {
    id: "grant.moved",
    title: "requests go to the account's base_url, also where it moves; an empty one leaves it unchanged",
    why: "CRMs move accounts between data centres: what goes on asking the old address fails, or asks another customer's.",
    spec: &["AUTH-11"],
    run: |world| Box::pin(moved(world)),
};

/// A connection with new credentials.
pub(crate) async fn renewed(
    world: &World,
    connector: &Connector,
    connection: &Connection,
) -> Result<Connection, Halt> {
    let request = RefreshRequest {
        connection: Some(connection.clone()),
    };
    let answer = connector.refresh(request, AMPLE).await.told("Refresh")?;
    world.know(answer.credentials.as_ref());
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

async fn refresh(world: &World) -> Seen {
    world.has(Lack::Expiry)?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let first = world.log_in(&connector).await?;
    let place = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    let second = renewed(world, &connector, &first).await?;
    let (old, new) = (credentials(&first), credentials(&second));
    findings.unless(
        !new.access_token.is_empty() && new.access_token != old.access_token,
        || "the access token is the old one, or none".to_owned(),
    );
    findings.unless(
        !new.refresh_token.is_empty() || old.refresh_token.is_empty(),
        || "the refresh token is gone: one that was not rotated must be repeated".to_owned(),
    );
    findings.unless(new.extra.is_empty() == old.extra.is_empty(), || {
        "the credentials' extra part is gone: the answer replaces the old ones whole".to_owned()
    });
    if let Some(proxy) = &world.proxy {
        let used = proxy
            .since(place)
            .into_iter()
            .find(|seen| seen.carries(&new.access_token));
        if let Some(seen) = used {
            findings.add(format!("Refresh used the new token itself: {}", seen.place()));
        }
    }
    // Twice in a row, each time in another process: the only state is the host's.
    let other = world.open().await?;
    if let Some(third) = findings.part(renewed(world, &other, &second).await) {
        let request = ListFieldsRequest {
            connection: Some(third),
            objects: Vec::new(),
        };
        let listed = other.list_fields(request, AMPLE).await;
        findings.part(listed.told("ListFields with the credentials of the second refresh"));
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
fn tokens(world: &World, seen: &[Request]) -> Vec<String> {
    let tokens = &world.quirks.requests.tokens;
    let found = seen.iter().filter(|seen| {
        tokens
            .iter()
            .any(|pattern| super::safety::matches(pattern, &seen.path))
    });
    found.map(Request::place).collect()
}

async fn stream(world: &World) -> Seen {
    world.has(Lack::Expiry)?;
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let whole = world.whole(&connector).await?;
    let selection = world.selection(&connector).await?;
    let old = world.log_in(&connector).await?;
    let token = credentials(&old).access_token;
    let (mut rows, mut asked) = (Rows::default(), 0);
    let place = proxy.count();
    let stream = Stream::open(&connector, &old, &selection, b"")
        .await
        .told("Read")?;
    // An event has arrived; from now on the CRM refuses the token.
    let mut ended = stream
        .take(&mut rows, |event| matches!(event, Event::Checkpoint(_)))
        .await
        .told("the stream")?;
    proxy.order(Trouble::Status(401), Which::Carrying(token.clone()));
    while !ended {
        let needs = |event: &Event| matches!(event, Event::CredentialsNeeded(_));
        ended = stream
            .take(&mut rows, needs)
            .await
            .told("the stream, once its token had ended")?;
        if ended {
            break;
        }
        asked += 1;
        if asked > 3 {
            return Err(fails(
                "the stream asks for credentials again and again, although the new ones are good",
            ));
        }
        // The stream waits: until the host has answered, a pull gets no event and the CRM gets no request.
        let mut pull = stream.pull(rows.checkpoints.len() as u64);
        let early = tokio::time::timeout(std::time::Duration::from_millis(200), pull.answer()).await;
        findings.unless(early.is_err(), || {
            "it gives an event before it has the credentials it asked for".to_owned()
        });
        let beside = world.open().await?;
        let refreshed = tokens(world, &proxy.since(place));
        findings.unless(refreshed.is_empty(), || {
            format!("the stream asked the token endpoint: {}", refreshed.join(", "))
        });
        let new = renewed(world, &beside, &old).await?;
        let after = proxy.count();
        stream
            .provide(credentials(&new), new.base_url.clone())
            .await
            .told("ProvideCredentials")?;
        let event = stream
            .event(&mut pull, AMPLE)
            .await
            .told("the stream, with new credentials")?;
        ended = matches!(event, Event::End(_));
        rows.take(event);
        // From here on only the new token may be used, and no token request may be sent.
        if !ended {
            ended = stream
                .take(&mut rows, needs)
                .await
                .told("the stream, with new credentials")?;
            if !ended {
                findings.add("it asks for credentials once more, although the new ones are good");
                break;
            }
        }
        let seen = proxy.since(after);
        let used_old = seen.iter().filter(|seen| seen.carries(&token)).count();
        findings.unless(used_old == 0, || {
            format!("{used_old} requests carry the old token after new ones were given")
        });
        let refreshed = tokens(world, &seen);
        findings.unless(refreshed.is_empty(), || {
            format!("the stream asked the token endpoint: {}", refreshed.join(", "))
        });
    }
    let struck = proxy.clear();
    findings.unless(asked > 0 || struck == 0, || {
        format!("{struck} requests were answered 401, and it never asked for credentials")
    });
    findings.unless(asked > 0 || struck > 0, || {
        "after its first checkpoint the stream asked the CRM nothing more: the fixture needs more records"
            .to_owned()
    });
    if let Some(difference) = rows.difference(whole) {
        findings.add(format!(
            "what it read across the renewal is not what is there: {difference}"
        ));
    }
    findings.done(format!("{struck} requests refused, asked once, went on"))
}

async fn moved(world: &World) -> Seen {
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
             accounts, one_address belongs among the [lacks]"
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
    let listed = connector.list_fields(request, AMPLE).await;
    findings.part(listed.told("ListFields of an account that has moved"));
    findings.unless(new.count() > at_new && old.count() == at_old, || {
        "ListFields does not ask at the connection's base_url".to_owned()
    });
    if world.quirks.lack(Lack::Expiry).is_none() {
        let cases = [
            (old, moved.base_url.as_str(), "moves the account"),
            (&new, "", "names no address"),
        ];
        for (here, base_url, what) in cases {
            let connection = world.log_in(&connector).await?;
            let connection = Connection {
                base_url: connection.base_url.replace(&old.authority(), &here.authority()),
                ..connection
            };
            let after = across(world, &connector, &connection, here, base_url).await?;
            let stray = old.since(after);
            findings.unless(stray.is_empty(), || {
                format!(
                    "after a ProvideCredentials that {what} the stream asks at the old address: {}",
                    stray[0].place()
                )
            });
        }
    }
    findings.done("in calls, and in the middle of a stream")
}

/// Reads to the end, with credentials that end after the first checkpoint at the address `here` and new ones with
/// `base_url`. Returns the number of requests at the fixture's first address until then.
async fn across(
    world: &World,
    connector: &Connector,
    connection: &Connection,
    here: &Proxy,
    base_url: &str,
) -> Result<usize, Halt> {
    let whole = world.whole(connector).await?;
    let selection = world.selection(connector).await?;
    let opened = Stream::open(connector, connection, &selection, b"").await;
    let (stream, mut rows) = (opened.told("Read")?, Rows::default());
    let checkpoint = |event: &Event| matches!(event, Event::Checkpoint(_));
    let mut ended = stream.take(&mut rows, checkpoint).await.told("the stream")?;
    let token = credentials(connection).access_token;
    here.order(Trouble::Status(401), Which::Carrying(token));
    let (mut asked, mut after) = (0, world.network()?.count());
    while !ended {
        let needs = |event: &Event| matches!(event, Event::CredentialsNeeded(_));
        ended = stream.take(&mut rows, needs).await.told("the stream")?;
        if ended {
            break;
        }
        asked += 1;
        if asked > 3 {
            return Err(fails("the stream asks for credentials again and again"));
        }
        let renewed = renewed(world, connector, connection).await?;
        after = world.network()?.count();
        let provided = stream.provide(credentials(&renewed), base_url.to_owned()).await;
        provided.told("ProvideCredentials")?;
    }
    here.clear();
    match rows.difference(whole) {
        Some(difference) => Err(fails(format!(
            "what it read while the account moved is not what is there: {difference}"
        ))),
        None => Ok(after),
    }
}

async fn revoke(world: &World) -> Seen {
    world.has(Lack::Revocation)?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let connection = world.log_in(&connector).await?;
    let request = || RevokeRequest {
        connection: Some(connection.clone()),
    };
    let first = connector.revoke(request(), AMPLE).await.told("Revoke")?;
    findings.unless(!first.already_gone, || {
        "good credentials are already gone, it says".to_owned()
    });
    let list = ListFieldsRequest {
        connection: Some(connection.clone()),
        objects: Vec::new(),
    };
    let ends = world.quirks.lack(Lack::ImmediateRevocation).is_none();
    match connector.list_fields(list, AMPLE).await {
        Ok(_) => findings.unless(!ends, || "after Revoke the credentials still read".to_owned()),
        Err(failure) => {
            let right = [ErrorKind::CredentialsExpired, ErrorKind::CredentialsRevoked];
            findings.unless(failure.kind().is_some_and(|kind| right.contains(&kind)), || {
                format!(
                    "ListFields after Revoke: {failure}; CREDENTIALS_EXPIRED or CREDENTIALS_REVOKED is right"
                )
            });
        }
    }
    let other = world.open().await?;
    let second = other.revoke(request(), AMPLE).await.told("Revoke, repeated")?;
    findings.unless(
        second.already_gone || world.quirks.lack(Lack::RevocationMemory).is_some(),
        || "Revoke of what is gone does not say already_gone".to_owned(),
    );
    if world.quirks.lack(Lack::Expiry).is_none() {
        match other
            .refresh(
                RefreshRequest {
                    connection: Some(connection.clone()),
                },
                AMPLE,
            )
            .await
        {
            Ok(_) => findings.add("after Revoke the credentials can be refreshed"),
            Err(failure) => findings.unless(failure.kind() == Some(ErrorKind::CredentialsRevoked), || {
                format!("Refresh after Revoke: {failure}; CREDENTIALS_REVOKED is right")
            }),
        }
    }
    findings.done(if ends {
        "twice, and nothing reads with them any more"
    } else {
        "twice, and they cannot be renewed"
    })
}
