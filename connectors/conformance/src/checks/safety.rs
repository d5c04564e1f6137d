//! Checks of all logs, errors and requests of this run; therefore they run last.

use std::collections::BTreeSet;

use http::Method;

use super::check::Check;
use crate::finding::{CheckResult, Findings, fails};
use crate::proxy::ProxiedRequest;
use crate::world::World;

pub(super) const READ_ONLY: Check = Check {
    id: "safety.read-only",
    title: "every request was a GET, a declared read, or to a token endpoint; nothing was written",
    why: "tether never changes a customer's CRM; customers give access for reading only.",
    spec: &["RO-1", "RO-3"],
    run: |world| Box::pin(read_only(world)),
};

pub(super) const SECRETS: Check = Check {
    id: "safety.secrets",
    title: "no log line, error, checkpoint or description contains a secret",
    why: "Logs are copied to other systems, and users see errors: a token in one of them has to be revoked.",
    spec: &["LOG-2", "ERR-2", "CKPT-2", "LOG-1"],
    run: |world| Box::pin(secrets(world)),
};

/// Whether a path matches a pattern, in which `*` matches anything but a slash.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    let segment = |(pattern, segment): (&&str, &&str)| match pattern.split_once('*') {
        None => pattern == segment,
        Some((before, after)) => {
            segment.len() >= before.len() + after.len()
                && segment.starts_with(before)
                && segment.ends_with(after)
        }
    };
    pattern.len() == path.len() && pattern.iter().zip(&path).all(segment)
}

async fn read_only(world: &World) -> CheckResult {
    let proxy = world.network()?;
    let mut findings = Findings::default();
    let connector = world.open().await?;
    world.full_read(&connector).await?;
    let seen = proxy.since(0);
    if seen.is_empty() {
        return Err(fails(
            "the connector sent no request to the fixture: is {fixture} among its settings?",
        ));
    }
    only_reads(&mut findings, world, &seen);
    let writes = world.writes().await?;
    findings.unless(writes.unwrap_or(0) == 0, || {
        format!(
            "the fixture's journal has {} attempts to write",
            writes.unwrap_or(0)
        )
    });
    let journal = if writes.is_some() {
        ", the fixture's journal of writes is empty"
    } else {
        ""
    };
    findings.done(format!("{} requests{journal}", seen.len()))
}

/// Checks that requests are reads.
pub(super) fn only_reads(findings: &mut Findings, world: &World, seen: &[ProxiedRequest]) {
    let requests = &world.quirks.requests;
    let mut other = BTreeSet::new();
    for seen in seen {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &seen.path));
        let may = match seen.method {
            Method::GET | Method::HEAD => true,
            _ if listed(&requests.tokens) || listed(&requests.exports) => true,
            Method::POST => listed(&requests.reads),
            _ => false,
        };
        if !may {
            other.insert(seen.method_and_path());
        }
    }
    for request in other {
        findings.add(format!(
            "{request}: neither a GET, nor among [requests] in conformance.toml"
        ));
    }
}

async fn secrets(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    world.full_read(&connector).await?;
    let described = world.description(&connector).await?;
    let (mut leaks, mut lines) = (BTreeSet::new(), 0);
    let search = world.secrets.search();
    for line in world.logged() {
        lines += 1;
        for name in search.found_in(&line) {
            // The location in the code, without the message.
            let from = line
                .split_whitespace()
                .find(|part| part.starts_with("from="))
                .unwrap_or_default();
            leaks.insert(format!("a log line ({from}) contains {name}"));
        }
    }
    let received = world.received.all();
    for (context, text) in &received {
        for name in search.found_in(text) {
            leaks.insert(format!("{context} contains {name}"));
        }
    }
    for name in search.found_in(&format!("{described:?}")) {
        leaks.insert(format!("the description contains {name}"));
    }
    for finding in leaks {
        findings.add(finding);
    }
    findings.unless(world.secrets.len() > 0, || {
        "there was no secret to search for: no login succeeded".to_owned()
    });
    findings.done(format!(
        "{} secrets in {lines} log lines and {} texts",
        world.secrets.len(),
        received.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches(
            "/services/data/v*/composite",
            "/services/data/v62.0/composite"
        ));
        assert!(matches("/token", "/token"));
        for (pattern, path) in [
            ("/token", "/token/x"),
            ("/a/*", "/a/b/c"),
            ("/token", "/tokens"),
            ("/v*x", "/v"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
