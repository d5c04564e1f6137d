//! The canonical form of names: the key by which names are compared and sorted, and the label made from a name.

/// Maximum length of a name key in bytes, so that it always fits into a database index.
const KEY_BYTES: usize = 256;

/// The key by which a name is compared and sorted: lower case, white space collapsed, without control characters, at
/// most 256 bytes.
pub fn name_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    let words = name
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty());
    for word in words {
        if !key.is_empty() {
            key.push(' ');
        }
        if word.is_ascii() {
            key.extend(word.bytes().map(|b| b.to_ascii_lowercase() as char));
        } else {
            key.push_str(&word.to_lowercase());
        }
        if key.len() > KEY_BYTES {
            break;
        }
    }
    key.truncate(key.floor_char_boundary(KEY_BYTES));
    key
}

/// The label made from a name: `a-z`, `0-9` and single `_`, beginning with a letter, at most 40 characters.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            if slug.is_empty() && c.is_ascii_digit() {
                slug.push_str("s_");
            }
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
        if slug.len() >= 40 {
            break;
        }
    }
    while slug.ends_with('_') {
        slug.pop();
    }
    if slug.is_empty() {
        "source".to_owned()
    } else {
        slug
    }
}

/// Whether a key is written in filters without quotes: a letter or `_`, then letters, digits and `_`, and no keyword.
pub fn is_word(key: &str) -> bool {
    let begins = key.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let all = key.chars().all(|c| c.is_alphanumeric() || c == '_');
    begins && all && !matches!(key, "AND" | "OR" | "NOT")
}

/// Whether people can read and write a key of a field in filters: it is a word, and no long number in base 16.
pub fn is_readable(key: &str) -> bool {
    let number = key.len() >= 16 && key.bytes().all(|b| b.is_ascii_hexdigit());
    is_word(key) && !number
}

/// The alias of a field with this label: a word of lower-case letters, digits and single `_`, at most 40 characters.
pub fn alias(label: &str) -> String {
    let mut alias = String::new();
    let mut length = 0;
    for c in label.chars().flat_map(char::to_lowercase) {
        let word = c.is_alphanumeric();
        if length >= 40 || (!word && (alias.is_empty() || alias.ends_with('_'))) {
            continue;
        }
        if alias.is_empty() && !c.is_alphabetic() {
            alias.push_str("f_");
            length += 2;
        }
        alias.push(if word { c } else { '_' });
        length += 1;
    }
    while alias.ends_with('_') {
        alias.pop();
    }
    if alias.is_empty() {
        "field".to_owned()
    } else {
        alias
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_words() {
        for (label, expected) in [
            ("Annual Revenue (EUR)", "annual_revenue_eur"),
            ("2nd Owner", "f_2nd_owner"),
            ("Größe / m²", "größe_m²"),
            ("顧客 ランク", "顧客_ランク"),
            ("--", "field"),
        ] {
            assert_eq!(alias(label), expected);
            assert!(is_word(expected), "{expected}");
        }
        assert_eq!(alias(&"ab ".repeat(50)).chars().count(), 40);
    }

    #[test]
    fn keys_that_people_cannot_write_need_an_alias() {
        for key in ["Industry", "Tier__c", "_x", "größe", "deadbeef", "face"] {
            assert!(is_readable(key), "{key}");
        }
        for key in [
            "",
            "A.B",
            "My Field",
            "9lives",
            "AND",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
        ] {
            assert!(!is_readable(key), "{key}");
        }
    }

    #[test]
    fn names_that_look_alike_have_one_key() {
        assert_eq!(name_key("  ACME\t  Corp\u{0} "), "acme corp");
        assert_eq!(name_key("ÄÖ"), "äö");
        assert!(name_key(&"ß".repeat(1000)).len() <= 256);
    }

    #[test]
    fn slugs_begin_with_a_letter() {
        assert_eq!(slug("Acme SF (EMEA)"), "acme_sf_emea");
        assert_eq!(slug("3M"), "s_3m");
        assert_eq!(slug("日本"), "source");
    }
}
