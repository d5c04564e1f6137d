//! Which company a record is: identity is the registrable domain of its homepage (mission.md, "Companies").
//!
//! The id is a UUIDv5 of that domain: no look-up, the same on every replica, and it tells nothing about who else holds
//! the company. The public-suffix list (private suffixes included) comes embedded with the `psl` crate; the list of
//! shared hosts is below. A change of either changes identities, so [`VERSION`] is stored with the database and a
//! migration has to go with it.

use crate::domain::CompanyId;

/// The version of the rules here and of both lists, stored in the database. `psl` is pinned to this version exactly.
pub const VERSION: &str = "1:psl-2.1.247";

/// Hosts at or under which many companies keep a page: they identify nothing. Sorted, to be searched.
const SHARED_HOSTS: &[&str] = &[
    "about.me",
    "angel.co",
    "apps.apple.com",
    "bit.ly",
    "business.google.com",
    "crunchbase.com",
    "discord.com",
    "discord.gg",
    "docs.google.com",
    "drive.google.com",
    "etsy.com",
    "facebook.com",
    "fb.com",
    "fb.me",
    "g.page",
    "github.com",
    "gitlab.com",
    "glassdoor.com",
    "gmail.com",
    "goo.gl",
    "hotmail.com",
    "indeed.com",
    "instagram.com",
    "itunes.apple.com",
    "linkedin.com",
    "linktr.ee",
    "lnkd.in",
    "maps.google.com",
    "medium.com",
    "meetup.com",
    "myspace.com",
    "notion.so",
    "outlook.com",
    "pinterest.com",
    "play.google.com",
    "plus.google.com",
    "reddit.com",
    "sites.google.com",
    "snapchat.com",
    "substack.com",
    "t.co",
    "t.me",
    "telegram.me",
    "threads.net",
    "tiktok.com",
    "tumblr.com",
    "twitch.tv",
    "twitter.com",
    "vimeo.com",
    "vk.com",
    "wa.me",
    "weibo.com",
    "whatsapp.com",
    "wikipedia.org",
    "x.com",
    "xing.com",
    "yelp.com",
    "youtu.be",
    "youtube.com",
    "zoominfo.com",
];

/// The registrable domain that identifies a company, or `None` where the homepage is empty, no web address, an IP address,
/// a bare public suffix or a shared host.
#[must_use]
pub fn domain_of(homepage: &str) -> Option<String> {
    let text = homepage.trim();
    if text.is_empty() || text.len() > 2_048 || text.contains(char::is_whitespace) {
        return None;
    }
    // An e-mail address in the homepage's place is somebody's mail provider as often as not.
    if !text.contains("://") && text.contains('@') {
        return None;
    }
    let address = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = url::Url::parse(&address).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let url::Host::Domain(host) = url.host()? else {
        return None;
    };
    let host = host.trim_end_matches('.');
    let domain = psl::domain(host.as_bytes())?;
    // A suffix nobody registered ("n/a", "localhost", "acme.invalidtld") is a slip of the pen, not a domain.
    if !domain.suffix().is_known() {
        return None;
    }
    let domain = std::str::from_utf8(domain.as_bytes()).ok()?;
    (!is_shared(host)).then(|| domain.to_owned())
}

/// Whether the host, or a domain above it, is in the list.
fn is_shared(host: &str) -> bool {
    std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, above)| above))
        .any(|host| SHARED_HOSTS.binary_search(&host).is_ok())
}

/// The company of a record: of its homepage's domain, or without a usable one the record itself.
#[must_use]
pub fn company_of_record(
    connector: &str,
    organization_id: &str,
    external_id: &str,
    homepage: &str,
) -> CompanyId {
    match domain_of(homepage) {
        Some(domain) => CompanyId::of_domain(&domain),
        None => CompanyId::of_record(connector, organization_id, external_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_registrable_domain_whatever_the_form() {
        for form in [
            "http://www.ACME.com/about?x=1",
            "acme.com",
            "https://acme.com:8443",
            "WWW.Acme.Com.",
            "shop.eu.acme.com",
            "  acme.com  ",
            "http://user@acme.com/",
        ] {
            assert_eq!(domain_of(form).as_deref(), Some("acme.com"), "{form}");
        }
        assert_eq!(domain_of("http://sub.acme.co.uk").as_deref(), Some("acme.co.uk"));
        assert_eq!(
            domain_of("acme.github.io").as_deref(),
            Some("acme.github.io"),
            "private suffixes count"
        );
        assert_eq!(domain_of("bücher.de").as_deref(), Some("xn--bcher-kva.de"));
    }

    #[test]
    fn what_identifies_nothing() {
        for form in [
            "",
            " ",
            "n/a",
            "N/A",
            "none",
            "unknown",
            "localhost",
            "http://",
            "http://10.0.0.1/",
            "http://[::1]/",
            "com",
            "co.uk",
            "linkedin.com/company/acme",
            "https://www.facebook.com/acme",
            "sites.google.com/acme",
            "mailto:a@acme.com",
            "javascript:alert(1)",
            "acme corp",
            "acme.invalidtld",
        ] {
            assert_eq!(domain_of(form), None, "{form}");
        }
    }

    #[test]
    fn the_list_can_be_searched() {
        assert!(SHARED_HOSTS.is_sorted());
    }

    #[test]
    fn ids_are_pinned() {
        assert_eq!(
            CompanyId::of_domain("acme.com"),
            company_of_record("any", "org", "1", "https://www.acme.com/x")
        );
        assert_ne!(
            company_of_record("a", "org", "1", ""),
            company_of_record("a", "org2", "1", "n/a")
        );
        insta::assert_snapshot!(CompanyId::of_domain("acme.com"), @"06ee95e7-1595-5c15-be50-c41436f8c189");
    }

    proptest! {
        #[test]
        fn never_panics_and_is_a_fixed_point(text in "\\PC{0,60}") {
            if let Some(domain) = domain_of(&text) {
                prop_assert_eq!(domain_of(&domain), Some(domain));
            }
        }
    }
}
