//! All secrets that the kit has passed or received, to search for them in logs and errors.

use aho_corasick::AhoCorasick;
use parking_lot::Mutex;

/// Texts below this length could match by chance.
const SHORTEST: usize = 6;

/// Secrets to search for. No Debug.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Name and text.
    all: Mutex<Vec<(String, String)>>,
}

/// A search for all secrets so far in many texts.
pub(crate) struct Search {
    names: Vec<String>,
    texts: Option<AhoCorasick>,
}

impl Secrets {
    /// Records a secret; for a text of several lines (a key), each line.
    pub(crate) fn add(&self, name: &str, secret: &str) {
        let mut all = self.all.lock();
        let lines = secret.lines().map(str::trim);
        for line in lines.filter(|line| line.len() >= SHORTEST && !line.starts_with("-----")) {
            if !all.iter().any(|(_, known)| known == line) {
                all.push((name.to_owned(), line.to_owned()));
            }
        }
    }

    /// A search for all of them, plain and percent-encoded.
    pub(crate) fn search(&self) -> Search {
        let all = self.all.lock();
        let both = all
            .iter()
            .flat_map(|(_, secret)| [secret.clone(), percent(secret)]);
        Search {
            names: all
                .iter()
                .flat_map(|(name, _)| [name.clone(), name.clone()])
                .collect(),
            // The construction fails only for patterns of several gigabytes.
            texts: AhoCorasick::new(both).ok(),
        }
    }

    /// The names of the secrets that a text contains.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        self.search().found_in(text)
    }

    /// The number of secrets.
    pub(crate) fn len(&self) -> usize {
        self.all.lock().len()
    }
}

impl Search {
    /// The names of the secrets that a text contains.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let Some(texts) = &self.texts else {
            return vec!["more than can be searched for".to_owned()];
        };
        let found = texts.find_overlapping_iter(text);
        let mut names: Vec<_> = found
            .map(|found| self.names[found.pattern().as_usize()].clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Percent-encoded, as in a form or a query.
pub(crate) fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_form() {
        let secrets = Secrets::default();
        secrets.add("a token", "00D!AQ/x y");
        secrets.add("a key", "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----");
        secrets.add("too short", "abc");
        assert_eq!(secrets.len(), 2);
        assert_eq!(secrets.found_in("… 00D!AQ/x y"), ["a token"]);
        assert_eq!(
            secrets.found_in("token=00D%21AQ%2Fx+y&key=MIIEvQIBADANBg"),
            ["a key", "a token"]
        );
        assert!(secrets.found_in("abc BEGIN KEY").is_empty());
    }
}
