//! The forms in which texts are compared: folded (case-insensitive), plain (also without accents), and as words.

use caseless::Caseless as _;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Maximum stored length of a folded text, in bytes: above the longest text of a filter.
pub const MOST_TEXT: usize = 60_000;
/// Maximum indexed length of a word, in bytes.
const MOST_WORD: usize = 30_000;
/// Number of bytes at the beginning of a text that sorting compares.
pub const MOST_SORTED: usize = 256;

/// The case-insensitive form of a text: Unicode full case folding, composed.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfc().default_case_fold().nfc().collect()
}

/// The beginning of a folded text that sorting compares.
#[must_use]
pub fn sorted(text: &str) -> String {
    let mut folded = fold(text);
    folded.truncate(folded.floor_char_boundary(MOST_SORTED));
    folded
}

/// The form of a text without case and accents.
#[must_use]
pub fn plain(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let bare = text.nfkd().filter(|c| !is_combining_mark(*c));
    bare.default_case_fold()
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .collect()
}

/// The words of a text: sequences of letters and digits.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| &word[..word.floor_char_boundary(MOST_WORD)])
}

/// The visible text of HTML: without tags, with the common entities resolved.
#[must_use]
pub fn of_html(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push(' ');
            }
            _ if inside => {}
            c => text.push(c),
        }
    }
    for (entity, c) in [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        if text.contains(entity) {
            text = text.replace(entity, c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms() {
        assert_eq!(fold("STRASSE"), fold("Straße"));
        assert_eq!(fold("E\u{301}"), fold("é"));
        assert_ne!(fold("E"), fold("é"));
        assert_eq!(plain("Société Générale"), "societe generale");
        assert_eq!(
            words("acme-corp & co. 24").collect::<Vec<_>>(),
            ["acme", "corp", "co", "24"]
        );
        assert_eq!(
            of_html("<p>a &amp; <b>b</b></p>")
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["a", "&", "b"]
        );
    }
}
