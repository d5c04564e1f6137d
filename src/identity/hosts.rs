//! The list of shared hosts, where many companies have a page or a site. hosts.txt defines its rules.

use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) const LIST: &str = include_str!("hosts.txt");

/// The rule of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Pages,
    Sites,
    Nothing,
}

/// A line: its path without slashes at the ends (empty for all paths), and its rule.
type Line = (&'static str, Rule);

static HOSTS: LazyLock<HashMap<&'static str, Vec<Line>>> = LazyLock::new(|| {
    let mut hosts: HashMap<&'static str, Vec<Line>> = HashMap::new();
    for (host, path, rule) in lines().flatten() {
        hosts.entry(host).or_default().push((path, rule));
    }
    hosts
});

/// The lines of the list; `None` for an invalid line, which a test detects.
fn lines() -> impl Iterator<Item = Option<(&'static str, &'static str, Rule)>> {
    let written = |line: &&str| !line.is_empty() && !line.starts_with('#');
    LIST.lines().filter(written).map(|line| {
        let (place, rule) = line.split_once('\t')?;
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let rule = match rule {
            "pages" => Rule::Pages,
            "sites" => Rule::Sites,
            "nothing" => Rule::Nothing,
            _ => return None,
        };
        Some((host, path, rule))
    })
}

/// The domain that identifies a company at an address; `None` for a page on a shared host.
///
/// `host` is in lower-case ASCII, `domain` is its registrable domain, `suffix` is the public suffix of that, and
/// `rest` is the path, query and fragment after the host.
pub(super) fn identifying(host: &str, domain: &str, suffix: &str, rest: &str) -> Option<String> {
    let path = rest
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let path = path.trim_matches('/');
    let mut at = host;
    while at.len() >= suffix.len() {
        let any = at.strip_suffix(suffix).map(|name| format!("{name}*"));
        let any = any.as_deref().and_then(|any| HOSTS.get(any));
        let lines: Vec<&Line> = HOSTS.get(at).into_iter().chain(any).flatten().collect();
        let has = |rule| lines.contains(&&("", rule));
        let nothing = |(of, rule): &&Line| *rule == Rule::Nothing && is_under(path, of);
        if lines.iter().copied().any(|line| nothing(&line)) {
            return None;
        }
        let below = host[..host.len() - at.len()].trim_end_matches('.');
        if has(Rule::Sites) && !matches!(below, "" | "www") {
            let name = below.rsplit('.').next().unwrap_or(below);
            return Some(format!("{name}.{at}"));
        }
        if has(Rule::Pages) && !(is_own(below) && rest.trim_matches('/').is_empty()) {
            return None;
        }
        at = match at.split_once('.') {
            Some((_, above)) => above,
            None => break,
        };
    }
    Some(domain.to_owned())
}

/// Whether the path is equal to or below `of`. Each path is below the empty one.
fn is_under(path: &str, of: &str) -> bool {
    of.is_empty()
        || path
            .strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the labels before a host lead to the site of the host's owner: none, `www`, a mobile site, or a language.
fn is_own(labels: &str) -> bool {
    let language = |label: &str| {
        let (language, country) = label.split_once('-').unwrap_or((label, "xx"));
        let two = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_lowercase());
        two(language) && two(country)
    };
    matches!(labels, "" | "www" | "m" | "mobile" | "web") || language(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for (line, text) in lines().zip(
            LIST.lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#')),
        ) {
            let (host, path, rule) = line.unwrap_or_else(|| panic!("cannot be read: {text}"));
            assert!(seen.insert((host, path, format!("{rule:?}"))), "twice: {text}");
            assert_eq!(host, host.to_ascii_lowercase(), "{text}");
            assert_eq!(path, path.trim_matches('/').to_ascii_lowercase(), "{text}");
            assert!(
                path.is_empty() || rule == Rule::Nothing,
                "only `nothing` has a path: {text}"
            );
            let host = host.replace(".*", ".com");
            assert!(
                psl::suffix(host.as_bytes()).is_some_and(|suffix| suffix.is_known()),
                "{text}"
            );
        }
        assert!(seen.len() > 300);
    }
}
