//! The expected results are written by hand: no test computes them with the rules under test.

use super::*;
use proptest::prelude::*;

/// Test cases: an input text, a tab, and the domain that identifies the company, or `-` for none. `\n` stands for a
/// line break.
const CASES: &str = include_str!("cases.tsv");

fn cases() -> impl Iterator<Item = (String, Option<&'static str>)> {
    CASES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (text, domain) = line.rsplit_once('\t').unwrap_or_else(|| panic!("no tab: {line}"));
            (
                text.replace("\\n", "\n"),
                Some(domain).filter(|domain| *domain != "-"),
            )
        })
}

#[test]
fn texts_as_people_type_them_give_the_domains_written_by_hand() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (text, right) in cases() {
        count += 1;
        let is = domain_of(&text);
        if is.as_deref() != right {
            wrong.push(format!("{text:?} gave {is:?}, not {right:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 300, "{count}");
}

#[test]
fn a_domain_is_its_own_domain() {
    for (text, _) in cases() {
        if let Some(domain) = domain_of(&text) {
            assert_eq!(
                domain_of(&domain).as_deref(),
                Some(domain.as_str()),
                "of {text:?}"
            );
            assert_eq!(uri_of(&domain), format!("http://{domain}/"));
        }
    }
}

#[test]
fn a_uri_is_normalised_and_its_own_uri() {
    for (text, right) in cases() {
        let uri = uri_of(&text);
        if right.is_some() {
            assert!(!uri.is_empty(), "{text:?}");
        }
        if !uri.is_empty() {
            let url = url::Url::parse(&uri).unwrap_or_else(|error| panic!("{text:?} gave {uri}: {error}"));
            assert!(
                matches!(url.scheme(), "http" | "https") && url.as_str() == uri,
                "{text:?} gave {uri}"
            );
            assert!(
                url.username().is_empty() && url.password().is_none(),
                "{text:?} gave {uri}"
            );
            assert_eq!(uri_of(&uri), uri, "{text:?}");
            assert_eq!(domain_of(&uri), domain_of(&text), "{text:?} gave {uri}");
        }
    }
}

#[test]
fn uris_as_they_are_shown() {
    for (text, uri) in [
        ("acme.com", "http://acme.com/"),
        (
            "HTTPS://WWW.Acme.com:443/About?x=1#Y",
            "https://www.acme.com/About?x=1#Y",
        ),
        ("http://acme.com:8080/a b", "http://acme.com:8080/a"),
        ("http://user:secret@acme.com/x", "http://acme.com/x"),
        ("bücher.de/käse", "http://xn--bcher-kva.de/k%C3%A4se"),
        ("https://www.facebook.com/acme", "https://www.facebook.com/acme"),
        ("https://www.facebook.com/acme; acme.com", "http://acme.com/"),
        ("javascript:alert(1)", ""),
        ("JavaScript://acme.com/%0aalert(1)", ""),
        ("data:text/html,<script>alert(1)</script>", ""),
        ("ftp://acme.com/x", ""),
        ("mailto:a@acme.com", ""),
        ("http://10.0.0.1/", ""),
        ("n/a", ""),
        ("", ""),
    ] {
        assert_eq!(uri_of(text), uri, "{text}");
    }
    let long = format!("acme.com/{}", "a".repeat(3_000));
    assert_eq!(uri_of(&long), "http://acme.com/");
}

#[test]
fn the_first_usable_candidate_counts() {
    let of = |texts: &[&str]| candidates(texts.iter().copied()).and_then(|text| domain_of(&text));
    for other in [
        "https://www.facebook.com/social-one",
        "n/a",
        " ",
        "",
        "N/A",
        "-",
        "none",
        "javascript:alert(1)",
        "\u{0}",
    ] {
        assert_eq!(
            of(&["social-one.com", other]).as_deref(),
            Some("social-one.com"),
            "{other:?}"
        );
        assert_eq!(
            of(&[other, "social-one.com"]).as_deref(),
            Some("social-one.com"),
            "{other:?}"
        );
        assert_eq!(of(&[other]), None, "{other:?}");
    }
    assert_eq!(of(&["first.com", "second.com"]).as_deref(), Some("first.com"));
    assert_eq!(of(&[]), None);
}

#[test]
fn candidates_are_bounded_and_never_cut_within_a_host() {
    assert_eq!(
        candidates([" a.com ", "a.com", "", "b\u{0}c\nd"]).as_deref(),
        Some("a.com\nb c;d")
    );
    let many: Vec<String> = (0..20).map(|i| format!("c{i}.com")).collect();
    let kept = candidates(many.iter().map(String::as_str)).unwrap();
    assert_eq!(kept.lines().count(), 8);
    // A cut at the limit would split the name: "acme.co" and "acme.com" are different companies.
    let text = format!("{}acme.com", "- ".repeat(1_020));
    assert_eq!(text.len(), 2_048);
    assert_eq!(
        domain_of(&candidates([text.as_str()]).unwrap()).as_deref(),
        Some("acme.com")
    );
    for more in 1..9 {
        let text = format!("{}{}acme.com", "- ".repeat(1_020), "-".repeat(more));
        assert_eq!(
            candidates([text.as_str()]).and_then(|kept| domain_of(&kept)),
            None,
            "{more}"
        );
    }
    let path = format!("acme.com/{}", "x".repeat(5_000));
    assert_eq!(
        domain_of(&candidates([path.as_str()]).unwrap()).as_deref(),
        Some("acme.com")
    );
    assert_eq!(candidates(["x".repeat(5_000).as_str()]), None);
}

#[test]
fn a_very_long_text_is_looked_at_within_bounds() {
    let text = format!("{} https://acme.com", "a ".repeat(1 << 20));
    assert_eq!(domain_of(&text), None);
    let text = format!("https://acme.com {}", "a".repeat(1 << 20));
    assert_eq!(domain_of(&text).as_deref(), Some("acme.com"));
    assert_eq!(domain_of(&format!("acme.com{}", "/".repeat(1 << 20))), None);
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

#[test]
fn a_change_of_the_list_needs_a_new_version() {
    let hash = blake3::hash(hosts::LIST.as_bytes()).to_hex();
    let of = (VERSION, &hash[..16]);
    assert_eq!(
        of,
        ("2:psl-2.1.247", "9cee8c4a4ceb2b74"),
        "raise VERSION: stored companies have to be moved to the new list"
    );
}

/// Unrelated domains with similar names.
const DOMAINS: &[&str] = &[
    "acme.com",
    "acme.co",
    "acme.co.uk",
    "acme.de",
    "acne.com",
    "a-cme.com",
    "acme-one.com",
    "acmeone.com",
    "acme1.com",
    "acme2.com",
    "acme.com.au",
    "acme.io",
    "acme.github.io",
    "beta.github.io",
    "acme.wordpress.com",
    "beta.wordpress.com",
    "xn--bcher-kva.de",
    "bucher.de",
    "buecher.de",
    "xn--e1afmkfd.xn--p1ai",
    "acme.xn--p1ai",
    "http.com",
    "https.com",
    "www.com",
    "web.com",
    "com.com",
    "go.com",
    "3m.com",
    "1-2-3.net",
    "t-online.de",
    "facebook.com",
    "google.com",
    "x.ai",
    "acme.myshopify.com",
    "shared-reseller.com",
];

/// Text that people write before and after an address and that is not part of it.
const BEFORE: &[&str] = &[
    "",
    " ",
    "http://",
    "https://",
    "HTTP://",
    "http://http://",
    "https://http://",
    "http//",
    "http:",
    "https:/",
    "http:\\\\",
    "//",
    "www.",
    "http://www.",
    "WWW.",
    "<",
    "(",
    "[",
    "\"",
    "'",
    "«",
    "*.",
    "http://*.",
    "website: ",
    "URL:",
    "Web ",
    "- ",
    "\u{feff}",
    "\u{200b}",
    "htp://",
    "http:///",
    "http;//",
    "https://www.http://",
    "n/a; ",
    "none;",
    "www.facebook.com/acme; ",
    "info@mail-of-acme.com ",
];
const BEHIND: &[&str] = &[
    "",
    " ",
    "/",
    "/about",
    "/de?x=1#y",
    ":8080",
    ":443/",
    ".",
    "./",
    ")",
    ">",
    "]",
    "\"",
    "'",
    "»",
    ",",
    ";",
    " (clone)",
    " and others",
    "; shared-two.com",
    ", shared-two.com",
    "|shared-two.com",
    " shared-two.com",
    "\nshared-two.com",
    ";shared-two.com/x",
    ",shared-two.com",
    "/;http://shared-two.com",
    "/a,http://shared-two.com",
    "/a,b,c",
    "?u=http://shared-two.com",
    "/web/http://shared-two.com",
    "...",
    " - ",
    "!",
];

#[test]
fn no_two_domains_become_one_whatever_stands_around_them() {
    for domain in DOMAINS {
        for before in BEFORE {
            for behind in BEHIND {
                // A shared host with a path is a page on it.
                if *domain == "facebook.com"
                    && behind.contains(['/', '?'])
                    && !matches!(*behind, "/" | ":443/" | "./")
                {
                    continue;
                }
                // "www.com" is a domain, also in "www.com.com".
                let text = format!("{before}{domain}{behind}");
                assert_eq!(domain_of(&text).as_deref(), Some(*domain), "{text:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn never_panics_and_is_a_fixed_point(text in "\\PC{0,60}") {
        if let Some(domain) = domain_of(&text) {
            prop_assert_eq!(domain_of(&domain), Some(domain));
        }
        let uri = uri_of(&text);
        prop_assert_eq!(uri_of(&uri), uri.clone());
        prop_assert!(uri.is_empty() || uri.starts_with("http://") || uri.starts_with("https://"));
    }

    #[test]
    fn nor_with_the_characters_of_addresses(text in "[ahtpsw.:/@;,|*_%?#()<>\\\\ \\-\u{3002}\u{ff0e}é0-9com]{0,40}") {
        let homepage = Homepage::read(&text);
        if let Some(Homepage { domain: Some(domain), uri }) = homepage {
            prop_assert_eq!(domain_of(&domain), Some(domain.clone()));
            // A domain consists only of valid host name labels.
            for label in domain.split('.') {
                prop_assert!(!label.is_empty() && label.len() < 64, "{}", domain);
                prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", domain);
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'), "{}", domain);
            }
            prop_assert_eq!(domain_of(&uri), Some(domain));
        }
    }

    #[test]
    fn words_are_no_domain(words in proptest::collection::vec("[a-z]{1,9}", 0..6), between in "[ /&_!?-]{1,3}") {
        prop_assert_eq!(domain_of(&words.join(&between)), None);
    }

    #[test]
    fn two_labels_give_themselves(one in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", two in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?") {
        // Labels that begin like a Punycode label must be valid Punycode.
        prop_assume!(!one.starts_with("xn--") && !two.starts_with("xn--"));
        let (a, b) = (format!("{one}-acme.com"), format!("{two}-acme.com"));
        prop_assert_eq!(domain_of(&format!("http://www.{a};{b}")), Some(a.clone()));
        prop_assert_eq!(domain_of(&a) == domain_of(&b), one == two);
    }
}
