//! The allowed addresses: the host's [`HttpPolicy`], compiled.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::proto::{Error, HttpPolicy};

/// The compiled lists of a policy.
#[derive(Debug)]
pub(super) struct Addresses {
    https: Vec<Pattern>,
    plain: Vec<String>,
}

#[derive(Debug)]
enum Pattern {
    Exactly(String),
    Below(String),
}

impl Addresses {
    pub(super) fn new(policy: &HttpPolicy) -> Result<Self, Error> {
        let https = policy
            .allowed_hosts
            .iter()
            .map(|host| pattern(host))
            .collect::<Result<_, _>>()?;
        let plain = policy
            .plain_http_hosts
            .iter()
            .map(|host| loopback(host))
            .collect::<Result<_, _>>()?;
        Ok(Self { https, plain })
    }

    /// Checks whether a URL is allowed. The error names the host, never the query.
    pub(super) fn check(&self, url: &Url) -> Result<(), Error> {
        let Some(host) = url.host() else {
            return Err(refused("the address has no host"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("the address carries a user name or a password"));
        }
        let name = host_name(&host);
        match url.scheme() {
            "https" => {
                let port = url.port().map(|port| format!("{name}:{port}"));
                let listed = self.https.iter().any(|pattern| match pattern {
                    Pattern::Exactly(listed) => listed == port.as_ref().unwrap_or(&name),
                    // An IP address has no subdomains.
                    Pattern::Below(suffix) => {
                        port.is_none()
                            && matches!(host, Host::Domain(_))
                            && name
                                .strip_suffix(suffix.as_str())
                                .is_some_and(|rest| !rest.is_empty())
                    }
                });
                if listed {
                    Ok(())
                } else {
                    Err(refused(format!("{name} is not an allowed host")))
                }
            }
            "http" => {
                let authority = format!("{name}:{}", url.port().unwrap_or(80));
                if self.plain.contains(&authority) {
                    Ok(())
                } else {
                    Err(refused(format!("plain http to {authority} is not allowed")))
                }
            }
            other => Err(refused(format!("the scheme {other} is not allowed"))),
        }
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::configuration(message).code("http.host_refused")
}

fn host_name(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        other => other.to_string(),
    }
}

fn pattern(entry: &str) -> Result<Pattern, Error> {
    let wrong = |why: &str| Err(Error::configuration(format!("allowed host {entry:?}: {why}")));
    let entry_lower = entry.to_ascii_lowercase();
    if let Some(suffix) = entry_lower.strip_prefix("*.") {
        // `*.com` is always a mistake.
        if !suffix.contains('.') {
            return wrong("a suffix needs two labels at least");
        }
        return match authority(suffix) {
            Some((name, None)) => Ok(Pattern::Below(format!(".{name}"))),
            _ => wrong("not `*.` and a host name"),
        };
    }
    match authority(&entry_lower) {
        Some((name, None)) => Ok(Pattern::Exactly(name)),
        Some((name, Some(443))) => Ok(Pattern::Exactly(name)),
        Some((name, Some(port))) => Ok(Pattern::Exactly(format!("{name}:{port}"))),
        None => wrong("not a host name"),
    }
}

fn loopback(entry: &str) -> Result<String, Error> {
    let wrong = |why: &str| Err(Error::configuration(format!("plain http host {entry:?}: {why}")));
    let Some((name, port)) = authority(&entry.to_ascii_lowercase()) else {
        return wrong("not a host and port");
    };
    let is_loopback = name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || name == format!("[{}]", Ipv6Addr::LOCALHOST);
    if !is_loopback {
        return wrong("only loopback addresses may be called without TLS");
    }
    match port {
        Some(port) => Ok(format!("{name}:{port}")),
        None => wrong("the port is missing"),
    }
}

/// Host and port as a URL parser reads them, or None if the text contains anything else.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    if text.contains(['/', '@', '?', '#', '*', '\\']) {
        return None;
    }
    // For this scheme the parser follows the URL standard, and keeps every port that matters here.
    let url = Url::parse(&format!("ws://{text}/")).ok()?;
    let name = host_name(&url.host()?);
    let port = url.port().or_else(|| text.ends_with(":80").then_some(80));
    Some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(https: &[&str], plain: &[&str]) -> Result<Addresses, Error> {
        let owned = |list: &[&str]| list.iter().map(|&host| host.to_owned()).collect();
        Addresses::new(&HttpPolicy {
            allowed_hosts: owned(https),
            plain_http_hosts: owned(plain),
            ..HttpPolicy::default()
        })
    }

    #[test]
    fn only_listed_addresses_pass() {
        let addresses = addresses(
            &["login.crm.example", "*.my.crm.example", "other.example:8443"],
            &["127.0.0.1:8080", "[::1]:80"],
        )
        .unwrap();
        let check = |url: &str| addresses.check(&Url::parse(url).unwrap()).is_ok();
        for url in [
            "https://login.crm.example/a",
            "https://LOGIN.crm.example:443/a",
            "https://login.crm.example./a",
            "https://a.my.crm.example/",
            "https://a.b.my.crm.example/",
            "https://other.example:8443/",
            "http://127.0.0.1:8080/x",
            "http://[::1]/x",
        ] {
            assert!(check(url), "{url} refused");
        }
        for url in [
            "http://login.crm.example/a",
            "https://login.crm.example:8443/",
            "https://my.crm.example/",
            "https://evilmy.crm.example/",
            "https://a.my.crm.example.evil.example/",
            "https://a.my.crm.example:444/",
            "https://login.crm.example@evil.example/",
            "https://user:pw@login.crm.example/",
            "https://169.254.169.254/",
            "https://0x7f000001/",
            "http://127.0.0.1:8081/",
            "http://127.0.0.1/",
            "ftp://login.crm.example/",
            "file:///etc/passwd",
        ] {
            assert!(!check(url), "{url} passed");
        }
    }

    #[test]
    fn wrong_entries_are_named() {
        for (https, plain) in [
            ("*.com", ""),
            ("https://a.b", ""),
            ("a b", ""),
            ("", "crm.example:80"),
            ("", "127.crm.example:80"),
            ("", "127.0.0.1"),
        ] {
            let list = |entry: &'static str| if entry.is_empty() { vec![] } else { vec![entry] };
            let error = addresses(&list(https), &list(plain)).unwrap_err();
            assert!(
                error.message.contains(https) && error.message.contains(plain),
                "{error}"
            );
        }
    }
}
