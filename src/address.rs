//! Web addresses from the configuration or from callers. Programs parse malformed addresses differently:
//! `http://127.0.0.1\@evil/` is loopback for a browser and the host `evil` for other programs. So an address is
//! accepted only if it is spelled in the normalized form that all parsers read alike, and addresses are compared
//! after parsing, never by prefix.

use url::{Host, Url};

/// Parses an http(s) address that is unambiguous: spelled as its parser writes it (except for a final slash), without
/// user name, password or fragment.
#[must_use]
pub fn plain(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let spelt = url.as_str() == text || (url.path() == "/" && url.as_str().strip_suffix('/') == Some(text));
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (spelt && bare && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// Whether an address is on the loopback interface.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_reading_is_plain() {
        for good in [
            "http://127.0.0.1:9/callback",
            "http://localhost:3000",
            "http://[::1]:9/",
            "https://app.example.com/crm/callback?from=tether",
        ] {
            assert!(plain(good).is_some(), "{good}");
        }
        for bad in [
            "http://127.0.0.1:9\\@evil.com/",
            "http://127.0.0.1:9@evil.com/",
            "http://user:secret@127.0.0.1:9/",
            "http:/\\127.0.0.1/",
            "http:127.0.0.1/x",
            "http://127.0.0.1:9/#at",
            "http://2130706433/",
            "http://127.1/",
            "http://127.0.0.1/a/../b",
            "http://127.0.0.1 /",
            " http://127.0.0.1/",
            "http://127.0.0.1/\n",
            "javascript:alert(1)",
            "ftp://127.0.0.1/",
            "//127.0.0.1/",
            "",
        ] {
            assert!(plain(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_an_address_and_not_a_beginning() {
        let on_loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(
            on_loopback("http://127.8.9.1/")
                && on_loopback("http://[::1]/")
                && on_loopback("http://localhost/")
        );
        assert!(!on_loopback("http://127.0.0.1.evil.com/") && !on_loopback("http://localhost.evil.com/"));
    }
}
