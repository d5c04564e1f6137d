//! The list of hosts where many keep a page or a site (hosts.txt, which says what its rules mean).

use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) const LIST: &str = include_str!("hosts.txt");

/// What a host's line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Pages,
    Sites,
    Nothing,
}

/// A line: the path it holds for, without slashes at its ends, empty for all; and its rule.
type Line = (&'static str, Rule);

static HOSTS: LazyLock<HashMap<&'static str, Vec<Line>>> = LazyLock::new(|| {
    let mut hosts: HashMap<&'static str, Vec<Line>> = HashMap::new();
    for (host, path, rule) in lines().flatten() {
        hosts.entry(host).or_default().push((path, rule));
    }
    hosts
});

/// The lines of the list; `None` for one that cannot be read, which a test finds.
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

/// What identifies a company at an address: a domain, or `None` for a page at a host of many.
///
/// `host` is in lower case ASCII, `domain` its registrable domain, `suffix` the public suffix of that, and `rest` what follows
/// the host: path, query and fragment.
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

/// Whether the path is this one, or under it. Every path is under the empty one.
fn is_under(path: &str, of: &str) -> bool {
    of.is_empty()
        || path
            .strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a name before a host is another door of the same house: none, `www`, a mobile page, a language.
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
